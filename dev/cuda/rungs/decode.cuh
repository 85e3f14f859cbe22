// Decode attention on fragment-order tiles: every warp on its own ring of bulk copies, one merge per block, one per
// item.
//
// An item is one KV head of one sequence with its group of up to 8 query heads; `splits` blocks share it, and warp w of
// all takes every so-many-th tile. Scores and outputs are transposed (tokens x heads, dims x heads), so that the
// running maximum of a head belongs to a column and rescaling needs no shuffle.
#pragma once
#include "fragments.cuh"

#include <cmath>
#include <type_traits>

namespace kvb {

struct DecodeArguments {
    const float *q; // [sequence][n_heads][DIM]
    float *out;     // the same shape
    const uint8_t *pool;
    const int32_t *table; // [sequence][table_stride] pages; a page is [kv head][PAGE tokens]
    int table_stride;
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
__device__ __forceinline__ void bulk_copy(void *to, const void *from, uint32_t bytes, uint64_t *b, uint64_t policy) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes) : "memory");
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

template <int KBITS, int VBITS, int DIM_, int TOKENS_, int WARPS_, int STAGES_, int PAGE_ = 64> struct Decode {
    static constexpr int DIM = DIM_, TOKENS = TOKENS_, WARPS = WARPS_, STAGES = STAGES_, PAGE = PAGE_;
    using T = Tile<KBITS, VBITS, DIM, TOKENS>;
    static constexpr bool one_table = KBITS == VBITS;
    using KS = std::conditional_t<KBITS == 4 && !one_table, SmallPairs, Stream<KBITS>>;
    using VS = std::conditional_t<VBITS == 4 && !one_table, SmallPairs, Stream<VBITS>>;
    static constexpr int steps = DIM / 16, blocks = TOKENS / 16, heads = 8;
    static constexpr int tables = KS::table_bytes + (one_table ? 0 : VS::table_bytes);
    static constexpr int ring = WARPS * STAGES * ((T::bytes + 127) / 128 * 128);
    static constexpr int merge = WARPS * heads * DIM * 4;
    static constexpr int work = ring > merge ? ring : merge;
    static constexpr int states = WARPS * heads * 2 * 4;
    static constexpr int q_bytes = heads * DIM * 4;
    static constexpr int shared_bytes = tables + work + states + q_bytes + WARPS * STAGES * 8 + 16;
    static constexpr size_t head_bytes = (size_t)(PAGE / TOKENS) * T::bytes;
};

// Steps 0 .. N-1 with a constant index.
template <class B, class S, int STEP, int N> struct Steps {
    template <class F>
    __device__ static __forceinline__ void run(const uint32_t *w, const uint8_t *table, typename S::Lane l, F f) {
        uint32_t a[4];
        S::template get<STEP>(w, table, l, a);
        f(STEP, a);
        Steps<B, S, STEP + 1, N>::run(w, table, l, f);
    }
};
template <class B, class S, int N> struct Steps<B, S, N, N> {
    template <class F>
    __device__ static __forceinline__ void run(const uint32_t *, const uint8_t *, typename S::Lane, F) {
    }
};

template <int KBITS, int VBITS, class D>
__global__ void __launch_bounds__(D::WARPS * 32, 1) decode(const __grid_constant__ DecodeArguments p) {
    extern __shared__ __align__(1024) uint8_t shared[];
    constexpr int DIM = D::DIM, TOKENS = D::TOKENS, WARPS = D::WARPS, STAGES = D::STAGES, steps = D::steps;
    using T = typename D::T;
    using KS = typename D::KS;
    using VS = typename D::VS;
    uint8_t *k_table = shared, *v_table = D::one_table ? shared : shared + KS::table_bytes;
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
    constexpr int stage_bytes = (T::bytes + 127) / 128 * 128, tiles_per_page = D::PAGE / TOKENS;

    // ---- The ring is filled before anything else ----
    uint8_t *ring = work + warp * STAGES * stage_bytes;
    uint64_t *full = barriers + warp * STAGES;
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    int next = tile_begin + warp, page = 0; // to be copied; its page is read one tile ahead
    auto look_up = [&] { page = next < tile_end ? __ldg(table + next / tiles_per_page) : 0; };
    auto fetch = [&](int stage) {
        const uint8_t *from =
            p.pool + ((size_t)page * p.n_kv_heads + kv_head) * D::head_bytes + next % tiles_per_page * T::bytes;
        bulk_copy(ring + stage * stage_bytes, from, T::bytes, &full[stage], policy);
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
        for (int s = 0; s < STAGES && next < tile_end; s++) {
            fetch(s);
        }
    }
    __syncwarp();

    // ---- Tables, queries ----
    KS::build(k_table, p.k_centroids);
    if (!D::one_table) {
        VS::build(v_table, p.v_centroids);
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
        const float *row = q_shared + g * DIM + s * 16 + 2 * t;
        q[s][0] = pack(row[0] * q_scale, row[1] * q_scale);
        q[s][1] = pack(row[8] * q_scale, row[9] * q_scale);
    }

    // ---- Tiles ----
    float top[2] = {-1e30f, -1e30f}, sum[2] = {0.0f, 0.0f}, o[steps][4];
#pragma unroll
    for (int s = 0; s < steps; s++) {
        o[s][0] = o[s][1] = o[s][2] = o[s][3] = 0.0f;
    }
    const typename KS::Lane k_lane = KS::open(lane);
    const typename VS::Lane v_lane = VS::open(lane);
    int stage = 0;
    uint32_t parity = 0;
    for (int tile = tile_begin + warp; tile < tile_end; tile += WARPS) {
        const uint8_t *data = ring + stage * stage_bytes;
        barrier_wait(&full[stage], parity);
        float c[D::blocks][4];
        __align__(16) half scales[TOKENS / 4]; // K of tokens g, g + 8, ..., then V
        if constexpr (TOKENS == 16) {
            *(uint2 *)scales = *(const uint2 *)(data + T::scales + g * (TOKENS / 2));
        } else {
#pragma unroll
            for (int i = 0; i < TOKENS / 4; i += 8) {
                *(uint4 *)&scales[i] = *(const uint4 *)(data + T::scales + g * (TOKENS / 2) + i * 2);
            }
        }
#pragma unroll
        for (int b = 0; b < D::blocks; b++) {
            uint32_t words[T::K::words];
            T::K::load(data + b * T::K::bytes, lane, words);
            c[b][0] = c[b][1] = c[b][2] = c[b][3] = 0.0f;
            Steps<typename T::K, KS, 0, steps>::run(
                words, k_table, k_lane, [&](int s, const uint32_t *a) { multiply(c[b], a, q[s][0], q[s][1]); });
        }
        float most[2] = {-INFINITY, -INFINITY};
#pragma unroll
        for (int b = 0; b < D::blocks; b++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                c[b][i] *= __half2float(scales[2 * b + i / 2]);
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
                float scale = __half2float(scales[TOKENS / 8 + 2 * b + half_block]);
                weights[b][half_block] = transpose(pack(w0 * scale, w1 * scale));
            }
        }
#pragma unroll
        for (int b = 0; b < D::blocks; b++) {
            uint32_t words[T::V::words];
            T::V::load(data + T::values + b * T::V::bytes, lane, words);
            Steps<typename T::V, VS, 0, steps>::run(words, v_table, v_lane, [&](int s, const uint32_t *a) {
                multiply(o[s], a, weights[b][0], weights[b][1]);
            });
        }
        __syncwarp();
        if (lane == 0 && next < tile_end) {
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
                outputs[(warp * 8 + 2 * t + h) * DIM + s * 16 + g] = o[s][h];
                outputs[(warp * 8 + 2 * t + h) * DIM + s * 16 + g + 8] = o[s][h + 2];
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
