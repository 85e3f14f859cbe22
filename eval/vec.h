/* The vector verbs of the experiment, once per instruction set: every set gives the same bits.
 *
 * That holds because SLEEF's cinz functions do not depend on the vector width, sums run over 16 fixed lanes, and
 * multiplications and additions are rounded separately. docs/evaluation.md, "Determinism". */
#ifndef KVB_EVAL_VEC_H
#define KVB_EVAL_VEC_H

#include <stddef.h>
#include <stdint.h>

enum {
    KVB_STREAM_LANES = 8, /* independent generators that advance side by side */
    KVB_VEC_MAX_ROW = 576 /* KVB_MAX_HEAD_DIM */
};

/* States of KVB_STREAM_LANES xoshiro256** generators: word w of lane l is s[w][l]. */
typedef struct kvb_lanes {
    uint64_t s[4][KVB_STREAM_LANES];
} kvb_lanes;

typedef struct kvb_vec {
    const char *name;
    /* Lane l writes n normals to out[l] and advances past them. Returns a bit mask of the lanes that met a redraw
     * (u1 <= 1e-30): their output and state are wrong and must be made again by kvb_rng_normals. */
    unsigned (*normals)(kvb_lanes *lanes, size_t n, float *const *out);
    /* Advances as `normals` would, without making values. */
    unsigned (*skip_normals)(kvb_lanes *lanes, size_t n);
    /* out[i * out_stride] = <rows[i * d ..], q>, d a multiple of 8. */
    void (*dots)(const float *rows, size_t n_rows, const float *q, size_t d, float *out, size_t out_stride);
    /* row / sqrt(mean(row^2) + eps), in place. */
    void (*rms_normalize)(float *row, size_t d, float eps);
    /* acc += weight * row */
    void (*add_scaled)(float *acc, const float *row, float weight, size_t d);
    /* weights[i] = exp(scores[i] - max) */
    void (*exps)(const float *scores, size_t n, float max, float *weights);
    /* Squared distance and squared norm: sum (a-b)^2 and sum a^2, in the 16 lanes. */
    void (*distance)(const float *a, const float *b, size_t d, float *difference, float *norm);
} kvb_vec;

/* The widest set this processor and operating system support. */
const kvb_vec *kvb_vec_best(void);
/* Plain scalar sums in index order, the arithmetic of the reference run: only the figures' check uses it. */
const kvb_vec *kvb_vec_index_order(void);
/* By name ("generic", "sse2", "avx2", "avx512", "neon", "index-order"), NULL when absent or not supported here. */
const kvb_vec *kvb_vec_named(const char *name);

#endif
