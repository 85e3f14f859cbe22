// The warps that multiply for a prompt: logits, weights, sums of values, outputs.
#pragma once
#include "attend_finish.cuh"
#include "prefill_shape.cuh"
#include "warpgroup.cuh"

namespace kvb {

#if KVB_HAS_WARPGROUPS

// A thread's two columns of the item (rows of its warpgroup's 64), 8 apart.
template <class D> struct Softmax {
    float unit[2], mean[2], top[2], sum[2];
    int begin[2], end[2], all_begin, all_end; // tokens that they see, and that all of the warp's see
    // Weights are 2^shift times what they are, so that times scales up to v_limit they fit halves.
    float shift, v_limit;

    // Products of a tile become weights times the values' scales. `factor`: what earlier sums are multiplied by;
    // returns whether that may not be 1 for some column of the warp.
    __device__ __forceinline__ bool take(float (&c)[D::TOKENS / 2], const float *scales, int first_token,
                                         const Softcap &softcap, float (&factor)[2], int t) {
        const bool edge = first_token < all_begin || first_token + D::TOKENS > all_end;
        float most[2] = {-INFINITY, -INFINITY}, u[2] = {unit[0], unit[1]}, plus[2] = {mean[0], mean[1]};
#pragma unroll
        for (int j = 0; j < D::TOKENS / 8; j++) {
            const float2 k = *(const float2 *)(scales + 8 * j + 2 * t);
            c[4 * j] *= k.x, c[4 * j + 1] *= k.y, c[4 * j + 2] *= k.x, c[4 * j + 3] *= k.y;
        }
        if (softcap.cap > 0.0f) {
#pragma unroll
            for (int i = 0; i < D::TOKENS / 2; i++) {
                c[i] = softcap(fmaf(c[i], u[i % 4 / 2], plus[i % 4 / 2]));
            }
            u[0] = u[1] = 1.0f, plus[0] = plus[1] = 0.0f;
        }
        if (edge) {
#pragma unroll
            for (int i = 0; i < D::TOKENS / 2; i++) {
                const int j = i / 4, of_eight = i % 2 + 8 * (t % 2),
                          token = first_token + of_eight +
                                  (D::per_page == 1 ? 16 * (2 * (j % 2) + t / 2) + 2 * (j / 2) : 16 * (t / 2) + 2 * j);
                c[i] = token >= begin[i % 4 / 2] && token < end[i % 4 / 2] ? c[i] : -INFINITY;
            }
        }
#pragma unroll
        for (int i = 0; i < D::TOKENS / 2; i++) {
            most[i % 4 / 2] = fmaxf(most[i % 4 / 2], c[i]);
        }
        const float v_most =
            D::per_page == 1 ? fmaxf(scales[2 * D::TOKENS], scales[2 * D::TOKENS + 1]) : scales[2 * D::TOKENS];
        most[0] = fmaf(most[0], u[0], plus[0]), most[1] = fmaf(most[1], u[1], plus[1]);
        factor[0] = factor[1] = 1.0f;
        const bool changes = __any_sync(0xffffffffu, most[0] > top[0] || most[1] > top[1] || v_most > v_limit);
        if (changes) {
            float factor_v = 1.0f;
            if (v_most > v_limit) {
                const int exponent = min(max((int)(__float_as_uint(v_most) >> 23) - 127, -30), 30);
                factor_v = exp2_of((float)-exponent - shift);
                shift = (float)-exponent;
                v_limit = __uint_as_float((uint32_t)(127 + exponent + 10) << 23);
            }
#pragma unroll
            for (int h = 0; h < 2; h++) {
                most[h] = fmaxf(most[h], __shfl_xor_sync(0xffffffffu, most[h], 1));
                most[h] = fmaxf(most[h], __shfl_xor_sync(0xffffffffu, most[h], 2));
                const float higher = fmaxf(top[h], most[h]);
                factor[h] = exp2_of(top[h] - higher) * factor_v;
                top[h] = higher;
                sum[h] *= factor[h];
            }
        }
        const float offset[2] = {plus[0] - top[0] + shift, plus[1] - top[1] + shift};
#pragma unroll
        for (int j = 0; j < D::TOKENS / 8; j++) {
            const float2 v = *(const float2 *)(scales + D::TOKENS + 8 * j + 2 * t);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float x = c[4 * j + i];
                float w = exp2_of(fmaf(x, u[i / 2], offset[i / 2])), of_value = w * (i % 2 ? v.y : v.x);
                if (edge) { // what a column does not see may be NaN
                    w = x == -INFINITY ? 0.0f : w;
                    of_value = x == -INFINITY ? 0.0f : of_value;
                }
                sum[i / 2] += w;
                c[4 * j + i] = of_value;
            }
        }
        return changes;
    }
};

// A column's parts, in order, by a warp. `values`: where this block's lies.
template <class D>
__device__ __forceinline__ void finish_row(const kvb_cuda_attend_job &p, const Tile &work, const PrefillMemory<D> &m,
                                           int row, const float *values, float *temporary, int lane) {
    constexpr int N = D::DV / 32;
    float top = -1e30f, sum = 0.0f, x[N] = {};
    for (int part = 0; part < work.n_parts; part++) {
        top = fmaxf(top, load_from_block(m.tops + row, part));
    }
    for (int part = 0; part < work.n_parts; part++) {
        const float factor = exp2_of(load_from_block(m.tops + row, part) - top);
        sum += load_from_block(m.sums + row, part) * factor;
#pragma unroll
        for (int j = 0; j < N; j++) {
            x[j] += load_from_block(values + j * 32 + lane, part) * factor;
        }
    }
    store_row<D::DV>(temporary, x, lane);
    __syncwarp();
    const int column = work.first_column + row;
    // A call among products would have the compiler wait for each of them.
    finish_column<D::DV, false>(p, p.v.signs, work.sequence.first_row + column / p.group,
                                work.kv_head * p.group + column % p.group, top, sum, temporary, temporary + D::row,
                                lane);
    __syncwarp();
}

template <class D>
__device__ __forceinline__ void
multiply_tiles(const kvb_cuda_attend_job &p, const Tile &work, const PrefillMemory<D> &m,
               const uint32_t (&q)[D::is_large ? 1 : D::C::k_steps][4],
               const uint32_t (&q_rest)[D::SPLIT && !D::is_large ? D::C::k_steps : 1][4], bool has_exact, int warp,
               int lane) {
    using C = typename D::C;
    constexpr int DK = D::DK, DV = D::DV, n_out = DV / 2;
    const int g = lane / 4, t = lane % 4, row = warp * 16 + g; // of the item's columns, and 8 more
    float o[n_out];
    Softmax<D> softmax;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int r = row + 8 * h;
        softmax.unit[h] = m.units[r], softmax.mean[h] = m.means[r];
        softmax.top[h] = has_exact && r < work.n_columns ? m.tops[r] : -1e30f;
        softmax.sum[h] = has_exact && r < work.n_columns && t == 0 ? m.sums[r] : 0.0f;
        const Visible v = Visible::of(p, work.sequence, (work.first_column + min(r, work.n_columns - 1)) / p.group);
        softmax.begin[h] = max(v.begin, p.n_exact_first);
        softmax.end[h] = min(v.end, work.packed_end);
    }
    softmax.all_begin = __reduce_max_sync(0xffffffffu, max(softmax.begin[0], softmax.begin[1]));
    softmax.all_end = __reduce_min_sync(0xffffffffu, min(softmax.end[0], softmax.end[1]));
    softmax.shift = 0.0f, softmax.v_limit = -1.0f;
#pragma unroll
    for (int i = 0; i < n_out; i++) {
        const int r = row + i % 4 / 2 * 8, place = i / 4 * 8 + 2 * t + i % 2;
        o[i] = has_exact && r < work.n_columns ? m.rows[r * DV + C::v_dim(place)] : 0.0f;
    }
    meet<D::warps * 32>(2); // the stages are the readers'
    const Softcap softcap = Softcap::of(p.softcap);
    const int first_tile = work.first_page * D::per_page, tiles_end = work.pages_end * D::per_page;
    if (first_tile < tiles_end) {
        Ring k_ring, v_ring;
        const uint64_t queries = operand_at(m.queries + warp / 4 * 64 * 128); // of the warpgroup
        float c[D::TOKENS / 2], factor[2];
        uint32_t weights[D::TOKENS / 16][4], weight_rests[D::SPLIT ? D::TOKENS / 16 : 1][4];
        auto multiply_keys = [&] {
            barrier_wait(m.full(false, k_ring.slot), k_ring.parity);
            const uint64_t keys = operand_at(m.keys(k_ring.slot));
            products_begin();
#pragma unroll
            for (int s = 0; s < C::k_steps; s++) {
                const uint64_t at = keys + s / 4 * (D::panel_bytes / 16) + s % 4 * 2;
                if constexpr (D::is_large) {
                    const uint64_t query = queries + s / 4 * (D::ROWS * 8) + s % 4 * 2;
                    Product<D::TOKENS>::run(c, query, at, s > 0);
                    if constexpr (D::SPLIT) {
                        Product<D::TOKENS>::run(c, query + D::ROWS * DK / 8, at, 1);
                    }
                } else {
                    Product<D::TOKENS>::run(c, q[s], at, s > 0);
                    if constexpr (D::SPLIT) {
                        Product<D::TOKENS>::run(c, q_rest[s], at, 1);
                    }
                }
            }
            products_end();
        };
        auto multiply_values = [&] {
            barrier_wait(m.full(true, v_ring.slot), v_ring.parity);
            const uint64_t values = operand_at(m.values(v_ring.slot / D::per_page)) + v_ring.slot % D::per_page * 4;
            products_begin();
#pragma unroll
            for (int s = 0; s < D::TOKENS / 16; s++) {
                Product<DV>::run(o, weights[s], values + 2 * s, 1);
                if constexpr (D::SPLIT) {
                    Product<DV>::run(o, weight_rests[s], values + 2 * s, 1);
                }
            }
            products_end();
        };
        auto release = [&](uint64_t *empty) {
            __syncwarp();
            if (lane == 0) {
                barrier_arrive(empty);
            }
        };
        // Logits become weights in place, while the values before are multiplied.
        auto weigh = [&](int tile) {
            const bool changes =
                softmax.take(c, m.scales + k_ring.slot * D::scale_floats, tile * D::TOKENS, softcap, factor, t);
            release(m.empty(false, k_ring.slot));
            k_ring.step<D::K_SLOTS>();
            return changes;
        };
        auto pack_weights = [&](bool changes) {
            if (changes) {
#pragma unroll
                for (int i = 0; i < n_out; i++) {
                    o[i] *= factor[i % 4 / 2];
                }
            }
#pragma unroll
            for (int s = 0; s < D::TOKENS / 16; s++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const float x = c[8 * s + 2 * i], y = c[8 * s + 2 * i + 1];
                    weights[s][i] = pack_halves(x, y);
                    if constexpr (D::SPLIT) {
                        weight_rests[s][i] = pack_rests(x, y, weights[s][i]);
                    }
                }
            }
        };
        multiply_keys();
        products_wait<0>();
        pack_weights(weigh(first_tile));
#pragma unroll 1
        for (int tile = first_tile + 1; tile < tiles_end; tile++) {
            multiply_keys();
            multiply_values();
            products_wait<1>();
            const bool changes = weigh(tile);
            products_wait<0>();
            release(m.empty(true, v_ring.slot));
            v_ring.step<D::V_SLOTS>();
            pack_weights(changes);
        }
        multiply_values();
        products_wait<0>();
    }
    meet<D::multipliers * 32>(1); // nobody reads the stages any more
    const float down = exp2_of(-softmax.shift);
    float *outs = m.rows + warp * 8 * DV;
#pragma unroll
    for (int h = 0; h < 2; h++) { // eight of the warp's rows, and eight more
#pragma unroll
        for (int i = 0; i < n_out; i++) {
            if (i % 4 / 2 == h) {
                outs[g * DV + C::v_dim(i / 4 * 8 + 2 * t + i % 2)] = o[i] * down;
            }
        }
        float sum = softmax.sum[h] * down;
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        if (t == 0) {
            m.tops[row + 8 * h] = softmax.top[h];
            m.sums[row + 8 * h] = sum;
        }
        __syncwarp();
        if (work.n_parts > 1) {
            meet_cluster();
        }
        const int first = warp * 16 + 8 * h;
        for (int r = work.part; r < min(8, work.n_columns - first); r += work.n_parts) {
            finish_row<D>(p, work, m, first + r, outs + r * DV, m.temporary + warp * 2 * D::row, lane);
        }
        if (work.n_parts > 1) {
            meet_cluster(); // others have read what lies here
        }
        __syncwarp();
    }
}

#endif

} // namespace kvb
