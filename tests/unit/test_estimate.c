/* Means and quantiles over windows, and bootstrap intervals against what theory says of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>

#include <cmocka.h>

#include "estimate.h"
#include "kvbits/eval.h"

enum { WINDOWS = 100, SIZE = 50, N = WINDOWS * SIZE };

/* The mean of 100 independent normals has an interval of +-1.96 / 10. */
static void interval_of_a_mean_has_its_width(void **state) {
    kvb_windows windows;
    kvb_rng rng = kvb_rng_seed(5);
    float x[WINDOWS];
    double a[WINDOWS], ones[WINDOWS], draws[KVB_DRAWS], sum = 0;
    (void)state;
    kvb_rng_normals(&rng, x, WINDOWS);
    for (int i = 0; i < WINDOWS; i++) {
        a[i] = (double)x[i];
        ones[i] = 1;
        sum += a[i];
    }
    assert_int_equal(kvb_windows_create(WINDOWS, &windows, NULL), KVB_OK);
    const kvb_estimate e = kvb_estimate_ratio(&windows, a, ones, draws);
    assert_true(fabs(e.value - sum / WINDOWS) < 1e-12);
    assert_true(e.low < e.value && e.value < e.high);
    assert_true(e.high - e.low > 0.8 * 2 * 0.196 && e.high - e.low < 1.2 * 2 * 0.196);
    kvb_windows_free(&windows);
}

static void quantile_is_the_smallest_that_reaches_its_share(void **state) {
    static double sorted[N];
    static uint16_t window[N];
    kvb_windows windows;
    (void)state;
    for (int i = 0; i < N; i++) {
        sorted[i] = i;
        window[i] = (uint16_t)(i % WINDOWS);
    }
    assert_int_equal(kvb_windows_create(WINDOWS, &windows, NULL), KVB_OK);
    static const struct {
        double q;
        int rank;
    } table[] = {{.5, N / 2}, {.99, N / 100 * 99}, {.999, N / 1000 * 999}, {1, N}, {0, 1}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const kvb_estimate e = kvb_estimate_quantile(&windows, sorted, window, N, table[i].q, NULL);
        assert_true(e.value == table[i].rank - 1);
        assert_true(e.low <= e.value && e.value <= e.high);
        /* Every window holds the same share of each range, so that drawing windows moves quantiles little. */
        assert_true(e.high - e.low <= 3 * WINDOWS);
    }
    kvb_windows_free(&windows);
}

/* All large values in one window: it is drawn not at all in a third of the draws, so that the interval is wide. */
static void windows_are_drawn_whole(void **state) {
    static double sorted[N];
    static uint16_t window[N];
    kvb_windows windows;
    (void)state;
    for (int i = 0; i < N; i++) {
        sorted[i] = i;
        window[i] = (uint16_t)(i / SIZE);
    }
    assert_int_equal(kvb_windows_create(WINDOWS, &windows, NULL), KVB_OK);
    const kvb_estimate e = kvb_estimate_quantile(&windows, sorted, window, N, .995, NULL);
    assert_true(e.low < N - 3 * SIZE);
    kvb_windows_free(&windows);
}

static void one_window_has_no_interval(void **state) {
    kvb_windows windows;
    const double a = 6, b = 3;
    kvb_error error;
    (void)state;
    assert_int_equal(kvb_windows_create(1, &windows, NULL), KVB_OK);
    const kvb_estimate e = kvb_estimate_ratio(&windows, &a, &b, NULL);
    assert_true(e.value == 2 && isnan(e.low) && isnan(e.high));
    kvb_windows_free(&windows);
    assert_int_equal(kvb_windows_create(0, &windows, &error), KVB_ERROR_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interval_of_a_mean_has_its_width),
        cmocka_unit_test(quantile_is_the_smallest_that_reaches_its_share),
        cmocka_unit_test(windows_are_drawn_whole),
        cmocka_unit_test(one_window_has_no_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
