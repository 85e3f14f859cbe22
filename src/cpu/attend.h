/* A tile of queries and a part of its tokens: how a CPU cuts attention. */
#ifndef KVB_CPU_ATTEND_H
#define KVB_CPU_ATTEND_H

#include "cpu/ops.h"

/* Query rows that share the decoded keys and values, or one query's group when it is larger. */
#define KVB_TILE_ROWS 64

/* A code that kernels read: of whole rows, or with half a bit of one half of them. */
typedef struct kvb_attend_code {
    const kvb_codec_tables *stored;
    const kvb_codec_tables *read; /* kvb_straight_tables of a trellis code; else `stored` */
    int first_plane;              /* of the row's */
} kvb_attend_code;

#define KVB_MAX_CODES 2

/* One side, K or V, of one KV head: where its rows lie. */
typedef struct kvb_attend_side {
    const kvb_codec_tables *tables; /* NULL: pages hold rows of `dense` values */
    /* Of packed rows, the codes that share their coordinates, in equal parts from coordinate 0 on; n_codes 0 where
     * kernels do not read one of them: a trellis code of fewer than KVB_MIN_STRAIGHT_DIM coordinates. Then rows become
     * floats first. */
    kvb_attend_code codes[KVB_MAX_CODES];
    int n_codes;
    kvb_dtype dense;
    int dim;
    size_t block;                            /* from the start of a page to the scales, or to the dense rows */
    size_t planes[KVB_MAX_PLANES];           /* from there to the planes */
    const uint8_t *exact_first, *exact_last; /* this head's rows, exact_stride bytes apart */
    size_t exact_stride;
} kvb_attend_side;

/* Softmax states of all rows of a tile (softmax.h); row r's accumulator is at r * accumulator_dim. */
typedef struct kvb_attend_states {
    float *max, *sum, *accumulators;
} kvb_attend_states;

/* Row r is query first_q + r / group of head kv_head * group + r % group. */
typedef struct kvb_attend_tile {
    const kvb_attend_item *item;
    int kv_head, group, first_q, n_q;
    kvb_attend_side k, v;
    int k_is_rotated;
    int k_is_packed, v_is_packed; /* packed rows are multiplied code by code, else decoded to floats first */
    int k_is_fast, v_is_fast;     /* in fixed point, else in floats */
    int v_is_ordered;             /* and summed in an order of their own */
    int v_is_k;                   /* values are prefixes of keys: of v only dim counts */
    /* Values from pages are summed as they are stored, rotated; exact ones beside them, as they came. So both halves of
     * an accumulator exist where both happen, else accumulator_dim is v.dim. Rotating every exact value instead would
     * cost a transform per token; this costs one more addition per output. */
    int accumulator_dim;
    int64_t begin, end; /* no query sees a token outside */
    float *q;           /* rows of k.dim, as given */
    /* In the domain of packed keys; where k_is_packed, the rows of each code's coordinates, code by code. */
    float *packed_q;
    float *mean_dots; /* where kv->k_mean is given: of each row with its head's mean key */
    int16_t *fixed_q; /* where k_is_fast: packed_q in fixed point, kvb_fixed_query words a row */
    float *fixed_factors;
    kvb_visible *visible; /* of each query */
    kvb_attend_states states;
    size_t first_part, n_parts;
    int is_begun, is_complete;
} kvb_attend_tile;

/* Whose rows the values are. */
static inline const kvb_attend_side *kvb_attend_values(const kvb_attend_tile *tile) {
    return tile->v_is_k ? &tile->k : &tile->v;
}

/* Tokens [begin, end), all of one chunk. */
typedef struct kvb_attend_part {
    const kvb_attend_tile *tile;
    int64_t begin, end;
    kvb_attend_states states;
} kvb_attend_part;

/* Planes of a tile of straightened rows, and what it takes to make them. */
#define KVB_STRAIGHT_SCRATCH(dim) (KVB_TILE_TOKENS * ((size_t)(dim) + (size_t)(dim) / 4 + 16) + 64)

/* What one worker needs for a part. */
typedef struct kvb_attend_work {
    float *k, *v;      /* KVB_TILE_TOKENS rows */
    float *weights;    /* KVB_TILE_TOKENS of each row, dots at first */
    float *dots;       /* the same, of one code of several */
    uint32_t *bits;    /* kvb_visible_bits of each query */
    void *fixed;       /* KVB_FIXED_SCRATCH */
    uint8_t *straight; /* KVB_STRAIGHT_SCRATCH */
    float *ordered;    /* where v_is_ordered: code by code, KVB_ORDERED_DIM of each row, up to KVB_FEW_ROWS */
} kvb_attend_work;

/* Words of a query in fixed point of a code of `dim` coordinates, whole vectors. */
static inline size_t kvb_fixed_query(int dim) {
    size_t few = KVB_ORDERED_DIM(dim), many = (KVB_FIXED_QUERY(dim) + 31) / 32 * 32;
    return few > many ? few : many;
}

/* attend_tile.c */
int kvb_attend_tile_queries(const kvb_attend_item *item);
int kvb_attend_accumulator_dim(const kvb_kv_view *kv);
/* Fills all but the buffers. */
void kvb_attend_tile_open(kvb_attend_tile *tile, const kvb_attend_item *item, int kv_head, int first_q,
                          const kvb_cpu_ops *ops);
/* Loads and rotates the queries, empties the states. */
void kvb_attend_tile_begin(kvb_attend_tile *tile, const kvb_cpu_ops *ops);
/* Merges parts in order; writes the outputs when the tile is complete. */
void kvb_attend_tile_end(kvb_attend_tile *tile, const kvb_attend_part *parts, const kvb_cpu_ops *ops);
/* attend_trellis.c: packed rows of a trellis code as rows of a scalar code, into `scratch`; and that code, NULL where
 * there is none. */
static inline const kvb_codec_tables *kvb_straight_tables(const kvb_codec_tables *tables, const kvb_cpu_ops *ops) {
    return ops->weaves_bytes && tables->bytes ? tables->bytes : tables->straight;
}
kvb_packed_run kvb_straighten(const kvb_packed_run *run, uint8_t *scratch, const kvb_cpu_ops *ops);
/* attend_part.c */
void kvb_attend_states_clear(const kvb_attend_states *states, int n_rows, int dim);
void kvb_attend_part_run(const kvb_attend_part *part, const kvb_attend_work *work, const kvb_cpu_ops *ops);

#endif
