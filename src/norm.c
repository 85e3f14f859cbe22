#include "kvbits/kvbits.h"

#include <math.h>

void kvb_rms_norm(float *rows, size_t row_stride, size_t n_rows, int dim, float eps, const float *gain) {
    for (size_t r = 0; r < n_rows; r++) {
        float *row = rows + r * row_stride;
        double sum = 0.0;
        for (int i = 0; i < dim; i++) {
            sum += (double)row[i] * row[i];
        }
        double factor = 1.0 / sqrt(sum / dim + (double)eps);
        for (int i = 0; i < dim; i++) {
            row[i] = (float)(row[i] * factor * (gain ? (double)gain[i] : 1.0));
        }
    }
}
