/* A plan's prediction from sensitivities: weights come from curves of rows as the probe stored them, damage from curves
 * of rows as the plan stores them, and the same queries judge both. */
#include "check.h"

#include "plan_measure.h"

enum { LAYERS = 4, PROBE_K = 4, PROBE_V = 3 };

static kvb_trace *trace;
static kvb_plan_curves plain[LAYERS], centered[LAYERS];
static const int layers[LAYERS] = {0, 10, 20, 29};
static const double kl[2 * LAYERS] = {.01, .02, .4, .03, .05, .3, .007, .06};
static const kvb_sensitivity probe = {LAYERS, layers, kl, PROBE_K, PROBE_V};
static const kvb_plan_request request = {
    .bits_per_value = 4.25, .scale = KVB_SCALE_LSQ, .queries = 16, .k_mean = 1, .sensitivity = &probe};

static int measure(void **unused) {
    kvb_error error;
    (void)unused;
    return kvb_trace_open(KVB_TEST_DATA "/data/smollm2_trace.safetensors", &trace, &error) ||
           kvb_trace_layers(trace) != LAYERS ||
           kvb_plan_measure(trace, &request, (kvb_plan_way){{0, 0}, 0}, NULL, NULL, plain, &error) ||
           kvb_plan_measure(trace, &request, (kvb_plan_way){{0, 0}, 1}, NULL, NULL, centered, &error);
}

static int release(void **unused) {
    (void)unused;
    kvb_trace_close(trace);
    return 0;
}

/* Centering changes no value: where their errors differ, other queries judged. */
static void the_same_queries_judge_all_ways(void **unused) {
    (void)unused;
    for (int l = 0; l < LAYERS; l++)
        for (int w = 0; w < KVB_PLAN_PACKED; w++) {
            assert_true(plain[l].one_side[1][w] == centered[l].one_side[1][w]);
            assert_true(plain[l].one_side[0][w] != centered[l].one_side[0][w]);
        }
}

static double squared(double x) {
    return x * x;
}

static void weights_come_from_rows_as_probed(void **unused) {
    kvb_plan *plan;
    kvb_error error;
    double expected = 0.0;
    (void)unused;
    if (kvb_plan_make(trace, &request, NULL, NULL, &plan, &error))
        fail_msg("%s", error.text);
    for (int l = 0; l < LAYERS; l++) {
        assert_int_equal(plan->layers[l].index, layers[l]);
        const int k = plan->layers[l].spec.k.bits - 1, v = plan->layers[l].spec.v.bits - 1;
        assert_true(plan->layers[l].k_error == centered[l].one_side[0][k]);
        expected += kl[2 * l] * squared(centered[l].one_side[0][k] / plain[l].one_side[0][PROBE_K - 1]) +
                    kl[2 * l + 1] * squared(centered[l].one_side[1][v] / plain[l].one_side[1][PROBE_V - 1]);
    }
    assert_float_equal(plan->predicted_kl, expected, 1e-12);
    kvb_plan_free(plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_queries_judge_all_ways),
                                       cmocka_unit_test(weights_come_from_rows_as_probed)};
    return cmocka_run_group_tests(tests, measure, release);
}
