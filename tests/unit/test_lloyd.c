/* The fixed-point Lloyd-Max iteration of the experiment. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "kvbits/eval.h"

#define TOLERANCE 1e-8

/* The iteration as the specification words it, whole table, in long double: slow and plain. */
static int plain_iteration(int levels, double tolerance, const double *start, long double *c) {
    const long double sqrt2 = sqrtl(2.0L), scale = 1.0L / sqrtl(2.0L * acosl(-1.0L));
    for (int i = 0; i < levels; i++)
        c[i] = start[i];
    for (int round = 1;; round++) {
        long double next[KVB_MAX_LEVELS], change = 0.0L;
        for (int i = 0; i < levels; i++) {
            long double low = i ? (c[i - 1] + c[i]) / 2.0L : -INFINITY;
            long double high = i + 1 < levels ? (c[i] + c[i + 1]) / 2.0L : INFINITY;
            long double mass = (erfcl(low / sqrt2) - erfcl(high / sqrt2)) / 2.0L;
            if (low < 0.0L) /* the same from the other tail, without cancellation */
                mass = (erfcl(-high / sqrt2) - erfcl(-low / sqrt2)) / 2.0L;
            next[i] = scale * (expl(-low * low / 2.0L) - expl(-high * high / 2.0L)) / mass;
            change = fmaxl(change, fabsl(next[i] - c[i]));
        }
        memcpy(c, next, (size_t)levels * sizeof *c);
        if (change < (long double)tolerance)
            return round;
    }
}

/* The x with Phi(x) = p, by bisection on erfc. */
static double quantile(double p) {
    double low = -10.0, high = 10.0;
    for (int i = 0; i < 100; i++) {
        double middle = 0.5 * (low + high);
        if (0.5 * erfc(-middle / sqrt(2.0)) < p)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static int rounds_for(int levels) {
    double c[KVB_MAX_LEVELS];
    kvb_lloyd_report report;
    kvb_error error;
    assert_ok(kvb_lloyd_max(levels, KVB_CDF_ERFC, TOLERANCE, 100000, c, &report, &error), error);
    assert_int_equal(report.levels, levels);
    assert_true(report.last_change < TOLERANCE && report.last_change > 0.9 * TOLERANCE);
    return report.rounds;
}

static void rounds_are_those_of_an_exact_start_and_an_exact_cdf(void **state) {
    (void)state;
    assert_int_equal(rounds_for(16), 415);
    assert_int_equal(rounds_for(32), 1454);
    assert_int_equal(rounds_for(64), 5110);
}

static void iterates_are_those_of_the_plain_whole_table_iteration(void **state) {
    (void)state;
    const int cases[] = {2, 3, 4, 7, 8, 15, 16, 32};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        const int levels = cases[k];
        double start[KVB_MAX_LEVELS], c[KVB_MAX_LEVELS];
        long double plain[KVB_MAX_LEVELS];
        kvb_lloyd_report report;
        kvb_error error;
        for (int i = 0; i < levels; i++)
            start[i] = quantile((i + 0.5) / levels);
        /* Two tolerances: one that stops in the middle of things, one near convergence. */
        for (double tolerance = 1e-3; tolerance > 1e-7; tolerance *= 1e-3) {
            int rounds = plain_iteration(levels, tolerance, start, plain);
            assert_ok(kvb_lloyd_max(levels, KVB_CDF_ERFC, tolerance, 10000, c, &report, &error), error);
            assert_int_equal(report.rounds, rounds);
            for (int i = 0; i < levels; i++)
                assert_true(fabsl(c[i] - plain[i]) < 1e-12L);
        }
    }
}

static void tables_are_symmetric_and_strictly_increasing(void **state) {
    (void)state;
    double c[KVB_MAX_LEVELS];
    kvb_error error;
    for (int levels = 2; levels <= 64; levels++) {
        assert_ok(kvb_lloyd_max(levels, KVB_CDF_ERFC, 1e-6, 10000, c, NULL, &error), error);
        for (int i = 0; i < levels; i++) {
            assert_true(fabs(c[i] + c[levels - 1 - i]) <= 1e-6);
            assert_true(i == 0 || c[i] > c[i - 1]);
        }
    }
}

static json_t *golden(void) {
    json_t *root = json_load_file(KVB_TEST_DATA "/golden/bitwidth_ab.json", 0, NULL);
    assert_non_null(root);
    return root;
}

static double golden_value(json_t *array, int i) {
    return json_number_value(json_array_get(array, (size_t)i));
}

static void four_bit_table_agrees_with_the_production_table(void **state) {
    (void)state;
    json_t *root = golden(), *production = json_object_get(root, "production_codebook_4bit");
    double c[16];
    kvb_error error;
    assert_ok(kvb_lloyd_max(16, KVB_CDF_ERFC, TOLERANCE, 10000, c, NULL, &error), error);
    assert_int_equal(json_array_size(production), 16);
    for (int i = 0; i < 16; i++)
        assert_true(fabsf((float)c[i] - (float)golden_value(production, i)) < 1e-6f);
    json_decref(root);
}

/* The golden tables came from that polynomial: their 6-bit outer centroid is 3.7419, the optimum's 3.7441. */
static void polynomial_cdf_reproduces_the_golden_tables(void **state) {
    (void)state;
    json_t *root = golden(), *tables = json_object_get(root, "codebooks");
    const char *const keys[] = {"4_bit", "5_bit", "6_bit"};
    for (int k = 0; k < 3; k++) {
        json_t *table = json_object_get(tables, keys[k]);
        const int levels = 16 << k;
        double c[64];
        kvb_error error;
        assert_ok(kvb_lloyd_max(levels, KVB_CDF_AS26217, TOLERANCE, 10000, c, NULL, &error), error);
        assert_int_equal(json_array_size(table), levels);
        for (int i = 0; i < levels; i++)
            assert_true(fabs(c[i] - golden_value(table, i)) < 1.5e-6);
    }
    json_decref(root);
}

static void too_few_rounds_are_an_error_and_never_a_table(void **state) {
    (void)state;
    double c[16];
    kvb_lloyd_report report;
    kvb_error error;
    for (int i = 0; i < 16; i++)
        c[i] = 1234.0;
    assert_int_equal(kvb_lloyd_max(16, KVB_CDF_ERFC, TOLERANCE, 414, c, &report, &error), KVB_ERROR_CONVERGENCE);
    assert_non_null(strstr(error.text, "16 levels"));
    assert_non_null(strstr(error.text, "414 rounds"));
    char change[32];
    snprintf(change, sizeof change, "%.4g", report.last_change);
    assert_non_null(strstr(error.text, change));
    assert_int_equal(report.rounds, 414);
    assert_true(report.last_change >= TOLERANCE);
    for (int i = 0; i < 16; i++)
        assert_true(c[i] == 1234.0);
    assert_ok(kvb_lloyd_max(16, KVB_CDF_ERFC, TOLERANCE, 415, c, &report, &error), error);
}

static void illegal_arguments_are_named(void **state) {
    (void)state;
    double c[KVB_MAX_LEVELS];
    kvb_error error;
    const struct {
        int levels, cdf, limit;
        double tolerance;
        const char *named;
    } cases[] = {
        {1, 0, 10, 1e-8, "1 levels"},      {257, 0, 10, 1e-8, "257 levels"},       {16, 2, 10, 1e-8, "CDF 2"},
        {16, 0, 0, 1e-8, "round limit 0"}, {16, 0, 10, 0.0, "tolerance 0"},        {16, 0, 10, -1.0, "tolerance -1"},
        {16, 0, 10, NAN, "tolerance"},     {16, 0, 10, INFINITY, "tolerance inf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(
            kvb_lloyd_max(cases[i].levels, (kvb_cdf)cases[i].cdf, cases[i].tolerance, cases[i].limit, c, NULL, &error),
            KVB_ERROR_ARGUMENT);
        assert_non_null(strstr(error.text, cases[i].named));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_are_those_of_an_exact_start_and_an_exact_cdf),
        cmocka_unit_test(iterates_are_those_of_the_plain_whole_table_iteration),
        cmocka_unit_test(tables_are_symmetric_and_strictly_increasing),
        cmocka_unit_test(four_bit_table_agrees_with_the_production_table),
        cmocka_unit_test(polynomial_cdf_reproduces_the_golden_tables),
        cmocka_unit_test(too_few_rounds_are_an_error_and_never_a_table),
        cmocka_unit_test(illegal_arguments_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
