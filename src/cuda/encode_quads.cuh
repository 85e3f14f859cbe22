// Rows whose rotation is a power of two long, in registers, four lanes to a row and a warp to the 16 tokens of a block:
// what tensor cores' operands want of a row is what a lane encodes. Lane 4 g + t has of tokens g and g + 8, one after
// the other, coordinates 16 j + 2 t + (0, 1, 8, 9): two of seven butterflies are between lanes, the others a lane's
// own, and so are the terms of four of the format's sixteen sums.
#pragma once
#include "encode_buckets.h"
#include "encode_scale.cuh"

namespace kvb {

// x[4 j + 2 h + e] is coordinate 16 j + 8 h + 2 t + e.
template <int DIM> struct Quarter {
    static constexpr int N = DIM / 4, STEPS = DIM / 16;
    float x[N];
};

__device__ __forceinline__ void butterfly(float &a, float &b) {
    const float x = a, y = b;
    a = __fadd_rn(x, y);
    b = __fsub_rn(x, y);
}

template <int DIM> __device__ __forceinline__ void rotate_quarter(Quarter<DIM> &row, float factor, int lane) {
    constexpr int N = row.N;
#pragma unroll
    for (int i = 0; i < N; i += 2) {
        butterfly(row.x[i], row.x[i + 1]);
    }
#pragma unroll
    for (int h = 1; h < 4; h *= 2) {
        const float sign = lane & h ? -1.0f : 1.0f; // times it is exact: one rounding, that of the sum
#pragma unroll
        for (int i = 0; i < N; i++) {
            row.x[i] = __fmaf_rn(row.x[i], sign, __shfl_xor_sync(0xffffffffu, row.x[i], h));
        }
    }
#pragma unroll
    for (int h = 2; h < N; h *= 2) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if ((i & h) == 0) {
                butterfly(row.x[i], row.x[i + h]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < N; i++) {
        row.x[i] = __fmul_rn(row.x[i], factor);
    }
}

// The format's tree from sums of lanes 2 t + (0, 1, 8, 9), in all lanes of the row.
__device__ __forceinline__ float fold_quarters(const float (&sums)[4]) {
    float a = __fadd_rn(sums[0], sums[2]), b = __fadd_rn(sums[1], sums[3]);
#pragma unroll
    for (int h = 2; h > 0; h /= 2) {
        a = __fadd_rn(a, __shfl_xor_sync(0xffffffffu, a, h));
        b = __fadd_rn(b, __shfl_xor_sync(0xffffffffu, b, h));
    }
    return __fadd_rn(a, b);
}

template <int DIM> __device__ __forceinline__ float sum_of_squares(const Quarter<DIM> &row) {
    float sums[4] = {};
#pragma unroll
    for (int i = 0; i < row.N; i++) {
        sums[i % 4] = __fadd_rn(sums[i % 4], __fmul_rn(row.x[i], row.x[i]));
    }
    return fold_quarters(sums);
}

// The code that a bucket has for a value, by the address in shared memory of its midpoint. The compiler would take
// three operations for the predicated sum.
__device__ __forceinline__ uint32_t level_of(uint32_t midpoint, float value) {
    uint32_t level;
    asm("{\n\t"
        ".reg .pred is_above;\n\t"
        ".reg .f32 m;\n\t"
        ".reg .u32 at;\n\t"
        "ld.shared.f32 m, [%1];\n\t"
        "mov.u32 at, %1;\n\t"
        "setp.gt.f32 is_above, %2, m;\n\t"
        "@is_above add.u32 at, at, %4;\n\t"
        "ld.shared.u32 %0, [at + %3];\n\t"
        "}"
        : "=r"(level)
        : "r"(midpoint), "f"(value), "n"(offsetof(kvb_cuda_buckets, below)),
          "n"(offsetof(kvb_cuda_buckets, above) - offsetof(kvb_cuda_buckets, below)));
    return level;
}

// Codes when coordinates are multiplied by r, four to a word.
template <int DIM>
__device__ __forceinline__ Sums choose_codes(const kvb_cuda_format &f, const Quarter<DIM> &row, uint32_t buckets,
                                             float r, uint32_t (&codes)[DIM / 16]) {
    float row_c[4] = {}, c_c[4] = {};
#pragma unroll
    for (int j = 0; j < row.STEPS; j++) {
        uint32_t level[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const float x = row.x[4 * j + k], value = __fmul_rn(x, r);
            const uint32_t bucket = kvb_bucket_number(f.bucket_factor, f.bucket_offset, f.bucket_step, value);
            level[k] = level_of(buckets + 4 * bucket, value);
            const float c = __half2float(__ushort_as_half((uint16_t)(level[k] >> 16)));
            row_c[k] = __fadd_rn(row_c[k], __fmul_rn(x, c));
            c_c[k] = __fadd_rn(c_c[k], __fmul_rn(c, c));
        }
        codes[j] =
            __byte_perm(__byte_perm(level[0], level[1], 0x0040), __byte_perm(level[2], level[3], 0x0040), 0x5410);
    }
    return {fold_quarters(row_c), fold_quarters(c_c)};
}

// The rotated row's codes as they are stored; returns the bits of its scale.
template <int DIM>
__device__ __forceinline__ uint32_t encode_quarter(const kvb_cuda_format &f, const Quarter<DIM> &row, uint32_t buckets,
                                                   uint32_t (&codes)[DIM / 16]) {
    const Start start = start_of(f, sum_of_squares(row));
    const Stored stored = stored_scale(
        f, start, choose_best(f, start.r, [&](float r) { return choose_codes<DIM>(f, row, buckets, r, codes); }));
    const uint32_t kept = stored.has_codes ? 0xffffffffu : 0;
#pragma unroll
    for (int j = 0; j < row.STEPS; j++) {
        codes[j] &= kept;
    }
    return stored.bits;
}

} // namespace kvb
