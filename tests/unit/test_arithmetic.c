/* The experiment's sums over rows, on every backend and in index order, against double precision. */
#include "backends.h"

#include <math.h>

#include "arithmetic.h"

enum { D_MAX = KVB_MAX_HEAD_DIM, ROWS = 5, WAYS = 17 };

static float rows[ROWS * D_MAX], query[D_MAX];

static void fill(uint64_t seed) {
    kvb_rng rng = kvb_rng_seed(seed);
    kvb_rng_normals(&rng, rows, ROWS * D_MAX);
    kvb_rng_normals(&rng, query, D_MAX);
}

/* Index order, then the backends. */
static size_t open_ways(kvb_arithmetic ways[WAYS]) {
    test_backends backends = open_backends();
    kvb_error error;
    assert_ok(kvb_arithmetic_open(KVB_SUMS_INDEX_ORDER, &ways[0], &error), error);
    assert_null(ways[0].backend);
    for (size_t b = 0; b < backends.n; b++) {
        assert_ok(kvb_arithmetic_open(KVB_SUMS_LANES, &ways[1 + b], &error), error);
        assert_non_null(ways[1 + b].backend);
        ways[1 + b].backend = backends.list[b];
    }
    return 1 + backends.n;
}

static void sums_are_right_and_the_same_on_every_backend(void **state) {
    (void)state;
    kvb_arithmetic ways[WAYS];
    size_t n = open_ways(ways);
    for (size_t d = 8; d <= D_MAX; d += 8) {
        float dots[2][ROWS], apart[2], norm[2];
        double exact[ROWS] = {0}, exact_apart = 0.0, exact_norm = 0.0;
        fill(d);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < d; c++)
                exact[r] += (double)rows[r * d + c] * query[c];
        for (size_t c = 0; c < d; c++) {
            exact_apart += ((double)rows[c] - query[c]) * ((double)rows[c] - query[c]);
            exact_norm += (double)rows[c] * rows[c];
        }
        for (size_t w = 0; w < n; w++) {
            int i = w > 1; /* 1: compared with the first backend's */
            kvb_row_dots(&ways[w], rows, ROWS, d, query, dots[i]);
            kvb_row_distance(&ways[w], rows, query, d, &apart[i], &norm[i]);
            for (size_t r = 0; r < ROWS; r++)
                assert_float_equal(dots[i][r], exact[r], 1e-5 * sqrt((double)d));
            assert_float_equal(apart[i], exact_apart, 1e-5 * exact_apart);
            assert_float_equal(norm[i], exact_norm, 1e-5 * exact_norm);
            if (i == 1) {
                assert_memory_equal(dots[1], dots[0], sizeof dots[0]);
                assert_memory_equal(&apart[1], &apart[0], sizeof apart[0]);
                assert_memory_equal(&norm[1], &norm[0], sizeof norm[0]);
            }
        }
    }
}

static void rows_are_normalized_and_added(void **state) {
    (void)state;
    kvb_arithmetic ways[WAYS];
    size_t n = open_ways(ways);
    for (size_t d = 8; d <= D_MAX; d += 56) {
        fill(d);
        double squares = 0.0;
        for (size_t c = 0; c < d; c++)
            squares += (double)rows[c] * rows[c];
        for (size_t w = 0; w < n; w++) {
            float got[D_MAX], weights[ROWS - 1] = {0.3f, 0.0f, -0.2f, 0.0f};
            memcpy(got, rows, sizeof got);
            kvb_row_rms_normalize(&ways[w], got, d, 1e-6f);
            kvb_row_add(&ways[w], rows + d, ROWS - 1, d, weights, got);
            for (size_t c = 0; c < d; c++)
                assert_float_equal(
                    got[c], rows[c] / sqrt(squares / (double)d + 1e-6) + 0.3 * rows[d + c] - 0.2 * rows[3 * d + c],
                    1e-5);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_right_and_the_same_on_every_backend),
        cmocka_unit_test(rows_are_normalized_and_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
