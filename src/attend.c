/* Attention on pages: everything that callers pass is checked here, so that kernels get only legal work. */
#include "attend_jobs.h"
#include "kernels.h"
#include "memory.h"

#include <math.h>

static int is_aligned(const void *pointer, size_t bytes) {
    return pointer && (uintptr_t)pointer % bytes == 0;
}

/* ---- The sequence ---- */

static kvb_status check_exact(const kvb_kv_view *kv, const char *name, const void *k, const void *v, int n,
                              kvb_error *error) {
    if (n < 0 || n > kv->n_tokens) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s %d is not from 0 to the %lld tokens", name, n,
                             (long long)kv->n_tokens);
    }
    if (n > 0 && (!is_aligned(k, 2) || (!kv->format->v_prefix_of_k && !is_aligned(v, 2)))) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is %d, but its keys or values are NULL or misaligned", name,
                             n);
    }
    return KVB_OK;
}

static kvb_status check_mean(const kvb_kv_view *kv, kvb_error *error) {
    const kvb_layer_format *format = kv->format;
    if (!kv->k_mean) {
        return KVB_OK;
    }
    if (!format->k_codec || format->v_prefix_of_k || !is_aligned(kv->k_mean, sizeof(float))) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "k_mean is %s; it is for packed keys of layers that are not latent",
                             is_aligned(kv->k_mean, sizeof(float)) ? "given" : "misaligned");
    }
    for (int i = 0; i < format->n_kv_heads * format->k_dim; i++) {
        if (!isfinite(kv->k_mean[i])) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "k_mean of head %d coordinate %d is %g; it must be finite",
                                 i / format->k_dim, i % format->k_dim, (double)kv->k_mean[i]);
        }
    }
    return KVB_OK;
}

static kvb_status check_view(const kvb_kv_view *kv, kvb_error *error) {
    if (!kv) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "kv is NULL");
    }
    kvb_status status = kvb_layer_format_check(kv->format, error);
    if (status) {
        return status;
    }
    if (kv->n_tokens < 0 || kv->n_tokens > KVB_MAX_TOKENS) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "n_tokens %lld is not from 0 to 2^40", (long long)kv->n_tokens);
    }
    if (kv->first_page_token < 0 || kv->first_page_token > KVB_MAX_TOKENS ||
        kv->first_page_token % kv->format->page_tokens != 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "first_page_token %lld is not a multiple of page_tokens %d from 0 to 2^40",
                             (long long)kv->first_page_token, kv->format->page_tokens);
    }
    if (kv->window < 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "window %d is negative; 0 is none", kv->window);
    }
    if ((status = check_mean(kv, error)) ||
        (status = check_exact(kv, "exact_first", kv->exact_first_k, kv->exact_first_v, kv->exact_first, error)) ||
        (status = check_exact(kv, "exact_last", kv->exact_last_k, kv->exact_last_v, kv->exact_last, error))) {
        return status;
    }
    if (kv->exact_last_slots != 0 && kv->exact_last_slots < kv->exact_last) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "exact_last_slots %d is less than exact_last %d; 0 means that token n_tokens - exact_last "
                             "lies first",
                             kv->exact_last_slots, kv->exact_last);
    }
    return KVB_OK;
}

/* The first token of [begin, end) that should lie in a page but has none, or `end`. */
static int64_t find_missing(const kvb_kv_view *kv, int64_t begin, int64_t end) {
    while (begin < end) {
        kvb_token_run run = kvb_token_run_at(kv, begin, end);
        if (run.source == KVB_SOURCE_PAGE && !is_aligned(run.page, sizeof(float))) {
            return begin;
        }
        begin += run.n_tokens;
    }
    return end;
}

/* The first token that `query` sees and that is nowhere, or -1. */
static int64_t find_missing_to(const kvb_attend_item *item, int query) {
    kvb_visible visible = kvb_visible_to(item, query);
    int64_t token = find_missing(item->kv, visible.begin, visible.end);
    if (token < visible.end) {
        return token;
    }
    token = visible.tree_begin;
    while ((token = find_missing(item->kv, token, item->kv->n_tokens)) < item->kv->n_tokens) {
        if (kvb_visible_bits(item, query, &visible, token, 1)) {
            return token;
        }
        token++;
    }
    return -1;
}

static kvb_status check_pages(const kvb_attend_item *item, kvb_error *error) {
    int64_t begin = item->kv->n_tokens, end = 0;
    for (int i = 0; i < item->n_q; i++) {
        kvb_visible visible = kvb_visible_to(item, i);
        begin = visible.begin < begin ? visible.begin : begin;
        end = visible.end > end ? visible.end : end;
    }
    end = item->tree_mask ? item->kv->n_tokens : end;
    if (find_missing(item->kv, begin, end) >= end) {
        return KVB_OK; /* all are there: the usual case, and no need to ask who sees what */
    }
    for (int i = 0; i < item->n_q; i++) {
        int64_t token = find_missing_to(item, i);
        if (token >= 0) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "query %d sees token %lld, whose page is NULL or not aligned to %zu bytes", i,
                                 (long long)token, sizeof(float));
        }
    }
    return KVB_OK;
}

/* ---- Queries and outputs ---- */

/* [n_q][n_heads][dim] values at the given strides. */
static kvb_status check_array(const kvb_attend_item *item, const char *name, const void *values, size_t value_bytes,
                              size_t token_stride, size_t head_stride, int dim, kvb_error *error) {
    if (!is_aligned(values, value_bytes)) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is %s; it must be aligned to its values of %zu bytes", name,
                             values ? "misaligned" : "NULL", value_bytes);
    }
    if (token_stride < (size_t)dim || head_stride < (size_t)dim) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s strides %zu and %zu: both must be at least %d", name,
                             token_stride, head_stride, dim);
    }
    size_t tokens, heads, n;
    if (!kvb_size_multiply(token_stride, (size_t)item->n_q, &tokens) ||
        !kvb_size_multiply(head_stride, (size_t)item->n_heads, &heads) || !kvb_size_add(tokens, heads, &n) ||
        !kvb_size_multiply(n, value_bytes, &n)) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "%s strides %zu and %zu reach beyond the address space", name,
                             token_stride, head_stride);
    }
    return KVB_OK;
}

static kvb_status check_heads(const kvb_attend_item *item, kvb_error *error) {
    int n_kv_heads = item->kv->format->n_kv_heads;
    if (item->n_q < 1) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "n_q %d is less than 1", item->n_q);
    }
    if (item->n_heads < 1 || item->n_heads % n_kv_heads != 0 || item->n_heads / n_kv_heads > KVB_MAX_GROUP) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "n_heads %d is not 1 to %d times n_kv_heads %d", item->n_heads,
                             KVB_MAX_GROUP, n_kv_heads);
    }
    return KVB_OK;
}

static kvb_status check_logits(const kvb_attend_item *item, kvb_error *error) {
    if (!isfinite(item->scale)) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "scale %g is not finite", (double)item->scale);
    }
    if (!isfinite(item->softcap) || item->softcap < 0.0f) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "softcap %g is not finite and at least 0 (none)",
                             (double)item->softcap);
    }
    if (item->precision != KVB_PRECISION_FAST && item->precision != KVB_PRECISION_PRECISE) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "precision %d is not 0 (fast) or 1 (precise)",
                             (int)item->precision);
    }
    for (int h = 0; item->sinks && h < item->n_heads; h++) {
        if (!(item->sinks[h] < INFINITY)) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "sink %d is %g; it must be finite or -Inf (none)", h,
                                 (double)item->sinks[h]);
        }
    }
    return KVB_OK;
}

static kvb_status check_positions(const kvb_attend_item *item, kvb_error *error) {
    int64_t n_tokens = item->kv->n_tokens;
    for (int i = 0; item->positions && i < item->n_q; i++) {
        if (item->positions[i] > KVB_MAX_TOKENS || item->positions[i] < -KVB_MAX_TOKENS) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "position %lld of query %d is not from -2^40 to 2^40",
                                 (long long)item->positions[i], i);
        }
    }
    if (item->tree_mask && item->n_q > n_tokens) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "the tree mask is for the last %d tokens, but there are %lld",
                             item->n_q, (long long)n_tokens);
    }
    int64_t end = item->kv_end == 0 ? n_tokens : item->kv_end;
    if (item->kv_begin < 0 || end < item->kv_begin || end > n_tokens) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "kv_begin %lld and kv_end %lld are no range of the %lld tokens",
                             (long long)item->kv_begin, (long long)item->kv_end, (long long)n_tokens);
    }
    return KVB_OK;
}

static kvb_status check_item(const kvb_attend_item *item, kvb_error *error) {
    kvb_status status;
    if ((status = check_view(item->kv, error)) || (status = check_heads(item, error))) {
        return status;
    }
    size_t q_bytes = kvb_dtype_bytes(item->q_dtype);
    if (q_bytes == 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "q_dtype %d is not 0 (f32), 1 (f16) or 2 (bf16)",
                             (int)item->q_dtype);
    }
    const kvb_layer_format *format = item->kv->format;
    if ((status = check_array(item, "q", item->q, q_bytes, item->q_token_stride, item->q_head_stride, format->k_dim,
                              error)) ||
        (status = check_array(item, "out", item->out, sizeof(float), item->out_token_stride, item->out_head_stride,
                              format->v_dim, error)) ||
        (status = check_logits(item, error)) || (status = check_positions(item, error))) {
        return status;
    }
    return check_pages(item, error);
}

/* ---- The call ---- */

size_t kvb_attend_scratch_bytes(const kvb_backend *backend, const kvb_attend_item *items, size_t n_items,
                                const kvb_parallel *parallel) {
    if (!backend && kvb_backend_open(NULL, &backend, NULL)) {
        return 0;
    }
    for (size_t i = 0; i < n_items; i++) {
        if (!items || !items[i].kv || kvb_layer_format_check(items[i].kv->format, NULL) ||
            check_heads(&items[i], NULL)) {
            return 0;
        }
    }
    if (parallel && parallel->workers < 1) {
        return 0;
    }
    kvb_attend_job job = {items, n_items, NULL, parallel};
    return backend->attend_scratch(&job);
}

kvb_status kvb_attend(const kvb_backend *backend, const kvb_attend_item *items, size_t n_items, void *scratch,
                      size_t scratch_bytes, const kvb_parallel *parallel, kvb_error *error) {
    kvb_status status;
    if (!backend && (status = kvb_backend_open(NULL, &backend, error))) {
        return status;
    }
    if (n_items == 0) {
        return KVB_OK;
    }
    if (!items) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "items is NULL");
    }
    for (size_t i = 0; i < n_items; i++) {
        kvb_error reason;
        if ((status = check_item(&items[i], &reason))) {
            return kvb_error_set(error, status, "item %zu: %s", i, reason.text);
        }
    }
    size_t needed = kvb_attend_scratch_bytes(backend, items, n_items, parallel);
    if (needed == 0) {
        return kvb_error_set(error, parallel && parallel->workers < 1 ? KVB_ERROR_ARGUMENT : KVB_ERROR_MEMORY,
                             "scratch for %d workers: at least 1, and few enough for the address space",
                             kvb_parallel_workers(parallel));
    }
    if (!scratch || scratch_bytes < needed) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "scratch is %s of %zu bytes; this call needs %zu",
                             scratch ? "a block" : "NULL instead", scratch_bytes, needed);
    }
    kvb_attend_job job = {items, n_items, scratch, parallel};
    backend->attend(&job);
    return KVB_OK;
}
