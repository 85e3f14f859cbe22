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

static void check_lse(const attend_case *c, const char *name, size_t row, double bound) {
    double lse = c->expected_lse[row], ours = (double)c->item.lse[row];
    if (!(isinf(lse) ? ours == -INFINITY : fabs(ours - lse) <= bound * fmax(1.0, fabs(lse)))) {
        fail_msg("%s, seed %llu, row %zu: log-sum-exp %.9g, not %.9g", name, (unsigned long long)c->shape.seed, row,
                 ours, lse);
    }
}

/* The bound is on the item's whole output. A row by itself and its log-sum-exp are held to three times that, because
 * they move as single logits do (docs/math.md, "Rows and items"): in fixed point, rounding a query to 16 bits moves
 * every logit by about 3e-5 of the logits' deviation, at random, which for a deviation of six is 2e-4; in floats a
 * logit of 30 carries 30 * 2^-24 and more. */
void attend_case_check(attend_case *c, const kvb_backend *backend, attend_precision precision) {
    const char *name = kvb_backend_name(backend);
    double bound = attend_bound(backend, precision), all_error = 0.0, all_norm = 0.0;
    double row_bound = 3.0 * bound;
    for (size_t row = 0; row < attend_case_rows(c); row++) {
        double norm, error = measure_row(c, row, &norm);
        all_error += error;
        all_norm += norm;
        if (!(sqrt(error) <= row_bound * sqrt(norm))) {
            fail_msg("%s, seed %llu, row %zu: relative error %.3g of a norm of %.3g, bound %.3g", name,
                     (unsigned long long)c->shape.seed, row, sqrt(error / norm), sqrt(norm), row_bound);
        }
        check_lse(c, name, row, row_bound);
    }
    if (!(sqrt(all_error) <= bound * sqrt(all_norm))) {
        fail_msg("%s, seed %llu: relative error %.3g, bound %.3g", name, (unsigned long long)c->shape.seed,
                 sqrt(all_error / all_norm), bound);
    }
    check_gaps(c);
}
