// A row's scale and the factor that its codes are chosen with (docs/format.md, section 2).
#pragma once
#include "jobs.h"
#include "page_job.h"

#include <cuda_fp16.h>

namespace kvb {

static __constant__ const float search_factors[KVB_SEARCH_FACTORS] = {KVB_EACH_SEARCH_FACTOR};

// A scale as it is stored: its bits, and its value through `value`.
__device__ inline uint32_t round_scale(float s, int bytes, float *value) {
    if (bytes == 2) {
        s = fabsf(s) > 65504.0f ? copysignf(65504.0f, s) : s;
        const __half half = __float2half_rn(s);
        *value = __half2float(half);
        return __half_as_ushort(half);
    }
    s = isinf(s) ? copysignf(3.402823466e+38f, s) : s;
    *value = s;
    return __float_as_uint(s);
}

// What a row's codes are chosen with: its sum of squares, the scale that follows from it, as stored where that is
// `norm`, and the factor.
struct Start {
    float sum, scale, r;
    uint32_t bits;
    bool has_codes;
};
__device__ __forceinline__ Start start_of(const kvb_cuda_format &f, float sum) {
    Start s = {sum, __fdiv_rn(__fsqrt_rn(sum), f.sqrt_dim), 0.0f, 0, false};
    if (f.scale_kind == KVB_SCALE_NORM) {
        s.bits = round_scale(s.scale, f.scale_bytes, &s.scale);
    }
    s.has_codes = isfinite(sum) && s.scale > 0.0f;
    s.r = __frcp_rn(s.scale);
    return s;
}

// The two sums of least squares: <row, c> and <c, c>.
struct Sums {
    float row_c, c_c;
};
__device__ __forceinline__ float least_squares(Sums s) {
    return s.c_c > 0.0f ? __fdiv_rn(s.row_c, s.c_c) : 0.0f;
}

// Codes by choose(r); where the scale is searched, by the factor of r whose codes lower the squared error most, the
// first among equals.
template <class Choose> __device__ __forceinline__ Sums choose_best(const kvb_cuda_format &f, float r, Choose choose) {
    float most = 0.0f, best = 1.0f;
#pragma unroll 1
    for (int i = 0; i < KVB_SEARCH_FACTORS && f.scale_kind == KVB_SCALE_SEARCH; i++) {
        const Sums sums = choose(__fmul_rn(r, search_factors[i]));
        const float gain = __fmul_rn(least_squares(sums), sums.row_c);
        if (i == 0 || gain > most) {
            most = gain;
            best = search_factors[i];
        }
    }
    return choose(__fmul_rn(r, best));
}

// The bits of the scale, and whether the row keeps its codes.
struct Stored {
    uint32_t bits;
    bool has_codes;
};
__device__ __forceinline__ Stored stored_scale(const kvb_cuda_format &f, const Start &s, Sums sums) {
    float scale = s.scale;
    uint32_t bits = s.bits;
    if (f.scale_kind != KVB_SCALE_NORM) {
        bits = round_scale(least_squares(sums), f.scale_bytes, &scale);
    }
    const bool is_finite = isfinite(s.sum), is_zero = s.sum == 0.0f || scale == 0.0f;
    return {!is_finite ? (f.scale_bytes == 2 ? 0x7e00 : 0x7fc00000) : is_zero ? 0 : bits, is_finite && !is_zero};
}
} // namespace kvb
