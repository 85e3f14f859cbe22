/* In place of the CUDA runtime: one GPU whose memory is the host's and whose kernels do nothing in no time, so that
 * what the host does with a GPU can be tested where there is none. $KVB_PRETENDED_CAPABILITY is its compute capability,
 * $KVB_PRETENDED_MEMORY the most bytes that one allocation gets. */
#include "pretended_runtime.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cudaError_t cudaGetDeviceCount(int *n) {
    *n = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *out, int device) {
    const char *capability = getenv("KVB_PRETENDED_CAPABILITY");
    memset(out, 0, sizeof *out);
    (void)device;
    snprintf(out->name, sizeof out->name, "a pretended GPU");
    if (sscanf(capability ? capability : "9.0", "%d.%d", &out->major, &out->minor) != 2) {
        return cudaErrorInvalidValue;
    }
    out->multiProcessorCount = 132;
    out->totalGlobalMem = (size_t)80 << 30;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    (void)device;
    *value = attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? 227 * 1024 : 132; /* multiprocessors */
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version) {
    return cudaRuntimeGetVersion(version);
}
cudaError_t cudaGetLastError(void) {
    return cudaSuccess;
}
const char *cudaGetErrorName(cudaError_t code) {
    (void)code;
    return "an error";
}
const char *cudaGetErrorString(cudaError_t code) {
    return cudaGetErrorName(code);
}

/* ---- Memory ---- */

cudaError_t cudaMalloc(void **out, size_t bytes) {
    const char *most = getenv("KVB_PRETENDED_MEMORY");
    *out = most && bytes > strtoull(most, NULL, 10) ? NULL : aligned_alloc(256, (bytes + 255) / 256 * 256);
    return *out ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void *memory) {
    free(memory);
    return cudaSuccess;
}
cudaError_t cudaMallocHost(void **out, size_t bytes) {
    *out = malloc(bytes);
    return *out ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void *memory) {
    return cudaFree(memory);
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    (void)kind;
    memcpy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream) {
    (void)stream;
    return cudaMemcpy(to, from, bytes, kind);
}
cudaError_t cudaMemset(void *memory, int value, size_t bytes) {
    memset(memory, value, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
    (void)stream;
    return cudaMemset(memory, value, bytes);
}
cudaError_t cudaDeviceSynchronize(void) {
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    (void)stream;
    return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *out) {
    (void)stream;
    *out = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}

/* ---- Events: some tenth of a millisecond between any two, never the same twice in a row ---- */

cudaError_t cudaEventCreate(cudaEvent_t *out) {
    *out = malloc(1);
    return *out ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    free(event);
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    (void)event, (void)stream;
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    (void)event;
    return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t stop) {
    static int calls;
    (void)start, (void)stop;
    *ms = 0.1f + 0.01f * (float)(calls++ % 11);
    return cudaSuccess;
}

/* ---- Kernels: what nvcc's host code calls to announce and to launch them ---- */

pretended_launch pretended_last;

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute attribute, int value) {
    (void)kernel, (void)attribute, (void)value;
    return cudaSuccess;
}
cudaError_t cudaLaunchKernel(const void *kernel, dim3 grid, dim3 block, void **arguments, size_t shared,
                             cudaStream_t stream) {
    (void)kernel, (void)grid, (void)block, (void)arguments, (void)shared, (void)stream;
    pretended_last = (pretended_launch){.n = pretended_last.n + 1};
    return cudaSuccess;
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *how, const void *kernel, void **arguments) {
    int is_early = 0;
    for (unsigned i = 0; i < how->numAttrs; i++) {
        is_early |= how->attrs[i].id == cudaLaunchAttributeProgrammaticStreamSerialization;
    }
    cudaLaunchKernel(kernel, how->gridDim, how->blockDim, arguments, how->dynamicSmemBytes, how->stream);
    pretended_last.is_early = is_early;
    if (is_early) {
        pretended_last.early_tokens = ((const kvb_cuda_attend_job *)arguments[0])->starts_early;
    }
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *out, const void *kernel, int threads,
                                                                   size_t shared, unsigned flags) {
    (void)kernel, (void)threads, (void)shared, (void)flags;
    *out = 1;
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveClusters(int *out, const void *kernel, const cudaLaunchConfig_t *how) {
    (void)kernel, (void)how;
    *out = 16;
    return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void **, size_t, cudaStream_t);
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared,
                               cudaStream_t stream) {
    return cudaLaunchKernel((const void *)kernel, grid, block, arguments, shared, stream);
}
cudaError_t __cudaGetKernel(cudaKernel_t *, const void *);
cudaError_t __cudaGetKernel(cudaKernel_t *out, const void *kernel) {
    *out = (cudaKernel_t)(uintptr_t)kernel;
    return cudaSuccess;
}
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, void *);
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream) {
    (void)grid, (void)block, (void)shared, (void)stream;
    return 0; /* go on and launch */
}
cudaError_t __cudaPopCallConfiguration(dim3 *, dim3 *, size_t *, void *);
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
    const dim3 one = {1, 1, 1};
    *grid = *block = one;
    *shared = 0;
    memset(stream, 0, sizeof(cudaStream_t));
    return cudaSuccess;
}
void **__cudaRegisterFatBinary(void *);
void **__cudaRegisterFatBinary(void *binary) {
    static void *handle;
    (void)binary;
    return &handle;
}
void __cudaRegisterFatBinaryEnd(void **);
void __cudaRegisterFatBinaryEnd(void **handle) {
    (void)handle;
}
void __cudaUnregisterFatBinary(void **);
void __cudaUnregisterFatBinary(void **handle) {
    (void)handle;
}
void __cudaRegisterFunction(void **, const char *, char *, const char *, int, void *, void *, void *, void *, int *);
void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name, int limit, void *thread,
                            void *block, void *block_size, void *grid_size, int *warp) {
    (void)handle, (void)host, (void)device, (void)name, (void)limit;
    (void)thread, (void)block, (void)block_size, (void)grid_size, (void)warp;
}
void __cudaRegisterVar(void **, char *, char *, const char *, int, size_t, int, int);
void __cudaRegisterVar(void **handle, char *host, char *device, const char *name, int is_extern, size_t bytes,
                       int is_constant, int is_global) {
    (void)handle, (void)host, (void)device, (void)name, (void)is_extern, (void)bytes, (void)is_constant;
    (void)is_global;
}
