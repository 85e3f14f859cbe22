/* docs/format.md: its three rows worked out by hand, and the golden files, encoded and decoded again. */
#include "check.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void row_a_of_the_document(void **state) {
    (void)state;
    static const float levels[] = {-1.75f, -1.25f, -0.75f, -0.25f, 0.25f, 0.75f, 1.25f, 1.75f};
    static const float x[] = {4, -3, 2, 1, -1, 1, 0, 0};
    static const uint8_t expected[] = {0x00, 0x40, 0xe7, 0xc0, 0x2d};
    static const float decoded[] = {3.5f, -3.5f, 1.5f, 0.5f, -1.5f, 0.5f, -0.5f, -0.5f};
    kvb_codec_spec spec = {8, 3, KVB_ROTATION_NONE, 0, KVB_SCALE_NORM, KVB_F16, levels, 0, 0};
    kvb_codec *codec = create_codec(&spec);
    uint32_t block[2];
    float out[8];
    kvb_packed packed = kvb_packed_view(codec, block, 1);
    kvb_error error;
    assert_int_equal(kvb_codec_block_bytes(codec, 1), sizeof expected);
    assert_ok(kvb_encode(codec, x, KVB_F32, 8, 1, &packed, 0, NULL, &error), error);
    assert_memory_equal(block, expected, sizeof expected);
    assert_ok(kvb_decode(codec, &packed, 0, 1, KVB_DOMAIN_INPUT, out, 8, &error), error);
    assert_memory_equal(out, decoded, sizeof decoded);
    kvb_codec_destroy(codec);
}

static void row_b_of_the_document(void **state) {
    (void)state;
    static const float levels[] = {-1.5f, -0.5f, 0.5f, 1.5f};
    static const uint8_t expected[] = {0x00, 0x00, 0x00, 0x40, 0x77, 0x22, 0xdd, 0x88, 0x77, 0x22,
                                       0xdd, 0x88, 0xdd, 0x88, 0x77, 0x22, 0xdd, 0x88, 0x77, 0x22};
    kvb_codec_spec spec = {64, 2, KVB_ROTATION_SIGNED, 0x6b766269, KVB_SCALE_LSQ, KVB_F32, levels, 0, 0};
    kvb_codec *codec = create_codec(&spec);
    uint32_t block[5];
    float x[64] = {0}, y[64], out[64];
    x[1] = 8.0f;
    x[26] = -16.0f;
    kvb_packed packed = kvb_packed_view(codec, block, 1);
    kvb_error error;
    assert_int_equal(kvb_codec_block_bytes(codec, 1), sizeof expected);
    assert_ok(kvb_encode(codec, x, KVB_F32, 64, 1, &packed, 0, NULL, &error), error);
    assert_memory_equal(block, expected, sizeof expected);
    assert_ok(kvb_decode(codec, &packed, 0, 1, KVB_DOMAIN_INPUT, out, 64, &error), error);
    for (int i = 0; i < 64; i++) {
        assert_true(out[i] == x[i]);
        assert_true(x[i] != 0.0f || !signbit(out[i]) == !(UINT64_C(0x287a8af15e5176cc) >> i & 1));
    }
    kvb_rotate(codec, x, 64, 1);
    assert_ok(kvb_decode(codec, &packed, 0, 1, KVB_DOMAIN_ROTATED, y, 64, &error), error);
    assert_memory_equal(y, x, sizeof y);
    kvb_codec_destroy(codec);
}

/* ---- Golden files ---- */

/* Decoded only: its path is not that of least error. */
static void row_c_of_the_document(void **state) {
    (void)state;
    static const float levels[] = {-7, -5, -3, -1, 1, 3, 5, 7};
    static const float expected[8] = {2.5f, -1.5f, -2.5f, 0.5f, 2.5f, -0.5f, -1.5f, 3.5f};
    kvb_codec_spec spec = {8, 2, KVB_ROTATION_NONE, 0, KVB_SCALE_NORM, KVB_F16, levels, 8, 0};
    uint16_t block[2] = {0x3800, 0x9969};
    kvb_codec *codec = create_codec(&spec);
    kvb_packed packed = kvb_packed_view(codec, block, 1);
    kvb_error error;
    float decoded[8];
    assert_ok(kvb_decode(codec, &packed, 0, 1, KVB_DOMAIN_INPUT, decoded, 8, &error), error);
    assert_memory_equal(decoded, expected, sizeof expected);
    kvb_codec_destroy(codec);
}

static void row_d_of_the_document(void **state) {
    (void)state;
    static const float levels[] = {-3, -1, 1, 3, -0.5f, 0.5f};
    static const float expected[16] = {6, -6, 2, -2, -2, 2, -6, 6, 1, -1, 1, 1, -1, -1, 1, -1};
    kvb_codec_spec spec = {16, 1, KVB_ROTATION_NONE, 0, KVB_SCALE_NORM, KVB_F16, levels, 0, 1};
    _Alignas(2) uint8_t block[5] = {0x00, 0x40, 0x1b, 0xe4, 0x4d};
    kvb_codec *codec = create_codec(&spec);
    kvb_packed packed = kvb_packed_view(codec, block, 1);
    kvb_error error;
    float decoded[16];
    assert_int_equal(kvb_codec_block_bytes(codec, 1), sizeof block);
    assert_ok(kvb_decode(codec, &packed, 0, 1, KVB_DOMAIN_INPUT, decoded, 16, &error), error);
    assert_memory_equal(decoded, expected, sizeof expected);
    kvb_codec_destroy(codec);
}

typedef struct bytes {
    uint8_t *data;
    size_t size;
} bytes;

static bytes read_hex(const json_t *json, const char *key) {
    const char *hex = json_string_value(json_object_get(json, key));
    assert_non_null(hex);
    bytes result = {NULL, strlen(hex) / 2};
    result.data = malloc(result.size);
    for (size_t i = 0; i < result.size; i++) {
        unsigned value;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &value), 1);
        result.data[i] = (uint8_t)value;
    }
    return result;
}

static int is(const json_t *json, const char *key, const char *text) {
    return strcmp(json_string_value(json_object_get(json, key)), text) == 0;
}

static int number(const json_t *json, const char *key) {
    return (int)json_integer_value(json_object_get(json, key));
}

static kvb_codec *codec_of(const json_t *json, const bytes *description) {
    float levels[KVB_MAX_LEVELS];
    kvb_codec_spec spec = {.head_dim = number(json, "head_dim"), .bits = number(json, "bits"), .centroids = levels};
    spec.rotation = is(json, "rotation", "none")     ? KVB_ROTATION_NONE
                    : is(json, "rotation", "signed") ? KVB_ROTATION_SIGNED
                                                     : KVB_ROTATION_HADAMARD;
    spec.scale = is(json, "scale", "lsq")      ? KVB_SCALE_LSQ
                 : is(json, "scale", "search") ? KVB_SCALE_SEARCH
                                               : KVB_SCALE_NORM;
    spec.trellis_states = number(json, "trellis_states"); /* 0 where it is not said */
    spec.scale_dtype = is(json, "scale_dtype", "f16") ? KVB_F16 : KVB_F32;
    spec.sign_seed = strtoull(json_string_value(json_object_get(json, "sign_seed")), NULL, 16);
    size_t level_bytes =
        sizeof(float) * (size_t)kvb_codec_spec_levels(&spec); /* the description ends with the levels */
    memcpy(levels, description->data + description->size - level_bytes, level_bytes);
    return create_codec(&spec);
}

static void check_golden(const char *name) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/golden/packed/%s.json", KVB_TEST_DATA, name);
    json_t *json = json_load_file(path, 0, NULL);
    if (!json) {
        fail_msg("%s cannot be read", path);
    }
    bytes description = read_hex(json, "description"), rows = read_hex(json, "rows_f16");
    bytes block = read_hex(json, "block"), expected = read_hex(json, "decoded_f32");
    kvb_codec *codec = codec_of(json, &description);
    size_t d = (size_t)number(json, "head_dim"), n_rows = (size_t)number(json, "n_rows");
    assert_int_equal(rows.size, 2 * n_rows * d);
    assert_int_equal(expected.size, 4 * n_rows * d);
    assert_int_equal(kvb_codec_block_bytes(codec, n_rows), block.size);

    uint8_t *encoded = malloc(block.size);
    float *decoded = malloc(expected.size);
    kvb_packed packed = kvb_packed_view(codec, encoded, n_rows);
    kvb_error error;
    kvb_encode_unchecked(codec, rows.data, KVB_F16, d, n_rows, &packed, 0, NULL);
    if (memcmp(encoded, block.data, block.size) != 0) {
        fail_msg("%s: encoding again gives other bytes", name);
    }
    assert_ok(kvb_decode(codec, &packed, 0, n_rows, KVB_DOMAIN_INPUT, decoded, d, &error), error);
    for (size_t i = 0; i < n_rows * d; i++) {
        float value;
        memcpy(&value, expected.data + 4 * i, sizeof value);
        if (memcmp(&value, &decoded[i], sizeof value) != 0 && !(isnan(value) && isnan(decoded[i]))) {
            fail_msg("%s: value %zu decodes to %.9g, not %.9g", name, i, (double)decoded[i], (double)value);
        }
    }
    free(encoded);
    free(decoded);
    free(description.data);
    free(rows.data);
    free(block.data);
    free(expected.data);
    kvb_codec_destroy(codec);
    json_decref(json);
}

static void golden_files_are_reproduced_for_every_width_and_head_dim(void **state) {
    (void)state;
    static const int dims[] = {32, 64, 72, 80, 96, 112, 128, 192, 256, 320, 512, 576};
    for (size_t k = 0; k < sizeof dims / sizeof dims[0]; k++) {
        for (int bits = 1; bits <= KVB_MAX_BITS; bits++) {
            char name[32];
            (void)snprintf(name, sizeof name, "d%d-b%d", dims[k], bits);
            check_golden(name);
        }
    }
}

static void golden_trellis_rows_are_reproduced(void **state) {
    (void)state;
    static const int states[] = {8, 16, 64, 256, 0};
    for (int s = 0; s < 5; s++) {
        for (int bits = KVB_MIN_TRELLIS_BITS; bits <= KVB_MAX_TRELLIS_BITS; bits++) {
            char name[32];
            (void)snprintf(name, sizeof name, "t%d-b%d", states[s], bits);
            check_golden(name);
        }
    }
}

static void golden_edge_rows_are_reproduced(void **state) {
    (void)state;
    check_golden("edges-norm-f32");
    check_golden("edges-norm-f16");
    check_golden("edges-lsq-f32");
    check_golden("edges-lsq-f16");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_a_of_the_document),
        cmocka_unit_test(row_b_of_the_document),
        cmocka_unit_test(golden_files_are_reproduced_for_every_width_and_head_dim),
        cmocka_unit_test(golden_trellis_rows_are_reproduced),
        cmocka_unit_test(row_c_of_the_document),
        cmocka_unit_test(row_d_of_the_document),
        cmocka_unit_test(golden_edge_rows_are_reproduced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
