// Whose columns a lane has, what they see, and where a block keeps what it found for them.
#pragma once
#include "attend_rows.cuh"

namespace kvb {

// Of a lane, the first of its two columns, and which of `FOLDS` blocks of tokens they stand for.
template <int FOLDS> __device__ __forceinline__ int column_of(int lane) {
    return lane % (4 / FOLDS) * 2;
}
template <int FOLDS> __device__ __forceinline__ int fold_of(int lane) {
    return FOLDS > 1 ? lane % 4 / 2 : 0;
}

// What a lane's two columns see of the packed tokens before `end`, which is the segment's, and what all
// columns of the warp see.
struct Columns {
    int begin[2], end[2], query[2];
    int all_begin, all_end;
};

template <int FOLDS>
static __device__ Columns columns_of(const kvb_cuda_attend_job &p, const Sequence &s, int end, int first_column,
                                     int n_columns, int lane) {
    Columns c = {};
    if (n_columns == 0) {
        return c;
    }
    for (int i = 0; i < 2; i++) {
        int column = column_of<FOLDS>(lane) + i;
        c.query[i] = (first_column + (column < n_columns ? column : 0)) / p.group;
        Visible v = Visible::of(p, s, c.query[i]);
        c.begin[i] = max(v.begin, p.n_exact_first);
        c.end[i] = min(v.end, end);
    }
    c.all_begin = __reduce_max_sync(0xffffffffu, max(c.begin[0], c.begin[1]));
    c.all_end = __reduce_min_sync(0xffffffffu, min(c.end[0], c.end[1]));
    return c;
}

// Which of a lane's scores belong to tokens that a tree lets its columns see: bit 4 b + i for c[b][i].
template <int BLOCKS, int FOLDS>
__device__ __noinline__ uint32_t tree_bits(const kvb_cuda_attend_job &p, const Sequence &s, int query0, int query1,
                                           int first, int end) {
    uint32_t bits = 0;
    for (int j = 0; j < BLOCKS * 4; j++) {
        const int token = first + j / 4 * 16 * FOLDS + j % 4 / 2 * 8, query = j % 2 ? query1 : query0;
        const bool is = token >= s.n_tokens - s.n_q && token >= p.n_exact_first && token < end;
        bits |= (uint32_t)(is && Visible::of(p, s, query).sees(p, s, query, token)) << j;
    }
    return bits;
}

// A block's partial results: two, of the item that it goes on with and of the one that begins in it: 8 maxima, 8 sums,
// values.
__device__ __forceinline__ float *part_of(const kvb_cuda_attend_job &p, int block, int begins, int v_dim) {
    return p.partials + (size_t)(block * 2 + begins) * 8 * (v_dim + 2);
}
// Where values have a column's place: a warp reads them as the accumulators that they were.
__device__ __forceinline__ int part_place(int column, int place) {
    return 16 + (place / 16 * 32 + place % 8 * 4 + column / 2) * 4 + column % 2 + place % 16 / 8 * 2;
}

} // namespace kvb
