// The warps that read pages for a prompt: words of codes become halves in shared memory.
#pragma once
#include "prefill_shape.cuh"
#include "warpgroup.cuh"

namespace kvb {

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
    const int32_t *table = p.table + work.row * p.table_stride - (p.first_page ? __ldg(p.first_page + work.row) : 0);
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
                        const int piece = D::is_whole(s) ? 2 * t + s % 4 / 2 : t;
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

} // namespace kvb
