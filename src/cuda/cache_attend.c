/* Attention of a kvb_cuda_cache's step: a plan for each kind of layer that needs one, in a part of the scratch. */
#include "cache_device.h"
#include "layer.h"
#include "memory.h"

static int first_of_kind(const kvb_cuda_cache *cache, int kind) {
    int i = 0;
    while (cache->layers[i].kind != kind) {
        i++;
    }
    return i;
}

/* Bytes of one kind's scratch, the same for all: the most that a layer wants. */
static size_t kind_bytes(const kvb_cuda_cache *cache, int n_sequences, int most_queries) {
    size_t most = 0;
    for (int i = 0; i < cache->books->spec.n_layers; i++) {
        const size_t bytes = kvb_cuda_scratch_bytes(cache->layers[i].layer, n_sequences, most_queries);
        if (bytes == 0) {
            return 0;
        }
        most = bytes > most ? bytes : most;
    }
    return most;
}

size_t kvb_cuda_cache_scratch_bytes(const kvb_cuda_cache *cache, int n_sequences, int most_queries) {
    size_t bytes = cache ? kind_bytes(cache, n_sequences, most_queries) : 0;
    return bytes > 0 && kvb_size_multiply(bytes, (size_t)cache->n_kinds, &bytes) ? bytes : 0;
}

/* The queries as a layer has them. */
static kvb_status asked(const kvb_cuda_cache *cache, int layer, const kvb_cuda_queries *queries, kvb_cuda_queries *out,
                        kvb_error *error) {
    const int window = cache->books->layer_specs[layer].window;
    if (!queries) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "queries is NULL");
    }
    if (queries->window != 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "window %d of queries is not 0; layers have their own (%d)",
                             queries->window, window);
    }
    *out = *queries;
    out->window = window;
    if (!queries->q_begin) {
        out->q_begin = cache->numbers + cache->at.row_begin;
        out->most_queries = cache->step.most_rows;
        if (out->most_queries == 0) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "q_begin is NULL, and the step has no new tokens that would be queries");
        }
    }
    return KVB_OK;
}

static kvb_status check_scratch(const kvb_cuda_cache *cache, const void *scratch, size_t bytes, size_t of_kind,
                                kvb_error *error) {
    if (!scratch || (uintptr_t)scratch % 256 != 0 || of_kind == 0 || bytes / (size_t)cache->n_kinds < of_kind) {
        return kvb_error_set(
            error, KVB_ERROR_ARGUMENT,
            "scratch: %zu bytes at %p, this batch needs %zu (kvb_cuda_cache_scratch_bytes), aligned to "
            "256",
            bytes, scratch, of_kind * (size_t)cache->n_kinds);
    }
    return KVB_OK;
}

/* Whether some layer of the kind attends by a plan: they may have other formats, and split their queries. By the shape
 * of the batch alone, which a graph's replays share with its capture (kvb_cuda_attend_needs_plan). */
static int needs_plan(const kvb_cuda_cache *cache, int kind, kvb_cuda_queries q) {
    for (int i = 0; i < cache->books->spec.n_layers; i++) {
        const kvb_cuda_pages pages = kvb_cuda_cache_batch(cache, i);
        for (q.split_queries = 0; cache->layers[i].kind == kind && q.split_queries < 2; q.split_queries++) {
            if (kvb_cuda_attend_needs_plan(cache->layers[i].layer, &pages, &q)) {
                return 1;
            }
        }
    }
    return 0;
}

static kvb_status plan_kind(kvb_cuda_cache *cache, int kind, const kvb_cuda_queries *queries, uint8_t *scratch,
                            size_t of_kind, void *stream, kvb_error *error) {
    const int layer = first_of_kind(cache, kind);
    const kvb_cuda_pages pages = kvb_cuda_cache_batch(cache, layer);
    kvb_cuda_queries q;
    kvb_status status = asked(cache, layer, queries, &q, error);
    if (status != KVB_OK) {
        return status;
    }
    const int plans = needs_plan(cache, kind, q);
    for (int i = 0; i < cache->books->spec.n_layers; i++) {
        cache->layers[i].has_plan = cache->layers[i].kind == kind ? plans : cache->layers[i].has_plan;
    }
    scratch += (size_t)kind * of_kind;
    return plans ? kvb_cuda_attend_plan(cache->layers[layer].layer, &pages, &q, scratch, of_kind, stream, error)
                 : kvb_cuda_plan_check(cache->layers[layer].layer, &pages, &q, scratch, of_kind, error);
}

kvb_status kvb_cuda_cache_plan(kvb_cuda_cache *cache, const kvb_cuda_queries *queries, void *scratch, size_t bytes,
                               void *stream, kvb_error *error) {
    kvb_cuda_queries q;
    kvb_status status;
    if ((status = kvb_cuda_books_in_step(cache, 0, error)) || (status = asked(cache, 0, queries, &q, error))) {
        return status;
    }
    const size_t of_kind = kind_bytes(cache, cache->step.n_sequences, q.most_queries);
    cache->only_rows_last = 0;
    status = check_scratch(cache, scratch, bytes, of_kind, error);
    for (int kind = 0; kind < cache->n_kinds && status == KVB_OK; kind++) {
        status = plan_kind(cache, kind, queries, scratch, of_kind, stream, error);
    }
    cache->planned_sequences = status == KVB_OK ? cache->step.n_sequences : 0;
    cache->planned_queries = q.most_queries;
    return status;
}

kvb_status kvb_cuda_cache_attend(kvb_cuda_cache *cache, int layer, const kvb_cuda_queries *queries, void *scratch,
                                 size_t bytes, void *stream, kvb_error *error) {
    kvb_cuda_queries q;
    kvb_status status;
    if ((status = kvb_cuda_books_in_step(cache, layer, error)) || (status = asked(cache, layer, queries, &q, error))) {
        return status;
    }
    if (cache->planned_sequences == 0 || cache->planned_queries != q.most_queries) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "most_queries %d: the step has a plan for %d; kvb_cuda_cache_plan comes first",
                             q.most_queries, cache->planned_sequences ? cache->planned_queries : 0);
    }
    const size_t of_kind = kind_bytes(cache, cache->step.n_sequences, q.most_queries);
    if ((status = check_scratch(cache, scratch, bytes, of_kind, error))) {
        return status;
    }
    const kvb_cuda_pages pages = kvb_cuda_cache_batch(cache, layer);
    if (!cache->layers[layer].has_plan && kvb_cuda_attend_needs_plan(cache->layers[layer].layer, &pages, &q)) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "tree_mask is given, and the step's plan was made without; kvb_cuda_cache_plan takes the "
                             "same queries");
    }
    if (q.starts_early > 0) { /* by as many tokens as a step brings, which the cache knows best */
        const int n = cache->step.most_rows > 0 ? cache->step.most_rows : 1;
        q.starts_early = cache->only_rows_last && n <= KVB_CUDA_MOST_EARLY ? n : 0;
    }
    status = kvb_cuda_attend(cache->layers[layer].layer, &pages, &q,
                             (uint8_t *)scratch + (size_t)cache->layers[layer].kind * of_kind, of_kind, stream, error);
    cache->only_rows_last |= status == KVB_OK;
    return status;
}
