// Rows of floats in shared memory: typed loads and stores, the rotation and its inverse, what a query sees.
#pragma once
#include "attend_job.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace kvb {

__device__ __forceinline__ float warp_sum(float x) {
    for (int h = 16; h > 0; h /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, h);
    }
    return x;
}
__device__ __forceinline__ float warp_most(float x) {
    for (int h = 16; h > 0; h /= 2) {
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, h));
    }
    return x;
}

// A value as it lies in memory, of 4 bytes or of 2.
__device__ __forceinline__ float value_of(uint32_t bits, int type) {
    return type == KVB_F32    ? __uint_as_float(bits)
           : type == KVB_BF16 ? __uint_as_float(bits << 16)
                              : __half2float(__ushort_as_half((unsigned short)bits));
}
// A row of such, a lane's every 32nd: what is loaded is not waited for before a value is asked for.
template <int DIM> struct RawRow {
    static constexpr int N = (DIM + 31) / 32;
    uint32_t bits[N];

    template <class T> __device__ __forceinline__ void load_as(const T *from, int lane) {
#pragma unroll
        for (int j = 0; j < N; j++) {
            bits[j] = DIM % 32 == 0 || j * 32 + lane < DIM ? from[j * 32 + lane] : (T)0;
        }
    }
    __device__ __forceinline__ void load(const void *array, size_t at, int type, int lane) {
        if (type == KVB_F32) {
            load_as((const uint32_t *)array + at, lane);
        } else {
            load_as((const uint16_t *)array + at, lane);
        }
    }
    __device__ __forceinline__ void values(float *x, int type) const {
        if (type == KVB_F32) { // asked once, not for each value
#pragma unroll
            for (int j = 0; j < N; j++) {
                x[j] = __uint_as_float(bits[j]);
            }
        } else {
#pragma unroll
            for (int j = 0; j < N; j++) {
                x[j] = value_of(bits[j], type);
            }
        }
    }
};
template <int DIM>
__device__ __forceinline__ void load_row_of(float *x, const void *array, size_t at, int type, int lane) {
    RawRow<DIM> raw;
    raw.load(array, at, type, lane);
    raw.values(x, type);
}
template <int DIM> __device__ __forceinline__ void store_row(float *row, const float *x, int lane) {
#pragma unroll
    for (int j = 0; j < (DIM + 31) / 32; j++) {
        if (DIM % 32 == 0 || j * 32 + lane < DIM) {
            row[j * 32 + lane] = x[j];
        }
    }
}
// <x, row>, x as load_row leaves it, in all lanes.
template <int DIM> __device__ __forceinline__ float row_dot(const float *x, const float *row, int lane) {
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < (DIM + 31) / 32; j++) {
        sum += DIM % 32 == 0 || j * 32 + lane < DIM ? x[j] * __ldg(row + j * 32 + lane) : 0.0f;
    }
#pragma unroll
    for (int h = 16; h > 0; h /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, h);
    }
    return sum;
}
__device__ __forceinline__ void store_value(void *p, size_t i, int type, float x) {
    switch (type) {
    case KVB_F16:
        ((__half *)p)[i] = __float2half_rn(x);
        break;
    case KVB_BF16:
        ((__nv_bfloat16 *)p)[i] = __float2bfloat16_rn(x);
        break;
    default:
        ((float *)p)[i] = x;
    }
}

// The matrix of order m over the m runs, by one warp; `temporary` holds a row.
static __device__ __forceinline__ void mix_runs(float *row, float *temporary, int dim, int order,
                                                const uint64_t *hadamard, int lane, bool inverse) {
    const int run = dim / order;
    for (int i = lane; i < dim; i += 32) {
        int a = i / run, c = i % run;
        float sum = 0.0f;
        for (int j = 0; j < order; j++) {
            bool negative = (inverse ? hadamard[j] >> a : hadamard[a] >> j) & 1;
            float x = row[j * run + c];
            sum += negative ? -x : x;
        }
        temporary[i] = sum;
    }
    __syncwarp();
    for (int i = lane; i < dim; i += 32) {
        row[i] = temporary[i];
    }
    __syncwarp();
}

// A warp's row in registers, coordinate 32 j + lane in x[j].
template <int DIM> __device__ __forceinline__ void transform(float *x, int lane) {
#pragma unroll
    for (int h = 1; h < 32; h *= 2) {
#pragma unroll
        for (int j = 0; j < DIM / 32; j++) {
            const float other = __shfl_xor_sync(0xffffffffu, x[j], h);
            x[j] = lane & h ? other - x[j] : x[j] + other;
        }
    }
#pragma unroll
    for (int h = 1; h < DIM / 32; h *= 2) {
#pragma unroll
        for (int j = 0; j < DIM / 32; j++) {
            if (!(j & h)) {
                const float a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
        }
    }
}
__device__ __forceinline__ float negated_if(float x, uint32_t signs, int lane) {
    return __uint_as_float(__float_as_uint(x) ^ (signs >> lane & 1) << 31);
}

// Rows of any length, order 1 as well.
static __device__ __forceinline__ void rotate_any_length(float *row, float *temporary, int dim, int order,
                                                         const uint64_t *hadamard, int lane, bool inverse) {
    if (order > 1) {
        mix_runs(row, temporary, dim, order, hadamard, lane, inverse);
    }
    for (int h = 1; h < dim / order; h *= 2) {
        for (int p = lane; p < dim / 2; p += 32) {
            int i = p / h * 2 * h + p % h;
            float a = row[i], b = row[i + h];
            row[i] = a + b;
            row[i + h] = a - b;
        }
        __syncwarp();
    }
}

static __device__ __noinline__ void rotate_slowly(float *row, float *temporary, int dim, int order,
                                                  const uint64_t *hadamard, int lane, bool inverse) {
    rotate_any_length(row, temporary, dim, order, hadamard, lane, inverse);
}

// A row of a power of two in shared memory, by one warp: signs, transform, 1/sqrt(dim), or the inverse.
template <int DIM>
__device__ __forceinline__ void rotate_power(float *row, const uint32_t *signs, int lane, bool inverse) {
    constexpr int N = DIM / 32;
    const float factor = rsqrtf((float)DIM);
    float x[N];
#pragma unroll
    for (int j = 0; j < N; j++) {
        x[j] = row[j * 32 + lane] * factor;
        x[j] = negated_if(x[j], inverse ? 0 : signs[j], lane);
    }
    transform<DIM>(x, lane);
#pragma unroll
    for (int j = 0; j < N; j++) {
        row[j * 32 + lane] = negated_if(x[j], inverse ? signs[j] : 0, lane);
    }
}
template <int DIM>
static __device__ __noinline__ void call_rotate_power(float *row, const uint32_t *signs, int lane, bool inverse) {
    rotate_power<DIM>(row, signs, lane, inverse);
}

// One row in shared memory, by one warp, of any length; nothing when the side has no rotation. `signs`: side.signs or a
// copy of them. CALLS: by calls, where the compiler can have some: code that lies there once comes from memory once.
template <int DIM, bool CALLS = true>
__device__ __forceinline__ void rotate_row(float *row, float *temporary, const kvb_cuda_attend_side &side,
                                           const uint32_t *signs, int lane, bool inverse) {
    if (!side.signs) {
        return;
    }
    if constexpr ((DIM & (DIM - 1)) == 0 && CALLS) {
        call_rotate_power<DIM>(row, signs, lane, inverse);
    } else if constexpr ((DIM & (DIM - 1)) == 0) {
        rotate_power<DIM>(row, signs, lane, inverse);
    } else {
        constexpr int N = (DIM + 31) / 32;
        const float factor = rsqrtf((float)DIM);
        for (int j = 0; j < N; j++) {
            if (j * 32 + lane < DIM) {
                float y = row[j * 32 + lane] * factor;
                row[j * 32 + lane] = inverse ? y : negated_if(y, signs[j], lane);
            }
        }
        __syncwarp();
        if constexpr (CALLS) {
            rotate_slowly(row, temporary, DIM, side.hadamard_order, side.hadamard, lane, inverse);
        } else {
            rotate_any_length(row, temporary, DIM, side.hadamard_order, side.hadamard, lane, inverse);
        }
        for (int j = 0; j < N && inverse; j++) {
            if (j * 32 + lane < DIM) {
                row[j * 32 + lane] = negated_if(row[j * 32 + lane], signs[j], lane);
            }
        }
    }
    __syncwarp();
}

// A row's coordinates as halves times a power of two that makes the largest 1 or so; returns what undoes it, which is
// not negative. Coordinate i goes to halves[at(i)]; SPLIT: what rounding leaves over to rests[at(i)]. `up` times the
// sign of `sign`.
template <int DIM, bool SPLIT, class At>
__device__ __forceinline__ float store_halves(const float *row, float sign, __half *halves, __half *rests, int lane,
                                              At at) {
    constexpr int N = (DIM + 31) / 32;
    float x[N], most = 0.0f;
#pragma unroll
    for (int j = 0; j < N; j++) {
        x[j] = DIM % 32 == 0 || j * 32 + lane < DIM ? row[j * 32 + lane] : 0.0f;
        most = fmaxf(most, fabsf(x[j]));
    }
    most = __uint_as_float(__reduce_max_sync(0xffffffffu, __float_as_uint(most)));
    const int exponent = min(max((int)(__float_as_uint(most) >> 23), 27), 227) - 127;
    const float up = copysignf(__uint_as_float((uint32_t)(127 - exponent) << 23), sign);
#pragma unroll
    for (int j = 0; j < N; j++) {
        if (DIM % 32 == 0 || j * 32 + lane < DIM) {
            const float y = x[j] * up;
            const __half h = __float2half_rn(y);
            halves[at(j * 32 + lane)] = h;
            if (SPLIT) {
                rests[at(j * 32 + lane)] = __float2half_rn(y - __half2float(h));
            }
        }
    }
    return __uint_as_float((uint32_t)(127 + exponent) << 23);
}

// A sequence as all its queries share it.
struct Sequence {
    int n_tokens, first_row, n_q;
    int end; // of the tokens that anybody sees
};

// Its row of tables, lengths and exact tokens.
__device__ __forceinline__ int row_at(const kvb_cuda_attend_job &p, int sequence) {
    return p.sequences ? __ldg(p.sequences + sequence) : sequence;
}
__device__ __forceinline__ Sequence sequence_at(const kvb_cuda_attend_job &p, int sequence) {
    Sequence s;
    s.n_tokens = p.lengths[row_at(p, sequence)];
    s.first_row = p.q_begin ? p.q_begin[sequence] : sequence * p.max_n_q;
    s.n_q = p.q_begin ? p.q_begin[sequence + 1] - s.first_row : p.max_n_q;
    s.end = p.kv_end > 0 ? min(s.n_tokens, p.kv_end) : s.n_tokens;
    return s;
}

// Tokens from here on are exact last ones, maybe a negative number. `row` is the sequence's in the tables.
__device__ __forceinline__ int exact_last_begin(const kvb_cuda_attend_job &p, const Sequence &s, int row) {
    return max(s.n_tokens - p.n_exact_last, p.packed_ends ? __ldg(p.packed_ends + row) : 0);
}

// What one query sees by position: [begin, end), and a tree's tokens from `tree` on. Only of queries that there are:
// they have a position and a row of the mask.
struct Visible {
    int begin, end, tree;
    __device__ __forceinline__ static Visible of(const kvb_cuda_attend_job &p, const Sequence &s, int query) {
        // Any number is legal as a position: no sum of it may overflow.
        const int position = p.positions ? __ldg(p.positions + s.first_row + query) : s.n_tokens - s.n_q + query;
        Visible v;
        v.tree = p.tree_mask ? s.n_tokens - s.n_q : s.n_tokens;
        v.end = max(min(min(position, s.end - 1) + 1, v.tree), 0);
        v.begin = min(max(p.window > 0 && position >= p.window ? position - p.window + 1 : 0, p.kv_begin), v.end);
        return v;
    }
    __device__ __forceinline__ bool sees(const kvb_cuda_attend_job &p, const Sequence &s, int query, int token) const {
        if (token < tree) {
            return token >= begin && token < end;
        }
        int j = token - tree;
        return token >= p.kv_begin && token < s.end &&
               p.tree_mask[(size_t)(s.first_row + query) * ((p.max_n_q + 7) / 8) + j / 8] >> (j % 8) & 1;
    }
};

} // namespace kvb
