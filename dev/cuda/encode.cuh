// Encoding rows into fragment-order pages: signs, rotation, scale, codes, bits, in one kernel and to the bit as
// docs/format.md rounds it. A block of threads owns 16 tokens of one side of one KV head, so that nobody else writes the
// words that tokens share; half a warp has a row, lane l its coordinates l, l + 16, ...: so the lanes of the format's
// summation tree are lanes.
#pragma once
#include "fragments.cuh"

#include <cuda_bf16.h>

namespace kvb {

struct EncodeSide {
    const void *rows; // [token][kv head][DIM]
    const float *midpoints, *centroids;
    const uint32_t *signs; // DIM bits
    int rotates, is_lsq;
};

struct EncodeArguments {
    EncodeSide sides[2];
    uint8_t *pool;
    const int32_t *table; // [sequence][table_stride]
    int table_stride, n_kv_heads;
    const int32_t *row_begin; // [sequence + 1]: sequence s appends rows row_begin[s] .. row_begin[s + 1] - 1
    const int32_t *lengths;   // tokens before
};

template <class T> __device__ __forceinline__ float to_float(T x) {
    return (float)x;
}

// Sum of terms l, l + 16, ... of lane l, as the tree of 16 lanes sums it; the same for all of them.
template <int N> __device__ __forceinline__ float sum_tree(const float *terms) {
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < N; j++) {
        sum = __fadd_rn(sum, terms[j]);
    }
#pragma unroll
    for (int lanes = 8; lanes > 0; lanes /= 2) {
        sum = __fadd_rn(sum, __shfl_down_sync(0xffffffffu, sum, lanes, 16));
    }
    return __shfl_sync(0xffffffffu, sum, 0, 16);
}

__device__ __forceinline__ float round_scale(float s) { // to half, saturating
    s = fabsf(s) > 65504.0f ? copysignf(65504.0f, s) : s;
    return __half2float(__float2half_rn(s));
}

// The rows in x become codes, every lane of the warp taking part; returns the scale's bits. `signs`: bit j for x[j].
template <int BITS, int N> __device__ uint16_t encode_row(const EncodeSide &side, float *x, uint64_t signs, const float *midpoints, const float *centroids, uint8_t *codes) {
    constexpr int DIM = 16 * N;
    const int lane = threadIdx.x % 32;
    if (side.rotates) {
#pragma unroll
        for (int j = 0; j < N; j++) {
            x[j] = __uint_as_float(__float_as_uint(x[j]) ^ (uint32_t)(signs >> j & 1) << 31);
        }
#pragma unroll
        for (int h = 1; h < 16; h *= 2) {
#pragma unroll
            for (int j = 0; j < N; j++) {
                float other = __shfl_xor_sync(0xffffffffu, x[j], h);
                x[j] = lane & h ? __fsub_rn(other, x[j]) : __fadd_rn(x[j], other);
            }
        }
#pragma unroll
        for (int h = 1; h < N; h *= 2) {
#pragma unroll
            for (int j = 0; j < N; j++) {
                if (!(j & h)) {
                    float a = x[j], b = x[j + h];
                    x[j] = __fadd_rn(a, b);
                    x[j + h] = __fsub_rn(a, b);
                }
            }
        }
        const float factor = (float)(1.0 / sqrt((double)DIM));
#pragma unroll
        for (int j = 0; j < N; j++) {
            x[j] = __fmul_rn(x[j], factor);
        }
    }
    float terms[N];
#pragma unroll
    for (int j = 0; j < N; j++) {
        terms[j] = __fmul_rn(x[j], x[j]);
    }
    const float sum = sum_tree<N>(terms);
    // Both halves of the warp go the whole way, whatever their sums: shuffles meet all lanes.
    float scale = __fdiv_rn(__fsqrt_rn(sum), (float)sqrt((double)DIM));
    if (!side.is_lsq) {
        scale = round_scale(scale);
    }
    const bool has_codes = isfinite(sum) && scale > 0.0f;
    const float inverse = __fdiv_rn(1.0f, scale);
    // The upper five levels of the search in registers: lane l has the midpoint that ends its group of `coarse`.
    constexpr int coarse = BITS > 5 ? 1 << (BITS - 5) : 1;
    const float upper = midpoints[min(lane * coarse + coarse - 1, (1 << BITS) - 1)];
    int code[N] = {};
#pragma unroll
    for (int j = 0; j < N; j++) {
        float value = __fmul_rn(x[j], inverse);
#pragma unroll
        for (int step = 1 << (BITS - 1); step > 0; step /= 2) {
            int at = code[j] + step - 1;
            float midpoint = step >= coarse ? __shfl_sync(0xffffffffu, upper, at / coarse) : midpoints[at];
            code[j] += value > midpoint ? step : 0;
        }
        code[j] = has_codes ? code[j] : 0;
    }
    if (side.is_lsq) {
        float squares[N];
#pragma unroll
        for (int j = 0; j < N; j++) {
            float c = centroids[code[j]];
            terms[j] = __fmul_rn(x[j], c);
            squares[j] = __fmul_rn(c, c);
        }
        float c_c = sum_tree<N>(squares), row_c = sum_tree<N>(terms);
        scale = c_c > 0.0f ? round_scale(__fdiv_rn(row_c, c_c)) : 0.0f;
    }
    scale = !isfinite(sum) ? NAN : sum > 0.0f ? scale : 0.0f;
    bool is_void = scale == 0.0f || isnan(scale);
#pragma unroll
    for (int j = 0; j < N; j++) {
        codes[lane % 16 + 16 * j] = (uint8_t)(is_void ? 0 : code[j]);
    }
    return isnan(scale) ? 0x7e00 : scale == 0.0f ? 0 : __half_as_ushort(__float2half_rn(scale));
}

// Words of a round: as many values as a Stream's places repeat after.
template <int BITS> struct Round {
    static constexpr int values = BITS == 3 || BITS == 5 || BITS == 1 || BITS == 7 ? 32 : BITS == 6 ? 16 : 32 / BITS;
    static constexpr int words = values * BITS / 32;
};

template <class T, int BITS, int DIM, int TOKENS>
__device__ void encode_side(const EncodeArguments &p, const EncodeSide &side, bool is_value, uint8_t *tile_base, int scales_at, int block_at,
                            int sequence, int head, int first_token, uint8_t *codes, float *table) {
    constexpr int N = DIM / 16, levels = 1 << BITS;
    using B = Block<BITS, DIM>;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int before = p.lengths[sequence], row_begin = p.row_begin[sequence], n = p.row_begin[sequence + 1] - row_begin;
    const int begin = max(before, first_token) - first_token, end = min(before + n, first_token + 16) - first_token; // of the block
    float *midpoints = table, *centroids = table + levels;
    for (int i = threadIdx.x; i < levels; i += blockDim.x) {
        midpoints[i] = side.midpoints[i];
        centroids[i] = side.centroids[i];
    }
    uint32_t *stored = (uint32_t *)(tile_base + block_at);
    __syncthreads();
    uint64_t signs = 0;
#pragma unroll
    for (int j = 0; j < N; j++) {
        int i = lane % 16 + 16 * j;
        signs |= (uint64_t)(side.signs[i / 32] >> i % 32 & 1) << j;
    }
    for (int token = 2 * warp + lane / 16; token < 16; token += blockDim.x / 16) {
        uint8_t *mine = codes + token * DIM;
        const bool is_new = token >= begin && token < end;
        const int in_tile = (first_token + token) % TOKENS;
        float x[N] = {};
        if (is_new) {
            const T *row = (const T *)side.rows + ((size_t)(row_begin + first_token + token - before) * p.n_kv_heads + head) * DIM;
#pragma unroll
            for (int j = 0; j < N; j++) {
                x[j] = to_float(row[lane % 16 + 16 * j]);
            }
        }
        uint16_t scale = encode_row<BITS, N>(side, x, signs, midpoints, centroids, mine);
        if (is_new && lane % 16 == 0) {
            *(uint16_t *)(tile_base + scales_at + in_tile % 8 * (TOKENS / 2) + (is_value ? TOKENS / 4 : 0) + in_tile / 8 * 2) = scale;
        }
    }
    __syncthreads();
    // Codes to words: a thread takes rounds of one lane's stream. Words shared with older tokens keep their bits.
    constexpr int rounds = DIM / 2 / Round<BITS>::values;
    for (int i = threadIdx.x; i < 32 * rounds; i += blockDim.x) {
        const int to_lane = i % 32, round = i / 32, g = to_lane / 4, t = to_lane % 4;
        uint32_t out[Round<BITS>::words] = {}, fresh[Round<BITS>::words] = {};
#pragma unroll
        for (int v = 0; v < Round<BITS>::values; v++) {
            const int value = round * Round<BITS>::values + v, step = value / 8, reg = value % 8 / 2;
            const int row = g + reg % 2 * 8, column = 2 * t + reg / 2 * 8 + value % 2;
            const int token = is_value ? column : row, dim = step * 16 + (is_value ? row : column);
            const uint32_t code = codes[token * DIM + dim], is_new = token >= begin && token < end ? ~0u : 0u;
            const Place first = Stream<BITS>::place(v, 0), last = Stream<BITS>::place(v, BITS - 1);
            if (last.word == first.word && last.bit - first.bit == BITS - 1) {
                out[first.word] |= code << first.bit;
                fresh[first.word] |= is_new & (uint32_t)((1ull << BITS) - 1) << first.bit;
            } else {
#pragma unroll
                for (int b = 0; b < BITS; b++) {
                    const Place place = Stream<BITS>::place(v, b);
                    out[place.word] |= (code >> b & 1) << place.bit;
                    fresh[place.word] |= is_new & 1u << place.bit;
                }
            }
        }
#pragma unroll
        for (int w = 0; w < Round<BITS>::words; w++) {
            uint32_t *to = stored + B::offset(to_lane, round * Round<BITS>::words + w) / 4;
            *to = begin > 0 ? (*to & ~fresh[w]) | out[w] : out[w];
        }
    }
}

// Grid: blocks of 16 tokens that the longest append touches, KV heads, 2 * sequences.
template <class T, int KBITS, int VBITS, int DIM, int TOKENS, int PAGE> __global__ void __launch_bounds__(256) encode(const __grid_constant__ EncodeArguments p) {
    using Tl = Tile<KBITS, VBITS, DIM, TOKENS>;
    __shared__ uint8_t codes[16 * DIM];
    __shared__ float table[512];
    const int sequence = blockIdx.z / 2, head = blockIdx.y, before = p.lengths[sequence];
    const int n = p.row_begin[sequence + 1] - p.row_begin[sequence], first_token = (before / 16 + blockIdx.x) * 16;
    if (first_token >= before + n || n == 0) {
        return;
    }
    const int page = p.table[(size_t)sequence * p.table_stride + first_token / PAGE], in_page = first_token % PAGE;
    uint8_t *tile = p.pool + ((size_t)page * p.n_kv_heads + head) * (PAGE / TOKENS) * Tl::bytes + in_page / TOKENS * Tl::bytes;
    const int block = in_page % TOKENS / 16;
    if (blockIdx.z % 2) {
        encode_side<T, VBITS, DIM, TOKENS>(p, p.sides[1], true, tile, Tl::scales, Tl::values + block * Tl::V::bytes, sequence, head, first_token, codes, table);
    } else {
        encode_side<T, KBITS, DIM, TOKENS>(p, p.sides[0], false, tile, Tl::scales, block * Tl::K::bytes, sequence, head, first_token, codes, table);
    }
}

} // namespace kvb
