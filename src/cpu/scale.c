/* Sums behind the scale, by the fixed tree of docs/format.md: lane l of 16 adds the terms l, l+16, ... in rising order,
 * each product and each sum rounded, and the lanes fold by halves: 8, 4, 2, 1. */
#include "cpu/lookup.h"
#include "cpu/ops.h"
#include "cpu/step.h"

static inline float fold(float lanes[KVB_SUM_LANES]) {
    for (int half = KVB_SUM_LANES / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) {
            lanes[l] += lanes[l + half];
        }
    }
    return lanes[0];
}

static inline float dot(const float *a, const float *b, int n) {
    float lanes[KVB_SUM_LANES] = {0};
    int i = 0;
    for (; i + KVB_SUM_LANES <= n; i += KVB_SUM_LANES) {
        for (int l = 0; l < KVB_SUM_LANES; l++) {
            lanes[l] += a[i + l] * b[i + l];
        }
    }
    for (int l = 0; i + l < n; l++) {
        lanes[l] += a[i + l] * b[i + l];
    }
    return fold(lanes);
}

float KVB_STEP(sum_squares)(const float *row, int n) {
    return dot(row, row, n);
}

void KVB_STEP(project_by_lookup)(const kvb_codec_tables *tables, const float *row, const uint8_t *codes, float *row_c,
                                 float *c_c) {
    int n = tables->head_dim;
    float centroids[KVB_MAX_HEAD_DIM];
    kvb_look_up(tables->centroids, codes, n, centroids);
    *row_c = dot(row, centroids, n);
    *c_c = dot(centroids, centroids, n);
}
