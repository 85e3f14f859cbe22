// Loops that read device memory: what a GPU can do at most, and what fills its L2 before a launch is timed.
#pragma once
#include <cstddef>
#include <cstdint>

namespace kvb_loops {

// 16 bytes a thread at a time, four of them on their way; to be evicted first.
static __global__ void read_all(const uint4 *data, size_t n, uint32_t *out) {
    uint32_t x = 0;
    size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x, stride = (size_t)gridDim.x * blockDim.x;
    for (; i + 3 * stride < n; i += 4 * stride) {
        uint4 a = __ldcs(data + i), b = __ldcs(data + i + stride), c = __ldcs(data + i + 2 * stride),
              d = __ldcs(data + i + 3 * stride);
        x ^= a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w ^ c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
    }
    for (; i < n; i += stride) {
        uint4 a = __ldcs(data + i);
        x ^= a.x ^ a.y ^ a.z ^ a.w;
    }
    if (x == 0x12345678u) {
        *out = x;
    }
}

// Foreign lines into the L2. Plain loads: what is loaded to be evicted first (as read_all does) evicts little itself.
static __global__ void fill_cache(const uint4 *data, size_t n, uint32_t *out) {
    uint32_t x = 0;
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
        const uint4 a = data[i];
        x ^= a.x ^ a.y ^ a.z ^ a.w;
    }
    if (x == 0x12345678u) {
        *out = x;
    }
}

} // namespace kvb_loops
