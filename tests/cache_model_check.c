#include "cache_model.h"
#include "oracle_attend.h"

#include <math.h>

/* ---- Accounting ---- */

static int is_counted(const cache_model *m, int sequence, int layer, int page) {
    int number = m->sequences[sequence].parts[layer].pages[page];
    for (int s = 0; s < sequence; s++) {
        if (m->sequences[s].is_open && m->sequences[s].parts[layer].pages[page] == number) {
            return 1;
        }
    }
    return number == 0;
}

void cache_model_usage(const cache_model *m, size_t *pages, size_t *exact) {
    *pages = *exact = 0;
    for (int s = 0; s < m->spec.max_sequences; s++) {
        for (int i = 0; i < m->spec.n_layers && m->sequences[s].is_open; i++) {
            for (int page = 0; page < model_pages; page++) {
                *pages += is_counted(m, s, i, page) ? 0 : m->page_bytes[i];
            }
            *exact += m->sequences[s].parts[i].has_exact ? m->exact_bytes[i] : 0;
        }
    }
}

static void check_usage(const cache_model *m) {
    size_t pages, exact;
    cache_model_usage(m, &pages, &exact);
    kvb_cache_usage usage = kvb_cache_bytes(m->cache);
    assert_int_equal(usage.pages, pages);
    assert_int_equal(usage.exact, exact);
    assert_int_equal(usage.budget, m->spec.budget);
    assert_int_equal(usage.free, m->spec.budget - pages - exact);
    assert_int_equal(usage.bookkeeping, m->bookkeeping);
}

/* ---- Views ---- */

typedef struct where {
    int sequence, layer, token, side, head;
} where;

static void complain(const where *w, const char *what) {
    fail_msg("sequence %d, layer %d, token %d, side %d, head %d: %s", w->sequence, w->layer, w->token, w->side, w->head,
             what);
}

/* A row of a page against what the model keeps, plane by plane. */
static void check_packed(const where *w, const kvb_codec *codec, const void *block, int page_tokens, int row,
                         const uint8_t *kept) {
    const kvb_codec_spec *spec = kvb_codec_get_spec(codec);
    kvb_packed have = kvb_packed_view(codec, (void *)block, (size_t)page_tokens);
    kvb_packed want = kvb_packed_view(codec, (void *)kept, 1);
    size_t scale = kvb_dtype_bytes(spec->scale_dtype);
    if (memcmp((const uint8_t *)have.scales + (size_t)row * scale, want.scales, scale) != 0) {
        complain(w, "another scale");
    }
    int widths[KVB_MAX_PLANES], n = kvb_plane_widths(spec->bits, widths);
    for (int p = 0; p < n; p++) {
        size_t bytes = (size_t)spec->head_dim * (size_t)widths[p] / 8;
        if (memcmp(have.planes[p] + (size_t)row * bytes, want.planes[p], bytes) != 0) {
            complain(w, "other codes");
        }
    }
}

static void check_row(const cache_model *m, const where *w, const kvb_kv_view *view, const model_token *token) {
    const kvb_layer_spec *spec = &m->spec.layers[w->layer];
    int dim = w->side == 0 ? spec->k.head_dim : spec->v.head_dim, heads = spec->n_kv_heads;
    const uint16_t *half = token->half[w->side] + w->head * dim, *exact = NULL;
    int slot = w->token;
    if (w->token < spec->exact_first) {
        exact = w->side == 0 ? view->exact_first_k : view->exact_first_v;
    } else if (!token->is_encoded) {
        exact = w->side == 0 ? view->exact_last_k : view->exact_last_v;
        slot = w->token % spec->exact_last;
    }
    if (exact) {
        if (memcmp(exact + (slot * heads + w->head) * dim, half, (size_t)dim * sizeof *half) != 0) {
            complain(w, "another exact row");
        }
        return;
    }
    const void *page = view->pages[w->token / m->spec.page_tokens];
    if ((page == NULL) != token->is_lost) {
        complain(w, page ? "its page is still there" : "its page is missing");
    }
    if (!page) {
        return;
    }
    const void *block = kvb_page_block(view->format, page, w->head, w->side);
    int row = w->token % m->spec.page_tokens;
    const kvb_codec *codec = m->codecs[w->layer][w->side];
    if (codec) {
        size_t kept = (kvb_codec_block_bytes(codec, 1) + 3) / 4 * 4;
        check_packed(w, codec, block, m->spec.page_tokens, row, token->packed[w->side] + (size_t)w->head * kept);
    } else if (memcmp((const uint16_t *)block + row * dim, half, (size_t)dim * sizeof *half) != 0) {
        complain(w, "another dense row");
    }
}

static void check_part(const cache_model *m, int sequence, int layer) {
    const kvb_layer_spec *spec = &m->spec.layers[layer];
    const model_part *part = &m->sequences[sequence].parts[layer];
    kvb_kv_view view;
    kvb_error error;
    assert_ok(kvb_cache_view(m->cache, sequence, layer, &view, &error), error);
    int n_last = 0;
    for (int t = spec->exact_first; t < part->n_tokens; t++) {
        n_last += !part->tokens[t].is_encoded;
    }
    assert_int_equal(view.n_tokens, part->n_tokens);
    assert_int_equal(view.first_page_token, 0);
    assert_int_equal(view.exact_first, spec->exact_first < part->n_tokens ? spec->exact_first : part->n_tokens);
    assert_int_equal(view.exact_last, n_last);
    assert_int_equal(view.exact_last_slots, spec->exact_last);
    assert_int_equal(view.window, spec->window);
    assert_int_equal(kvb_page_bytes(view.format), m->page_bytes[layer]);
    for (int t = 0; t < part->n_tokens; t++) {
        for (int side = 0; side < (spec->v_prefix_of_k ? 1 : 2); side++) {
            for (int head = 0; head < spec->n_kv_heads; head++) {
                where w = {sequence, layer, t, side, head};
                check_row(m, &w, &view, &part->tokens[t]);
            }
        }
    }
}

void cache_model_check(const cache_model *m) {
    check_usage(m);
    for (int s = 0; s < m->spec.max_sequences; s++) {
        if (!m->sequences[s].is_open) {
            assert_int_equal(kvb_cache_n_tokens(m->cache, s), -1);
            continue;
        }
        assert_int_equal(kvb_cache_n_tokens(m->cache, s), m->sequences[s].n_tokens);
        for (int i = 0; i < m->spec.n_layers; i++) {
            check_part(m, s, i);
        }
    }
}

/* ---- Attention ---- */

void cache_model_attend(cache_model *m, int sequence, int layer, int n_q) {
    kvb_kv_view view;
    kvb_error error;
    assert_ok(kvb_cache_view(m->cache, sequence, layer, &view, &error), error);
    enum { group = 2 };
    size_t k_dim = (size_t)view.format->k_dim, v_dim = (size_t)view.format->v_dim;
    size_t heads = (size_t)view.format->n_kv_heads * group, rows = (size_t)n_q * heads;
    float *q = malloc(rows * k_dim * sizeof *q), *out = malloc(rows * v_dim * sizeof *out);
    float *lse = malloc(rows * sizeof *lse);
    double *expected = malloc(rows * v_dim * sizeof *expected), *expected_lse = malloc(rows * sizeof *expected_lse);
    assert_true(q && out && lse && expected && expected_lse);
    for (size_t i = 0; i < rows * k_dim; i++) {
        q[i] = (float)(4.0 * oracle_uniform(&m->random) - 2.0);
    }
    kvb_attend_item item = {.kv = &view,
                            .n_q = n_q,
                            .n_heads = (int)heads,
                            .q = q,
                            .q_token_stride = heads * k_dim,
                            .q_head_stride = k_dim,
                            .out = out,
                            .out_token_stride = heads * v_dim,
                            .out_head_stride = v_dim,
                            .scale = (float)(1.0 / sqrt((double)k_dim)),
                            .precision = KVB_PRECISION_PRECISE,
                            .lse = lse};
    size_t bytes = kvb_attend_scratch_bytes(NULL, &item, 1, NULL);
    void *scratch = malloc(bytes);
    assert_true(bytes > 0 && scratch);
    assert_ok(kvb_attend(NULL, &item, 1, scratch, bytes, NULL, &error), error);
    oracle_attend(&item, expected, expected_lse);
    double difference = 0.0, norm = 0.0;
    for (size_t i = 0; i < rows * v_dim; i++) {
        difference += ((double)out[i] - expected[i]) * ((double)out[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    if (!(sqrt(difference) <= 5e-6 * sqrt(norm))) {
        fail_msg("sequence %d, layer %d: relative error %.3g", sequence, layer, sqrt(difference / norm));
    }
    free(q);
    free(out);
    free(lse);
    free(expected);
    free(expected_lse);
    free(scratch);
}
