// Rows of floats in shared memory: typed loads and stores, the rotation and its inverse, what a query sees.
#pragma once
#include "attend_job.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace kvb {

__device__ __forceinline__ float load_value(const void *p, size_t i, int type) {
    switch (type) {
    case KVB_CUDA_F16:
        return __half2float(((const __half *)p)[i]);
    case KVB_CUDA_BF16:
        return __bfloat162float(((const __nv_bfloat16 *)p)[i]);
    default:
        return ((const float *)p)[i];
    }
}
__device__ __forceinline__ void store_value(void *p, size_t i, int type, float x) {
    switch (type) {
    case KVB_CUDA_F16:
        ((__half *)p)[i] = __float2half_rn(x);
        break;
    case KVB_CUDA_BF16:
        ((__nv_bfloat16 *)p)[i] = __float2bfloat16_rn(x);
        break;
    default:
        ((float *)p)[i] = x;
    }
}

// The matrix of order m over the m runs, by one warp; `temporary` holds a row.
static __device__ void mix_runs(float *row, float *temporary, int dim, int order, const uint64_t *hadamard, int lane, bool inverse) {
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

// One row, by one warp: signs, transform, 1/sqrt(dim), or the inverse; nothing when the side has no rotation.
template <int DIM>
__device__ void rotate_row(float *row, float *temporary, const kvb_cuda_attend_side &side, int lane, bool inverse) {
    if (!side.signs) {
        return;
    }
    if (!inverse) {
        for (int i = lane; i < DIM; i += 32) {
            row[i] = side.signs[i / 32] >> (i % 32) & 1 ? -row[i] : row[i];
        }
        __syncwarp();
    }
    if (side.hadamard_order > 1) {
        mix_runs(row, temporary, DIM, side.hadamard_order, side.hadamard, lane, inverse);
    }
    for (int h = 1; h < DIM / side.hadamard_order; h *= 2) {
        for (int p = lane; p < DIM / 2; p += 32) {
            int i = p / h * 2 * h + p % h;
            float a = row[i], b = row[i + h];
            row[i] = a + b;
            row[i + h] = a - b;
        }
        __syncwarp();
    }
    const float factor = rsqrtf((float)DIM);
    for (int i = lane; i < DIM; i += 32) {
        float x = row[i] * factor;
        row[i] = inverse && (side.signs[i / 32] >> (i % 32) & 1) ? -x : x;
    }
    __syncwarp();
}

// A sequence as all its queries share it.
struct Sequence {
    int n_tokens, first_row, n_q, end; // end: of the tokens that anybody sees
    __device__ static Sequence at(const kvb_cuda_attend &p, int sequence) {
        Sequence s;
        s.n_tokens = __ldg(p.lengths + sequence);
        s.first_row = p.q_begin ? __ldg(p.q_begin + sequence) : sequence * p.max_n_q;
        s.n_q = p.q_begin ? __ldg(p.q_begin + sequence + 1) - s.first_row : p.max_n_q;
        s.end = p.kv_end > 0 ? min(s.n_tokens, p.kv_end) : s.n_tokens;
        return s;
    }
};

// What one query sees by position: [begin, end), and a tree's tokens from `tree` on.
struct Visible {
    int begin, end, tree;
    __device__ static Visible of(const kvb_cuda_attend &p, const Sequence &s, int query) {
        int position = p.positions ? __ldg(p.positions + s.first_row + query) : s.n_tokens - s.n_q + query;
        Visible v;
        v.tree = p.tree_mask ? s.n_tokens - s.n_q : s.n_tokens;
        v.end = max(min(min(position + 1, s.end), v.tree), 0);
        v.begin = min(max(p.window > 0 ? position - p.window + 1 : 0, p.kv_begin), v.end);
        return v;
    }
    __device__ bool sees(const kvb_cuda_attend &p, const Sequence &s, int query, int token) const {
        if (token < tree) {
            return token >= begin && token < end;
        }
        int j = token - tree;
        return token >= p.kv_begin && token < s.end &&
               p.tree_mask[(size_t)(s.first_row + query) * ((p.max_n_q + 7) / 8) + j / 8] >> (j % 8) & 1;
    }
};

// The packed tokens that some query of a sequence may see.
struct Range {
    int begin, end;
    __device__ static Range of(const kvb_cuda_attend &p, const Sequence &s) {
        Range r = {s.end, p.tree_mask ? s.end : 0};
        for (int i = 0; i < s.n_q; i++) {
            Visible v = Visible::of(p, s, i);
            r.begin = min(r.begin, v.begin);
            r.end = max(r.end, v.end);
            if (!p.positions) { // rising: the first begins first, the last ends last
                r.end = max(r.end, Visible::of(p, s, s.n_q - 1).end);
                break;
            }
        }
        r.begin = max(r.begin, p.n_exact_first);
        r.end = max(min(r.end, s.n_tokens - p.n_exact_last), r.begin);
        return r;
    }
};

} // namespace kvb
