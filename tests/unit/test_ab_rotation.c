/* A rotation must reach K and V alike. Gaussian data cannot tell: they are as isotropic before it as behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "kvbits/eval.h"

/* K-only and V-only error at 4 bits, on rows with a few channels that are twenty times as large. */
static void errors_with(kvb_rotation rotation, double *k_only, double *v_only) {
    static const int len = 64, bits = 4, dim = 64;
    kvb_ab_config config = kvb_ab_config_default();
    config.generator = KVB_GENERATOR_OUTLIERS;
    config.head_dim = dim;
    config.scale = 0.125; /* no one-hot softmax: every value counts */
    config.kv_lens = &len;
    config.bits = &bits;
    config.round_trip_dims = &dim;
    config.n_kv_lens = config.n_bits = config.n_round_trip_dims = 1;
    config.trials = 8;
    config.vectors = 1;
    config.codebook = KVB_CODEBOOK_LIBRARY;
    config.rotation = rotation;
    kvb_result *result = NULL;
    kvb_error error = {""};
    char *text = NULL;
    if (kvb_ab_run(&config, NULL, NULL, &result, &error) != KVB_OK || kvb_result_json(result, &text, &error) != KVB_OK)
        fail_msg("%s", error.text);
    json_t *root = json_loads(text, 0, NULL), *cell = json_array_get(json_object_get(root, "pair_cells"), 0);
    *k_only = json_number_value(json_object_get(cell, "k_only_mean"));
    *v_only = json_number_value(json_object_get(cell, "v_only_mean"));
    assert_true(*k_only > 0.0 && *v_only > 0.0);
    json_decref(root);
    kvb_text_free(text);
    kvb_result_free(result);
}

static void rotation_spreads_the_outliers_of_keys_and_of_values(void **state) {
    (void)state;
    const kvb_rotation rotations[] = {KVB_ROTATION_HADAMARD, KVB_ROTATION_SIGNED};
    double k_plain, v_plain;
    errors_with(KVB_ROTATION_NONE, &k_plain, &v_plain);
    for (int i = 0; i < 2; i++) {
        double k_rotated, v_rotated;
        errors_with(rotations[i], &k_rotated, &v_rotated);
        print_message("K %.4f -> %.4f, V %.4f -> %.4f\n", k_plain, k_rotated, v_plain, v_rotated);
        assert_true(k_rotated < 0.6 * k_plain);
        assert_true(v_rotated < 0.6 * v_plain);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotation_spreads_the_outliers_of_keys_and_of_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
