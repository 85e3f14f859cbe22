/* Files of half bits and of mean keys that are broken: each is refused, and the sentence says where. */
#define _XOPEN_SOURCE 700
#include "file_lie.h"

/* The first codec has 5 bits in planes of 4 and 1 for coordinates 0 to 31, and 4 bits for 32 to 63. */
static void codecs_of_half_a_bit_that_lie_are_refused(void **state) {
    (void)state;
    const uint32_t c = KVB_FILE_CODECS;
    expect_lie(7, c, 0, 10, 1, 1, "3 planes of 9 bits together");
    expect_lie(7, c, 0, 10, 4, 1, "0 states of a code of kind 4");
    expect_lie(7, c, 0, 20, 16, 2, "16 states of a code of kind 3");
    expect_lie(7, c, 0, 11, 7, 1, "7 planes");
    expect_lie(7, c, 0, 12, 80, 2, "of 40 coordinates");
    expect_lie(7, c, 0, 18, 47, 2, "47 levels; codes of 4.5 bits have 48");
    expect_lie(7, c, 0, 18, 385, 2, "385 levels; there are 1 to 6 planes, 2 to 384 levels");
    expect_lie(7, c, 0, 32 + 8, 2, 1, "3 planes of 10 bits together");
    expect_lie(7, c, 0, 32 + 16, 2, 1, "3 planes of 7 bits together");
    expect_lie(7, c, 0, 32 + 4, 32, 2, "plane 0 holds bits from 0 on of 32 coordinates from 32 on");
    expect_lie(7, c, 0, 32 + 6, 64, 2, "plane 0 holds bits from 0 on of 64 coordinates from 0 on");
    expect_lie(7, c, 0, 32 + 8 + 1, 0, 1, "plane 1 holds bits from 0 on");
    expect_lie(7, c, 0, 32 + 16 + 1, 5, 1, "plane 2 holds bits from 5 on");
    expect_lie(7, c, 0, 32 + 16 + 2, 1, 1, "role 1");
    expect_lie(7, c, 0, 32 + 16 + 3, 1, 1, "reserved 1;");
    expect_lie(7, c, 0, 32 + 16 + 4, 0, 2, "plane 2 holds bits from 0 on of 32 coordinates from 0 on");
    expect_lie(7, c, 0, 32 + 16 + 6, 64, 2, "plane 2 holds bits from 0 on of 64 coordinates from 32 on");
    expect_lie(7, c, 0, 56 + 4 * 31, 0x7f800000, 4, "finite");
    expect_lie(7, c, 0, 56 + 4 * 32, 0x40800000, 4, "must rise");
    expect_lie(7, c, 0, 56 + 4 * 47, 0x7fc00000, 4, "finite");
}

/* Layers 0 (2 heads of 32) and 2 (3 of 64) have mean keys, layer 1 has not. */
static void mean_keys_that_lie_are_refused(void **state) {
    (void)state;
    const uint32_t l = KVB_FILE_LAYERS, m = KVB_FILE_MEANS;
    expect_lie(8, l, 0, 18, 2, 1, "centered 2; legal are 0, and 1 where keys have a codec and the layer is not latent");
    expect_lie(8, l, 0, 18, 0, 1, "1024 bytes of content; there must be 768");
    expect_lie(8, l, 0, 32 + 18, 1, 1, "1024 bytes of content; there must be 1152");
    expect_lie(1, l, 0, 18, 1, 1, "MEAN has its place here");
    expect_lie(2, l, 0, 18, 1, 1, "centered 1; legal are 0");
    expect_lie(4, l, 0, 18, 1, 1, "centered 1; legal are 0");
    expect_lie(8, m, 0, 4 * 37, 0x7fc00000, 4, "layer 0: k_mean of head 1 coordinate 5 is nan; legal: up to 65504");
    expect_lie(8, m, 0, 4 * 64, 0xff800000, 4, "layer 2: k_mean of head 0 coordinate 0 is -inf");
    expect_lie(8, m, 0, 4 * 255, 0x477fe001, 4, "layer 2: k_mean of head 2 coordinate 63 is 65504; legal");
    expect_lie(8, m, 0, 4 * 64, 0xff800000, 4, "section 2 (MEAN), byte 840: layer 2");
    expect_lie(8, m, 0, -32 + 4, 1, 4, "a section of this type is not optional");
    expect_lie(8, m, 0, -32 + 12, 0, 4, "MEAN has its place here");
    image file = image_of_case(8, 1);
    put(file, content_of(file, l, 0) + 18, 0, 1);
    put(file, content_of(file, l, 0) + 64 + 18, 0, 1);
    expect_refusal(file, 1, "SEQU of sequence 0 has its place here");
    free(file.bytes);
}

static void mean_keys_that_are_missing_or_twice_there_are_named(void **state) {
    (void)state;
    image file = image_of_case(8, 1);
    size_t start, end;
    bounds_of(file, 2, &start, &end);
    image missing = without(file, start, end);
    put(missing, 12, 10, 4);
    expect_refusal(missing, 1, "MEAN has its place here");
    image twice = with(file, end, file.bytes + start, end - start);
    put(twice, 12, 12, 4);
    expect_refusal(twice, 1, "SEQU of sequence 0 has its place here");
    free(missing.bytes);
    free(twice.bytes);
    free(file.bytes);
}

/* The least limit of tables that a file is loaded with. */
static unsigned long long tables_of(image file) {
    kvb_error error = {""};
    kvb_cache *cache;
    unsigned long long bytes = 0;
    kvb_load_limits limits = {.tables = 1};
    assert_int_equal(load_image(file, 0, &limits, &cache, &error), KVB_ERROR_ARGUMENT);
    assert_int_equal(sscanf(error.text, "memory: bytes of tables: %llu,", &bytes), 1);
    limits.tables = bytes;
    assert_ok(load_image(file, 0, &limits, &cache, &error), error);
    kvb_cache_destroy(cache);
    return bytes;
}

static void mean_keys_count_as_tables(void **state) {
    (void)state;
    static const float mean[2 * 64];
    unsigned long long bytes[2];
    for (int centered = 0; centered < 2; centered++) {
        kvb_error error;
        kvb_layer_spec layer = kvb_layer_spec_default(2, 64, 4, 4);
        kvb_cache_spec spec = {
            .layers = &layer, .n_layers = 1, .max_sequences = 1, .max_tokens = 64, .budget = 1 << 16};
        kvb_cache *cache;
        layer.k_mean = centered ? mean : NULL;
        assert_ok(kvb_cache_create(&spec, NULL, NULL, &cache, &error), error);
        image file = image_of(cache);
        bytes[centered] = tables_of(file);
        free(file.bytes);
        kvb_cache_destroy(cache);
    }
    assert_int_equal(bytes[1] - bytes[0], sizeof mean);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codecs_of_half_a_bit_that_lie_are_refused),
        cmocka_unit_test(mean_keys_that_lie_are_refused),
        cmocka_unit_test(mean_keys_that_are_missing_or_twice_there_are_named),
        cmocka_unit_test(mean_keys_count_as_tables),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
