/* The options of `kvbits ab`: defaults, and legal values that land where they belong. */
#include "ab_option_list.h"

#include "options_run.h"

/* ---- Defaults ---- */

static void without_options_it_is_the_default_experiment(void **state) {
    (void)state;
    kvb_ab_options o;
    kvb_ab_config d = kvb_ab_config_default();
    kvb_error error;
    accept(&o, "");
    assert_ok(kvb_ab_config_check(&o.config, &error), error);
    assert_memory_equal(o.config.bits, d.bits, (size_t)d.n_bits * sizeof(int));
    assert_memory_equal(o.config.kv_lens, d.kv_lens, (size_t)d.n_kv_lens * sizeof(int));
    assert_memory_equal(o.config.round_trip_dims, d.round_trip_dims, (size_t)d.n_round_trip_dims * sizeof(int));
    assert_null(o.config.pairs);
    assert_true(o.config.scale == 1.0 && o.config.softcap == 0.0 && o.config.window == 0);
    assert_true(o.config.seed == 0xC25EED && o.config.skip == 1 && o.config.rotation == KVB_ROTATION_NONE);
    assert_true(o.report == 1 && o.threads == 0 && !o.quiet && !o.help && !o.out && !o.json && !o.trace);
}

static void expect_trace_defaults(const char *line) {
    kvb_ab_options o;
    kvb_ab_config d = kvb_ab_config_trace();
    accept(&o, line);
    assert_string_equal(o.trace, "T");
    assert_true(o.config.scale == 0.0 && o.config.softcap == -1.0 && o.config.window == -1);
    assert_true(o.config.rotation == KVB_ROTATION_SIGNED && o.config.scale_kind == KVB_SCALE_LSQ);
    assert_true(o.config.scale_dtype == KVB_F16 && o.config.codebook == KVB_CODEBOOK_LIBRARY);
    assert_int_equal(o.config.n_bits, 7);
    assert_int_equal(o.config.n_pairs, 49);
    assert_memory_equal(o.config.bits, d.bits, 7 * sizeof(int));
    assert_memory_equal(o.config.pairs, d.pairs, 49 * sizeof(kvb_pair));
}

static void a_trace_has_its_own_defaults_wherever_and_however_it_is_named(void **state) {
    (void)state;
    expect_trace_defaults("--trace T");
    expect_trace_defaults("--trace=T");
    expect_trace_defaults("--trac T");
    expect_trace_defaults("--tra=T");
    expect_trace_defaults("--threads 2 --trace T");
    expect_trace_defaults("--trace U --trace T");
    kvb_ab_options o;
    accept(&o, "--out --trace"); /* a value, no option */
    assert_null(o.trace);
    assert_string_equal(o.out, "--trace");
    assert_true(o.config.rotation == KVB_ROTATION_NONE && o.config.scale == 1.0);
    accept(&o, "--rotation none --bits 3,5 --scale 0.5 --softcap 0 --window 0 --trace T"); /* what is given stands */
    assert_true(o.config.rotation == KVB_ROTATION_NONE && o.config.scale == 0.5);
    assert_true(o.config.softcap == 0.0 && o.config.window == 0);
    assert_int_equal(o.config.n_pairs, 4);
    assert_true(o.config.pairs[1].k_bits == 3 && o.config.pairs[1].v_bits == 5);
}

/* ---- Legal values ---- */

static void values_land_where_they_belong(void **state) {
    (void)state;
    kvb_ab_options o;
    accept(&o, "--bits 1,8,3 --pairs 7/5,6/4 --thresholds 0.05,2 --baselines --redraws 7");
    assert_true(o.config.n_bits == 3 && o.config.bits[0] == 1 && o.config.bits[1] == 8 && o.config.bits[2] == 3);
    assert_true(o.config.n_pairs == 2 && o.config.pairs[0].k_bits == 7 && o.config.pairs[0].v_bits == 5);
    assert_true(o.config.pairs[1].k_bits == 6 && o.config.pairs[1].v_bits == 4);
    assert_true(o.config.thresholds[0] == 0.05 && o.config.thresholds[1] == 2.0);
    assert_true(o.config.baselines == 1 && o.config.redraws == 7);
    assert_null(o.config.halves);
    accept(&o, "--pairs 7/5,5.5/4,6/4.5,6/4");
    assert_true(o.config.n_pairs == 4 && o.config.pairs[1].k_bits == 5 && o.config.pairs[2].v_bits == 4);
    for (int i = 0; i < 4; i++) {
        assert_true(o.config.halves[i].k_bits == (i == 1) && o.config.halves[i].v_bits == (i == 2));
    }
    accept(&o, "--pairs 5.5/4 --pairs 6/4"); /* the last counts */
    assert_null(o.config.halves);
    accept(&o, "--rotation signed --sign-seed 0xFFFFFFFFFFFFFFFF --scale-kind lsq --scale-dtype f16 --cdf as26.2.17");
    assert_true(o.config.rotation == KVB_ROTATION_SIGNED && o.config.sign_seed == UINT64_MAX);
    assert_true(o.config.scale_kind == KVB_SCALE_LSQ && o.config.scale_dtype == KVB_F16);
    assert_true(o.config.cdf == KVB_CDF_AS26217);
    accept(&o, "--generator student-t --student-dof 5 --seed 17 --heads 4 --kv-heads 2 --head-dim 64 --kv-lens 9,10");
    assert_true(o.config.generator == KVB_GENERATOR_STUDENT_T && o.config.student_dof == 5 && o.config.seed == 17);
    assert_true(o.config.n_heads == 4 && o.config.n_kv_heads == 2 && o.config.head_dim == 64);
    assert_true(o.config.n_kv_lens == 2 && o.config.kv_lens[0] == 9 && o.config.kv_lens[1] == 10);
    accept(&o, "--generator outliers --outlier-channels 3 --outlier-factor 7.5 --outliers spread");
    assert_true(o.config.generator == KVB_GENERATOR_OUTLIERS && o.config.outlier_channels == 3);
    assert_true(o.config.outlier_factor == 7.5 && o.config.outliers_spread == 1);
    accept(&o, "--generator sink --sink-strength 3 --trials 6 --head-dims 32,40 --vectors 11");
    assert_true(o.config.generator == KVB_GENERATOR_SINK && o.config.sink_strength == 3.0 && o.config.trials == 6);
    assert_true(o.config.n_round_trip_dims == 2 && o.config.round_trip_dims[1] == 40 && o.config.vectors == 11);
    accept(&o, "--generator low-rank --rank 5 --low-rank-noise 0.5 --scale 2e-1 --softcap 30 --window 128 --no-skip");
    assert_true(o.config.generator == KVB_GENERATOR_LOW_RANK && o.config.low_rank == 5);
    assert_true(o.config.low_rank_noise == 0.5 && o.config.scale == 0.2 && o.config.softcap == 30.0);
    assert_true(o.config.window == 128 && o.config.skip == 0);
    accept(&o, "--sums index-order --threads 1024 --out D --json - --no-report --quiet --help");
    assert_true(o.config.sums == KVB_SUMS_INDEX_ORDER && o.threads == 1024 && !o.report && o.quiet && o.help);
    assert_string_equal(o.out, "D");
    assert_string_equal(o.json, "-");
    accept(&o, "--trace T --queries 12");
    assert_int_equal(o.config.queries, 12);
    accept(&o, "--head-dim 64 --softmax flat");
    assert_true(o.config.scale == 0.125);
    accept(&o, "--softmax flat --head-dim 64 --softmax peaked");
    assert_true(o.config.scale == 1.0);
}

static void codebooks_are_sources_or_files(void **state) {
    (void)state;
    static const char *const names[] = {"default", "lloyd", "library", "beta"};
    kvb_ab_options o;
    char line[64];
    for (int i = 0; i < 4; i++) {
        snprintf(line, sizeof line, "--codebook %s", names[i]);
        accept(&o, line);
        assert_int_equal(o.config.codebook, i);
        assert_null(o.codebook_path);
    }
    accept(&o, "--codebook betas");
    assert_int_equal(o.config.codebook, KVB_CODEBOOK_FILE);
    assert_string_equal(o.codebook_path, "betas");
    accept(&o, "--codebook file.json --codebook beta"); /* the last one counts */
    assert_null(o.codebook_path);
}

static void the_grid_takes_every_width_with_every_other(void **state) {
    (void)state;
    kvb_ab_options o;
    accept(&o, "--pairs grid --bits 1,2,3,4,5,6,7,8"); /* in any order of the options */
    assert_int_equal(o.config.n_pairs, 64);
    for (int i = 0; i < 64; i++)
        assert_true(o.config.pairs[i].k_bits == i / 8 + 1 && o.config.pairs[i].v_bits == i % 8 + 1);
    accept(&o, "--pairs grid --pairs 4/3");
    assert_int_equal(o.config.n_pairs, 1);
    accept(&o, "--pairs 4/3 --pairs grid");
    assert_int_equal(o.config.n_pairs, 9);
    refuse("--pairs grid --bits 1,2,3,4,5,6,7,8,1", "--bits", "9", "at most 8");
}

static void an_option_may_be_shortened_joined_and_repeated(void **state) {
    (void)state;
    kvb_ab_options o;
    accept(&o, "--bit=4 --bits=5 --thresh=0.2,0.3 --no-r --qui");
    assert_true(o.config.n_bits == 1 && o.config.bits[0] == 5 && o.config.thresholds[1] == 0.3 && !o.report && o.quiet);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_options_it_is_the_default_experiment),
        cmocka_unit_test(a_trace_has_its_own_defaults_wherever_and_however_it_is_named),
        cmocka_unit_test(values_land_where_they_belong),
        cmocka_unit_test(codebooks_are_sources_or_files),
        cmocka_unit_test(the_grid_takes_every_width_with_every_other),
        cmocka_unit_test(an_option_may_be_shortened_joined_and_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
