/* The KL divergence of two rows of logits against the definition in double precision, down to where rounding hides it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <stdlib.h>

#include <cmocka.h>

#include "divergence.h"
#include "kvbits/eval.h"

enum { VOCAB = 5003, TOKENS = 4 };

static float logits[2][TOKENS * VOCAB];

/* Logits as a model's, standard deviation 3, and others that differ by `step` times a normal. */
static void fill(float step) {
    kvb_rng rng = kvb_rng_seed(7);
    kvb_rng_normals(&rng, logits[0], TOKENS * VOCAB);
    kvb_rng_normals(&rng, logits[1], TOKENS * VOCAB);
    for (int i = 0; i < TOKENS * VOCAB; i++) {
        logits[0][i] = 3 * logits[0][i] - 20;
        logits[1][i] = logits[0][i] + step * logits[1][i];
    }
}

static double lse(const float *x) {
    double max = -INFINITY, sum = 0;
    for (int i = 0; i < VOCAB; i++)
        max = (double)x[i] > max ? (double)x[i] : max;
    for (int i = 0; i < VOCAB; i++)
        sum += exp((double)x[i] - max);
    return max + log(sum);
}

static double kl(const float *p, const float *q) {
    const double a = lse(p), b = lse(q);
    double sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += exp((double)p[i] - a) * (((double)p[i] - a) - ((double)q[i] - b));
    return sum;
}

static void compare(float step) {
    kvb_reference reference;
    kvb_divergence d[TOKENS];
    const int32_t next[TOKENS] = {3, 77, -1, VOCAB - 1};
    fill(step);
    assert_int_equal(kvb_reference_create(VOCAB, TOKENS, &reference, NULL), KVB_OK);
    kvb_reference_take(&reference, 0, 1, logits[0], NULL);
    kvb_reference_take(&reference, 1, TOKENS - 1, logits[0] + VOCAB, NULL);
    kvb_divergence_of(&reference, 0, TOKENS, logits[1], next, d, NULL);
    for (int t = 0; t < TOKENS; t++) {
        const float *p = logits[0] + t * VOCAB, *q = logits[1] + t * VOCAB;
        const double expected = kl(p, q);
        assert_true(fabs(d[t].kl - expected) <= 1e-6 * expected + 3e-8);
        assert_true(fabs(d[t].log_loss - (next[t] < 0 ? 0 : lse(q) - (double)q[next[t]])) < 1e-5);
        const double own = kvb_reference_log_loss(&reference, (size_t)t, next[t]);
        assert_true(fabs(own - (next[t] < 0 ? 0 : lse(p) - (double)p[next[t]])) < 1e-5);
    }
    kvb_reference_free(&reference);
}

static void divergence_is_the_definitions(void **state) {
    (void)state;
    compare(1.0f);
    compare(0.1f);
    compare(0.01f);
}

/* 1e-3 in logits is a divergence of some 5e-7, which a file of 16-bit logits would lose. */
static void small_divergences_are_resolved(void **state) {
    (void)state;
    compare(0.001f);
}

static void equal_logits_have_none(void **state) {
    kvb_reference reference;
    kvb_divergence d[TOKENS];
    const int32_t next[TOKENS] = {-1, -1, -1, -1};
    (void)state;
    fill(0);
    assert_int_equal(kvb_reference_create(VOCAB, TOKENS, &reference, NULL), KVB_OK);
    kvb_reference_take(&reference, 0, TOKENS, logits[0], NULL);
    kvb_divergence_of(&reference, 0, TOKENS, logits[0], next, d, NULL);
    for (int t = 0; t < TOKENS; t++) {
        assert_true(d[t].kl == 0);
        assert_int_equal(d[t].same_top, 1);
    }
    assert_true(kvb_reference_difference(&reference, 0, TOKENS, logits[0]) == 0);
    logits[0][VOCAB + 1] += 0.5f;
    assert_true(kvb_reference_difference(&reference, 0, TOKENS, logits[0]) == 0.5);
    logits[0][VOCAB + 2] = NAN;
    assert_true(isinf(kvb_reference_difference(&reference, 0, TOKENS, logits[0])));
    kvb_reference_free(&reference);
}

static void the_most_probable_token_is_compared(void **state) {
    kvb_reference reference;
    kvb_divergence d;
    const int32_t none = -1, last = VOCAB - 1;
    (void)state;
    fill(0);
    assert_int_equal(kvb_reference_create(VOCAB, 1, &reference, NULL), KVB_OK);
    kvb_reference_take(&reference, 0, 1, logits[0], NULL);
    logits[0][VOCAB - 1] = 100;
    kvb_divergence_of(&reference, 0, 1, logits[0], &none, &d, NULL);
    assert_int_equal(d.same_top, 0);
    assert_int_equal(d.hit, 0);
    kvb_divergence_of(&reference, 0, 1, logits[0], &last, &d, NULL);
    assert_int_equal(d.hit, 1);
    logits[0][0] = NAN;
    kvb_divergence_of(&reference, 0, 1, logits[0], &none, &d, NULL);
    assert_true(isnan(d.kl)); /* never taken for none */
    kvb_reference_free(&reference);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(divergence_is_the_definitions),
        cmocka_unit_test(small_divergences_are_resolved),
        cmocka_unit_test(equal_logits_have_none),
        cmocka_unit_test(the_most_probable_token_is_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
