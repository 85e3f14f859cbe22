/* Traces: no hostile header gets past the checks, and every fault has its sentence. */
#include "trace_image.h"

#include <stdio.h>

static void a_file_cut_at_any_length_is_refused(void **state) {
    (void)state;
    const image file = image_of(GOOD, DATA);
    for (size_t n = 0; n < file.size; n++) {
        image cut = {.bytes = malloc(n ? n : 1), .size = n};
        memcpy(cut.bytes, file.bytes, n);
        expect_fault(cut, KVB_ERROR_FORMAT,
                     n < 8                  ? "too few"
                     : n < file.size - DATA ? "header length is"
                                            : "data_offsets");
        free(cut.bytes);
    }
    free(file.bytes);
}

static void a_header_length_beyond_the_file_or_the_format_is_refused(void **state) {
    (void)state;
    const image file = image_of(GOOD, DATA);
    for (int bit = 10; bit < 64; bit++) {
        for (int i = 0; i < 8; i++) {
            file.bytes[i] = (uint8_t)(UINT64_C(1) << bit >> 8 * i);
        }
        expect_fault(file, KVB_ERROR_FORMAT, "header length is");
    }
    memset(file.bytes, 0xff, 8);
    expect_fault(file, KVB_ERROR_FORMAT, "header length is 18446744073709551615");
    memset(file.bytes, 0, 8);
    expect_fault(file, KVB_ERROR_FORMAT, "begin with '{'");
    free(file.bytes);
}

static void a_header_that_is_no_json_object_is_refused(void **state) {
    (void)state;
    expect_bad_header(" " GOOD, DATA, "begin with '{'");
    expect_bad_header("[1]", 0, "begin with '{'");
    expect_bad_header("{", 0, "not valid JSON");
    expect_bad_header("{\"a\":1}x", 0, "not valid JSON");
    expect_bad_header("{\"a\xff\":1}", 0, "not valid JSON");
    expect_bad_header("{" Q "," Q "," K "," V "}", DATA, "duplicate");
    expect_bad_header("{" Q "," K "," V ",\"\\u006cayers.5.q\":{}}", DATA, "duplicate");
    expect_bad_header("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}," Q "," K "," V "}", DATA, "duplicate");
}

static void a_tensor_described_wrongly_is_named(void **state) {
    (void)state;
#define ODD(x) "{" Q "," K "," V ",\"odd\":" x "}"
    expect_bad_header(ODD("[]"), DATA, "tensor odd is not described by a JSON object");
    expect_bad_header(ODD("{\"shape\":[0],\"data_offsets\":[224,224]}"), DATA, "tensor odd has no \"dtype\"");
    expect_bad_header(ODD("{\"dtype\":4,\"shape\":[0],\"data_offsets\":[224,224]}"), DATA, "has no \"dtype\"");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"data_offsets\":[224,224]}"), DATA, "has no \"shape\"");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[0]}"), DATA, "no \"data_offsets\"");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[224]}"), DATA, "no \"data_offsets\"");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[224,224,224]}"), DATA, "two numbers");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[224.0,224]}"), DATA, "data_offsets[0]");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[224,\"224\"]}"), DATA, "data_offsets[1]");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[-1,224]}"), DATA, "is -1, but");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[-4],\"data_offsets\":[224,224]}"), DATA, "shape[0] is -4");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[224,224]}"), DATA, "shape[0] must be");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[true],\"data_offsets\":[224,224]}"), DATA, "shape[0] must be");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[1e3],\"data_offsets\":[224,224]}"), DATA, "shape[0] must be");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[224,224]}"), DATA,
                      "not valid JSON");
    expect_bad_header("{\"a\\u001b[31m\":7," Q "," K "," V "}", DATA, "tensor a?[31m is");
}

static void sizes_that_overflow_or_disagree_are_refused(void **state) {
    (void)state;
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[224,224]}"), DATA,
                      "overflows");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[224,224]}"), DATA,
                      "do not fill");
    expect_bad_header(ODD("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[224,226]}"), DATA + 2, "do not fill");
    expect_bad_header(ODD("{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[224,225]}"), DATA + 1, "do not fill");
    expect_bad_header(ODD("{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[224,228]}"), DATA + 4, "do not fill");
}

static void bytes_of_two_tensors_or_of_none_are_refused(void **state) {
    (void)state;
    expect_bad_header(ODD("{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[220,224]}"), DATA,
                      "inside another tensor");
    expect_bad_header(ODD("{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}"), DATA, "inside another tensor");
    expect_bad_header(ODD("{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[228,232]}"), DATA + 8, "leaves a hole");
    expect_bad_header(ODD("{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[224,228]}"), DATA + 8, "end at byte 228");
    expect_bad_header(ODD("{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[228,224]}"), DATA, "must rise");
    expect_bad_header(ODD("{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[224,228]}"), DATA,
                      "the 224 bytes of data");
}

#define SIDE(side, dtype, shape, offsets)                                                                              \
    "\"layers.5." side "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" offsets "]}"

static void a_layer_without_all_three_sides_is_refused(void **state) {
    (void)state;
    expect_bad_header("{}", 0, "holds no layer");
    expect_bad_header("{" SIDE("k", "F16", "2,1,8", "0,32") "," SIDE("v", "F16", "2,1,8", "32,64") "}", 64,
                      "no tensor layers.5.q");
    expect_bad_header("{" SIDE("q", "F16", "2,1,8", "0,32") "," SIDE("v", "F16", "2,1,8", "32,64") "}", 64,
                      "no tensor layers.5.k");
    expect_bad_header("{" Q "," K "}", 160, "no tensor layers.5.v");
    expect_bad_header("{\"layers.05.q\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "leading zeros");
    expect_bad_header("{\"layers.1000000.q\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0,
                      "layer index");
}

static void a_side_of_the_wrong_dtype_or_shape_is_refused(void **state) {
    (void)state;
    expect_bad_header("{" Q "," K "," SIDE("v", "F64", "2,1,8", "160,288") "}", 288, "layers.5.v is of dtype F64");
    expect_bad_header("{" Q "," K "," SIDE("v", "Q9", "2,1,8", "160,224") "}", DATA, "is of dtype Q9");
    expect_bad_header("{" Q "," K "," SIDE("v", "BF16", "2,16", "160,224") "}", DATA, "has 2 dimensions");
    expect_bad_header("{" Q "," K "," SIDE("v", "BF16", "2,1,16,1", "160,224") "}", DATA, "has 4 dimensions");
    expect_bad_header("{" Q "," K "," SIDE("v", "BF16", "2,2,8,1,1", "160,224") "}", DATA, "has 5 dimensions");
    expect_bad_header("{" Q "," K "," SIDE("v", "BF16", "2,0,16", "160,160") "}", 160, "shape[1] is 0");
    expect_bad_header("{" Q "," K "," SIDE("v", "BF16", "0,4294967296,16", "160,160") "}", 160, "shape[0] is 0");
    expect_bad_header("{" Q "," K "," SIDE("v", "BF16", "2,4,4", "160,224") "}", DATA, "head_dim 4");
    expect_bad_header("{" Q "," K "," SIDE("v", "BF16", "2,1,12", "160,208") "}", 208, "head_dim 12");
    expect_bad_header("{" Q "," K "," SIDE("v", "BF16", "2,1,584", "160,2496") "}", 2496,
                      "multiple of 8 from 8 to 576");
}

static void sides_that_do_not_fit_each_other_are_refused(void **state) {
    (void)state;
    expect_bad_header("{" Q "," K "," SIDE("v", "BF16", "4,1,8", "160,224") "}", DATA, "2 in k and 4 in v");
    expect_bad_header("{" Q "," SIDE("k", "F16", "1,2,8", "128,160") "," V "}", DATA, "2 tokens in q, 1 in k");
    expect_bad_header("{" Q "," K "," SIDE("v", "BF16", "2,2,8", "160,224") "}", DATA, "1 heads in k and 2 in v");
    expect_bad_header("{" SIDE("q", "F16", "2,1,16", "0,64") "," SIDE("k", "F16", "2,1,8", "64,96") "," SIDE(
                          "v", "F16", "2,1,8", "96,128") "}",
                      128, "head_dim 16 in q and 8 in k");
    expect_bad_header("{" SIDE("q", "F16", "2,3,8", "0,96") "," SIDE("k", "F16", "2,2,8", "96,160") "," SIDE(
                          "v", "F16", "2,2,8", "160,224") "}",
                      DATA, "3 heads in q, which is no multiple of the 2 in k");
}

static void settings_that_are_no_legal_numbers_are_refused(void **state) {
    (void)state;
    static const char *const scales[] = {"",    "nan",  "inf", "0x1p3", "0",     "-1",
                                         "1e7", "1e-7", "1 2", "0,5",   "1e999", "[1]"};
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        char header[2048], sentence[64];
        snprintf(header, sizeof header, META("\"scale\":\"%s\""), scales[i]);
        snprintf(sentence, sizeof sentence, "metadata scale is \"%s\"", scales[i]);
        expect_bad_header(header, DATA, sentence);
    }
    expect_bad_header(META("\"layers.5.softcap\":\"-30\""), DATA, "metadata layers.5.softcap is \"-30\"");
    expect_bad_header(META("\"window\":\"1.5\""), DATA, "metadata window is \"1.5\"");
    expect_bad_header(META("\"window\":\"-1\""), DATA, "whole number of tokens");
    expect_bad_header(META("\"window\":\"2147483648\""), DATA, "to 2147483647");
    expect_bad_header(META("\"scale\":0.5"), DATA, "metadata scale must be a string");
    expect_bad_header("{\"__metadata__\":[]," Q "," K "," V "}", DATA, "\"__metadata__\" must be");
}

static void positions_that_do_not_rise_by_one_are_refused(void **state) {
    (void)state;
#define WITH_POSITIONS(dtype, shape, end)                                                                              \
    "{" Q "," K "," V ",\"positions\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[224," end "]}}"
    const image file = image_of(WITH_POSITIONS("I32", "2", "232"), 232);
    uint8_t *positions = data_of(file, 8);
    memcpy(positions, (uint8_t[]){7, 1, 0, 0, 8, 1, 0, 0}, 8);
    kvb_trace_close(open_good(file));
    positions[4] = 9;
    expect_fault(file, KVB_ERROR_FORMAT, "positions[1] is 265");
    memcpy(positions, (uint8_t[]){255, 255, 255, 255, 0, 0, 0, 0}, 8);
    expect_fault(file, KVB_ERROR_FORMAT, "positions[0] is -1");
    free(file.bytes);
    expect_bad_header(WITH_POSITIONS("I64", "2", "240"), 240, "positions[1] is 0");
    expect_bad_header(WITH_POSITIONS("I64", "3", "248"), 248, "3 positions, but layer 5 has 2");
    expect_bad_header(WITH_POSITIONS("F32", "2", "232"), 232, "I32 or I64");
    expect_bad_header(WITH_POSITIONS("I32", "2,1", "232"), 232, "one dimension");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_cut_at_any_length_is_refused),
        cmocka_unit_test(a_header_length_beyond_the_file_or_the_format_is_refused),
        cmocka_unit_test(a_header_that_is_no_json_object_is_refused),
        cmocka_unit_test(a_tensor_described_wrongly_is_named),
        cmocka_unit_test(sizes_that_overflow_or_disagree_are_refused),
        cmocka_unit_test(bytes_of_two_tensors_or_of_none_are_refused),
        cmocka_unit_test(a_layer_without_all_three_sides_is_refused),
        cmocka_unit_test(a_side_of_the_wrong_dtype_or_shape_is_refused),
        cmocka_unit_test(sides_that_do_not_fit_each_other_are_refused),
        cmocka_unit_test(settings_that_are_no_legal_numbers_are_refused),
        cmocka_unit_test(positions_that_do_not_rise_by_one_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
