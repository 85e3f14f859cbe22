/* kvb_cuda_cache on its device: creation, and the work of a step. The books are cache_books.c's and cache_step.c's. */
#include "cache_device.h"
#include "layer.h"
#include "memory.h"

#include <cuda_runtime_api.h>
#include <string.h>

/* ---- What the books need of the device ---- */

static void *allocate_arena(void *context, size_t bytes) {
    kvb_cuda_cache *cache = context;
    kvb_cuda_device device;
    int current = 0;
    void *arena = NULL;
    kvb_status status = kvb_cuda_device_get(cache->device, &device, &cache->failure);
    if (status == KVB_OK && !(status = kvb_cuda_status((int)cudaGetDevice(&current), "cuda cache", &cache->failure))) {
        cudaSetDevice(cache->device);
        status = kvb_cuda_status((int)cudaMalloc(&arena, bytes), "cuda cache, pages", &cache->failure);
        if (status != KVB_OK) {
            cudaGetLastError(); /* no error of the calls that follow */
        }
        cudaSetDevice(current);
    }
    cache->status = status;
    return arena;
}

static void release_arena(void *context, void *arena, size_t bytes) {
    (void)context;
    (void)bytes;
    cudaFree(arena);
}

static kvb_status update(int32_t *numbers, const kvb_cuda_update *update, void *stream, kvb_error *error) {
    return kvb_cuda_status(kvb_cuda_launch_update(numbers, update, stream), "cuda cache, tables", error);
}

static kvb_status copy(void *to, const void *from, size_t bytes, void *stream, kvb_error *error) {
    return kvb_cuda_status((int)cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, (cudaStream_t)stream),
                           "cuda cache, copy of a page", error);
}

static kvb_status check(const kvb_cuda_cache *cache, const char *what, void *stream, kvb_error *error) {
    enum cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    kvb_status status = kvb_cuda_current_check(cache->layers[0].layer, error);
    if (status == KVB_OK) {
        status = kvb_cuda_status((int)cudaStreamIsCapturing((cudaStream_t)stream, &capture), what, error);
    }
    if (status == KVB_OK && capture != cudaStreamCaptureStatusNone) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "%s: the stream is capturing, and a replay would change no books; capture append, plan, "
                             "attend and advance only",
                             what);
    }
    return status;
}

/* ---- Creation ---- */

static kvb_status create_layer(kvb_cuda_cache *cache, int index, const kvb_allocator *allocator, kvb_error *error) {
    const kvb_cache_layer *layer = &cache->books->layers[index];
    const kvb_cuda_layer_spec spec = {.device = cache->device,
                                      .k_codec = layer->format.k_codec,
                                      .v_codec = layer->format.v_codec,
                                      .n_kv_heads = layer->format.n_kv_heads,
                                      .n_q_heads = cache->layers[index].n_q_heads,
                                      .dense = layer->spec.dense,
                                      .k_mean = layer->spec.k_mean,
                                      .k_dim = layer->format.k_dim,
                                      .v_dim = layer->format.v_dim,
                                      .v_prefix_of_k = layer->format.v_prefix_of_k};
    kvb_error reason = {""};
    kvb_status status = kvb_cuda_layer_create(&spec, allocator, &cache->layers[index].layer, &reason);
    return status == KVB_OK ? KVB_OK : kvb_error_set(error, status, "layer %d: %s", index, reason.text);
}

/* Zeros, on the current device. */
static kvb_status allocate_zeros(void **out, size_t bytes, const char *what, kvb_error *error) {
    kvb_status status = bytes > 0 ? kvb_cuda_status((int)cudaMalloc(out, bytes), what, error) : KVB_OK;
    if (status != KVB_OK) {
        cudaGetLastError();
    }
    return status == KVB_OK && bytes > 0 ? kvb_cuda_status((int)cudaMemset(*out, 0, bytes), what, error) : status;
}

static kvb_status fill(kvb_cuda_cache *cache, const kvb_allocator *allocator, kvb_error *error) {
    kvb_status status = KVB_OK;
    int current = 0;
    for (int i = 0; i < cache->books->spec.n_layers && status == KVB_OK; i++) {
        status = create_layer(cache, i, allocator, error);
    }
    if (status != KVB_OK || (status = kvb_cuda_status((int)cudaGetDevice(&current), "cuda cache", error))) {
        return status;
    }
    cudaSetDevice(cache->device);
    void *numbers = NULL, *exact = NULL;
    if (!(status = allocate_zeros(&numbers, cache->at.n * sizeof *cache->numbers, "cuda cache, tables", error)) &&
        !(status = allocate_zeros(&exact, cache->exact_bytes, "cuda cache, exact tokens", error))) {
        status = kvb_cuda_status((int)cudaDeviceSynchronize(), "cuda cache", error);
    }
    cache->numbers = numbers;
    cache->exact = exact;
    cudaSetDevice(current);
    return status;
}

kvb_status kvb_cuda_cache_create(const kvb_cuda_cache_spec *spec, const kvb_allocator *allocator, kvb_cuda_cache **out,
                                 kvb_error *error) {
    const kvb_cuda_queue queue = {.update = update, .copy = copy, .check = check};
    const kvb_cache_home memory = {.allocate = allocate_arena, .release = release_arena};
    if (!spec || !out) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is NULL; spec and out are needed", spec ? "out" : "spec");
    }
    *out = NULL;
    if (!spec->cache || !spec->n_q_heads) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s of the spec is NULL; cache and n_q_heads are needed",
                             spec->cache ? "n_q_heads" : "cache");
    }
    kvb_cuda_cache *cache;
    kvb_status status = kvb_cuda_books_create(spec, &queue, &memory, allocator, &cache, error);
    if (status != KVB_OK) {
        return status;
    }
    if ((status = fill(cache, allocator, error))) {
        kvb_cuda_cache_destroy(cache);
        return status;
    }
    *out = cache;
    return KVB_OK;
}

void kvb_cuda_cache_destroy(kvb_cuda_cache *cache) {
    if (!cache) {
        return;
    }
    cudaFree(cache->numbers); /* waits for the device */
    cudaFree(cache->exact);
    for (int i = 0; i < cache->books->spec.n_layers; i++) {
        kvb_cuda_layer_destroy(cache->layers[i].layer);
    }
    kvb_cuda_books_destroy(cache);
}

/* ---- A step ---- */

kvb_cuda_pages kvb_cuda_cache_pages(const kvb_cuda_cache *cache, int layer) {
    const kvb_layer_spec *spec = &cache->books->layer_specs[layer];
    void *exact[KVB_CUDA_EXACT];
    for (int i = 0; i < KVB_CUDA_EXACT; i++) {
        exact[i] = cache->layers[layer].exact_bytes[i] > 0 ? cache->exact + cache->layers[layer].exact_at[i] : NULL;
    }
    return (kvb_cuda_pages){.pool = cache->books->pool.arena,
                            .table = cache->numbers + kvb_cuda_table_at(cache, 0, layer),
                            .table_stride = cache->table_stride,
                            .lengths = cache->numbers + cache->at.after,
                            .n_sequences = cache->books->spec.max_sequences,
                            .packed_ends =
                                spec->exact_last > 0 ? cache->numbers + kvb_cuda_packed_ends_at(cache, layer) : NULL,
                            .page_stride = KVB_CUDA_POOL_UNIT,
                            .exact_first_k = exact[KVB_CUDA_FIRST],
                            .exact_first_v = exact[KVB_CUDA_FIRST + 1],
                            .exact_last_k = exact[KVB_CUDA_LAST],
                            .exact_last_v = exact[KVB_CUDA_LAST + 1],
                            .exact_first = spec->exact_first,
                            .exact_last = spec->exact_last,
                            .exact_last_slots = spec->exact_last};
}

/* Of the step's batch. */
static kvb_cuda_pages batch_of(const kvb_cuda_cache *cache, int layer) {
    kvb_cuda_pages pages = kvb_cuda_cache_pages(cache, layer);
    pages.n_sequences = cache->step.n_sequences;
    pages.sequences = cache->numbers + cache->at.sequences;
    return pages;
}

kvb_status kvb_cuda_cache_append(kvb_cuda_cache *cache, int layer, const void *k, const void *v, kvb_dtype dtype,
                                 void *stream, kvb_error *error) {
    kvb_status status = kvb_cuda_books_in_step(cache, layer, error);
    if (status != KVB_OK || cache->step.most_rows == 0) {
        return status;
    }
    kvb_cuda_pages pages = batch_of(cache, layer);
    pages.lengths = cache->numbers + cache->at.before;
    const kvb_cuda_rows rows = {.k = k,
                                .v = v,
                                .dtype = dtype,
                                .row_begin = cache->numbers + cache->at.row_begin,
                                .most_rows = cache->step.most_rows};
    return kvb_cuda_append(cache->layers[layer].layer, &pages, &rows, stream, error);
}

kvb_status kvb_cuda_cache_advance(kvb_cuda_cache *cache, void *stream, kvb_error *error) {
    kvb_status status;
    if ((status = kvb_cuda_books_in_step(cache, 0, error)) ||
        (status = kvb_cuda_current_check(cache->layers[0].layer, error))) {
        return status;
    }
    return kvb_cuda_status(kvb_cuda_launch_next_step(cache->numbers, &cache->at, cache->step.n_sequences, stream),
                           "cuda cache, advance", error);
}

/* ---- Attention ---- */

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

kvb_status kvb_cuda_cache_plan(kvb_cuda_cache *cache, const kvb_cuda_queries *queries, void *scratch, size_t bytes,
                               void *stream, kvb_error *error) {
    kvb_cuda_queries q;
    kvb_status status;
    if ((status = kvb_cuda_books_in_step(cache, 0, error)) || (status = asked(cache, 0, queries, &q, error))) {
        return status;
    }
    const size_t of_kind = kind_bytes(cache, cache->step.n_sequences, q.most_queries);
    status = check_scratch(cache, scratch, bytes, of_kind, error);
    for (int kind = 0; kind < cache->n_kinds && status == KVB_OK; kind++) {
        const int layer = first_of_kind(cache, kind);
        const kvb_cuda_pages pages = batch_of(cache, layer);
        if (!(status = asked(cache, layer, queries, &q, error))) {
            status = kvb_cuda_attend_plan(cache->layers[layer].layer, &pages, &q,
                                          (uint8_t *)scratch + (size_t)kind * of_kind, of_kind, stream, error);
        }
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
    const kvb_cuda_pages pages = batch_of(cache, layer);
    return kvb_cuda_attend(cache->layers[layer].layer, &pages, &q,
                           (uint8_t *)scratch + (size_t)cache->layers[layer].kind * of_kind, of_kind, stream, error);
}

/* ---- Rows as values ---- */

kvb_status kvb_cuda_cache_decode(const kvb_cuda_cache *cache, int layer, kvb_cuda_side side, int sequence,
                                 int64_t first, int n_tokens, void *out, kvb_dtype dtype, void *stream,
                                 kvb_error *error) {
    kvb_status status;
    if ((status = kvb_cuda_books_between(cache, error)) ||
        (status = kvb_cache_check(cache->books, sequence, layer, error))) {
        return status;
    }
    const kvb_cache_part *part = kvb_cache_part_of(cache->books, sequence, layer);
    const int exact_first = cache->books->layer_specs[layer].exact_first;
    const int64_t gone = part->released * KVB_CUDA_PAGE_TOKENS;
    if (first < 0 || n_tokens < 1 || first > part->n_tokens - n_tokens) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "tokens %lld and %d behind it are not from 0 to the %lld of "
                             "sequence %d",
                             (long long)first, n_tokens, (long long)part->n_tokens, sequence);
    }
    if (first < gone && first + n_tokens > exact_first) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "first %lld: the window of layer %d has given back tokens before %lld", (long long)first,
                             layer, (long long)gone);
    }
    const kvb_cuda_pages pages = kvb_cuda_cache_pages(cache, layer);
    const kvb_cuda_length length = {.n_tokens = (int)part->n_tokens, .packed_end = (int)part->packed_end};
    return kvb_cuda_decode_rows(cache->layers[layer].layer, &pages, side, sequence, (int)first, n_tokens, &length, out,
                                dtype, stream, error);
}
