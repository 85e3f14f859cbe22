/* Sums over rows of floats with the same bits everywhere: products and sums rounded one by one, in docs/format.md's
 * tree of 16 lanes over coordinates and in rising order over rows. */
#include "cpu/ops.h"
#include "cpu/step.h"

void KVB_STEP(dot_each)(const kvb_dot_job *job) {
    for (size_t r = 0; r < job->n_rows; r++) {
        const float *row = job->rows + r * job->row_stride;
        float lanes[KVB_SUM_LANES] = {0};
        int i = 0;
        for (; i + KVB_SUM_LANES <= job->dim; i += KVB_SUM_LANES) {
            for (int l = 0; l < KVB_SUM_LANES; l++) {
                lanes[l] += row[i + l] * job->query[i + l];
            }
        }
        for (int l = 0; i + l < job->dim; l++) {
            lanes[l] += row[i + l] * job->query[i + l];
        }
        for (int half = KVB_SUM_LANES / 2; half > 0; half /= 2) {
            for (int l = 0; l < half; l++) {
                lanes[l] += lanes[l + half];
            }
        }
        job->dots[r] = lanes[0];
    }
}

void KVB_STEP(add_each)(const kvb_add_job *job) {
    for (size_t r = 0; r < job->n_rows; r++) {
        const float *row = job->rows + r * job->row_stride;
        for (int i = 0; job->weights[r] != 0.0f && i < job->dim; i++) {
            job->sum[i] += job->weights[r] * row[i];
        }
    }
}
