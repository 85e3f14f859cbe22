// The loops behind loops.h.
#include "loops.h"

#include "loops.cuh"

#include <cuda_runtime_api.h>

namespace {

// Per multiprocessor 16 warps with eight sums each: more than latency times width of any tensor core that takes mma.
enum { BLOCKS = 2, WARPS = 8, SUMS = 8, ROUNDS = 4096, OPERATIONS = 2 * 16 * 8 * 16 };

__global__ void __launch_bounds__(WARPS * 32) multiply_add(float *sink) {
    const uint32_t one = 0x3c003c00u; // halves
    float sums[SUMS][4];
    for (int i = 0; i < SUMS; i++) { // all different, or the assembler makes one product of eight
        sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = (float)i;
    }
#pragma unroll 4
    for (int round = 0; round < ROUNDS; round++) {
#pragma unroll
        for (int i = 0; i < SUMS; i++) {
            asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %4, %4, %4}, "
                         "{%4, %4}, {%0, %1, %2, %3};"
                         : "+f"(sums[i][0]), "+f"(sums[i][1]), "+f"(sums[i][2]), "+f"(sums[i][3])
                         : "r"(one));
        }
    }
    float all = 0.0f;
    for (int i = 0; i < SUMS; i++) {
        all += sums[i][0] + sums[i][1] + sums[i][2] + sums[i][3];
    }
    if (all == -1.0f) {
        *sink = all;
    }
}

} // namespace

int kvb_bench_launch_read(const void *from, size_t bytes, void *sink) {
    kvb_loops::read_all<<<1056, 256>>>((const uint4 *)from, bytes / 16, (uint32_t *)sink);
    return (int)cudaGetLastError();
}

int kvb_bench_launch_fill(const void *from, size_t bytes, void *sink) {
    kvb_loops::fill_cache<<<1056, 256>>>((const uint4 *)from, bytes / 16, (uint32_t *)sink);
    return (int)cudaGetLastError();
}

int kvb_bench_launch_mma(int multiprocessors, void *sink) {
    multiply_add<<<BLOCKS * multiprocessors, WARPS * 32>>>((float *)sink);
    return (int)cudaGetLastError();
}

double kvb_bench_mma_operations(int multiprocessors) {
    return (double)BLOCKS * multiprocessors * WARPS * SUMS * ROUNDS * OPERATIONS;
}
