/* The A/B on traces against a restatement in double precision: heads, windows, softcap, scales, dims, query subsets;
 * threads and skipping; what is refused. */
#include "trace_run.h"

#include "threads.h"

/* ---- Every figure of a layer ---- */

static void compare_pair(const json_t *cell, const layer *l, const kvb_ab_config *config, int queries) {
    static series both, k_only, v_only;
    int k = atoi(json_string_value(json_object_get(cell, "k"))),
        v = atoi(json_string_value(json_object_get(cell, "v")));
    measure(l, config, k, v, queries, &both);
    measure(l, config, k, EXACT, queries, &k_only);
    measure(l, config, EXACT, v, queries, &v_only);
    double mean = mean_of(both.nrmse, both.n), variance = 0.0;
    for (int i = 0; i < both.n; i++)
        variance += (both.nrmse[i] - mean) * (both.nrmse[i] - mean) / both.n;
    assert_int_equal((int)figure(cell, "n_trials"), both.n);
    assert_float_equal(figure(cell, "nrmse_mean"), mean, 2e-6);
    assert_float_equal(figure(cell, "nrmse_std"), sqrt(variance), 2e-6);
    assert_float_equal(figure(cell, "nrmse_p999"), largest_of(both.nrmse, both.n), 5e-6);
    assert_float_equal(figure(cell, "cosine_mean"), mean_of(both.cosine, both.n), 2e-6);
    assert_float_equal(figure(cell, "k_only_mean"), mean_of(k_only.nrmse, k_only.n), 2e-6);
    assert_float_equal(figure(cell, "v_only_mean"), mean_of(v_only.nrmse, v_only.n), 2e-6);
    double k_bits = k + 16.0 / l->k_dim, v_bits = v + 16.0 / l->v_dim;
    assert_float_equal(figure(cell, "average_bits"), (k_bits * l->k_dim + v_bits * l->v_dim) / (l->k_dim + l->v_dim),
                       1e-7);
}

static void compare_logits(const json_t *cell, const layer *l, const kvb_ab_config *config, int queries) {
    static series s;
    measure(l, config, atoi(json_string_value(json_object_get(cell, "k"))), EXACT, queries, &s);
    assert_float_equal(figure(cell, "logit_rmse"), mean_of(s.logit_rmse, s.n), 2e-6);
    assert_float_equal(figure(cell, "softmax_kl"), mean_of(s.kl, s.n), 5e-7);
    assert_float_equal(figure(cell, "softmax_kl_p999"), largest_of(s.kl, s.n), 2e-6);
    assert_float_equal(figure(cell, "top1_flips"), mean_of(s.top1, s.n), 1e-9);
    assert_float_equal(figure(cell, "top5_flips"), mean_of(s.top5, s.n), 1e-9);
}

static void compare_layer(const json_t *root, size_t i, const layer *l, const kvb_ab_config *config, int queries) {
    const json_t *found = entry(root, "layers", i);
    assert_int_equal((int)figure(found, "layer"), l->index);
    assert_int_equal(json_array_size(json_object_get(found, "pair_cells")), (size_t)config->n_pairs);
    for (size_t p = 0; p < (size_t)config->n_pairs; p++)
        compare_pair(entry(found, "pair_cells", p), l, config, queries);
    assert_int_equal(json_array_size(json_object_get(found, "logit_cells")), 3);
    for (size_t k = 0; k < 3; k++)
        compare_logits(entry(found, "logit_cells", k), l, config, queries);
    assert_float_equal(figure(found, "scale"), l->scale > 0.0 ? l->scale : 1.0 / sqrt(l->k_dim), 1e-8);
    assert_float_equal(figure(found, "softcap"), l->softcap, 1e-8);
    assert_int_equal((int)figure(found, "window"), l->window);
}

static void layers_of_every_shape_agree_with_double_precision(void **state) {
    (void)state;
    layer layers[N_SHAPES];
    kvb_ab_config config = small_config();
    memcpy(layers, shapes, sizeof layers);
    draw_layers(layers, N_SHAPES);
    json_t *root = run(&config, layers, N_SHAPES);
    for (size_t i = 0; i < N_SHAPES; i++)
        compare_layer(root, i, &layers[i], &config, 0);
    json_decref(root);
    free_layers(layers, N_SHAPES);
}

static void other_storage_agrees_with_double_precision(void **state) {
    (void)state;
    layer layers[2] = {shapes[0], shapes[3]};
    kvb_ab_config config = small_config();
    draw_layers(layers, 2);
    config.rotation = KVB_ROTATION_NONE;
    config.scale_kind = KVB_SCALE_NORM;
    json_t *root = run(&config, layers, 2);
    for (size_t i = 0; i < 2; i++)
        compare_layer(root, i, &layers[i], &config, 0);
    json_decref(root);
    free_layers(layers, 2);
}

static void the_config_s_scale_softcap_and_window_come_before_the_trace_s(void **state) {
    (void)state;
    layer layers[N_SHAPES];
    kvb_ab_config config = small_config();
    memcpy(layers, shapes, sizeof layers);
    draw_layers(layers, N_SHAPES);
    config.scale = 0.11;
    config.softcap = 2.5;
    config.window = 30;
    json_t *root = run(&config, layers, N_SHAPES);
    for (size_t i = 0; i < N_SHAPES; i++) {
        layers[i].scale = 0.11;
        layers[i].softcap = 2.5;
        layers[i].window = 30;
        compare_layer(root, i, &layers[i], &config, 0);
    }
    json_decref(root);
    config.softcap = 0.0; /* none, whatever the trace says */
    config.window = 0;
    layers[1].softcap = layers[1].window = 7;
    root = run(&config, &layers[1], 1);
    layers[1].softcap = layers[1].window = 0;
    compare_layer(root, 0, &layers[1], &config, 0);
    json_decref(root);
    free_layers(layers, N_SHAPES);
}

static void first_and_last_tokens_stay_as_recorded(void **state) {
    (void)state;
    static const int counts[][2] = {{1, 0}, {0, 1}, {4, 16}, {69, 0}, {70, 70}, {3, 65536}, {65536, 2}};
    layer layers[N_SHAPES];
    memcpy(layers, shapes, sizeof layers);
    draw_layers(layers, N_SHAPES);
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        kvb_ab_config config = small_config();
        config.exact_first = counts[c][0];
        config.exact_last = counts[c][1];
        json_t *root = run(&config, layers, N_SHAPES);
        for (size_t i = 0; i < N_SHAPES; i++)
            compare_layer(root, i, &layers[i], &config, 0);
        json_decref(root);
    }
    free_layers(layers, N_SHAPES);
}

static void query_subsets_are_evenly_spaced_and_end_at_the_last_token(void **state) {
    (void)state;
    static const int counts[] = {1, 7, 64, 69, 70, 71};
    layer l = shapes[0];
    draw_layers(&l, 1);
    for (int i = 0; i < 6; i++) {
        kvb_ab_config config = small_config();
        config.queries = counts[i];
        json_t *root = run(&config, &l, 1);
        assert_int_equal((int)figure(entry(root, "layers", 0), "queries"), counts[i] < 70 ? counts[i] : 70);
        compare_layer(root, 0, &l, &config, counts[i]);
        json_decref(root);
    }
    free_layers(&l, 1);
}

static void queries_before_a_position_are_left_out(void **state) {
    (void)state;
    static const int cases[][3] = {{1, 0, 69}, {40, 0, 30}, {40, 7, 7}, {69, 5, 1}, {70, 0, 1}, {1000, 0, 1}};
    layer l = shapes[0];
    draw_layers(&l, 1);
    for (int i = 0; i < 6; i++) {
        kvb_ab_config config = small_config();
        config.queries_from = cases[i][0];
        config.queries = cases[i][1];
        json_t *root = run(&config, &l, 1);
        assert_int_equal((int)figure(entry(root, "layers", 0), "queries"), cases[i][2]);
        compare_layer(root, 0, &l, &config, cases[i][1]);
        json_decref(root);
    }
    free_layers(&l, 1);
}

static void one_token_attends_to_itself(void **state) {
    (void)state;
    layer l = {5, 1, 2, 1, 64, 32, KVB_F32, 0.0, 0.0, 0, NULL, NULL, NULL};
    kvb_ab_config config = small_config();
    draw_layers(&l, 1);
    json_t *root = run(&config, &l, 1);
    compare_layer(root, 0, &l, &config, 0);
    assert_true(figure(entry(entry(root, "layers", 0), "pair_cells", 0), "k_only_mean") == 0.0);
    json_decref(root);
    free_layers(&l, 1);
}

/* ---- What changes nothing ---- */

/* Equal but for the last of eight decimals, which what is skipped may round elsewhere. Releases both. */
static void expect_near(json_t *one, json_t *other) {
    static const char *const figures[] = {"nrmse_mean", "nrmse_p999", "cosine_mean", "k_only_mean", "v_only_mean"};
    for (size_t l = 0; l < N_SHAPES; l++)
        for (size_t p = 0; p < N_PAIRS; p++)
            for (size_t i = 0; i < 5; i++)
                assert_float_equal(figure(entry(entry(one, "layers", l), "pair_cells", p), figures[i]),
                                   figure(entry(entry(other, "layers", l), "pair_cells", p), figures[i]), 2e-8);
    json_decref(one);
    json_decref(other);
}

static void threads_change_no_byte_and_skipping_no_figure(void **state) {
    (void)state;
    layer layers[N_SHAPES];
    kvb_ab_config config = small_config();
    kvb_threads *pool;
    kvb_error error = {""};
    memcpy(layers, shapes, sizeof layers);
    draw_layers(layers, N_SHAPES);
    assert_ok(kvb_threads_create(3, &pool, &error), error);
    kvb_parallel parallel = kvb_threads_parallel(pool);
    for (int spread = 0; spread < 2; spread++) {
        config.scale = spread ? 1.0 : 0.0; /* spread logits, so that there is something to skip */
        config.skip = 1;
        char *one = run_json(&config, layers, N_SHAPES, NULL), *three = run_json(&config, layers, N_SHAPES, &parallel);
        config.skip = 0;
        char *all = run_json(&config, layers, N_SHAPES, &parallel);
        assert_string_equal(one, three);
        expect_near(json_loads(one, 0, NULL), json_loads(all, 0, NULL));
        kvb_text_free(one);
        kvb_text_free(three);
        kvb_text_free(all);
    }
    kvb_threads_destroy(pool);
    free_layers(layers, N_SHAPES);
}

static void report(void *context, const char *what, double share) {
    double *last = context;
    assert_non_null(what);
    assert_true(share > *last && share <= 1.0);
    *last = share;
}

static void progress_rises_to_one_within_layers_too(void **state) {
    (void)state;
    layer layers[2] = {shapes[0], shapes[1]};
    kvb_ab_config config = small_config();
    draw_layers(layers, 2);
    image file = image_of_layers(layers, 2);
    kvb_trace *trace = open_good(file);
    double share = 0.0;
    kvb_progress progress = {report, &share};
    kvb_result *result = NULL;
    kvb_error error = {""};
    assert_ok(kvb_ab_run_trace(&config, trace, NULL, &progress, &result, &error), error);
    assert_true(share == 1.0);
    kvb_result_free(result);
    kvb_trace_close(trace);
    free(file.bytes);
    free_layers(layers, 2);
}

/* ---- What is refused ---- */

static void refuse(const kvb_ab_config *config, const layer *l, kvb_status expected, const char *sentence) {
    image file = image_of_layers(l, 1);
    kvb_trace *trace = open_good(file);
    kvb_result *result = NULL;
    kvb_error error = {""};
    kvb_status status = kvb_ab_run_trace(config, trace, NULL, NULL, &result, &error);
    if (status != expected || result || !strstr(error.text, sentence))
        fail_msg("status %d, expected %d; '%s', expected '%s'", status, expected, error.text, sentence);
    kvb_trace_close(trace);
    free(file.bytes);
}

static void values_that_are_not_finite_are_refused_with_their_place(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f};
    kvb_ab_config config = small_config();
    for (int side = 0; side < 3; side++)
        for (int i = 0; i < 4; i++) {
            layer l = {4, 5, 2, 1, 32, 32, KVB_F32, 0.0, 0.0, 0, NULL, NULL, NULL};
            char sentence[80];
            draw_layers(&l, 1);
            float *values = side == 0 ? l.q : side == 1 ? l.k : l.v;
            int heads = side == 0 ? 2 : 1;
            values[(3 * heads + heads - 1) * 32 + 17] = bad[i];
            snprintf(sentence, sizeof sentence, "layers.4.%c: token 3, head %d, coordinate 17", "qkv"[side], heads - 1);
            refuse(&config, &l, KVB_ERROR_NOT_FINITE, sentence);
            free_layers(&l, 1);
        }
}

static void what_a_trace_cannot_be_asked_is_refused(void **state) {
    (void)state;
    layer l = {4, 5, 2, 1, 24, 32, KVB_F32, 0.0, 0.0, 0, NULL, NULL, NULL};
    kvb_ab_config config = small_config();
    draw_layers(&l, 1);
    refuse(&config, &l, KVB_ERROR_ARGUMENT, "layer 4 has head_dim 24 for K, which the rotation 'signed' does not take");
    config.rotation = KVB_ROTATION_NONE;
    json_decref(run(&config, &l, 1));
    config.baselines = 1;
    refuse(&config, &l, KVB_ERROR_ARGUMENT, "without baselines");
    config = small_config();
    config.rotation = KVB_ROTATION_NONE;
    config.scale_kind = KVB_SCALE_NORM;
    config.scale_dtype = KVB_F32;
    config.sums = KVB_SUMS_INDEX_ORDER;
    refuse(&config, &l, KVB_ERROR_ARGUMENT, "legal for a trace: lanes");
    config = small_config();
    config.queries = -1;
    refuse(&config, &l, KVB_ERROR_ARGUMENT, "queries is -1");
    free_layers(&l, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_of_every_shape_agree_with_double_precision),
        cmocka_unit_test(other_storage_agrees_with_double_precision),
        cmocka_unit_test(the_config_s_scale_softcap_and_window_come_before_the_trace_s),
        cmocka_unit_test(first_and_last_tokens_stay_as_recorded),
        cmocka_unit_test(query_subsets_are_evenly_spaced_and_end_at_the_last_token),
        cmocka_unit_test(queries_before_a_position_are_left_out),
        cmocka_unit_test(one_token_attends_to_itself),
        cmocka_unit_test(threads_change_no_byte_and_skipping_no_figure),
        cmocka_unit_test(progress_rises_to_one_within_layers_too),
        cmocka_unit_test(values_that_are_not_finite_are_refused_with_their_place),
        cmocka_unit_test(what_a_trace_cannot_be_asked_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
