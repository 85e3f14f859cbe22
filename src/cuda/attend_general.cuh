// What the general kernel reads and writes beside codes: rows of any type, rotations of any length, one column's
// result.
#pragma once
#include "attend_exact.cuh"

namespace kvb {

__device__ __forceinline__ float load_value(const void *array, size_t i, int type) {
    return value_of(type == KVB_F32 ? ((const uint32_t *)array)[i] : ((const uint16_t *)array)[i], type);
}

// One row of any length in shared memory, by one warp: as rotate_row.
__device__ inline void rotate_any(float *row, float *temporary, const kvb_cuda_attend_side &side, int lane,
                                  bool inverse) {
    if (!side.signs) {
        return;
    }
    const float factor = rsqrtf((float)side.head_dim);
    for (int i = lane; i < side.head_dim; i += 32) {
        row[i] = negated_if(row[i] * factor, inverse ? 0 : side.signs[i / 32], i % 32);
    }
    __syncwarp();
    rotate_slowly(row, temporary, side.head_dim, side.hadamard_order, side.hadamard, lane, inverse);
    for (int i = lane; inverse && i < side.head_dim; i += 32) {
        row[i] = negated_if(row[i], side.signs[i / 32], i % 32);
    }
    __syncwarp();
}

// Sink, division, log-sum-exp, the rotation back: one column, whose values lie in shared memory, by one warp.
__device__ inline void finish(const kvb_cuda_attend_job &p, int row, int head, float top, float sum, float *values,
                              float *temporary, int lane) {
    const int dim = p.v.head_dim;
    float factor = 1.0f;
    if (p.sinks) {
        const float sink = p.sinks[head] * 1.4426950408889634f, higher = fmaxf(top, sink);
        factor = exp2f(top - higher);
        sum = sum * factor + exp2f(sink - higher);
        top = higher;
    }
    factor = sum == 0.0f ? 0.0f : factor / sum; // nothing was seen
    for (int i = lane; i < dim; i += 32) {
        values[i] *= factor;
    }
    __syncwarp();
    rotate_any(values, temporary, p.v, lane, true);
    for (int i = lane; i < dim; i += 32) {
        store_value(p.out, row * p.out_row_stride + head * p.out_head_stride + i, p.out_type, values[i]);
    }
    if (p.lse && lane == 0) {
        p.lse[(size_t)row * p.n_kv_heads * p.group + head] =
            sum == 0.0f ? -INFINITY : (top + log2f(sum)) * 0.6931471805599453f;
    }
}

} // namespace kvb
