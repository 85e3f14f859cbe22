/* Random numbers and exponentials, once per instruction set: every set gives the same bits, because SLEEF's cinz
 * functions do not depend on the vector width. docs/evaluation.md, "Determinism". */
#ifndef KVB_EVAL_VEC_H
#define KVB_EVAL_VEC_H

#include <stddef.h>
#include <stdint.h>

enum {
    KVB_STREAM_LANES = 8 /* independent generators that advance side by side */
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
    /* row / divisor, in place. */
    void (*divide)(float *row, size_t d, float divisor);
    /* weights[i] = exp(scores[i] - max) */
    void (*exps)(const float *scores, size_t n, float max, float *weights);
} kvb_vec;

/* The widest set this processor and operating system support. */
const kvb_vec *kvb_vec_best(void);
/* By name ("generic", "sse2", "avx2", "avx512", "neon"), NULL when absent or not supported here. */
const kvb_vec *kvb_vec_named(const char *name);

#endif
