/* What kvb_attend, its scratch and the layer formats refuse: by status and by a sentence that holds the bad value, and
 * without a byte written. */
#include "attend_case.h"

#include <math.h>
#include <stdio.h>

static attend_case c;
static kvb_attend_item item; /* legal; a test breaks one thing */
static kvb_kv_view view;
static kvb_layer_format format;
static const void *pages[8];
static void *scratch;
static size_t scratch_bytes;

static int set_up(void **state) {
    (void)state;
    attend_shape shape = {.seed = 5,
                          .k_bits = 4,
                          .v_bits = 4,
                          .k_dim = 64,
                          .v_dim = 64,
                          .n_kv_heads = 2,
                          .group = 2,
                          .n_q = 3,
                          .n_tokens = 90,
                          .exact_first = 4,
                          .exact_last = 8};
    attend_case_create(&c, &shape, NULL);
    memcpy(pages, c.view.pages, c.n_pages * sizeof *pages);
    format = c.format;
    view = c.view;
    view.format = &format;
    view.pages = pages;
    item = c.item;
    item.kv = &view;
    scratch_bytes = kvb_attend_scratch_bytes(NULL, &item, 1, NULL);
    assert_true(scratch_bytes > 0);
    scratch = malloc(scratch_bytes);
    assert_non_null(scratch);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    free(scratch);
    attend_case_destroy(&c);
    return 0;
}

static void expect_of(kvb_status status, const char *part, size_t bytes) {
    kvb_error error = {""};
    for (size_t i = 0; i < c.n_out; i++) {
        item.out ? item.out[i] = -3.25f : 0.0f;
    }
    kvb_status got = kvb_attend(NULL, &item, 1, scratch, bytes, NULL, &error);
    if (got != status || !strstr(error.text, part)) {
        fail_msg("status %d \"%s\", not %d with \"%s\"", (int)got, error.text, (int)status, part);
    }
    for (size_t i = 0; item.out && i < c.n_out; i++) {
        assert_true(item.out[i] == -3.25f);
    }
}

/* Refused, with these words. */
static void refused(const char *part) {
    expect_of(KVB_ERROR_ARGUMENT, part, scratch_bytes);
}

/* One field of the item, the view or the format at a time. */
#define REFUSED(field, value, part)                                                                                    \
    do {                                                                                                               \
        __typeof__(field) was = (field);                                                                               \
        (field) = (value);                                                                                             \
        refused(part);                                                                                                 \
        (field) = was;                                                                                                 \
    } while (0)

static void what_is_legal_passes(void **state) {
    (void)state;
    kvb_error error;
    assert_ok(kvb_attend(NULL, &item, 1, scratch, scratch_bytes, NULL, &error), error);
    assert_ok(kvb_attend(NULL, NULL, 0, NULL, 0, NULL, &error), error);
}

static void illegal_mean_keys_are_refused(void **state) {
    (void)state;
    static float mean[129] = {[100] = INFINITY};
    REFUSED(view.k_mean, mean, "k_mean of head 1 coordinate 36 is inf; it must be finite");
    mean[100] = 0.0f;
    REFUSED(view.k_mean, (const float *)(const void *)((const char *)mean + 1), "k_mean is misaligned");
    view.k_mean = mean;
    REFUSED(format.k_codec, NULL, "k_mean is given; it is for packed keys");
    view.k_mean = NULL;
}

static void illegal_queries_are_refused(void **state) {
    (void)state;
    REFUSED(item.kv, NULL, "item 0: kv is NULL");
    REFUSED(item.n_q, 0, "n_q 0 is less than 1");
    REFUSED(item.n_heads, 3, "n_heads 3 is not");
    REFUSED(item.n_heads, 0, "n_heads 0 is not");
    REFUSED(item.n_heads, 2 * KVB_MAX_GROUP + 2, "n_heads 2050 is not");
    REFUSED(item.q, NULL, "q is NULL");
    REFUSED(item.q, (const uint8_t *)c.item.q + 1, "q is misaligned");
    REFUSED(item.q_dtype, (kvb_dtype)3, "q_dtype 3");
    REFUSED(item.q_token_stride, 63, "q strides 63");
    REFUSED(item.q_head_stride, 63, "and 63");
    REFUSED(item.out, NULL, "out is NULL");
    REFUSED(item.out_token_stride, 8, "out strides 8");
    REFUSED(item.out_head_stride, 8, "and 8");
    REFUSED(item.scale, NAN, "scale");
    REFUSED(item.scale, INFINITY, "scale");
    REFUSED(item.softcap, -1.0f, "softcap -1");
    REFUSED(item.softcap, NAN, "softcap");
    REFUSED(item.precision, (kvb_precision)2, "precision 2");
    static const float sinks[] = {0.0f, NAN, 0.0f, 0.0f}, infinite[] = {0.0f, 0.0f, 0.0f, INFINITY};
    REFUSED(item.sinks, sinks, "sink 1");
    REFUSED(item.sinks, infinite, "sink 3");
    static const int64_t far_ones[] = {0, KVB_MAX_TOKENS + 1, 0}, low_ones[] = {0, 0, -KVB_MAX_TOKENS - 1};
    REFUSED(item.positions, far_ones, "query 1");
    REFUSED(item.positions, low_ones, "query 2");
    REFUSED(item.kv_begin, -1, "kv_begin -1");
    REFUSED(item.kv_end, 91, "kv_end 91");
    REFUSED(item.kv_begin, 91, "kv_begin 91");
}

static void illegal_views_are_refused(void **state) {
    (void)state;
    REFUSED(view.format, NULL, "format is NULL");
    REFUSED(view.n_tokens, -1, "n_tokens -1");
    REFUSED(view.n_tokens, KVB_MAX_TOKENS + 1, "2^40");
    REFUSED(view.first_page_token, 8, "first_page_token 8");
    REFUSED(view.first_page_token, -16, "first_page_token -16");
    REFUSED(view.window, -1, "window -1");
    REFUSED(view.exact_first, -1, "exact_first -1");
    REFUSED(view.exact_first, 91, "exact_first 91");
    REFUSED(view.exact_first_k, NULL, "exact_first is 4");
    REFUSED(view.exact_last_v, (const uint8_t *)c.view.exact_last_v + 1, "exact_last is 8");
    REFUSED(view.exact_last_slots, 7, "exact_last_slots 7");
    REFUSED(view.pages, NULL, "query 0 sees token 4");
    REFUSED(pages[2], NULL, "query 0 sees token 32");
    REFUSED(pages[2], (const uint8_t *)c.view.pages[2] + 2, "aligned to 4 bytes");
    view.window = 40; /* token 88 sees from 49 on */
    pages[2] = NULL;
    kvb_error error;
    assert_ok(kvb_attend(NULL, &item, 1, scratch, scratch_bytes, NULL, &error), error);
    view.window = 41;
    refused("query 0 sees token 47");
    view.window = 0;
    pages[2] = c.view.pages[2];
    uint8_t mask[3] = {0xff, 0xff, 0xff};
    item.tree_mask = mask;
    REFUSED(item.n_q, 91, "tree mask is for the last 91 tokens");
    item.tree_mask = NULL;
}

static void illegal_formats_are_refused(void **state) {
    (void)state;
    REFUSED(format.n_kv_heads, 0, "n_kv_heads 0");
    REFUSED(format.n_kv_heads, 1025, "n_kv_heads 1025");
    REFUSED(format.k_dim, 63, "k_dim 63");
    REFUSED(format.k_dim, 72, "k_dim 72 is not the head_dim 64");
    REFUSED(format.v_dim, 584, "v_dim 584");
    REFUSED(format.dense, KVB_F32, "dense 0");
    REFUSED(format.page_tokens, 8, "page_tokens 8");
    REFUSED(format.page_tokens, 24, "page_tokens 24");
    REFUSED(format.page_tokens, 2048, "page_tokens 2048");
    format.v_prefix_of_k = 1;
    refused("v_codec is given");
    format.v_codec = NULL;
    REFUSED(format.v_dim, 72, "v_dim 72 of a latent layer");
    kvb_codec_spec spec = kvb_codec_spec_default(64, 4);
    kvb_codec *rotated = create_codec(&spec);
    REFUSED(format.k_codec, rotated, "rotation 2");
    kvb_codec_destroy(rotated);
    format = c.format;
}

static void scratch_too_small_or_too_many_workers_are_refused(void **state) {
    (void)state;
    expect_of(KVB_ERROR_ARGUMENT, "this call needs", scratch_bytes - 1);
    void *was = scratch;
    scratch = NULL;
    expect_of(KVB_ERROR_ARGUMENT, "NULL instead", scratch_bytes);
    scratch = was;
    kvb_error error;
    kvb_parallel none = {.workers = 0};
    assert_int_equal(kvb_attend(NULL, &item, 1, scratch, scratch_bytes, &none, &error), KVB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.text, "at least 1"));
    assert_int_equal(kvb_attend_scratch_bytes(NULL, &item, 1, &none), 0);
    assert_int_equal(kvb_attend_scratch_bytes(NULL, NULL, 1, NULL), 0);
    assert_int_equal(kvb_attend(NULL, NULL, 1, scratch, scratch_bytes, NULL, &error), KVB_ERROR_ARGUMENT);
    item.q_token_stride = SIZE_MAX / 2;
    expect_of(KVB_ERROR_MEMORY, "address space", scratch_bytes);
    item.q_token_stride = c.item.q_token_stride;
}

static void an_error_names_the_item(void **state) {
    (void)state;
    kvb_attend_item items[2] = {item, item};
    items[1].n_q = -2;
    kvb_error error;
    assert_int_equal(kvb_attend(NULL, items, 2, scratch, scratch_bytes, NULL, &error), KVB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.text, "item 1: n_q -2"));
}

static void pages_hold_blocks_at_multiples_of_64_bytes(void **state) {
    (void)state;
    for (int tokens = 16; tokens <= 1024; tokens *= 2) {
        kvb_layer_format f = c.format;
        f.page_tokens = tokens;
        size_t block = (kvb_codec_block_bytes(c.k_codec, (size_t)tokens) + 63) / 64 * 64;
        assert_int_equal(kvb_page_bytes(&f), 4 * block);
        static uint8_t page[64];
        assert_ptr_equal((uintptr_t)kvb_page_block(&f, page, 1, 1), (uintptr_t)page + 3 * block);
        f.v_codec = NULL;
        f.v_dim = 40;
        size_t dense = ((size_t)tokens * 40 * 2 + 63) / 64 * 64;
        assert_int_equal(kvb_page_bytes(&f), 2 * (block + dense));
        f.k_codec = NULL;
        f.k_dim = 48;
        f.v_prefix_of_k = 1;
        assert_int_equal(kvb_page_bytes(&f), 2 * (size_t)tokens * 48 * 2);
        assert_ptr_equal((uintptr_t)kvb_page_block(&f, page, 1, 1), (uintptr_t)kvb_page_block(&f, page, 1, 0));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_legal_passes),
        cmocka_unit_test(illegal_mean_keys_are_refused),
        cmocka_unit_test(illegal_queries_are_refused),
        cmocka_unit_test(illegal_views_are_refused),
        cmocka_unit_test(illegal_formats_are_refused),
        cmocka_unit_test(scratch_too_small_or_too_many_workers_are_refused),
        cmocka_unit_test(an_error_names_the_item),
        cmocka_unit_test(pages_hold_blocks_at_multiples_of_64_bytes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
