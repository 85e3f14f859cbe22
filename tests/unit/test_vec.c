/* Every instruction set gives the same bits, and the right values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <string.h>
#include <cmocka.h>

#include "kvbits/eval.h"
#include "vec.h"

static const char *const sets[] = {"sse2", "avx2", "avx512", "neon"};
enum { SETS = 4, D_MAX = 576, ROWS = 5 };

static float rows[ROWS * D_MAX], query[D_MAX];

static void fill(uint64_t seed) {
    kvb_rng rng = kvb_rng_seed(seed);
    kvb_rng_normals(&rng, rows, ROWS * D_MAX);
    kvb_rng_normals(&rng, query, D_MAX);
}

static void sums_have_the_same_bits_and_are_right(void **state) {
    (void)state;
    const kvb_vec *generic = kvb_vec_named("generic");
    for (size_t d = 8; d <= D_MAX; d += 8) {
        fill(d);
        float expected[ROWS], apart, norm;
        generic->dots(rows, ROWS, query, d, expected, 1);
        generic->distance(rows, query, d, &apart, &norm);
        double exact = 0.0, exact_apart = 0.0, exact_norm = 0.0;
        for (size_t c = 0; c < d; c++) {
            exact += (double)rows[c] * query[c];
            exact_apart += ((double)rows[c] - query[c]) * ((double)rows[c] - query[c]);
            exact_norm += (double)rows[c] * rows[c];
        }
        assert_float_equal(expected[0], exact, 1e-5 * sqrt((double)d));
        assert_float_equal(apart, exact_apart, 1e-5 * exact_apart);
        assert_float_equal(norm, exact_norm, 1e-5 * exact_norm);
        for (int s = 0; s < SETS; s++) {
            const kvb_vec *vec = kvb_vec_named(sets[s]);
            float got[2 * ROWS] = {0}, got_apart, got_norm;
            if (!vec)
                continue;
            vec->dots(rows, ROWS, query, d, got, 2);
            for (int r = 0; r < ROWS; r++)
                assert_memory_equal(&got[2 * r], &expected[r], sizeof expected[r]);
            vec->distance(rows, query, d, &got_apart, &got_norm);
            assert_memory_equal(&got_apart, &apart, sizeof apart);
            assert_memory_equal(&got_norm, &norm, sizeof norm);
        }
    }
}

static void rms_and_add_have_the_same_bits(void **state) {
    (void)state;
    const kvb_vec *generic = kvb_vec_named("generic");
    for (size_t d = 8; d <= D_MAX; d += 56) {
        float expected[D_MAX], got[D_MAX];
        fill(d);
        memcpy(expected, rows, sizeof expected);
        generic->rms_normalize(expected, d, 1e-6f);
        generic->add_scaled(expected, query, 0.3f, d);
        double squares = 0.0;
        for (size_t c = 0; c < d; c++)
            squares += (double)rows[c] * rows[c];
        for (size_t c = 0; c < d; c++)
            assert_float_equal(expected[c], rows[c] / sqrt(squares / (double)d + 1e-6) + 0.3 * query[c], 1e-5);
        for (int s = 0; s < SETS; s++) {
            const kvb_vec *vec = kvb_vec_named(sets[s]);
            if (!vec)
                continue;
            memcpy(got, rows, sizeof got);
            vec->rms_normalize(got, d, 1e-6f);
            vec->add_scaled(got, query, 0.3f, d);
            assert_memory_equal(got, expected, d * sizeof(float));
        }
    }
}

static void exponentials_have_the_same_bits(void **state) {
    (void)state;
    const kvb_vec *generic = kvb_vec_named("generic");
    float scores[D_MAX], expected[D_MAX], got[D_MAX];
    for (size_t n = 1; n < 40; n++) {
        for (size_t i = 0; i < n; i++)
            scores[i] = 4.0f - (float)(i * i) * 0.37f; /* down to exp(-550) = 0 */
        generic->exps(scores, n, 4.0f, expected);
        for (size_t i = 0; i < n; i++)
            assert_float_equal(expected[i], exp((double)scores[i] - 4.0), 1e-6);
        for (int s = 0; s < SETS; s++) {
            const kvb_vec *vec = kvb_vec_named(sets[s]);
            if (!vec)
                continue;
            vec->exps(scores, n, 4.0f, got);
            assert_memory_equal(got, expected, n * sizeof(float));
        }
    }
}

static void unknown_set_is_absent(void **state) {
    (void)state;
    assert_null(kvb_vec_named("mmx"));
    assert_non_null(kvb_vec_named("generic"));
    assert_non_null(kvb_vec_named(kvb_vec_best()->name));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_have_the_same_bits_and_are_right),
        cmocka_unit_test(rms_and_add_have_the_same_bits),
        cmocka_unit_test(exponentials_have_the_same_bits),
        cmocka_unit_test(unknown_set_is_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
