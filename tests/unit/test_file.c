/* Saving and loading: what comes back is what was there, and goes on as it would have. */
#define _XOPEN_SOURCE 700
#include "file_image.h"

#include "crc32c.h"

static void the_crc_is_castagnoli_s_for_any_split(void **state) {
    (void)state;
    static kvb_crc32c_tables tables;
    uint8_t text[] = "123456789", zeros[32] = {0};
    kvb_crc32c_fill(&tables);
    assert_int_equal(kvb_crc32c(&tables, 0, text, 9), 0xe3069283);
    assert_int_equal(kvb_crc32c(&tables, 0, zeros, 32), 0x8a9136aa); /* RFC 3720, B.4 */
    assert_int_equal(kvb_crc32c(&tables, 0, text, 0), 0);
    for (size_t n = 0; n <= 9; n++) {
        assert_int_equal(kvb_crc32c(&tables, kvb_crc32c(&tables, 0, text, n), text + n, 9 - n), 0xe3069283);
    }
}

/* ---- Whole caches ---- */

typedef struct rows {
    float *values;
    size_t n;
} rows;

static void add_row(void *context, const float *values, int n) {
    rows *all = context;
    all->values = realloc(all->values, (all->n + (size_t)n) * sizeof *values);
    assert_non_null(all->values);
    memcpy(all->values + all->n, values, (size_t)n * sizeof *values);
    all->n += (size_t)n;
}

static rows rows_of(const kvb_cache *cache, int sequence) {
    rows all = {NULL, 0};
    kvb_error error;
    assert_ok(file_case_rows(cache, sequence, add_row, &all, &error), error);
    return all;
}

static void assert_same_rows(const kvb_cache *a, int a_sequence, const kvb_cache *b, int b_sequence) {
    rows ours = rows_of(a, a_sequence), theirs = rows_of(b, b_sequence);
    assert_int_equal(ours.n, theirs.n);
    if (ours.n > 0) {
        assert_memory_equal(ours.values, theirs.values, ours.n * sizeof *ours.values);
    }
    free(ours.values);
    free(theirs.values);
}

static kvb_cache *make(int which) {
    kvb_error error;
    kvb_cache *cache = file_case_make(which, 11, NULL, &error);
    if (!cache) {
        fail_msg("%s: %s", file_case_names[which], error.text);
    }
    return cache;
}

static kvb_cache *load(const char *path) {
    kvb_error error;
    kvb_cache *cache;
    assert_ok(kvb_cache_load(path, NULL, NULL, NULL, &cache, &error), error);
    return cache;
}

static kvb_cache *save_and_load(const kvb_cache *cache) {
    kvb_error error;
    const char *path = path_in_folder("cache.kvb");
    assert_ok(kvb_cache_save(cache, path, &error), error);
    kvb_cache *loaded = load(path);
    assert_int_equal(unlink(path), 0);
    return loaded;
}

static void assert_same_usage(const kvb_cache *a, const kvb_cache *b) {
    kvb_cache_usage ours = kvb_cache_bytes(a), theirs = kvb_cache_bytes(b);
    assert_int_equal(ours.budget, theirs.budget);
    assert_int_equal(ours.pages, theirs.pages);
    assert_int_equal(ours.exact, theirs.exact);
}

static void a_loaded_cache_holds_the_same_rows_and_is_saved_as_the_same_bytes(void **state) {
    (void)state;
    for (int which = 0; which < FILE_CASES; which++) {
        kvb_cache *cache = make(which), *loaded = save_and_load(cache);
        for (int sequence = 0; sequence < 7; sequence++) {
            assert_int_equal(kvb_cache_n_tokens(cache, sequence), kvb_cache_n_tokens(loaded, sequence));
            if (kvb_cache_n_tokens(cache, sequence) >= 0) {
                assert_same_rows(cache, sequence, loaded, sequence);
            }
        }
        assert_same_usage(cache, loaded);
        image before = image_of(cache), after = image_of(loaded);
        assert_same_image(before, after);
        free(before.bytes);
        free(after.bytes);
        kvb_cache_destroy(cache);
        kvb_cache_destroy(loaded);
    }
}

static void go_on(kvb_cache *cache) {
    kvb_error error;
    for (int sequence = 0; sequence < 7; sequence++) {
        if (kvb_cache_n_tokens(cache, sequence) >= 0) {
            assert_ok(file_case_grow(cache, sequence, 23, 5, &error), error);
        }
    }
    int copy;
    if (kvb_cache_n_tokens(cache, 1) > 0) {
        assert_ok(kvb_cache_fork(cache, 1, &copy, &error), error);
        assert_ok(kvb_cache_truncate(cache, 1, kvb_cache_n_tokens(cache, 1) - 2, &error), error);
        assert_ok(file_case_grow(cache, 1, 3, 6, &error), error);
    }
}

static void a_loaded_cache_goes_on_as_the_saved_one_does(void **state) {
    (void)state;
    for (int which = 0; which < FILE_CASES; which++) {
        kvb_cache *cache = make(which), *loaded = save_and_load(cache);
        go_on(cache);
        go_on(loaded);
        image ours = image_of(cache), theirs = image_of(loaded);
        assert_same_image(ours, theirs);
        free(ours.bytes);
        free(theirs.bytes);
        kvb_cache_destroy(cache);
        kvb_cache_destroy(loaded);
    }
}

/* Outputs of one query per head at the next position, on the scalar backend. */
static void attend(const kvb_cache *cache, int sequence, int layer, float *out) {
    static float q[8 * KVB_MAX_HEAD_DIM];
    kvb_error error;
    kvb_kv_view view;
    const kvb_backend *scalar;
    assert_ok(kvb_backend_open("scalar", &scalar, &error), error);
    assert_ok(kvb_cache_view(cache, sequence, layer, &view, &error), error);
    size_t k_dim = (size_t)view.format->k_dim, v_dim = (size_t)view.format->v_dim;
    for (size_t i = 0; i < sizeof q / sizeof *q; i++) {
        q[i] = (float)((i * 37 + 11) % 101) * 0.02f - 1.0f;
    }
    kvb_attend_item item = {.kv = &view,
                            .n_q = 1,
                            .n_heads = view.format->n_kv_heads,
                            .q = q,
                            .q_token_stride = sizeof q / sizeof *q,
                            .q_head_stride = k_dim,
                            .out = out,
                            .out_token_stride = 8 * v_dim,
                            .out_head_stride = v_dim,
                            .scale = 0.5f,
                            .positions = &view.n_tokens};
    size_t bytes = kvb_attend_scratch_bytes(scalar, &item, 1, NULL);
    void *scratch = malloc(bytes);
    assert_ok(kvb_attend(scalar, &item, 1, scratch, bytes, NULL, &error), error);
    free(scratch);
}

static void attention_on_a_loaded_cache_gives_the_same_bits(void **state) {
    (void)state;
    static float ours[8 * KVB_MAX_HEAD_DIM], theirs[8 * KVB_MAX_HEAD_DIM];
    for (int which = 1; which < FILE_CASES; which++) {
        kvb_cache *cache = make(which), *loaded = save_and_load(cache);
        for (int layer = 0; layer < kvb_cache_get_spec(cache)->n_layers; layer++) {
            int sequence = which == 2 ? 1 : 0;
            attend(cache, sequence, layer, ours);
            attend(loaded, sequence, layer, theirs);
            assert_memory_equal(ours, theirs, sizeof ours);
        }
        kvb_cache_destroy(cache);
        kvb_cache_destroy(loaded);
    }
}

/* A file's centroids, not the library's, decode it: also where the library's table for these bits is another. */
static void codecs_take_their_centroids_from_the_file(void **state) {
    (void)state;
    kvb_cache *cache = make(2), *loaded = save_and_load(cache);
    const float *levels = kvb_cache_get_spec(loaded)->layers[1].k.centroids;
    assert_true(levels[0] == -2.0f && levels[7] == 3.0f && levels != kvb_codebook(3));
    kvb_cache_destroy(cache);
    kvb_cache_destroy(loaded);
}

static void what_a_page_held_before_does_not_reach_the_file(void **state) {
    (void)state;
    kvb_error error;
    kvb_cache *straight = make(1), *detour = make(1);
    assert_ok(kvb_cache_truncate(detour, 0, 20, &error), error);
    assert_ok(file_case_grow(detour, 0, 60, 99, &error), error);
    assert_ok(kvb_cache_truncate(detour, 0, 20, &error), error);
    assert_ok(file_case_grow(detour, 0, 33, 11, &error), error);
    image a = image_of(straight), b = image_of(detour);
    assert_same_image(a, b);
    free(a.bytes);
    free(b.bytes);
    kvb_cache_destroy(straight);
    kvb_cache_destroy(detour);
}

/* As many forks as there are numbers fit a budget that could not hold two copies of their tokens. */
static void shared_pages_are_shared_again(void **state) {
    (void)state;
    kvb_error error;
    kvb_layer_spec layer = kvb_layer_spec_default(1, 64, 8, 8);
    kvb_cache_spec spec = {.layers = &layer, .n_layers = 1, .page_tokens = 16, .max_sequences = 8, .max_tokens = 64};
    kvb_layer_cost cost;
    assert_ok(kvb_layer_cost_of(&layer, 16, 64, &cost, &error), error);
    spec.budget = cost.bytes;
    kvb_cache *cache;
    int sequence, copy;
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &cache, &error), error);
    assert_ok(kvb_cache_open_sequence(cache, &sequence, &error), error);
    assert_ok(file_case_grow(cache, sequence, 64, 1, &error), error);
    for (int i = 1; i < 8; i++) {
        assert_ok(kvb_cache_fork(cache, i - 1, &copy, &error), error);
    }
    kvb_cache *loaded = save_and_load(cache);
    assert_same_usage(cache, loaded);
    assert_same_rows(cache, 0, loaded, 7);
    kvb_cache_destroy(cache);
    kvb_cache_destroy(loaded);
}

/* Pages behind the window that held exact first tokens only: no matter how many of them the cache takes for given back,
 * it can be loaded, and goes on alike. */
static void a_cut_into_the_exact_first_tokens_can_be_loaded(void **state) {
    (void)state;
    for (int n = 0; n <= 60; n++) {
        kvb_error error;
        kvb_layer_spec layer = kvb_layer_spec_default(1, 32, 4, 4);
        kvb_cache_spec spec = {.layers = &layer,
                               .n_layers = 1,
                               .page_tokens = 16,
                               .max_sequences = 1,
                               .max_tokens = 200,
                               .budget = 100000};
        kvb_cache *cache;
        int sequence;
        layer.exact_first = 50;
        layer.exact_last = n % 3;
        layer.window = 30;
        assert_ok(kvb_cache_create(&spec, NULL, NULL, &cache, &error), error);
        assert_ok(kvb_cache_open_sequence(cache, &sequence, &error), error);
        assert_ok(file_case_grow(cache, sequence, 77, 1, &error), error);
        assert_ok(kvb_cache_truncate(cache, sequence, n, &error), error);
        kvb_cache *loaded = save_and_load(cache);
        for (int i = 0; i < 5; i++) {
            image ours = image_of(cache), theirs = image_of(loaded);
            assert_same_image(ours, theirs);
            free(ours.bytes);
            free(theirs.bytes);
            assert_ok(file_case_grow(cache, sequence, 11, 2, &error), error);
            assert_ok(file_case_grow(loaded, sequence, 11, 2, &error), error);
        }
        kvb_cache_destroy(cache);
        kvb_cache_destroy(loaded);
    }
}

static void tokens_that_are_not_committed_are_refused(void **state) {
    (void)state;
    kvb_error error;
    kvb_cache *cache = make(1);
    float k[2 * 64] = {0}, v[2 * 64] = {0};
    kvb_kv_rows rows = {.k = k, .v = v, .dtype = KVB_F32, .n_tokens = 1};
    assert_ok(kvb_cache_append(cache, 0, 0, &rows, &error), error);
    assert_int_equal(kvb_cache_save(cache, path_in_folder("no.kvb"), &error), KVB_ERROR_ARGUMENT);
    assert_string_equal(error.text, "sequence 0 has 54 tokens in layer 0, and 53 are committed; commit or truncate it "
                                    "before saving");
    assert_int_equal(access(image_path, F_OK), -1);
    kvb_cache_destroy(cache);
}

/* ---- One sequence ---- */

static kvb_cache *empty_like(const kvb_cache *cache) {
    kvb_error error;
    kvb_cache *made;
    const kvb_backend *scalar;
    assert_ok(kvb_backend_open("scalar", &scalar, &error), error);
    assert_ok(kvb_cache_create(kvb_cache_get_spec(cache), scalar, NULL, &made, &error), error);
    return made;
}

static void one_sequence_can_be_saved_and_joins_another_cache(void **state) {
    (void)state;
    kvb_error error;
    char path[sizeof image_path];
    strcpy(path, path_in_folder("one.kvb"));
    for (int which = 1; which < FILE_CASES; which++) {
        kvb_cache *cache = make(which), *other = empty_like(cache);
        int taken, loaded;
        assert_ok(kvb_cache_open_sequence(other, &taken, &error), error);
        for (int sequence = 0; sequence < 7; sequence++) {
            if (kvb_cache_n_tokens(cache, sequence) < 0) {
                continue;
            }
            assert_ok(kvb_cache_save_sequence(cache, sequence, path, &error), error);
            assert_ok(kvb_cache_load_sequence(other, path, NULL, &loaded, &error), error);
            assert_int_equal(loaded, taken + 1);
            assert_same_rows(cache, sequence, other, loaded);
            kvb_cache *alone = load(path);
            assert_same_rows(cache, sequence, alone, 0);
            assert_ok(file_case_grow(alone, 0, 20, 3, &error), error);
            assert_ok(file_case_grow(other, loaded, 20, 3, &error), error);
            assert_same_rows(alone, 0, other, loaded);
            kvb_cache_destroy(alone);
            kvb_cache_free_sequence(other, loaded);
        }
        kvb_cache_destroy(cache);
        kvb_cache_destroy(other);
    }
}

static void refuse_sequence(kvb_cache *cache, const char *path, kvb_status expected, const char *sentence) {
    kvb_error error = {""};
    int sequence = 77;
    image before = image_of(cache);
    kvb_status status = kvb_cache_load_sequence(cache, path, NULL, &sequence, &error);
    assert_int_equal(status, expected);
    assert_int_equal(sequence, 77);
    if (!strstr(error.text, sentence)) {
        fail_msg("\"%s\" does not say \"%s\"", error.text, sentence);
    }
    image after = image_of(cache);
    assert_same_image(before, after);
    free(before.bytes);
    free(after.bytes);
}

static void a_sequence_of_other_layers_is_refused_with_the_difference(void **state) {
    (void)state;
    kvb_error error;
    char path[sizeof image_path];
    kvb_cache *cache = make(3);
    strcpy(path, path_in_folder("one.kvb"));
    assert_ok(kvb_cache_save_sequence(cache, 0, path, &error), error);
    static const char *const expected[] = {
        "n_kv_heads 3, and that of the cache 2", "exact_last 9, and that of the cache 8",
        "window 0, and that of the cache 5",     "other keys: head_dim 32, 1 bits",
        "dense 2, and that of the cache 1",      "other values"};
    for (int change = 0; change < 6; change++) {
        kvb_layer_spec layers[3];
        kvb_cache_spec spec = *kvb_cache_get_spec(cache);
        memcpy(layers, spec.layers, sizeof layers);
        spec.layers = layers;
        layers[0].n_kv_heads -= change == 0;
        layers[0].exact_last -= change == 1;
        layers[0].window = change == 2 ? 5 : 0;
        layers[0].k.sign_seed += change == 3;
        layers[0].dense = change == 4 ? KVB_F16 : KVB_BF16;
        layers[0].v.scale = change == 5 ? KVB_SCALE_NORM : layers[0].v.scale;
        kvb_cache *other;
        assert_ok(kvb_cache_create(&spec, NULL, NULL, &other, &error), error);
        refuse_sequence(other, path, KVB_ERROR_ARGUMENT, expected[change]);
        kvb_cache_destroy(other);
    }
    kvb_cache *other = make(1);
    refuse_sequence(other, path, KVB_ERROR_ARGUMENT, "the file has 3 layers in pages of 16 tokens, and the cache 2");
    kvb_cache_destroy(other);
    assert_ok(kvb_cache_save(cache, path, &error), error);
    refuse_sequence(cache, path, KVB_ERROR_ARGUMENT, "the file has 3 sequences");
    kvb_cache_destroy(cache);
}

/* Of a layer of 2 heads. */
static kvb_cache *cache_of(kvb_codec_spec k, kvb_codec_spec v, const float *k_mean) {
    kvb_error error;
    kvb_layer_spec layer = kvb_layer_spec_default(2, k.head_dim, k.bits, v.bits);
    kvb_cache_spec spec = {.layers = &layer, .n_layers = 1, .max_sequences = 2, .max_tokens = 64, .budget = 1 << 17};
    kvb_cache *cache;
    layer.k = k;
    layer.v = v;
    layer.k_mean = k_mean;
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &cache, &error), error);
    return cache;
}

static void keys_less_other_means_are_refused(void **state) {
    (void)state;
    kvb_error error;
    char path[sizeof image_path];
    float mean[2 * 64] = {0}, other[2 * 64] = {0};
    kvb_codec_spec four = kvb_codec_spec_default(64, 4);
    int sequence;
    other[2 * 64 - 1] = 0x1p-20f;
    strcpy(path, path_in_folder("one.kvb"));
    kvb_cache *caches[3] = {cache_of(four, four, NULL), cache_of(four, four, mean), cache_of(four, four, other)};
    for (int from = 0; from < 3; from++) {
        assert_ok(kvb_cache_open_sequence(caches[from], &sequence, &error), error);
        assert_ok(file_case_grow(caches[from], sequence, 3, 1, &error), error);
        assert_ok(kvb_cache_save_sequence(caches[from], sequence, path, &error), error);
        for (int to = 0; to < 3; to++) {
            if (to == from) {
                assert_ok(kvb_cache_load_sequence(caches[to], path, NULL, &sequence, &error), error);
                assert_same_rows(caches[to], 0, caches[to], sequence);
                kvb_cache_free_sequence(caches[to], sequence);
            } else {
                refuse_sequence(caches[to], path, KVB_ERROR_ARGUMENT,
                                from == 0 ? "layer 0 of the file has k_mean 0, and that of the cache 1"
                                : to == 0 ? "layer 0 of the file has k_mean 1, and that of the cache 0"
                                          : "layer 0 of the file has another k_mean");
            }
        }
    }
    for (int i = 0; i < 3; i++) {
        kvb_cache_destroy(caches[i]);
    }
}

static void whole_bits_are_refused_in_place_of_half_ones(void **state) {
    (void)state;
    kvb_error error;
    char path[sizeof image_path];
    kvb_codec_spec whole = kvb_codec_spec_default(64, 4), half = whole;
    int sequence;
    half.half_bit = 1;
    strcpy(path, path_in_folder("one.kvb"));
    kvb_cache *cache = cache_of(half, whole, NULL), *keys = cache_of(whole, whole, NULL),
              *values = cache_of(half, half, NULL);
    assert_ok(kvb_cache_open_sequence(cache, &sequence, &error), error);
    assert_ok(kvb_cache_save_sequence(cache, sequence, path, &error), error);
    refuse_sequence(keys, path, KVB_ERROR_ARGUMENT, "other keys: head_dim 64, 4.5 bits, rotation 2, scale 1 of type 1");
    refuse_sequence(values, path, KVB_ERROR_ARGUMENT, "and that of the cache 64, 4.5, 2");
    kvb_cache_destroy(cache);
    kvb_cache_destroy(keys);
    kvb_cache_destroy(values);
}

static uint32_t codecs_in(kvb_cache *cache) {
    image file = image_of(cache);
    const uint8_t *at = file.bytes + KVB_FILE_HEADER_BYTES + KVB_FILE_HEAD_BYTES;
    uint32_t n = (uint32_t)kvb_file_get(&at, 4);
    free(file.bytes);
    kvb_cache_destroy(cache);
    return n;
}

/* Of half a bit the library's centroids lie in two tables, a caller's in one. */
static void equal_codes_of_half_a_bit_are_described_once(void **state) {
    (void)state;
    float centroids[32 + 16];
    kvb_codec_spec half = kvb_codec_spec_default(64, 4), own = half;
    own.half_bit = half.half_bit = 1;
    own.centroids = centroids;
    memcpy(centroids, kvb_codebook(5), 32 * sizeof *centroids);
    memcpy(centroids + 32, kvb_codebook(4), 16 * sizeof *centroids);
    assert_int_equal(codecs_in(cache_of(half, half, NULL)), 1);
    assert_int_equal(codecs_in(cache_of(half, own, NULL)), 1);
    assert_int_equal(codecs_in(cache_of(own, half, NULL)), 1);
    assert_int_equal(codecs_in(cache_of(own, own, NULL)), 1);
    assert_int_equal(codecs_in(cache_of(half, kvb_codec_spec_default(64, 4), NULL)), 2);
    for (int i = 31; i < 48; i += 16) { /* the last of either */
        centroids[i] *= 1.25f;
        assert_int_equal(codecs_in(cache_of(half, own, NULL)), 2);
        assert_int_equal(codecs_in(cache_of(own, half, NULL)), 2);
        centroids[i] /= 1.25f;
    }
}

static void a_sequence_that_does_not_fit_the_cache_is_refused(void **state) {
    (void)state;
    kvb_error error;
    char path[sizeof image_path];
    strcpy(path, path_in_folder("one.kvb"));
    kvb_cache *cache = make(1);
    assert_ok(kvb_cache_save_sequence(cache, 0, path, &error), error);
    kvb_cache_spec spec = *kvb_cache_get_spec(cache);
    kvb_cache *other;
    spec.budget = 4096;
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &other, &error), error);
    refuse_sequence(other, path, KVB_ERROR_MEMORY, "more bytes are needed");
    kvb_cache_destroy(other);
    spec = *kvb_cache_get_spec(cache);
    spec.max_tokens = 52;
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &other, &error), error);
    refuse_sequence(other, path, KVB_ERROR_ARGUMENT, "53 tokens, and max_tokens is 52");
    kvb_cache_destroy(other);
    int sequence;
    for (int i = 1; i < 7; i++) {
        assert_ok(kvb_cache_open_sequence(cache, &sequence, &error), error);
    }
    refuse_sequence(cache, path, KVB_ERROR_MEMORY, "are open");
    kvb_cache_destroy(cache);
}

static void nothing_is_asked_of_null(void **state) {
    (void)state;
    kvb_error error;
    kvb_cache *cache = make(0), *out = cache;
    assert_int_equal(kvb_cache_save(NULL, "x", &error), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_cache_save(cache, NULL, &error), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_cache_save_sequence(cache, 0, "x", &error), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_cache_load(NULL, NULL, NULL, NULL, &out, &error), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_cache_load("x", NULL, NULL, NULL, NULL, &error), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_cache_load_sequence(NULL, "x", NULL, NULL, &error), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_file_inspect(NULL, NULL, NULL, NULL, &error), KVB_ERROR_ARGUMENT);
    kvb_cache_destroy(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_crc_is_castagnoli_s_for_any_split),
        cmocka_unit_test(a_loaded_cache_holds_the_same_rows_and_is_saved_as_the_same_bytes),
        cmocka_unit_test(a_loaded_cache_goes_on_as_the_saved_one_does),
        cmocka_unit_test(attention_on_a_loaded_cache_gives_the_same_bits),
        cmocka_unit_test(codecs_take_their_centroids_from_the_file),
        cmocka_unit_test(what_a_page_held_before_does_not_reach_the_file),
        cmocka_unit_test(shared_pages_are_shared_again),
        cmocka_unit_test(a_cut_into_the_exact_first_tokens_can_be_loaded),
        cmocka_unit_test(tokens_that_are_not_committed_are_refused),
        cmocka_unit_test(one_sequence_can_be_saved_and_joins_another_cache),
        cmocka_unit_test(a_sequence_of_other_layers_is_refused_with_the_difference),
        cmocka_unit_test(keys_less_other_means_are_refused),
        cmocka_unit_test(whole_bits_are_refused_in_place_of_half_ones),
        cmocka_unit_test(equal_codes_of_half_a_bit_are_described_once),
        cmocka_unit_test(a_sequence_that_does_not_fit_the_cache_is_refused),
        cmocka_unit_test(nothing_is_asked_of_null),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
