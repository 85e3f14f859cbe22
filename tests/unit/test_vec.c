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
enum { SETS = 4, D_MAX = 576 };

static float row[D_MAX];

static void fill(uint64_t seed) {
    kvb_rng rng = kvb_rng_seed(seed);
    kvb_rng_normals(&rng, row, D_MAX);
}

static void quotients_have_the_same_bits(void **state) {
    (void)state;
    for (size_t d = 8; d <= D_MAX; d += 56) {
        float got[D_MAX];
        fill(d);
        for (int s = -1; s < SETS; s++) {
            const kvb_vec *vec = kvb_vec_named(s < 0 ? "generic" : sets[s]);
            if (!vec)
                continue;
            memcpy(got, row, sizeof got);
            vec->divide(got, d, 3.7f);
            for (size_t c = 0; c < D_MAX; c++) {
                float expected = c < d ? row[c] / 3.7f : row[c];
                assert_memory_equal(&got[c], &expected, sizeof expected);
            }
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
        cmocka_unit_test(quotients_have_the_same_bits),
        cmocka_unit_test(exponentials_have_the_same_bits),
        cmocka_unit_test(unknown_set_is_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
