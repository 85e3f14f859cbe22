#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <cmocka.h>

#include "kvbits/eval.h"

static void mean_and_population_deviation(void **state) {
    (void)state;
    const double x[] = {2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0};
    kvb_statistic s = kvb_statistic_of(x, 8);
    assert_int_equal(s.n, 8);
    assert_float_equal(s.mean, 5.0, 1e-15);
    assert_float_equal(s.std, 2.0, 1e-15);
    assert_float_equal(s.p999, 9.0, 0.0);
}

/* Student's t at 97.5 %: 12.7062, 4.3027, 3.1824, 2.7764, 2.2622 (9), 1.9842 (99). */
static void interval_is_students(void **state) {
    (void)state;
    static const struct {
        size_t n;
        double t;
    } table[] = {{2, 12.7062}, {3, 4.3027}, {4, 3.1824}, {5, 2.7764}, {10, 2.2622}, {100, 1.9842}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        double x[100], squares = 0.0, mean = 0.0;
        for (size_t j = 0; j < table[i].n; j++)
            mean += (x[j] = sin((double)j)) / (double)table[i].n;
        for (size_t j = 0; j < table[i].n; j++)
            squares += (x[j] - mean) * (x[j] - mean);
        double half = table[i].t * sqrt(squares / (double)(table[i].n - 1) / (double)table[i].n);
        kvb_statistic s = kvb_statistic_of(x, table[i].n);
        assert_float_equal(s.high - s.mean, half, 0.004 * half);
        assert_float_equal(s.mean - s.low, half, 0.004 * half);
    }
}

static void p999_leaves_one_in_a_thousand_above(void **state) {
    (void)state;
    static double x[4000];
    for (int i = 0; i < 4000; i++)
        x[i] = (double)((i * 2717) % 4000); /* 0..3999, shuffled */
    assert_float_equal(kvb_statistic_of(x, 4000).p999, 3995.0, 0.0);
    assert_float_equal(kvb_statistic_of(x, 1).p999, x[0], 0.0);
}

static void pairs_are_compared_as_pairs(void **state) {
    (void)state;
    const double a[] = {10.0, 20.0, 30.0}, b[] = {9.0, 19.0, 29.0};
    kvb_statistic s = kvb_statistic_paired(a, b, 3);
    assert_float_equal(s.mean, 1.0, 0.0);
    assert_float_equal(s.low, 1.0, 0.0);
    assert_float_equal(s.high, 1.0, 0.0);
}

static void one_value_has_no_spread(void **state) {
    (void)state;
    double x = 3.0;
    kvb_statistic s = kvb_statistic_of(&x, 1), none = kvb_statistic_of(&x, 0);
    assert_float_equal(s.low, 3.0, 0.0);
    assert_float_equal(s.std, 0.0, 0.0);
    assert_int_equal(none.n, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_and_population_deviation),
        cmocka_unit_test(interval_is_students),
        cmocka_unit_test(p999_leaves_one_in_a_thousand_above),
        cmocka_unit_test(pairs_are_compared_as_pairs),
        cmocka_unit_test(one_value_has_no_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
