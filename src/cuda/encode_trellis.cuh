// The path of least error through a trellis (docs/format.md, section 3), by half a warp: a state in each lane, or a few
// that follow each other.
#pragma once
#include "page_job.h"

#include <math_constants.h>

namespace kvb {

constexpr int LANES = 16; // of a row: those of the format's summation tree

// A row's code on its way: the level, and in the highest bit the input.
constexpr int LEVEL = 0x7f, INPUT = 7;

// Of the branch out of state p with input 0.
__device__ __forceinline__ int subset_behind(const kvb_cuda_format &f, int p) {
    return (__popc(p << 1 & f.taps[0]) & 1) | (__popc(p << 1 & f.taps[1]) & 1) << 1;
}

// The state of least cost, the lowest of equals, in all lanes.
__device__ __forceinline__ int least_state(float cost, int state) {
    for (int h = LANES / 2; h > 0; h /= 2) {
        const float other_cost = __shfl_xor_sync(0xffffffffu, cost, h, LANES);
        const int other = __shfl_xor_sync(0xffffffffu, state, h, LANES);
        const bool is_less = other_cost < cost || (other_cost == cost && other < state);
        cost = is_less ? other_cost : cost;
        state = is_less ? other : state;
    }
    return __shfl_sync(0xffffffffu, state, 0, LANES);
}

// Of d coordinates. codes: the first of each one's four candidates, becomes its level and input. N states to a lane:
// lane l has l * N and those behind it; of 8 states lanes 8 to 15 have what lanes 0 to 7 have. A lane keeps a bit for
// each of its states and coordinates, whether the better way came from the upper half of the states: with one to a lane
// in `ways`, a word of the whole warp's for each coordinate.
template <int N>
__device__ void find_path(const kvb_cuda_format &f, int d, const float *row, float factor, const float *centroids,
                          uint8_t *codes, uint32_t *ways, int lane) {
    const int states = f.trellis_states, in_warp = threadIdx.x % 32;
    const int mine = N == 1 ? lane % states : lane * N; // the first
    constexpr int P = N == 1 ? 1 : N / 2;               // states that the lane's come from, of each half
    uint16_t own_ways[N == 1 ? 1 : KVB_MAX_HEAD_DIM];
    int subsets[P];
    float cost[N];
#pragma unroll
    for (int j = 0; j < P; j++) {
        subsets[j] = subset_behind(f, mine / 2 + j) ^ (N == 1 ? (mine & 1) << 1 : 0);
    }
#pragma unroll
    for (int j = 0; j < N; j++) {
        cost[j] = mine + j == 0 ? 0.0f : CUDART_INF_F;
    }
    for (int i = 0; i < d; i++) {
        const int first = codes[i], level = first + ((lane - first) & 3); // of subset lane % 4
        const float off = __fsub_rn(__fmul_rn(row[i], factor), centroids[level]), error = __fmul_rn(off, off);
        float low[P], high[P];
        if constexpr (N == 1) {
            low[0] = __shfl_sync(0xffffffffu, cost[0], mine / 2, LANES);
            high[0] = __shfl_sync(0xffffffffu, cost[0], mine / 2 + states / 2, LANES);
        } else {
#pragma unroll
            for (int j = 0; j < P; j++) { // lane / 2 has them, in its lower slots for even lanes
                const float low_even = __shfl_sync(0xffffffffu, cost[j], lane / 2, LANES),
                            low_odd = __shfl_sync(0xffffffffu, cost[P + j], lane / 2, LANES),
                            high_even = __shfl_sync(0xffffffffu, cost[j], lane / 2 + LANES / 2, LANES),
                            high_odd = __shfl_sync(0xffffffffu, cost[P + j], lane / 2 + LANES / 2, LANES);
                low[j] = lane % 2 ? low_odd : low_even;
                high[j] = lane % 2 ? high_odd : high_even;
            }
        }
        uint32_t way = 0;
#pragma unroll
        for (int j = 0; j < P; j++) {
            const float straight = __shfl_sync(0xffffffffu, error, subsets[j], LANES),
                        crossed = __shfl_sync(0xffffffffu, error, subsets[j] ^ 2, LANES);
#pragma unroll
            for (int input = 0; input < (N == 1 ? 1 : 2); input++) { // of a lane's only state it is in `subsets`
                const float from_low = __fadd_rn(low[j], input ? crossed : straight),
                            from_high = __fadd_rn(high[j], input ? straight : crossed);
                const bool is_high = from_high < from_low;
                cost[N == 1 ? 0 : 2 * j + input] = is_high ? from_high : from_low;
                way |= (uint32_t)is_high << (2 * j + input);
            }
        }
        if constexpr (N == 1) {
            way = __ballot_sync(0xffffffffu, way);
            if (in_warp == 0) {
                ways[i] = way;
            }
        } else {
            own_ways[i] = (uint16_t)way;
        }
    }
    float least = cost[0];
    int state = mine;
#pragma unroll
    for (int j = 1; j < N; j++) {
        const bool is_less = cost[j] < least;
        least = is_less ? cost[j] : least;
        state = is_less ? mine + j : state;
    }
    state = least_state(least, state);
    __syncwarp();
    for (int i = d - 1; i >= 0; i--) {
        int is_high;
        if constexpr (N == 1) {
            is_high = (int)(ways[i] >> (in_warp / LANES * LANES + state) & 1);
        } else {
            is_high = __shfl_sync(0xffffffffu, (int)own_ways[i], state / N, LANES) >> state % N & 1;
        }
        const int input = state & 1, p = state >> 1;
        if (i % LANES == lane) {
            const int first = codes[i], subset = subset_behind(f, p) ^ (input ^ is_high) << 1;
            codes[i] = (uint8_t)((first + ((subset - first) & 3)) | input << INPUT);
        }
        state = p | is_high << (f.trellis_memory - 1);
    }
    __syncwarp();
}

} // namespace kvb
