// What racecheck says of code that has no race: four pairs of warps, each with a place of its own that bulk copies
// fill, read as the attention kernels read theirs, then an exchange in the whole block between two __syncthreads; all
// that six times. Pairs take different numbers of rounds.
//     compute-sanitizer --tool racecheck racecheck_control [named | arrive | whole]
// named: the pair meets at a named barrier before a refill, as the product does. arrive: its warps arrive at an
// mbarrier, and who finds itself last refills. whole: the whole block meets (rounds are then equal).
#include "../../src/cuda/attend_copies.cuh"

#include <cstdio>
#include <cstring>

enum { named, arrive, whole };
constexpr int bytes = 1024, pairs = 4, warps = 2 * pairs, segments = 6;

template <int HOW> __host__ __device__ constexpr int rounds_of(int pair, int segment) {
    return HOW == whole ? 4 : 1 + (pair * 3 + segment * 5) % 7;
}

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
    __shared__ __align__(128) uint32_t place[pairs][bytes / 4];
    __shared__ uint64_t full[pairs], empty[pairs];
    __shared__ uint32_t sums[warps];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, pair = warp / 2, part = warp % 2;
    const uint64_t policy = kvb::read_once_policy();
    if (lane == 0 && part == 0) {
        kvb::barrier_init(&full[pair]);
        asm volatile("mbarrier.init.shared.b64 [%0], 2;" ::"r"(kvb::shared_address(&empty[pair])) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    __syncthreads();
    auto fill = [&] {
        kvb::barrier_expect(&full[pair], bytes);
        kvb::bulk_copy(place[pair], from, bytes, &full[pair], policy);
    };
    if (lane == 0 && part == 0) {
        fill();
    }
    uint32_t total = 0, parity = 0;
    for (int segment = 0; segment < segments; segment++) {
        uint32_t sum = 0;
        const int rounds = rounds_of<HOW>(pair, segment);
        for (int round = 0; round < rounds; round++, parity ^= 1) {
            kvb::barrier_wait(&full[pair], parity);
            for (int i = part * 128 + lane; i < part * 128 + 128; i += 32) {
                sum += place[pair][i];
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
            if (fills && (round + 1 < rounds || segment + 1 < segments)) {
                fill();
            }
        }
        sum = __reduce_add_sync(0xffffffffu, sum);
        if (lane == 0) {
            sums[warp] = sum;
        }
        __syncthreads();
        for (int w = 0; w < warps; w++) {
            total += sums[w];
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        *out = total;
    }
}

template <int HOW> int run(const char *name, const uint32_t *from, uint32_t *out) {
    uint32_t got = 0, expected = 0;
    read_rings<HOW><<<1, warps * 32>>>(from, out);
    cudaMemcpy(&got, out, 4, cudaMemcpyDeviceToHost);
    for (int i = 0; i < pairs * segments; i++) {
        expected += rounds_of<HOW>(i % pairs, i / pairs) * (bytes / 4);
    }
    std::printf("%s: %u of %u, %s\n", name, got, expected, cudaGetErrorString(cudaGetLastError()));
    return got != expected;
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "named";
    uint32_t *from, *out, ones[bytes / 4];
    for (uint32_t &x : ones) {
        x = 1;
    }
    cudaMalloc(&from, sizeof ones);
    cudaMalloc(&out, 4);
    cudaMemcpy(from, ones, sizeof ones, cudaMemcpyHostToDevice);
    return !std::strcmp(how, "arrive")  ? run<arrive>(how, from, out)
           : !std::strcmp(how, "whole") ? run<whole>(how, from, out)
                                        : run<named>(how, from, out);
}
