#include "kvbits/eval.h"

#include <math.h>
#include <stdlib.h>

/* The 97.5 % quantile of Student's t by its Cornish-Fisher expansion (Abramowitz-Stegun 26.7.5); within 0.3 % from 4
 * degrees of freedom on, exact figures below. */
static double t_quantile(size_t degrees) {
    static const double small[] = {0.0, 12.706204736, 4.302652730, 3.182446305};
    if (degrees < 4)
        return small[degrees];
    double z = 1.959963985, z2 = z * z, n = (double)degrees;
    double g1 = z * (z2 + 1.0) / 4.0;
    double g2 = z * ((5.0 * z2 + 16.0) * z2 + 3.0) / 96.0;
    double g3 = z * (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) / 384.0;
    double g4 = z * ((((79.0 * z2 + 776.0) * z2 + 1482.0) * z2 - 1920.0) * z2 - 945.0) / 92160.0;
    return z + (g1 + (g2 + (g3 + g4 / n) / n) / n) / n;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The smallest value with at least 99.9 % of the values at or below it. */
static double quantile_999(const double *values, size_t n) {
    size_t rank = (n * 999 + 999) / 1000; /* ceil(0.999 n), from 1 */
    size_t above = n - rank;
    if (above == 0) {
        double max = values[0];
        for (size_t i = 1; i < n; i++)
            max = values[i] > max ? values[i] : max;
        return max;
    }
    double *sorted = malloc(n * sizeof *sorted);
    if (!sorted)
        return NAN;
    for (size_t i = 0; i < n; i++)
        sorted[i] = values[i];
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    double value = sorted[rank - 1];
    free(sorted);
    return value;
}

kvb_statistic kvb_statistic_of(const double *values, size_t n) {
    kvb_statistic s = {.n = n};
    if (n == 0)
        return s;
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    s.mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - s.mean) * (values[i] - s.mean);
    s.std = sqrt(squares / (double)n);
    s.p999 = quantile_999(values, n);
    double half = n > 1 ? t_quantile(n - 1) * sqrt(squares / (double)(n - 1) / (double)n) : 0.0;
    s.low = s.mean - half;
    s.high = s.mean + half;
    return s;
}

kvb_statistic kvb_statistic_paired(const double *a, const double *b, size_t n) {
    double *difference = malloc((n ? n : 1) * sizeof *difference);
    if (!difference)
        return (kvb_statistic){.n = n, .mean = NAN, .std = NAN, .p999 = NAN, .low = NAN, .high = NAN};
    for (size_t i = 0; i < n; i++)
        difference[i] = a[i] - b[i];
    kvb_statistic s = kvb_statistic_of(difference, n);
    free(difference);
    return s;
}
