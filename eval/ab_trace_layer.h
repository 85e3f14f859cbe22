/* One layer of a trace: causal attention of its recorded queries on every variant of its keys and values. */
#ifndef KVB_EVAL_AB_TRACE_LAYER_H
#define KVB_EVAL_AB_TRACE_LAYER_H

#include "measured.h"

/* Softmax scale, softcap and window: the trace's, or the config's where it has its own. */
typedef struct kvb_layer_attention {
    double scale, softcap;
    int window;
} kvb_layer_attention;

kvb_layer_attention kvb_layer_attention_of(const kvb_ab_config *config, const kvb_trace_layer *layer);
/* How many queries are asked, and the position of the n-th. */
size_t kvb_layer_queries(const kvb_ab_config *config, const kvb_trace_layer *layer);

/* The mean of one channel over n tokens, `stride` values apart. */
float kvb_trace_mean(const float *values, size_t n, size_t stride);

/* measured is made by the call, KV heads pooled; the caller frees it, also on failure. *transform_error gets the NRMSE
 * of the worst row that is rotated and rotated back (0 when the rotation is none). */
KVB_CHECKED kvb_status kvb_ab_trace_layer(const kvb_ab_config *config, const kvb_trace *trace, int index,
                                          const kvb_comparison *comparison, const kvb_arithmetic *arithmetic,
                                          const kvb_parallel *parallel, const kvb_progress *progress,
                                          kvb_measured *measured, double *transform_error, kvb_error *error);

#endif
