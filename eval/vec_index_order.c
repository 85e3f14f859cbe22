/* The reference run's arithmetic: plain float sums in index order. Random numbers are the widest
 * set's, which have the bits of every other. */
#include "vec.h"

#include <math.h>
#include <sleef.h>

static unsigned normals(kvb_lanes *lanes, size_t n, float *const *out) {
    return kvb_vec_best()->normals(lanes, n, out);
}

static unsigned skip_normals(kvb_lanes *lanes, size_t n) {
    return kvb_vec_best()->skip_normals(lanes, n);
}

static float dot(const float *a, const float *b, size_t d) {
    float sum = 0.0f;
    for (size_t j = 0; j < d; j++)
        sum += a[j] * b[j];
    return sum;
}

static void dots(const float *rows, size_t n_rows, const float *q, size_t d, float *out, size_t out_stride) {
    for (size_t r = 0; r < n_rows; r++)
        out[r * out_stride] = dot(q, rows + r * d, d);
}

static void rms_normalize(float *row, size_t d, float eps) {
    float divisor = sqrtf(dot(row, row, d) / (float)d + eps);
    for (size_t j = 0; j < d; j++)
        row[j] = row[j] / divisor;
}

static void add_scaled(float *acc, const float *row, float weight, size_t d) {
    for (size_t j = 0; j < d; j++)
        acc[j] += weight * row[j];
}

static void exps(const float *scores, size_t n, float max, float *weights) {
    for (size_t i = 0; i < n; i++)
        weights[i] = Sleef_cinz_expf1_u10purec(scores[i] - max);
}

static void distance(const float *a, const float *b, size_t d, float *difference, float *norm) {
    float apart = 0.0f, square = 0.0f;
    for (size_t j = 0; j < d; j++) {
        float e = a[j] - b[j];
        apart += e * e;
        square += a[j] * a[j];
    }
    *difference = apart;
    *norm = square;
}

const kvb_vec *kvb_vec_index_order(void) {
    static const kvb_vec table = {"index-order", normals,    skip_normals, dots,
                                  rms_normalize, add_scaled, exps,         distance};
    return &table;
}
