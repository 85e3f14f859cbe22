/* Traces: what a legal file reads as. */
#define _POSIX_C_SOURCE 200809L /* mkstemp */
#include "trace_image.h"

#include <math.h>
#include <unistd.h>

static void put_f32(uint8_t *at, float value) {
    memcpy(at, &value, 4); /* the tests run on little-endian machines */
}

static void put_u16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

/* ---- Legal files ------------------------------------------------------------------------------------------------- */

static void a_layer_reports_its_shapes_and_dtypes(void **state) {
    (void)state;
    const image file = image_of(GOOD, DATA);
    kvb_trace *trace = open_good(file);
    assert_int_equal(kvb_trace_layers(trace), 1);
    const kvb_trace_layer *layer = kvb_trace_get_layer(trace, 0);
    assert_int_equal(layer->index, 5);
    assert_int_equal(layer->tokens, 2);
    assert_int_equal(layer->n_heads, 2);
    assert_int_equal(layer->n_kv_heads, 1);
    assert_int_equal(layer->head_dim, 8);
    assert_int_equal(layer->v_head_dim, 16);
    assert_int_equal(layer->dtype_q, KVB_F32);
    assert_int_equal(layer->dtype_k, KVB_F16);
    assert_int_equal(layer->dtype_v, KVB_BF16);
    assert_true(layer->scale == 1 / sqrt(8));
    assert_true(layer->softcap == 0);
    assert_int_equal(layer->window, 0);
    assert_null(kvb_trace_get_layer(trace, 1));
    assert_null(kvb_trace_get_layer(trace, -1));
    assert_null(kvb_trace_metadata(trace, "model"));
    kvb_trace_close(trace);
    free(file.bytes);
}

static void reading_turns_tokens_by_heads_into_heads_by_tokens(void **state) {
    (void)state;
    const image file = image_of(GOOD, DATA);
    float q[32];
    for (int i = 0; i < 32; i++) {
        put_f32(data_of(file, DATA) + 4 * i, (float)i);
    }
    kvb_trace *trace = open_good(file);
    assert_int_equal(kvb_trace_read(trace, 0, KVB_SIDE_Q, q, NULL), KVB_OK);
    for (int token = 0; token < 2; token++) {
        for (int head = 0; head < 2; head++) {
            for (int i = 0; i < 8; i++) {
                assert_true(q[(head * 2 + token) * 8 + i] == (float)((token * 2 + head) * 8 + i));
            }
        }
    }
    kvb_trace_close(trace);
    free(file.bytes);
}

static void half_and_bfloat_values_convert_exactly(void **state) {
    (void)state;
    const image file = image_of(GOOD, DATA);
    float k[16], v[32];
    put_u16(data_of(file, DATA) + 128 + 2 * 15, 0xc500); /* -5 */
    put_u16(data_of(file, DATA) + 128, 0x0001);          /* 2^-24 */
    put_u16(data_of(file, DATA) + 160 + 2 * 31, 0x4049); /* 3.140625 */
    kvb_trace *trace = open_good(file);
    assert_int_equal(kvb_trace_read(trace, 0, KVB_SIDE_K, k, NULL), KVB_OK);
    assert_int_equal(kvb_trace_read(trace, 0, KVB_SIDE_V, v, NULL), KVB_OK);
    assert_true(k[15] == -5.0f && k[0] == 0x1p-24f && k[1] == 0);
    assert_true(v[31] == 3.140625f && v[30] == 0);
    kvb_trace_close(trace);
    free(file.bytes);
}

static void layers_come_in_rising_order_and_others_are_ignored(void **state) {
    (void)state;
#define LAYER(i, a, b, c, d)                                                                                           \
    "\"layers." #i ".v\":{\"dtype\":\"F16\",\"shape\":[1,1,8],\"data_offsets\":[" #c "," #d "]},"                      \
    "\"layers." #i ".q\":{\"dtype\":\"F16\",\"shape\":[1,1,8],\"data_offsets\":[" #a "," #b "]},"                      \
    "\"layers." #i ".k\":{\"dtype\":\"F16\",\"shape\":[1,1,8],\"data_offsets\":[" #b "," #c "]}"
    const image file = image_of("{" LAYER(11, 0, 16, 32, 48) "," LAYER(2, 48, 64, 80, 96) "," LAYER(
                                    3, 96, 112, 128, 144) ","
                                                          "\"layers.7.bias\":{\"dtype\":\"F8_NEW\",\"shape\":[3,1,1,1,"
                                                          "1,1],\"data_offsets\":[144,145]},"
                                                          "\"layers.q\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_"
                                                          "offsets\":[145,146]}}  ",
                                146);
    kvb_trace *trace = open_good(file);
    assert_int_equal(kvb_trace_layers(trace), 3);
    assert_int_equal(kvb_trace_get_layer(trace, 0)->index, 2);
    assert_int_equal(kvb_trace_get_layer(trace, 1)->index, 3);
    assert_int_equal(kvb_trace_get_layer(trace, 2)->index, 11);
    kvb_trace_close(trace);
    free(file.bytes);
}

static void a_layers_own_settings_override_the_files(void **state) {
    (void)state;
    const image file =
        image_of(META("\"scale\":\"0.5\",\"softcap\":\"50.0\",\"window\":\"128\",\"layers.5.scale\":"
                      "\"6.25e-2\",\"layers.4.window\":\"1\",\"layers.5.softcap\":\"0.0\",\"model\":\"m\""),
                 DATA);
    kvb_trace *trace = open_good(file);
    const kvb_trace_layer *layer = kvb_trace_get_layer(trace, 0);
    assert_true(layer->scale == 0.0625);
    assert_true(layer->softcap == 0);
    assert_int_equal(layer->window, 128);
    assert_string_equal(kvb_trace_metadata(trace, "model"), "m");
    kvb_trace_close(trace);
    free(file.bytes);
}

/* ---- Values ------------------------------------------------------------------------------------------------------ */

static void a_value_that_is_not_finite_is_named(void **state) {
    (void)state;
    static const struct {
        kvb_side side;
        size_t offset; /* of a 2-byte value in K or V, of a float in Q */
        uint32_t bits;
        const char *sentence;
    } faults[] = {
        {KVB_SIDE_Q, 4 * (16 + 8 + 3), 0x7fc00000, "layers.5.q: token 1, head 1, coordinate 3 is nan"},
        {KVB_SIDE_Q, 4 * 8, 0x5d000000, "token 0, head 1, coordinate 0 is 5.76461e+17"}, /* 2^59 */
        {KVB_SIDE_K, 128 + 2 * 9, 0x7c00, "layers.5.k: token 1, head 0, coordinate 1 is inf"},
        {KVB_SIDE_V, 160 + 2 * 15, 0xff80, "layers.5.v: token 0, head 0, coordinate 15 is -inf"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        const image file = image_of(GOOD, DATA);
        memcpy(data_of(file, DATA) + faults[i].offset, &faults[i].bits, faults[i].side == KVB_SIDE_Q ? 4 : 2);
        kvb_trace *trace = open_good(file);
        float values[32];
        kvb_error error = {""};
        for (int side = 0; side < 3; side++) {
            const kvb_status status = kvb_trace_read(trace, 0, (kvb_side)side, values, &error);
            assert_int_equal(status, side == (int)faults[i].side ? KVB_ERROR_NOT_FINITE : KVB_OK);
        }
        if (!strstr(error.text, faults[i].sentence)) {
            fail_msg("'%s' lacks '%s'", error.text, faults[i].sentence);
        }
        kvb_trace_close(trace);
        free(file.bytes);
    }
}

static void a_layer_or_side_that_does_not_exist_is_refused(void **state) {
    (void)state;
    const image file = image_of(GOOD, DATA);
    kvb_trace *trace = open_good(file);
    float values[32];
    assert_int_equal(kvb_trace_read(trace, 1, KVB_SIDE_Q, values, NULL), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_trace_read(trace, -1, KVB_SIDE_Q, values, NULL), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_trace_read(trace, 0, (kvb_side)3, values, NULL), KVB_ERROR_ARGUMENT);
    kvb_trace_close(trace);
    free(file.bytes);
}

/* ---- Files on disk ----------------------------------------------------------------------------------------------- */

static void the_recorded_trace_opens_from_its_file(void **state) {
    (void)state;
    kvb_trace *trace = NULL;
    kvb_error error = {""};
    if (kvb_trace_open(KVB_TEST_DATA "/data/smollm2_trace.safetensors", &trace, &error)) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(kvb_trace_layers(trace), 4);
    assert_string_equal(kvb_trace_metadata(trace, "license"), "apache-2.0");
    const kvb_trace_layer *layer = kvb_trace_get_layer(trace, 3);
    assert_int_equal(layer->index, 29);
    assert_int_equal(layer->tokens, 384);
    assert_int_equal(layer->n_heads, 9);
    assert_int_equal(layer->n_kv_heads, 3);
    assert_int_equal(layer->head_dim, 64);
    assert_true(layer->scale == 0.125);
    float *values = malloc((size_t)384 * 9 * 64 * sizeof *values);
    assert_non_null(values);
    for (int i = 0; i < 4; i++) {
        for (int side = 0; side < 3; side++) {
            assert_int_equal(kvb_trace_read(trace, i, (kvb_side)side, values, &error), KVB_OK);
        }
    }
    free(values);
    kvb_trace_close(trace);
}

static void a_path_that_is_no_readable_file_is_an_io_error(void **state) {
    (void)state;
    kvb_trace *trace = NULL;
    kvb_error error = {""};
    assert_int_equal(kvb_trace_open(KVB_TEST_DATA "/data/no such file", &trace, &error), KVB_ERROR_IO);
    assert_non_null(strstr(error.text, "no such file"));
    assert_int_equal(kvb_trace_open(KVB_TEST_DATA, &trace, &error), KVB_ERROR_IO);
    assert_non_null(strstr(error.text, "regular file"));
    assert_int_equal(kvb_trace_open("/dev/null", &trace, &error), KVB_ERROR_IO);
    assert_null(trace);
}

static void an_empty_file_is_a_format_error_that_names_it(void **state) {
    (void)state;
    char path[] = "/tmp/kvbits-trace-XXXXXX";
    const int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    close(descriptor);
    kvb_trace *trace = NULL;
    kvb_error error = {""};
    const kvb_status status = kvb_trace_open(path, &trace, &error);
    unlink(path);
    assert_int_equal(status, KVB_ERROR_FORMAT);
    assert_non_null(strstr(error.text, path));
    assert_non_null(strstr(error.text, "0 bytes"));
}

static void a_long_file_name_leaves_room_for_the_fault(void **state) {
    (void)state;
    char name[2000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    memcpy(name + sizeof name - 12, ".the\nsafest", 12);
    kvb_trace *trace = NULL;
    kvb_error error = {""};
    assert_int_equal(kvb_trace_from_memory("12345678", 8, name, &trace, &error), KVB_ERROR_FORMAT);
    assert_non_null(strstr(error.text, ".the?safest: the header length is"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layer_reports_its_shapes_and_dtypes),
        cmocka_unit_test(reading_turns_tokens_by_heads_into_heads_by_tokens),
        cmocka_unit_test(half_and_bfloat_values_convert_exactly),
        cmocka_unit_test(layers_come_in_rising_order_and_others_are_ignored),
        cmocka_unit_test(a_layers_own_settings_override_the_files),
        cmocka_unit_test(a_value_that_is_not_finite_is_named),
        cmocka_unit_test(a_layer_or_side_that_does_not_exist_is_refused),
        cmocka_unit_test(the_recorded_trace_opens_from_its_file),
        cmocka_unit_test(a_path_that_is_no_readable_file_is_an_io_error),
        cmocka_unit_test(an_empty_file_is_a_format_error_that_names_it),
        cmocka_unit_test(a_long_file_name_leaves_room_for_the_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
