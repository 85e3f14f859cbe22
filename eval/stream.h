/* A stream of rows of normals, as one sequential generator would emit them, made by many workers.
 *
 * Workers start inside the stream by jump-ahead, which assumes a fixed number of draws per row. A redraw (u1 <= 1e-30,
 * about one in 2^53) breaks that assumption for everything behind it: the row is then made again one by one, and the
 * rows behind it from the state it really leaves. */
#ifndef KVB_EVAL_STREAM_H
#define KVB_EVAL_STREAM_H

#include "kvbits/eval.h"
#include "rng.h"
#include "vec.h"

enum {
    KVB_STREAM_LANE_ROWS = 16,
    KVB_STREAM_ITEM_ROWS = KVB_STREAM_LANES * KVB_STREAM_LANE_ROWS /* rows that a worker makes at once */
};

typedef struct kvb_stream {
    const kvb_vec *vec;
    kvb_rng next; /* where the next batch starts */
    size_t normals_per_row;
    kvb_jump lane, item; /* KVB_STREAM_LANE_ROWS and KVB_STREAM_ITEM_ROWS rows */
} kvb_stream;

void kvb_stream_open(kvb_stream *stream, kvb_rng start, size_t normals_per_row, const kvb_vec *vec);

/* What becomes of rows first .. first+n-1 of the batch. May be called again for rows it has seen. */
typedef void (*kvb_stream_use)(void *context, size_t first, size_t n, float *rows, int worker);

/* Makes the next n_rows rows and hands them to `use`, up to KVB_STREAM_ITEM_ROWS at a time. buffers: one of
 * KVB_STREAM_ITEM_ROWS * normals_per_row floats per worker; starts: n_rows / KVB_STREAM_ITEM_ROWS + 2 states. */
void kvb_stream_rows(kvb_stream *stream, size_t n_rows, const kvb_parallel *parallel, kvb_rng *starts,
                     float *const *buffers, kvb_stream_use use, void *context);
/* Passes over the next n_rows rows, writing the state at the start of each. */
void kvb_stream_states(kvb_stream *stream, size_t n_rows, const kvb_parallel *parallel, kvb_rng *starts,
                       kvb_rng *states);
/* Makes n <= KVB_STREAM_LANES rows from such states, one after another in `out`, which holds KVB_STREAM_LANES rows. */
void kvb_stream_from_states(const kvb_vec *vec, const kvb_rng *const *states, size_t n, size_t normals_per_row,
                            float *out);

#endif
