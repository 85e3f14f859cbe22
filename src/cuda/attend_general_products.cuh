// The general kernel's two products, by warps: columns' queries with the keys of two blocks, and columns' weights with
// the values of any number of blocks, 64 coordinates at a time. A lane multiplies what it unpacks; sums meet at the
// end.
#pragma once
#include "addresses.cuh"
#include "attend_general_codes.cuh"

namespace kvb {

constexpr int WARPS = 8, TILE = 32 * WARPS; // tokens: two blocks to a warp, a token to a thread
constexpr int LATENT_COLUMNS = 8;           // latent layers share a KV head among many queries: one kernel serves them

// Four sums of four lanes whose numbers differ in bits 0 and 1: lane t % 4 = k gets the sum of theirs of number k.
__device__ __forceinline__ float sum_of_four(float a, float b, float c, float d, int lane) {
    const bool high = lane & 2, odd = lane & 1;
    const float even_sum = (high ? c : a) + __shfl_xor_sync(0xffffffffu, high ? a : c, 2),
                odd_sum = (high ? d : b) + __shfl_xor_sync(0xffffffffu, high ? b : d, 2);
    return (odd ? odd_sum : even_sum) + __shfl_xor_sync(0xffffffffu, odd ? even_sum : odd_sum, 1);
}

// A lane's token of its warp's 32, and where a token's scores stand: a lane's four tokens of a block (2t, 2t + 1, 8
// more) beside each other.
__device__ __forceinline__ int token_of(int lane) {
    return lane % 4 / 2 * KVB_BLOCK_TOKENS + lane / 4 + lane % 2 * 8;
}
__device__ __forceinline__ int place_of(int token) {
    const int in = token % KVB_BLOCK_TOKENS;
    return token - in + in % 8 / 2 * 4 + in % 2 + in / 8 * 2;
}

// Where a coordinate of a part (one code, `dim` coordinates) of a query lies among [step][column][16], without the
// column: as a lane's four keys of a step.
__device__ inline int query_place(int code, int dim, int i, int columns) {
    if (code > KVB_FRAGMENT_TRELLIS) {
        const int run = 4 * kvb_fragment_steps(dim), in = i % run;
        return in / 4 * columns * 16 + i / run * 4 + in % 4;
    }
    return i / 16 * columns * 16 + i % 8 / 2 * 4 + i % 2 + i % 16 / 8 * 2;
}
// The coordinate in place `in` of 16 of a step: what query_place turns back.
__device__ inline int query_dim(int code, int dim, int step, int in) {
    return code > KVB_FRAGMENT_TRELLIS ? in / 4 * 4 * kvb_fragment_steps(dim) + 4 * step + in % 4
                                       : 16 * step + in / 4 * 2 + in % 2 + in / 2 % 2 * 8;
}
// Where a coordinate of a part of an output lies among [step][2][column][8].
__device__ inline int output_place(int code, int dim, int i, int columns, int column) {
    int step = i / 16, second = i % 16 / 8, g = i % 8;
    if (code > KVB_FRAGMENT_TRELLIS) {
        const int run = 2 * kvb_fragment_steps(dim);
        step = i % run / 2, second = i % 2, g = i / run;
    }
    return ((2 * step + second) * columns + column) * 8 + g;
}
// The coordinate of a value in a step: what output_place turns back.
__device__ inline int value_dim(int code, int dim, int step, int second, int g) {
    return code > KVB_FRAGMENT_TRELLIS ? g * 2 * kvb_fragment_steps(dim) + 2 * step + second
                                       : 16 * step + 8 * second + g;
}

// Scores [column * TILE] of the lane's token of two blocks, one behind the other, without the scale: of a part of their
// coordinates, to which those of the parts before are added. `queries` and `scores` are offsets in shared memory. A
// call, so that each reader has registers of its own.
template <class R, int COLUMNS>
__device__ __noinline__ void dot(const kvb_cuda_attend_side &side, int code, int steps, const uint8_t *codes,
                                 uint32_t block_bytes, uint32_t queries_at, Lut lut, uint32_t scores_at, bool adds) {
    const From from = {side, codes, code, steps, (int)threadIdx.x % 32};
    const From next = {side, codes + block_bytes, code, steps, from.lane};
    const float *queries = shared_at<const float>(queries_at);
    float *scores = shared_at<float>(scores_at);
    const int t = from.lane % 4;
    float sums[4][COLUMNS] = {{0.0f}};
#pragma unroll 1
    for (int group = 0; 4 * group < from.steps; group++) {
        const R a(from, group), b(next, group);
        repeat<2>([&](auto pair) { // of steps: what is behind the last meets zeros
            constexpr int first = 2 * decltype(pair)::value;
            if (4 * group + first < from.steps) {
                float x[2][2][8];
                a.template two_steps<first>(lut, group, x[0]);
                b.template two_steps<first>(lut, group, x[1]);
#pragma unroll
                for (int i = 0; i < 2 * COLUMNS; i++) {
                    const int step = i / COLUMNS, c = i % COLUMNS;
                    const int at = (4 * group + first + step) * COLUMNS + c;
                    const float4 q = *(const float4 *)(queries + at * 16 + 4 * t);
                    const float of[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
                    for (int j = 0; j < 16; j++) { // four tokens' four coordinates
                        const int token = j % 4, k = j / 4;
                        sums[token][c] += x[token / 2][step][k / 2 * 4 + token % 2 * 2 + k % 2] * of[k];
                    }
                }
            }
        });
    }
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        const float sum = sum_of_four(sums[0][c], sums[1][c], sums[2][c], sums[3][c], from.lane);
        scores[c * TILE] = adds ? scores[c * TILE] + sum : sum;
    }
}

// Sums of a group's values, [step][2][column]: of the lane's two coordinates of a step, over its tokens.
template <int COLUMNS> using Sums = float[8 * COLUMNS];

// Weights of the lane's tokens of a block, of up to four columns.
template <int COLUMNS> struct Weights {
    static constexpr int n = COLUMNS < 4 ? COLUMNS : 4;
    float of[n][4];
    __device__ __forceinline__ void load(const float *weights, int first) {
#pragma unroll
        for (int c = 0; c < n; c++) {
            const float4 w = *(const float4 *)(weights + (first + c) * TILE);
            of[c][0] = w.x, of[c][1] = w.y, of[c][2] = w.z, of[c][3] = w.w;
        }
    }
};

// A step's values times weights of columns from `first` on.
template <int COLUMNS>
__device__ __forceinline__ void add_values(Sums<COLUMNS> &sums, int step, const float (&x)[8],
                                           const Weights<COLUMNS> &weights, int first, bool may_be_nan) {
    float odd = 0.0f; // NaN if one of x is no number
#pragma unroll
    for (int i = 0; i < 8 && may_be_nan; i++) {
        odd += x[i] * 0.0f;
    }
    const bool picks = may_be_nan && odd != 0.0f; // what nobody sees may be NaN
#pragma unroll
    for (int c = 0; c < weights.n; c++) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float &sum = sums[(2 * step + i / 2 % 2) * COLUMNS + first + c];
            const float weight = weights.of[c][i / 4 * 2 + i % 2], value = picks && weight == 0.0f ? 0.0f : x[i];
            sum += weight * value;
        }
    }
}

// A warp's sums into its place of shared memory, [step][2][column][8], whose old ones count `factor` of theirs: lane
// c % 8 has column c's.
template <int COLUMNS>
__device__ __forceinline__ void put_sums(const Sums<COLUMNS> &sums, float factor, float *to, int lane) {
#pragma unroll
    for (int i = 0; i < 2 * COLUMNS; i++) {
        const float sum = sum_of_four(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3], lane);
        float *at = to + 32 * i + lane % 4 * 8 + lane / 4;
        *at = *at * __shfl_sync(0xffffffffu, factor, (4 * i + lane % 4) % COLUMNS) + sum;
    }
}

// What a warp adds: values of a group of a part's coordinates, of every `step`-th block of a tile from `first` to
// `end`.
struct Work {
    int code, steps, group;
    uint32_t first, step, end, block_bytes;
    uint32_t pages, weights, sums; // offsets in shared memory: the tile's pages, weights [column][token]
};

// Values of a group times weights, into the warp's sums. A call, as `dot` is; `pages` are the KV head's, from the
// part's first byte on.
template <class R, int COLUMNS>
__device__ __noinline__ void add_blocks(const kvb_cuda_attend_side &side, const uint8_t *pages, Work work, Lut lut,
                                        float factor) {
    constexpr int blocks = KVB_CUDA_PAGE_TOKENS / KVB_BLOCK_TOKENS;
    const int lane = threadIdx.x % 32;
    Sums<COLUMNS> sums = {0.0f};
#pragma unroll 1
    for (uint32_t i = work.first; i < work.end; i += work.step) {
        const int page = shared_at<const int>(work.pages)[i / blocks];
        const uint8_t *codes = pages + page * side.page_stride + i % blocks * work.block_bytes;
        const float *weights = shared_at<const float>(work.weights) + i * KVB_BLOCK_TOKENS + lane % 4 * 4;
        // Or, where registers are few, all words' offsets would be kept in some: page / 2^31 is 0.
        const int group = work.group + (R::is_trellis || (COLUMNS == 8 && !R::is_dense) ? page >> 31 : 0);
        const R block({side, codes, work.code, work.steps, lane}, group);
        Weights<COLUMNS> w;
        if (COLUMNS <= 4) {
            w.load(weights, 0);
        }
        repeat<2>([&](auto pair) { // of steps: what is behind the last goes nowhere
            constexpr int first = 2 * decltype(pair)::value;
            if (4 * group + first < work.steps) {
                float x[2][8];
                block.template two_steps<first>(lut, group, x);
#pragma unroll
                for (int c = 0; c < COLUMNS; c += w.n) {
                    if (COLUMNS > 4) {
                        w.load(weights, c);
                    }
                    add_values<COLUMNS>(sums, first, x[0], w, c, R::is_dense);
                    add_values<COLUMNS>(sums, first + 1, x[1], w, c, R::is_dense);
                }
            }
        });
    }
    put_sums<COLUMNS>(sums, factor, shared_at<float>(work.sums), lane);
}

// The same of a latent layer, whose values lie as keys do: a lane has four coordinates of two tokens, and the sums of
// its two steps, [step][column][16], meet those of the lanes that have other tokens.
template <class R, int COLUMNS>
__device__ __noinline__ void add_keys(const kvb_cuda_attend_side &side, const uint8_t *pages, Work work, Lut lut,
                                      float factor) {
    constexpr int blocks = KVB_CUDA_PAGE_TOKENS / KVB_BLOCK_TOKENS;
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    repeat<2>([&](auto pair) {
        constexpr int first = 2 * decltype(pair)::value;
        if (4 * work.group + first >= work.steps) {
            return;
        }
        float sums[2][COLUMNS][4] = {};
#pragma unroll 1
        for (uint32_t i = work.first; i < work.end; i += work.step) {
            const int page = shared_at<const int>(work.pages)[i / blocks];
            const uint8_t *codes = pages + page * side.page_stride + i % blocks * work.block_bytes;
            const float *weights = shared_at<const float>(work.weights) + i * KVB_BLOCK_TOKENS + place_of(g);
            const R block({side, codes, work.code, work.steps, lane}, work.group);
            float x[2][8];
            block.template two_steps<first>(lut, work.group, x);
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) {
                const float2 w = *(const float2 *)(weights + c * TILE - g % 2); // tokens g and its neighbor
                const float2 more = *(const float2 *)(weights + c * TILE - g % 2 + 2);
                const float of[2] = {g % 2 ? w.y : w.x, g % 2 ? more.y : more.x}; // of g and g + 8
#pragma unroll
                for (int j = 0; j < 16; j++) {
                    const int step = j / 8, k = j % 8 / 2, token = j % 2;
                    const float value = x[step][k / 2 * 4 + token * 2 + k % 2]; // what nobody sees may be NaN
                    sums[step][c][k] += R::is_dense && of[token] == 0.0f ? 0.0f : of[token] * value;
                }
            }
        }
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            const float of_column = __shfl_sync(0xffffffffu, factor, c);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                float &sum = sums[j / 4][c][j % 4];
                sum += __shfl_xor_sync(0xffffffffu, sum, 4);
                sum += __shfl_xor_sync(0xffffffffu, sum, 8);
                sum += __shfl_xor_sync(0xffffffffu, sum, 16);
                if (g == c % 8) {
                    float *at = shared_at<float>(work.sums) + ((first + j / 4) * COLUMNS + c) * 16 + 4 * t + j % 4;
                    *at = *at * of_column + sum;
                }
            }
        }
    });
}

// Asks for memory that will be read soon, by a warp.
__device__ __forceinline__ void prefetch(const uint8_t *from, size_t bytes, int lane) {
    for (size_t i = (size_t)lane * 128; i < bytes; i += 32 * 128) {
        prefetch_line(from + i);
    }
}

} // namespace kvb
