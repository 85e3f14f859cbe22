#include "attend_case.h"
#include "oracle.h"
#include "oracle_attend.h"

#include <math.h>

enum { q_gap = 3, out_gap = 5 };

/* ---- Memory and numbers ---- */

void *attend_case_allocate(const attend_case *c, size_t bytes) {
    bytes = bytes ? bytes : 1;
    void *pointer = c->memory ? c->memory->allocate(bytes) : malloc(bytes);
    assert_non_null(pointer);
    memset(pointer, 0xff, bytes); /* NaN in every format */
    return pointer;
}

void attend_case_release(const attend_case *c, const void *pointer, size_t bytes) {
    if (pointer && c->memory) {
        c->memory->release((void *)pointer, bytes ? bytes : 1);
    } else {
        free((void *)pointer);
    }
}

/* Nearly normal, variance 1, and cheaper than oracle_normal. */
static float draw(oracle_random *random) {
    uint64_t bits = oracle_next(random);
    double sum =
        (double)(bits & 0xffff) + (double)(bits >> 16 & 0xffff) + (double)(bits >> 32 & 0xffff) + (double)(bits >> 48);
    return (float)((sum / 65536.0 - 2.0) * sqrt(3.0));
}

static void draw_row(oracle_random *random, int dim, kvb_dtype dtype, float factor, void *out) {
    for (int i = 0; i < dim; i++) {
        float value = factor * draw(random);
        if (dtype == KVB_F32) {
            ((float *)out)[i] = value;
        } else {
            ((uint16_t *)out)[i] = dtype == KVB_F16 ? kvb_f32_to_f16(value) : kvb_f32_to_bf16(value);
        }
    }
}

static kvb_codec *make_codec(int bits, int states, int dim, kvb_rotation rotation, const attend_shape *shape) {
    if (bits == 0) {
        return NULL;
    }
    kvb_codec_spec spec = kvb_codec_spec_default(dim, bits);
    spec.rotation = rotation;
    spec.scale_dtype = shape->has_float_scales ? KVB_F32 : KVB_F16;
    spec.trellis_states = bits >= KVB_MIN_TRELLIS_BITS && bits <= KVB_MAX_TRELLIS_BITS ? states : 0;
    if (shape->has_half_bits && dim % 16 == 0 && bits < (spec.trellis_states ? KVB_MAX_TRELLIS_BITS : KVB_MAX_BITS)) {
        spec.half_bit = 1;
        return create_codec(&spec);
    }
    const float *even = spec.trellis_states ? kvb_trellis_codebook(states, bits) : kvb_codebook(bits);
    float uneven[KVB_MAX_LEVELS];
    int n = kvb_codec_spec_levels(&spec);
    for (int i = 0; i < n; i++) {
        uneven[i] = even[i] * (i < n / 2 ? 0.83f : 1.1f) + 0.07f;
    }
    spec.centroids = shape->is_uneven ? uneven : NULL;
    return create_codec(&spec);
}

/* Any bytes are rows of a trellis code, of whatever states: those of few are found soon. */
static kvb_codec *make_encoder(int bits, int states, int dim, kvb_rotation rotation, const attend_shape *shape) {
    enum { few = 16 };
    return make_codec(bits, states < few ? states : few, dim, rotation, shape);
}

/* ---- The sequence ---- */

static int is_seen(const attend_case *c, int64_t first, int64_t end) {
    for (int64_t token = first; token < end; token++) {
        for (int i = 0; i < c->item.n_q; i++) {
            if (oracle_sees(&c->item, i, token)) {
                return 1;
            }
        }
    }
    return 0;
}

static void fill_page_rows(const attend_case *c, oracle_random *random, void *page, int64_t row) {
    const kvb_layer_format *format = &c->format;
    for (int side = 0; side < (format->v_prefix_of_k ? 1 : 2); side++) {
        const kvb_codec *codec = side == 0 ? c->k_encoder : c->v_encoder;
        int dim = side == 0 ? format->k_dim : format->v_dim;
        for (int head = 0; head < format->n_kv_heads; head++) {
            uint8_t *block = (uint8_t *)kvb_page_block(format, page, head, side);
            float values[KVB_MAX_HEAD_DIM];
            if (codec) {
                kvb_packed packed = kvb_packed_view(codec, block, (size_t)format->page_tokens);
                draw_row(random, dim, KVB_F32, 1.0f, values);
                kvb_encode_unchecked(codec, values, KVB_F32, (size_t)dim, 1, &packed, (size_t)row, NULL);
            } else {
                draw_row(random, dim, format->dense, 1.0f, block + row * dim * 2);
            }
        }
    }
}

static void fill_pages(attend_case *c, oracle_random *random) {
    const attend_shape *s = &c->shape;
    int tokens = c->format.page_tokens;
    int64_t pages_end = c->view.n_tokens - s->exact_last;
    size_t bytes = kvb_page_bytes(&c->format);
    c->n_pages = (size_t)((s->n_tokens + tokens - 1) / tokens);
    void **pages = attend_case_allocate(c, c->n_pages * sizeof *pages);
    for (size_t p = 0; p < c->n_pages; p++) {
        int64_t first = s->first_token + (int64_t)p * tokens;
        pages[p] = s->has_no_pages_unseen && !is_seen(c, first, first + tokens) ? NULL : attend_case_allocate(c, bytes);
        for (int64_t token = first; pages[p] && token < first + tokens; token++) {
            if (token >= s->exact_first && token < pages_end && is_seen(c, token, token + 1)) {
                fill_page_rows(c, random, pages[p], token - first);
            }
        }
    }
    c->view.pages = (const void *const *)pages;
}

/* Of tokens first .. first + n - 1, in a ring of `slots` or one after another. */
static void *make_exact(const attend_case *c, oracle_random *random, int64_t first, int n, int slots, int dim) {
    if (n == 0) {
        return NULL;
    }
    size_t row = (size_t)c->format.n_kv_heads * (size_t)dim;
    uint16_t *values = attend_case_allocate(c, (size_t)(slots ? slots : n) * row * sizeof *values);
    for (int64_t token = first; token < first + n; token++) {
        size_t slot = (size_t)(slots ? token % slots : token - first);
        if (is_seen(c, token, token + 1)) {
            draw_row(random, (int)row, c->format.dense, 1.0f, values + slot * row);
        }
    }
    return values;
}

static void make_sequence(attend_case *c, oracle_random *random) {
    const attend_shape *s = &c->shape;
    kvb_kv_view *view = &c->view;
    int64_t last = view->n_tokens - s->exact_last;
    fill_pages(c, random);
    view->exact_first_k = make_exact(c, random, 0, s->exact_first, 0, s->k_dim);
    view->exact_last_k = make_exact(c, random, last, s->exact_last, s->slots, s->k_dim);
    if (!s->is_latent) {
        view->exact_first_v = make_exact(c, random, 0, s->exact_first, 0, s->v_dim);
        view->exact_last_v = make_exact(c, random, last, s->exact_last, s->slots, s->v_dim);
    }
}

/* By a stream of its own: a case with a mean is otherwise the case without. */
static void make_mean(attend_case *c) {
    oracle_random random = {c->shape.seed + 1};
    size_t n = (size_t)c->format.n_kv_heads * (size_t)c->format.k_dim;
    if (!c->shape.has_mean || !c->k_codec || c->shape.is_latent) {
        return;
    }
    float *mean = attend_case_allocate(c, n * sizeof *mean);
    for (size_t i = 0; i < n; i++) {
        mean[i] = draw(&random);
    }
    c->view.k_mean = mean;
}

/* ---- The queries ---- */

static void make_masks(attend_case *c, oracle_random *random) {
    const attend_shape *s = &c->shape;
    kvb_attend_item *item = &c->item;
    if (s->has_positions) {
        int64_t *positions = attend_case_allocate(c, (size_t)s->n_q * sizeof *positions);
        for (int i = 0; i < s->n_q; i++) {
            positions[i] = s->first_token + (int64_t)(oracle_next(random) % (uint64_t)(s->n_tokens + 24)) - 4;
        }
        item->positions = positions;
    }
    if (s->has_tree) {
        int row_bytes = (s->n_q + 7) / 8;
        uint8_t *mask = attend_case_allocate(c, (size_t)(s->n_q * row_bytes));
        for (int i = 0; i < s->n_q * row_bytes; i++) {
            mask[i] = (uint8_t)oracle_next(random);
        }
        item->tree_mask = mask;
    }
    if (s->has_sinks) {
        float *sinks = attend_case_allocate(c, (size_t)item->n_heads * sizeof *sinks);
        for (int h = 0; h < item->n_heads; h++) {
            sinks[h] = h % 3 == 2 ? -INFINITY : 4.0f * draw(random);
        }
        item->sinks = sinks;
    }
}

static void make_queries(attend_case *c, oracle_random *random) {
    const attend_shape *s = &c->shape;
    kvb_attend_item *item = &c->item;
    size_t heads = (size_t)item->n_heads, queries = (size_t)s->n_q, bytes = kvb_dtype_bytes(s->q_dtype);
    item->q_head_stride = (size_t)s->k_dim + q_gap;
    item->q_token_stride = heads * item->q_head_stride + q_gap;
    item->out_head_stride = (size_t)s->v_dim + out_gap;
    item->out_token_stride = heads * item->out_head_stride + out_gap;
    c->n_q_values = (queries - 1) * item->q_token_stride + (heads - 1) * item->q_head_stride + (size_t)s->k_dim;
    c->n_out = (queries - 1) * item->out_token_stride + (heads - 1) * item->out_head_stride + (size_t)s->v_dim;
    uint8_t *q = attend_case_allocate(c, c->n_q_values * bytes);
    for (size_t i = 0; i < queries; i++) {
        for (size_t h = 0; h < heads; h++) {
            draw_row(random, s->k_dim, s->q_dtype, s->peak,
                     q + (i * item->q_token_stride + h * item->q_head_stride) * bytes);
        }
    }
    item->q = q;
    item->out = attend_case_allocate(c, c->n_out * sizeof(float));
    item->lse = attend_case_allocate(c, queries * heads * sizeof(float));
}

/* ---- Cases ---- */

static void set_defaults(attend_shape *s) {
    s->dense = s->dense ? s->dense : KVB_F16;
    s->page_tokens = s->page_tokens ? s->page_tokens : 16;
    s->n_kv_heads = s->n_kv_heads ? s->n_kv_heads : 1;
    s->group = s->group ? s->group : 1;
    s->n_q = s->n_q ? s->n_q : 1;
    s->peak = s->peak != 0.0f ? s->peak : 1.0f;
    if (s->is_latent) {
        s->k_rotation = KVB_ROTATION_NONE;
        s->v_bits = 0;
    }
}

void attend_case_create(attend_case *c, const attend_shape *shape, const attend_memory *memory) {
    *c = (attend_case){.shape = *shape, .memory = memory};
    attend_shape *s = &c->shape;
    set_defaults(s);
    oracle_random random = {s->seed};
    c->k_codec = make_codec(s->k_bits, s->k_states, s->k_dim, s->k_rotation, s);
    c->v_codec = make_codec(s->v_bits, s->v_states, s->v_dim, s->v_rotation, s);
    c->k_encoder = make_encoder(s->k_bits, s->k_states, s->k_dim, s->k_rotation, s);
    c->v_encoder = make_encoder(s->v_bits, s->v_states, s->v_dim, s->v_rotation, s);
    c->format = (kvb_layer_format){.n_kv_heads = s->n_kv_heads,
                                   .k_dim = s->k_dim,
                                   .v_dim = s->v_dim,
                                   .k_codec = c->k_codec,
                                   .v_codec = c->v_codec,
                                   .dense = s->dense,
                                   .v_prefix_of_k = s->is_latent,
                                   .page_tokens = s->page_tokens};
    c->view = (kvb_kv_view){.format = &c->format,
                            .first_page_token = s->first_token,
                            .n_tokens = s->first_token + s->n_tokens,
                            .exact_first = s->exact_first,
                            .exact_last = s->exact_last,
                            .exact_last_slots = s->slots,
                            .window = s->window};
    c->item = (kvb_attend_item){.kv = &c->view,
                                .n_q = s->n_q,
                                .n_heads = s->n_kv_heads * s->group,
                                .q_dtype = s->q_dtype,
                                .scale = (float)(1.0 / sqrt((double)s->k_dim)),
                                .softcap = s->softcap,
                                .precision = KVB_PRECISION_PRECISE,
                                .kv_begin = s->kv_begin,
                                .kv_end = s->kv_end};
    make_mean(c);
    make_masks(c, &random);
    make_sequence(c, &random);
    make_queries(c, &random);
    size_t rows = attend_case_rows(c);
    c->expected = malloc(rows * (size_t)s->v_dim * sizeof *c->expected);
    c->expected_lse = malloc(rows * sizeof *c->expected_lse);
    assert_true(c->expected && c->expected_lse);
    attend_case_expect(c);
}

void attend_case_expect(attend_case *c) {
    oracle_attend(&c->item, c->expected, c->expected_lse);
}

static void release_exact(const attend_case *c, const void *k, const void *v, int rows) {
    size_t bytes = (size_t)rows * (size_t)c->format.n_kv_heads * sizeof(uint16_t);
    attend_case_release(c, k, bytes * (size_t)c->format.k_dim);
    attend_case_release(c, v, bytes * (size_t)c->format.v_dim);
}

void attend_case_destroy(attend_case *c) {
    const attend_shape *s = &c->shape;
    const kvb_attend_item *item = &c->item;
    for (size_t p = 0; p < c->n_pages; p++) {
        attend_case_release(c, c->view.pages[p], kvb_page_bytes(&c->format));
    }
    attend_case_release(c, c->view.pages, c->n_pages * sizeof *c->view.pages);
    release_exact(c, c->view.exact_first_k, c->view.exact_first_v, s->exact_first);
    release_exact(c, c->view.exact_last_k, c->view.exact_last_v, s->slots ? s->slots : s->exact_last);
    attend_case_release(c, c->view.k_mean,
                        (size_t)c->format.n_kv_heads * (size_t)c->format.k_dim * sizeof *c->view.k_mean);
    attend_case_release(c, item->positions, (size_t)s->n_q * sizeof *item->positions);
    attend_case_release(c, item->tree_mask, (size_t)(s->n_q * ((s->n_q + 7) / 8)));
    attend_case_release(c, item->sinks, (size_t)item->n_heads * sizeof *item->sinks);
    attend_case_release(c, item->q, c->n_q_values * kvb_dtype_bytes(s->q_dtype));
    attend_case_release(c, item->out, c->n_out * sizeof *item->out);
    attend_case_release(c, item->lse, attend_case_rows(c) * sizeof *item->lse);
    kvb_codec_destroy(c->k_codec);
    kvb_codec_destroy(c->v_codec);
    kvb_codec_destroy(c->k_encoder);
    kvb_codec_destroy(c->v_encoder);
    free(c->expected);
    free(c->expected_lse);
}

size_t attend_case_rows(const attend_case *c) {
    return (size_t)c->item.n_q * (size_t)c->item.n_heads;
}
