/* The softmax state's arithmetic, once: for the public calls, for kernels and for merging. */
#ifndef KVB_SOFTMAX_H
#define KVB_SOFTMAX_H

#include "kvbits/kvbits.h"

#include <math.h>

/* Nothing was seen; a NaN logit is no maximum, but shows in the sum. */
static inline int kvb_softmax_is_empty(float max, float sum) {
    return max == -INFINITY && !isnan(sum);
}

/* What multiplies sums made with maximum `from` when the maximum becomes `to`, which is at least as large. From the
 * empty state 0, and not exp(-Inf - -Inf). */
static inline float kvb_softmax_rescale(float from, float to) {
    return from == to ? 1.0f : expf(from - to);
}

/* kvb_softmax_merge on separate fields; `accumulator` += `other_accumulator`, both of dim values. */
static inline void kvb_softmax_join(float *restrict max, float *restrict sum, float *restrict accumulator,
                                    float other_max, float other_sum, const float *restrict other_accumulator,
                                    int dim) {
    if (kvb_softmax_is_empty(other_max, other_sum)) {
        return;
    }
    float top = *max > other_max ? *max : other_max;
    float own = kvb_softmax_rescale(*max, top), other = kvb_softmax_rescale(other_max, top);
    *max = top;
    *sum = *sum * own + other_sum * other;
    for (int i = 0; i < dim; i++) {
        accumulator[i] = accumulator[i] * own + other_accumulator[i] * other;
    }
}

/* The factor that makes an output of an accumulator, 0 when nothing was seen; *lse gets the log-sum-exp, sink in. */
static inline float kvb_softmax_normalize(float max, float sum, float sink, float *lse) {
    float top = max > sink ? max : sink;
    float own = kvb_softmax_is_empty(max, sum) ? 0.0f : kvb_softmax_rescale(max, top);
    float denominator = sum * own + (sink == -INFINITY ? 0.0f : kvb_softmax_rescale(sink, top));
    *lse = denominator == 0.0f ? -INFINITY : top + logf(denominator);
    return denominator == 0.0f ? 0.0f : own / denominator;
}

#endif
