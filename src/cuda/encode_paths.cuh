// The path of least error through a trellis of 8 or 16 states (docs/format.md, section 3), a row to a lane: all states
// are registers, so that no lane waits for another.
#pragma once
#include "encode_pairs.cuh"
#include "encode_trellis.cuh"
#include "encode_words.cuh"
#include "layout.h"

namespace kvb {

// Of the branch out of state p with input 0: p is of the lower half of the states, whose highest bit is 0. That bit and
// the input change it by 2.
template <int STATES> __host__ __device__ constexpr int subset_of(int p) {
    uint32_t taps0 = 0, taps1 = 0, bit0 = 0, bit1 = 0;
#define TAPS(n, memory, a, b)                                                                                          \
    if (STATES == (n)) {                                                                                               \
        taps0 = (a);                                                                                                   \
        taps1 = (b);                                                                                                   \
    }
    KVB_EACH_TRELLIS(TAPS)
#undef TAPS
    for (int i = 0; i < 31; i++) {
        bit0 ^= (uint32_t)p << 1 & taps0 & 1u << i ? 1 : 0;
        bit1 ^= (uint32_t)p << 1 & taps1 & 1u << i ? 1 : 0;
    }
    return (int)(bit0 | bit1 << 1);
}

// A lane's row in shared memory: its coordinates, and a word for two of them. In that first lie the ways, a bit for
// each state: whether the better one came from the upper half; then codes, a level and in bit 7 the input. The even
// coordinate has the upper 16 bits.
struct OwnRow {
    const float *x;
    uint32_t *pairs;
};

// In shared memory, by address: all buckets, and all centroids.
struct PathTables {
    uint32_t buckets, centroids;
};
__device__ __forceinline__ float load_shared(uint32_t at) {
    float x;
    asm("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(at));
    return x;
}

// The first of a coordinate's four candidates.
__device__ __forceinline__ int first_candidate(const kvb_cuda_format &f, const PathTables &tables, float value) {
    const uint32_t bucket = kvb_bucket_number(f.bucket_factor, f.bucket_offset, f.bucket_step, value);
    return (int)(level_of(tables.buckets + 4 * bucket, value) & LEVEL);
}

// What two coordinates add to the costs, by the subset that they are of.
struct Errors {
    float of[2][4];
};
__device__ __forceinline__ Errors errors_of(const kvb_cuda_format &f, const PathTables &tables, OwnRow row, int pair,
                                            float r) {
    Errors errors;
#pragma unroll
    for (int k = 0; k < 2; k++) {
        const float value = __fmul_rn(row.x[2 * pair + k], r);
        const int first = first_candidate(f, tables, value);
#pragma unroll
        for (int subset = 0; subset < 4; subset++) {
            const uint32_t level = (uint32_t)(first + 3 - subset) / 4 * 4 + subset;
            const float off = __fsub_rn(value, load_shared(tables.centroids + 4 * level));
            errors.of[k][subset] = __fmul_rn(off, off);
        }
    }
    return errors;
}

// Costs before a coordinate become those behind it; returns the ways, of state t in bit t. Two chains of shifts, so
// that one need not wait for the other.
template <int STATES> __device__ __forceinline__ uint32_t step_forward(float (&cost)[STATES], const float (&error)[4]) {
    float next[STATES];
    uint32_t ways[2] = {0, 0};
#pragma unroll
    for (int i = STATES - 1; i >= 0; i--) {
        const int t = i / 2 + i % 2 * (STATES / 2), p = t / 2, subset = subset_of<STATES>(p) ^ (t % 2) << 1;
        const float low = __fadd_rn(cost[p], error[subset]), high = __fadd_rn(cost[p + STATES / 2], error[subset ^ 2]);
        next[t] = fminf(low, high); // costs of rows that keep their codes are no NaNs
        uint32_t &upper_or_lower = ways[i % 2];
        upper_or_lower = __funnelshift_l(__float_as_uint(__fsub_rn(high, low)), upper_or_lower, 1); // the sign: less
    }
#pragma unroll
    for (int t = 0; t < STATES; t++) {
        cost[t] = next[t];
    }
    return ways[1] << STATES / 2 | ways[0];
}

// Returns the last state.
template <int DIM, int STATES>
__device__ __forceinline__ int walk_forward(const kvb_cuda_format &f, const PathTables &tables, OwnRow row, float r) {
    float cost[STATES];
#pragma unroll
    for (int t = 0; t < STATES; t++) {
        cost[t] = t == 0 ? 0.0f : CUDART_INF_F;
    }
    Errors next = errors_of(f, tables, row, 0, r);
#pragma unroll 1
    for (int pair = 0; pair < DIM / 2; pair++) {
        const Errors errors = next; // those behind them are looked up meanwhile
        next = errors_of(f, tables, row, min(pair + 1, DIM / 2 - 1), r);
        const uint32_t even = step_forward<STATES>(cost, errors.of[0]);
        row.pairs[pair] = even << 16 | step_forward<STATES>(cost, errors.of[1]);
    }
    int state = 0;
#pragma unroll
    for (int t = 1; t < STATES; t++) {
        state = cost[t] < cost[0] ? t : state;
        cost[0] = fminf(cost[t], cost[0]);
    }
    return state;
}

// Of two coordinates, what the way back needs: the ways, and the first candidates.
struct Candidates {
    uint32_t ways;
    int first[2];
};
__device__ __forceinline__ Candidates candidates_of(const kvb_cuda_format &f, const PathTables &tables, OwnRow row,
                                                    int pair, float r) {
    return {row.pairs[pair],
            {first_candidate(f, tables, __fmul_rn(row.x[2 * pair], r)),
             first_candidate(f, tables, __fmul_rn(row.x[2 * pair + 1], r))}};
}

// From the last state back: ways become codes.
template <int DIM, int STATES>
__device__ __forceinline__ void walk_back(const kvb_cuda_format &f, const PathTables &tables, OwnRow row, float r,
                                          int state) {
    Candidates next = candidates_of(f, tables, row, DIM / 2 - 1, r);
#pragma unroll 1
    for (int pair = DIM / 2 - 1; pair >= 0; pair--) {
        const Candidates at = next;
        next = candidates_of(f, tables, row, max(pair - 1, 0), r);
        uint32_t codes = 0;
#pragma unroll
        for (int k = 1; k >= 0; k--) {
            const int is_high = (int)(at.ways >> (k ? 0 : 16) >> state & 1), input = state & 1, p = state >> 1;
            const int subset = (subset_of<STATES>(1) * (p & 1)) ^ (subset_of<STATES>(2) * (p >> 1 & 1)) ^
                               (STATES == 16 ? subset_of<STATES>(4) * (p >> 2 & 1) : 0) ^ (input ^ is_high) << 1;
            codes |= (uint32_t)((at.first[k] + ((subset - at.first[k]) & 3)) | input << INPUT) << (k ? 0 : 16);
            state = p | is_high * (STATES / 2);
        }
        row.pairs[pair] = codes;
    }
}

// The sums of the format's sixteen lanes, all this lane's.
__device__ __forceinline__ float fold_own(float (&sums)[16]) {
#pragma unroll
    for (int h = 8; h > 0; h /= 2) {
#pragma unroll
        for (int l = 0; l < h; l++) {
            sums[l] = __fadd_rn(sums[l], sums[l + h]);
        }
    }
    return sums[0];
}
template <int DIM> __device__ __forceinline__ Sums sum_path(const PathTables &tables, OwnRow row) {
    float row_c[16] = {}, c_c[16] = {};
#pragma unroll 1
    for (int i = 0; i < DIM; i += 16) {
#pragma unroll
        for (int l = 0; l < 16; l++) {
            const uint32_t code = row.pairs[(i + l) / 2] >> (l % 2 ? 0 : 16) & LEVEL;
            const float c = load_shared(tables.centroids + 4 * code);
            row_c[l] = __fadd_rn(row_c[l], __fmul_rn(row.x[i + l], c));
            c_c[l] = __fadd_rn(c_c[l], __fmul_rn(c, c));
        }
    }
    return {fold_own(row_c), fold_own(c_c)};
}

// A row's codes, its sum of squares given; returns the bits of its scale.
template <int DIM, int STATES>
__device__ __forceinline__ uint32_t encode_own(const kvb_cuda_format &f, const PathTables &tables, OwnRow row,
                                               float sum) {
    const Start start = start_of(f, sum);
    const Sums sums = choose_best(f, start.r, [&](float r) {
        walk_back<DIM, STATES>(f, tables, row, r, walk_forward<DIM, STATES>(f, tables, row, r));
        return sum_path<DIM>(tables, row);
    });
    const Stored stored = stored_scale(f, start, sums);
    for (int pair = 0; pair < DIM / 2 && !stored.has_codes; pair++) {
        row.pairs[pair] = 0;
    }
    return stored.bits;
}

// Bits of a lane's words that codes of half `half` and element `of_pair` of pairs have (fragments.h).
template <int BITS, int STEPS> struct PathMasks {
    uint32_t of[2][2][kvb_fragment_words(STEPS, KVB_FRAGMENT_TRELLIS + BITS)];
    constexpr PathMasks() : of() {
        for (int i = 0; i < 8 * STEPS * BITS; i++) {
            const int bit = i % BITS, half = i / BITS % 2, of_pair = i / BITS / 2 % 2, pair = i / BITS / 4;
            const kvb_place at = kvb_fragment_trellis_place(STEPS, BITS, half, pair, of_pair, bit);
            of[half][of_pair][at.word] |= 1u << at.bit;
        }
    }
};

// A block's words from the codes of its tokens, the first token's at `pairs`, `stride` words from row to row.
template <int BITS, int STEPS>
__device__ __forceinline__ void store_paths(bool is_value, const uint32_t *pairs, int stride, int begin, int end,
                                            uint8_t *block, int lane) {
    constexpr int n = kvb_fragment_words(STEPS, KVB_FRAGMENT_TRELLIS + BITS);
    constexpr PathMasks<BITS, STEPS> all;
    uint32_t words[n] = {}, fresh[n] = {};
    const int token = is_value ? lane % 4 * 2 : lane / 4, run = is_value ? 2 * STEPS : 4 * STEPS,
              first = (is_value ? lane / 4 : lane % 4) * run;
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
        for (int of_pair = 0; of_pair < 2; of_pair++) {
            const int mine = token + 8 * half + (is_value ? of_pair : 0);
            const uint16_t *codes = (const uint16_t *)(pairs + mine * stride) + first;
            const bool is_new = mine >= begin && mine < end;
#pragma unroll
            for (int pair = 0; pair < 2 * STEPS; pair++) { // the even coordinate of two lies behind the odd one
                const uint32_t code = codes[is_value ? pair ^ 1 : 2 * pair + 1 - of_pair];
#pragma unroll
                for (int bit = 0; bit < BITS; bit++) { // the place is the level but for its lowest two bits
                    const kvb_place at = kvb_fragment_trellis_place(STEPS, BITS, half, pair, of_pair, bit);
                    words[at.word] |= (code >> (bit == 0 ? INPUT : bit + 1) & 1) << at.bit;
                }
            }
#pragma unroll
            for (int i = 0; i < n; i++) {
                fresh[i] |= is_new ? all.of[half][of_pair][i] : 0;
            }
        }
    }
    store_words<n>(words, begin == 0 && end == KVB_BLOCK_TOKENS, fresh, block, lane);
}

} // namespace kvb
