/* What the cache refuses, and the sentence that it says; nothing may have changed. */
#include "cache_model.h"

#include <math.h>

static void expect(kvb_status status, kvb_status wanted, const kvb_error *error, const char *words) {
    if (status != wanted || !strstr(error->text, words)) {
        fail_msg("status %d (%s), not %d with \"%s\"", (int)status, error->text, (int)wanted, words);
    }
}

/* ---- Specs ---- */

static kvb_layer_spec good_layer(void) {
    return kvb_layer_spec_default(2, 64, 4, 4);
}

static kvb_cache_spec good_spec(const kvb_layer_spec *layers) {
    return (kvb_cache_spec){.layers = layers, .n_layers = 1, .max_sequences = 2, .max_tokens = 1000, .budget = 1 << 20};
}

/* Nothing large, so that no sanitizer is asked for it. */
static void *allocate_little(void *context, size_t bytes, size_t alignment) {
    (void)context;
    return bytes > (size_t)1 << 24 ? NULL : aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void release_little(void *context, void *pointer, size_t bytes) {
    (void)context;
    (void)bytes;
    free(pointer);
}

static void expect_create(const kvb_cache_spec *spec, kvb_status wanted, const char *words) {
    kvb_cache *cache = (kvb_cache *)(uintptr_t)spec;
    kvb_error error = {""};
    kvb_allocator allocator = {allocate_little, release_little, NULL};
    expect(kvb_cache_create(spec, NULL, &allocator, &cache, &error), wanted, &error, words);
    assert_null(cache);
}

static void specs_outside_their_ranges_are_refused(void **state) {
    (void)state;
    kvb_layer_spec layer = good_layer();
    kvb_cache_spec s = good_spec(&layer);
    kvb_cache *cache;
    kvb_error error;
    expect(kvb_cache_create(&s, NULL, NULL, NULL, &error), KVB_ERROR_ARGUMENT, &error, "out is NULL");
    expect(kvb_cache_create(NULL, NULL, NULL, &cache, &error), KVB_ERROR_ARGUMENT, &error, "spec is NULL");
    kvb_allocator lacking = {0};
    expect(kvb_cache_create(&s, NULL, &lacking, &cache, &error), KVB_ERROR_ARGUMENT, &error, "lacks allocate");
#define EXPECT(CHANGE, STATUS, WORDS)                                                                                  \
    s = good_spec(&layer);                                                                                             \
    s.CHANGE;                                                                                                          \
    expect_create(&s, STATUS, WORDS)
    EXPECT(layers = NULL, KVB_ERROR_ARGUMENT, "layers is NULL");
    EXPECT(n_layers = 0, KVB_ERROR_ARGUMENT, "n_layers 0 is not from 1 to 1024");
    EXPECT(n_layers = 1025, KVB_ERROR_ARGUMENT, "n_layers 1025");
    EXPECT(page_tokens = 8, KVB_ERROR_ARGUMENT, "page_tokens 8 is not a power of two from 16 to 1024");
    EXPECT(page_tokens = 48, KVB_ERROR_ARGUMENT, "page_tokens 48");
    EXPECT(page_tokens = -64, KVB_ERROR_ARGUMENT, "page_tokens -64");
    EXPECT(max_sequences = 0, KVB_ERROR_ARGUMENT, "max_sequences 0 is not from 1 to 65536");
    EXPECT(max_sequences = 65537, KVB_ERROR_ARGUMENT, "max_sequences 65537");
    EXPECT(max_tokens = 0, KVB_ERROR_ARGUMENT, "max_tokens 0 is not from 1 to 2^40");
    EXPECT(max_tokens = KVB_MAX_TOKENS + 1, KVB_ERROR_ARGUMENT, "max_tokens 1099511627777");
    EXPECT(budget = 63, KVB_ERROR_ARGUMENT, "budget 63 is less than 64");
    EXPECT(budget = SIZE_MAX, KVB_ERROR_MEMORY, "no memory");
    s.max_tokens = KVB_MAX_TOKENS;
    s.max_sequences = KVB_MAX_SEQUENCES;
    expect_create(&s, KVB_ERROR_MEMORY, "65536 sequences and 1099511627776 tokens");
}

static void expect_layer(const kvb_layer_spec *layer, const char *words) {
    kvb_layer_spec layers[2] = {good_layer(), *layer};
    kvb_cache_spec s = good_spec(layers);
    s.n_layers = 2;
    char all[200];
    snprintf(all, sizeof all, "layer 1: %s", words);
    expect_create(&s, KVB_ERROR_ARGUMENT, all);
    kvb_layer_cost cost = {.n_pages = -7};
    kvb_error error = {""};
    expect(kvb_layer_cost_of(layer, 64, 1, &cost, &error), KVB_ERROR_ARGUMENT, &error, words);
    assert_int_equal(cost.n_pages, -7);
}

static void layers_outside_their_ranges_are_refused_by_name(void **state) {
    (void)state;
    kvb_layer_spec l;
#define EXPECT_LAYER(CHANGE, WORDS)                                                                                    \
    l = good_layer();                                                                                                  \
    l.CHANGE;                                                                                                          \
    expect_layer(&l, WORDS)
    EXPECT_LAYER(n_kv_heads = 0, "n_kv_heads 0 is not from 1 to 1024");
    EXPECT_LAYER(k.head_dim = 60, "k_dim 60 is not a multiple of 8");
    EXPECT_LAYER(v.head_dim = 584, "v_dim 584 is not a multiple of 8");
    EXPECT_LAYER(v.head_dim = 104, "values: head_dim 104 has no Hadamard rotation");
    EXPECT_LAYER(k.bits = 0, "keys: bits 0 is not from 1 to 8, or 16 for dense rows");
    EXPECT_LAYER(k.bits = 15, "keys: bits 15 is not from 1 to 8, or 16 for dense rows");
    EXPECT_LAYER(v.bits = 9, "values: bits 9 is not from 1 to 8, or 16 for dense rows");
    EXPECT_LAYER(k.rotation = (kvb_rotation)3, "keys: rotation 3 is not");
    EXPECT_LAYER(v.scale = (kvb_scale_kind)3, "values: scale 3 is not");
    EXPECT_LAYER(v.scale_dtype = KVB_BF16, "values: scale_dtype 2 is not");
    EXPECT_LAYER(dense = KVB_F32, "dense 0 is not 1 (f16) or 2 (bf16)");
    EXPECT_LAYER(window = -1, "window -1 is negative");
    EXPECT_LAYER(exact_first = -1, "exact_first -1 is not from 0 to 65536");
    EXPECT_LAYER(exact_last = 65537, "exact_last 65537 is not from 0 to 65536");
    EXPECT_LAYER(v_prefix_of_k = 1, "rotation 2 mixes the keys of a latent layer");
    static float mean[128] = {[70] = NAN};
    EXPECT_LAYER(k_mean = mean, "k_mean of head 1 coordinate 6 is nan; legal: up to 65504");
    mean[70] = -65536.0f;
    EXPECT_LAYER(k_mean = mean, "k_mean of head 1 coordinate 6 is -65536");
    mean[70] = 65504.0f;
    l.k.bits = 16;
    expect_layer(&l, "k_mean is given for dense keys");
    l = good_layer();
    l.k_mean = mean;
    l.v_prefix_of_k = 1;
    l.k.rotation = KVB_ROTATION_NONE;
    expect_layer(&l, "k_mean is given for a latent layer");
    l = good_layer();
    l.v_prefix_of_k = 1;
    l.k.rotation = KVB_ROTATION_NONE;
    l.v.head_dim = 72;
    expect_layer(&l, "v_dim 72 of a latent layer is more than its k_dim 64");
    static const float falling[16] = {1.0f, 0.5f};
    l = good_layer();
    l.k.centroids = falling;
    expect_layer(&l, "keys: centroid 1 is 0.5 after 1");
    l = good_layer();
    kvb_layer_cost cost;
    kvb_error error;
    expect(kvb_layer_cost_of(&l, 64, -1, &cost, &error), KVB_ERROR_ARGUMENT, &error, "tokens -1 is not from 0 to 2^40");
    expect(kvb_layer_cost_of(NULL, 64, 1, &cost, &error), KVB_ERROR_ARGUMENT, &error, "layer is NULL");
    expect(kvb_layer_cost_of(&l, 64, 1, NULL, &error), KVB_ERROR_ARGUMENT, &error, "cost is NULL");
}

/* ---- Sequences and rows ---- */

typedef struct fixture {
    cache_model m;
    kvb_layer_spec layers[3];
    int sequence;
    float rows[40 * 2 * 64]; /* of kind 0 and 3: two heads of 64 */
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    f->layers[0] = cache_model_layer(0);
    f->layers[1] = cache_model_layer(1);
    f->layers[2] = cache_model_layer(3);
    kvb_cache_spec spec = {.layers = f->layers,
                           .n_layers = 3,
                           .page_tokens = 16,
                           .max_sequences = 2,
                           .max_tokens = 200,
                           .budget = 1 << 20};
    cache_model_create(&f->m, &spec, NULL, NULL, 1);
    assert_int_equal(cache_model_open(&f->m, &f->sequence), KVB_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cache_model_append(&f->m, f->sequence, i, 100), KVB_OK);
    }
    assert_int_equal(cache_model_commit(&f->m, f->sequence), KVB_OK);
    assert_int_equal(cache_model_append(&f->m, f->sequence, 1, 3), KVB_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    cache_model_check(&f->m);
    cache_model_destroy(&f->m);
    free(f);
    return 0;
}

static void sequences_that_are_not_open_are_refused(void **state) {
    fixture *f = *state;
    kvb_cache *cache = f->m.cache;
    static const int wrong[] = {-1, 1, 2, 1 << 30};
    for (int i = 0; i < 4; i++) {
        int s = wrong[i], copy;
        char words[60];
        snprintf(words, sizeof words, "sequence %d is not open; max_sequences is 2", s);
        kvb_error e = {""};
        kvb_kv_rows rows = {.n_tokens = 0};
        kvb_kv_view view;
        expect(kvb_cache_append(cache, s, 0, &rows, &e), KVB_ERROR_ARGUMENT, &e, words);
        expect(kvb_cache_reserve(cache, s, 1, &e), KVB_ERROR_ARGUMENT, &e, words);
        expect(kvb_cache_commit(cache, s, &e), KVB_ERROR_ARGUMENT, &e, words);
        expect(kvb_cache_truncate(cache, s, 0, &e), KVB_ERROR_ARGUMENT, &e, words);
        expect(kvb_cache_fork(cache, s, &copy, &e), KVB_ERROR_ARGUMENT, &e, words);
        expect(kvb_cache_view(cache, s, 0, &view, &e), KVB_ERROR_ARGUMENT, &e, words);
        assert_int_equal(kvb_cache_n_tokens(cache, s), -1);
        kvb_cache_free_sequence(cache, s);
    }
    kvb_error e = {""};
    kvb_kv_view view;
    int sequence;
    expect(kvb_cache_view(cache, 0, 3, &view, &e), KVB_ERROR_ARGUMENT, &e, "layer 3 is not from 0 to 2");
    expect(kvb_cache_view(cache, 0, -1, &view, &e), KVB_ERROR_ARGUMENT, &e, "layer -1");
    expect(kvb_cache_view(cache, 0, 0, NULL, &e), KVB_ERROR_ARGUMENT, &e, "view is NULL");
    expect(kvb_cache_view(NULL, 0, 0, &view, &e), KVB_ERROR_ARGUMENT, &e, "cache is NULL");
    expect(kvb_cache_append(cache, 0, 0, NULL, &e), KVB_ERROR_ARGUMENT, &e, "rows is NULL");
    expect(kvb_cache_fork(cache, 0, NULL, &e), KVB_ERROR_ARGUMENT, &e, "copy is NULL");
    expect(kvb_cache_open_sequence(cache, NULL, &e), KVB_ERROR_ARGUMENT, &e, "sequence is NULL");
    expect(kvb_cache_open_sequence(NULL, &sequence, &e), KVB_ERROR_ARGUMENT, &e, "cache is NULL");
}

static kvb_kv_rows good_rows(fixture *f) {
    return (kvb_kv_rows){.k = f->rows, .v = f->rows, .dtype = KVB_F32, .n_tokens = 3};
}

static void rows_of_a_wrong_shape_are_refused(void **state) {
    fixture *f = *state;
    kvb_kv_rows r;
    kvb_error e;
#define EXPECT_ROWS(CHANGE, STATUS, WORDS)                                                                             \
    r = good_rows(f);                                                                                                  \
    r.CHANGE;                                                                                                          \
    expect(kvb_cache_append(f->m.cache, 0, 0, &r, &e), STATUS, &e, WORDS)
    EXPECT_ROWS(k = NULL, KVB_ERROR_ARGUMENT, "keys are NULL");
    EXPECT_ROWS(v = NULL, KVB_ERROR_ARGUMENT, "values are NULL");
    EXPECT_ROWS(v = (const char *)f->rows + 2, KVB_ERROR_ARGUMENT, "values are misaligned");
    EXPECT_ROWS(dtype = (kvb_dtype)3, KVB_ERROR_ARGUMENT, "dtype 3 is not 0 (f32), 1 (f16) or 2 (bf16)");
    EXPECT_ROWS(n_tokens = -1, KVB_ERROR_ARGUMENT, "n_tokens -1 is not from 0 to the 100 that are left of max_tokens");
    EXPECT_ROWS(n_tokens = 101, KVB_ERROR_ARGUMENT, "n_tokens 101 is not from 0 to the 100");
    EXPECT_ROWS(k_head_stride = 63, KVB_ERROR_ARGUMENT, "of the keys: both must be at least 64");
    EXPECT_ROWS(v_token_stride = 63, KVB_ERROR_ARGUMENT, "strides 63 and 64 of the values: both must be at least 64");
    EXPECT_ROWS(v_token_stride = SIZE_MAX / 2, KVB_ERROR_MEMORY, "of the values reach beyond the address space");
    EXPECT_ROWS(k_head_stride = SIZE_MAX / 2 + 1, KVB_ERROR_MEMORY, "of the keys reach beyond the address space");
    r = (kvb_kv_rows){.n_tokens = 0};
    assert_int_equal(kvb_cache_append(f->m.cache, 0, 0, &r, &e), KVB_OK);
}

static void values_that_are_not_finite_are_named(void **state) {
    fixture *f = *state;
    static const float wrong[] = {NAN, INFINITY, -INFINITY, 0x1.000002p58f, -0x1p100f};
    kvb_error e;
    /* By tokens of a head, and by heads of a token. */
    for (int n = 1; n <= 40; n += 39) {
        for (int i = 0; i < 5; i++) {
            int token = n - 1, at = (token * 2 + 1) * 64 + 63;
            char words[120];
            snprintf(words, sizeof words, "token %d head 1 coordinate 63 of the values is %g; values must be finite",
                     token, (double)wrong[i]);
            float zeros[40 * 2 * 64] = {0};
            f->rows[at] = wrong[i];
            kvb_kv_rows r = {.k = zeros, .v = f->rows, .dtype = KVB_F32, .n_tokens = n};
            expect(kvb_cache_append(f->m.cache, 0, 0, &r, &e), KVB_ERROR_NOT_FINITE, &e, words);
            r.k = f->rows;
            expect(kvb_cache_append(f->m.cache, 0, 2, &r, &e), KVB_ERROR_NOT_FINITE, &e, "of the keys is");
            f->rows[at] = 0.0f;
        }
    }
}

/* 65519.99 rounds to 65504, 65520 to Inf: illegal where halves are kept, legal elsewhere and in bfloat. */
static void what_overflows_a_half_is_refused_where_halves_are_kept(void **state) {
    fixture *f = *state;
    kvb_layer_spec layers[5];
    for (int i = 0; i < 5; i++) {
        layers[i] = kvb_layer_spec_default(2, 64, 4, i == 2 ? 16 : 4);
    }
    layers[0].exact_first = 2;
    layers[1].exact_last = 1;
    layers[1].dense = KVB_BF16;
    layers[3].exact_last = 1;
    kvb_cache_spec spec = good_spec(layers);
    spec.n_layers = 5;
    kvb_cache *cache;
    kvb_error e;
    int s;
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &cache, &e), e);
    assert_ok(kvb_cache_open_sequence(cache, &s, &e), e);
    kvb_kv_rows r = good_rows(f);
    f->rows[2 * 128 + 5] = 65519.996f;
    for (int i = 0; i < 5; i++) {
        assert_ok(kvb_cache_append(cache, s, i, &r, &e), e);
    }
    assert_ok(kvb_cache_truncate(cache, s, 0, &e), e);
    f->rows[2 * 128 + 5] = -65520.0f;
    assert_ok(kvb_cache_append(cache, s, 0, &r, &e), e); /* token 2 is no exact first one */
    assert_ok(kvb_cache_append(cache, s, 1, &r, &e), e);
    expect(kvb_cache_append(cache, s, 2, &r, &e), KVB_ERROR_NOT_FINITE, &e, "of the values is -65520");
    expect(kvb_cache_append(cache, s, 3, &r, &e), KVB_ERROR_NOT_FINITE, &e,
           "token 2 head 0 coordinate 5 of the keys is -65520; what is kept in binary16 must be less than 65520");
    assert_ok(kvb_cache_append(cache, s, 4, &r, &e), e);
    assert_ok(kvb_cache_truncate(cache, s, 0, &e), e);
    f->rows[1 * 128 + 7] = 65520.0f;
    expect(kvb_cache_append(cache, s, 0, &r, &e), KVB_ERROR_NOT_FINITE, &e, "token 1 head 0 coordinate 7");
    kvb_cache_destroy(cache);
}

static void uneven_layers_and_impossible_lengths_are_refused(void **state) {
    fixture *f = *state;
    kvb_error e;
    expect(kvb_cache_commit(f->m.cache, 0, &e), KVB_ERROR_ARGUMENT, &e,
           "layer 1 has 103 tokens and layer 0 has 100; a commit needs the same in all layers");
    expect(kvb_cache_truncate(f->m.cache, 0, 104, &e), KVB_ERROR_ARGUMENT, &e,
           "n_tokens 104 is not from 0 to the 103 that were appended");
    expect(kvb_cache_truncate(f->m.cache, 0, -1, &e), KVB_ERROR_ARGUMENT, &e, "n_tokens -1");
    /* Window 40 at 100 tokens: token 61 is the first one seen, so the three pages up to 48 are gone, and a query at 87
     * sees 48. */
    expect(
        kvb_cache_truncate(f->m.cache, 0, 86, &e), KVB_ERROR_ARGUMENT, &e,
        "n_tokens 86: the window of layer 1 has given back tokens that are seen from there; 87 and more can be kept, "
        "or up to 0");
    expect(kvb_cache_reserve(f->m.cache, 0, 98, &e), KVB_ERROR_ARGUMENT, &e,
           "n_tokens 98 is not from 0 to the 97 that layer 1 has left of max_tokens 200");
    expect(kvb_cache_reserve(f->m.cache, 0, -1, &e), KVB_ERROR_ARGUMENT, &e, "n_tokens -1");
    assert_int_equal(cache_model_truncate(&f->m, 0, 87), KVB_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(specs_outside_their_ranges_are_refused),
        cmocka_unit_test(layers_outside_their_ranges_are_refused_by_name),
        cmocka_unit_test_setup_teardown(sequences_that_are_not_open_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_of_a_wrong_shape_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(values_that_are_not_finite_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_overflows_a_half_is_refused_where_halves_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(uneven_layers_and_impossible_lengths_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
