/* The quadrature under the codebooks, against closed forms in long double. */
#include "check.h"

#include <math.h>

#include "law.h"

static long double upper_tail(long double x) {
    return 0.5L * erfcl(x / sqrtl(2.0L));
}

static long double density(long double x) {
    return isinf(x) ? 0.0L : expl(-0.5L * x * x) / sqrtl(2.0L * acosl(-1.0L));
}

static void assert_close(double found, long double expected, double relative) {
    if (!(fabsl(found - expected) <= relative * fabsl(expected)))
        fail_msg("%.17g is not %.17Lg", found, expected);
}

static void normal_cells_are_exact_however_wide_or_deep_in_the_tail(void **state) {
    (void)state;
    const kvb_law_density m = kvb_law_density_make((kvb_law){0});
    const double lows[] = {0.0, 0.01, 0.5, 1.0, 2.5, 4.0, 6.0, 9.0, 15.0, 30.0};
    const double widths[] = {0.02, 0.5, 1.0, 3.0, 20.0, INFINITY};
    for (size_t i = 0; i < sizeof lows / sizeof lows[0]; i++)
        for (size_t k = 0; k < sizeof widths / sizeof widths[0]; k++) {
            const long double low = lows[i], high = (long double)lows[i] + widths[k];
            const long double mass = upper_tail(low) - upper_tail(high);
            const kvb_law_cell cell = kvb_law_cell_of(&m, lows[i], lows[i] + widths[k], 1.0);
            /* the exponent of exp(-x^2 / 2) alone carries a rounding of x^2 / 2 units */
            const double relative = 2e-15 * (1.0 + lows[i] * lows[i]);
            assert_close(cell.mass, mass, relative);
            const long double first = density(low) - density(high);
            assert_close(cell.mean, first / mass, 1e-13); /* the closed form cancels in narrow cells */
            const long double second = mass + low * density(low) - (isinf(high) ? 0.0L : high * density(high));
            assert_close(cell.cost, second - 2.0L * first + mass, 1e-12);
            const kvb_law_cell mirror = kvb_law_cell_of(&m, -lows[i] - widths[k], -lows[i], -1.0);
            assert_true(mirror.mass == cell.mass && mirror.mean == -cell.mean && mirror.cost == cell.cost);
            assert_close(kvb_law_hazard(&m, lows[i], &cell), density(low) / mass, relative);
        }
}

static void cells_across_zero_join_their_halves(void **state) {
    (void)state;
    const kvb_law_density m = kvb_law_density_make((kvb_law){0});
    const kvb_law_cell all = kvb_law_cell_of(&m, -INFINITY, INFINITY, 0.0);
    assert_close(all.mass, 1.0L, 1e-15);
    assert_close(all.cost, 1.0L, 1e-15); /* unit variance */
    assert_true(all.mean == 0.0);
    const kvb_law_cell cell = kvb_law_cell_of(&m, -0.5, 2.0, 0.0);
    assert_close(cell.mass, 1.0L - upper_tail(0.5L) - upper_tail(2.0L), 1e-15);
    assert_close(cell.mean, (density(0.5L) - density(2.0L)) / cell.mass, 1e-14);
}

static void sphere_has_unit_variance_and_its_mean_magnitude(void **state) {
    (void)state;
    const int dims[] = {2, 3, 4, 5, 8, 33, 128, 576, 4096, 1 << 20};
    for (size_t k = 0; k < sizeof dims / sizeof dims[0]; k++) {
        const kvb_law_density m = kvb_law_density_make((kvb_law){dims[k]});
        const kvb_law_cell all = kvb_law_cell_of(&m, -INFINITY, INFINITY, 0.0);
        assert_close(all.mass, 1.0L, 1e-14);
        assert_close(all.cost, 1.0L, 1e-13);
        /* E|x| = sqrt(d) Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2)) is the mean of the upper half. */
        const long double d = dims[k];
        const long double mean = sqrtl(d / acosl(-1.0L)) * expl(lgammal(d / 2.0L) - lgammal((d + 1.0L) / 2.0L));
        assert_close(kvb_law_cell_of(&m, 0.0, INFINITY, 0.0).mean, mean, dims[k] > 100000 ? 1e-12 : 1e-14);
    }
}

/* d = 4: the law of a semicircle of radius 2, whose primitive is elementary. */
static void sphere_cells_reach_the_edge_of_the_support(void **state) {
    (void)state;
    const kvb_law_density m = kvb_law_density_make((kvb_law){4});
    const double lows[] = {0.0, 0.3, 1.0, 1.9, 1.9999};
    for (int i = 0; i < 5; i++) {
        const long double t = asinl(lows[i] / 2.0L), pi = acosl(-1.0L);
        /* From the edge, without cancellation: with u = pi/2 - t it is (2u - sin 2u) / (2 pi). */
        const long double u = pi / 2.0L - t;
        assert_close(kvb_law_cell_of(&m, lows[i], 5.0, 0.0).mass, (2.0L * u - sinl(2.0L * u)) / (2.0L * pi), 1e-11);
    }
    const kvb_law_cell beyond = kvb_law_cell_of(&m, 2.5, 3.0, 0.0);
    assert_true(beyond.mass == 0.0 && beyond.cost == 0.0 && beyond.mean == 2.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normal_cells_are_exact_however_wide_or_deep_in_the_tail),
        cmocka_unit_test(cells_across_zero_join_their_halves),
        cmocka_unit_test(sphere_has_unit_variance_and_its_mean_magnitude),
        cmocka_unit_test(sphere_cells_reach_the_edge_of_the_support),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
