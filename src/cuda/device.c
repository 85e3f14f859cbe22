/* Devices, and what the runtime's errors mean. */
#include "layer.h"

#include <cuda_runtime_api.h>
#include <string.h>

kvb_status kvb_cuda_status(int code, const char *what, kvb_error *error) {
    switch ((cudaError_t)code) {
    case cudaSuccess:
        return KVB_OK;
    case cudaErrorMemoryAllocation:
        return kvb_error_set(error, KVB_ERROR_MEMORY, "%s: the device has not enough memory left", what);
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED, "%s: no CUDA device here (%s)", what,
                             cudaGetErrorString((cudaError_t)code));
    default:
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED, "%s: CUDA says %s (%s)", what,
                             cudaGetErrorName((cudaError_t)code), cudaGetErrorString((cudaError_t)code));
    }
}

kvb_status kvb_cuda_device_get(int index, kvb_cuda_device *out, kvb_error *error) {
    int n = 0;
    struct cudaDeviceProp properties;
    if (!out) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "kvb_cuda_device_get: out is NULL");
    }
    memset(out, 0, sizeof *out);
    kvb_status status = kvb_cuda_status((int)cudaGetDeviceCount(&n), "cuda", error);
    if (status != KVB_OK) {
        cudaGetLastError(); /* an absent device is no error of the calls that follow */
        return status;
    }
    if (index < 0 || index >= n) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda:%d: devices are cuda:0 to cuda:%d", index, n - 1);
    }
    status = kvb_cuda_status((int)cudaGetDeviceProperties(&properties, index), "cuda", error);
    if (status != KVB_OK) {
        return status;
    }
    memcpy(out->name, properties.name, sizeof out->name - 1);
    out->major = properties.major;
    out->minor = properties.minor;
    out->multiprocessors = properties.multiProcessorCount;
    out->memory = properties.totalGlobalMem;
    return KVB_OK;
}
