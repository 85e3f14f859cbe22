/* What the GPU can do at most: reading and copying of its memory, and products on its tensor cores. */
#include <cuda_runtime_api.h>

#include "gpu.h"
#include "loops.h"

typedef struct ceiling {
    const kvb_bench_device *device;
    uint8_t *memory;
    size_t bytes;
} ceiling;

static kvb_status launch_read(void *context, kvb_error *error) {
    const ceiling *c = context;
    return kvb_bench_cuda_status(kvb_bench_launch_read(c->memory, c->bytes, c->device->sink), "read", error);
}

static kvb_status launch_copy(void *context, kvb_error *error) {
    const ceiling *c = context;
    const size_t half = c->bytes / 2;
    return kvb_bench_cuda_status(
        (int)cudaMemcpyAsync(c->memory + half, c->memory, half, cudaMemcpyDeviceToDevice, NULL), "copy", error);
}

static kvb_status launch_mma(void *context, kvb_error *error) {
    const kvb_bench_device *device = ((const ceiling *)context)->device;
    return kvb_bench_cuda_status(kvb_bench_launch_mma(device->suite->gpu->multiprocessors, device->sink), "mma", error);
}

kvb_status kvb_bench_gpu_add_ceilings(kvb_bench_device *device, kvb_error *error) {
    ceiling *c = NULL;
    kvb_bench_row row = {.work = "read",
                         .by = "kvbits",
                         .backend = device->suite->gpu->backend,
                         .temperature = "DRAM",
                         .level = KVB_LEVEL_DRAM,
                         .unit = "GB/s",
                         .rate = 1};
    kvb_status status = kvb_bench_allocate(device->suite, sizeof *c, (void **)&c, error);
    if (status != KVB_OK)
        return status;
    *c = (ceiling){.device = device, .bytes = device->suite->config->memory / 4096 * 4096};
    status = kvb_bench_gpu_allocate(device, c->bytes, (void **)&c->memory, error);
    if (status == KVB_OK)
        status = kvb_bench_cuda_status((int)cudaMemset(c->memory, 1, c->bytes), "memory", error);
    if (status == KVB_OK)
        status = kvb_bench_gpu_add(device, &row, (double)c->bytes, launch_read, c, error);
    row.work = "copy";
    if (status == KVB_OK)
        status = kvb_bench_gpu_add(device, &row, (double)c->bytes, launch_copy, c, error);
    row = (kvb_bench_row){
        .work = "mma", .by = "kvbits", .backend = device->suite->gpu->backend, .unit = "GFLOP/s", .rate = 1};
    if (status == KVB_OK)
        status = kvb_bench_gpu_add(device, &row, kvb_bench_mma_operations(device->suite->gpu->multiprocessors),
                                   launch_mma, c, error);
    return status;
}
