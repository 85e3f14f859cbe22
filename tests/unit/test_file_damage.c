/* Broken files: each is refused, and the sentence says where. */
#define _XOPEN_SOURCE 700
#include "file_lie.h"

/* ---- Any damage ---- */

static void every_single_byte_that_changes_is_found(void **state) {
    (void)state;
    static const uint8_t changes[] = {0x01, 0x80, 0xff};
    for (int which = 0; which < FILE_CASES; which++) {
        image file = image_of_case(which, 1);
        for (size_t i = 0; i < file.size; i++) {
            kvb_error error = {""};
            uint8_t change = changes[i % 3];
            file.bytes[i] ^= change;
            kvb_status status = inspect_image(file, 0, &error);
            if (status != KVB_ERROR_FORMAT || !strstr(error.text, "byte ")) {
                fail_msg("%s, byte %zu: %s: %s", file_case_names[which], i, kvb_status_name(status), error.text);
            }
            if (i % 64 == 0) {
                expect_refusal(file, 0, error.text);
            }
            file.bytes[i] ^= change;
        }
        free(file.bytes);
    }
}

static void a_file_cut_at_any_length_or_longer_is_refused(void **state) {
    (void)state;
    for (int which = 0; which < FILE_CASES; which++) {
        image file = image_of_case(which, 1);
        for (size_t n = 0; n < file.size; n++) {
            image cut = {malloc(n ? n : 1), n};
            kvb_error error = {""};
            memcpy(cut.bytes, file.bytes, n);
            assert_int_equal(inspect_image(cut, n % 2 == 0, &error), KVB_ERROR_FORMAT);
            assert_non_null(strstr(error.text, n < KVB_FILE_HEADER_BYTES ? "file ends at byte" : "and the file has"));
            free(cut.bytes);
        }
        file.bytes = realloc(file.bytes, file.size + 1);
        file.bytes[file.size++] = 0;
        expect_refusal(file, 0, "and the file has");
        free(file.bytes);
    }
}

/* ---- Numbers that lie, with CRCs that fit ---- */

static void a_header_that_lies_is_refused(void **state) {
    (void)state;
    expect_lie(1, 0, 0, 10, 1, 2, "header, byte 8: reserved bytes");
    expect_lie(1, 0, 0, 56, 1, 4, "header, byte 8: reserved bytes");
    expect_lie(1, 0, 0, 12, 7, 4, "header, byte 12: 7 sections; 2 layers and 1 sequences take 8");
    expect_lie(1, 0, 0, 12, 9, 4, "the end after 8 sections; the header says 9");
    expect_lie(1, 0, 0, 12, UINT32_MAX, 4, "header, byte 12: 4294967295 sections take");
    expect_lie(1, 0, 0, 16, UINT64_MAX, 8, "header, byte 16: the header says 18446744073709551615 bytes");
    expect_lie(1, 0, 0, 24, 0, 4, "header, byte 24: 0 layers");
    expect_lie(1, 0, 0, 24, 1025, 4, "header, byte 24: 1025 layers");
    expect_lie(1, 0, 0, 28, 8, 4, "header, byte 28: 8 sequences of at most 7");
    expect_lie(1, 0, 0, 36, 0, 4, "header, byte 28: 1 sequences of at most 0");
    expect_lie(1, 0, 0, 36, 65537, 4, "at most 65537");
    expect_lie(1, 0, 0, 32, 48, 4, "header, byte 32: page_tokens 48");
    expect_lie(1, 0, 0, 32, 2048, 4, "header, byte 32: page_tokens 2048");
    expect_lie(1, 0, 0, 40, 0, 8, "header, byte 40: max_tokens 0");
    expect_lie(1, 0, 0, 40, (UINT64_C(1) << 40) + 1, 8, "header, byte 40: max_tokens 1099511627777");
    expect_lie(1, 0, 0, 40, 52, 8, "53 tokens; the cache has at most 52");
    expect_lie(1, 0, 0, 48, 63, 8, "header, byte 48: a budget of 63");
    expect_lie(1, 0, 0, 48, 64, 8, "of the budget, which is 64");
    image file = image_of_case(1, 1);
    file.bytes[0] ^= 1;
    expect_refusal(file, 1, "header, byte 0: the first 8 bytes are not those");
    file.bytes[0] ^= 1;
    file.bytes[8] = 2;
    expect_refusal(file, 1, "header, byte 8: version 2; this library knows version 1");
    free(file.bytes);
}

static void codecs_that_lie_are_refused(void **state) {
    (void)state;
    const uint32_t c = KVB_FILE_CODECS;
    expect_lie(1, c, 0, 0, 2, 4, "bytes behind the last codec");
    expect_lie(1, c, 0, 0, 4, 4, "a description takes 24 bytes");
    expect_lie(1, c, 0, 0, 5, 4, "5 codecs");
    expect_lie(1, c, 0, 4, 1, 4, "reserved 1");
    expect_lie(1, c, 0, 8, 2, 2, "section 0 (CODC), byte 104: a description of version 2");
    expect_lie(1, c, 0, 10, 0, 1, "code kind 0");
    expect_lie(1, c, 0, 10, 5, 1, "code kind 5, reserved 0; known are 1, 1 to 4");
    expect_lie(1, c, 0, 10, 3, 1, "1 planes of 4 bits together");
    expect_lie(1, c, 0, 10, 2, 1, "0 states of a code of kind 2");
    expect_lie(1, c, 0, 20, 16, 2, "16 states of a code of kind 1");
    expect_lie(1, c, 0, 11, 0, 1, "0 planes");
    expect_lie(1, c, 0, 11, 4, 1, "4 planes");
    expect_lie(1, c, 0, 12, 52, 2, "of 64 coordinates");
    expect_lie(1, c, 0, 14, 3, 1, "rotation 3");
    expect_lie(1, c, 0, 14, 1, 1, "rotation 1 has no signs");
    expect_lie(1, c, 0, 15, 3, 1, "scale 3");
    expect_lie(1, c, 0, 16, 2, 1, "scale_dtype 2");
    expect_lie(1, c, 0, 17, 1, 1, "reserved 1");
    expect_lie(1, c, 0, 18, 17, 2, "17 levels; codes of 4 bits have 16");
    expect_lie(1, c, 0, 18, 257, 2, "257 levels");
    expect_lie(1, c, 0, 22, 1, 2, "reserved 1");
    expect_lie(1, c, 0, 32, 2, 1, "16 levels; codes of 2 bits have 4");
    expect_lie(1, c, 0, 32, 3, 1, "1 planes of 3 bits together");
    expect_lie(1, c, 0, 33, 1, 1, "bits from 1 on");
    expect_lie(1, c, 0, 34, 1, 1, "role 1");
    expect_lie(1, c, 0, 35, 1, 1, "reserved 1;");
    expect_lie(1, c, 0, 38, 32, 2, "of 32 coordinates");
    expect_lie(1, c, 0, 40, 0x40000000, 4, "must rise");
    expect_lie(1, c, 0, 40, 0x7fc00000, 4, "finite");
    expect_lie(1, c, 0, 40, 0xff800000, 4, "finite");
}

static void trellis_codecs_that_lie_are_refused(void **state) {
    (void)state;
    const uint32_t c = KVB_FILE_CODECS;
    expect_lie(6, c, 0, 10, 1, 1, "16 states of a code of kind 1");
    expect_lie(6, c, 0, 20, 32, 2, "trellis_states 32 is not");
    expect_lie(6, c, 0, 18, 16, 2, "16 levels; codes of 4 bits have 32");
    expect_lie(6, c, 0, 32, 2, 1, "3 planes of 5 bits together");
    expect_lie(6, c, 0, 34, 0, 1, "role 0");
    expect_lie(6, c, 0, 41, 1, 1, "bits from 1 on");
    expect_lie(6, c, 0, 42, 1, 1, "role 1");
}

static void the_same_codec_twice_is_refused(void **state) {
    (void)state;
    kvb_layer_spec layers[2] = {kvb_layer_spec_default(1, 32, 1, 1), kvb_layer_spec_default(1, 32, 1, 1)};
    layers[1].k.sign_seed = layers[1].v.sign_seed = 1;
    kvb_cache_spec spec = {.layers = layers, .n_layers = 2, .max_sequences = 1, .max_tokens = 64, .budget = 4096};
    kvb_cache *cache;
    kvb_error error;
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &cache, &error), error);
    image file = image_of(cache);
    kvb_cache_destroy(cache);
    put(file, content_of(file, KVB_FILE_CODECS, 0) + 8 + 16, 1, 8);
    expect_refusal(file, 1, "codec 1 is codec 0 again");
    free(file.bytes);
}

static void layers_that_lie_are_refused(void **state) {
    (void)state;
    const uint32_t l = KVB_FILE_LAYERS;
    expect_lie(1, l, 0, 0, 0, 4, "n_kv_heads 0");
    expect_lie(1, l, 0, 0, UINT32_MAX, 4, "exceeds 2^31");
    expect_lie(1, l, 0, 4, 72, 2, "head_dim 72 of keys is not the 64 of their codec");
    expect_lie(1, l, 0, 6, 72, 2, "head_dim 72 of values is not the 64 of their codec");
    expect_lie(1, l, 0, 8, 1, 4, "codec 1 of keys; there are 3, and the next that no layer named is 0");
    expect_lie(1, l, 0, 12, 2, 4, "codec 2 of values");
    expect_lie(1, l, 0, 32 + 12, 0, 4, "is not the 64 of their codec");
    expect_lie(1, l, 0, 32 + 12, UINT32_MAX, 4, "3 codecs, of which no layer names number 2");
    expect_lie(1, l, 0, 16, 0, 1, "dense 0");
    expect_lie(1, l, 0, 16, 3, 1, "dense 3");
    expect_lie(1, l, 0, 17, 2, 1, "latent 2");
    expect_lie(1, l, 0, 17, 1, 1, "latent 1");
    expect_lie(1, l, 0, 19, 1, 1, "reserved 1");
    expect_lie(1, l, 0, 20, UINT32_MAX, 4, "exceeds 2^31");
}

static void layers_of_other_cases_that_lie_are_refused(void **state) {
    (void)state;
    const uint32_t l = KVB_FILE_LAYERS;
    expect_lie(1, l, 0, 24, 65537, 4, "exact_first 65537");
    expect_lie(1, l, 0, 28, 65537, 4, "exact_last 65537");
    expect_lie(4, l, 0, 6, 56, 2, "v_dim 56 of a latent layer is more than its k_dim 48");
    expect_lie(4, KVB_FILE_CODECS, 0, 14, 1, 1, "mixes the keys of a latent layer");
    expect_lie(2, l, 0, 4, 12, 2, "k_dim 12");
}

static void sequences_that_lie_are_refused(void **state) {
    (void)state;
    const uint32_t s = KVB_FILE_SEQUENCE;
    expect_lie(1, s, 0, 0, 52, 8, "packed_end 53 of 52 tokens");
    expect_lie(1, s, 0, 0, 54, 8, "packed_end 53 of 54 tokens");
    expect_lie(1, s, 0, 0, 201, 8, "201 tokens; the cache has at most 200");
    expect_lie(1, s, 0, 0, UINT64_MAX, 8, "18446744073709551615 tokens");
    expect_lie(1, s, 0, 8, 7, 4, "number 7");
    expect_lie(2, s, 1, 8, 1, 4, "number 1, reserved 0; legal are 2 to 6");
    expect_lie(1, s, 0, 12, 1, 4, "reserved 1");
    expect_lie(1, s, 0, 16, UINT64_MAX, 8, "packed_end 18446744073709551615");
    expect_lie(3, s, 0, 16, 2, 8, "packed_end 2 of 50 tokens; legal are 3 to 50");
    expect_lie(3, s, 0, 16, 40, 8, "at most 9 tokens behind it");
    expect_lie(1, s, 0, 24, 1, 8, "1 pages are released; with window 0 at most 0");
    expect_lie(2, s, 0, 16 + 2 * 24 + 8, 2, 8, "2 pages are released; with window 20 at most 1");
    expect_lie(1, s, 0, 32, 3, 4, "layer 0: a table of 3 pages, reserved 0; there must be 2");
    expect_lie(1, s, 0, 36, 1, 4, "reserved 1");
    expect_lie(1, s, 0, 64, 1, 4, "page 0 is said to be held by sequence 1");
    expect_lie(2, s, 1, 16 + 3 * 24, 2, 4, "page 0 is said to be held by sequence 2");
    expect_lie(2, s, 2, 16 + 3 * 24, 1, 4, "page 0 is said to be held by sequence 1, which does not hold it");
    image file = image_of_case(5, 1); /* one page: 4 zeros follow its entry */
    put(file, content_of(file, s, 0) + 16 + 24 + 4, 1, 1);
    expect_refusal(file, 1, "behind the tables");
    free(file.bytes);
}

/* ---- Values ---- */

static void bytes_where_no_row_lies_are_refused(void **state) {
    (void)state;
    /* Page 1 of layer 0 of case 1 has 21 of 32 rows; a page is 2 heads x 2 sides of 32 x (2 + 32) bytes in 1088. */
    image file = image_of_case(1, 1);
    size_t page = content_of(file, KVB_FILE_PAGES, 0) + 4 * 1088;
    assert_true(file.bytes[page + 2 * 21 - 1] != 0 || file.bytes[page + 2 * 21 - 2] != 0);
    for (size_t at = 2 * 21; at < 64; at += 21) {
        file.bytes[page + at] = 1;
        expect_refusal(file, 1, "where no row lies");
        file.bytes[page + at] = 0;
    }
    file.bytes[page + 64 + 21 * 32] = 0x80;
    expect_refusal(file, 1, "section 4 (PAGE of sequence 0, layer 0), byte");
    free(file.bytes);
}

static void scales_and_values_that_are_not_finite_are_refused(void **state) {
    (void)state;
    expect_lie(1, KVB_FILE_PAGES, 0, 0, 0x7c00, 2, "a value or scale of inf");
    expect_lie(1, KVB_FILE_PAGES, 0, 2, 0x7e00, 2, "a value or scale of nan");
    expect_lie(2, KVB_FILE_PAGES, 0, 6, 0xfc00, 2, "a value or scale of inf");
    expect_lie(2, KVB_FILE_PAGES, 1, 0, 0x7f800000, 4, "a value or scale of inf");
    expect_lie(3, KVB_FILE_EXACT, 0, 0, 0x7f80, 2, "a value or scale of inf");
    expect_lie(3, KVB_FILE_EXACT, 0, 0, 0x5d00, 2, "a value or scale of 5.76461e+17"); /* 2^59 */
    expect_lie(3, KVB_FILE_EXACT, 1, 0, 0x7c01, 2, "a value or scale of nan");
}

/* ---- Sections ---- */

static void a_section_that_is_missing_or_twice_there_or_out_of_order_is_named(void **state) {
    (void)state;
    static const char *const names[] = {"CODC has its place",
                                        "LAYR has its place",
                                        "SEQU of sequence 0 has its",
                                        "EXAC of sequence 0, layer 0 has",
                                        "PAGE of sequence 0, layer 0 has",
                                        "EXAC of sequence 0, layer 1 has",
                                        "PAGE of sequence 0, layer 1 has"};
    image file = image_of_case(1, 1);
    for (int i = 0; i < 7; i++) {
        size_t start, end;
        bounds_of(file, i, &start, &end);
        image missing = without(file, start, end);
        put(missing, 12, 8, 4);
        expect_refusal(missing, 1, i < 3 ? names[i] : "bytes from here on");
        image twice = with(file, end, file.bytes + start, end - start);
        put(twice, 12, 9, 4);
        expect_refusal(twice, 1, "has its place here");
        free(missing.bytes);
        free(twice.bytes);
    }
    free(file.bytes);
}

/* Two sections of equal length change places: each CRC is right. */
static void sections_that_changed_places_are_named(void **state) {
    (void)state;
    image file = image_of_case(1, 1);
    size_t a, a_end, b, b_end;
    bounds_of(file, 3, &a, &a_end);
    bounds_of(file, 5, &b, &b_end);
    assert_int_equal(a_end - a, b_end - b);
    for (size_t i = 0; i < a_end - a; i++) {
        uint8_t byte = file.bytes[a + i];
        file.bytes[a + i] = file.bytes[b + i];
        file.bytes[b + i] = byte;
    }
    expect_refusal(file, 0, "section 3 (EXAC of sequence 0, layer 1), byte");
    free(file.bytes);
}

static void sections_of_later_versions_are_skipped_when_optional(void **state) {
    (void)state;
    image file = image_of_case(1, 1);
    static kvb_crc32c_tables tables;
    kvb_crc32c_fill(&tables);
    for (int i = 0; i < 8; i++) {
        uint8_t extra[KVB_FILE_HEAD_BYTES + 3 + KVB_FILE_CRC_BYTES] = {0}, *at = extra;
        size_t start, end;
        kvb_error error;
        kvb_cache *cache;
        kvb_file_put(&at, KVB_FILE_TYPE('N', 'E', 'W', 'S'), 4);
        kvb_file_put(&at, KVB_FILE_OPTIONAL, 4);
        kvb_file_put(&at, UINT64_MAX, 8);
        kvb_file_put(&at, 3, 8);
        at += 4;
        kvb_file_put(&at, kvb_crc32c(&tables, 0, extra, 28), 4);
        memcpy(at, "abc", 3);
        at += 3;
        kvb_file_put(&at, kvb_crc32c(&tables, 0, "abc", 3), 4);
        bounds_of(file, i, &start, &end);
        image more = with(file, start, extra, sizeof extra);
        put(more, 12, 9, 4);
        put(more, 60, kvb_crc32c(&tables, 0, more.bytes, 60), 4);
        assert_ok(load_image(more, 0, NULL, &cache, &error), error);
        image again = image_of(cache);
        assert_same_image(file, again);
        kvb_cache_destroy(cache);
        more.bytes[start + KVB_FILE_HEAD_BYTES + 1] ^= 1;
        expect_refusal(more, 0, "(NEWS)");
        more.bytes[start + 4] = 0;
        expect_refusal(more, 1, "not known to version 1 and not marked as optional");
        more.bytes[start + 4] = 2;
        expect_refusal(more, 1, "flags 00000002");
        free(more.bytes);
        free(again.bytes);
    }
    free(file.bytes);
}

static void the_head_of_a_section_that_lies_is_refused(void **state) {
    (void)state;
    expect_lie(1, KVB_FILE_LAYERS, 0, -32 + 16, UINT64_MAX, 8, "bytes of content and a CRC do not fit the file");
    expect_lie(1, KVB_FILE_LAYERS, 0, -32 + 16, 63, 8, "63 bytes of content; there must be 64");
    expect_lie(1, KVB_FILE_SEQUENCE, 0, -32 + 16, 56, 8, "56 bytes of content; 2 layers take 64 and more");
    expect_lie(1, KVB_FILE_SEQUENCE, 0, -32 + 16, 72, 8, "72 bytes of content; 4 pages make them 80");
    expect_lie(1, KVB_FILE_LAYERS, 0, -32 + 24, 1, 4, "reserved 00000001");
    expect_lie(1, KVB_FILE_LAYERS, 0, -32 + 4, 1, 4, "a section of this type is not optional");
}

/* ---- Limits ---- */

static void expect_limit(kvb_load_limits limits, const char *sentence) {
    kvb_error error = {""};
    kvb_cache *cache;
    image file = image_of_case(2, 1);
    kvb_status status = load_image(file, 0, &limits, &cache, &error);
    if (status != KVB_ERROR_ARGUMENT || cache || !strstr(error.text, sentence)) {
        fail_msg("status %d, \"%s\" does not say \"%s\"", (int)status, error.text, sentence);
    }
    free(file.bytes);
}

static void every_limit_is_kept_to_the_last_unit(void **state) {
    (void)state;
    kvb_error error;
    kvb_cache *cache;
    image file = image_of_case(2, 1);
    kvb_load_limits exact = {.file_bytes = file.size, .budget = 200000, .layers = 3, .sequences = 7, .tokens = 200};
    assert_ok(load_image(file, 0, &exact, &cache, &error), error);
    kvb_cache_destroy(cache);
    expect_limit((kvb_load_limits){.file_bytes = file.size - 1}, "bytes of the file:");
    expect_limit((kvb_load_limits){.budget = 199999}, "budget 200000, and the limit for loading is 199999");
    expect_limit((kvb_load_limits){.layers = 2}, "layers: 3, and the limit for loading is 2");
    expect_limit((kvb_load_limits){.sequences = 6}, "max_sequences 7, and the limit for loading is 6");
    expect_limit((kvb_load_limits){.tokens = 199}, "max_tokens 200, and the limit for loading is 199");
    expect_limit((kvb_load_limits){.tables = 1000}, "bytes of tables:");
    expect_limit((kvb_load_limits){.tokens = -1}, "negative");
    free(file.bytes);
}

/* A header may ask for much in few bytes: it is refused by default, before anything is allocated. */
static void a_small_file_that_asks_for_much_is_refused(void **state) {
    (void)state;
    static const struct {
        int offset, bytes;
        uint64_t value;
        const char *sentence;
    } lies[] = {{48, 8, UINT64_C(1) << 40, "budget 1099511627776"},
                {40, 8, UINT64_C(1) << 40, "bytes of tables"},
                {36, 4, 65536, NULL}}; /* 65536 sequences of 200 tokens are legal */
    for (size_t i = 0; i < 3; i++) {
        kvb_error error = {""};
        kvb_cache *cache;
        image file = image_of_case(0, 1);
        put(file, (size_t)lies[i].offset, lies[i].value, lies[i].bytes);
        kvb_status status = load_image(file, 1, NULL, &cache, &error);
        if (lies[i].sentence) {
            assert_int_equal(status, KVB_ERROR_ARGUMENT);
            assert_non_null(strstr(error.text, lies[i].sentence));
        } else {
            assert_ok(status, error);
            kvb_cache_destroy(cache);
        }
        free(file.bytes);
    }
}

/* ---- Out of memory ---- */

typedef struct counter {
    int left; /* allocations that succeed */
    long live;
} counter;

static void *counted_allocate(void *context, size_t bytes, size_t alignment) {
    counter *count = context;
    if (count->left-- <= 0) {
        return NULL;
    }
    count->live += (long)bytes;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void counted_release(void *context, void *pointer, size_t bytes) {
    ((counter *)context)->live -= (long)bytes;
    free(pointer);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    kvb_error error;
    char path[sizeof image_path];
    strcpy(path, path_in_folder("memory.kvb"));
    for (int which = 0; which < FILE_CASES; which++) {
        kvb_cache *cache = file_case_make(which, 1, NULL, &error), *loaded = NULL;
        assert_non_null(cache);
        assert_ok(kvb_cache_save(cache, path, &error), error);
        kvb_status status = KVB_ERROR_MEMORY;
        int n = 0;
        for (; status == KVB_ERROR_MEMORY; n++) {
            counter count = {.left = n};
            kvb_allocator allocator = {counted_allocate, counted_release, &count};
            error.text[0] = '\0';
            status = kvb_cache_load(path, NULL, NULL, &allocator, &loaded, &error);
            assert_true(status == KVB_OK || (error.text[0] && !loaded));
            kvb_cache_destroy(loaded);
            assert_int_equal(count.live, 0);
        }
        assert_ok(status, error);
        assert_true(n > 5);
        kvb_cache_destroy(cache);
    }
}

static void every_allocation_may_fail_for_a_sequence_and_an_inspection(void **state) {
    (void)state;
    kvb_error error;
    char path[sizeof image_path];
    strcpy(path, path_in_folder("memory.kvb"));
    counter count = {.left = 1000};
    kvb_allocator allocator = {counted_allocate, counted_release, &count};
    kvb_cache *cache = file_case_make(3, 1, &allocator, &error);
    assert_non_null(cache);
    assert_ok(kvb_cache_save_sequence(cache, 0, path, &error), error);
    long live = count.live;
    kvb_cache_usage before = kvb_cache_bytes(cache);
    for (int inspects = 0; inspects < 2; inspects++) {
        kvb_status status = KVB_ERROR_MEMORY;
        int sequence = -1, n = 0;
        for (; status == KVB_ERROR_MEMORY; n++) {
            assert_int_equal(kvb_cache_bytes(cache).pages, before.pages);
            count.left = n;
            status = inspects ? kvb_file_inspect(path, NULL, &allocator, NULL, &error)
                              : kvb_cache_load_sequence(cache, path, NULL, &sequence, &error);
            assert_int_equal(count.live, live);
        }
        assert_ok(status, error);
        assert_true(n > 4);
        if (!inspects) {
            assert_true(kvb_cache_bytes(cache).pages > before.pages);
            kvb_cache_free_sequence(cache, sequence);
        }
    }
    kvb_cache_destroy(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_single_byte_that_changes_is_found),
        cmocka_unit_test(a_file_cut_at_any_length_or_longer_is_refused),
        cmocka_unit_test(a_header_that_lies_is_refused),
        cmocka_unit_test(codecs_that_lie_are_refused),
        cmocka_unit_test(trellis_codecs_that_lie_are_refused),
        cmocka_unit_test(the_same_codec_twice_is_refused),
        cmocka_unit_test(layers_that_lie_are_refused),
        cmocka_unit_test(layers_of_other_cases_that_lie_are_refused),
        cmocka_unit_test(sequences_that_lie_are_refused),
        cmocka_unit_test(bytes_where_no_row_lies_are_refused),
        cmocka_unit_test(scales_and_values_that_are_not_finite_are_refused),
        cmocka_unit_test(a_section_that_is_missing_or_twice_there_or_out_of_order_is_named),
        cmocka_unit_test(sections_that_changed_places_are_named),
        cmocka_unit_test(sections_of_later_versions_are_skipped_when_optional),
        cmocka_unit_test(the_head_of_a_section_that_lies_is_refused),
        cmocka_unit_test(every_limit_is_kept_to_the_last_unit),
        cmocka_unit_test(a_small_file_that_asks_for_much_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_allocation_may_fail_for_a_sequence_and_an_inspection),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
