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

// Bytes from the begin of shared memory.
struct Layout {
    uint32_t tables[2], queries, scores, values, rows, temporary, most, sums, tops, columns, pages, segment, sequence,
        is_last, bytes;
    uint32_t block_bytes[2], scales[2]; // of K and V: a block's, and where its scales begin
    int row;                            // floats of a row
    int units;                          // groups of values: 64 coordinates of all columns, a warp's to add
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
    const int k_groups = (kvb_fragment_steps(p.k.head_dim) + 3) / 4;
    for (int i = 0; i < 2; i++) {
        const kvb_cuda_attend_side &side = i ? p.v : p.k;
        l.block_bytes[i] = kvb_fragment_block_bytes(side.head_dim, side.code, side.scale_bytes);
        l.scales[i] = kvb_fragment_code_bytes(side.head_dim, side.code);
    }
    l.units = (kvb_fragment_steps(p.v.head_dim) + 3) / 4;
    l.row = (p.k.head_dim > p.v.head_dim ? p.k.head_dim : p.v.head_dim) + 1; // odd: tokens in different banks
    l.tables[0] = take(levels_of(p.k.code) * copies_of(p.k.code, copies), 4);
    l.tables[1] = take(levels_of(p.v.code) * copies_of(p.v.code, copies), 4);
    l.queries = take(k_groups * 64 * COLUMNS, 4);                           // [step][column][16]
    l.scores = take(2 * COLUMNS * TILE, 4);                                 // [tile % 2][column][token], then weights
    l.values = take((l.units > WARPS ? l.units : WARPS) * 64 * COLUMNS, 4); // [warp or unit][step][2][column][8]
    l.rows = take(WARPS * l.row, 4);                                        // of columns, or exact tokens
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

// The levels of a side, with their copies, by all threads.
__device__ inline Lut fill_levels(const kvb_cuda_attend_side &side, uint32_t at, int copies) {
    const int n = copies_of(side.code, copies);
    float *levels = shared_at<float>(at);
    for (int i = threadIdx.x; i < levels_of(side.code) * n; i += blockDim.x) {
        levels[i] = __half2float(((const __half *)side.centroids)[i / n]);
    }
    return {address_of(at) + threadIdx.x % n * 4, (uint32_t)n * 4};
}

__device__ __forceinline__ float warp_sum(float x) {
    for (int h = 16; h > 0; h /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, h);
    }
    return x;
}
__device__ __forceinline__ float warp_most(float x) {
    for (int h = 16; h > 0; h /= 2) {
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, h));
    }
    return x;
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
