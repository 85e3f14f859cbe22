// Attention of many queries on packed pages: 128 columns (queries x heads of a group) of a KV head to a block of
// threads. A warpgroup reads pages and lays their values as halves into shared memory, each once; two multiply.
//
// What is free is spent on wide stores: contraction does not ask for an order, so that a lane's eight values of two
// steps of a key, or of two blocks of tokens of a value, lie together in 16 bytes.
//     keys:    row n, 64 coordinates to a panel of 128-byte rows; its piece 2t + i holds what lane t of a step has of
//              the panel's steps 2i and 2i + 1
//     values:  row = place of a coordinate, 64 tokens; its piece 2t + i holds what lane t has of blocks 2i and 2i + 1
// so that token 16 b + (2t, 2t + 1, 2t + 8, 2t + 9) of a page is column n = 8 (2t + b / 2) + 4 (b % 2) + (0, 1, 2, 3)
// of the logits. Pieces are swapped as operand_at (warpgroup.cuh) wants them.
//     Heads of 256 coordinates leave room for half a page of keys at a time, and in registers none for queries, which
// lie in shared memory as keys do. Then the values' pieces are 4i + t, and n = 8t + 4 (b % 2) + (0, 1, 2, 3).
#pragma once
#include "attend_codes.cuh"
#include "attend_exact.cuh"
#include "attend_finish.cuh"
#include "attend_launch.h"
#include "warpgroup.cuh"

namespace kvb {

template <int KBITS, int VBITS, int DK_, int DV_, bool SPLIT_> struct Prefill {
    static constexpr int DK = DK_, DV = DV_;
    static constexpr bool SPLIT = SPLIT_, is_large = DK > 128 || DV > 128;
    using C = Codes<KBITS, VBITS, DK, DV>;
    // Queries in two halves leave registers for one warpgroup that multiplies.
    static constexpr int readers = 4, multipliers = SPLIT ? 4 : 8, warps = readers + multipliers,
                         ROWS = 16 * multipliers;
    static constexpr int TOKENS = is_large ? 32 : 64, per_page = KVB_CUDA_PAGE_TOKENS / TOKENS; // of a tile
    static constexpr int panels = DK / 64, panel_bytes = TOKENS * 128, k_bytes = panels * panel_bytes,
                         v_bytes = DV * 128; // of a tile's keys, of a page's values
    // A tile's scales of keys and of values, then the largest of the latter in each half of a page.
    static constexpr int scale_floats = 2 * TOKENS + 4;
    static constexpr int query_bytes = is_large ? (SPLIT ? 2 : 1) * ROWS * DK * 2 : 0;
    static constexpr int barrier_bytes = 2 * 8, most = 232448;
    static constexpr int room =
        is_large ? (most - query_bytes - C::tables - 2 * (k_bytes + scale_floats * 4 + barrier_bytes)) /
                       (v_bytes + 2 * barrier_bytes)
                 : (most - C::tables) / (k_bytes + v_bytes + scale_floats * 4 + 2 * barrier_bytes);
    static constexpr int V_STAGES = room < 4 ? room : 4, K_SLOTS = is_large ? 2 : V_STAGES,
                         V_SLOTS = V_STAGES * per_page, stages_bytes = K_SLOTS * k_bytes + V_STAGES * v_bytes;
    static constexpr int shared_bytes =
        query_bytes + stages_bytes + C::tables + K_SLOTS * scale_floats * 4 + (K_SLOTS + V_SLOTS) * barrier_bytes;
    // What lies in the stages before the first tile and after the last: columns' states, then queries, or what exact
    // tokens gave, or outputs (of large heads those take the place of queries).
    static constexpr bool takes_exact = !is_large;
    static constexpr int q_stride = DK + 8, q_bytes = is_large ? 0 : (SPLIT ? 2 : 1) * ROWS * q_stride * 2,
                         out_bytes = (takes_exact ? ROWS : ROWS / 2) * DV * 4,
                         rows_bytes = is_large              ? 0
                                      : q_bytes > out_bytes ? q_bytes
                                                            : out_bytes,
                         state_bytes = 4 * ROWS * 4, row = DK > DV ? DK : DV, temporary_bytes = warps * 2 * row * 4,
                         chunk = 64, exact_bytes = takes_exact ? (8 * DK + 8 * (chunk + 1) + 8 * DV) * 4 : 0;
    static_assert(V_STAGES >= 1 && (is_large || V_STAGES >= 2) && DK % 64 == 0, "whole panels");
    static_assert(!is_large || out_bytes <= query_bytes, "outputs fit");
    static_assert(state_bytes + rows_bytes + temporary_bytes + exact_bytes <= stages_bytes, "they fit");
};

#if KVB_HAS_WARPGROUPS

// What a block of threads works on.
struct Tile {
    Sequence sequence;
    int index, kv_head, first_column, n_columns; // index: of the sequence
    int begin, end;                              // packed tokens that some column sees
    int first_page, pages_end;                   // of this block's part
    int part, n_parts;                           // of the cluster's blocks, which share the pages
};

// Where the parts of shared memory lie. Those behind `barriers` lie in the stages, before the first tile and after the
// last.
template <class D> struct PrefillMemory {
    uint8_t *queries, *stages, *k_table, *v_table;
    float *scales;
    uint64_t *barriers;   // keys' slots: full, empty; values': full, empty
    float *units, *means; // of a column's logits
    float *tops, *sums;   // of a column's exact tokens
    float *rows, *temporary, *exact;

    __device__ explicit PrefillMemory(uint8_t *shared) {
        queries = shared;
        stages = queries + D::query_bytes;
        k_table = stages + D::stages_bytes;
        v_table = D::C::v_table(k_table);
        scales = (float *)(k_table + D::C::tables);
        barriers = (uint64_t *)(scales + D::K_SLOTS * D::scale_floats);
        units = (float *)stages;
        means = units + D::ROWS;
        tops = means + D::ROWS;
        sums = tops + D::ROWS;
        rows = D::is_large ? (float *)queries : sums + D::ROWS;
        temporary = sums + D::ROWS + D::rows_bytes / 4;
        exact = temporary + D::temporary_bytes / 4;
    }
    __device__ uint8_t *keys(int slot) const {
        return stages + slot * D::k_bytes;
    }
    __device__ uint8_t *values(int stage) const {
        return stages + D::K_SLOTS * D::k_bytes + stage * D::v_bytes;
    }
    __device__ uint64_t *full(bool is_value, int slot) const {
        return barriers + (is_value ? 2 * D::K_SLOTS : 0) + slot;
    }
    __device__ uint64_t *empty(bool is_value, int slot) const {
        return full(is_value, slot) + (is_value ? D::V_SLOTS : D::K_SLOTS);
    }
};

struct Ring { // a place among slots
    int slot = 0;
    uint32_t parity = 0;
    template <int SLOTS> __device__ __forceinline__ void step() {
        if (++slot == SLOTS) {
            slot = 0;
            parity ^= 1;
        }
    }
};

// ---- Queries: rotated, scaled to magnitude 1, halves ----

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
        rotate_row<DK>(row, row + D::row, p.k, lane, false);
        float most = 0.0f;
#pragma unroll
        for (int j = 0; j < N; j++) {
            most = fmaxf(most, fabsf(row[j * 32 + lane]));
        }
        most = __uint_as_float(__reduce_max_sync(0xffffffffu, __float_as_uint(most)));
        // A power of two that makes the largest coordinate 1 or so; the unit undoes it, and is not negative.
        const int exponent = min(max((int)(__float_as_uint(most) >> 23), 27), 227) - 127;
        const float up = copysignf(__uint_as_float((uint32_t)(127 - exponent) << 23), p.scale),
                    down = __uint_as_float((uint32_t)(127 + exponent) << 23);
#pragma unroll
        for (int j = 0; j < N; j++) {
            const float y = row[j * 32 + lane] * up;
            const __half h = __float2half_rn(y);
            const int at = query_at<D>(r, j * 32 + lane);
            halves[at] = h;
            if (D::SPLIT) {
                rests[at] = __float2half_rn(y - __half2float(h));
            }
        }
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
            const int dim = D::C::k_dim(s / 4 * 4 + 2 * i + t / 2, s % 4, t % 2);
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
        if (p.exact_type == KVB_F32) {
            exact_partial<DK, DV, D::chunk, true>(p, work.sequence, work.index, work.kv_head, work.first_column + first,
                                                  n, q, scores, out, m.tops + first, m.sums + first);
        } else {
            exact_partial<DK, DV, D::chunk, false>(p, work.sequence, work.index, work.kv_head,
                                                   work.first_column + first, n, q, scores, out, m.tops + first,
                                                   m.sums + first);
        }
        for (int c = warp; c < n; c += D::warps) {
            rotate_row<DV>(out + c * DV, m.temporary + warp * D::row, p.v, lane, false);
            for (int i = lane; i < DV; i += 32) {
                m.rows[(first + c) * DV + i] = out[c * DV + i];
            }
        }
        __syncthreads();
    }
}

// ---- Readers ----

// Steps 0 .. N - 1 of two streams beside each other, or every two steps of one.
template <class S, int STEP, int N, int STRIDE> struct StepPairs {
    template <class F>
    __device__ static __forceinline__ void run(const uint32_t *w0, const uint32_t *w1, const uint8_t *table,
                                               typename S::Lane l, F f) {
        if constexpr (STEP < N) {
            uint32_t a[4], b[4];
            S::template get<STEP>(w0, table, l, a);
            S::template get<STEP + STRIDE - 1>(w1, table, l, b);
            f(STEP, make_uint4(a[0], a[2], b[0], b[2]), make_uint4(a[1], a[3], b[1], b[3]));
            StepPairs<S, STEP + STRIDE, N, STRIDE>::run(w0, w1, table, l, f);
        }
    }
};

// Column of the logits of token g of a half page's first (0) or second (1) block; token g + 8 is two more.
template <class D> __device__ __forceinline__ int column_of(int g, int half, int block) {
    return (D::per_page == 1 ? 8 * (2 * (g / 2) + half) : 8 * (g / 2)) + 4 * block + g % 2;
}

// Scales of half a page's tokens, in the logits' order; of tokens that nobody sees 0. `first`: the page's.
template <class D>
__device__ __forceinline__ void read_scales(const Tile &work, const uint8_t *keys, const uint8_t *values, int first,
                                            int half, int lane, float *scales) {
    using C = typename D::C;
    const int block = 2 * half + lane / 16, r = lane % 16, g = r % 8, token = first + 16 * block + r,
              n = column_of<D>(g, half, block % 2) + 2 * (r / 8), at = (g * 2 + r / 8) * 2;
    const bool is = token >= work.begin && token < work.end;
    const float k = is ? __half2float(*(const __half *)(keys + block * C::K::bytes + C::K::scales + at)) : 0.0f,
                v = is ? __half2float(*(const __half *)(values + block * C::V::bytes + C::V::scales + at)) : 0.0f;
    float most = fabsf(v);
    for (int h = 16; h > 0; h /= 2) {
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, h)); // drops NaN
    }
    scales[n] = k;
    scales[D::TOKENS + n] = v;
    if (lane == 0) {
        scales[2 * D::TOKENS + (D::per_page == 1 ? half : 0)] = most;
    }
}

// Two warps read keys, two values; each half of a page's tokens: of a tile, or a tile.
template <class D>
__device__ __forceinline__ void read_pages(const kvb_cuda_attend_job &p, const Tile &work, const PrefillMemory<D> &m,
                                           int warp, int lane) {
    using C = typename D::C;
    using K = typename C::K;
    using V = typename C::V;
    constexpr int ahead = 4; // pages that are asked for into the L2
    const int half = warp % 2, g = lane / 4, t = lane % 4;
    const bool is_value = warp >= 2;
    const typename C::KS::Lane k_lane = C::KS::open(lane, m.k_table);
    const typename C::VS::Lane v_lane = C::VS::open(lane, m.v_table);
    const int32_t *table =
        p.table + work.index * p.table_stride - (p.first_page ? __ldg(p.first_page + work.index) : 0);
    const uint8_t *k_pages = p.k.pages + (uint64_t)(uint32_t)work.kv_head * p.k.head_stride;
    const uint8_t *v_pages = p.v.pages + (uint64_t)(uint32_t)work.kv_head * p.v.head_stride;
    Ring ring; // of pages
#pragma unroll 1
    for (int number = work.first_page; number < work.pages_end; number++) {
        const uint64_t page = (uint32_t)__ldg(table + number);
        const uint8_t *keys = k_pages + page * (uint32_t)p.k.page_stride;
        const uint8_t *values = v_pages + page * (uint32_t)p.v.page_stride;
        if (lane == 0 && half == 0 && number + ahead < work.pages_end) {
            const uint64_t later = (uint32_t)__ldg(table + number + ahead);
            prefetch_bulk(is_value ? v_pages + later * (uint32_t)p.v.page_stride
                                   : k_pages + later * (uint32_t)p.k.page_stride,
                          4 * (is_value ? V::bytes : K::bytes));
        }
        const int slot = ring.slot * D::per_page + (D::per_page == 1 ? 0 : half);
        if (!is_value) {
            uint32_t words[2][K::held];
#pragma unroll
            for (int b = 0; b < 2; b++) {
                K::load(keys + (2 * half + b) * K::bytes, lane, p.k.trellis_memory, words[b]);
            }
            barrier_wait(m.empty(false, slot), ring.parity ^ 1);
            read_scales<D>(work, keys, values, number * KVB_CUDA_PAGE_TOKENS, half, lane,
                           m.scales + slot * D::scale_floats);
#pragma unroll
            for (int b = 0; b < 2; b++) {
                const int n = column_of<D>(g, half, b);
                uint8_t *to = m.keys(slot) + n * 128;
                StepPairs<typename C::KS, 0, C::k_steps, 2>::run(
                    words[b], words[b], m.k_table, k_lane, [&](int s, uint4 low, uint4 high) {
                        const int piece = 2 * t + s % 4 / 2;
                        *(uint4 *)(to + s / 4 * D::panel_bytes + (piece ^ n % 8) * 16) = low;
                        *(uint4 *)(to + s / 4 * D::panel_bytes + 256 + (piece ^ (n % 8 + 2)) * 16) = high;
                    });
            }
        } else {
            uint32_t words[2][V::held];
#pragma unroll
            for (int b = 0; b < 2; b++) {
                V::load(values + (2 * half + b) * V::bytes, lane, p.v.trellis_memory, words[b]);
            }
            barrier_wait(m.empty(true, slot), ring.parity ^ 1);
            const int piece = D::per_page == 1 ? 2 * t + half : 4 * half + t;
            uint8_t *to = m.values(ring.slot) + g * 128 + (piece ^ g) * 16;
            StepPairs<typename C::VS, 0, C::v_steps, 1>::run(words[0], words[1], m.v_table, v_lane,
                                                             [&](int s, uint4 low, uint4 high) {
                                                                 *(uint4 *)(to + s * 2048) = low;
                                                                 *(uint4 *)(to + s * 2048 + 1024) = high;
                                                             });
        }
        publish_to_tensor_cores();
        __syncwarp();
        if (lane == 0) {
            barrier_arrive(m.full(is_value, slot));
        }
        if (is_value) {
            ring.step<D::V_STAGES>();
        } else {
            ring.step<D::K_SLOTS / D::per_page>();
        }
    }
}

// ---- Multipliers ----

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
    finish_column<D::DV>(p, work.sequence.first_row + column / p.group, work.kv_head * p.group + column % p.group, top,
                         sum, temporary, temporary + D::row, lane);
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
        softmax.end[h] = min(v.end, work.sequence.n_tokens - p.n_exact_last);
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

// Blocks of the last queries first: they see the most. Heads beside each other share nothing but the moment.
template <class D>
__global__ void __launch_bounds__(D::warps * 32, 1)
    prefill(const __grid_constant__ kvb_cuda_attend_job p, int tiles_per_head, int n_parts) {
#if KVB_HAS_WARPGROUPS
    extern __shared__ __align__(1024) uint8_t shared[];
    static_assert(D::shared_bytes <= 232448, "fits the shared memory of a multiprocessor");
    const PrefillMemory<D> m(shared);
    const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
    const int item = blockIdx.x / n_parts, per_sequence = p.n_kv_heads * tiles_per_head, rest = item % per_sequence;
    Tile work;
    work.part = blockIdx.x % n_parts, work.n_parts = n_parts;
    work.index = item / per_sequence, work.kv_head = rest % p.n_kv_heads;
    work.first_column = (tiles_per_head - 1 - rest / p.n_kv_heads) * D::ROWS;
    work.sequence = sequence_at(p, work.index);
    work.n_columns = min(D::ROWS, work.sequence.n_q * p.group - work.first_column);
    if (work.n_columns <= 0) {
        return;
    }
    if (threadIdx.x == 0) {
        for (int s = 0; s < D::K_SLOTS + D::V_SLOTS; s++) {
            const bool is_value = s >= D::K_SLOTS;
            const int slot = is_value ? s - D::K_SLOTS : s;
            barrier_init_of(m.full(is_value, slot), 2 / D::per_page);
            barrier_init_of(m.empty(is_value, slot), D::multipliers);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    // Every warp finds what its item's queries see: they follow each other, and are few.
    {
        int begin = 0x7fffffff, end = 0;
        const int first = work.first_column / p.group, last = (work.first_column + work.n_columns - 1) / p.group;
        for (int query = first + lane; query <= last; query += 32) {
            const Visible v = Visible::of(p, work.sequence, query);
            if (v.begin < v.end) {
                begin = min(begin, v.begin);
                end = max(end, v.end);
            }
        }
        work.begin = max(__reduce_min_sync(0xffffffffu, begin), p.n_exact_first);
        work.end = min(__reduce_max_sync(0xffffffffu, end), work.sequence.n_tokens - p.n_exact_last);
        if (work.begin >= work.end) { // nothing is seen: no page is looked up
            work.begin = work.end = 0;
        }
        const int page = work.begin / KVB_CUDA_PAGE_TOKENS,
                  n_pages = (work.end + KVB_CUDA_PAGE_TOKENS - 1) / KVB_CUDA_PAGE_TOKENS - page;
        work.first_page = page + (int)((long long)n_pages * work.part / work.n_parts);
        work.pages_end = page + (int)((long long)n_pages * (work.part + 1) / work.n_parts);
    }
    D::C::build(m.k_table, p.k.centroids, p.v.centroids);
    stage_queries<D>(p, work, m, warp, lane);
    if constexpr (D::is_large) {
        publish_to_tensor_cores();
    }
    __syncthreads();
    uint32_t q[D::is_large ? 1 : D::C::k_steps][4], q_rest[D::SPLIT && !D::is_large ? D::C::k_steps : 1][4];
    const bool has_exact = D::takes_exact && p.n_exact_first + p.n_exact_last > 0 && work.part == 0;
    if constexpr (!D::is_large) {
        const int row = (warp < D::multipliers ? warp : 0) * 16 + lane / 4; // readers load what they do not use
        load_operand<D>(q, (const __half *)m.rows, row, lane % 4);
        if constexpr (D::SPLIT) {
            load_operand<D>(q_rest, (const __half *)m.rows + D::ROWS * D::q_stride, row, lane % 4);
        }
        __syncthreads();
    }
    if constexpr (D::takes_exact) {
        if (has_exact) {
            begin_exact<D>(p, work, m, warp, lane);
        }
    }
    if (warp >= D::multipliers) {
        if constexpr (D::multipliers == 8) {
            give_registers<88>(); // what a block began with is shared out: 4 x 88 + 8 x 208 = 12 x 168
        }
        meet<D::warps * 32>(2); // the multipliers have read what lies in the stages
        read_pages<D>(p, work, m, warp - D::multipliers, lane);
    } else {
        if constexpr (D::multipliers == 8) {
            take_registers<208>();
        }
        multiply_tiles<D>(p, work, m, q, q_rest, has_exact, warp, lane);
    }
#endif
}

} // namespace kvb
