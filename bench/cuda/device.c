/* The GPU, its memory, and how a launch on it is timed. */
#include "gpu.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "loops.h"

enum { LINES = 256 << 20 }; /* bytes: twice the L2 of any GPU in sight */

int kvb_bench_has_cuda(void) {
    return 1;
}

kvb_status kvb_bench_cuda_status(int code, const char *what, kvb_error *error) {
    if (code == cudaSuccess)
        return KVB_OK;
    return kvb_error_set(error, code == cudaErrorMemoryAllocation ? KVB_ERROR_MEMORY : KVB_ERROR_UNSUPPORTED,
                         "%s: CUDA says %s (%s)", what, cudaGetErrorName((cudaError_t)code),
                         cudaGetErrorString((cudaError_t)code));
}

/* "580.159.04" where the kernel says so; else the CUDA version that the driver is for. */
static void read_driver(char *out, size_t bytes) {
    char line[256] = "";
    int version = 0;
    FILE *file = fopen("/proc/driver/nvidia/version", "r");
    if (file && !fgets(line, sizeof line, file))
        line[0] = '\0';
    if (file)
        fclose(file);
    for (char *word = strtok(line, " \t"); word; word = strtok(NULL, " \t"))
        if (word[0] >= '0' && word[0] <= '9' && strspn(word, "0123456789.") == strlen(word)) {
            snprintf(out, bytes, "%s", word);
            return;
        }
    if (cudaDriverGetVersion(&version) == cudaSuccess)
        snprintf(out, bytes, "CUDA %d.%d", version / 1000, version % 1000 / 10);
}

kvb_status kvb_bench_gpu_read(int index, kvb_bench_gpu *out, kvb_error *error) {
    kvb_cuda_device device;
    int version = 0;
    *out = (kvb_bench_gpu){.backend = ""};
    kvb_status status = kvb_cuda_device_get(index, &device, error);
    if (status == KVB_OK)
        status = kvb_bench_cuda_status((int)cudaRuntimeGetVersion(&version), "cuda", error);
    if (status != KVB_OK)
        return status;
    snprintf(out->backend, sizeof out->backend, "cuda:%d", index);
    snprintf(out->name, sizeof out->name, "%s", device.name);
    snprintf(out->runtime, sizeof out->runtime, "%d.%d", version / 1000, version % 1000 / 10);
    read_driver(out->driver, sizeof out->driver);
    out->major = device.major;
    out->minor = device.minor;
    out->multiprocessors = device.multiprocessors;
    out->memory = (double)device.memory;
    out->compiler = KVB_BENCH_CUDA_COMPILER;
    out->build_flags = KVB_BENCH_CUDA_FLAGS;
    return KVB_OK;
}

static void release_memory(void *memory) {
    cudaFree(memory);
}

static void release_event(void *event) {
    cudaEventDestroy((cudaEvent_t)event);
}

kvb_status kvb_bench_gpu_allocate(kvb_bench_device *device, size_t bytes, void **out, kvb_error *error) {
    *out = NULL;
    const int code = (int)cudaMalloc(out, bytes);
    if (code == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* no error of the calls that follow */
        return kvb_error_set(error, KVB_ERROR_MEMORY,
                             "%s has no memory for %zu bytes more; shorter --kv-len, smaller --batch, fewer --shapes "
                             "and fewer --bits need less",
                             device->suite->gpu->backend, bytes);
    }
    kvb_status status = kvb_bench_cuda_status(code, "memory of the device", error);
    return status == KVB_OK ? kvb_bench_own(device->suite, *out, release_memory, error) : status;
}

kvb_status kvb_bench_gpu_upload(kvb_bench_device *device, const void *from, size_t bytes, void **out,
                                kvb_error *error) {
    kvb_status status = kvb_bench_gpu_allocate(device, bytes, out, error);
    if (status == KVB_OK)
        status = kvb_bench_cuda_status((int)cudaMemcpy(*out, from, bytes, cudaMemcpyHostToDevice), "copy", error);
    return status;
}

kvb_status kvb_bench_gpu_normals(kvb_bench_device *device, uint64_t seed, size_t n, void **out, kvb_error *error) {
    float *floats = malloc(n * sizeof *floats);
    uint16_t *values = malloc(n * sizeof *values);
    kvb_status status =
        floats && values ? KVB_OK : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %zu Gaussian values", n);
    if (status == KVB_OK) {
        kvb_bench_normals(seed, 1.0f, floats, n);
        for (size_t i = 0; i < n; i++)
            values[i] = kvb_f32_to_bf16(floats[i]);
        status = kvb_bench_gpu_upload(device, values, n * sizeof *values, out, error);
    }
    free(floats);
    free(values);
    return status;
}

typedef struct timed {
    kvb_bench_device *device;
    kvb_status (*launch)(void *context, kvb_error *error);
    void *context;
} timed;

static kvb_status time_launch(void *context, double *ns, kvb_error *error) {
    const timed *t = context;
    cudaEvent_t start = t->device->start, stop = t->device->stop;
    float ms = 0.0f;
    int code = kvb_bench_launch_fill(t->device->lines, LINES, t->device->sink);
    if (code == cudaSuccess)
        code = (int)cudaEventRecord(start, NULL);
    kvb_status status = code == cudaSuccess ? t->launch(t->context, error) : KVB_OK;
    if (status == KVB_OK && code == cudaSuccess)
        code = (int)cudaEventRecord(stop, NULL);
    if (status == KVB_OK && code == cudaSuccess)
        code = (int)cudaEventSynchronize(stop);
    if (status == KVB_OK && code == cudaSuccess)
        code = (int)cudaEventElapsedTime(&ms, start, stop);
    *ns = 1e6 * (double)ms;
    return status == KVB_OK ? kvb_bench_cuda_status(code, "timing", error) : status;
}

kvb_status kvb_bench_gpu_add(kvb_bench_device *device, const kvb_bench_row *row, double units,
                             kvb_status (*launch)(void *context, kvb_error *error), void *context, kvb_error *error) {
    timed *t = NULL;
    kvb_status status = kvb_bench_allocate(device->suite, sizeof *t, (void **)&t, error);
    if (status != KVB_OK)
        return status;
    *t = (timed){.device = device, .launch = launch, .context = context};
    return kvb_bench_add(device->suite,
                         &(kvb_bench_kernel){.row = *row, .time = time_launch, .context = t, .units = units}, error);
}

kvb_status kvb_bench_gpu_open(kvb_bench_device *device, kvb_error *error) {
    const char *what = device->suite->gpu->backend;
    void **events[] = {&device->start, &device->stop};
    kvb_status status = kvb_bench_cuda_status((int)cudaSetDevice(device->suite->config->gpu), what, error);
    for (int i = 0; i < 2 && status == KVB_OK; i++) {
        status = kvb_bench_cuda_status((int)cudaEventCreate((cudaEvent_t *)events[i]), what, error);
        if (status == KVB_OK)
            status = kvb_bench_own(device->suite, *events[i], release_event, error);
    }
    if (status == KVB_OK)
        status = kvb_bench_gpu_allocate(device, LINES, &device->lines, error);
    if (status == KVB_OK)
        status = kvb_bench_cuda_status((int)cudaMemset(device->lines, 1, LINES), what, error);
    if (status == KVB_OK)
        status = kvb_bench_gpu_allocate(device, 4, &device->sink, error);
    return status;
}
