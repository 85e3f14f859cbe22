/* The true optimum: Newton's method on the stationarity conditions, and the mean squared error of any table. */
#include "kvbits/eval.h"

#include <math.h>

#include <sleef.h>

#include "law.h"
#include "normal.h"

enum { MAX_HALF = KVB_MAX_LEVELS / 2, MAX_STEPS = 500 };
#define RESIDUAL_GOAL 1e-15  /* rounding: no step will do better */
#define RESIDUAL_LIMIT 1e-12 /* what the contract promises */

/* The positive centroids of a symmetric table, and what the law says about their cells. */
typedef struct half_table {
    int n;
    int odd; /* 1: one more centroid at 0 */
    double centroid[MAX_HALF];
    double edge[MAX_HALF + 1]; /* cell i is [edge[i], edge[i+1]] */
    kvb_law_cell cell[MAX_HALF];
    double residual; /* largest |centroid - mean| */
} half_table;

static void evaluate(const kvb_law_density *m, half_table *half) {
    const int n = half->n;
    half->edge[0] = half->odd ? 0.5 * half->centroid[0] : 0.0;
    for (int i = 1; i < n; i++)
        half->edge[i] = 0.5 * (half->centroid[i - 1] + half->centroid[i]);
    half->edge[n] = m->edge;
    half->residual = 0.0;
    for (int i = 0; i < n; i++) {
        half->cell[i] = kvb_law_cell_of(m, half->edge[i], half->edge[i + 1], half->centroid[i]);
        half->residual = fmax(half->residual, fabs(half->centroid[i] - half->cell[i].mean));
    }
}

static int is_legal(const kvb_law_density *m, const half_table *half) {
    double below = 0.0;
    for (int i = 0; i < half->n; i++) {
        if (!(half->centroid[i] > below && half->centroid[i] < m->edge))
            return 0;
        below = half->centroid[i];
    }
    return 1;
}

/* At high rates the best density of centroids is the cube root of the law's (Panter-Dite): normal again, with variance
 * 3; bent into the support of the sphere's coordinate. */
static void start(const kvb_law_density *m, half_table *half, int levels) {
    half->n = levels / 2;
    half->odd = levels % 2;
    for (int i = 0; i < half->n; i++) {
        const double tail = (half->n - 1 - i + 0.5) / levels;
        const double x = sqrt(3.0) * kvb_normal_upper_quantile(tail);
        half->centroid[i] = m->dim == 0 ? x : x / sqrt(1.0 + x * x / m->dim);
    }
}

/* step = J^-1 (centroid - mean), J the tridiagonal Jacobian of centroid - mean: an edge moves by half of what each of
 * its neighbors moves, and a cell's mean by hazard * distance of the edge's move. Elimination without pivoting: for a
 * log-concave law the rows are diagonally dominant. */
static void newton_step(const kvb_law_density *m, const half_table *half, double step[MAX_HALF]) {
    double above[MAX_HALF]; /* the eliminated upper diagonal */
    for (int i = 0; i < half->n; i++) {
        const kvb_law_cell *cell = &half->cell[i];
        const double low = half->edge[i], high = half->edge[i + 1];
        const int low_moves = i > 0 || half->odd, last = i + 1 == half->n;
        const double by_low = low_moves ? 0.5 * kvb_law_hazard(m, low, cell) * (cell->mean - low) : 0.0;
        const double by_high = last ? 0.0 : 0.5 * kvb_law_hazard(m, high, cell) * (high - cell->mean);
        const double below = i > 0 ? -by_low : 0.0;
        const double pivot = 1.0 - by_low - by_high - (i > 0 ? below * above[i - 1] : 0.0);
        above[i] = -by_high / pivot;
        step[i] = (half->centroid[i] - cell->mean - (i > 0 ? below * step[i - 1] : 0.0)) / pivot;
    }
    for (int i = half->n - 2; i >= 0; i--)
        step[i] -= above[i] * step[i + 1];
}

/* The Newton step, shortened until it is legal and an improvement; 0 when no length helps. */
static int try_newton(const kvb_law_density *m, half_table *half) {
    double step[MAX_HALF];
    newton_step(m, half, step);
    for (double length = 1.0; length > 0.01; length *= 0.5) {
        half_table next = *half;
        for (int i = 0; i < half->n; i++)
            next.centroid[i] -= length * step[i];
        if (!is_legal(m, &next))
            continue;
        evaluate(m, &next);
        if (next.residual < half->residual) {
            *half = next;
            return 1;
        }
    }
    return 0;
}

static void solve(const kvb_law_density *m, half_table *half) {
    evaluate(m, half);
    for (int i = 0; i < MAX_STEPS && half->residual > RESIDUAL_GOAL; i++) {
        if (try_newton(m, half))
            continue;
        if (half->residual < RESIDUAL_LIMIT)
            return;
        /* Far from the solution a round of Lloyd's always improves the table. */
        for (int j = 0; j < half->n; j++)
            half->centroid[j] = half->cell[j].mean;
        evaluate(m, half);
    }
}

static int is_law(kvb_law law) {
    return law.sphere_dim == 0 || (law.sphere_dim >= 2 && law.sphere_dim <= KVB_MAX_SPHERE_DIM);
}

kvb_status kvb_codebook_optimum(kvb_law law, int levels, double *centroids, double *residual, kvb_error *error) {
    if (!is_law(law))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "sphere dimension %d is neither 0 (N(0,1)) nor 2 to %d",
                             law.sphere_dim, KVB_MAX_SPHERE_DIM);
    if (levels < 2 || levels > KVB_MAX_LEVELS)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%d levels asked for; a codebook has 2 to %d", levels,
                             KVB_MAX_LEVELS);
    const kvb_law_density measure = kvb_law_density_make(law);
    half_table half;
    start(&measure, &half, levels);
    solve(&measure, &half);
    if (!(half.residual < RESIDUAL_LIMIT))
        return kvb_error_set(
            error, KVB_ERROR_CONVERGENCE,
            "the optimum of %d levels for sphere dimension %d was not found: residual %.3g after %d steps", levels,
            law.sphere_dim, half.residual, MAX_STEPS);
    if (half.odd)
        centroids[half.n] = 0.0;
    for (int i = 0; i < half.n; i++) {
        centroids[levels - half.n + i] = half.centroid[i];
        centroids[half.n - 1 - i] = -half.centroid[i];
    }
    if (residual)
        *residual = half.residual;
    return KVB_OK;
}

double kvb_codebook_mse(kvb_law law, const double *centroids, int levels) {
    if (!is_law(law) || levels < 1)
        return NAN;
    const kvb_law_density measure = kvb_law_density_make(law);
    double sum = 0.0, low = -INFINITY;
    for (int i = 0; i < levels; i++) {
        const double high = i + 1 < levels ? 0.5 * (centroids[i] + centroids[i + 1]) : INFINITY;
        sum += kvb_law_cell_of(&measure, low, high, centroids[i]).cost;
        low = high;
    }
    return sum;
}

double kvb_codebook_round(double centroid) {
    enum { SIGNIFICAND = 11 }; /* bits of binary16's */
    const double largest = 65504.0;
    int exponent;
    if (!(fabs(centroid) <= largest))
        return isnan(centroid) ? centroid : copysign(largest, centroid);
    (void)frexp(centroid, &exponent);
    const int step = exponent - SIGNIFICAND < -12 ? -12 : exponent - SIGNIFICAND;
    return ldexp(nearbyint(ldexp(centroid, -step)), step);
}

double kvb_decibel(double ratio) {
    return 10.0 * Sleef_cinz_log10d1_u10purec(ratio);
}
