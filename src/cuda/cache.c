/* kvb_cuda_cache on its device: creation, and the rows of a step. The books are cache_books.c's and cache_step.c's,
 * attention is cache_attend.c's. */
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

kvb_cuda_pages kvb_cuda_cache_batch(const kvb_cuda_cache *cache, int layer) {
    kvb_cuda_pages pages = kvb_cuda_cache_pages(cache, layer);
    pages.n_sequences = cache->step.n_sequences;
    pages.sequences = cache->numbers + cache->at.sequences;
    return pages;
}

/* Its pages before the step, and its new rows. */
static void append_of(const kvb_cuda_cache *cache, int layer, const void *k, const void *v, kvb_dtype dtype,
                      kvb_cuda_pages *pages, kvb_cuda_rows *rows) {
    *pages = kvb_cuda_cache_batch(cache, layer);
    pages->lengths = cache->numbers + cache->at.before;
    *rows = (kvb_cuda_rows){.k = k,
                            .v = v,
                            .dtype = dtype,
                            .row_begin = cache->numbers + cache->at.row_begin,
                            .most_rows = cache->step.most_rows};
}

kvb_status kvb_cuda_cache_append(kvb_cuda_cache *cache, int layer, const void *k, const void *v, kvb_dtype dtype,
                                 void *stream, kvb_error *error) {
    kvb_cuda_pages pages;
    kvb_cuda_rows rows;
    kvb_status status = kvb_cuda_books_in_step(cache, layer, error);
    if (status != KVB_OK || cache->step.most_rows == 0) {
        return status;
    }
    append_of(cache, layer, k, v, dtype, &pages, &rows);
    status = kvb_cuda_append(cache->layers[layer].layer, &pages, &rows, stream, error);
    cache->only_rows_last |= status == KVB_OK;
    return status;
}

/* All that kvb_cuda_append_layers would refuse, of all layers before the first is queued. */
static kvb_status check_layers(const kvb_cuda_cache *cache, int first, int n_layers, const void *const *k,
                               const void *const *v, kvb_dtype dtype, kvb_error *error) {
    for (int i = 0; i < n_layers; i++) {
        kvb_cuda_pages pages;
        kvb_cuda_rows rows;
        kvb_error cause = {""};
        append_of(cache, first + i, k[i], v ? v[i] : NULL, dtype, &pages, &rows);
        kvb_status status = kvb_cuda_append_check(cache->layers[first + i].layer, &pages, &rows, &cause);
        if (status != KVB_OK) {
            return kvb_error_set(error, status, "layer %d: %s", first + i, cause.text);
        }
    }
    return kvb_cuda_current_check(cache->layers[first].layer, error);
}

kvb_status kvb_cuda_cache_append_layers(kvb_cuda_cache *cache, int first, int n_layers, const void *const *k,
                                        const void *const *v, kvb_dtype dtype, void *stream, kvb_error *error) {
    enum { at_once = 32 }; /* as many as kvb_cuda_append_layers has room for */
    const kvb_cuda_layer *layers[at_once];
    kvb_cuda_pages pages[at_once];
    kvb_cuda_rows rows[at_once];
    kvb_status status = kvb_cuda_books_in_step(cache, first, error);
    if (status != KVB_OK) {
        return status;
    }
    if (n_layers < 1 || n_layers > cache->books->spec.n_layers - first) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "n_layers %d is not from 1 to the %d from layer %d on",
                             n_layers, cache->books->spec.n_layers - first, first);
    }
    if (cache->step.most_rows == 0) {
        return KVB_OK;
    }
    if (!k) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "k is NULL; a pointer for each layer is needed");
    }
    status = check_layers(cache, first, n_layers, k, v, dtype, error);
    for (int done = 0; done < n_layers && status == KVB_OK; done += at_once) {
        const int n = n_layers - done < at_once ? n_layers - done : at_once;
        for (int i = 0; i < n; i++) {
            append_of(cache, first + done + i, k[done + i], v ? v[done + i] : NULL, dtype, &pages[i], &rows[i]);
            layers[i] = cache->layers[first + done + i].layer;
        }
        status = kvb_cuda_append_layers(layers, pages, rows, n, stream, error);
        cache->only_rows_last |= status == KVB_OK;
    }
    return status;
}

kvb_status kvb_cuda_cache_advance(kvb_cuda_cache *cache, void *stream, kvb_error *error) {
    kvb_status status;
    if ((status = kvb_cuda_books_in_step(cache, 0, error)) ||
        (status = kvb_cuda_current_check(cache->layers[0].layer, error))) {
        return status;
    }
    cache->only_rows_last = 0;
    return kvb_cuda_status(kvb_cuda_launch_next_step(cache->numbers, &cache->at, cache->step.n_sequences, stream),
                           "cuda cache, advance", error);
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
