// The general kernel's tiles: packed tokens and exact ones, keys then values.
#pragma once
#include "attend_general_state.cuh"

namespace kvb {

// The units that a warp adds values of: where there are few, several warps share one, each with every so many blocks.
struct Share {
    int unit, slot, first, step;
    bool works;
    __device__ static Share of(int warp, int units) {
        const int sharers = max(WARPS / units, 1);
        return {warp % min(units, WARPS), warp, units < WARPS ? warp / units : 0, sharers,
                units >= WARPS || warp / units < sharers};
    }
    // Calls add(unit, offset of its sums) for the warp's units.
    template <int COLUMNS, class Add> __device__ __forceinline__ void for_units(const Layout &layout, Add add) const {
#pragma unroll 1
        for (int i = 0; works && unit + i < layout.units; i += WARPS) {
            add(unit + i, layout.values + (slot + i) * 64 * COLUMNS * 4);
        }
    }
};

// Of one side of a KV head: a block of a page.
__device__ __forceinline__ const uint8_t *block_at(const kvb_cuda_attend_job &p, const Layout &layout, bool is_value,
                                                   int page, int kv_head, int block) {
    const kvb_cuda_attend_side &side = is_value ? p.v : p.k;
    return side.pages + page * side.page_stride + kv_head * side.head_stride + block * layout.block_bytes[is_value];
}
__device__ __forceinline__ float scale_of(const kvb_cuda_attend_side &side, const uint8_t *scales, int token) {
    const uint8_t *at = scales + kvb_fragment_scale_place(side.scale_bytes, token);
    return side.scale_bytes == 2   ? __half2float(*(const __half *)at)
           : side.scale_bytes == 4 ? *(const float *)at
                                   : 1.0f;
}

template <int COLUMNS>
__device__ __forceinline__ State take_packed(const kvb_cuda_attend_job &p, const Layout &layout, State state) {
    const kvb_cuda_segment &work = *shared_at<const kvb_cuda_segment>(layout.segment);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, kv_head = work.kv_head, work_begin = work.begin;
    const Share share = Share::of(warp, layout.units);
    int buffer = 0;
    constexpr int P = KVB_CUDA_PAGE_TOKENS, B = KVB_BLOCK_TOKENS;
    const int32_t *table = p.table + work.sequence * p.table_stride - (p.first_page ? p.first_page[work.sequence] : 0);
    // An empty range may begin in a page that is not there.
    const int end = work_begin < work.end ? work.end : 0, in = 32 * warp % P / B;
    int mine = work_begin / P * P + 32 * warp, next_page = mine < end ? table[mine / P] : 0;
#pragma unroll 1
    for (int first = work_begin / P * P; first < end; first += TILE, mine += TILE, buffer ^= 1) {
        const int page = next_page;
        Token token = {32 * warp + place_of(token_of(lane)), mine + token_of(lane), false, true, 0.0f, 0.0f};
        if (lane == 0 && in == 0) {
            shared_at<int>(pages_at(layout, buffer))[warp / 2] = page;
        }
        if (mine < end && mine + 32 > work_begin) {
            const uint8_t *k = block_at(p, layout, false, page, kv_head, in),
                          *v = block_at(p, layout, true, page, kv_head, in);
            const int block = lane % 4 / 2;
            token.may_be_seen = token.token >= work_begin && token.token < end && token.token >= p.n_exact_first;
            token.k_scale = scale_of(p.k, k + block * layout.block_bytes[0] + layout.scales[0], token.token % B);
            token.v_scale = scale_of(p.v, v + block * layout.block_bytes[1] + layout.scales[1], token.token % B);
            next_page = mine + TILE < end ? table[(mine + TILE) / P] : 0;
            prefetch(v, 2 * layout.block_bytes[1], lane);
#pragma unroll 1
            for (int i = 0; i < layout.n_parts[0]; i++) {
                const CodePart &part = layout.parts[0][i];
                with_reader<false>(part.of.code, p.k.dense, [&](auto reader) {
                    dot<typename decltype(reader)::Type, COLUMNS>(
                        p.k, part.of.code, kvb_fragment_steps(part.of.dim), k + part.of.offset, layout.block_bytes[0],
                        layout.queries + part.group * 64 * COLUMNS * 4, lut_of(layout, part),
                        scores_at<COLUMNS>(layout, buffer, token.place), i > 0);
                });
            }
            if (mine + TILE < end) {
                prefetch(block_at(p, layout, false, next_page, kv_head, in), 2 * layout.block_bytes[0], lane);
            }
        } else if (mine + TILE < end) {
            next_page = table[(mine + TILE) / P];
        }
        state = weigh<COLUMNS>(p, layout, state, buffer, token);
        const int begin = max(work_begin - first, 0) / B, n = (min(end - first, TILE) + B - 1) / B;
        share.for_units<COLUMNS>(layout, [&](int unit, uint32_t sums_at) {
            const CodePart &part = layout.of_unit(unit);
            const Work add = {part.of.code,
                              kvb_fragment_steps(part.of.dim),
                              unit - part.group,
                              (uint32_t)(begin + share.first),
                              (uint32_t)share.step,
                              (uint32_t)n,
                              layout.block_bytes[1],
                              pages_at(layout, buffer),
                              scores_at<COLUMNS>(layout, buffer, 0),
                              sums_at};
            const uint8_t *pages = block_at(p, layout, true, 0, kv_head, 0) + part.of.offset;
            if constexpr (COLUMNS == LATENT_COLUMNS) {
                if (p.v_prefix_of_k) {
                    with_reader<false>(part.of.code, p.k.dense, [&](auto reader) {
                        add_keys<typename decltype(reader)::Type, COLUMNS>(p.k, pages, add, lut_of(layout, part),
                                                                           state.factor);
                    });
                    return;
                }
            }
            with_reader<true>(part.of.code, p.v.dense, [&](auto reader) {
                add_blocks<typename decltype(reader)::Type, COLUMNS>(p.v, pages, add, lut_of(layout, part),
                                                                     state.factor);
            });
        });
    }
    return state;
}

// Eight exact tokens' rows times weights, where the values are the keys' first coordinates: as add_keys leaves them.
// Of warps that share a unit one adds; the factor is for all of them.
template <int COLUMNS>
__device__ __forceinline__ void add_exact_keys(const kvb_cuda_attend_job &p, const Layout &layout, const CodePart &part,
                                               int unit, uint32_t weights_at, uint32_t sums_at, float factor,
                                               bool adds) {
    const int lane = threadIdx.x % 32, begin = 4 * (unit - part.group);
    const float *weights = shared_at<const float>(weights_at), *rows = shared_at<const float>(layout.rows);
    float *sums = shared_at<float>(sums_at);
    for (int i = lane; i < 64 * COLUMNS; i += 32) {
        const int column = i / 16 % COLUMNS,
                  dim = part.of.first + query_dim(part.of.code, part.of.dim, begin + i / 16 / COLUMNS, i % 16);
        float sum = 0.0f;
        for (int token = 0; adds && token < WARPS && dim < p.v.head_dim; token++) {
            const float w = weights[column * TILE + place_of(token)];
            sum += w == 0.0f ? 0.0f : w * rows[token * layout.row + dim]; // what nobody sees may be NaN
        }
        sums[i] = sums[i] * __shfl_sync(0xffffffffu, factor, column) + sum;
    }
}

// Exact tokens, eight at a time: keys meet the queries as they are, values are rotated as they are read.
template <int COLUMNS>
__device__ __noinline__ State take_exact(const kvb_cuda_attend_job &p, const Layout &layout, State state) {
    const kvb_cuda_segment &work = *shared_at<const kvb_cuda_segment>(layout.segment);
    const Sequence s = *shared_at<const Sequence>(layout.sequence);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const Share share = Share::of(warp, layout.units);
    int buffer = 0;
    const int first_end = min(p.n_exact_first, s.n_tokens),
              last_begin = max(exact_last_begin(p, s, work.sequence), first_end);
    const int n = first_end + s.n_tokens - last_begin;
    auto token_at = [&](int i) {
        const int j = min(i, n - 1);
        return j < first_end ? j : last_begin + j - first_end;
    };
    float *rows = shared_at<float>(layout.rows), *row = rows + warp * layout.row;
#pragma unroll 1
    for (int first = 0; first < n; first += WARPS, buffer ^= 1) {
        const void *array;
        size_t at = exact_row(p, p.k, s, work.sequence, work.kv_head, token_at(first + warp), &array);
        float dots[COLUMNS] = {0.0f};
        for (int i = lane; i < p.k.head_dim; i += 32) {
            const float x = load_value(array, at + i, p.exact_type);
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) {
                dots[c] += x * load_value(p.q, shared_at<const ColumnOf>(layout.columns)[c].query + i, p.q_type);
            }
        }
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            const float product = warp_sum(dots[c]);
            if (lane == 0) {
                shared_at<float>(scores_at<COLUMNS>(layout, buffer, place_of(warp)))[c * TILE] = product;
            }
        }
        at = exact_row(p, p.v, s, work.sequence, work.kv_head, token_at(first + warp), &array);
        for (int i = lane; i < p.v.head_dim; i += 32) {
            row[i] = load_value(array, at + i, p.exact_type);
        }
        __syncwarp();
        rotate_any(row, shared_at<float>(layout.temporary) + warp * layout.row, p.v, lane, false);
        __syncthreads();
        const int j = token_of(lane);
        const Token token = {
            32 * warp + place_of(j), token_at(first + j), warp == 0 && j < WARPS && first + j < n, false, 1.0f, 1.0f};
        state = weigh<COLUMNS>(p, layout, state, buffer, token);
        share.for_units<COLUMNS>(layout, [&](int unit, uint32_t sums_at) {
            const CodePart &part = layout.of_unit(unit);
            if (p.v_prefix_of_k) {
                add_exact_keys<COLUMNS>(p, layout, part, unit, scores_at<COLUMNS>(layout, buffer, 0), sums_at,
                                        state.factor, share.first == 0);
                return;
            }
            Sums<COLUMNS> sums = {0.0f};
            Weights<COLUMNS> w;
            const int t = lane % 4, begin = 4 * (unit - part.group), steps = kvb_fragment_steps(part.of.dim);
            for (int step = begin; share.first == 0 && step < min(begin + 4, steps); step++) {
#pragma unroll
                for (int k = 0; k < 4; k++) {
                    if (step % 4 == k) {
                        float x[8] = {0.0f};
#pragma unroll
                        for (int i = 0; i < 4; i++) {
                            const int dim = value_dim(part.of.code, part.of.dim, step, i / 2, lane / 4);
                            x[i] = dim < part.of.dim ? rows[(2 * t + i % 2) * layout.row + part.of.first + dim] : 0.0f;
                        }
#pragma unroll
                        for (int c = 0; c < COLUMNS; c += w.n) {
                            w.load(shared_at<const float>(scores_at<COLUMNS>(layout, buffer, 4 * t)), c);
                            add_values<COLUMNS>(sums, k, x, w, c, true);
                        }
                    }
                }
            }
            put_sums<COLUMNS>(sums, state.factor, shared_at<float>(sums_at), lane);
        });
        __syncthreads();
    }
    return state;
}

// What each column is, and its query, rotated, where the warps' lanes want it.
template <int COLUMNS>
__device__ __noinline__ void begin_segment(const kvb_cuda_attend_job &p, const Layout &layout, int n_columns) {
    const kvb_cuda_segment &work = *shared_at<const kvb_cuda_segment>(layout.segment);
    const Sequence s = *shared_at<const Sequence>(layout.sequence);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float *queries = shared_at<float>(layout.queries), *row = shared_at<float>(layout.rows) + warp * layout.row;
    const CodePart &last = layout.parts[0][layout.n_parts[0] - 1];
    const int groups = last.group + (kvb_fragment_steps(last.of.dim) + 3) / 4;
    for (int i = threadIdx.x; i < groups * 64 * COLUMNS; i += blockDim.x) {
        queries[i] = 0.0f;
    }
    for (int i = threadIdx.x; i < max(layout.units, WARPS) * 64 * COLUMNS; i += blockDim.x) {
        shared_at<float>(layout.values)[i] = 0.0f;
    }
    __syncthreads();
    if (warp < COLUMNS) {
        const int at = n_columns > 0 ? work.first_column + min(warp, n_columns - 1) : 0;
        ColumnOf column;
        column.index = at / p.group, column.row = s.first_row + column.index;
        column.head = work.kv_head * p.group + at % p.group;
        column.query = column.row * p.q_row_stride + column.head * p.q_head_stride;
        column.mean = 0.0f;
        for (int i = lane; i < p.k.head_dim; i += 32) {
            const float x = warp < n_columns ? load_value(p.q, column.query + i, p.q_type) : 0.0f;
            row[i] = x;
            column.mean += p.k.mean ? x * p.k.mean[(size_t)work.kv_head * p.k.head_dim + i] : 0.0f;
        }
        column.mean = warp_sum(column.mean);
        __syncwarp();
        rotate_any(row, shared_at<float>(layout.temporary) + warp * layout.row, p.k, lane, false);
        for (int i = lane; i < p.k.head_dim; i += 32) {
            queries[query_place(layout, i, COLUMNS) + warp * 16] = row[i];
        }
        if (lane == 0) {
            if (n_columns > 0) { // only queries that there are have a position
                column.visible = Visible::of(p, s, column.index);
            }
            shared_at<ColumnOf>(layout.columns)[warp] = column;
        }
    }
    __syncthreads();
}

} // namespace kvb
