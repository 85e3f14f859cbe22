// A column's last step.
#pragma once
#include "attend_exact.cuh"

namespace kvb {

// Sink, division, log-sum-exp, the rotation back, by one warp. CALLS and v_signs: rotate_row's.
template <int DV, bool CALLS = true>
__device__ void finish_column(const kvb_cuda_attend_job &p, const uint32_t *v_signs, int row, int head, float top,
                              float sum, float *values, float *temporary, int lane) {
    float factor = 1.0f;
    if (p.sinks) {
        const float sink = p.sinks[head] * 1.4426950408889634f, higher = fmaxf(top, sink);
        factor = exp2_of(top - higher);
        sum = sum * factor + exp2_of(sink - higher);
        top = higher;
    }
    factor = sum == 0.0f ? 0.0f : factor / sum; // nothing was seen
    for (int i = lane; i < DV; i += 32) {
        values[i] *= factor;
    }
    __syncwarp();
    rotate_row<DV, CALLS>(values, temporary, p.v, v_signs, lane, true);
    for (int i = lane; i < DV; i += 32) {
        store_value(p.out, row * p.out_row_stride + head * p.out_head_stride + i, p.out_type, values[i]);
    }
    if (p.lse && lane == 0) {
        p.lse[(size_t)row * p.n_kv_heads * p.group + head] =
            sum == 0.0f ? -INFINITY : (top + log2f(sum)) * 0.6931471805599453f;
    }
}

} // namespace kvb
