// What a block of threads of the general kernel shares, and the softmax of a tile: one token to a thread.
#pragma once
#include "attend_general.cuh"
#include "attend_general_products.cuh"

namespace kvb {

struct ColumnOf {
    Visible visible;
    size_t query; // of its first value in p.q
    float mean;   // the product of what was taken off packed keys with the query
    int row, index, head;
};

// A part of a side's coordinates that has one code.
struct CodePart {
    kvb_code_part of;
    int group;      // its first among groups of 64 coordinates: queries and values of a part fill whole ones
    uint32_t table; // its levels
};

// Bytes from the begin of shared memory.
struct Layout {
    uint32_t queries, scores, values, rows, temporary, most, sums, tops, columns, pages, segment, sequence, is_last,
        bytes;
    uint32_t block_bytes[2], scales[2]; // of K and V: a block's, and where its scales begin
    CodePart parts[2][2];
    int n_parts[2];
    int row;    // floats of a row
    int units;  // groups of values: 64 coordinates of all columns, a warp's to add
    int copies; // of levels

    __device__ __forceinline__ const CodePart &of_dim(int is_value, int dim) const {
        return parts[is_value][n_parts[is_value] > 1 && dim >= parts[is_value][1].of.first];
    }
    __device__ __forceinline__ const CodePart &of_unit(int unit) const {
        return parts[1][n_parts[1] > 1 && unit >= parts[1][1].group];
    }
};
__host__ __device__ inline int copies_of(int code, int copies) {
    return has_copies(code) ? copies : 1;
}
template <int COLUMNS> __host__ __device__ Layout layout_of(const kvb_cuda_attend_job &p, int copies) {
    Layout l = {};
    uint32_t at = 0;
    auto take = [&](int n, size_t size) {
        const uint32_t from = at;
        at = (at + n * (uint32_t)size + 127) / 128 * 128;
        return from;
    };
    int groups[2] = {0, 0};
    l.copies = copies;
    for (int i = 0; i < 2; i++) {
        const kvb_cuda_attend_side &side = i && !p.v_prefix_of_k ? p.v : p.k;
        l.block_bytes[i] = kvb_fragment_block_bytes(side.head_dim, side.code, side.scale_bytes);
        l.scales[i] = kvb_fragment_code_bytes(side.head_dim, side.code);
        l.n_parts[i] = kvb_fragment_code_parts(side.code);
        for (int k = 0; k < l.n_parts[i]; k++) {
            CodePart &part = l.parts[i][k];
            part.of = kvb_fragment_code_part(side.head_dim, side.code, k);
            part.group = groups[i];
            part.table =
                i && p.v_prefix_of_k ? l.parts[0][k].table : take(part.of.levels * copies_of(part.of.code, copies), 4);
            groups[i] += (kvb_fragment_steps(part.of.dim) + 3) / 4;
        }
    }
    l.units = groups[1];
    l.row = (p.k.head_dim > p.v.head_dim ? p.k.head_dim : p.v.head_dim) + 1; // odd: tokens in different banks
    l.queries = take(groups[0] * 64 * COLUMNS, 4);                           // [step][column][16]
    l.scores = take(2 * COLUMNS * TILE, 4);                                  // [tile % 2][column][token], then weights
    l.values = take((l.units > WARPS ? l.units : WARPS) * 64 * COLUMNS, 4);  // [warp or unit]
    l.rows = take(WARPS * l.row, 4);                                         // of columns, or exact tokens
    l.temporary = take(WARPS * l.row, 4);
    l.most = take(2 * WARPS * COLUMNS, 4); // [tile % 2][warp][column]
    l.sums = take(WARPS * COLUMNS, 4);
    l.tops = take(COLUMNS, 4);
    l.columns = take(COLUMNS, sizeof(ColumnOf));
    l.pages = take(2 * TILE / KVB_CUDA_PAGE_TOKENS, 4); // [tile % 2][page of the tile]
    l.segment = take(1, sizeof(kvb_cuda_segment));
    l.sequence = take(1, sizeof(Sequence));
    l.is_last = take(1, 4);
    l.bytes = at;
    return l;
}

template <int COLUMNS> __device__ __forceinline__ uint32_t scores_at(const Layout &layout, int buffer, int place) {
    return layout.scores + (buffer * COLUMNS * TILE + place) * 4;
}
__device__ __forceinline__ uint32_t pages_at(const Layout &layout, int buffer) {
    return layout.pages + buffer * (TILE / KVB_CUDA_PAGE_TOKENS) * 4;
}

__device__ __forceinline__ Lut lut_of(const Layout &layout, const CodePart &part) {
    const int n = copies_of(part.of.code, layout.copies);
    return {address_of(part.table) + threadIdx.x % n * 4, (uint32_t)n * 4};
}
// The levels of a side, with their copies, by all threads.
__device__ inline void fill_levels(const kvb_cuda_attend_side &side, const Layout &layout, int is_value) {
    for (int k = 0; k < layout.n_parts[is_value]; k++) {
        const CodePart &part = layout.parts[is_value][k];
        const int n = copies_of(part.of.code, layout.copies);
        float *levels = shared_at<float>(part.table);
        for (int i = threadIdx.x; i < part.of.levels * n; i += blockDim.x) {
            levels[i] = __half2float(((const __half *)side.centroids)[part.of.first_level + i / n]);
        }
    }
}

// Where a coordinate of a query lies among [step][column][16] of all parts, without the column; of an output among
// [step][2][column][8], or where the values are keys as a query's.
__device__ __forceinline__ int query_place(const Layout &layout, int dim, int columns) {
    const CodePart &part = layout.of_dim(0, dim);
    return part.group * 64 * columns + query_place(part.of.code, part.of.dim, dim - part.of.first, columns);
}
__device__ __forceinline__ int output_place(const kvb_cuda_attend_job &p, const Layout &layout, int dim, int columns,
                                            int column) {
    if (p.v_prefix_of_k) {
        return query_place(layout, dim, columns) + column * 16;
    }
    const CodePart &part = layout.of_dim(1, dim);
    return part.group * 64 * columns + output_place(part.of.code, part.of.dim, dim - part.of.first, columns, column);
}

// The softmax so far: lane l knows column l % COLUMNS's. The top is the block's, the sum that of the warp's tokens; the
// factor is what values before the last tile count.
struct State {
    float top, sum, factor;
};

// A thread's token in a tile.
struct Token {
    int place, token; // among the scores, in the sequence
    bool may_be_seen, is_packed;
    float k_scale, v_scale;
};

// Turns products of queries and keys into weights of values. Two barriers: everything before them is done when it
// ends.
template <int COLUMNS>
__device__ __forceinline__ State weigh(const kvb_cuda_attend_job &p, const Layout &layout, State state, int buffer,
                                       Token token) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float *scores = shared_at<float>(scores_at<COLUMNS>(layout, buffer, token.place));
    float *most = shared_at<float>(layout.most) + buffer * WARPS * COLUMNS, mine = 0.0f;
    const ColumnOf *columns = shared_at<const ColumnOf>(layout.columns);
    const Sequence s = *shared_at<const Sequence>(layout.sequence);
    uint32_t seen = 0;
#pragma unroll 4
    for (int c = 0; c < COLUMNS; c++) {
        const bool sees = token.may_be_seen && columns[c].visible.sees(p, s, columns[c].index, token.token);
        seen |= (uint32_t)sees << c;
        float x = (scores[c * TILE] * token.k_scale + (token.is_packed ? columns[c].mean : 0.0f)) * p.scale;
        if (p.softcap > 0.0f) {
            x = p.softcap * tanhf(x / p.softcap);
        }
        x = sees ? x * 1.4426950408889634f : -INFINITY;
        scores[c * TILE] = x;
        const float highest = warp_most(x);
        mine = lane == c ? highest : mine;
    }
    if (lane < COLUMNS) {
        most[warp * COLUMNS + lane] = mine;
    }
    __syncthreads();
    float top = state.top;
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        top = fmaxf(top, most[w * COLUMNS + lane % COLUMNS]);
    }
    state.factor = exp2f(state.top - top);
    state.top = top;
    state.sum *= state.factor;
#pragma unroll 4
    for (int c = 0; c < COLUMNS; c++) {
        const float of_column = __shfl_sync(0xffffffffu, top, c);
        const bool sees = seen >> c & 1;
        const float weight = sees ? exp2f(scores[c * TILE] - of_column) : 0.0f;
        scores[c * TILE] = sees ? weight * token.v_scale : 0.0f;
        const float sum = warp_sum(weight);
        state.sum += lane % COLUMNS == c ? sum : 0.0f;
    }
    __syncthreads();
    return state;
}

} // namespace kvb
