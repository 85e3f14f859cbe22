/* A format's layer and pages on the device. */
#include <cuda_runtime_api.h>
#include <stdio.h>

#include "arena.h"
#include "gpu.h"

enum { DISTINCT = 16 }; /* pages that are encoded; the others are copies of them */

static void release_codec(void *codec) {
    kvb_codec_destroy(codec);
}

static void release_layer(void *layer) {
    kvb_cuda_layer_destroy(layer);
}

static kvb_bench_config with_states(const kvb_bench_device *device, int states) {
    kvb_bench_config config = *device->suite->config;
    config.trellis_states = states;
    return config;
}

static kvb_status make_codec(kvb_bench_device *device, int head_dim, double bits, int states, const kvb_codec **out,
                             kvb_error *error) {
    const kvb_bench_config config = with_states(device, states);
    const kvb_codec_spec spec = kvb_bench_codec_spec(&config, head_dim, bits);
    kvb_codec *codec = NULL;
    *out = NULL;
    if (bits == KVB_BENCH_DENSE)
        return KVB_OK;
    kvb_status status = kvb_codec_create(&spec, NULL, NULL, &codec, error);
    *out = codec;
    return status == KVB_OK ? kvb_bench_own(device->suite, codec, release_codec, error) : status;
}

kvb_status kvb_bench_gpu_layer(kvb_bench_device *device, const kvb_bench_shape *shape, kvb_bench_pair bits, int states,
                               kvb_cuda_layer **out, kvb_error *error) {
    kvb_cuda_layer_spec spec = {.device = device->suite->config->gpu,
                                .n_kv_heads = shape->n_kv_heads,
                                .n_q_heads = shape->n_heads,
                                .dense = KVB_BF16};
    *out = NULL;
    kvb_status status = make_codec(device, shape->head_dim, bits.k_bits, states, &spec.k_codec, error);
    if (status == KVB_OK)
        status = make_codec(device, shape->head_dim, bits.v_bits, states, &spec.v_codec, error);
    spec.k_dim = spec.v_dim = shape->head_dim;
    if (status == KVB_OK)
        status = kvb_cuda_layer_create(&spec, NULL, out, error);
    return status == KVB_OK ? kvb_bench_own(device->suite, *out, release_layer, error) : status;
}

/* Gaussian rows into the first pages. */
static kvb_status encode_some(kvb_bench_device *device, const kvb_cuda_layer *layer, void *pages, int n_pages,
                              kvb_error *error) {
    int32_t numbers[DISTINCT], zero = 0, begin[2] = {0, n_pages * KVB_CUDA_PAGE_TOKENS};
    void *table = NULL, *length = NULL, *row_begin = NULL;
    for (int i = 0; i < n_pages; i++)
        numbers[i] = i;
    kvb_status status = kvb_bench_gpu_upload(device, numbers, sizeof numbers, &table, error);
    if (status == KVB_OK)
        status = kvb_bench_gpu_upload(device, &zero, sizeof zero, &length, error);
    if (status == KVB_OK)
        status = kvb_bench_gpu_upload(device, begin, sizeof begin, &row_begin, error);
    if (status != KVB_OK)
        return status;
    const kvb_cuda_pages where = {
        .pool = pages, .table = table, .table_stride = DISTINCT, .lengths = length, .n_sequences = 1};
    const kvb_cuda_rows rows = {
        .k = device->rows[0], .v = device->rows[1], .dtype = KVB_BF16, .row_begin = row_begin, .most_rows = begin[1]};
    status = kvb_cuda_append(layer, &where, &rows, NULL, error);
    return status == KVB_OK ? kvb_bench_cuda_status((int)cudaDeviceSynchronize(), "encoding", error) : status;
}

static kvb_status fill(kvb_bench_device *device, const kvb_cuda_layer *layer, uint8_t *pages, kvb_error *error) {
    const size_t page_bytes = kvb_cuda_layer_page_bytes(layer), all = device->n_pages;
    size_t filled = all < DISTINCT ? all : DISTINCT;
    kvb_status status = encode_some(device, layer, pages, (int)filled, error);
    while (status == KVB_OK && filled < all) {
        const size_t more = 2 * filled < all ? filled : all - filled;
        status = kvb_bench_cuda_status(
            (int)cudaMemcpy(pages + filled * page_bytes, pages, more * page_bytes, cudaMemcpyDeviceToDevice), "copy",
            error);
        filled += more;
    }
    return status;
}

kvb_status kvb_bench_gpu_pages(kvb_bench_device *device, const kvb_bench_shape *shape, kvb_bench_pair bits, int states,
                               const kvb_cuda_layer *layer, void **out, kvb_error *error) {
    kvb_bench_pool *pool = NULL;
    for (pool = device->pools; pool; pool = pool->next)
        if (pool->n_kv_heads == shape->n_kv_heads && pool->head_dim == shape->head_dim && pool->states == states &&
            pool->bits.k_bits == bits.k_bits && pool->bits.v_bits == bits.v_bits) {
            *out = pool->pages;
            return KVB_OK;
        }
    kvb_status status = kvb_bench_allocate(device->suite, sizeof *pool, (void **)&pool, error);
    if (status == KVB_OK)
        status = kvb_bench_gpu_allocate(device, device->n_pages * kvb_cuda_layer_page_bytes(layer), out, error);
    if (status != KVB_OK)
        return status;
    *pool = (kvb_bench_pool){device->pools, shape->n_kv_heads, shape->head_dim, states, bits, *out};
    device->pools = pool;
    return fill(device, layer, *out, error);
}

kvb_bench_row kvb_bench_gpu_row(const kvb_bench_device *device, const char *work, const kvb_bench_shape *shape,
                                kvb_bench_pair bits, int states, const kvb_cuda_layer *layer) {
    const kvb_bench_config config = with_states(device, states);
    kvb_bench_row row = {.work = work,
                         .by = "kvbits",
                         .shape = shape->name,
                         .head_dim = shape->head_dim,
                         .backend = device->suite->gpu->backend,
                         .kernel = kvb_cuda_layer_is_tuned(layer) ? "tuned" : "general",
                         .level = KVB_LEVEL_DRAM,
                         .unit = "ns/call"};
    kvb_bench_codec_name(&config, bits.k_bits, row.k, sizeof row.k);
    kvb_bench_codec_name(&config, bits.v_bits, row.v, sizeof row.v);
    return row;
}
