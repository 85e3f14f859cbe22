/* Storage schemes: a row through a store reads back as the format says. */
#include "baselines.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const kvb_scheme_kind baseline_kinds[] = {KVB_SCHEME_Q4_0, KVB_SCHEME_Q8_0, KVB_SCHEME_FP8_E4M3,
                                                 KVB_SCHEME_INT4_G32};
enum { N_BASELINES = sizeof baseline_kinds / sizeof *baseline_kinds };

static kvb_scheme scheme_of(kvb_scheme_kind kind, int head_dim, kvb_rotation rotation) {
    kvb_scheme scheme = {.kind = kind, .spec = kvb_codec_spec_default(head_dim, 4)};
    scheme.spec.rotation = rotation;
    return scheme;
}

static kvb_store *make(const kvb_scheme *scheme) {
    kvb_store *store = NULL;
    kvb_error error = {""};
    if (kvb_store_create(scheme, &store, &error)) {
        fail_msg("%s", error.text);
    }
    return store;
}

static void round_trip(const kvb_scheme *scheme, const float *rows, size_t n_rows, float *out) {
    kvb_store *store = make(scheme);
    kvb_error error = {""};
    if (kvb_store_round_trip(store, rows, n_rows, out, &error)) {
        fail_msg("%s", error.text);
    }
    kvb_store_destroy(store);
}

static void fill(float *values, size_t n, uint64_t seed) {
    kvb_rng rng = kvb_rng_seed(seed);
    kvb_rng_normals(&rng, values, n);
}

/* ---- Every scheme ------------------------------------------------------------------------------------------------ */

static void stored_bits_count_scales_and_short_last_blocks(void **state) {
    (void)state;
    static const struct {
        kvb_scheme_kind kind;
        int head_dim;
        double bits;
    } cases[] = {
        {KVB_SCHEME_Q4_0, 128, 4.5},    {KVB_SCHEME_Q8_0, 128, 8.5},     {KVB_SCHEME_FP8_E4M3, 128, 8},
        {KVB_SCHEME_INT4_G32, 128, 5},  {KVB_SCHEME_Q4_0, 40, 4.8},      {KVB_SCHEME_Q8_0, 80, 8.6},
        {KVB_SCHEME_INT4_G32, 80, 5.2}, {KVB_SCHEME_Q4_0, 8, 6},         {KVB_SCHEME_EXACT, 64, 32},
        {KVB_SCHEME_CODEC, 64, 4.25},   {KVB_SCHEME_CODEC, 256, 4.0625},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const kvb_scheme scheme = scheme_of(cases[i].kind, cases[i].head_dim, KVB_ROTATION_NONE);
        assert_true(fabs(kvb_scheme_bits(&scheme) - cases[i].bits) < 1e-12);
    }
    kvb_scheme scheme = scheme_of(KVB_SCHEME_CODEC, 64, KVB_ROTATION_SIGNED);
    scheme.spec.scale_dtype = KVB_F32;
    assert_true(kvb_scheme_bits(&scheme) == 4.5);
    kvb_codec *codec = NULL;
    assert_int_equal(kvb_codec_create(&scheme.spec, NULL, NULL, &codec, NULL), KVB_OK);
    assert_true(kvb_scheme_bits(&scheme) == kvb_codec_bits_per_value(codec));
    kvb_codec_destroy(codec);
}

static void names_tell_schemes_apart(void **state) {
    (void)state;
    static const char *const names[N_BASELINES] = {"q4_0", "q8_0", "fp8", "int4"};
    char name[24], rotated[24];
    for (int i = 0; i < N_BASELINES; i++) {
        kvb_scheme scheme = scheme_of(baseline_kinds[i], 64, KVB_ROTATION_NONE);
        kvb_scheme_name(&scheme, name, sizeof name);
        assert_string_equal(name, names[i]);
        scheme.spec.rotation = KVB_ROTATION_SIGNED;
        kvb_scheme_name(&scheme, rotated, sizeof rotated);
        assert_memory_equal(rotated, name, strlen(name));
        assert_string_equal(rotated + strlen(name), "+rot");
    }
    kvb_scheme scheme = scheme_of(KVB_SCHEME_CODEC, 64, KVB_ROTATION_SIGNED);
    kvb_scheme_name(&scheme, name, sizeof name);
    assert_string_equal(name, "4");
    scheme.kind = KVB_SCHEME_EXACT;
    kvb_scheme_name(&scheme, name, sizeof name);
    assert_string_equal(name, "exact");
    kvb_scheme_name(&scheme, name, 3);
    assert_string_equal(name, "ex");
}

static void a_short_last_block_has_a_scale_of_its_own(void **state) {
    (void)state;
    for (int i = 0; i < N_BASELINES; i++) {
        float row[40] = {0}, small[8], back[40], small_back[8];
        fill(row, 32, 1);
        fill(small, 8, 2);
        for (int j = 0; j < 8; j++) {
            row[32 + j] = small[j] *= 0.01f;
        }
        const kvb_scheme whole = scheme_of(baseline_kinds[i], 40, KVB_ROTATION_NONE);
        const kvb_scheme part = scheme_of(baseline_kinds[i], 8, KVB_ROTATION_NONE);
        round_trip(&whole, row, 1, back);
        round_trip(&part, small, 1, small_back);
        assert_memory_equal(back + 32, small_back, sizeof small_back);
    }
}

static void zero_rows_and_tiny_rows_read_back_as_zeros(void **state) {
    (void)state;
    for (int kind = KVB_SCHEME_EXACT; kind <= KVB_SCHEME_INT4_G32; kind++) {
        for (int rotated = 0; rotated < 2; rotated++) {
            const kvb_scheme scheme = scheme_of((kvb_scheme_kind)kind, 64, rotated ? KVB_ROTATION_SIGNED : 0);
            float rows[128] = {0}, back[128];
            rows[70] = kind == KVB_SCHEME_EXACT ? 0 : 1e-42f; /* its scale underflows binary16 */
            round_trip(&scheme, rows, 2, back);
            for (int i = 0; i < 128; i++) {
                assert_true(back[i] == 0);
            }
        }
    }
}

static void exact_rows_keep_every_bit(void **state) {
    (void)state;
    float rows[96], back[96];
    fill(rows, 96, 3);
    rows[5] = -0.0f;
    const kvb_scheme scheme = scheme_of(KVB_SCHEME_EXACT, 48, KVB_ROTATION_SIGNED);
    round_trip(&scheme, rows, 2, back);
    assert_memory_equal(back, rows, sizeof rows);
}

static void a_rotated_baseline_is_rotate_store_unrotate(void **state) {
    (void)state;
    for (int i = 0; i < N_BASELINES; i++) {
        float rows[3 * 80], back[3 * 80], expected[3 * 80];
        fill(rows, 240, 4);
        kvb_scheme scheme = scheme_of(baseline_kinds[i], 80, KVB_ROTATION_SIGNED);
        scheme.spec.sign_seed = 99;
        round_trip(&scheme, rows, 3, back);
        kvb_codec *codec = NULL;
        assert_int_equal(kvb_codec_create(&scheme.spec, NULL, NULL, &codec, NULL), KVB_OK);
        memcpy(expected, rows, sizeof rows);
        kvb_rotate(codec, expected, 80, 3);
        for (int r = 0; r < 3; r++) {
            kvb_baseline_round_trip(baseline_kinds[i], expected + 80 * r, 80);
        }
        kvb_unrotate(codec, expected, 80, 3);
        assert_memory_equal(back, expected, sizeof back);
        kvb_codec_destroy(codec);
        scheme.spec.rotation = KVB_ROTATION_NONE;
        round_trip(&scheme, rows, 3, expected);
        assert_memory_not_equal(back, expected, sizeof back);
    }
}

static void the_codec_scheme_is_encode_then_decode(void **state) {
    (void)state;
    enum { D = 96, N = 5 };
    float rows[N * D], back[N * D], expected[N * D];
    fill(rows, N * D, 5);
    const kvb_scheme scheme = scheme_of(KVB_SCHEME_CODEC, D, KVB_ROTATION_SIGNED);
    round_trip(&scheme, rows, N, back);
    kvb_codec *codec = NULL;
    assert_int_equal(kvb_codec_create(&scheme.spec, NULL, NULL, &codec, NULL), KVB_OK);
    void *block = malloc(kvb_codec_block_bytes(codec, N));
    const kvb_packed packed = kvb_packed_view(codec, block, N);
    assert_int_equal(kvb_encode(codec, rows, KVB_F32, D, N, &packed, 0, NULL, NULL), KVB_OK);
    assert_int_equal(kvb_decode(codec, &packed, 0, N, KVB_DOMAIN_INPUT, expected, D, NULL), KVB_OK);
    assert_memory_equal(back, expected, sizeof back);
    free(block);
    kvb_codec_destroy(codec);
}

static void rows_may_be_replaced_in_place(void **state) {
    (void)state;
    for (int kind = KVB_SCHEME_EXACT; kind <= KVB_SCHEME_INT4_G32; kind++) {
        float rows[4 * 64], back[4 * 64];
        fill(rows, 256, 6);
        const kvb_scheme scheme = scheme_of((kvb_scheme_kind)kind, 64, KVB_ROTATION_SIGNED);
        round_trip(&scheme, rows, 4, back);
        round_trip(&scheme, rows, 4, rows);
        assert_memory_equal(back, rows, sizeof rows);
    }
}

/* ---- Faults ------------------------------------------------------------------------------------------------------ */

static void a_scale_beyond_binary16_is_an_error_that_names_the_row(void **state) {
    (void)state;
    static const kvb_scheme_kind kinds[] = {KVB_SCHEME_Q4_0, KVB_SCHEME_Q8_0, KVB_SCHEME_INT4_G32};
    for (int i = 0; i < 3; i++) {
        float rows[128] = {0};
        rows[64 + 40] = 1e8f;
        const kvb_scheme scheme = scheme_of(kinds[i], 64, KVB_ROTATION_NONE);
        kvb_store *store = make(&scheme);
        kvb_error error = {""};
        assert_int_equal(kvb_store_round_trip(store, rows, 2, rows, &error), KVB_ERROR_NOT_FINITE);
        assert_non_null(strstr(error.text, "row 1, coordinate "));
        kvb_store_destroy(store);
    }
}

static void a_row_that_is_not_finite_is_refused_by_the_codec(void **state) {
    (void)state;
    float rows[64] = {0};
    rows[3] = NAN;
    const kvb_scheme scheme = scheme_of(KVB_SCHEME_CODEC, 64, KVB_ROTATION_SIGNED);
    kvb_store *store = make(&scheme);
    assert_int_equal(kvb_store_round_trip(store, rows, 1, rows, NULL), KVB_ERROR_NOT_FINITE);
    kvb_store_destroy(store);
}

static void illegal_schemes_are_refused(void **state) {
    (void)state;
    kvb_store *store = NULL;
    kvb_error error = {""};
    kvb_scheme scheme = scheme_of((kvb_scheme_kind)9, 64, KVB_ROTATION_NONE);
    assert_int_equal(kvb_store_create(&scheme, &store, &error), KVB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.text, "scheme kind 9"));
    scheme = scheme_of(KVB_SCHEME_EXACT, 0, KVB_ROTATION_NONE);
    assert_int_equal(kvb_store_create(&scheme, &store, &error), KVB_ERROR_ARGUMENT);
    scheme = scheme_of(KVB_SCHEME_Q4_0, 44, KVB_ROTATION_NONE);
    assert_int_equal(kvb_store_create(&scheme, &store, &error), KVB_ERROR_ARGUMENT);
    scheme = scheme_of(KVB_SCHEME_Q4_0, 88, KVB_ROTATION_SIGNED); /* 11 * 8: no Hadamard matrix here */
    assert_int_equal(kvb_store_create(&scheme, &store, &error), KVB_ERROR_ARGUMENT);
    assert_null(store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_bits_count_scales_and_short_last_blocks),
        cmocka_unit_test(names_tell_schemes_apart),
        cmocka_unit_test(a_short_last_block_has_a_scale_of_its_own),
        cmocka_unit_test(zero_rows_and_tiny_rows_read_back_as_zeros),
        cmocka_unit_test(exact_rows_keep_every_bit),
        cmocka_unit_test(a_rotated_baseline_is_rotate_store_unrotate),
        cmocka_unit_test(the_codec_scheme_is_encode_then_decode),
        cmocka_unit_test(rows_may_be_replaced_in_place),
        cmocka_unit_test(a_scale_beyond_binary16_is_an_error_that_names_the_row),
        cmocka_unit_test(a_row_that_is_not_finite_is_refused_by_the_codec),
        cmocka_unit_test(illegal_schemes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
