// A prompt's queries, rotated, scaled to magnitude 1, as halves; and what exact tokens give them.
#pragma once
#include "attend_exact.cuh"
#include "prefill_shape.cuh"

namespace kvb {

// Where a column's coordinate lies: of large heads as the keys'.
template <class D> __device__ __forceinline__ int query_at(int row, int dim) {
    if constexpr (D::is_large) {
        const typename D::C::KeyPlace p = D::C::k_place(dim);
        const int piece = (2 * p.t + p.step % 4 / 2) ^ row % 8;
        return p.step / 4 * D::ROWS * 64 + row * 64 + piece * 8 + p.step % 2 * 4 + 2 * p.second + p.odd;
    } else {
        return row * D::q_stride + dim;
    }
}

template <class D>
__device__ void stage_queries(const kvb_cuda_attend_job &p, const Tile &work, const PrefillMemory<D> &m, int warp,
                              int lane) {
    constexpr int DK = D::DK, N = (DK + 31) / 32;
    __half *halves = (__half *)(D::is_large ? (void *)m.queries : m.rows),
           *rests = halves + D::ROWS * (D::is_large ? DK : D::q_stride);
    float *row = m.temporary + warp * 2 * D::row;
    for (int r = warp; r < D::ROWS; r += D::warps) {
        const int column = work.first_column + min(r, work.n_columns - 1);
        float x[N];
        load_row_of<DK>(x, p.q,
                        (size_t)(work.sequence.first_row + column / p.group) * p.q_row_stride +
                            (work.kv_head * p.group + column % p.group) * p.q_head_stride,
                        p.q_type, lane);
        const float dot = p.k.mean ? row_dot<DK>(x, p.k.mean + (size_t)work.kv_head * DK, lane) : 0.0f;
        store_row<DK>(row, x, lane);
        __syncwarp();
        rotate_row<DK>(row, row + D::row, p.k, p.k.signs, lane, false);
        const float down =
            store_halves<DK, D::SPLIT>(row, p.scale, halves, rests, lane, [&](int i) { return query_at<D>(r, i); });
        if (lane == 0) {
            m.units[r] = down * fabsf(p.scale) * 1.4426950408889634f;
            m.means[r] = dot * p.scale * 1.4426950408889634f;
        }
        __syncwarp();
    }
}

// A thread's part of its warpgroup's rows as a left operand: 16 halves of the keys' order to a step.
template <class D>
__device__ __forceinline__ void load_operand(uint32_t (&q)[D::C::k_steps][4], const __half *halves, int row, int t) {
#pragma unroll
    for (int s = 0; s < D::C::k_steps; s++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int step = s / 4 * 4 + (D::is_whole(s) ? 2 * i : 0) + t / 2,
                      dim = D::C::k_dim(step, D::is_whole(s) ? s % 4 : s % 4 * 2 + i, t % 2);
            q[s][2 * i] = *(const uint32_t *)(halves + row * D::q_stride + dim);
            q[s][2 * i + 1] = *(const uint32_t *)(halves + (row + 8) * D::q_stride + dim);
        }
    }
}

// ---- Exact tokens: what the columns' softmax begins with ----

// Leaves sums of weighted values, rotated, in `rows`: [column][DV].
template <class D>
__device__ __noinline__ void begin_exact(const kvb_cuda_attend_job &p, const Tile work, const PrefillMemory<D> m,
                                         int warp, int lane) {
    constexpr int DK = D::DK, DV = D::DV, N = (DK + 31) / 32;
    float *q = m.exact, *scores = q + 8 * DK, *out = scores + 8 * (D::chunk + 1);
    for (int first = 0; first < work.n_columns; first += 8) {
        const int n = min(8, work.n_columns - first);
        for (int c = warp; c < n; c += D::warps) {
            const int column = work.first_column + first + c;
            float x[N];
            load_row_of<DK>(x, p.q,
                            (size_t)(work.sequence.first_row + column / p.group) * p.q_row_stride +
                                (work.kv_head * p.group + column % p.group) * p.q_head_stride,
                            p.q_type, lane);
            store_row<DK>(q + c * DK, x, lane);
        }
        __syncthreads();
        exact_partial<DK, DV, D::chunk>(p, work.sequence, work.row, work.kv_head, work.first_column + first, n, q,
                                        scores, out, m.tops + first, m.sums + first);
        for (int c = warp; c < n; c += D::warps) {
            rotate_row<DV>(out + c * DV, m.temporary + warp * D::row, p.v, p.v.signs, lane, false);
            for (int i = lane; i < DV; i += 32) {
                m.rows[(first + c) * DV + i] = out[c * DV + i];
            }
        }
        __syncthreads();
    }
}

} // namespace kvb
