/* The fixed-point Lloyd-Max iteration for N(0,1). */
#include "kvbits/eval.h"

#include <math.h>

#include "normal.h"

#define NO_MASS 1e-30 /* a cell below this has no mean worth computing */

enum { MAX_HALF = KVB_MAX_LEVELS / 2 };

/* The upper half of the table. Start, law and update are odd functions, in exact and in rounded arithmetic, so the
 * lower half of the simultaneous iteration is the mirror image of the upper one, bit for bit: half of it is all of it.
 */
typedef struct half_table {
    int n;   /* positive centroids */
    int odd; /* 1: a centroid stays at 0 */
    double centroid[MAX_HALF];
    double edge[MAX_HALF + KVB_NORMAL_BATCH]; /* edge[i] is the lower edge of centroid[i] */
    double tail[MAX_HALF + KVB_NORMAL_BATCH]; /* of the normal, at the edges; 0 past the last */
    double density[MAX_HALF + KVB_NORMAL_BATCH];
} half_table;

/* Abramowitz-Stegun 26.2.17 for the upper tail, x >= 0, absolute error 7.5e-8; nothing beyond 8. */
static double tail_as26217(double x, double density) {
    if (x > 8.0)
        return 0.0;
    const double t = 1.0 / (1.0 + 0.2316419 * x);
    return density * t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
}

static void start(half_table *half, int levels) {
    half->n = levels / 2;
    half->odd = levels % 2;
    for (int i = 0; i < half->n; i++) {
        const int above = half->n - 1 - i; /* centroids above this one */
        half->centroid[i] = kvb_normal_upper_quantile((above + 0.5) / levels);
    }
}

static void find_edges(half_table *half, kvb_cdf cdf) {
    const int n = half->n;
    half->edge[0] = half->odd ? 0.5 * half->centroid[0] : 0.0;
    for (int i = 1; i < n; i++)
        half->edge[i] = 0.5 * (half->centroid[i - 1] + half->centroid[i]);
    kvb_normal_tails(half->edge, n, half->tail, half->density);
    if (cdf == KVB_CDF_AS26217)
        for (int i = 0; i < n; i++)
            half->tail[i] = tail_as26217(half->edge[i], half->density[i]);
    half->tail[n] = half->density[n] = 0.0; /* at infinity */
}

/* One round: all edges from all centroids, then all centroids at once. Returns the largest change. */
static double update(half_table *half, kvb_cdf cdf) {
    double largest = 0.0;
    find_edges(half, cdf);
    for (int i = 0; i < half->n; i++) {
        const double mass = half->tail[i] - half->tail[i + 1];
        double mean = half->centroid[i];
        if (mass >= NO_MASS)
            mean = (half->density[i] - half->density[i + 1]) / mass;
        else if (i + 1 < half->n)
            mean = 0.5 * (half->edge[i] + half->edge[i + 1]);
        const double change = fabs(mean - half->centroid[i]);
        /* Not fmax: a NaN must not be passed over. */
        if (!(change <= largest))
            largest = change;
        half->centroid[i] = mean;
    }
    return largest;
}

static kvb_status check_arguments(int levels, kvb_cdf cdf, double tolerance, int round_limit, kvb_error *error) {
    if (levels < 2 || levels > KVB_MAX_LEVELS)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%d levels asked for; a codebook has 2 to %d", levels,
                             KVB_MAX_LEVELS);
    if (cdf != KVB_CDF_ERFC && cdf != KVB_CDF_AS26217)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "normal CDF %d is none of KVB_CDF_ERFC and KVB_CDF_AS26217",
                             (int)cdf);
    if (!(tolerance > 0.0) || !isfinite(tolerance))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "tolerance %g is not a finite number above 0", tolerance);
    if (round_limit < 1)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "round limit %d is below 1", round_limit);
    return KVB_OK;
}

int kvb_lloyd_round_limit(int levels) {
    return levels <= 64 ? 10000 : 100000;
}

kvb_status kvb_lloyd_max(int levels, kvb_cdf cdf, double tolerance, int round_limit, double *centroids,
                         kvb_lloyd_report *report, kvb_error *error) {
    const kvb_status status = check_arguments(levels, cdf, tolerance, round_limit, error);
    if (status != KVB_OK)
        return status;
    half_table half;
    kvb_lloyd_report done = {.levels = levels, .last_change = INFINITY};
    start(&half, levels);
    while (!(done.last_change < tolerance) && done.rounds < round_limit) {
        done.last_change = update(&half, cdf);
        done.rounds++;
    }
    if (report)
        *report = done;
    if (!(done.last_change < tolerance))
        return kvb_error_set(error, KVB_ERROR_CONVERGENCE,
                             "the Lloyd-Max iteration for %d levels has not converged: after %d rounds a centroid "
                             "still moved by %.4g, and the tolerance is %.4g",
                             levels, done.rounds, done.last_change, tolerance);
    if (half.odd)
        centroids[half.n] = 0.0;
    for (int i = 0; i < half.n; i++) {
        centroids[levels - half.n + i] = half.centroid[i];
        centroids[half.n - 1 - i] = -half.centroid[i];
    }
    return KVB_OK;
}
