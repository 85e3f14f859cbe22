/* What a run measured: sums per step (a trial or a query), KV head and combination, and the figures made of them. */
#ifndef KVB_EVAL_MEASURED_H
#define KVB_EVAL_MEASURED_H

#include "attend.h"
#include "variants.h"

typedef struct kvb_measured {
    size_t n, groups; /* steps; KV heads pooled in each */
    int n_combos, n_k;
    kvb_output_sums *outputs; /* [n][groups][n_combos] */
    kvb_logit_sums *logits;   /* [n][groups][n_k] */
} kvb_measured;

KVB_CHECKED kvb_status kvb_measured_make(kvb_measured *measured, size_t n, size_t groups, const kvb_comparison *c,
                                         kvb_error *error);
void kvb_measured_free(kvb_measured *measured);
/* Adds the KV heads of every step together, so that groups is 1: no figure changes, memory shrinks. */
void kvb_measured_pool(kvb_measured *measured);
kvb_output_sums *kvb_measured_outputs(const kvb_measured *measured, size_t step, size_t group);
kvb_logit_sums *kvb_measured_logits(const kvb_measured *measured, size_t step, size_t group);

/* One figure per step, KV heads pooled; series holds n values. */
typedef enum kvb_measure {
    KVB_MEASURE_NRMSE,
    KVB_MEASURE_COSINE,
    KVB_MEASURE_LOGIT_RMSE, /* the following by key variant, not by combination */
    KVB_MEASURE_KL,
    KVB_MEASURE_TOP1,
    KVB_MEASURE_TOP5
} kvb_measure;

void kvb_measured_series(const kvb_measured *measured, kvb_measure measure, int index, double *series);
/* Statistic of such a series. KVB_ERROR_MEMORY is reported as NaN figures, which no check passes. */
kvb_statistic kvb_measured_statistic(const kvb_measured *measured, kvb_measure measure, int index);
/* The paired difference of two combinations' NRMSE, step by step: a - b. */
kvb_statistic kvb_measured_difference(const kvb_measured *measured, int a, int b);
/* 1 when every reference output is finite. */
int kvb_measured_reference_finite(const kvb_measured *measured);

#endif
