/* The synthetic rows of the A/B: what a row of raw normals becomes. */
#ifndef KVB_EVAL_ROWS_H
#define KVB_EVAL_ROWS_H

#include "kvbits/eval.h"
#include "arithmetic.h"

typedef struct kvb_row_source {
    const kvb_arithmetic *arithmetic;
    kvb_generator generator;
    kvb_side side;
    size_t d, raw; /* raw: normals drawn per row */
    int dof, channels, spread, rank;
    float factor, noise, strength;
    float *basis; /* [rank][d]; low rank only */
} kvb_row_source;

KVB_CHECKED kvb_status kvb_row_source_open(kvb_row_source *source, const kvb_ab_config *config, kvb_side side,
                                           const kvb_arithmetic *arithmetic, kvb_error *error);
void kvb_row_source_close(kvb_row_source *source);

/* One row of d values, RMS-normalized, from `raw` normals. `raw` and `out` may be the same when raw == d. */
void kvb_row_make(const kvb_row_source *source, const float *raw, float *out);
/* Whether the first row of a sequence is a special one (the sink), and that row. */
int kvb_row_first_differs(const kvb_row_source *source);
void kvb_row_make_first(const kvb_row_source *source, const float *raw, float *out);

#endif
