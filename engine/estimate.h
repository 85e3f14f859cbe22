/* Figures over windows of text, with intervals. Tokens of a window depend on each other, windows hardly: so the
 * intervals are percentile bootstrap ones over whole windows, 95 %, from the same draws for every scheme (which makes
 * ratios paired). With one window there is none: NaN. */
#ifndef KVBITS_ENGINE_ESTIMATE_H
#define KVBITS_ENGINE_ESTIMATE_H

#include <stddef.h>
#include <stdint.h>

#include "kvbits/kvbits.h"

enum { KVB_DRAWS = 500 };

typedef struct kvb_windows {
    int n_windows;
    uint16_t *counts; /* [KVB_DRAWS][n_windows]: how often each window was drawn */
} kvb_windows;

typedef struct kvb_estimate {
    double value, low, high;
} kvb_estimate;

KVB_CHECKED kvb_status kvb_windows_create(int n_windows, kvb_windows *out, kvb_error *error);
void kvb_windows_free(kvb_windows *windows);

/* Sum of a[w] over the sum of b[w]; draws (may be NULL) gets KVB_DRAWS such ratios. */
kvb_estimate kvb_estimate_ratio(const kvb_windows *windows, const double *a, const double *b, double *draws);
/* The smallest value with at least a share q of all at or below it. sorted: values in rising order; window: of each.
 * Every window has as many values. */
kvb_estimate kvb_estimate_quantile(const kvb_windows *windows, const double *sorted, const uint16_t *window, size_t n,
                                   double q, double *draws);
/* From a figure and its draws. */
kvb_estimate kvb_estimate_from(const kvb_windows *windows, double value, const double *draws);

#endif
