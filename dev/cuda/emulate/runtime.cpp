// The CUDA runtime of an emulated GPU: what is asked for happens at once, in a capture when its graph is launched.
#include "emulate.h"

#include <map>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <vector>

namespace emu {
void run_now(const Launch &l);

namespace {
cudaError_t last = cudaSuccess;
struct Graph {
    std::vector<std::function<void()>> steps;
};
struct Stream {
    Graph *capture = nullptr;
};
void enqueue(cudaStream_t stream, const std::function<void()> &step) {
    Stream *s = (Stream *)stream;
    if (s && s->capture) {
        s->capture->steps.push_back(step);
    } else {
        step();
    }
}
cudaError_t set(cudaError_t error) {
    if (error != cudaSuccess) {
        last = error;
    }
    return error;
}
std::map<void *, std::pair<void *, size_t>> allocated;
} // namespace

int shared_limit(const void *kernel);

void launch(Launch l) {
    const size_t threads = (size_t)l.block.x * l.block.y * l.block.z;
    if (threads == 0 || threads > 1024 || l.block.y != 1 || l.block.z != 1 || l.grid.x == 0 || l.grid.y == 0 ||
        l.grid.z == 0 || l.grid.y > 65535 || l.grid.z > 65535 || l.cluster > 8 || l.grid.x % l.cluster ||
        l.bytes > (size_t)shared_limit(l.kernel)) {
        fprintf(stderr, "emulated GPU: a launch of (%u, %u, %u) x %u threads with %zu bytes, clusters of %u\n",
                l.grid.x, l.grid.y, l.grid.z, l.block.x, l.bytes, l.cluster);
        set(cudaErrorInvalidConfiguration);
        return;
    }
    enqueue(l.stream, [l] { run_now(l); });
}
} // namespace emu

using emu::set;

#define OK_CALL(signature)                                                                                             \
    cudaError_t signature {                                                                                            \
        return cudaSuccess;                                                                                            \
    }

extern "C" {
OK_CALL(cudaDeviceSynchronize(void))
OK_CALL(cudaStreamSynchronize(cudaStream_t))
OK_CALL(cudaSetDevice(int))
OK_CALL(cudaEventRecord(cudaEvent_t, cudaStream_t))

cudaError_t cudaGetLastError(void) {
    const cudaError_t error = emu::last;
    emu::last = cudaSuccess;
    return error;
}
const char *cudaGetErrorName(cudaError_t error) {
    return error == cudaSuccess ? "cudaSuccess" : "an error";
}
const char *cudaGetErrorString(cudaError_t error) {
    static char text[64];
    snprintf(text, sizeof text, error == cudaSuccess ? "no error" : "error %d", (int)error);
    return text;
}
cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *n) {
    *n = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int) {
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "emulated");
    p->major = 9;
    p->multiProcessorCount = emu::multiprocessors();
    p->totalGlobalMem = 8ull << 30;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int) {
    switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
        *value = emu::multiprocessors();
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
        *value = 9;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        *value = 0;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = 232448;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = 233472;
        return cudaSuccess;
    default:
        return set(cudaErrorInvalidValue);
    }
}

// Ends, up to 256 bytes, where a page begins that nobody may touch.
cudaError_t cudaMalloc(void **p, size_t bytes) {
    const size_t page = 4096, body = (bytes + 255) / 256 * 256, pages = (body + page - 1) / page * page;
    if (bytes > 4ull << 30) {
        return set(cudaErrorMemoryAllocation);
    }
    void *at = mmap(nullptr, pages + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        return set(cudaErrorMemoryAllocation);
    }
    mprotect(at, page, PROT_NONE);
    mprotect((uint8_t *)at + page + pages, page, PROT_NONE);
    *p = (uint8_t *)at + page + pages - body;
    memset(*p, 0xff, body);
    emu::allocated[*p] = {at, pages + 2 * page};
    return cudaSuccess;
}
cudaError_t cudaFree(void *p) {
    const auto found = emu::allocated.find(p);
    if (p && found == emu::allocated.end()) {
        return set(cudaErrorInvalidValue);
    }
    if (p) {
        munmap(found->second.first, found->second.second);
        emu::allocated.erase(found);
    }
    return cudaSuccess;
}
cudaError_t cudaMallocHost(void **p, size_t bytes) {
    return cudaMalloc(p, bytes);
}
cudaError_t cudaFreeHost(void *p) {
    return cudaFree(p);
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind, cudaStream_t stream) {
    emu::enqueue(stream, [=] { memmove(to, from, bytes); });
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    emu::enqueue(stream, [=] { memset(to, value, bytes); });
    return cudaSuccess;
}
cudaError_t cudaMemset(void *to, int value, size_t bytes) {
    return cudaMemsetAsync(to, value, bytes, nullptr);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    *stream = (cudaStream_t) new emu::Stream();
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete (emu::Stream *)stream;
    return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode) {
    ((emu::Stream *)stream)->capture = new emu::Graph();
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = (cudaGraph_t)((emu::Stream *)stream)->capture;
    ((emu::Stream *)stream)->capture = nullptr;
    return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    *status = stream && ((emu::Stream *)stream)->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *to, cudaGraph_t graph, unsigned long long) {
    *to = (cudaGraphExec_t) new emu::Graph(*(emu::Graph *)graph);
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t) {
    for (const auto &step : ((emu::Graph *)graph)->steps) {
        step();
    }
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete (emu::Graph *)graph;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    delete (emu::Graph *)graph;
    return cudaSuccess;
}
}
