// The exact first and last tokens of an item's columns, by a whole block: one more partial result beside the warps'.
#pragma once
#include "attend_rows.cuh"

namespace kvb {

__device__ __forceinline__ float exp2_of(float x) {
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}

// Logits and cap in units of log2(e).
struct Softcap {
    float cap, inverse; // inverse: of the exponent of e^2x
    __device__ static Softcap of(float softcap) {
        return {softcap * 1.4426950408889634f, softcap > 0.0f ? __fdividef(2.0f, softcap) : 0.0f};
    }
    __device__ float operator()(float x) const {
        return cap - __fdividef(2.0f * cap, exp2_of(x * inverse) + 1.0f);
    }
};

// Row of an exact token of a sequence's KV head.
__device__ __forceinline__ size_t exact_row(const kvb_cuda_attend_job &p, const kvb_cuda_attend_side &side,
                                            const Sequence &s, int sequence, int kv_head, int token,
                                            const void **array) {
    size_t head = (size_t)kv_head * side.exact_head_stride;
    if (token < p.n_exact_first) {
        *array = side.exact_first;
        return sequence * side.exact_first_sequence_stride + token * side.exact_token_stride + head;
    }
    int slot = p.exact_last_slots > 0 ? token % p.exact_last_slots : token - (s.n_tokens - p.n_exact_last);
    *array = side.exact_last;
    return sequence * side.exact_last_sequence_stride + slot * side.exact_token_stride + head;
}

// q: [8][DK], not rotated. Leaves sums of weighted values in out [8][DV] and maxima and sums of weights in tops, sums
// [8]. scores: [8][CHUNK]. All threads of the block. Exact tokens are halves or bfloats.
template <int DK, int DV, int CHUNK>
__device__ __forceinline__ void exact_partial(const kvb_cuda_attend_job &p, const Sequence &s, int sequence,
                                              int kv_head, int first_column, int n_columns, const float *q,
                                              float *scores, float *out, float *tops, float *sums) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    const Softcap softcap = Softcap::of(p.softcap);
    const int first_end = min(p.n_exact_first, s.n_tokens),
              last_begin = max(exact_last_begin(p, s, sequence), first_end);
    const int n = first_end + (s.n_tokens - last_begin);
    for (int i = threadIdx.x; i < 8 * DV; i += blockDim.x) {
        out[i] = 0.0f;
    }
    if (threadIdx.x < 8) {
        tops[threadIdx.x] = -1e30f;
        sums[threadIdx.x] = 0.0f;
    }
    for (int begin = 0; begin < n; begin += CHUNK) {
        auto token_at = [&](int i) { return begin + i < first_end ? begin + i : last_begin + begin + i - first_end; };
        const int count = min(CHUNK, n - begin);
        __syncthreads();
        constexpr int some = 4, N = (DK + 31) / 32; // tokens of a warp at a time
        for (int i = warp * some; i < count; i += warps * some) {
            float keys[some][N];
#pragma unroll
            for (int j = 0; j < some; j++) {
                const void *array;
                const size_t row = exact_row(p, p.k, s, sequence, kv_head, token_at(min(i + j, count - 1)), &array);
                load_row_of<DK>(keys[j], array, row, p.exact_type, lane);
            }
            for (int c = 0; c < n_columns; c++) {
                float dots[some];
#pragma unroll
                for (int j = 0; j < some; j++) {
                    dots[j] = 0.0f;
                }
#pragma unroll
                for (int d = 0; d < N; d++) {
                    const float x = d * 32 + lane < DK ? q[c * DK + d * 32 + lane] : 0.0f;
#pragma unroll
                    for (int j = 0; j < some; j++) {
                        dots[j] += x * keys[j][d];
                    }
                }
#pragma unroll
                for (int h = 16; h > 0; h /= 2) {
#pragma unroll
                    for (int j = 0; j < some; j++) {
                        dots[j] += __shfl_xor_sync(0xffffffffu, dots[j], h);
                    }
                }
                const float dot = lane == 0 ? dots[0] : lane == 1 ? dots[1] : lane == 2 ? dots[2] : dots[3];
                if (lane < some && i + lane < count) {
                    const int query = (first_column + c) / p.group;
                    float x = dot * p.scale * 1.4426950408889634f;
                    x = p.softcap > 0.0f ? softcap(x) : x;
                    scores[c * CHUNK + i + lane] =
                        Visible::of(p, s, query).sees(p, s, query, token_at(i + lane)) ? x : -INFINITY;
                }
            }
        }
        __syncthreads();
        for (int i = threadIdx.x; i < n_columns * DV; i += blockDim.x) {
            const int c = i / DV;
            float top = tops[c], factor, sum = 0.0f;
            for (int t = 0; t < count; t++) {
                top = fmaxf(top, scores[c * CHUNK + t]);
            }
            factor = exp2_of(tops[c] - top);
            float o = out[i] * factor;
            for (int t = 0; t < count; t += 16) {
                uint16_t values[16];
#pragma unroll
                for (int j = 0; j < 16; j++) {
                    const void *array;
                    const size_t row = exact_row(p, p.v, s, sequence, kv_head, token_at(min(t + j, count - 1)), &array);
                    values[j] = ((const uint16_t *)array)[row + i % DV];
                }
#pragma unroll
                for (int j = 0; j < 16; j++) {
                    const float x = t + j < count ? scores[c * CHUNK + t + j] : -INFINITY;
                    const float w = exp2_of(x - top);
                    sum += w;
                    o += x == -INFINITY ? 0.0f : w * value_of(values[j], p.exact_type);
                }
            }
            out[i] = o;
            if (i % DV == 0) {
                sums[c] = sums[c] * factor + sum;
                scores[8 * CHUNK + c] = top; // tops are still read
            }
        }
        __syncthreads();
        if (threadIdx.x < n_columns) {
            tops[threadIdx.x] = scores[8 * CHUNK + threadIdx.x];
        }
    }
    __syncthreads();
}

} // namespace kvb
