#include "attend_case.h"

#include <math.h>

static const float untouched = -77.25f; /* nothing computes it */

void attend_cases_run(attend_case *cases, size_t n, const kvb_backend *backend, const kvb_parallel *parallel) {
    kvb_attend_item *items = malloc(n * sizeof *items);
    assert_non_null(items);
    for (size_t k = 0; k < n; k++) {
        attend_case *c = &cases[k];
        items[k] = c->item;
        for (size_t i = 0; i < c->n_out; i++) {
            c->item.out[i] = untouched;
        }
        for (size_t i = 0; i < attend_case_rows(c); i++) {
            c->item.lse[i] = untouched;
        }
    }
    size_t bytes = kvb_attend_scratch_bytes(backend, items, n, parallel);
    assert_true(bytes > 0);
    void *scratch = attend_case_allocate(&cases[0], bytes);
    kvb_error error;
    assert_ok(kvb_attend(backend, items, n, scratch, bytes, parallel, &error), error);
    attend_case_release(&cases[0], scratch, bytes);
    free(items);
}

static float *row_of(const attend_case *c, size_t row) {
    size_t heads = (size_t)c->item.n_heads;
    return c->item.out + row / heads * c->item.out_token_stride + row % heads * c->item.out_head_stride;
}

size_t attend_case_result(const attend_case *c, float *result) {
    size_t rows = attend_case_rows(c), dim = (size_t)c->shape.v_dim;
    for (size_t row = 0; row < rows; row++) {
        memcpy(result + row * dim, row_of(c, row), dim * sizeof *result);
    }
    memcpy(result + rows * dim, c->item.lse, rows * sizeof *result);
    return rows * (dim + 1) * sizeof *result;
}

double attend_bound(const kvb_backend *backend, attend_precision precision) {
    int is_float = precision == ATTEND_PRECISE || strcmp(kvb_backend_name(backend), "scalar") == 0;
    return is_float ? 5e-6 : 5e-4;
}

static void check_gaps(const attend_case *c) {
    size_t heads = (size_t)c->item.n_heads, dim = (size_t)c->shape.v_dim;
    for (size_t i = 0; i < c->n_out; i++) {
        size_t in_token = i % c->item.out_token_stride;
        int is_value = in_token / c->item.out_head_stride < heads && in_token % c->item.out_head_stride < dim;
        if (!is_value && c->item.out[i] != untouched) {
            fail_msg("seed %llu: output value %zu lies between rows, and was written",
                     (unsigned long long)c->shape.seed, i);
        }
    }
}

/* Squared distance from the oracle, and its squared norm, of one row. */
static double measure_row(const attend_case *c, size_t row, double *norm) {
    size_t dim = (size_t)c->shape.v_dim;
    const float *out = row_of(c, row);
    const double *expected = c->expected + row * dim;
    double error = 0.0;
    *norm = 0.0;
    for (size_t i = 0; i < dim; i++) {
        error += ((double)out[i] - expected[i]) * ((double)out[i] - expected[i]);
        *norm += expected[i] * expected[i];
    }
    return error;
}

static double lse_error(const attend_case *c, size_t row) {
    double lse = c->expected_lse[row], ours = (double)c->item.lse[row];
    if (isinf(lse)) {
        return ours == -INFINITY ? 0.0 : INFINITY;
    }
    double error = fabs(ours - lse) / fmax(1.0, fabs(lse));
    return isnan(error) ? INFINITY : error;
}

attend_errors attend_case_errors(const attend_case *c) {
    attend_errors e = {0};
    double all_error = 0.0, all_norm = 0.0;
    for (size_t row = 0; row < attend_case_rows(c); row++) {
        double norm, error = measure_row(c, row, &norm), lse = lse_error(c, row);
        double relative = error == 0.0 ? 0.0 : norm > 0.0 ? sqrt(error / norm) : INFINITY;
        all_error += error;
        all_norm += norm;
        if (!(relative <= e.row)) {
            e.row = isnan(relative) ? INFINITY : relative;
            e.worst_row = row;
        }
        if (!(lse <= e.lse)) {
            e.lse = lse;
            e.worst_lse = row;
        }
    }
    e.item = all_error == 0.0 ? 0.0 : all_norm > 0.0 ? sqrt(all_error / all_norm) : INFINITY;
    e.item = isnan(e.item) ? INFINITY : e.item;
    return e;
}

/* The bound is on the item's whole output. In floats a row by itself and its log-sum-exp are held to it too. In fixed
 * point a row is held to three times the bound, and a log-sum-exp, which of a row that sees one strong key moves as
 * that logit does, to five standard errors of a logit: rounding a query to 16 bits moves it by at most 5e-5 of the
 * logits' deviation, at random (docs/math.md, "Queries" and "Rows and items"). */
void attend_case_check(attend_case *c, const kvb_backend *backend, attend_precision precision) {
    const char *name = kvb_backend_name(backend);
    const double bound = attend_bound(backend, precision);
    const int is_float = bound < 1e-4;
    const double row_bound = is_float ? bound : 3.0 * bound;
    const double lse_bound = is_float ? bound : fmax(bound, 5.0 * 5e-5 * (double)c->shape.peak);
    const attend_errors e = attend_case_errors(c);
    if (!(e.row <= row_bound)) {
        fail_msg("%s, seed %llu, row %zu: relative error %.3g, bound %.3g", name, (unsigned long long)c->shape.seed,
                 e.worst_row, e.row, row_bound);
    }
    if (!(e.lse <= lse_bound)) {
        fail_msg("%s, seed %llu, row %zu: log-sum-exp %.9g, not %.9g: %.3g, bound %.3g", name,
                 (unsigned long long)c->shape.seed, e.worst_lse, (double)c->item.lse[e.worst_lse],
                 c->expected_lse[e.worst_lse], e.lse, lse_bound);
    }
    if (!(e.item <= bound)) {
        fail_msg("%s, seed %llu: relative error %.3g, bound %.3g", name, (unsigned long long)c->shape.seed, e.item,
                 bound);
    }
    check_gaps(c);
}
