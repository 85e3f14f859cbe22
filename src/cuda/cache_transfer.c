/* A cache from the device to the host and back: books first (cache_mirror.c), then pages in the host's order of bytes,
 * through memory that both sides reach, then exact tokens. */
#include "cache_device.h"
#include "cache_mirror.h"
#include "layer.h"

#include <cuda_runtime_api.h>
#include <string.h>

enum { to_host = 0, to_device = 1 };

/* Pages of a layer at a time: at most 16 MB of them, in pinned memory. */
static const size_t chunk_bytes = (size_t)1 << 24;

typedef struct transfer {
    const kvb_cuda_cache *cache; /* of the device */
    const kvb_cache *host;
    int direction;
    uint8_t *pinned;
    size_t bytes;
    cudaStream_t stream;
} transfer;

static kvb_status wait_for(const transfer *t, kvb_error *error) {
    return kvb_cuda_status((int)cudaStreamSynchronize(t->stream), "cuda cache, transfer", error);
}

/* ---- Pages ---- */

static kvb_cuda_pages_job pages_job(const transfer *t, int sequence, int layer) {
    const kvb_cuda_pages pages = kvb_cuda_cache_pages(t->cache, layer);
    const kvb_cuda_layer *of = t->cache->layers[layer].layer;
    const kvb_layer_format *format = &t->host->layers[layer].format;
    const kvb_cache_part *part = kvb_cache_part_of(t->host, sequence, layer);
    const size_t heads = (size_t)of->n_kv_heads;
    kvb_cuda_pages_job job = {.n_sides = kvb_cuda_sides_of(of),
                              .sequence = sequence,
                              .n_kv_heads = of->n_kv_heads,
                              .begin = t->host->layer_specs[layer].exact_first,
                              .end = (int)part->packed_end,
                              .pages = t->pinned,
                              .page_bytes = kvb_page_bytes(format),
                              .head_bytes = kvb_page_bytes(format) / heads,
                              .key_bytes = kvb_page_block_offset(format, 0, 1)};
    for (int side = 0; side < job.n_sides; side++) {
        job.formats[side] = of->formats[side];
        job.places[side] = kvb_cuda_place_of(of, &pages, side);
        job.n_planes[side] = kvb_cuda_planes_of(&of->formats[side], job.shapes[side]);
    }
    return job;
}

/* Pages first .. first + n - 1 between the host's and pinned memory, but those that an earlier sequence has brought. */
static void copy_chunk(const transfer *t, int sequence, int layer, int64_t first, int64_t n, size_t page_bytes) {
    const kvb_cache_part *part = kvb_cache_part_of(t->host, sequence, layer);
    for (int64_t i = 0; i < n; i++) {
        uint8_t *pinned = t->pinned + (size_t)i * page_bytes, *page = part->pages[first + i];
        if (t->direction == to_device) {
            memcpy(pinned, page, page_bytes);
        } else if (kvb_mirror_owner(t->host, sequence, layer, first + i) == sequence) {
            memcpy(page, pinned, page_bytes);
        }
    }
}

static kvb_status move_pages(const transfer *t, int sequence, int layer, kvb_error *error) {
    const kvb_page_range range = kvb_mirror_pages(t->host, sequence, layer);
    kvb_cuda_pages_job job = pages_job(t, sequence, layer);
    const int64_t most = (int64_t)(t->bytes / job.page_bytes);
    kvb_status status = KVB_OK;
    for (int64_t first = range.begin; first < range.end && status == KVB_OK; first += most) {
        const int64_t n = range.end - first < most ? range.end - first : most;
        job.first_page = (int)first;
        job.n_pages = (int)n;
        if (t->direction == to_device) {
            copy_chunk(t, sequence, layer, first, n, job.page_bytes);
            status = kvb_cuda_status(kvb_cuda_launch_import_pages(&job, t->stream), "cuda cache, upload", error);
        } else {
            memset(t->pinned, 0, (size_t)n * job.page_bytes);
            status = kvb_cuda_status(kvb_cuda_launch_export_pages(&job, t->stream), "cuda cache, download", error);
        }
        status = status == KVB_OK ? wait_for(t, error) : status;
        if (status == KVB_OK && t->direction == to_host) {
            copy_chunk(t, sequence, layer, first, n, job.page_bytes);
        }
    }
    return status;
}

/* ---- Exact tokens ---- */

static kvb_status move_exact(const transfer *t, int sequence, int layer, kvb_error *error) {
    const kvb_cuda_cache_layer *ours = &t->cache->layers[layer];
    const kvb_exact_layout *layout = &t->host->layers[layer].exact;
    const kvb_cache_part *part = kvb_cache_part_of(t->host, sequence, layer);
    kvb_status status = KVB_OK;
    for (int i = 0; i < KVB_CUDA_EXACT && part->exact && status == KVB_OK; i++) {
        uint8_t *host = part->exact + (i < KVB_CUDA_LAST ? layout->first : layout->last)[i % 2];
        uint8_t *device = t->cache->exact + ours->exact_at[i] + (size_t)sequence * ours->exact_bytes[i];
        if (ours->exact_bytes[i] > 0) {
            status = kvb_cuda_status(
                (int)cudaMemcpyAsync(t->direction == to_device ? device : host,
                                     t->direction == to_device ? host : device, ours->exact_bytes[i],
                                     t->direction == to_device ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost,
                                     t->stream),
                "cuda cache, exact tokens", error);
        }
    }
    return status;
}

/* ---- Both ways ---- */

static kvb_status move_all(transfer *t, kvb_error *error) {
    const kvb_cache_spec *spec = &t->host->spec;
    kvb_status status = KVB_OK;
    t->bytes = chunk_bytes;
    for (int i = 0; i < spec->n_layers; i++) {
        const size_t page = t->host->layers[i].page_bytes;
        t->bytes = page > t->bytes ? page : t->bytes;
    }
    status = kvb_cuda_status((int)cudaMallocHost((void **)&t->pinned, t->bytes), "cuda cache, transfer", error);
    for (int sequence = 0; sequence < spec->max_sequences && status == KVB_OK; sequence++) {
        for (int layer = 0; layer < spec->n_layers && t->host->sequences[sequence].is_open && status == KVB_OK;
             layer++) {
            status = move_exact(t, sequence, layer, error);
            status = status == KVB_OK ? move_pages(t, sequence, layer, error) : status;
        }
    }
    status = status == KVB_OK ? wait_for(t, error) : status;
    cudaFreeHost(t->pinned);
    return status;
}

static kvb_status check(const kvb_cuda_cache *cache, const kvb_cache *host, const char *what, void *stream,
                        kvb_error *error) {
    kvb_status status = kvb_cuda_books_between(cache, error);
    if (status == KVB_OK && !host) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s: host is NULL", what);
    }
    return status == KVB_OK ? cache->queue.check(cache, what, stream, error) : status;
}

kvb_status kvb_cuda_cache_download(kvb_cuda_cache *cache, kvb_cache *host, void *stream, kvb_error *error) {
    transfer t = {.cache = cache, .host = host, .direction = to_host, .stream = stream};
    kvb_status status;
    if ((status = check(cache, host, "kvb_cuda_cache_download", stream, error)) ||
        (status = kvb_mirror_books(host, cache->books, host, error))) {
        return status;
    }
    if ((status = move_all(&t, error))) {
        kvb_mirror_empty(host);
    }
    return status;
}

kvb_status kvb_cuda_cache_upload(kvb_cuda_cache *cache, const kvb_cache *host, void *stream, kvb_error *error) {
    transfer t = {.cache = cache, .host = host, .direction = to_device, .stream = stream};
    kvb_status status;
    if ((status = check(cache, host, "kvb_cuda_cache_upload", stream, error))) {
        return status;
    }
    kvb_cuda_books_gather(cache, stream);
    if ((status = kvb_mirror_books(cache->books, host, host, error))) {
        return status;
    }
    for (int i = 0; i < cache->books->spec.max_sequences; i++) {
        cache->marks[i] |= KVB_CUDA_IS_STALE;
    }
    if ((status = kvb_cuda_books_settle(cache, error)) || (status = move_all(&t, error))) {
        kvb_mirror_empty(cache->books);
    }
    return status;
}
