// Attention of few queries on packed pages: every warp on its own ring of bulk copies, one merge per block, one per
// item.
//
// An item is up to 8 columns (queries x heads of a group) of one KV head of one sequence. Scores and outputs are
// transposed (tokens x columns, dims x columns), so that a column's running maximum belongs to a lane and rescaling
// needs no shuffle.
#pragma once
#include "attend_columns.cuh"
#include "attend_copies.cuh"
#include "attend_early.cuh"
#include "attend_exact.cuh"
#include "attend_finish.cuh"
#include "attend_producer.cuh"
#include "attend_shape.cuh"
#include "early_start.cuh"

namespace kvb {

template <class D>
__global__ void __launch_bounds__(D::WARPS * 32, 1) decode(const __grid_constant__ kvb_cuda_attend_job p) {
    extern __shared__ __align__(1024) uint8_t shared[];
    static_assert(D::shared_bytes <= 232448, "fits the shared memory of a multiprocessor");
    constexpr int DK = D::DK, DV = D::DV, TOKENS = D::TOKENS, WARPS = D::WARPS, STAGES = D::STAGES, BLOCKS = D::blocks,
                  FOLDS = D::folds, SCORES = D::score_blocks;
    using K = typename D::K;
    using V = typename D::V;
    using KS = typename D::KS;
    using VS = typename D::VS;
    uint8_t *k_table = shared, *v_table = D::C::v_table(shared);
    uint8_t *rings = shared + D::tables;
    float *merge = (float *)(rings + D::ring);
    float *tops = (float *)((uint8_t *)merge + D::merge), *sums = tops + (WARPS + 2) * 8; // [warps, exact, all][column]
    float *rows = sums + (WARPS + 2) * 8; // [column][DK], later [column][DV]
    float *exact = rows + 8 * D::row;     // [column][DV]
    uint8_t *behind = (uint8_t *)(exact + 8 * D::row);
    __half *halves = (__half *)(D::merge_has_queries ? (uint8_t *)merge : behind), // [column], of queries
        *rests = halves + 8 * D::q_stride;
    uint64_t *barriers = (uint64_t *)(behind + (D::merge_has_queries ? 0 : D::queries));
    uint32_t *copies = (uint32_t *)(barriers + D::RINGS * STAGES); // as Early has them
    const uint32_t *k_signs = copies + D::k_words + D::v_words, *v_signs = k_signs + D::k_sign_words;
    float *means = sums + (WARPS + 1) * 8, *units = tops + (WARPS + 1) * 8; // [column], until results are merged
    __shared__ bool is_last;

    const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0), lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    Early<D> early;
    early.load(p);
    kvb_cuda_segment work = load_segment(p, blockIdx.x);
    if (work.begins < 0) {
        return;
    }

    // ---- The ring is filled, behind what is small ----
    const int ring_index = warp / D::SHARE, part = warp % D::SHARE;
    uint8_t *ring = rings + ring_index * STAGES * D::stage_bytes;
    uint64_t *full = barriers + ring_index * STAGES;
    const uint64_t policy = read_once_policy();
    Producer<D> producer;
    if (lane == 0 && part == 0) {
        for (int s = 0; s < STAGES; s++) {
            barrier_init(&full[s]);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    __syncwarp();
    producer.together =
        p.v.pages == p.k.pages + D::k_bytes && p.v.page_stride == p.k.page_stride && p.v.head_stride == p.k.head_stride;
    producer.take(work, ring_index);
    producer.settle(p, ring_index);
    constexpr int own = (8 + WARPS - 1) / WARPS, N = (DK + 31) / 32; // columns of a warp
    RawRow<DK> queries[own];
    auto load_queries = [&] {
#pragma unroll
        for (int i = 0; i < own; i++) {
            const int c = min(warp + i * WARPS, 7), column = min(work.first_column + c, max(work.n_q * p.group - 1, 0));
            const size_t at = (size_t)(work.first_row + column / p.group) * p.q_row_stride +
                              (work.kv_head * p.group + column % p.group) * p.q_head_stride;
            if (work.n_q > 0) {
                queries[i].load(p.q, at, p.q_type, lane);
            }
        }
    };
    // Tokens before this one are there, whatever the work before still does.
    const int unsettled = p.starts_early ? work.n_tokens - p.starts_early : 0x7fffffff;
    bool has_queries = !p.starts_early;
    if (has_queries) {
        load_queries();
    }
    early.store(copies);
    int filled = 0;
#pragma unroll 1
    for (; filled < STAGES && (!p.starts_early || producer.is_settled(work, unsettled)); filled++) {
        producer.issue(p, ring + filled * D::stage_bytes, &full[filled], policy, ring_index, lane == 0 && part == 0);
    }
    if (D::looks_ahead && part == 0) {
        producer.look_ahead(p, unsettled, lane == 0);
    }
    __syncthreads();
    D::C::build(k_table, (const uint16_t *)copies, (const uint16_t *)(copies + D::k_words));
    wait_for_work_before();
    let_work_behind_start();
#pragma unroll 1
    for (; filled < STAGES; filled++) {
        producer.issue(p, ring + filled * D::stage_bytes, &full[filled], policy, ring_index, lane == 0 && part == 0);
    }

    int stage = 0;
    uint32_t parity = 0;
#pragma unroll 1
    while (true) {
        // ---- Queries, a column a warp ----
        if (!has_queries) {
            load_queries();
        }
        has_queries = false;
        Sequence sequence = {work.n_tokens, work.first_row, work.n_q,
                             p.kv_end > 0 ? min(work.n_tokens, p.kv_end) : work.n_tokens};
        const int n_columns = max(min(8, work.n_q * p.group - work.first_column), 0);
        const bool has_exact = p.n_exact_first + p.n_exact_last > 0 && work.begins && n_columns > 0;
#pragma unroll
        for (int i = 0; i < own; i++) {
            const int c = warp + i * WARPS;
            if (c < 8) {
                float query[N];
                queries[i].values(query, p.q_type);
#pragma unroll
                for (int j = 0; j < N; j++) {
                    query[j] = c < n_columns ? query[j] : 0.0f;
                }
                store_row<DK>(rows + c * DK, query, lane);
                const float dot = p.k.mean ? row_dot<DK>(query, p.k.mean + (size_t)work.kv_head * DK, lane) : 0.0f;
                if (lane == 0) {
                    means[c] = dot;
                }
            }
        }
        if (has_exact) {
            __syncthreads();
            exact_partial<DK, DV, D::chunk>(p, sequence, work.sequence, work.kv_head, work.first_column, n_columns,
                                            rows, merge, exact, tops + WARPS * 8, sums + WARPS * 8);
            for (int c = warp; c < n_columns; c += WARPS) {
                rotate_row<DV>(exact + c * DV, merge + warp * D::row, p.v, v_signs, lane, false);
            }
        }
        __syncwarp();
        for (int c = warp; c < 8; c += WARPS) {
            rotate_row<DK>(rows + c * DK, merge + warp * D::row, p.k, k_signs, lane, false);
            const float unit = store_halves<DK, D::SPLIT>(rows + c * DK, 1.0f, halves + c * D::q_stride,
                                                          rests + c * D::q_stride, lane, [](int i) { return i; });
            if (lane == 0) {
                units[c] = unit;
            }
        }
        __syncthreads();
        uint32_t q[D::k_steps][2], q_rest[D::SPLIT ? D::k_steps : 1][2];
        float unit[2], mean[2]; // what the query and the keys' mean add to each logit
#pragma unroll
        for (int s = 0; s < D::k_steps; s++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const int at = g % (8 / FOLDS) * D::q_stride + D::C::k_dim(s, t, i);
                q[s][i] = *(const uint32_t *)(halves + at);
                if (D::SPLIT) {
                    q_rest[s][i] = *(const uint32_t *)(rests + at);
                }
            }
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            unit[i] = units[column_of<FOLDS>(lane) + i] * p.scale * 1.4426950408889634f;
            mean[i] = means[column_of<FOLDS>(lane) + i] * p.scale * 1.4426950408889634f;
        }
        if (D::merge_has_queries) {
            __syncthreads();
        }
        const Columns columns = columns_of<FOLDS>(p, sequence, work.end, work.first_column, n_columns, lane);

        // ---- Tiles ----
        float top[2] = {-1e30f, -1e30f}, sum[2] = {0.0f, 0.0f}, o[D::v_steps][4];
        float v_unit = 1.0f, v_down = 1.0f,
              v_limit = -1.0f; // weights times scales times v_unit fit halves while scales are at most v_limit
#pragma unroll
        for (int s = 0; s < D::v_steps; s++) {
            o[s][0] = o[s][1] = o[s][2] = o[s][3] = 0.0f;
        }
        const typename KS::Lane k_lane = KS::open(lane, k_table);
        const typename VS::Lane v_lane = VS::open(lane, v_table);
        const Softcap softcap = Softcap::of(p.softcap);
        const int fold = fold_of<FOLDS>(lane);
        const int tiles_end = work.end > work.begin ? (work.end + TOKENS - 1) / TOKENS : 0;
#pragma unroll 1
        for (int tile = work.begin / TOKENS + ring_index; tile < tiles_end; tile += D::RINGS) {
            const uint8_t *keys = ring + stage * D::stage_bytes + part * BLOCKS * K::bytes;
            const uint8_t *values = ring + stage * D::stage_bytes + D::k_bytes + part * BLOCKS * V::bytes;
            const int first_token = tile * TOKENS + part * BLOCKS * 16;
            barrier_wait(&full[stage], parity);
            float products[BLOCKS][4], c[SCORES][4];
#pragma unroll
            for (int b = 0; b < BLOCKS; b++) {
                float *to = products[b];
                uint32_t words[K::held];
                K::load(keys + b * K::bytes, lane, p.k.trellis_memory, words);
                to[0] = to[1] = to[2] = to[3] = 0.0f;
                Steps<KS, 0, D::k_steps>::run(words, k_table, k_lane, [&](int s, const uint32_t *a) {
                    multiply(to, a, q[s][0], q[s][1]);
                    if (D::SPLIT) {
                        multiply(to, a, q_rest[D::SPLIT ? s : 0][0], q_rest[D::SPLIT ? s : 0][1]);
                    }
                });
            }
#pragma unroll
            for (int b = 0; b < SCORES; b++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    c[b][i] = fold ? products[b * FOLDS + FOLDS - 1][i] : products[b * FOLDS][i];
                }
            }
            float v_scales[SCORES][2], v_most = 0.0f;
#pragma unroll
            for (int b = 0; b < SCORES; b++) {
                const float2 k_scales = K::load_scales(keys + (b * FOLDS + fold) * K::bytes, lane);
                c[b][0] = fmaf(c[b][0], k_scales.x * unit[0], mean[0]);
                c[b][1] = fmaf(c[b][1], k_scales.x * unit[1], mean[1]);
                c[b][2] = fmaf(c[b][2], k_scales.y * unit[0], mean[0]);
                c[b][3] = fmaf(c[b][3], k_scales.y * unit[1], mean[1]);
            }
#pragma unroll
            for (int b = 0; b < SCORES; b++) {
                const float2 scales = V::load_scales(values + (b * FOLDS + fold) * V::bytes, lane);
                v_scales[b][0] = scales.x, v_scales[b][1] = scales.y;
            }
            if (p.softcap > 0.0f) {
#pragma unroll
                for (int b = 0; b < SCORES; b++) {
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        c[b][i] = softcap(c[b][i]);
                    }
                }
            }
            const bool edge = first_token < columns.all_begin || first_token + BLOCKS * 16 > columns.all_end;
            if (edge) {
                const uint32_t tree = p.tree_mask
                                          ? tree_bits<SCORES, FOLDS>(p, sequence, columns.query[0], columns.query[1],
                                                                     first_token + fold * 16 + g, work.end)
                                          : 0;
#pragma unroll
                for (int b = 0; b < SCORES; b++) {
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        const int token = first_token + (b * FOLDS + fold) * 16 + g + i / 2 * 8;
                        const bool sees =
                            (token >= columns.begin[i % 2] && token < columns.end[i % 2]) || tree >> (b * 4 + i) & 1;
                        c[b][i] = sees ? c[b][i] : -INFINITY;
                    }
#pragma unroll
                    for (int i = 0; i < 2; i++) { // what nobody sees may be NaN
                        v_scales[b][i] =
                            c[b][2 * i] == -INFINITY && c[b][2 * i + 1] == -INFINITY ? 0.0f : v_scales[b][i];
                    }
                }
            }
            float most[2] = {-INFINITY, -INFINITY};
#pragma unroll
            for (int b = 0; b < SCORES; b++) {
                most[0] = fmaxf(most[0], fmaxf(c[b][0], c[b][2]));
                most[1] = fmaxf(most[1], fmaxf(c[b][1], c[b][3]));
                v_most = fmaxf(v_most, fmaxf(fabsf(v_scales[b][0]), fabsf(v_scales[b][1])));
            }
            if (__any_sync(0xffffffffu, most[0] > top[0] || most[1] > top[1] || v_most > v_limit)) {
                float factor_v = 1.0f;
                v_most = __uint_as_float(__reduce_max_sync(0xffffffffu, __float_as_uint(v_most)));
                if (v_most > v_limit) {
                    const int exponent = min(max((int)(__float_as_uint(v_most) >> 23) - 127, -30), 30);
                    v_unit = __uint_as_float((uint32_t)(127 - exponent) << 23);
                    factor_v = v_unit * v_down;
                    v_down = __uint_as_float((uint32_t)(127 + exponent) << 23);
                    v_limit = __uint_as_float((uint32_t)(127 + exponent + 10) << 23);
                }
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    most[h] = fmaxf(most[h], __shfl_xor_sync(0xffffffffu, most[h], 4));
                    most[h] = fmaxf(most[h], __shfl_xor_sync(0xffffffffu, most[h], 8));
                    most[h] = fmaxf(most[h], __shfl_xor_sync(0xffffffffu, most[h], 16));
                    const float higher = fmaxf(top[h], most[h]), factor = exp2_of(top[h] - higher);
                    top[h] = higher;
                    sum[h] *= factor;
#pragma unroll
                    for (int s = 0; s < D::v_steps; s++) {
                        o[s][h] *= factor * factor_v;
                        o[s][h + 2] *= factor * factor_v;
                    }
                }
            }
            uint32_t weights[SCORES][2], weight_rests[D::SPLIT ? SCORES : 1][2];
#pragma unroll
            for (int b = 0; b < SCORES; b++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const float w0 = exp2_of(c[b][2 * i] - top[0]), w1 = exp2_of(c[b][2 * i + 1] - top[1]);
                    sum[0] += w0;
                    sum[1] += w1;
                    const float scale = v_scales[b][i] * v_unit;
                    float x0 = w0 * scale, x1 = w1 * scale;
                    if (edge) {
                        x0 = c[b][2 * i] == -INFINITY ? 0.0f : x0;
                        x1 = c[b][2 * i + 1] == -INFINITY ? 0.0f : x1;
                    }
                    const uint32_t rounded = pack_halves(x0, x1);
                    weights[b][i] = transpose(rounded);
                    if (D::SPLIT) {
                        weight_rests[D::SPLIT ? b : 0][i] = transpose(pack_rests(x0, x1, rounded));
                    }
                }
            }
#pragma unroll
            for (int b = 0; b < BLOCKS; b++) {
                // A block of tokens takes the weights of its columns alone.
                const bool is_mine = FOLDS == 1 || g / (8 / FOLDS) == b % FOLDS;
                const uint32_t mine[2] = {is_mine ? weights[b / FOLDS][0] : 0, is_mine ? weights[b / FOLDS][1] : 0};
                uint32_t words[V::held];
                V::load(values + b * V::bytes, lane, p.v.trellis_memory, words);
                Steps<VS, 0, D::v_steps>::run(words, v_table, v_lane, [&](int s, const uint32_t *a) {
                    multiply(o[s], a, mine[0], mine[1]);
                    if (D::SPLIT) {
                        multiply(o[s], a, weight_rests[D::SPLIT ? b : 0][0], weight_rests[D::SPLIT ? b : 0][1]);
                    }
                });
            }
            if (D::SHARE > 1) { // all have read what the next copy overwrites
                meet<D::SHARE * 32>(1 + ring_index);
            } else {
                __syncwarp();
            }
            producer.issue(p, ring + stage * D::stage_bytes, &full[stage], policy, ring_index, lane == 0 && part == 0);
            if (++stage == STAGES) {
                stage = 0;
                parity ^= 1;
            }
        }

#pragma unroll
        for (int h = 0; h < 2; h++) {
            sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 4);
            sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 8);
            sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 16);
        }
        if (FOLDS > 1) { // the lower columns get what the upper ones saw
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const float other = __shfl_xor_sync(0xffffffffu, top[h], 2), higher = fmaxf(top[h], other),
                            factor = exp2_of(top[h] - higher), others = exp2_of(other - higher);
                top[h] = higher;
                sum[h] = sum[h] * factor + __shfl_xor_sync(0xffffffffu, sum[h], 2) * others;
#pragma unroll
                for (int s = 0; s < D::v_steps; s++) {
                    o[s][h] = o[s][h] * factor + __shfl_xor_sync(0xffffffffu, o[s][h], 2) * others;
                    o[s][h + 2] = o[s][h + 2] * factor + __shfl_xor_sync(0xffffffffu, o[s][h + 2], 2) * others;
                }
            }
        }
        // ---- The block's warps, in order, the exact tokens last. Where an item's last block arrives, its warps then
        // take the item's parts for their own and go through the same code again: what has not run yet is slow ----
        bool adds_parts = false, finishes = false;
#pragma unroll 1
        while (true) {
            const bool with_exact = has_exact && !adds_parts, is_part = work.n_parts > 1 && !adds_parts;
#pragma unroll
            for (int h = 0; h < 2; h++) {
                if (g == 0) {
                    tops[warp * 8 + 2 * t + h] = top[h];
                    sums[warp * 8 + 2 * t + h] = sum[h];
                }
            }
            float *mine = part_of(p, blockIdx.x, work.begins, DV);
#pragma unroll
            for (int pass = 0; pass < (D::v_steps + D::pass_steps - 1) / D::pass_steps; pass++) {
                if (pass) {
                    __syncthreads();
                }
#pragma unroll
                for (int i = 0; i < D::pass_steps; i++) {
                    const int s = pass * D::pass_steps + i;
                    if (s < D::v_steps) {
#pragma unroll
                        for (int h = 0; h < 2; h++) {
                            float *to = merge + (warp * 8 + 2 * t + h) * D::pass_stride + i * 16 + g;
                            to[0] = o[s < D::v_steps ? s : 0][h] * v_down;
                            to[8] = o[s < D::v_steps ? s : 0][h + 2] * v_down;
                        }
                    }
                }
                __syncthreads();
                for (int i = threadIdx.x; i < n_columns * D::pass_dims; i += WARPS * 32) {
                    const int column = i / D::pass_dims, place = pass * D::pass_dims + i % D::pass_dims;
                    if (place >= DV) {
                        continue;
                    }
                    const int dim = D::C::v_dim(place);
                    float higher = -1e30f, all = 0.0f, value = 0.0f;
#pragma unroll
                    for (int w = 0; w < WARPS; w++) {
                        higher = fmaxf(higher, tops[w * 8 + column]);
                    }
                    if (with_exact) {
                        higher = fmaxf(higher, tops[WARPS * 8 + column]);
                    }
#pragma unroll
                    for (int w = 0; w < WARPS; w++) {
                        const float factor = exp2_of(tops[w * 8 + column] - higher);
                        all += sums[w * 8 + column] * factor;
                        value += merge[(w * 8 + column) * D::pass_stride + i % D::pass_dims] * factor;
                    }
                    if (with_exact) {
                        const float factor = exp2_of(tops[WARPS * 8 + column] - higher);
                        all += sums[WARPS * 8 + column] * factor;
                        value += exact[column * DV + dim] * factor;
                    }
                    *(is_part ? mine + part_place(column, place) : rows + column * DV + dim) = value;
                    if (place == 0) {
                        *(is_part ? mine + column : tops + (WARPS + 1) * 8 + column) = higher;
                        *(is_part ? mine + 8 + column : sums + (WARPS + 1) * 8 + column) = all;
                    }
                }
            }
            __syncthreads();
            if (!is_part) {
                finishes = true;
                break;
            }
            if (threadIdx.x == 0) { // one thread's fences do for what the barriers order before and behind them
                __threadfence();
                is_last = atomicAdd(p.counters + work.item, 1u) == (uint32_t)work.n_parts - 1;
                __threadfence();
            }
            __syncthreads();
            if (!is_last) {
                break;
            }
            if (threadIdx.x == 0) {
                p.counters[work.item] = 0;
            }
            adds_parts = true;
            v_down = 1.0f;
#pragma unroll
            for (int h = 0; h < 2; h++) {
                top[h] = -1e30f, sum[h] = 0.0f;
            }
#pragma unroll
            for (int s = 0; s < D::v_steps; s++) {
                o[s][0] = o[s][1] = o[s][2] = o[s][3] = 0.0f;
            }
#pragma unroll 1
            for (int i = warp; i < work.n_parts; i += WARPS) {
                const float *from = part_of(p, work.first_part + i, i == 0, DV);
                const float2 tops_of = __ldcg((const float2 *)from + t), sums_of = __ldcg((const float2 *)from + 4 + t);
                float4 values[D::v_steps];
#pragma unroll
                for (int s = 0; s < D::v_steps; s++) {
                    values[s] = __ldcg((const float4 *)(from + 16) + s * 32 + lane);
                }
                float before[2], factor[2];
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    const float of_part = h ? tops_of.y : tops_of.x, higher = fmaxf(top[h], of_part);
                    before[h] = exp2_of(top[h] - higher), factor[h] = exp2_of(of_part - higher);
                    top[h] = higher;
                    sum[h] = sum[h] * before[h] + (h ? sums_of.y : sums_of.x) * factor[h];
                }
#pragma unroll
                for (int s = 0; s < D::v_steps; s++) {
                    o[s][0] = o[s][0] * before[0] + values[s].x * factor[0];
                    o[s][1] = o[s][1] * before[1] + values[s].y * factor[1];
                    o[s][2] = o[s][2] * before[0] + values[s].z * factor[0];
                    o[s][3] = o[s][3] * before[1] + values[s].w * factor[1];
                }
            }
        }
        __syncthreads();
        if (finishes) {
            for (int c = warp; c < n_columns; c += WARPS) {
                finish_column<DV>(p, v_signs, sequence.first_row + (work.first_column + c) / p.group,
                                  work.kv_head * p.group + (work.first_column + c) % p.group, tops[(WARPS + 1) * 8 + c],
                                  sums[(WARPS + 1) * 8 + c], rows + c * DV, merge + warp * D::row, lane);
            }
        }
        if (work.next < 0) {
            break;
        }
        work = load_segment(p, work.next);
        __syncthreads();
    }
}

} // namespace kvb
