/* Sums over rows of floats. */
#include "kernels.h"

void kvb_rows_dot(const kvb_backend *backend, const float *rows, size_t row_stride, size_t n_rows, const float *query,
                  int dim, float *dots) {
    kvb_dot_job job = {rows, row_stride, n_rows, dim, query, dots};
    backend->rows_dot(&job);
}

void kvb_rows_add(const kvb_backend *backend, const float *rows, size_t row_stride, size_t n_rows, const float *weights,
                  int dim, float *sum) {
    kvb_add_job job = {rows, row_stride, n_rows, dim, weights, sum};
    backend->rows_add(&job);
}
