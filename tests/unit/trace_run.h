/* Small traces asked by a small configuration, and their result's figures: for the tests of the A/B on traces. */
#ifndef KVB_TESTS_TRACE_RUN_H
#define KVB_TESTS_TRACE_RUN_H

#include "trace_oracle.h"

#include "result.h"

static const int widths[] = {3, 6};
static const kvb_pair pairs[] = {{3, 6}, {6, 3}, {6, 6}, {3, 3}, {8, 5}};
enum { N_PAIRS = 5 };

/* Tokens around the chunk of 64; groups of 2, 3 and 1; windows that cut and some that do not;
 * dims that layers share on one side only. */
static const layer shapes[] = {
    {0, 70, 4, 2, 64, 64, KVB_F32, 0.0, 0.0, 0, NULL, NULL, NULL},
    {3, 130, 6, 2, 96, 32, KVB_F16, 0.2, 5.0, 17, NULL, NULL, NULL},
    {7, 33, 2, 2, 64, 48, KVB_BF16, 0.05, 0.0, 1000, NULL, NULL, NULL},
    {12, 64, 3, 1, 32, 80, KVB_F32, 0.3, 30.0, 64, NULL, NULL, NULL},
    {13, 65, 8, 2, 40, 80, KVB_F16, 0.0, 0.0, 1, NULL, NULL, NULL},
};
enum { N_SHAPES = 5 };

static inline kvb_ab_config small_config(void) {
    kvb_ab_config config = kvb_ab_config_trace();
    config.bits = widths;
    config.n_bits = 2;
    config.pairs = pairs;
    config.n_pairs = N_PAIRS;
    return config;
}

static inline char *run_json(const kvb_ab_config *config, const layer *layers, int n, const kvb_parallel *parallel) {
    image file = image_of_layers(layers, n);
    kvb_trace *trace = open_good(file);
    kvb_result *result = NULL;
    kvb_error error = {""};
    char *text = NULL;
    assert_ok(kvb_ab_run_trace(config, trace, parallel, NULL, &result, &error), error);
    assert_int_equal(kvb_result_failed_checks(result), 0);
    assert_ok(kvb_result_json(result, &text, &error), error);
    kvb_result_free(result);
    kvb_trace_close(trace);
    free(file.bytes);
    return text;
}

static inline json_t *run(const kvb_ab_config *config, const layer *layers, int n) {
    char *text = run_json(config, layers, n, NULL);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    kvb_text_free(text);
    return root;
}

static inline double figure(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        fail_msg("no number \"%s\"", key);
    return json_number_value(value);
}

static inline json_t *entry(const json_t *object, const char *key, size_t i) {
    json_t *found = json_array_get(json_object_get(object, key), i);
    if (!found)
        fail_msg("no %s[%zu]", key, i);
    return found;
}

#endif
