/* What a layer takes, from its spec alone: which tokens lie where, and how many bytes that is. */
#include "cache.h"
#include "memory.h"

#include <math.h>

/* ---- Checks ---- */

static kvb_status check_side(const char *name, const kvb_codec_spec *spec, kvb_error *error) {
    kvb_error reason;
    kvb_status status = kvb_layer_side_is_dense(spec) ? KVB_OK : kvb_codec_spec_check(spec, &reason);
    if (status) {
        const char *also = spec->bits < 1 || spec->bits > KVB_MAX_BITS ? ", or 16 for dense rows" : "";
        return kvb_error_set(error, status, "%s: %s%s", name, reason.text, also);
    }
    return KVB_OK;
}

static kvb_status check_exact(const char *name, int n, kvb_error *error) {
    if (n < 0 || n > KVB_MAX_EXACT_TOKENS) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s %d is not from 0 to %d", name, n, KVB_MAX_EXACT_TOKENS);
    }
    return KVB_OK;
}

static kvb_status check_mean(const kvb_layer_spec *spec, kvb_error *error) {
    if (!spec->k_mean) {
        return KVB_OK;
    }
    if (kvb_layer_side_is_dense(&spec->k) || spec->v_prefix_of_k) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "k_mean is given for %s; legal: packed keys, not latent",
                             spec->v_prefix_of_k ? "a latent layer" : "dense keys");
    }
    for (int i = 0; i < spec->n_kv_heads * spec->k.head_dim; i++) {
        if (!(fabsf(spec->k_mean[i]) <= KVB_MAX_K_MEAN)) {
            return kvb_error_set(
                error, KVB_ERROR_ARGUMENT, "k_mean of head %d coordinate %d is %g; legal: up to %g in magnitude",
                i / spec->k.head_dim, i % spec->k.head_dim, (double)spec->k_mean[i], (double)KVB_MAX_K_MEAN);
        }
    }
    return KVB_OK;
}

kvb_status kvb_layer_spec_check(const kvb_layer_spec *spec, int page_tokens, kvb_error *error) {
    kvb_layer_format format = kvb_layer_format_of(spec, page_tokens);
    kvb_status status;
    if ((status = kvb_layer_format_check(&format, error)) || (status = check_side("keys", &spec->k, error))) {
        return status;
    }
    if (spec->v_prefix_of_k) {
        status = kvb_layer_side_is_dense(&spec->k) ? KVB_OK : kvb_latent_codec_check(&spec->k, error);
    } else {
        status = check_side("values", &spec->v, error);
    }
    if (status || (status = check_exact("exact_first", spec->exact_first, error)) ||
        (status = check_exact("exact_last", spec->exact_last, error))) {
        return status;
    }
    if (spec->window < 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "window %d is negative; 0 is none", spec->window);
    }
    return check_mean(spec, error);
}

/* ---- Sizes ---- */

kvb_layer_format kvb_layer_format_of(const kvb_layer_spec *spec, int page_tokens) {
    return (kvb_layer_format){.n_kv_heads = spec->n_kv_heads,
                              .k_dim = spec->k.head_dim,
                              .v_dim = spec->v.head_dim,
                              .dense = spec->dense,
                              .v_prefix_of_k = spec->v_prefix_of_k,
                              .page_tokens = page_tokens};
}

static size_t row_bytes(const kvb_codec_spec *spec) {
    return kvb_layer_side_is_dense(spec) ? (size_t)spec->head_dim * sizeof(uint16_t) : kvb_codec_spec_row_bytes(spec);
}

static size_t page_bytes(const kvb_layer_spec *spec, int page_tokens) {
    size_t head = kvb_page_block_bytes(row_bytes(&spec->k), page_tokens);
    if (!spec->v_prefix_of_k) {
        head += kvb_page_block_bytes(row_bytes(&spec->v), page_tokens);
    }
    return head * (size_t)spec->n_kv_heads; /* at most 2^32: checked in kvb_layer_sizes_of */
}

/* Room for n raw tokens of one side behind *end, which moves; 0 when it does not fit. */
static int add_exact(const kvb_layer_spec *spec, int side, int n, size_t *start, size_t *end) {
    const kvb_codec_spec *row = side == 0 ? &spec->k : &spec->v;
    size_t token = (size_t)spec->n_kv_heads * (size_t)row->head_dim * sizeof(uint16_t), bytes;
    *start = *end;
    return kvb_size_multiply((size_t)n, token, &bytes) && kvb_size_add(bytes, KVB_BLOCK_ALIGNMENT - 1, &bytes) &&
           kvb_size_add(*end, bytes / KVB_BLOCK_ALIGNMENT * KVB_BLOCK_ALIGNMENT, end);
}

static int exact_layout(const kvb_layer_spec *spec, kvb_exact_layout *exact) {
    *exact = (kvb_exact_layout){.bytes = 0};
    for (int side = 0; side < kvb_layer_sides(spec); side++) {
        if (!add_exact(spec, side, spec->exact_first, &exact->first[side], &exact->bytes) ||
            !add_exact(spec, side, spec->exact_last, &exact->last[side], &exact->bytes)) {
            return 0;
        }
    }
    return 1;
}

kvb_status kvb_layer_sizes_of(const kvb_layer_spec *spec, int page_tokens, size_t *page, kvb_exact_layout *exact,
                              kvb_error *error) {
    *page = page_bytes(spec, page_tokens);
    if (*page / (size_t)spec->n_kv_heads < kvb_page_block_bytes(row_bytes(&spec->k), page_tokens) ||
        !exact_layout(spec, exact)) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "pages or exact tokens of one sequence exceed the address space");
    }
    return KVB_OK;
}

/* ---- Which tokens lie where ---- */

int64_t kvb_layer_packed_end(const kvb_layer_spec *spec, int64_t packed_end, int64_t n_tokens) {
    int64_t end = n_tokens - spec->exact_last;
    end = end > spec->exact_first ? end : spec->exact_first;
    end = end < n_tokens ? end : n_tokens;
    return end > packed_end ? end : packed_end;
}

int64_t kvb_layer_released(const kvb_layer_spec *spec, int page_tokens, int64_t packed_end, int64_t n_tokens) {
    int64_t unseen = spec->window > 0 ? n_tokens - spec->window + 1 : 0; /* that many first tokens */
    unseen = unseen < packed_end ? unseen : packed_end;
    return unseen > 0 ? unseen / page_tokens : 0;
}

kvb_page_range kvb_layer_pages(const kvb_layer_spec *spec, int page_tokens, int64_t begin, int64_t packed_end) {
    begin = begin > spec->exact_first ? begin : spec->exact_first;
    if (begin >= packed_end) {
        return (kvb_page_range){0, 0};
    }
    return (kvb_page_range){begin / page_tokens, (packed_end + page_tokens - 1) / page_tokens};
}

/* ---- The cost ---- */

static kvb_status count_pages(const kvb_layer_spec *layer, int page_tokens, int64_t tokens, kvb_layer_cost *cost,
                              kvb_error *error) {
    int64_t packed_end = kvb_layer_packed_end(layer, 0, tokens);
    int64_t released = kvb_layer_released(layer, page_tokens, packed_end, tokens);
    kvb_page_range pages = kvb_layer_pages(layer, page_tokens, released * page_tokens, packed_end);
    cost->n_pages = pages.end - pages.begin;
    size_t bytes;
    if ((uint64_t)cost->n_pages > SIZE_MAX || !kvb_size_multiply((size_t)cost->n_pages, cost->page_bytes, &bytes) ||
        !kvb_size_add(bytes, cost->exact_bytes, &cost->bytes)) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "%lld pages of %zu bytes exceed the address space",
                             (long long)cost->n_pages, cost->page_bytes);
    }
    return KVB_OK;
}

kvb_status kvb_layer_cost_of(const kvb_layer_spec *layer, int page_tokens, int64_t tokens, kvb_layer_cost *cost,
                             kvb_error *error) {
    if (!layer || !cost) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is NULL; layer and cost are needed",
                             layer ? "cost" : "layer");
    }
    page_tokens = page_tokens == 0 ? KVB_DEFAULT_PAGE_TOKENS : page_tokens;
    if (tokens < 0 || tokens > KVB_MAX_TOKENS) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "tokens %lld is not from 0 to 2^40", (long long)tokens);
    }
    kvb_status status = kvb_layer_spec_check(layer, page_tokens, error);
    if (status) {
        return status;
    }
    kvb_layer_cost made = {.page_bytes = 0};
    kvb_exact_layout exact;
    if ((status = kvb_layer_sizes_of(layer, page_tokens, &made.page_bytes, &exact, error))) {
        return status;
    }
    made.exact_bytes = tokens > 0 ? exact.bytes : 0;
    size_t bytes = row_bytes(&layer->k), values = (size_t)layer->k.head_dim;
    if (!layer->v_prefix_of_k) {
        bytes += row_bytes(&layer->v);
        values += (size_t)layer->v.head_dim;
    }
    made.bits_per_value = 8.0 * (double)bytes / (double)values;
    if ((status = count_pages(layer, page_tokens, tokens, &made, error))) {
        return status;
    }
    *cost = made;
    return KVB_OK;
}
