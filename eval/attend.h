/* Attention of a few queries on several variants of the same keys and values at once, and how far each is from exact.
 *
 * One kvb_attend_variants serves the query heads of one KV head at one step. Key variant 0 and value variant 0 are
 * exact; combination 0 must be {0, 0}, the reference. */
#ifndef KVB_EVAL_ATTEND_H
#define KVB_EVAL_ATTEND_H

#include "arithmetic.h"
#include "kvbits/eval.h"

enum { KVB_ATTEND_ADD_MAX = 64 };

typedef struct kvb_combo {
    int k, v; /* variants */
} kvb_combo;

typedef struct kvb_attend_shape {
    const kvb_arithmetic *arithmetic;
    int n_q, n_k, n_combos;
    const kvb_combo *combos;
    size_t max_len, v_dim;
    float scale, softcap; /* softcap 0: none */
    int skip;             /* leave out values of provably negligible weight */
    int online;           /* the reference run's order: position after position with a running maximum */
} kvb_attend_shape;

/* Sums over the queries of one step, to be pooled over KV heads before the ratio is taken. */
typedef struct kvb_output_sums {
    double difference, reference, dot, output; /* |o - r|^2, |r|^2, <o, r>, |o|^2 */
} kvb_output_sums;

typedef struct kvb_logit_sums {
    double squared, count; /* squared logit differences and how many */
    double kl, top1, top5; /* summed over queries */
    double queries;
} kvb_logit_sums;

typedef struct kvb_attend_variants {
    kvb_attend_shape shape;
    size_t len;
    float *scores;  /* [n_q][n_k][max_len]: the caller writes <q, k_j> of the visible positions */
    float *weights; /* the same shape: exp(score - max) */
    float *max, *sum;
    float *outputs;        /* [n_q][n_combos][v_dim] */
    unsigned char *needed; /* [max_len]: positions whose value some combination needs */
} kvb_attend_variants;

/* One block of memory for a kvb_attend_variants of that shape; 0 when its size overflows. */
size_t kvb_attend_bytes(const kvb_attend_shape *shape);
void kvb_attend_init(kvb_attend_variants *attend, const kvb_attend_shape *shape, void *memory);

/* Scores to weights over len visible positions; adds to logits[n_k] (may be NULL). */
void kvb_attend_softmax(kvb_attend_variants *attend, size_t len, kvb_logit_sums *logits);
/* Adds up to KVB_ATTEND_ADD_MAX values at rising positions; values[v] are n rows of variant v. */
void kvb_attend_add(kvb_attend_variants *attend, const size_t *positions, size_t n, const float *const *values);
/* Divides by the weights' sum and adds the errors to errors[n_combos]. */
void kvb_attend_finish(kvb_attend_variants *attend, kvb_output_sums *errors);

#endif
