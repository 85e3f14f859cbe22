// Rows whose rotation is a power of two long, in registers, two lanes to a row and a warp to the 16 tokens of a block.
// A butterfly between lanes costs half a shuffle a value: each keeps one half of its pairs and sends the other, and the
// two are a lane's own from there on.
#pragma once
#include "encode_buckets.h"
#include "encode_scale.cuh"

namespace kvb {

// Lane 4 g + t has half of the row of token g (t < 2) or g + 8. As they are stored its coordinates are 16 j + 8 h +
// 4 (t % 2) + 2 s + e, behind the butterflies 16 j + 8 h + 2 t' + e, where t' is t in the row's first slot, s = 0, and
// t ^ 2 in its second: the first is what lane t of a tensor core's operand wants, the second what lane t ^ 2 wants.
// x[8 j + 4 h + 2 s + e].
template <int DIM> struct HalfRow {
    static constexpr int N = DIM / 2, STEPS = DIM / 16;
    float x[N];
};
__device__ __forceinline__ int token_of(int lane) {
    return lane / 4 + lane % 4 / 2 * 8;
}

__device__ __forceinline__ void butterfly(float &a, float &b) {
    const float x = a, y = b;
    a = __fadd_rn(x, y);
    b = __fsub_rn(x, y);
}

// Butterflies 1, 2 and 4. A factor of -1 or 1 is exact: each sum is rounded once. The differences of butterfly 4 come
// with the other sign in lanes whose t is odd, which `factor_of` puts right.
template <int DIM> __device__ __forceinline__ void rotate_eights(HalfRow<DIM> &row, int lane) {
    const float odd = lane & 1 ? -1.0f : 1.0f, upper = lane & 2 ? -1.0f : 1.0f;
#pragma unroll
    for (int i = 0; i < row.N; i += 4) {
        float *x = row.x + i;
        butterfly(x[0], x[1]);
        butterfly(x[2], x[3]);
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const float kept = __fmaf_rn(x[2 + e], odd, x[e]), sent = __fmaf_rn(x[2 + e], -odd, x[e]);
            const float got = __shfl_xor_sync(0xffffffffu, sent, 1);
            x[e] = __fmaf_rn(got, upper, kept);
            x[2 + e] = __fmaf_rn(got, -upper, kept);
        }
    }
}
__device__ __forceinline__ float factor_of(float factor, int slot, int lane) {
    return lane % 4 == (slot == 0 ? 3 : 1) ? -factor : factor;
}

template <int DIM> __device__ __forceinline__ void rotate_half(HalfRow<DIM> &row, float factor, int lane) {
    rotate_eights(row, lane);
#pragma unroll
    for (int h = 4; h < row.N; h *= 2) {
#pragma unroll
        for (int i = 0; i < row.N; i++) {
            if ((i & h) == 0) {
                butterfly(row.x[i], row.x[i + h]);
            }
        }
    }
    const float factors[2] = {factor_of(factor, 0, lane), factor_of(factor, 1, lane)};
#pragma unroll
    for (int i = 0; i < row.N; i++) {
        row.x[i] = __fmul_rn(row.x[i], factors[i / 2 % 2]);
    }
}

// Of rows that are not rotated: their coordinates to the places where rotate_half leaves them.
template <int DIM> __device__ __forceinline__ void place_half(HalfRow<DIM> &row, int lane) {
    const bool is_odd = lane & 1, keeps_first = (lane & 1) == (lane >> 1 & 1);
#pragma unroll
    for (int i = 0; i < row.N; i += i % 2 == 0 ? 1 : 3) {
        const float kept = is_odd ? row.x[i + 2] : row.x[i], sent = is_odd ? row.x[i] : row.x[i + 2];
        const float got = __shfl_xor_sync(0xffffffffu, sent, 1);
        row.x[i] = keeps_first ? kept : got;
        row.x[i + 2] = keeps_first ? got : kept;
    }
}

// Sums of a lane's products. The first is not added to zero, which would change nothing but the sign of a zero.
__device__ __forceinline__ void add_product(float (&sums)[8], int i, float a, float b) {
    const float product = __fmul_rn(a, b);
    sums[i % 8] = i < 8 ? product : __fadd_rn(sums[i % 8], product);
}

// The format's tree from the sums of a lane's residues modulo 16, in both lanes of the row.
__device__ __forceinline__ float fold_halves(const float (&sums)[8]) {
    float of[2];
#pragma unroll
    for (int e = 0; e < 2; e++) {
        of[e] = __fadd_rn(__fadd_rn(sums[e], sums[4 + e]), __fadd_rn(sums[2 + e], sums[6 + e]));
        of[e] = __fadd_rn(of[e], __shfl_xor_sync(0xffffffffu, of[e], 1));
    }
    return __fadd_rn(of[0], of[1]);
}

template <int DIM> __device__ __forceinline__ float sum_of_squares(const HalfRow<DIM> &row) {
    float sums[8];
#pragma unroll
    for (int i = 0; i < row.N; i++) {
        add_product(sums, i, row.x[i], row.x[i]);
    }
    return fold_halves(sums);
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

// Codes of a row, four to a word, by slot.
template <int DIM> struct Codes { uint32_t of[2][DIM / 16]; };

constexpr uint32_t RING_ALIGNMENT = 4 * KVB_CUDA_MAX_RING;

// Codes when coordinates are multiplied by r, by the format's ring or by its buckets, at `buckets` in shared memory.
template <int DIM, bool RING>
__device__ __forceinline__ Sums choose_codes(const kvb_cuda_format &f, const HalfRow<DIM> &row, uint32_t buckets,
                                             float r, Codes<DIM> &codes) {
    float row_c[8], c_c[8];
#pragma unroll
    for (int j = 0; j < row.STEPS; j++) {
        uint32_t level[8];
#pragma unroll
        for (int k = 0; k < 8; k++) {
            const float x = row.x[8 * j + k], value = __fmul_rn(x, r);
            if constexpr (RING) {
                level[k] = level_of((kvb_ring_bits(f.ring_factor, value) & 4 * (f.n_ring - 1)) | buckets, value);
            } else {
                const uint32_t bucket = kvb_bucket_number(f.bucket_factor, f.bucket_offset, f.bucket_step, value);
                level[k] = level_of(buckets + 4 * bucket, value);
            }
            const float c = __half2float(__ushort_as_half((uint16_t)(level[k] >> 16)));
            add_product(row_c, 8 * j + k, x, c);
            c_c[k] = j == 0 ? __fmul_rn(c, c) : __fmaf_rn(c, c, c_c[k]); // the square of a half is exact
        }
#pragma unroll
        for (int s = 0; s < 2; s++) {
            codes.of[s][j] = __byte_perm(__byte_perm(level[2 * s], level[2 * s + 1], 0x0040),
                                         __byte_perm(level[4 + 2 * s], level[5 + 2 * s], 0x0040), 0x5410);
        }
    }
    return {fold_halves(row_c), fold_halves(c_c)};
}

// The rotated row's codes as they are stored; returns the bits of its scale.
template <int DIM>
__device__ __forceinline__ uint32_t encode_half(const kvb_cuda_format &f, const HalfRow<DIM> &row, uint32_t buckets,
                                                Codes<DIM> &codes) {
    const Start start = start_of(f, sum_of_squares(row));
    Sums sums;
    if (f.n_ring > 0) {
        sums = choose_best(f, start.r, [&](float r) { return choose_codes<DIM, true>(f, row, buckets, r, codes); });
    } else {
        sums = choose_best(f, start.r, [&](float r) { return choose_codes<DIM, false>(f, row, buckets, r, codes); });
    }
    const Stored stored = stored_scale(f, start, sums);
    if (__any_sync(0xffffffffu, !stored.has_codes)) {
        const uint32_t kept = stored.has_codes ? 0xffffffffu : 0;
#pragma unroll
        for (int j = 0; j < row.STEPS; j++) {
            codes.of[0][j] &= kept;
            codes.of[1][j] &= kept;
        }
    }
    return stored.bits;
}

} // namespace kvb
