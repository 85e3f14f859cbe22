/* Telling converged tables from others, on any scale. */
#include "check.h"

#include <math.h>
#include <string.h>

#include <jansson.h>

#include "kvbits/eval.h"

static const kvb_law normal = {0};

static kvb_codebook_check check_with(const double *c, int levels, double tolerance) {
    kvb_codebook_check check;
    kvb_error error;
    assert_ok(kvb_codebook_check_table(c, levels, tolerance, &check, &error), error);
    return check;
}

static kvb_codebook_check check(const double *c, int levels) {
    return check_with(c, levels, 0.0);
}

static void optimum(int levels, double *c) {
    kvb_error error;
    assert_ok(kvb_codebook_optimum(normal, levels, c, NULL, &error), error);
}

static void scaled(const double *c, int levels, double factor, double *out) {
    for (int i = 0; i < levels; i++)
        out[i] = c[i] * factor;
}

static double rounded_to_half(double x) {
    return kvb_f16_to_f32(kvb_f32_to_f16((float)x));
}

static void optima_are_fixed_points_on_any_scale(void **state) {
    (void)state;
    const double factors[] = {1.0, 0.0625, 1e-25, 3.7e25};
    for (int bits = 1; bits <= 8; bits++)
        for (int k = 0; k < 4; k++) {
            double c[KVB_MAX_LEVELS];
            optimum(1 << bits, c);
            scaled(c, 1 << bits, factors[k], c);
            const kvb_codebook_check found = check(c, 1 << bits);
            assert_true(found.fixed_point && found.symmetric && found.increasing);
            assert_true(fabs(found.factor / factors[k] - 1.0) < 1e-9);
            assert_true(fabs(found.mse_loss) < 1e-10 && found.largest_gap < 1e-8 && found.largest_move < 1e-8);
        }
}

static void library_and_half_precision_tables_are_fixed_points(void **state) {
    (void)state;
    const double dims[] = {1, 64, 80, 128, 256, 576};
    for (int bits = 1; bits <= 8; bits++) {
        double exact[KVB_MAX_LEVELS], c[KVB_MAX_LEVELS];
        for (int i = 0; i < 1 << bits; i++)
            c[i] = kvb_codebook(bits)[i];
        assert_true(check(c, 1 << bits).fixed_point);
        optimum(1 << bits, exact);
        for (int k = 0; k < 6; k++) {
            for (int i = 0; i < 1 << bits; i++)
                c[i] = rounded_to_half(exact[i] / sqrt(dims[k]));
            const kvb_codebook_check found = check(c, 1 << bits);
            assert_true(found.fixed_point);
            assert_true(fabs(found.factor * sqrt(dims[k]) - 1.0) < 5e-4);
        }
    }
}

static void converged_iterations_are_fixed_points(void **state) {
    (void)state;
    double c[64];
    kvb_error error;
    for (int bits = 1; bits <= 6; bits++) {
        assert_ok(kvb_lloyd_max(1 << bits, KVB_CDF_ERFC, 1e-8, 10000, c, NULL, &error), error);
        assert_true(check(c, 1 << bits).fixed_point);
    }
}

static void production_table_is_a_fixed_point(void **state) {
    (void)state;
    json_t *root = json_load_file(KVB_TEST_DATA "/golden/bitwidth_ab.json", 0, NULL);
    json_t *production = json_object_get(root, "production_codebook_4bit");
    double c[16];
    for (size_t i = 0; i < 16; i++)
        c[i] = json_number_value(json_array_get(production, i));
    json_decref(root);
    const kvb_codebook_check found = check(c, 16);
    assert_true(found.fixed_point && fabs(found.factor - 1.0) < 1e-6);
}

static void unconverged_table_is_caught_and_its_loss_told(void **state) {
    (void)state;
    kvb_codebook_file file;
    kvb_error error;
    assert_ok(kvb_codebook_file_read(KVB_TEST_DATA "/data/unconverged_8bit.json", &file, &error), error);
    double c[KVB_MAX_LEVELS];
    scaled(file.centroids[8], 256, 16.0, c); /* it was made with the factor 1/16 */
    const kvb_codebook_check found = check(file.centroids[8], 256);
    kvb_codebook_file_free(&file);
    assert_false(found.fixed_point);
    assert_true(found.symmetric && found.increasing);
    assert_true(found.mse_loss > 0.15 && found.mse_loss < 0.16);
    assert_true(kvb_codebook_mse(normal, c, 256) / found.optimum_mse > 1.4); /* the fitted factor hides some of it */
    assert_int_equal(found.worst_level, 0);
}

/* A change of 1e-6 a round looks converged; the table is 0.008 from where it is going. */
static void slow_convergence_does_not_pass_for_convergence(void **state) {
    (void)state;
    double c[128];
    kvb_error error;
    kvb_lloyd_report report;
    assert_ok(kvb_lloyd_max(128, KVB_CDF_ERFC, 1e-5, 10000, c, &report, &error), error);
    const kvb_codebook_check found = check(c, 128);
    assert_false(found.fixed_point);
    assert_true(found.largest_gap > 10.0 * report.last_change);
}

static void levels_on_another_scale_are_caught(void **state) {
    (void)state;
    for (int bits = 2; bits <= 8; bits++) {
        const int levels = 1 << bits;
        double c[KVB_MAX_LEVELS];
        optimum(levels, c);
        for (int i = 0; i < levels; i++) /* each level's deviation is off by up to half a percent, symmetrically */
            c[i] *= 1.0 + 0.005 * fabs(2.0 * i - (levels - 1)) / (levels - 1);
        const kvb_codebook_check found = check(c, levels);
        assert_false(found.fixed_point);
        assert_true(found.symmetric && found.increasing && found.mse_loss > 0.0);
    }
}

static void asymmetric_and_unsorted_tables_are_told(void **state) {
    (void)state;
    double c[16];
    optimum(16, c);
    c[15] += 2e-6;
    assert_false(check(c, 16).symmetric);
    assert_false(check(c, 16).fixed_point);
    optimum(16, c);
    c[3] = c[4];
    assert_false(check(c, 16).increasing);
    optimum(16, c);
    const double swap = c[3];
    c[3] = c[4];
    c[4] = swap;
    const kvb_codebook_check found = check(c, 16);
    assert_false(found.increasing || found.fixed_point);
    assert_true(fabs(found.mse_loss) < 1e-9); /* the same set of levels */
}

static void fitted_factor_minimizes_the_error(void **state) {
    (void)state;
    const double tables[][8] = {
        {-4, -3, -2, -1, 1, 2, 3, 4}, {-9, -1, -0.5, 0, 0.1, 2, 5, 6}, {1, 2, 3, 4, 5, 6, 7, 8}};
    for (int k = 0; k < 3; k++) {
        const kvb_codebook_check found = check(tables[k], 8);
        double near[8];
        for (double nudge = 0.999; nudge < 1.002; nudge += 0.002) {
            scaled(tables[k], 8, 1.0 / (found.factor * nudge), near);
            assert_true(kvb_codebook_mse(normal, near, 8) > found.mse);
        }
        scaled(tables[k], 8, 1.0 / found.factor, near);
        assert_true(fabs(kvb_codebook_mse(normal, near, 8) / found.mse - 1.0) < 1e-12);
    }
}

static void tolerance_is_the_largest_gap_allowed(void **state) {
    (void)state;
    double c[16];
    optimum(16, c);
    c[0] -= 0.01;
    c[15] += 0.01;
    const double gap = check(c, 16).largest_gap;
    assert_false(check_with(c, 16, 0.999 * gap).fixed_point);
    assert_true(check_with(c, 16, 1.001 * gap).fixed_point);
}

static void illegal_arguments_are_named(void **state) {
    (void)state;
    kvb_codebook_check found;
    kvb_error error;
    double c[16];
    optimum(16, c);
    assert_int_equal(kvb_codebook_check_table(c, 1, 0, &found, &error), KVB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.text, "1 levels"));
    assert_int_equal(kvb_codebook_check_table(c, 16, -1, &found, &error), KVB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.text, "tolerance -1"));
    c[7] = NAN;
    assert_int_equal(kvb_codebook_check_table(c, 16, 0, &found, &error), KVB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.text, "centroid 7"));
    memset(c, 0, sizeof c);
    assert_int_equal(kvb_codebook_check_table(c, 16, 0, &found, &error), KVB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.text, "all 16 centroids are 0"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optima_are_fixed_points_on_any_scale),
        cmocka_unit_test(library_and_half_precision_tables_are_fixed_points),
        cmocka_unit_test(converged_iterations_are_fixed_points),
        cmocka_unit_test(production_table_is_a_fixed_point),
        cmocka_unit_test(unconverged_table_is_caught_and_its_loss_told),
        cmocka_unit_test(slow_convergence_does_not_pass_for_convergence),
        cmocka_unit_test(levels_on_another_scale_are_caught),
        cmocka_unit_test(asymmetric_and_unsorted_tables_are_told),
        cmocka_unit_test(fitted_factor_minimizes_the_error),
        cmocka_unit_test(tolerance_is_the_largest_gap_allowed),
        cmocka_unit_test(illegal_arguments_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
