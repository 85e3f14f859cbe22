#include "estimate.h"

#include <math.h>
#include <stdlib.h>

#include "kvbits/eval.h"

kvb_status kvb_windows_create(int n_windows, kvb_windows *out, kvb_error *error) {
    kvb_rng rng = kvb_rng_seed(1);
    const size_t n = (size_t)n_windows;
    *out = (kvb_windows){.n_windows = n_windows};
    if (n_windows < 1 || n_windows > UINT16_MAX)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%d windows of text; legal: 1 to %d", n_windows, UINT16_MAX);
    out->counts = calloc(n * KVB_DRAWS, sizeof *out->counts);
    if (!out->counts)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for draws of %d windows", n_windows);
    for (size_t d = 0; d < KVB_DRAWS; d++)
        for (size_t i = 0; i < n; i++)
            out->counts[d * n + (size_t)(kvb_rng_uniform(&rng) * n_windows)]++;
    return KVB_OK;
}

void kvb_windows_free(kvb_windows *windows) {
    free(windows->counts);
    *windows = (kvb_windows){.n_windows = 0};
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

kvb_estimate kvb_estimate_from(const kvb_windows *windows, double value, const double *draws) {
    double sorted[KVB_DRAWS];
    if (windows->n_windows < 2)
        return (kvb_estimate){value, NAN, NAN};
    for (int i = 0; i < KVB_DRAWS; i++)
        sorted[i] = draws[i];
    qsort(sorted, KVB_DRAWS, sizeof sorted[0], compare_doubles);
    return (kvb_estimate){value, sorted[KVB_DRAWS / 40], sorted[KVB_DRAWS - 1 - KVB_DRAWS / 40]};
}

kvb_estimate kvb_estimate_ratio(const kvb_windows *windows, const double *a, const double *b, double *draws) {
    double own[KVB_DRAWS], above = 0, below = 0;
    double *ratios = draws ? draws : own;
    const size_t n = (size_t)windows->n_windows;
    for (size_t i = 0; i < n; i++) {
        above += a[i];
        below += b[i];
    }
    for (size_t d = 0; d < KVB_DRAWS; d++) {
        double x = 0, y = 0;
        for (size_t i = 0; i < n; i++) {
            x += windows->counts[d * n + i] * a[i];
            y += windows->counts[d * n + i] * b[i];
        }
        ratios[d] = x / y;
    }
    return kvb_estimate_from(windows, above / below, ratios);
}

static size_t rank_of(size_t n, double q) {
    const double rank = ceil(q * (double)n - 1e-9);
    return rank < 1 ? 1 : (size_t)rank;
}

/* In every draw the values are as many as before, each as often as its window was drawn. */
static double draw_quantile(const uint16_t *counts, const double *sorted, const uint16_t *window, size_t n,
                            size_t rank) {
    size_t above = n - rank; /* values that lie above it; from the top, as most quantiles asked for lie there */
    for (size_t i = n; i-- > 0;) {
        const size_t times = counts[window[i]];
        if (times > above)
            return sorted[i];
        above -= times;
    }
    return sorted[0];
}

kvb_estimate kvb_estimate_quantile(const kvb_windows *windows, const double *sorted, const uint16_t *window, size_t n,
                                   double q, double *draws) {
    double own[KVB_DRAWS];
    double *quantiles = draws ? draws : own;
    const size_t rank = rank_of(n, q);
    for (size_t d = 0; d < KVB_DRAWS; d++)
        quantiles[d] = draw_quantile(windows->counts + d * (size_t)windows->n_windows, sorted, window, n, rank);
    return kvb_estimate_from(windows, sorted[rank - 1], quantiles);
}
