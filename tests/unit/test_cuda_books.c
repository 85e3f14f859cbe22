/* The books of a cache on the GPU (src/cuda/cache_books.c, cache_step.c, cache_mirror.c), where there is none: against
 * the CPU's, and against the rows that attention must find. */
#include "cuda_books.h"

static int run_random(const int *kinds, int n_layers, size_t budget, int n_operations, uint64_t seed) {
    kvb_layer_spec layers[most_layers];
    for (int i = 0; i < n_layers; i++) {
        layers[i] = cache_model_layer(kinds[i]);
    }
    kvb_cache_spec spec = {.layers = layers,
                           .n_layers = n_layers,
                           .page_tokens = KVB_CUDA_PAGE_TOKENS,
                           .max_sequences = n_sequences,
                           .max_tokens = most_tokens,
                           .budget = budget};
    twin *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->spec = &spec;
    t->random.state = seed;
    t->device = create_fake(&spec);
    spec.budget = (size_t)64 << 20;
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &t->cpu, &error), error);
    for (int i = 0; i < n_operations; i++) {
        operate(t);
        check_books(t);
    }
    for (int s = 0; s < n_sequences; s++) {
        assert_int_equal(kvb_cuda_cache_free_sequence(t->device, s, NULL), t->is_open[s] ? KVB_OK : KVB_ERROR_ARGUMENT);
    }
    assert_int_equal(kvb_cuda_cache_bytes(t->device).pages, 0);
    const int n_refused = t->n_refused;
    kvb_cache_destroy(t->cpu);
    destroy_fake(t->device);
    free(t);
    return n_refused;
}

static const int all[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
static const int windows[] = {1, 5, 7, 8, 9, 10};
static const int exact[] = {3, 4, 6, 11};
static const int half_bits[] = {12, 0, 13};

static void attention_finds_the_rows_of_random_operations(void **state) {
    (void)state;
    n_copies = 0;
    assert_int_equal(run_random(all, 12, (size_t)64 << 20, 400, 1), 0);
    assert_int_equal(run_random(windows, 6, (size_t)64 << 20, 600, 2), 0);
    assert_int_equal(run_random(exact, 4, (size_t)64 << 20, 600, 3), 0);
    assert_int_equal(run_random(half_bits, 3, (size_t)64 << 20, 300, 7), 0);
    assert_true(n_copies > 100);
}

/* Pages go from hand to hand. */
static void a_full_pool_refuses_and_nothing_changes(void **state) {
    (void)state;
    assert_true(run_random(all, 12, 1200000, 500, 4) > 10);
    assert_true(run_random(windows, 6, 150000, 800, 5) > 10);
    assert_true(run_random(exact, 4, 160000, 800, 6) > 10);
}

/* ---- Refusals ---- */

static void refused(kvb_status status, kvb_status expected, const char *part) {
    if (status != expected || !strstr(error.text, part)) {
        fail_msg("status %d, \"%s\" where a sentence with \"%s\" is due", (int)status, error.text, part);
    }
    error.text[0] = '\0';
}

static void specs_that_the_device_cannot_keep(void **state) {
    (void)state;
    kvb_layer_spec layers[2] = {cache_model_layer(0), cache_model_layer(0)};
    kvb_cache_spec spec = {.layers = layers, .n_layers = 2, .max_sequences = 2, .max_tokens = 100, .budget = 1 << 20};
    int heads[2] = {4, 4};
    const kvb_cuda_cache_spec of = {.cache = &spec, .n_q_heads = heads};
    kvb_cuda_cache *out;
#define REFUSED(status, part) refused(kvb_cuda_books_create(&of, &queue, &memory, NULL, &out, &error), status, part)
    spec.page_tokens = 32;
    REFUSED(KVB_ERROR_ARGUMENT, "page_tokens 32 is not 64");
    spec.page_tokens = 0;
    spec.max_sequences = 32768;
    REFUSED(KVB_ERROR_ARGUMENT, "max_sequences 32768 is more than the 32767");
    spec.max_sequences = 0;
    REFUSED(KVB_ERROR_ARGUMENT, "max_sequences 0 is not from 1 to");
    spec.max_sequences = 2;
    spec.max_tokens = (1 << 30) + 1;
    REFUSED(KVB_ERROR_ARGUMENT, "max_tokens 1073741825 is more than the 1073741824");
    spec.max_tokens = 100;
    spec.budget = ((size_t)1 << 38) + 1;
    REFUSED(KVB_ERROR_ARGUMENT, "budget 274877906945 is more than");
    spec.budget = 1 << 20;
    heads[1] = 5;
    REFUSED(KVB_ERROR_ARGUMENT, "layer 1: n_q_heads is 5, legal are multiples of n_kv_heads (2)");
    heads[1] = 4;
    layers[1].k.half_bit = 1;
    layers[1].k.head_dim = 72;
    REFUSED(KVB_ERROR_ARGUMENT, "layer 1: keys: head_dim 72 of a code with half a bit is not a multiple of 16");
    layers[1].k.head_dim = 64;
    layers[1].k.bits = 8;
    REFUSED(KVB_ERROR_ARGUMENT, "layer 1: keys: bits 8 and a half are more than 8");
    layers[1] = cache_model_layer(4);
    layers[1].v.half_bit = 1; /* of a latent layer nothing but the dim counts */
    layers[1].k.rotation = KVB_ROTATION_SIGNED;
    REFUSED(KVB_ERROR_ARGUMENT, "layer 1: rotation 2 mixes the keys of a latent layer");
    layers[1].k.rotation = KVB_ROTATION_NONE;
    layers[1].v.head_dim = 80;
    REFUSED(KVB_ERROR_ARGUMENT, "layer 1: v_dim 80 of a latent layer is more than its k_dim 72");
    layers[1] = cache_model_layer(0);
    layers[1].window = -1;
    REFUSED(KVB_ERROR_ARGUMENT, "layer 1: window -1 is negative");
    spec.n_layers = 1025;
    REFUSED(KVB_ERROR_ARGUMENT, "n_layers 1025 is not from 1 to 1024");
    spec.n_layers = 1;
    spec.layers = NULL;
    REFUSED(KVB_ERROR_ARGUMENT, "layers is NULL");
#undef REFUSED
}

static void steps_that_cannot_begin(void **state) {
    (void)state;
    const kvb_layer_spec layer = cache_model_layer(0);
    const kvb_cache_spec spec = {
        .layers = &layer, .n_layers = 1, .max_sequences = 3, .max_tokens = 100, .budget = 1 << 16};
    kvb_cuda_cache *cache = create_fake(&spec);
    int sequences[] = {0, 1, 0}, n_new[] = {1, 2, 3}, s;
    for (int i = 0; i < 2; i++) {
        assert_ok(kvb_cuda_cache_open_sequence(cache, &s, &error), error);
    }
#define REFUSED(n, n_steps, status, part)                                                                              \
    refused(kvb_cuda_cache_begin(cache, sequences, n_new, n, n_steps, NULL, &error), status, part)
    REFUSED(0, 1, KVB_ERROR_ARGUMENT, "n_sequences 0 is not from 1 to max_sequences 3");
    REFUSED(4, 1, KVB_ERROR_ARGUMENT, "n_sequences 4 is not");
    REFUSED(2, 0, KVB_ERROR_ARGUMENT, "n_steps 0 is not 1 or more");
    REFUSED(3, 1, KVB_ERROR_ARGUMENT, "sequence 0 is in the batch twice");
    REFUSED(2, 51, KVB_ERROR_ARGUMENT, "n_new 2 of sequence 1 in 51 steps is not from 0 to the 1 that are left");
    sequences[2] = 2;
    REFUSED(3, 1, KVB_ERROR_ARGUMENT, "sequence 2 is not open");
    sequences[2] = -1;
    REFUSED(3, 1, KVB_ERROR_ARGUMENT, "n_new 3 of an empty place");
    n_new[1] = -1;
    REFUSED(2, 1, KVB_ERROR_ARGUMENT, "n_new -1 of sequence 1");
    n_new[1] = 2;
    refused(kvb_cuda_cache_begin(cache, NULL, n_new, 1, 1, NULL, &error), KVB_ERROR_ARGUMENT, "sequences is NULL");
    refused(kvb_cuda_cache_commit(cache, 1, &error), KVB_ERROR_ARGUMENT, "no step has begun");
    is_capturing = 1;
    REFUSED(2, 1, KVB_ERROR_ARGUMENT, "kvb_cuda_cache_begin: the stream is capturing");
    refused(kvb_cuda_cache_reserve(cache, 0, 1, NULL, &error), KVB_ERROR_ARGUMENT, "capturing");
    refused(kvb_cuda_cache_fork(cache, 0, &s, NULL, &error), KVB_ERROR_ARGUMENT, "capturing");
    is_capturing = 0;
    /* Nothing of the above is left. */
    assert_ok(kvb_cuda_cache_begin(cache, sequences, n_new, 2, 1, NULL, &error), error);
    REFUSED(2, 1, KVB_ERROR_ARGUMENT, "a step of 2 sequences has begun; commit it first");
    refused(kvb_cuda_cache_fork(cache, 0, &s, NULL, &error), KVB_ERROR_ARGUMENT, "commit it first");
    refused(kvb_cuda_cache_truncate(cache, 0, 0, &error), KVB_ERROR_ARGUMENT, "commit it first");
    refused(kvb_cuda_cache_free_sequence(cache, 0, &error), KVB_ERROR_ARGUMENT, "commit it first");
    refused(kvb_cuda_cache_open_sequence(cache, &s, &error), KVB_ERROR_ARGUMENT, "commit it first");
    refused(kvb_cuda_cache_reserve(cache, 0, 1, NULL, &error), KVB_ERROR_ARGUMENT, "commit it first");
    refused(kvb_cuda_cache_commit(cache, 2, &error), KVB_ERROR_ARGUMENT, "n_done 2 is not from 0 to the 1");
    assert_ok(kvb_cuda_cache_commit(cache, 1, &error), error);
    assert_int_equal(kvb_cuda_cache_n_tokens(cache, 1), 2);
    refused(kvb_cuda_cache_reserve(cache, 1, 99, NULL, &error), KVB_ERROR_ARGUMENT,
            "n_tokens 99 is not from 0 to the 98 that layer 0 has left of max_tokens 100");
#undef REFUSED
    destroy_fake(cache);
}

/* More entries of tables than one update takes. */
static void a_long_prompt(void **state) {
    (void)state;
    enum { n = 64 * 700 };
    const kvb_layer_spec layer = kvb_layer_spec_default(1, 8, 16, 16);
    const kvb_cache_spec spec = {
        .layers = &layer, .n_layers = 1, .max_sequences = 1, .max_tokens = n, .budget = 700 * 4096};
    kvb_cuda_cache *cache = create_fake(&spec);
    int s, n_new = n;
    assert_ok(kvb_cuda_cache_open_sequence(cache, &s, &error), error);
    n_updates = 0;
    assert_ok(kvb_cuda_cache_begin(cache, &s, &n_new, 1, 1, NULL, &error), error);
    assert_int_equal(n_updates, 3);
    int is_taken[700] = {0};
    for (int i = 0; i < 700; i++) { /* a page of 64 tokens, 8 values of 2 bytes on both sides, padded to 16: 32 units */
        const int32_t page = cache->numbers[kvb_cuda_table_at(cache, s, 0) + (size_t)i];
        assert_true(page >= 0 && page % 32 == 0 && page / 32 < 700 && !is_taken[page / 32]++);
    }
    assert_ok(kvb_cuda_cache_commit(cache, 1, &error), error);
    assert_int_equal(kvb_cuda_cache_bytes(cache).free, 0);
    destroy_fake(cache);
}

/* ---- One cache made another ---- */

static void two_caches_that_differ(void **state) {
    (void)state;
    kvb_layer_spec layer = cache_model_layer(0);
    kvb_cache_spec spec = {.layers = &layer, .n_layers = 1, .max_sequences = 2, .max_tokens = 100, .budget = 1 << 16};
    kvb_cuda_cache *cache = create_fake(&spec);
    kvb_cache *host;
    int s;
    layer.window = 7;
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &host, &error), error);
    refused(kvb_mirror_books(host, cache->books, host, &error), KVB_ERROR_ARGUMENT,
            "layer 0 of the host's cache has window 7, and that of the cache 0");
    kvb_cache_destroy(host);
    layer.window = 0;
    spec.page_tokens = 32;
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &host, &error), error);
    refused(kvb_mirror_books(cache->books, host, host, &error), KVB_ERROR_ARGUMENT,
            "the host's cache has 1 layers in pages of 32 tokens, and the device's 1 in pages of 64");
    kvb_cache_destroy(host);
    spec.page_tokens = 64;
    spec.max_tokens = 99;
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &host, &error), error);
    assert_ok(kvb_cuda_cache_open_sequence(cache, &s, &error), error);
    refused(kvb_mirror_books(cache->books, host, host, &error), KVB_ERROR_ARGUMENT,
            "sequence 0 of the cache that is "
            "filled is open");
    const int n_new = 100;
    assert_ok(kvb_cuda_cache_begin(cache, &s, &n_new, 1, 1, NULL, &error), error);
    assert_ok(kvb_cuda_cache_commit(cache, 1, &error), error);
    refused(kvb_mirror_books(host, cache->books, host, &error), KVB_ERROR_ARGUMENT,
            "sequence 0 has 100 tokens; the cache that is filled has room for 2 sequences of up to 99");
    kvb_cache_destroy(host);
    spec.max_tokens = 100;
    spec.budget = 64;
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &host, &error), error);
    refused(kvb_mirror_books(host, cache->books, host, &error), KVB_ERROR_MEMORY, "the cache is full");
    assert_int_equal(kvb_cache_n_tokens(host, 0), -1);
    kvb_cache_destroy(host);
    destroy_fake(cache);
}

/* Forks and windows, there and back. */
static void a_mirrored_cache_shares_the_same_pages(void **state) {
    (void)state;
    kvb_layer_spec layers[] = {cache_model_layer(1), cache_model_layer(3), cache_model_layer(8)};
    const kvb_cache_spec spec = {
        .layers = layers, .n_layers = 3, .max_sequences = n_sequences, .max_tokens = 1000, .budget = 1 << 22};
    twin *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->spec = &spec;
    t->random.state = 12;
    t->device = create_fake(&spec);
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &t->cpu, &error), error);
    for (int i = 0; i < n_sequences; i++) {
        if (i < 2) {
            open_one(t);
        } else if (i != 3) {
            fork_one(t, i - 2);
        } else {
            fork_one(t, 2);
        }
        step(t, 150);
        step(t, 90);
    }
    kvb_cache *host;
    kvb_cuda_cache *device = t->device, *back = create_fake(&spec);
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &host, &error), error);
    assert_ok(kvb_mirror_books(host, device->books, host, &error), error);
    kvb_cuda_books_gather(back, NULL);
    assert_ok(kvb_mirror_books(back->books, host, host, &error), error);
    assert_ok(kvb_cuda_books_settle(back, &error), error);
    t->device = back;
    check_books(t);
    int n_shared = 0;
    for (int s = 0; s < n_sequences; s++) {
        for (int layer = 0; layer < 3; layer++) {
            const kvb_page_range held = kvb_mirror_pages(host, s, layer);
            for (int64_t page = held.begin; page < held.end; page++) {
                const uint8_t *at = kvb_cache_part_of(back->books, s, layer)->pages[page];
                n_shared += kvb_mirror_owner(host, s, layer, page) != s;
                assert_int_equal(back->numbers[kvb_cuda_table_at(back, s, layer) + (size_t)page],
                                 (at - back->books->pool.arena) / KVB_CUDA_POOL_UNIT);
            }
        }
    }
    assert_true(n_shared > 3);
    assert_int_equal(kvb_cache_bytes(host).pages, kvb_cache_bytes(t->cpu).pages);
    kvb_cache_destroy(host);
    kvb_cache_destroy(t->cpu);
    destroy_fake(device);
    destroy_fake(back);
    free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_finds_the_rows_of_random_operations),
        cmocka_unit_test(a_full_pool_refuses_and_nothing_changes),
        cmocka_unit_test(specs_that_the_device_cannot_keep),
        cmocka_unit_test(steps_that_cannot_begin),
        cmocka_unit_test(a_long_prompt),
        cmocka_unit_test(two_caches_that_differ),
        cmocka_unit_test(a_mirrored_cache_shares_the_same_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
