/* Codebook files: what is read, and the one sentence for everything else. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvbits/eval.h"

static kvb_status parse(const char *text, kvb_codebook_file *file, kvb_error *error) {
    return kvb_codebook_file_parse(text, strlen(text), "tables.json", file, error);
}

static void golden_file_loads(void **state) {
    (void)state;
    kvb_codebook_file file;
    kvb_error error;
    assert_ok(kvb_codebook_file_read(KVB_TEST_DATA "/golden/bitwidth_ab.json", &file, &error), error);
    for (int bits = 0; bits <= KVB_MAX_BITS; bits++)
        assert_int_equal(file.centroids[bits] != NULL, bits >= 4 && bits <= 6);
    assert_true(file.centroids[4][0] == -2.73260188 && file.centroids[4][15] == 2.73260188);
    kvb_codebook_file_free(&file);
    for (int bits = 0; bits <= KVB_MAX_BITS; bits++)
        assert_null(file.centroids[bits]);
    kvb_codebook_file_free(&file);
    kvb_codebook_file_free(NULL);
}

static void every_width_is_read_and_other_keys_are_ignored(void **state) {
    (void)state;
    char text[16384], *at = text;
    at += sprintf(at, "{\"note\": {\"codebooks\": 1}, \"codebooks\": {");
    for (int bits = 1; bits <= 8; bits++) {
        at += sprintf(at, "%s\"%d_bit\": [", bits > 1 ? "," : "", bits);
        for (int i = 0; i < 1 << bits; i++)
            at += sprintf(at, "%s%g", i ? "," : "", i - (bits == 3 ? 0 : 0.5)); /* integers are numbers too */
        at += sprintf(at, "]");
    }
    sprintf(at, "}, \"9_bit\": []}");
    kvb_codebook_file file;
    kvb_error error;
    assert_ok(parse(text, &file, &error), error);
    for (int bits = 1; bits <= 8; bits++)
        for (int i = 0; i < 1 << bits; i++)
            assert_true(file.centroids[bits][i] == i - (bits == 3 ? 0 : 0.5));
    kvb_codebook_file_free(&file);
}

static void what_is_wrong_is_said_in_one_sentence(void **state) {
    (void)state;
    const struct {
        const char *text, *named;
    } cases[] = {
        {"", "line 1"},
        {"{", "line 1"},
        {"[1, 2]", "no \"codebooks\" object"},
        {"[]", "no \"codebooks\" object"},
        {"{}", "no \"codebooks\" object"},
        {"{\"codebooks\": [1]}", "no \"codebooks\" object"},
        {"{\"codebooks\": {}}", "no \"codebooks\" object"},
        {"{\"codebooks\": {\"0_bit\": [1]}}", "\"0_bit\""},
        {"{\"codebooks\": {\"9_bit\": [1]}}", "\"9_bit\""},
        {"{\"codebooks\": {\"1_bits\": [1, 2]}}", "\"1_bits\""},
        {"{\"codebooks\": {\"10_bit\": [1, 2]}}", "\"10_bit\""},
        {"{\"codebooks\": {\"1_bit\": [1, 2], \"1_bit\": [1, 3]}}", "duplicate"},
        {"{\"codebooks\": {\"1_bit\": [1, 2]}, \"codebooks\": {}}", "duplicate"},
        {"{\"codebooks\": {\"1_bit\": {\"0\": 1}}}", "codebooks.1_bit is not an array of 2 numbers"},
        {"{\"codebooks\": {\"1_bit\": [1]}}", "codebooks.1_bit has 1 values, but 1 bits need 2"},
        {"{\"codebooks\": {\"2_bit\": [1, 2, 3, 4, 5]}}", "codebooks.2_bit has 5 values"},
        {"{\"codebooks\": {\"1_bit\": [1, \"2\"]}}", "codebooks.1_bit[1]"},
        {"{\"codebooks\": {\"1_bit\": [null, 2]}}", "codebooks.1_bit[0]"},
        {"{\"codebooks\": {\"1_bit\": [NaN, 2]}}", "line 1"},
        {"{\"codebooks\": {\"1_bit\": [1, 1e999]}}", "line 1"},
        {"{\"codebooks\": {\"1_bit\": [1, 1e39]}}", "codebooks.1_bit[1]"}, /* beyond float */
        {"{\"codebooks\": {\"1_bit\": [1, 1]}}", "value 1 is 1 after 1"},
        {"{\"codebooks\": {\"1_bit\": [1, 1.00000000001]}}", "must rise strictly (as floats)"},
        {"{\"codebooks\": {\"2_bit\": [1, 2, 1.5, 3]}}", "value 2 is 1.5 after 2"},
        {"{\"codebooks\": {\"1_bit\": [1, 2]}} x", "line 1"},
        {"{\"codebooks\": {\"a\nb\": [1, 2]}}", "line 1"},
        {"{\"codebooks\": {\"a\\nb\": [1, 2]}}", "\"a?b\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kvb_codebook_file file;
        kvb_error error = {{0}};
        if (parse(cases[i].text, &file, &error) == KVB_OK)
            fail_msg("accepted: %s", cases[i].text);
        assert_int_equal(parse(cases[i].text, &file, &error), KVB_ERROR_FORMAT);
        if (!strstr(error.text, cases[i].named))
            fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].text, error.text, cases[i].named);
        assert_memory_equal(error.text, "tables.json: ", 13);
        assert_null(strchr(error.text, '\n'));
        for (int bits = 0; bits <= KVB_MAX_BITS; bits++)
            assert_null(file.centroids[bits]);
    }
}

static void every_truncation_of_the_golden_file_is_refused(void **state) {
    (void)state;
    char text[16384];
    FILE *stream = fopen(KVB_TEST_DATA "/golden/bitwidth_ab.json", "rb");
    assert_non_null(stream);
    size_t bytes = fread(text, 1, sizeof text, stream);
    fclose(stream);
    while (bytes > 0 && text[bytes - 1] != '}')
        bytes--;
    for (size_t n = 0; n < bytes; n += 13) {
        kvb_codebook_file file;
        kvb_error error;
        assert_int_equal(kvb_codebook_file_parse(text, n, "cut", &file, &error), KVB_ERROR_FORMAT);
    }
}

static void missing_files_and_folders_are_input_output_errors(void **state) {
    (void)state;
    kvb_codebook_file file;
    kvb_error error;
    assert_int_equal(kvb_codebook_file_read("no/such/file.json", &file, &error), KVB_ERROR_IO);
    assert_non_null(strstr(error.text, "no/such/file.json"));
    assert_int_equal(kvb_codebook_file_read(KVB_TEST_DATA, &file, &error), KVB_ERROR_IO);
    assert_non_null(strstr(error.text, KVB_TEST_DATA));
}

static void oversized_files_are_refused(void **state) {
    (void)state;
    const size_t bytes = (16u << 20) + 1;
    const char end[] = "{\"codebooks\": {\"1_bit\": [1, 2]}}";
    char *text = malloc(bytes);
    assert_non_null(text);
    memset(text, ' ', bytes);
    memcpy(text, end, sizeof end - 1);
    kvb_codebook_file file;
    kvb_error error;
    assert_int_equal(kvb_codebook_file_parse(text, bytes, "big.json", &file, &error), KVB_ERROR_FORMAT);
    assert_non_null(strstr(error.text, "16777216 bytes"));
    assert_ok(kvb_codebook_file_parse(text, bytes - 1, "big.json", &file, &error), error);
    kvb_codebook_file_free(&file);
    free(text);
    assert_int_equal(kvb_codebook_file_read("/dev/zero", &file, &error), KVB_ERROR_FORMAT);
    assert_non_null(strstr(error.text, "16777216 bytes"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_file_loads),
        cmocka_unit_test(every_width_is_read_and_other_keys_are_ignored),
        cmocka_unit_test(what_is_wrong_is_said_in_one_sentence),
        cmocka_unit_test(every_truncation_of_the_golden_file_is_refused),
        cmocka_unit_test(missing_files_and_folders_are_input_output_errors),
        cmocka_unit_test(oversized_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
