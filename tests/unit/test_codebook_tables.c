/* The library's tables and the grid they are rounded to. */
#include "check.h"

#include <math.h>

#include "kvbits/eval.h"

static int on_grid(double x) {
    return ldexp(x, 12) == nearbyint(ldexp(x, 12)) && kvb_f16_to_f32(kvb_f32_to_f16((float)x)) == (float)x;
}

static void rounding_takes_the_nearest_point_of_the_grid(void **state) {
    (void)state;
    double grid[65536];
    int n = 0;
    for (unsigned half = 0; half < 0x7c00; half++) /* in rising order */
        if (on_grid(kvb_f16_to_f32((uint16_t)half)))
            grid[n++] = kvb_f16_to_f32((uint16_t)half);
    assert_true(n > 15000 && grid[0] == 0.0 && grid[n - 1] == 65504.0);
    for (int i = 0; i + 1 < n; i++)
        for (int k = 0; k <= 8; k++) {
            const double x = grid[i] + (grid[i + 1] - grid[i]) * k / 8, r = kvb_codebook_round(x);
            const double expected = k < 4 ? grid[i] : k > 4 ? grid[i + 1] : r;
            assert_true(r == expected && (k != 4 || r == grid[i] || r == grid[i + 1]));
            assert_true(kvb_codebook_round(-x) == -r);
        }
    assert_true(kvb_codebook_round(1e30) == 65504.0 && kvb_codebook_round(-INFINITY) == -65504.0);
    assert_true(isnan(kvb_codebook_round(NAN)));
}

static void tables_are_the_optimum_rounded_to_the_grid(void **state) {
    (void)state;
    for (int bits = 1; bits <= KVB_MAX_BITS; bits++) {
        double exact[KVB_MAX_LEVELS];
        kvb_error error;
        assert_ok(kvb_codebook_optimum((kvb_law){0}, 1 << bits, exact, NULL, &error), error);
        for (int i = 0; i < 1 << bits; i++) {
            const float c = kvb_codebook(bits)[i];
            assert_true(on_grid(c));
            assert_true(fabs(c - exact[i]) <= (fabs(exact[i]) < 0.5 ? 0x1p-13 : 0x1p-11 * fabs(exact[i])));
            assert_true(c == (float)kvb_codebook_round(exact[i]));
        }
    }
}

static void tables_are_symmetric_and_strictly_increasing(void **state) {
    (void)state;
    for (int bits = 1; bits <= KVB_MAX_BITS; bits++)
        for (int i = 0; i < 1 << bits; i++) {
            assert_true(kvb_codebook(bits)[i] == -kvb_codebook(bits)[(1 << bits) - 1 - i]);
            assert_true(i == 0 || kvb_codebook(bits)[i] > kvb_codebook(bits)[i - 1]);
        }
}

static void rounding_costs_what_the_documents_say(void **state) {
    (void)state;
    const double most[] = {1e-8, 1e-6, 1e-6, 5e-6, 1e-5, 2.5e-5, 1.5e-4, 7.5e-4};
    for (int bits = 1; bits <= KVB_MAX_BITS; bits++) {
        double table[KVB_MAX_LEVELS], exact[KVB_MAX_LEVELS];
        kvb_error error;
        assert_ok(kvb_codebook_optimum((kvb_law){0}, 1 << bits, exact, NULL, &error), error);
        for (int i = 0; i < 1 << bits; i++)
            table[i] = kvb_codebook(bits)[i];
        const double loss =
            kvb_codebook_mse((kvb_law){0}, table, 1 << bits) / kvb_codebook_mse((kvb_law){0}, exact, 1 << bits) - 1.0;
        assert_true(loss > 0.0 && loss < most[bits - 1]);
    }
}

static void other_widths_have_no_table(void **state) {
    (void)state;
    assert_null(kvb_codebook(0));
    assert_null(kvb_codebook(9));
    assert_null(kvb_codebook(-1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounding_takes_the_nearest_point_of_the_grid),
        cmocka_unit_test(tables_are_the_optimum_rounded_to_the_grid),
        cmocka_unit_test(tables_are_symmetric_and_strictly_increasing),
        cmocka_unit_test(rounding_costs_what_the_documents_say),
        cmocka_unit_test(other_widths_have_no_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
