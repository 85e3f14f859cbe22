/* The experiment's float arithmetic on rows: libkvbits' bit-exact sums, or plain ones in index order, which restate the
 * reference run (KVB_SUMS_INDEX_ORDER). Rows lie one after another, d values each. */
#ifndef KVB_EVAL_ARITHMETIC_H
#define KVB_EVAL_ARITHMETIC_H

#include "kvbits/eval.h"
#include "vec.h"

typedef struct kvb_arithmetic {
    const kvb_backend *backend; /* NULL: index order */
    const kvb_vec *vec;         /* what libkvbits has not: random numbers, exponentials */
} kvb_arithmetic;

KVB_CHECKED kvb_status kvb_arithmetic_open(kvb_sums sums, kvb_arithmetic *out, kvb_error *error);

/* dots[r] = <row r, query> */
void kvb_row_dots(const kvb_arithmetic *arithmetic, const float *rows, size_t n_rows, size_t d, const float *query,
                  float *dots);
/* sum += weights[r] * row r, for r in rising order; rows of weight 0 are left out. */
void kvb_row_add(const kvb_arithmetic *arithmetic, const float *rows, size_t n_rows, size_t d, const float *weights,
                 float *sum);
/* row / sqrt(mean(row^2) + eps), in place. */
void kvb_row_rms_normalize(const kvb_arithmetic *arithmetic, float *row, size_t d, float eps);
/* sum (a-b)^2 and sum a^2 */
void kvb_row_distance(const kvb_arithmetic *arithmetic, const float *a, const float *b, size_t d, float *difference,
                      float *norm);

#endif
