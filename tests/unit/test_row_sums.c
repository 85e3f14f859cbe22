/* Sums over rows have the specified bits on every backend. */
#include "backends.h"

#include "kvbits/eval.h"

#include <math.h>

enum { D_MAX = KVB_MAX_HEAD_DIM, ROWS = 13, STRIDE = D_MAX + 3 };

static float rows[ROWS * STRIDE], query[D_MAX];

static void fill(uint64_t seed) {
    kvb_rng rng = kvb_rng_seed(seed);
    kvb_rng_normals(&rng, rows, ROWS * STRIDE);
    kvb_rng_normals(&rng, query, D_MAX);
}

/* docs/format.md, section 2, word for word. */
static float specified_dot(const float *a, const float *b, int d) {
    volatile float lanes[16] = {0};
    for (int i = 0; i < d; i++) {
        volatile float product = a[i] * b[i];
        lanes[i % 16] = lanes[i % 16] + product;
    }
    for (int half = 8; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) {
            lanes[l] = lanes[l] + lanes[l + half];
        }
    }
    return lanes[0];
}

static void dots_are_the_specified_tree(void **state) {
    (void)state;
    test_backends backends = open_backends();
    for (int d = 8; d <= D_MAX; d += 8) {
        fill((uint64_t)d);
        for (size_t b = 0; b < backends.n; b++) {
            for (size_t n = 0; n <= ROWS; n += d % 64 == 0 ? 1 : ROWS) {
                float got[ROWS + 1];
                for (size_t r = 0; r <= ROWS; r++) {
                    got[r] = -7.0f;
                }
                kvb_rows_dot(backends.list[b], rows, STRIDE, n, query, d, got);
                for (size_t r = 0; r < n; r++) {
                    float expected = specified_dot(rows + r * STRIDE, query, d);
                    assert_memory_equal(&got[r], &expected, sizeof expected);
                }
                assert_true(got[n] == -7.0f);
            }
        }
    }
}

static void weighted_sums_run_in_rising_order(void **state) {
    (void)state;
    test_backends backends = open_backends();
    for (int d = 8; d <= D_MAX; d += 8) {
        float weights[ROWS], expected[D_MAX + 1], got[D_MAX + 1];
        fill((uint64_t)d);
        for (int i = 0; i <= D_MAX; i++) {
            expected[i] = (float)i * 0.01f;
        }
        for (size_t r = 0; r < ROWS; r++) {
            weights[r] = r == 5 ? 0.0f : query[r];
            for (int i = 0; r != 5 && i < d; i++) {
                volatile float product = weights[r] * rows[r * STRIDE + (size_t)i];
                expected[i] = expected[i] + product;
            }
        }
        rows[5 * STRIDE] = NAN; /* of weight 0 */
        for (size_t b = 0; b < backends.n; b++) {
            for (int i = 0; i <= D_MAX; i++) {
                got[i] = (float)i * 0.01f;
            }
            kvb_rows_add(backends.list[b], rows, STRIDE, ROWS, weights, d, got);
            assert_memory_equal(got, expected, sizeof expected);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dots_are_the_specified_tree),
        cmocka_unit_test(weighted_sums_run_in_rising_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
