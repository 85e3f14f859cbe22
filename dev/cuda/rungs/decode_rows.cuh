// Decode attention on packed pages as they are stored: every warp on its own ring of bulk copies, one merge per block,
// one per item.
//
// An item is one KV head of one sequence with its group of up to 8 query heads; `splits` blocks share it, and warp w of
// all takes every so-many-th tile. Scores and outputs are transposed (tokens x heads, dims x heads), so that the
// running maximum of a head belongs to a column and rescaling needs no shuffle.
#pragma once
#include "rows.cuh"

#include <cmath>
#include <type_traits>

namespace kvb {

struct DecodeArguments {
    const float *q; // [sequence][n_heads][DIM]
    float *out;     // the same shape
    const uint8_t *pool;
    const int32_t *table; // [sequence][table_stride] pages of page_tokens tokens, as kvb_page_bytes lays them out
    int table_stride, page_tokens;
    const int32_t *lengths; // tokens of each sequence
    int n_kv_heads, group, window;
    float scale; // of the logits, without log2(e)
    const half *k_centroids, *v_centroids;
    const uint32_t *k_signs, *v_signs; // DIM bits each, or NULL: no rotation
    float *partials;                   // [item][split][8][DIM + 2]
    uint32_t *counters;                // [item], zero before and after
    int splits;
};

__device__ __forceinline__ uint32_t shared_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}
__device__ __forceinline__ void barrier_init(uint64_t *b) {
    asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(shared_address(b)) : "memory");
}
__device__ __forceinline__ void barrier_expect(uint64_t *b, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes) : "memory");
}
__device__ __forceinline__ void bulk_copy(void *to, const void *from, uint32_t bytes, uint64_t *b, uint64_t policy) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::
            "r"(shared_address(to)),
        "l"(from), "r"(bytes), "r"(shared_address(b)), "l"(policy)
        : "memory");
}
__device__ __forceinline__ void barrier_wait(uint64_t *b, uint32_t parity) {
    asm volatile("{\n.reg .pred p;\nWAIT:\nmbarrier.try_wait.parity.shared.b64 p, [%0], %1;\n@p bra DONE;\nbra "
                 "WAIT;\nDONE:\n}" ::"r"(shared_address(b)),
                 "r"(parity)
                 : "memory");
}
__device__ __forceinline__ void multiply(float *c, const uint32_t *a, uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ uint32_t transpose(uint32_t x) {
    uint32_t r;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(x));
    return r;
}
__device__ __forceinline__ float exp2_of(float x) {
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}
__device__ __forceinline__ uint32_t pack(float a, float b) {
    half2 h = __floats2half2_rn(a, b);
    return *(uint32_t *)&h;
}

// One row of DIM floats in shared memory, by one warp: signs, transform, 1/sqrt(DIM), or the inverse.
template <int DIM> __device__ void rotate_row(float *row, const uint32_t *signs, int lane, bool inverse) {
    for (int i = lane; i < DIM && !inverse; i += 32) {
        row[i] = signs[i / 32] >> (i % 32) & 1 ? -row[i] : row[i];
    }
    __syncwarp();
    for (int h = 1; h < DIM; h *= 2) {
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
        row[i] = inverse && (signs[i / 32] >> (i % 32) & 1) ? -x : x;
    }
    __syncwarp();
}

template <int KBITS, int VBITS, int DIM_, int TOKENS_, int WARPS_, int STAGES_> struct Decode {
    static constexpr int DIM = DIM_, TOKENS = TOKENS_, WARPS = WARPS_, STAGES = STAGES_;
    using K = Side<KBITS, DIM>;
    using V = Side<VBITS, DIM>;
    static constexpr bool one_table = KBITS == VBITS;
    using KR = std::conditional_t<KBITS == 4 && !one_table, SmallPairs, Reader<KBITS>>;
    using VR = std::conditional_t<VBITS == 4 && !one_table, SmallPairs, Reader<VBITS>>;
    static constexpr int steps = DIM / 16, blocks = TOKENS / 16, heads = 8;
    static constexpr int values = K::block_bytes(TOKENS), tile_bytes = values + V::block_bytes(TOKENS);
    static constexpr int stage_bytes = (tile_bytes + 127) / 128 * 128;
    static constexpr int tables = KR::table_bytes + (one_table ? 0 : VR::table_bytes);
    static constexpr int ring = WARPS * STAGES * stage_bytes, merge = WARPS * heads * DIM * 4;
    static constexpr int work = ring > merge ? ring : merge;
    static constexpr int states = WARPS * heads * 2 * 4, q_bytes = heads * DIM * 4;
    static constexpr int shared_bytes = tables + work + states + q_bytes + WARPS * STAGES * 8 + 16;
    __host__ __device__ static constexpr size_t head_bytes(int page_tokens) {
        return (size_t)K::block_bytes(page_tokens) + V::block_bytes(page_tokens);
    }
};

// A lane's share of one row: words of every plane, aligned.
template <int BITS, int DIM, int SHARE> struct Share {
    using L = typename Side<BITS, DIM>::template Lane<SHARE>;
    using P = Planes<BITS>;
    uint32_t words[P::n][L::words];
    // `block` holds TOKENS rows; `at` is t or g.
    template <int TOKENS> __device__ __forceinline__ void load(const uint8_t *block, int row, int at) {
#pragma unroll
        for (int p = 0; p < P::n; p++) {
            const uint8_t *plane = block + Side<BITS, DIM>::piece_offset(1 + p, TOKENS);
            load_bytes<L::bytes>(plane + row * (DIM * P::width(p) / 8) + L::offset(p, at), words[p]);
            if (p > 0) {
#pragma unroll
                for (int i = 0; i < L::words; i++) {
                    words[p][i] >>= L::shift(p, at);
                }
            }
        }
    }
    template <class R> __device__ __forceinline__ typename R::Index index(int word) const {
        uint32_t planes[3];
#pragma unroll
        for (int p = 0; p < P::n; p++) {
            planes[p] = words[p][word];
        }
        return R::index(planes);
    }
};

// c += K q for a block of 16 tokens.
template <class D, int BITS, class R>
__device__ __forceinline__ void multiply_keys(float *c, const uint8_t *keys, int first_row, int g, int t,
                                              const uint8_t *table, uint32_t lane, const uint32_t (*q)[2]) {
    using S = Share<BITS, D::DIM, 4>;
    constexpr int elements = Planes<BITS>::elements, n = S::L::elements;
    S a, b;
    a.template load<D::TOKENS>(keys, first_row + g, t);
    b.template load<D::TOKENS>(keys, first_row + g + 8, t);
#pragma unroll
    for (int w = 0; w < S::L::words; w++) {
        uint32_t low[elements], high[elements];
        auto x = a.template index<R>(w), y = b.template index<R>(w);
        if constexpr (R::singles) {
#pragma unroll
            for (int e = 0; e < elements; e++) {
                low[e] = R::low(table, lane, x, e, 0) | R::high(table, lane, x, e, 1);
                high[e] = R::low(table, lane, y, e, 0) | R::high(table, lane, y, e, 1);
            }
        } else {
            R::pairs(table, lane, x, low);
            R::pairs(table, lane, y, high);
        }
#pragma unroll
        for (int e = 0; e < elements; e += 2) {
            int step = (w * elements + e) / 2;
            if (2 * step < n) {
                uint32_t operand[4] = {low[e], high[e], low[e + 1], high[e + 1]};
                multiply(c, operand, q[step][0], q[step][1]);
            }
        }
    }
}

// o += V^T P for a block of 16 tokens.
template <class D, int BITS, class R>
__device__ __forceinline__ void add_values(float (*o)[4], const uint8_t *values, int first_row, int g, int t,
                                           const uint8_t *table, uint32_t lane, const uint32_t *weights) {
    using S = Share<BITS, D::DIM, 8>;
    constexpr int elements = Planes<BITS>::elements, n = S::L::elements;
    S rows[4];
    // Odd t read their second row first: else all rows of a load lie in the same banks.
    int odd = t & 1;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        S a, b;
        a.template load<D::TOKENS>(values, first_row + 8 * i + 2 * t + odd, g);
        b.template load<D::TOKENS>(values, first_row + 8 * i + 2 * t + 1 - odd, g);
#pragma unroll
        for (int p = 0; p < Planes<BITS>::n; p++) {
#pragma unroll
            for (int w = 0; w < S::L::words; w++) {
                rows[2 * i].words[p][w] = odd ? b.words[p][w] : a.words[p][w];
                rows[2 * i + 1].words[p][w] = odd ? a.words[p][w] : b.words[p][w];
            }
        }
    }
#pragma unroll
    for (int w = 0; w < S::L::words; w++) {
        uint32_t operand[elements][4];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            auto x = rows[2 * i].template index<R>(w), y = rows[2 * i + 1].template index<R>(w);
            if constexpr (R::singles) {
#pragma unroll
                for (int e = 0; e < elements; e++) {
                    operand[e][2 * i] = R::low(table, lane, x, e, 0) | R::high(table, lane, y, e, 0);
                    operand[e][2 * i + 1] = R::low(table, lane, x, e, 1) | R::high(table, lane, y, e, 1);
                }
            } else {
                uint32_t a[elements], b[elements];
                R::pairs(table, lane, x, a);
                R::pairs(table, lane, y, b);
#pragma unroll
                for (int e = 0; e < elements; e++) {
                    operand[e][2 * i] = permute(a[e], b[e], 0x5410u);
                    operand[e][2 * i + 1] = permute(a[e], b[e], 0x7632u);
                }
            }
        }
#pragma unroll
        for (int e = 0; e < elements; e++) {
            if (w * elements + e < n) {
                multiply(o[w * elements + e], operand[e], weights[0], weights[1]);
            }
        }
    }
}

template <int KBITS, int VBITS, class D>
__global__ void __launch_bounds__(D::WARPS * 32, 1) decode(const __grid_constant__ DecodeArguments p) {
    extern __shared__ __align__(1024) uint8_t shared[];
    constexpr int DIM = D::DIM, TOKENS = D::TOKENS, WARPS = D::WARPS, STAGES = D::STAGES, steps = D::steps;
    using KR = typename D::KR;
    using VR = typename D::VR;
    using KL = typename D::K::template Lane<4>;
    using VL = typename D::V::template Lane<8>;
    uint8_t *k_table = shared, *v_table = D::one_table ? shared : shared + KR::table_bytes;
    uint8_t *work = shared + D::tables;
    float *state = (float *)(work + D::work); // [warp][max, sum][head]
    float *q_shared = state + WARPS * D::heads * 2;
    uint64_t *barriers = (uint64_t *)(q_shared + D::heads * DIM);
    __shared__ bool is_last;

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int item = blockIdx.x / p.splits, split = blockIdx.x % p.splits;
    const int sequence = item / p.n_kv_heads, kv_head = item % p.n_kv_heads;
    const int n_tokens = p.lengths[sequence];
    const int begin = p.window > 0 && n_tokens > p.window ? n_tokens - p.window : 0;
    const int first_tile = begin / TOKENS, n_tiles = (n_tokens + TOKENS - 1) / TOKENS - first_tile;
    const int per_split = (n_tiles + p.splits - 1) / p.splits;
    const int tile_begin = first_tile + min(split * per_split, n_tiles),
              tile_end = first_tile + min((split + 1) * per_split, n_tiles);
    const int32_t *table = p.table + (size_t)sequence * p.table_stride;
    // ---- The ring is filled before anything else ----
    // A tile is several pieces of a page, copied by as many lanes.
    constexpr int k_pieces = D::K::pieces, pieces = k_pieces + D::V::pieces;
    uint8_t *ring = work + warp * STAGES * D::stage_bytes;
    uint64_t *full = barriers + warp * STAGES;
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    const int tiles_per_page = p.page_tokens / TOKENS;
    const size_t head_bytes = D::head_bytes(p.page_tokens);
    const uint8_t *piece_from = p.pool + kv_head * head_bytes;
    int piece_to = 0, piece_bytes = 0;
    if (lane < k_pieces) {
        piece_bytes = TOKENS * D::K::piece_bytes(lane);
        piece_from += D::K::piece_offset(lane, p.page_tokens);
        piece_to = D::K::piece_offset(lane, TOKENS);
    } else if (lane < pieces) {
        piece_bytes = TOKENS * D::V::piece_bytes(lane - k_pieces);
        piece_from += D::K::block_bytes(p.page_tokens) + D::V::piece_offset(lane - k_pieces, p.page_tokens);
        piece_to = D::values + D::V::piece_offset(lane - k_pieces, TOKENS);
    }
    constexpr int all_bytes = D::K::piece_offset(k_pieces, TOKENS) + D::V::piece_offset(D::V::pieces, TOKENS);
    int next = tile_begin + warp, page = 0; // to be copied; its page is read one tile ahead
    auto look_up = [&] { page = next < tile_end ? __ldg(table + next / tiles_per_page) : 0; };
    auto fetch = [&](int stage) {
        if (lane == 0) {
            barrier_expect(&full[stage], all_bytes);
        }
        __syncwarp();
        if (lane < pieces) {
            const uint8_t *from =
                piece_from + (size_t)page * p.n_kv_heads * head_bytes + next % tiles_per_page * piece_bytes;
            bulk_copy(ring + stage * D::stage_bytes + piece_to, from, piece_bytes, &full[stage], policy);
        }
        next += WARPS;
        look_up();
    };
    look_up();
    if (lane == 0) {
        for (int s = 0; s < STAGES; s++) {
            barrier_init(&full[s]);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    __syncwarp();
    for (int s = 0; s < STAGES && next < tile_end; s++) {
        fetch(s);
    }

    // ---- Tables, queries ----
    KR::build(k_table, p.k_centroids);
    if (!D::one_table) {
        VR::build(v_table, p.v_centroids);
    }
    const int first_head = kv_head * p.group, n_heads = p.n_kv_heads * p.group;
    for (int i = threadIdx.x; i < D::heads * DIM; i += WARPS * 32) {
        int h = i / DIM;
        q_shared[i] = h < p.group ? p.q[((size_t)sequence * n_heads + first_head + h) * DIM + i % DIM] : 0.0f;
    }
    __syncthreads();
    for (int h = warp; h < p.group && p.k_signs; h += WARPS) {
        rotate_row<DIM>(q_shared + h * DIM, p.k_signs, lane, false);
    }
    __syncthreads();
    uint32_t q[steps][2];
    const float q_scale = p.scale * 1.4426950408889634f;
#pragma unroll
    for (int s = 0; s < steps; s++) {
        const float *row = q_shared + g * DIM;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            q[s][i] =
                pack(row[KL::coordinate(t, 2 * s + i, 0)] * q_scale, row[KL::coordinate(t, 2 * s + i, 1)] * q_scale);
        }
    }

    // ---- Tiles ----
    float top[2] = {-1e30f, -1e30f}, sum[2] = {0.0f, 0.0f}, o[steps][4];
#pragma unroll
    for (int s = 0; s < steps; s++) {
        o[s][0] = o[s][1] = o[s][2] = o[s][3] = 0.0f;
    }
    const uint32_t k_lane = KR::open(lane), v_lane = VR::open(lane);
    int stage = 0;
    uint32_t parity = 0;
    for (int tile = tile_begin + warp; tile < tile_end; tile += WARPS) {
        const uint8_t *data = ring + stage * D::stage_bytes;
        barrier_wait(&full[stage], parity);
        float c[D::blocks][4];
        half k_scales[2 * D::blocks], v_scales[2 * D::blocks]; // of tokens g, g + 8, ...
#pragma unroll
        for (int i = 0; i < 2 * D::blocks; i++) {
            k_scales[i] = ((const half *)data)[8 * i + g];
            v_scales[i] = ((const half *)(data + D::values))[8 * i + g];
        }
#pragma unroll
        for (int b = 0; b < D::blocks; b++) {
            c[b][0] = c[b][1] = c[b][2] = c[b][3] = 0.0f;
            multiply_keys<D, KBITS, KR>(c[b], data, 16 * b, g, t, k_table, k_lane, q);
        }
        float most[2] = {-INFINITY, -INFINITY};
#pragma unroll
        for (int b = 0; b < D::blocks; b++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                c[b][i] *= __half2float(k_scales[2 * b + i / 2]);
            }
        }
        if (tile * TOKENS < begin || (tile + 1) * TOKENS > n_tokens) {
#pragma unroll
            for (int b = 0; b < D::blocks; b++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int token = tile * TOKENS + b * 16 + g + i / 2 * 8;
                    c[b][i] = token >= begin && token < n_tokens ? c[b][i] : -INFINITY;
                }
            }
        }
#pragma unroll
        for (int b = 0; b < D::blocks; b++) {
            most[0] = fmaxf(most[0], fmaxf(c[b][0], c[b][2]));
            most[1] = fmaxf(most[1], fmaxf(c[b][1], c[b][3]));
        }
        if (__any_sync(0xffffffffu, most[0] > top[0] || most[1] > top[1])) {
#pragma unroll
            for (int h = 0; h < 2; h++) {
                most[h] = fmaxf(most[h], __shfl_xor_sync(0xffffffffu, most[h], 4));
                most[h] = fmaxf(most[h], __shfl_xor_sync(0xffffffffu, most[h], 8));
                most[h] = fmaxf(most[h], __shfl_xor_sync(0xffffffffu, most[h], 16));
                float higher = fmaxf(top[h], most[h]), factor = exp2_of(top[h] - higher);
                top[h] = higher;
                sum[h] *= factor;
#pragma unroll
                for (int s = 0; s < steps; s++) {
                    o[s][h] *= factor;
                    o[s][h + 2] *= factor;
                }
            }
        }
        uint32_t weights[D::blocks][2];
#pragma unroll
        for (int b = 0; b < D::blocks; b++) {
#pragma unroll
            for (int half_block = 0; half_block < 2; half_block++) {
                float w0 = exp2_of(c[b][2 * half_block] - top[0]), w1 = exp2_of(c[b][2 * half_block + 1] - top[1]);
                sum[0] += w0;
                sum[1] += w1;
                float scale = __half2float(v_scales[2 * b + half_block]);
                weights[b][half_block] = transpose(pack(w0 * scale, w1 * scale));
            }
        }
#pragma unroll
        for (int b = 0; b < D::blocks; b++) {
            add_values<D, VBITS, VR>(o, data + D::values, 16 * b, g, t, v_table, v_lane, weights[b]);
        }
        __syncwarp();
        if (next < tile_end) {
            fetch(stage);
        }
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }

    // ---- The block's warps ----
    __syncthreads();
    float *outputs = (float *)work; // [warp][head][DIM]
#pragma unroll
    for (int h = 0; h < 2; h++) {
        sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 4);
        sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 8);
        sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 16);
        if (g == 0) {
            state[(warp * 2 + 0) * 8 + 2 * t + h] = top[h];
            state[(warp * 2 + 1) * 8 + 2 * t + h] = sum[h];
        }
        if (2 * t + h < p.group) {
#pragma unroll
            for (int s = 0; s < steps; s++) {
                outputs[(warp * 8 + 2 * t + h) * DIM + VL::coordinate(g, s, 0)] = o[s][h];
                outputs[(warp * 8 + 2 * t + h) * DIM + VL::coordinate(g, s, 1)] = o[s][h + 2];
            }
        }
    }
    __syncthreads();
    float *mine = p.partials + (size_t)(item * p.splits + split) * 8 * (DIM + 2);
    for (int i = threadIdx.x; i < p.group * DIM; i += WARPS * 32) {
        int h = i / DIM;
        float higher = -1e30f, all = 0.0f, value = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            higher = fmaxf(higher, state[w * 16 + h]);
        }
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            float factor = exp2_of(state[w * 16 + h] - higher);
            all += state[w * 16 + 8 + h] * factor;
            value += outputs[(w * 8 + h) * DIM + i % DIM] * factor;
        }
        if (p.splits == 1) {
            q_shared[i] = value / all;
        } else {
            mine[8 * 2 + i] = value;
            if (i % DIM == 0) {
                mine[h] = higher;
                mine[8 + h] = all;
            }
        }
    }
    // ---- The item's blocks: the last to arrive adds them in order ----
    if (p.splits > 1) {
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
            is_last = atomicAdd(&p.counters[item], 1u) == (uint32_t)p.splits - 1;
        }
        __syncthreads();
        if (!is_last) {
            return;
        }
        __threadfence();
        const float *all_parts = p.partials + (size_t)item * p.splits * 8 * (DIM + 2);
        for (int i = threadIdx.x; i < p.group * DIM; i += WARPS * 32) {
            int h = i / DIM;
            float higher = -1e30f, all = 0.0f, value = 0.0f;
            for (int first = 0; first < p.splits; first += 16) {
                float tops[16], sums[16], values[16];
#pragma unroll
                for (int s = 0; s < 16; s++) {
                    const float *part = all_parts + (size_t)(first + s) * 8 * (DIM + 2);
                    bool is = first + s < p.splits;
                    tops[s] = is ? __ldcg(part + h) : -1e30f;
                    sums[s] = is ? __ldcg(part + 8 + h) : 0.0f;
                    values[s] = is ? __ldcg(part + 16 + i) : 0.0f;
                }
                float before = higher;
#pragma unroll
                for (int s = 0; s < 16; s++) {
                    higher = fmaxf(higher, tops[s]);
                }
                float factor = exp2_of(before - higher);
                all *= factor;
                value *= factor;
#pragma unroll
                for (int s = 0; s < 16; s++) {
                    float f = exp2_of(tops[s] - higher);
                    all += sums[s] * f;
                    value += values[s] * f;
                }
            }
            q_shared[i] = value / all;
        }
        if (threadIdx.x == 0) {
            p.counters[item] = 0;
        }
    }
    __syncthreads();
    for (int h = warp; h < p.group; h += WARPS) {
        if (p.v_signs) {
            rotate_row<DIM>(q_shared + h * DIM, p.v_signs, lane, true);
        }
        for (int i = lane; i < DIM; i += 32) {
            p.out[((size_t)sequence * n_heads + first_head + h) * DIM + i] = q_shared[h * DIM + i];
        }
    }
}

} // namespace kvb
