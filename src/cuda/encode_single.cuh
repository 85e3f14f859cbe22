// One row to half a warp, for appends of one token: a lane is one of the format's sixteen sums and has every sixteenth
// coordinate, so that few instructions stand between a row and its codes.
#pragma once
#include "encode_stage.cuh"
#include "encode_words.cuh"

namespace kvb {

constexpr int ROW_LANES = 16;

// x[j] is coordinate 16 j + lane.
template <int DIM> struct Sixteenth {
    static constexpr int N = DIM / ROW_LANES;
    float x[N];
};

// Of a new row, `at` its value `lane`: as it lies there, so that loads are on their way while others are asked for.
template <int DIM> struct AsTheyLie {
    static constexpr int N = DIM / ROW_LANES;
    uint32_t bits[N];
    __device__ __forceinline__ void load(const void *rows, size_t at, int dtype) {
#pragma unroll
        for (int j = 0; j < N; j++) {
            bits[j] = dtype == KVB_F32 ? ((const uint32_t *)rows)[at + ROW_LANES * j]
                                       : ((const uint16_t *)rows)[at + ROW_LANES * j];
        }
    }
    __device__ __forceinline__ void convert(Sixteenth<DIM> &row, int dtype) const {
#pragma unroll
        for (int j = 0; j < N; j++) {
            row.x[j] = dtype == KVB_F32 ? __uint_as_float(bits[j]) : of_bits((uint16_t)bits[j], dtype);
        }
    }
};

// The same of the row that is to be packed as `token`, whatever it is, through `values` in shared memory.
template <int DIM>
__device__ __noinline__ void source_sixteenth(const kvb_cuda_append_job &p, const Span &s, int is_value, int head,
                                              int token, int lane, float *values) {
#pragma unroll 1
    for (int i = lane; i < DIM; i += ROW_LANES) {
        values[i] = source(p, s, is_value, head, token, i);
    }
}

template <int DIM>
__device__ __forceinline__ void rotate_sixteenth(const kvb_cuda_format &f, Sixteenth<DIM> &row, int lane) {
#pragma unroll
    for (int h = 1; h < ROW_LANES; h *= 2) {
        const float sign = lane & h ? -1.0f : 1.0f; // times it is exact: one rounding, that of the sum
#pragma unroll
        for (int j = 0; j < row.N; j++) {
            row.x[j] = __fmaf_rn(row.x[j], sign, __shfl_xor_sync(0xffffffffu, row.x[j], h));
        }
    }
#pragma unroll
    for (int h = 1; h < row.N; h *= 2) {
#pragma unroll
        for (int j = 0; j < row.N; j++) {
            if ((j & h) == 0) {
                butterfly(row.x[j], row.x[j + h]);
            }
        }
    }
#pragma unroll
    for (int j = 0; j < row.N; j++) {
        row.x[j] = __fmul_rn(row.x[j], f.inverse_sqrt_dim);
    }
}

// The format's tree, in all lanes of the row.
__device__ __forceinline__ float fold_sixteen(float sum) {
#pragma unroll
    for (int lanes = ROW_LANES / 2; lanes > 0; lanes /= 2) {
        sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, lanes));
    }
    return sum;
}

// Codes when coordinates are multiplied by r, to codes[16 j].
template <int DIM>
__device__ __forceinline__ Sums choose_sixteenth(const kvb_cuda_format &f, const Sixteenth<DIM> &row, uint32_t buckets,
                                                 float r, uint8_t *codes) {
    Sums s = {0.0f, 0.0f};
#pragma unroll
    for (int j = 0; j < row.N; j++) {
        const float value = __fmul_rn(row.x[j], r);
        const uint32_t bucket = kvb_bucket_number(f.bucket_factor, f.bucket_offset, f.bucket_step, value),
                       level = level_of(buckets + 4 * bucket, value);
        const float c = __half2float(__ushort_as_half((uint16_t)(level >> 16)));
        s.row_c = __fadd_rn(s.row_c, __fmul_rn(row.x[j], c));
        s.c_c = __fmaf_rn(c, c, s.c_c); // the square of a half is exact
        codes[ROW_LANES * j] = (uint8_t)level;
    }
    return {fold_sixteen(s.row_c), fold_sixteen(s.c_c)};
}

// The rotated row's codes as they are stored, lane's at `codes` and every 16 behind; returns the bits of its scale.
template <int DIM>
__device__ __forceinline__ uint32_t encode_sixteenth(const kvb_cuda_format &f, const Sixteenth<DIM> &row,
                                                     uint32_t buckets, uint8_t *codes) {
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < row.N; j++) {
        sum = __fadd_rn(sum, __fmul_rn(row.x[j], row.x[j]));
    }
    const Start start = start_of(f, fold_sixteen(sum));
    const Stored stored = stored_scale(
        f, start, choose_best(f, start.r, [&](float r) { return choose_sixteenth<DIM>(f, row, buckets, r, codes); }));
    if (!stored.has_codes) {
        for (int j = 0; j < row.N; j++) {
            codes[ROW_LANES * j] = 0;
        }
    }
    return stored.bits;
}

// Who packs a row's codes: the lanes whose streams have its token, four for a key and eight for a value.
__device__ __forceinline__ int packers(bool is_value) {
    return is_value ? 8 : 4;
}
// Packer i's lane.
__device__ __forceinline__ int lane_of(bool is_value, int token, int i) {
    return is_value ? 4 * i + token % 8 / 2 : token % 8 * 4 + i;
}

// A token's codes in the stream of such a lane, all others 0.
template <int STEPS>
__device__ __forceinline__ void stream_of(bool is_value, int token, int i, const uint8_t *codes,
                                          uint32_t (&bytes)[2 * STEPS]) {
    const int shift = is_value ? token % 2 * 8 : token / 8 * 16;
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
        if (is_value) { // coordinates g and g + 8 of one of two words
            const uint32_t word = (codes[16 * s + i] | codes[16 * s + i + 8] << 16) << shift;
            bytes[2 * s] = token < 8 ? word : 0;
            bytes[2 * s + 1] = token < 8 ? 0 : word;
        } else { // 2t and 2t + 1 of both
            bytes[2 * s] = (uint32_t) * (const uint16_t *)(codes + 16 * s + 2 * i) << shift;
            bytes[2 * s + 1] = (uint32_t) * (const uint16_t *)(codes + 16 * s + 2 * i + 8) << shift;
        }
    }
}

} // namespace kvb
