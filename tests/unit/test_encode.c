/* What kvb_encode stores against two restatements of docs/format.md: one equal to the last bit, one in double
 * precision. */
#include "check.h"
#include "oracle.h"
#include "row_kinds.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check_row(const kvb_codec *codec, const float *x) {
    const kvb_codec_spec *spec = kvb_codec_get_spec(codec);
    int d = spec->head_dim, saturated = 0;
    size_t scale_bytes = kvb_dtype_bytes(spec->scale_dtype);
    uint8_t codes[KVB_MAX_HEAD_DIM], bytes[KVB_MAX_HEAD_DIM];
    float scale, stored, decoded[KVB_MAX_HEAD_DIM], expected[KVB_MAX_HEAD_DIM];
    float block[KVB_MAX_HEAD_DIM / 4 + 1];
    oracle_encode_exact(spec, x, codes, &scale, &saturated);
    uint8_t *at = bytes;
    for (int half = 0; half <= spec->half_bit; half++) {
        kvb_codec_spec s = spec->half_bit ? oracle_half(spec, half) : *spec;
        if (spec->trellis_states) {
            oracle_pack_trellis(&s, codes + half * s.head_dim, at);
        } else {
            oracle_pack(s.bits, s.head_dim, codes + half * s.head_dim, at);
        }
        at += s.bits * s.head_dim / 8;
    }
    assert_int_equal(kvb_codec_block_bytes(codec, 1), scale_bytes + (size_t)(at - bytes));

    kvb_packed packed = kvb_packed_view(codec, block, 1);
    kvb_encode_stats stats = {0};
    kvb_error error;
    assert_ok(kvb_encode(codec, x, KVB_F32, (size_t)d, 1, &packed, 0, &stats, &error), error);
    assert_memory_equal((const uint8_t *)block + scale_bytes, bytes, (size_t)(at - bytes));
    memcpy(&stored, block, sizeof stored);
    if (spec->scale_dtype == KVB_F16) {
        uint16_t half;
        memcpy(&half, block, sizeof half);
        stored = kvb_f16_to_f32(half);
    }
    assert_memory_equal(&stored, &scale, sizeof scale);
    assert_int_equal(stats.rows, 1);
    assert_int_equal(stats.saturated_scales, saturated);
    assert_int_equal(stats.not_finite_rows, 0);

    oracle_levels(spec, codes, expected);
    for (int i = 0; i < d; i++) {
        expected[i] *= scale;
    }
    assert_ok(kvb_decode(codec, &packed, 0, 1, KVB_DOMAIN_ROTATED, decoded, (size_t)d, &error), error);
    assert_memory_equal(decoded, expected, (size_t)d * sizeof *decoded);
    oracle_unrotate_exact(spec, expected);
    assert_ok(kvb_decode(codec, &packed, 0, 1, KVB_DOMAIN_INPUT, decoded, (size_t)d, &error), error);
    assert_memory_equal(decoded, expected, (size_t)d * sizeof *decoded);
}

typedef void check_codec(const kvb_codec *codec, oracle_random *random);

/* Calls check for one width and number of states with every combination of storage. */
static void for_each_mode(int head_dim, int bits, int states, oracle_random *random, check_codec *check) {
    for (int mode = 0; mode < 18; mode++) {
        kvb_codec_spec spec = {.head_dim = head_dim, .bits = bits, .sign_seed = 77, .trellis_states = states};
        spec.rotation = (kvb_rotation)(mode % 3);
        spec.scale = (kvb_scale_kind)(mode / 3 % 3);
        spec.scale_dtype = mode / 9 ? KVB_F16 : KVB_F32;
        if (!kvb_head_dim_supported(spec.head_dim, spec.rotation)) {
            continue;
        }
        float levels[KVB_MAX_LEVELS * 2];
        int level_bits = bits + (states > 0);
        oracle_uniform_levels(level_bits, 6.0 / (1 << level_bits), levels);
        levels[0] -= 0.125f; /* not symmetric */
        spec.centroids = levels;
        kvb_codec *codec = create_codec(&spec);
        check(codec, random);
        kvb_codec_destroy(codec);
        if (head_dim % 16 != 0 || bits == (states ? KVB_MAX_TRELLIS_BITS : KVB_MAX_BITS)) {
            continue;
        }
        oracle_uniform_levels(level_bits + 1, 3.0 / (1 << level_bits), levels);
        oracle_uniform_levels(level_bits, 5.5 / (1 << level_bits), levels + (2 << level_bits));
        levels[0] -= 0.125f;
        spec.half_bit = 1;
        codec = create_codec(&spec);
        check(codec, random);
        kvb_codec_destroy(codec);
    }
}

/* Calls check for every combination of storage at some head_dims: all scalar widths, and at each head_dim one or two
 * widths of each trellis. */
static void for_each_codec(check_codec *check) {
    static const int dims[] = {8, 24, 32, 64, 72, 80, 112, 128, 256, 320, 576}, states[] = {8, 16, 64, 256};
    oracle_random random = {9};
    for (int k = 0; k < (int)(sizeof dims / sizeof dims[0]); k++) {
        for (int bits = 1; bits <= 8; bits++) {
            for_each_mode(dims[k], bits, 0, &random, check);
        }
        for (int s = 0; s < (dims[k] <= 72 ? 4 : 2); s++) { /* many states are slow to restate */
            for (int i = 0; i < (s < 2 ? 2 : 1); i++) {
                for_each_mode(dims[k], 2 + (k + s + 3 * i) % 5, states[s], &random, check);
            }
        }
    }
}

static void check_kinds(const kvb_codec *codec, oracle_random *random) {
    for (int kind = 0; kind < n_kinds; kind++) {
        float x[KVB_MAX_HEAD_DIM];
        fill_row(kind, kvb_codec_get_spec(codec)->head_dim, random, x);
        check_row(codec, x);
    }
}

static void bytes_and_decoded_floats_equal_the_restatement(void **state) {
    (void)state;
    for_each_codec(check_kinds);
}

/* Levels that make least squares awkward: all of one sign (negative scales), zero, tiny (overflow), huge. */
static void odd_levels_equal_the_restatement(void **state) {
    (void)state;
    static const float tables[][4] = {{1.0f, 2.0f, 3.0f, 4.0f},
                                      {0.0f, 1.0f, 2.0f, 3.0f},
                                      {-0x1p-70f, 0.0f, 0x1p-70f, 0x1p-69f},
                                      {-0x1p-149f, 0.0f, 0x1p-149f, 0x1p-148f},
                                      {-KVB_MAX_ABS, -1.0f, 1.0f, KVB_MAX_ABS}};
    oracle_random random = {10};
    for (size_t k = 0; k < sizeof tables / sizeof tables[0]; k++) {
        for (int mode = 0; mode < 8; mode++) {
            kvb_codec_spec spec = {.head_dim = 32, .bits = 2, .centroids = tables[k]};
            spec.rotation = mode & 1 ? KVB_ROTATION_SIGNED : KVB_ROTATION_NONE;
            spec.scale = mode & 2 ? KVB_SCALE_LSQ : KVB_SCALE_NORM;
            spec.scale_dtype = mode & 4 ? KVB_F16 : KVB_F32;
            kvb_codec *codec = create_codec(&spec);
            check_kinds(codec, &random);
            float negative[32];
            for (int i = 0; i < 32; i++) {
                negative[i] = -1.0f - (float)i;
            }
            check_row(codec, negative);
            kvb_codec_destroy(codec);
        }
    }
}

/* Codes may differ from the double-precision ones only where a value lies on a midpoint up to rounding. */
static void codes_and_scales_agree_with_double_precision(void **state) {
    (void)state;
    static const int dims[] = {32, 72, 128, 320};
    oracle_random random = {11};
    for (int mode = 0; mode < 32; mode++) {
        float levels[KVB_MAX_LEVELS], x[KVB_MAX_HEAD_DIM], stored;
        uint8_t codes[KVB_MAX_HEAD_DIM], expected[KVB_MAX_HEAD_DIM];
        double scale;
        kvb_codec_spec spec = kvb_codec_spec_default(dims[mode % 4], 1 + mode / 4);
        spec.scale = mode % 2 ? KVB_SCALE_LSQ : KVB_SCALE_NORM;
        spec.scale_dtype = KVB_F32;
        oracle_uniform_levels(spec.bits, 6.0 / (1 << spec.bits), levels);
        spec.centroids = levels;
        kvb_codec *codec = create_codec(&spec);
        fill_row(0, spec.head_dim, &random, x);
        float block[KVB_MAX_HEAD_DIM / 4 + 1];
        kvb_packed packed = kvb_packed_view(codec, block, 1);
        kvb_error error;
        assert_ok(kvb_encode(codec, x, KVB_F32, (size_t)spec.head_dim, 1, &packed, 0, NULL, &error), error);
        kvb_packed_row_codes(codec, &packed, 0, codes, &stored);
        double margin = oracle_encode(&spec, x, expected, &scale);
        assert_true(fabs(stored / scale - 1.0) < (margin > 1e-5 ? 1e-6 : 1e-2));
        for (int i = 0; i < spec.head_dim; i++) {
            assert_true(codes[i] == expected[i] || (margin < 1e-5 && abs(codes[i] - expected[i]) == 1));
        }
        kvb_codec_destroy(codec);
    }
}

static void half_inputs_encode_like_the_same_floats(void **state) {
    (void)state;
    enum { d = 72, rows = 40 };
    static uint16_t halves[2][rows * d];
    static float floats[2][rows * d];
    oracle_random random = {12};
    for (int i = 0; i < rows * d; i++) {
        float value = oracle_normal(&random) * ldexpf(1.0f, -(i / d)); /* down into the subnormals */
        halves[0][i] = kvb_f32_to_f16(value);
        halves[1][i] = kvb_f32_to_bf16(value);
        floats[0][i] = kvb_f16_to_f32(halves[0][i]);
        floats[1][i] = kvb_bf16_to_f32(halves[1][i]);
    }
    for (int rotation = KVB_ROTATION_NONE; rotation <= KVB_ROTATION_SIGNED; rotation++) {
        kvb_codec_spec spec = kvb_codec_spec_default(d, 5);
        spec.rotation = (kvb_rotation)rotation;
        kvb_codec *codec = create_codec(&spec);
        size_t bytes = kvb_codec_block_bytes(codec, rows);
        void *a = malloc(bytes), *b = malloc(bytes);
        kvb_packed pa = kvb_packed_view(codec, a, rows), pb = kvb_packed_view(codec, b, rows);
        for (int k = 0; k < 2; k++) {
            kvb_error error;
            kvb_dtype dtype = k ? KVB_BF16 : KVB_F16;
            assert_ok(kvb_encode(codec, halves[k], dtype, d, rows, &pa, 0, NULL, &error), error);
            assert_ok(kvb_encode(codec, floats[k], KVB_F32, d, rows, &pb, 0, NULL, &error), error);
            assert_memory_equal(a, b, bytes);
        }
        free(a);
        free(b);
        kvb_codec_destroy(codec);
    }
}

static void check_unchecked(const kvb_codec *codec, const float *x, uint32_t expected_scale, unsigned not_finite) {
    const kvb_codec_spec *spec = kvb_codec_get_spec(codec);
    size_t d = (size_t)spec->head_dim, scale_bytes = kvb_dtype_bytes(spec->scale_dtype);
    size_t bytes = kvb_codec_block_bytes(codec, 1);
    float block[KVB_MAX_HEAD_DIM / 4 + 1];
    memset(block, 0xff, sizeof block);
    kvb_packed packed = kvb_packed_view(codec, block, 1);
    kvb_encode_stats stats = {0};
    kvb_encode_unchecked(codec, x, KVB_F32, d, 1, &packed, 0, &stats);
    assert_int_equal(stats.not_finite_rows, not_finite);
    uint32_t scale = 0;
    memcpy(&scale, block, scale_bytes);
    assert_int_equal(scale, expected_scale);
    for (size_t i = scale_bytes; i < bytes; i++) {
        assert_int_equal(((const uint8_t *)block)[i], 0);
    }
}

static void zero_and_not_finite_rows_have_defined_bytes(const kvb_codec *codec, oracle_random *random) {
    const kvb_codec_spec *spec = kvb_codec_get_spec(codec);
    static const float illegal[] = {NAN, INFINITY, -INFINITY, FLT_MAX};
    float x[KVB_MAX_HEAD_DIM];
    fill_row(7, spec->head_dim, random, x);
    check_unchecked(codec, x, 0, 0);
    for (size_t k = 0; k < sizeof illegal / sizeof illegal[0]; k++) {
        fill_row(0, spec->head_dim, random, x);
        x[oracle_next(random) % (unsigned)spec->head_dim] = illegal[k];
        check_unchecked(codec, x, spec->scale_dtype == KVB_F16 ? 0x7e00 : 0x7fc00000, 1);
    }
}

static void zero_rows_and_rows_that_are_not_finite_store_codes_zero(void **state) {
    (void)state;
    for_each_codec(zero_and_not_finite_rows_have_defined_bytes);
}

static void a_nan_scale_decodes_to_nan(void **state) {
    (void)state;
    kvb_codec_spec spec = kvb_codec_spec_default(64, 4);
    kvb_codec *codec = create_codec(&spec);
    float x[64] = {NAN}, block[64], out[64];
    kvb_packed packed = kvb_packed_view(codec, block, 1);
    kvb_error error;
    kvb_encode_unchecked(codec, x, KVB_F32, 64, 1, &packed, 0, NULL);
    for (int domain = 0; domain < 2; domain++) {
        assert_ok(kvb_decode(codec, &packed, 0, 1, (kvb_domain)domain, out, 64, &error), error);
        for (int i = 0; i < 64; i++) {
            assert_true(isnan(out[i]));
        }
    }
    kvb_codec_destroy(codec);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_and_decoded_floats_equal_the_restatement),
        cmocka_unit_test(odd_levels_equal_the_restatement),
        cmocka_unit_test(codes_and_scales_agree_with_double_precision),
        cmocka_unit_test(half_inputs_encode_like_the_same_floats),
        cmocka_unit_test(zero_rows_and_rows_that_are_not_finite_store_codes_zero),
        cmocka_unit_test(a_nan_scale_decodes_to_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
