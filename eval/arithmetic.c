#include "arithmetic.h"

#include <math.h>

#include "plain.h"

kvb_status kvb_arithmetic_open(kvb_sums sums, kvb_arithmetic *out, kvb_error *error) {
    *out = (kvb_arithmetic){.vec = kvb_vec_best()};
    return sums == KVB_SUMS_INDEX_ORDER ? KVB_OK : kvb_backend_open(NULL, &out->backend, error);
}

void kvb_row_dots(const kvb_arithmetic *arithmetic, const float *rows, size_t n_rows, size_t d, const float *query,
                  float *dots) {
    if (arithmetic->backend)
        kvb_rows_dot(arithmetic->backend, rows, d, n_rows, query, (int)d, dots);
    else
        for (size_t r = 0; r < n_rows; r++)
            dots[r] = kvb_plain_dot(query, rows + r * d, d);
}

void kvb_row_add(const kvb_arithmetic *arithmetic, const float *rows, size_t n_rows, size_t d, const float *weights,
                 float *sum) {
    if (arithmetic->backend)
        kvb_rows_add(arithmetic->backend, rows, d, n_rows, weights, (int)d, sum);
    else
        for (size_t r = 0; r < n_rows; r++)
            for (size_t c = 0; weights[r] != 0.0f && c < d; c++)
                sum[c] += weights[r] * rows[r * d + c];
}

void kvb_row_rms_normalize(const kvb_arithmetic *arithmetic, float *row, size_t d, float eps) {
    float squares;
    kvb_row_dots(arithmetic, row, 1, d, row, &squares);
    arithmetic->vec->divide(row, d, sqrtf(squares / (float)d + eps));
}

void kvb_row_distance(const kvb_arithmetic *arithmetic, const float *a, const float *b, size_t d, float *difference,
                      float *norm) {
    float apart[KVB_MAX_HEAD_DIM];
    for (size_t c = 0; c < d; c++)
        apart[c] = a[c] - b[c];
    kvb_row_dots(arithmetic, apart, 1, d, apart, difference);
    kvb_row_dots(arithmetic, a, 1, d, a, norm);
}
