/* The sums of row_sums.c in vectors: a few rows side by side, whose lanes fold together, and sums that stay in
 * registers over the rows. */
#include "cpu/ops.h"
#include "cpu/step.h"

#include <string.h>

enum { row_vectors = KVB_SUM_LANES / VEC_FLOATS, rows_folded = 4, sum_vectors = 8 };

static inline __attribute__((always_inline)) void dot_lanes(const float *row, const float *query, vf *lanes) {
    for (int v = 0; v < row_vectors; v++) {
        lanes[v] = vf_add(lanes[v], vf_mul(vf_load(row + v * VEC_FLOATS), vf_load(query + v * VEC_FLOATS)));
    }
}

/* Rows whose length is an odd multiple of 8 end in half a tree; the zeros behind change no lane. */
static inline void dot_half(const float *row, const float *query, vf *lanes) {
    float padded[2][KVB_SUM_LANES] = {{0}};
    memcpy(padded[0], row, 8 * sizeof *row);
    memcpy(padded[1], query, 8 * sizeof *query);
    dot_lanes(padded[0], padded[1], lanes);
}

static inline __attribute__((always_inline)) void dot_four(const float *const rows[rows_folded], const float *query,
                                                           int dim, float dots[rows_folded]) {
    vf lanes[rows_folded][row_vectors];
    int i = 0;
    for (int r = 0; r < rows_folded; r++) {
        for (int v = 0; v < row_vectors; v++) {
            lanes[r][v] = vf_all(0.0f);
        }
    }
    for (; i + KVB_SUM_LANES <= dim; i += KVB_SUM_LANES) {
        for (int r = 0; r < rows_folded; r++) {
            dot_lanes(rows[r] + i, query + i, lanes[r]);
        }
    }
    for (int r = 0; i < dim && r < rows_folded; r++) {
        dot_half(rows[r] + i, query + i, lanes[r]);
    }
    vf_fold_four(lanes, dots);
}

static float dot_one(const float *row, const float *query, int dim) {
    vf lanes[row_vectors];
    int i = 0;
    for (int v = 0; v < row_vectors; v++) {
        lanes[v] = vf_all(0.0f);
    }
    for (; i + KVB_SUM_LANES <= dim; i += KVB_SUM_LANES) {
        dot_lanes(row + i, query + i, lanes);
    }
    if (i < dim) {
        dot_half(row + i, query + i, lanes);
    }
    return vf_fold(lanes);
}

static void KVB_STEP(dot_each)(const kvb_dot_job *job) {
    size_t first = 0;
    for (; first + rows_folded <= job->n_rows; first += rows_folded) {
        const float *rows[rows_folded];
        for (size_t r = 0; r < rows_folded; r++) {
            rows[r] = job->rows + (first + r) * job->row_stride;
        }
        dot_four(rows, job->query, job->dim, job->dots + first);
    }
    for (; first < job->n_rows; first++) {
        job->dots[first] = dot_one(job->rows + first * job->row_stride, job->query, job->dim);
    }
}

/* n_vectors sums over all rows; the count is a constant. */
static inline __attribute__((always_inline)) void add_columns(const kvb_add_job *job, int at, int n_vectors) {
    vf sums[sum_vectors];
    for (int v = 0; v < n_vectors; v++) {
        sums[v] = vf_load(job->sum + at + v * VEC_FLOATS);
    }
    for (size_t r = 0; r < job->n_rows; r++) {
        const float *row = job->rows + r * job->row_stride + at;
        vf weight = vf_all(job->weights[r]);
        if (job->weights[r] == 0.0f) {
            continue;
        }
        for (int v = 0; v < n_vectors; v++) {
            sums[v] = vf_add(sums[v], vf_mul(weight, vf_load(row + v * VEC_FLOATS)));
        }
    }
    for (int v = 0; v < n_vectors; v++) {
        vf_store(job->sum + at + v * VEC_FLOATS, sums[v]);
    }
}

static void KVB_STEP(add_each)(const kvb_add_job *job) {
    int i = 0, step = sum_vectors * VEC_FLOATS;
    for (; i + step <= job->dim; i += step) {
        add_columns(job, i, sum_vectors);
    }
    for (; i + VEC_FLOATS <= job->dim; i += VEC_FLOATS) {
        add_columns(job, i, 1);
    }
    for (size_t r = 0; i < job->dim && r < job->n_rows; r++) {
        for (int j = i; job->weights[r] != 0.0f && j < job->dim; j++) {
            job->sum[j] += job->weights[r] * job->rows[r * job->row_stride + (size_t)j];
        }
    }
}
