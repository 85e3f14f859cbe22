/* The softmax state and the norm, against double precision and against their definitions. */
#include "check.h"
#include "oracle.h"

#include <math.h>
#include <string.h>

enum { dim = 24, n_tokens = 77, stride = 29 };

static float logits[n_tokens], values[n_tokens * stride];

static void draw(uint64_t seed, float spread) {
    oracle_random random = {seed};
    for (int t = 0; t < n_tokens; t++) {
        logits[t] = spread * oracle_normal(&random);
        for (int i = 0; i < stride; i++) {
            values[t * stride + i] = i < dim ? oracle_normal(&random) : NAN;
        }
    }
}

/* Output and log-sum-exp of tokens [begin, end) with a sink. */
static void expect(int begin, int end, double sink, double *out, double *lse) {
    double top = sink, sum = 0.0;
    for (int t = begin; t < end; t++) {
        top = fmax(top, (double)logits[t]);
    }
    memset(out, 0, dim * sizeof *out);
    for (int t = begin; t < end; t++) {
        double weight = isinf(logits[t]) ? 0.0 : exp((double)logits[t] - top);
        sum += weight;
        for (int i = 0; i < dim && weight > 0.0; i++) {
            out[i] += weight * (double)values[t * stride + i];
        }
    }
    sum += isinf(sink) ? 0.0 : exp(sink - top);
    *lse = sum > 0.0 ? top + log(sum) : (double)-INFINITY;
    for (int i = 0; i < dim && sum > 0.0; i++) {
        out[i] /= sum;
    }
}

static void check(const kvb_softmax_state *state, int begin, int end, float sink) {
    float out[dim];
    double expected[dim], lse;
    float got = kvb_softmax_finish(state, sink, out, dim);
    expect(begin, end, (double)sink, expected, &lse);
    assert_true(isinf(lse) ? got == -INFINITY : fabs((double)got - lse) <= 2e-6 * fmax(1.0, fabs(lse)));
    for (int i = 0; i < dim; i++) {
        assert_true(fabs((double)out[i] - expected[i]) <= 4e-6);
    }
}

static void update(kvb_softmax_state *state, int begin, int end) {
    kvb_softmax_update(state, logits + begin, values + begin * stride, stride, (size_t)(end - begin), dim);
}

static void any_cut_of_the_tokens_gives_the_same_attention(void **state) {
    (void)state;
    static const float spreads[] = {0.01f, 1.0f, 30.0f};
    for (int s = 0; s < 3; s++) {
        draw(7 + (uint64_t)s, spreads[s]);
        for (int cut = 0; cut <= n_tokens; cut++) {
            float a_sums[dim], b_sums[dim];
            kvb_softmax_state a, b;
            kvb_softmax_begin(&a, a_sums, dim);
            kvb_softmax_begin(&b, b_sums, dim);
            update(&a, 0, cut);
            update(&b, cut, n_tokens);
            check(&a, 0, cut, -INFINITY);
            double whole[dim], lse;
            expect(0, n_tokens, (double)-INFINITY, whole, &lse);
            kvb_softmax_merge(&a, &b, dim);
            check(&a, 0, n_tokens, -INFINITY);
            check(&a, 0, n_tokens, 1.5f);
            check(&a, 0, n_tokens, (float)lse + 40.0f);
            assert_true(fabs((double)kvb_softmax_lse(&a) - lse) <= 2e-6 * fmax(1.0, fabs(lse)));
            update(&b, 0, cut); /* the later tokens first */
            check(&b, 0, n_tokens, -INFINITY);
        }
    }
}

static void merging_the_empty_state_changes_no_bit(void **state) {
    (void)state;
    draw(3, 4.0f);
    float sums[dim], none[dim], before[dim];
    kvb_softmax_state a, empty;
    kvb_softmax_begin(&a, sums, dim);
    kvb_softmax_begin(&empty, none, dim);
    update(&a, 0, n_tokens);
    kvb_softmax_state copy = a;
    memcpy(before, sums, sizeof sums);
    kvb_softmax_merge(&a, &empty, dim);
    assert_true(a.max == copy.max && a.sum == copy.sum);
    assert_memory_equal(sums, before, sizeof sums);
    kvb_softmax_merge(&empty, &a, dim);
    assert_true(empty.max == a.max && empty.sum == a.sum);
    assert_memory_equal(none, sums, sizeof sums);
}

static void the_empty_state_is_zero_and_its_sink_the_log_sum_exp(void **state) {
    (void)state;
    float sums[dim], out[dim];
    kvb_softmax_state empty;
    kvb_softmax_begin(&empty, sums, dim);
    kvb_softmax_update(&empty, NULL, NULL, 0, 0, dim);
    assert_true(kvb_softmax_finish(&empty, -INFINITY, out, dim) == -INFINITY);
    assert_true(kvb_softmax_finish(&empty, 2.5f, out, dim) == 2.5f);
    for (int i = 0; i < dim; i++) {
        assert_true(out[i] == 0.0f);
    }
    assert_true(kvb_softmax_lse(&empty) == -INFINITY);
}

static void masked_tokens_count_for_nothing_whatever_their_values(void **state) {
    (void)state;
    draw(5, 2.0f);
    for (int t = 0; t < n_tokens; t += 3) {
        logits[t] = -INFINITY;
        for (int i = 0; i < dim; i++) {
            values[t * stride + i] = t % 2 ? NAN : INFINITY;
        }
    }
    float sums[dim];
    kvb_softmax_state a;
    kvb_softmax_begin(&a, sums, dim);
    update(&a, 0, 1); /* all masked: still empty */
    assert_true(a.max == -INFINITY && a.sum == 0.0f);
    update(&a, 1, n_tokens);
    check(&a, 0, n_tokens, -INFINITY);
    check(&a, 0, n_tokens, 0.5f);
}

static void a_nan_logit_shows(void **state) {
    (void)state;
    for (int at = 0; at < 3; at++) {
        draw(6, 1.0f);
        logits[at] = NAN;
        float sums[dim], out[dim], other_sums[dim];
        kvb_softmax_state a, other;
        kvb_softmax_begin(&a, sums, dim);
        kvb_softmax_begin(&other, other_sums, dim);
        update(&a, 0, 3);
        update(&other, 3, n_tokens);
        kvb_softmax_merge(&other, &a, dim);
        assert_true(isnan(kvb_softmax_finish(&other, -INFINITY, out, dim)));
        assert_true(isnan(out[0]));
    }
}

static void a_finished_output_and_its_log_sum_exp_are_a_state(void **state) {
    (void)state;
    draw(8, 5.0f);
    float a_sums[dim], b_sums[dim];
    kvb_softmax_state a, b;
    kvb_softmax_begin(&a, a_sums, dim);
    kvb_softmax_begin(&b, b_sums, dim);
    update(&a, 0, 30);
    update(&b, 30, n_tokens);
    a.max = kvb_softmax_finish(&a, -INFINITY, a_sums, dim);
    a.sum = 1.0f;
    kvb_softmax_merge(&b, &a, dim);
    check(&b, 0, n_tokens, -INFINITY);
}

static void rms_norm_is_its_definition_with_and_without_gain(void **state) {
    (void)state;
    enum { n = 24, gap = 5, rows = 3 };
    oracle_random random = {9};
    float x[rows * (n + gap)], before[rows * (n + gap)], gain[n];
    for (int with_gain = 0; with_gain < 2; with_gain++) {
        for (int i = 0; i < rows * (n + gap); i++) {
            x[i] = before[i] = (i / (n + gap) == 1 ? 0.0f : 3e10f) * oracle_normal(&random);
        }
        for (int i = 0; i < n; i++) {
            gain[i] = oracle_normal(&random);
        }
        kvb_rms_norm(x, n + gap, rows, n, 1e-6f, with_gain ? gain : NULL);
        for (int r = 0; r < rows; r++) {
            double sum = 0.0;
            for (int i = 0; i < n; i++) {
                sum += (double)before[r * (n + gap) + i] * (double)before[r * (n + gap) + i];
            }
            for (int i = 0; i < n + gap; i++) {
                double was = (double)before[r * (n + gap) + i], got = (double)x[r * (n + gap) + i];
                double expected =
                    i < n ? was / sqrt(sum / n + (double)1e-6f) * (with_gain ? (double)gain[i] : 1.0) : was;
                assert_true(fabs(got - expected) <= 1e-7 * fabs(expected));
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_of_the_tokens_gives_the_same_attention),
        cmocka_unit_test(merging_the_empty_state_changes_no_bit),
        cmocka_unit_test(the_empty_state_is_zero_and_its_sink_the_log_sum_exp),
        cmocka_unit_test(masked_tokens_count_for_nothing_whatever_their_values),
        cmocka_unit_test(a_nan_logit_shows),
        cmocka_unit_test(a_finished_output_and_its_log_sum_exp_are_a_state),
        cmocka_unit_test(rms_norm_is_its_definition_with_and_without_gain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
