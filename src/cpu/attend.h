/* A tile of queries and a part of its tokens: how a CPU cuts attention. */
#ifndef KVB_CPU_ATTEND_H
#define KVB_CPU_ATTEND_H

#include "cpu/ops.h"

#define KVB_TILE_ROWS                                                                                                  \
    64 /* query rows that share the decoded keys and values, or one query's group when it is larger                    \
        */

/* One side, K or V, of one KV head: where its rows lie. */
typedef struct kvb_attend_side {
    const kvb_codec_tables *tables; /* NULL: pages hold rows of `dense` values */
    const kvb_codec_tables *codes;  /* of packed rows as kernels read them (kvb_straighten); NULL where they cannot */
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
    int k_is_fast, v_is_fast; /* packed rows are read in fixed point */
    int v_is_ordered;         /* and summed in an order of their own */
    int v_is_k;               /* values are prefixes of keys: of v only dim counts */
    /* Values from pages are summed as they are stored, rotated; exact ones beside them, as they came. So both halves of
     * an accumulator exist where both happen, else accumulator_dim is v.dim. Rotating every exact value instead would
     * cost a transform per token; this costs one more addition per output. */
    int accumulator_dim;
    int64_t begin, end;   /* no query sees a token outside */
    float *q, *rotated_q; /* rows of k.dim, as given, and in the domain of packed keys where k_is_rotated */
    float *mean_dots;     /* where kv->k_mean is given: of each row with its head's mean key */
    int16_t *fixed_q;     /* where k_is_fast: the latter in fixed point */
    float *fixed_factors;
    kvb_visible *visible; /* of each query */
    kvb_attend_states states;
    size_t first_part, n_parts;
    int is_begun, is_complete;
} kvb_attend_tile;

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
    uint32_t *bits;    /* kvb_visible_bits of each query */
    void *fixed;       /* KVB_FIXED_SCRATCH */
    uint8_t *straight; /* KVB_STRAIGHT_SCRATCH */
    float *ordered;    /* KVB_ORDERED_DIM of each row, up to KVB_FEW_ROWS, where v_is_ordered */
} kvb_attend_work;

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
/* attend_trellis.c: packed rows of a trellis code as rows of the scalar code tables->straight, into `scratch`. */
kvb_packed_run kvb_straighten(const kvb_packed_run *run, uint8_t *scratch, const kvb_cpu_ops *ops);
/* attend_part.c */
void kvb_attend_states_clear(const kvb_attend_states *states, int n_rows, int dim);
void kvb_attend_part_run(const kvb_attend_part *part, const kvb_attend_work *work, const kvb_cpu_ops *ops);

#endif
