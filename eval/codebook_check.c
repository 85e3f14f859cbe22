/* Is a table a Lloyd-Max fixed point up to a factor? docs/math.md, "Codebooks", derives the rules. */
#include "kvbits/eval.h"

#include <math.h>
#include <stdlib.h>

#include "law.h"

#define SYMMETRY 1e-6
#define GRID_HALF_STEP 0x1p-13    /* the library's tables are multiples of 2^-12 */
#define BINARY16_HALF_ULP 0x1p-11 /* relative */

typedef struct table {
    int levels;
    double unit; /* largest magnitude: the centroids below are divided by it */
    double centroid[KVB_MAX_LEVELS];
} table;

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static kvb_status load(const double *centroids, int levels, table *t, kvb_error *error) {
    *t = (table){.levels = levels};
    for (int i = 0; i < levels; i++) {
        if (!isfinite(centroids[i]))
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "centroid %d is %g, not a finite number", i, centroids[i]);
        t->unit = fmax(t->unit, fabs(centroids[i]));
    }
    if (t->unit == 0.0)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "all %d centroids are 0", levels);
    for (int i = 0; i < levels; i++)
        t->centroid[i] = centroids[i] / t->unit;
    return KVB_OK;
}

static double edge_above(const table *t, double scale, int i) {
    return i + 1 < t->levels ? scale * (0.5 * (t->centroid[i] + t->centroid[i + 1])) : INFINITY;
}

/* -1/2 of the derivative, by `scale`, of the error of the table times `scale`: 0 where the scale fits best. (The edges
 * lie half way between centroids, so that their moving contributes nothing.) */
static double slope(const kvb_law_density *m, const table *t, double scale) {
    double sum = 0.0, low = -INFINITY;
    for (int i = 0; i < t->levels; i++) {
        const double high = edge_above(t, scale, i), x = scale * t->centroid[i];
        const kvb_law_cell cell = kvb_law_cell_of(m, low, high, x);
        sum += t->centroid[i] * cell.mass * (cell.mean - x);
        low = high;
    }
    return sum;
}

/* The root of the slope: it is positive below the best scale and negative above. */
static double fit_scale(const kvb_law_density *m, const table *t, const double *optimum) {
    double dot = 0.0, square = 0.0;
    for (int i = 0; i < t->levels; i++) {
        dot += t->centroid[i] * optimum[i];
        square += t->centroid[i] * t->centroid[i];
    }
    double low = dot > 0.0 ? dot / square : 1.0, high = low;
    for (int i = 0; i < 64 && slope(m, t, low) < 0.0; i++) {
        high = low;
        low *= 0.8;
    }
    for (int i = 0; i < 64 && slope(m, t, high) > 0.0; i++) {
        low = high;
        high *= 1.25;
    }
    while (high - low > 4e-16 * high) {
        const double middle = 0.5 * (low + high);
        if (middle <= low || middle >= high)
            break;
        if (slope(m, t, middle) > 0.0)
            low = middle;
        else
            high = middle;
    }
    return 0.5 * (low + high);
}

static double largest_move(const kvb_law_density *m, const double *centroids, int levels) {
    double largest = 0.0, low = -INFINITY;
    for (int i = 0; i < levels; i++) {
        const double high = i + 1 < levels ? 0.5 * (centroids[i] + centroids[i + 1]) : INFINITY;
        largest = fmax(largest, fabs(kvb_law_cell_of(m, low, high, centroids[i]).mean - centroids[i]));
        low = high;
    }
    return largest;
}

/* Gaps of the table in its own order, and whether all are within the tolerance. */
static int measure_gaps(const table *t, double scale, const double *optimum, double tolerance,
                        kvb_codebook_check *check) {
    double worst = -1.0;
    for (int i = 0; i < t->levels; i++) {
        const double gap = fabs(scale * t->centroid[i] - optimum[i]);
        const double allowed = tolerance > 0.0 ? tolerance : GRID_HALF_STEP + BINARY16_HALF_ULP * fabs(optimum[i]);
        check->largest_gap = fmax(check->largest_gap, gap);
        if (gap / allowed > worst) {
            worst = gap / allowed;
            check->worst_level = i;
        }
    }
    return worst <= 1.0;
}

static void describe_shape(const table *t, double scale, kvb_codebook_check *check) {
    check->symmetric = check->increasing = 1;
    for (int i = 0; i < t->levels; i++) {
        if (!(fabs(scale * (t->centroid[i] + t->centroid[t->levels - 1 - i])) <= SYMMETRY))
            check->symmetric = 0;
        if (i > 0 && !(t->centroid[i] > t->centroid[i - 1]))
            check->increasing = 0;
    }
}

kvb_status kvb_codebook_check_table(const double *centroids, int levels, double tolerance, kvb_codebook_check *check,
                                    kvb_error *error) {
    if (!(tolerance >= 0.0) || !isfinite(tolerance))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "tolerance %g is neither 0 (the default) nor a finite number "
                             "above it",
                             tolerance);
    const kvb_law normal = {0};
    double optimum[KVB_MAX_LEVELS];
    /* It checks `levels` too. */
    kvb_status status = kvb_codebook_optimum(normal, levels, optimum, NULL, error);
    table given, sorted;
    if (status == KVB_OK)
        status = load(centroids, levels, &given, error);
    if (status != KVB_OK)
        return status;
    sorted = given; /* a quantizer does not care for the order of its levels */
    qsort(sorted.centroid, (size_t)levels, sizeof sorted.centroid[0], compare);
    const kvb_law_density m = kvb_law_density_make(normal);
    const double scale = fit_scale(&m, &sorted, optimum);
    double unit[KVB_MAX_LEVELS];
    for (int i = 0; i < levels; i++)
        unit[i] = scale * sorted.centroid[i];
    *check = (kvb_codebook_check){.levels = levels, .factor = given.unit / scale};
    check->mse = kvb_codebook_mse(normal, unit, levels);
    check->optimum_mse = kvb_codebook_mse(normal, optimum, levels);
    check->mse_loss = check->mse / check->optimum_mse - 1.0;
    check->largest_move = largest_move(&m, unit, levels);
    const int close = measure_gaps(&given, scale, optimum, tolerance, check);
    describe_shape(&given, scale, check);
    check->fixed_point = close && check->symmetric && check->increasing;
    return KVB_OK;
}
