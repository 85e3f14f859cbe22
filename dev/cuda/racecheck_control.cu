// What racecheck says of code that has no race: two pairs of warps, each with a ring of its own that a bulk copy fills,
// read as the attention kernels read theirs, then a sum over the whole block behind __syncthreads. `rounds` of the
// pairs differ.
//     compute-sanitizer --tool racecheck racecheck_control [named | arrive | whole]
// named: the pair meets at a named barrier before a refill, as the product does. arrive: its warps arrive at an
// mbarrier, and who finds itself last refills. whole: the whole block meets (rounds are then equal).
#include "../../src/cuda/attend_copies.cuh"

#include <cstdio>
#include <cstring>

enum { named, arrive, whole };
constexpr int bytes = 1024, warps = 4;

__device__ bool arrives_last(uint64_t *b) {
    uint64_t state;
    uint32_t pending, over = 0;
    asm volatile("mbarrier.arrive.shared.b64 %0, [%1];" : "=l"(state) : "r"(kvb::shared_address(b)) : "memory");
    asm("mbarrier.pending_count.b64 %0, %1;" : "=r"(pending) : "l"(state));
    while (pending == 1 && !over) {
        asm volatile("{\n.reg .pred p;\nmbarrier.test_wait.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                     : "=r"(over)
                     : "r"(kvb::shared_address(b)), "l"(state)
                     : "memory");
    }
    return over;
}

template <int HOW> __global__ void read_rings(const uint32_t *from, uint32_t *out) {
    __shared__ __align__(128) uint32_t ring[2][bytes / 4];
    __shared__ uint64_t full[2], empty[2];
    __shared__ uint32_t sums[warps];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, pair = warp / 2, part = warp % 2;
    const int rounds = HOW == whole ? 8 : pair ? 5 : 8;
    const uint64_t policy = kvb::read_once_policy();
    if (lane == 0 && part == 0) {
        kvb::barrier_init(&full[pair]);
        asm volatile("mbarrier.init.shared.b64 [%0], 2;" ::"r"(kvb::shared_address(&empty[pair])) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    __syncthreads();
    auto fill = [&](int round) {
        kvb::barrier_expect(&full[pair], bytes);
        kvb::bulk_copy(ring[pair], from + (pair * 8 + round) * (bytes / 4), bytes, &full[pair], policy);
    };
    if (lane == 0 && part == 0) {
        fill(0);
    }
    uint32_t sum = 0;
    for (int round = 0; round < rounds; round++) {
        kvb::barrier_wait(&full[pair], round % 2);
        for (int i = part * 128 + lane; i < part * 128 + 128; i += 32) {
            sum += ring[pair][i];
        }
        bool fills = lane == 0 && part == 0;
        if (HOW == named) {
            kvb::meet<64>(1 + pair);
        } else if (HOW == whole) {
            __syncthreads();
        } else {
            __syncwarp();
            fills = lane == 0 && arrives_last(&empty[pair]);
        }
        if (fills && round + 1 < rounds) {
            fill(round + 1);
        }
    }
    sum = __reduce_add_sync(0xffffffffu, sum);
    if (lane == 0) {
        sums[warp] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        *out = sums[0] + sums[1] + sums[2] + sums[3];
    }
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "named";
    uint32_t *from, *out, got = 0, ones[16 * bytes / 4];
    for (uint32_t &x : ones) {
        x = 1;
    }
    cudaMalloc(&from, sizeof ones);
    cudaMalloc(&out, 4);
    cudaMemcpy(from, ones, sizeof ones, cudaMemcpyHostToDevice);
    if (!std::strcmp(how, "arrive")) {
        read_rings<arrive><<<1, warps * 32>>>(from, out);
    } else if (!std::strcmp(how, "whole")) {
        read_rings<whole><<<1, warps * 32>>>(from, out);
    } else {
        read_rings<named><<<1, warps * 32>>>(from, out);
    }
    cudaMemcpy(&got, out, 4, cudaMemcpyDeviceToHost);
    const uint32_t expected = (std::strcmp(how, "whole") ? 13 : 16) * (bytes / 4);
    std::printf("%s: %u of %u, %s\n", how, got, expected, cudaGetErrorString(cudaGetLastError()));
    return got != expected;
}
