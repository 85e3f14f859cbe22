/* Where a cache's memory comes from and when it ends: allocations that fail, budgets to the block, costs to the byte.
 */
#include "cache_model.h"
#include "guard.h"

/* ---- Allocations ---- */

typedef struct counter {
    int n_left; /* allocations until they fail */
    int n_made;
    size_t bytes;
} counter;

static void *count_allocate(void *context, size_t bytes, size_t alignment) {
    counter *c = context;
    if (c->n_left-- <= 0) {
        return NULL;
    }
    c->n_made++;
    c->bytes += bytes;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void count_release(void *context, void *pointer, size_t bytes) {
    counter *c = context;
    c->bytes -= bytes;
    free(pointer);
}

static kvb_cache_spec spec_of(const kvb_layer_spec *layers, int n_layers, size_t budget) {
    return (kvb_cache_spec){.layers = layers,
                            .n_layers = n_layers,
                            .page_tokens = 16,
                            .max_sequences = model_sequences,
                            .max_tokens = model_tokens,
                            .budget = budget};
}

/* Bookkeeping, five codecs of six sides (two are equal), the arena. */
static void every_failing_allocation_is_reported_and_leaks_nothing(void **state) {
    (void)state;
    kvb_layer_spec layers[] = {cache_model_layer(0), cache_model_layer(1), cache_model_layer(2), cache_model_layer(0),
                               cache_model_layer(4)};
    kvb_cache_spec spec = spec_of(layers, 5, 100000);
    kvb_status status = KVB_ERROR_MEMORY;
    int n = 0;
    for (; status != KVB_OK; n++) {
        counter c = {.n_left = n};
        kvb_allocator allocator = {count_allocate, count_release, &c};
        kvb_cache *cache = (kvb_cache *)&c;
        kvb_error error = {""};
        status = kvb_cache_create(&spec, NULL, &allocator, &cache, &error);
        if (status == KVB_OK) {
            kvb_cache_usage usage = kvb_cache_bytes(cache);
            assert_int_equal(c.bytes, usage.budget + usage.bookkeeping);
            kvb_cache_destroy(cache);
        } else {
            assert_int_equal(status, KVB_ERROR_MEMORY);
            assert_null(cache);
            assert_non_null(strstr(error.text, "no memory for"));
        }
        assert_int_equal(c.bytes, 0);
    }
    assert_int_equal(n - 1, 1 + 5 + 1);
    kvb_cache_destroy(NULL);
}

static void nothing_but_create_allocates(void **state) {
    (void)state;
    kvb_layer_spec layers[] = {cache_model_layer(3), cache_model_layer(5)};
    kvb_cache_spec spec = spec_of(layers, 2, 1000000);
    counter c = {.n_left = 1000};
    kvb_allocator allocator = {count_allocate, count_release, &c};
    cache_model m;
    cache_model_create(&m, &spec, NULL, &allocator, 1);
    int n_made = c.n_made, sequence, copy;
    assert_int_equal(cache_model_open(&m, &sequence), KVB_OK);
    assert_int_equal(cache_model_append(&m, sequence, 0, 200), KVB_OK);
    assert_int_equal(cache_model_append(&m, sequence, 1, 200), KVB_OK);
    assert_int_equal(cache_model_commit(&m, sequence), KVB_OK);
    assert_int_equal(cache_model_fork(&m, sequence, &copy), KVB_OK);
    assert_int_equal(cache_model_append(&m, copy, 0, 20), KVB_OK);
    assert_int_equal(cache_model_reserve(&m, copy, 20), KVB_OK);
    cache_model_check(&m);
    cache_model_free(&m, sequence);
    assert_int_equal(c.n_made, n_made);
    cache_model_destroy(&m);
    assert_int_equal(c.bytes, 0);
}

/* ---- Budgets ---- */

/* One layer without exact tokens: blocks of one size. */
static void a_budget_of_n_pages_holds_n_pages(void **state) {
    (void)state;
    kvb_layer_spec layer = cache_model_layer(0);
    for (int n_pages = 0; n_pages < 6; n_pages++) {
        cache_model m;
        kvb_cache_spec spec = spec_of(&layer, 1, 64);
        cache_model_create(&m, &spec, NULL, NULL, 2);
        size_t page = m.page_bytes[0];
        cache_model_destroy(&m);
        spec.budget = (size_t)(n_pages + 1) * page - 1 > 64 ? (size_t)(n_pages + 1) * page - 1 : 64;
        cache_model_create(&m, &spec, NULL, NULL, 2);
        int a, b;
        assert_int_equal(cache_model_open(&m, &a), KVB_OK);
        assert_int_equal(cache_model_append(&m, a, 0, n_pages * 16 + 1), KVB_ERROR_MEMORY);
        assert_int_equal(cache_model_reserve(&m, a, n_pages * 16 + 1), KVB_ERROR_MEMORY);
        cache_model_check(&m);
        if (n_pages > 0) {
            assert_int_equal(cache_model_append(&m, a, 0, n_pages * 16 - 3), KVB_OK);
            assert_int_equal(cache_model_commit(&m, a), KVB_OK);
            assert_int_equal(cache_model_fork(&m, a, &b), KVB_OK);
            /* The last page is shared, and none is left to copy it into. */
            assert_int_equal(cache_model_append(&m, b, 0, 1), KVB_ERROR_MEMORY);
            assert_int_equal(cache_model_reserve(&m, a, 1), KVB_ERROR_MEMORY);
            cache_model_check(&m);
            cache_model_free(&m, b);
            assert_int_equal(cache_model_append(&m, a, 0, 3), KVB_OK);
            assert_int_equal(cache_model_append(&m, a, 0, 1), KVB_ERROR_MEMORY);
            cache_model_check(&m);
        }
        cache_model_destroy(&m);
    }
}

static void a_refusal_says_what_is_needed_and_what_is_left(void **state) {
    (void)state;
    kvb_layer_spec layer = kvb_layer_spec_default(1, 64, 4, 4); /* a page: 2 * 16 * 34 bytes, rounded up to 64 */
    kvb_cache_spec spec = spec_of(&layer, 1, 3000);
    cache_model m;
    cache_model_create(&m, &spec, NULL, NULL, 3);
    int a, other;
    assert_int_equal(cache_model_open(&m, &a), KVB_OK);
    assert_int_equal(cache_model_append(&m, a, 0, 16), KVB_OK);
    kvb_error error = {""};
    assert_int_equal(kvb_cache_reserve(m.cache, a, 32, &error), KVB_ERROR_MEMORY);
    assert_string_equal(error.text,
                        "the cache is full: 2304 more bytes are needed, and 1848 of its budget of 3000 can serve them");
    for (int i = 1; i < model_sequences; i++) {
        assert_int_equal(cache_model_open(&m, &other), KVB_OK);
    }
    assert_int_equal(kvb_cache_open_sequence(m.cache, &other, &error), KVB_ERROR_MEMORY);
    assert_string_equal(error.text, "all 5 sequences of the cache are open");
    assert_int_equal(kvb_cache_fork(m.cache, a, &other, &error), KVB_ERROR_MEMORY);
    cache_model_destroy(&m);
}

/* A fork copies exact tokens of every layer, or of none. */
static void a_fork_without_room_for_all_exact_tokens_changes_nothing(void **state) {
    (void)state;
    kvb_layer_spec layers[] = {cache_model_layer(3), cache_model_layer(6), cache_model_layer(4)};
    kvb_cache_spec spec = spec_of(layers, 3, 1 << 20);
    cache_model m;
    cache_model_create(&m, &spec, NULL, NULL, 4);
    size_t exact = m.exact_bytes[0] + m.exact_bytes[1] + m.exact_bytes[2];
    cache_model_destroy(&m);
    for (size_t missing = 0; missing <= 64; missing += 64) {
        spec.budget = 2 * exact - missing;
        int a, copy;
        cache_model_create(&m, &spec, NULL, NULL, 4);
        assert_int_equal(cache_model_open(&m, &a), KVB_OK);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(cache_model_append(&m, a, i, 7), KVB_OK);
        }
        assert_int_equal(cache_model_commit(&m, a), KVB_OK);
        assert_int_equal(cache_model_fork(&m, a, &copy), missing ? KVB_ERROR_MEMORY : KVB_OK);
        cache_model_check(&m);
        cache_model_destroy(&m);
    }
}

/* For one layer there is room, for two there is not. */
static void a_reservation_takes_all_layers_or_none(void **state) {
    (void)state;
    kvb_layer_spec layers[] = {cache_model_layer(0), cache_model_layer(9)};
    kvb_cache_spec spec = spec_of(layers, 2, 64);
    cache_model m;
    cache_model_create(&m, &spec, NULL, NULL, 8);
    size_t first = m.page_bytes[0], second = m.page_bytes[1] + m.exact_bytes[1];
    cache_model_destroy(&m);
    for (size_t missing = 0; missing <= 1; missing++) {
        spec.budget = 2 * first + second - missing;
        int a;
        cache_model_create(&m, &spec, NULL, NULL, 8);
        assert_int_equal(cache_model_open(&m, &a), KVB_OK);
        assert_int_equal(cache_model_reserve(&m, a, 17), missing ? KVB_ERROR_MEMORY : KVB_OK);
        cache_model_check(&m);
        cache_model_destroy(&m);
    }
}

static void what_is_reserved_cannot_be_taken_by_others(void **state) {
    (void)state;
    kvb_layer_spec layers[] = {cache_model_layer(0), cache_model_layer(3), cache_model_layer(9)};
    kvb_cache_spec spec = spec_of(layers, 3, 300000);
    cache_model m;
    int a, b, copy;
    cache_model_create(&m, &spec, NULL, NULL, 5);
    assert_int_equal(cache_model_open(&m, &a), KVB_OK);
    assert_int_equal(cache_model_open(&m, &b), KVB_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cache_model_append(&m, a, i, 37), KVB_OK);
    }
    assert_int_equal(cache_model_commit(&m, a), KVB_OK);
    assert_int_equal(cache_model_fork(&m, a, &copy), KVB_OK); /* so that the reservation copies shared pages */
    assert_int_equal(cache_model_reserve(&m, a, 101), KVB_OK);
    cache_model_check(&m);
    int n_refused = 0;
    for (int i = 0; n_refused < 20; i++) {
        n_refused += cache_model_append(&m, b, i % 3, 1) != KVB_OK;
    }
    for (int done = 0; done < 101; done++) {
        for (int i = 0; i < 3; i++) {
            assert_int_equal(cache_model_append(&m, a, i, 1), KVB_OK);
        }
        if (done % 30 == 0) {
            assert_int_equal(cache_model_commit(&m, a), KVB_OK);
        }
    }
    cache_model_check(&m);
    cache_model_destroy(&m);
}

/* Pages of one size cannot serve another layer while anything is in use; an empty cache is one piece again. */
static void an_empty_cache_is_one_piece_again(void **state) {
    (void)state;
    kvb_layer_spec layers[] = {cache_model_layer(0), cache_model_layer(2)};
    kvb_cache_spec spec = spec_of(layers, 2, 64);
    cache_model m;
    cache_model_create(&m, &spec, NULL, NULL, 6);
    size_t small = m.page_bytes[0], large = m.page_bytes[1];
    cache_model_destroy(&m);
    spec.budget = 10 * small < 10 * large ? 10 * small : 10 * large;
    cache_model_create(&m, &spec, NULL, NULL, 6);
    for (int round = 0; round < 4; round++) {
        int a, layer = round % 2;
        int fit = (int)(spec.budget / m.page_bytes[layer]);
        assert_int_equal(cache_model_open(&m, &a), KVB_OK);
        assert_int_equal(cache_model_append(&m, a, layer, 16 * fit), KVB_OK);
        assert_int_equal(cache_model_append(&m, a, layer, 1), KVB_ERROR_MEMORY);
        size_t left = spec.budget - (size_t)fit * m.page_bytes[layer], other = m.page_bytes[1 - layer];
        assert_int_equal(cache_model_append(&m, a, 1 - layer, (int)(left / other) * 16 + 1), KVB_ERROR_MEMORY);
        assert_int_equal(cache_model_truncate(&m, a, round < 2 ? 0 : 1), KVB_OK);
        cache_model_check(&m);
        cache_model_free(&m, a);
    }
    cache_model_destroy(&m);
}

/* ---- Input that ends at a guard ---- */

static void nothing_beyond_the_rows_is_read(void **state) {
    (void)state;
    for (int kind = 0; kind < cache_model_n_layers; kind++) {
        kvb_layer_spec layer = cache_model_layer(kind);
        kvb_cache_spec spec = spec_of(&layer, 1, 1 << 20);
        kvb_cache *cache;
        kvb_error error;
        int sequence;
        assert_ok(kvb_cache_create(&spec, NULL, NULL, &cache, &error), error);
        assert_ok(kvb_cache_open_sequence(cache, &sequence, &error), error);
        for (int k = 0; k < 12; k++) {
            kvb_kv_rows rows = {.dtype = (kvb_dtype)(k % 3), .n_tokens = k < 6 ? 1 : 29};
            size_t bytes = kvb_dtype_bytes(rows.dtype), tokens = (size_t)rows.n_tokens * (size_t)layer.n_kv_heads;
            size_t k_bytes = tokens * (size_t)layer.k.head_dim * bytes;
            size_t v_bytes = tokens * (size_t)layer.v.head_dim * bytes;
            int is_high = k % 2;
            void *keys = is_high ? guard_allocate_high(k_bytes, bytes) : guard_allocate_low(k_bytes);
            void *values = is_high ? guard_allocate_high(v_bytes, bytes) : guard_allocate_low(v_bytes);
            assert_true(keys && values);
            rows.k = keys;
            rows.v = layer.v_prefix_of_k ? NULL : values;
            assert_ok(kvb_cache_append(cache, sequence, 0, &rows, &error), error);
            (is_high ? guard_release_high : guard_release_low)(keys, k_bytes);
            (is_high ? guard_release_high : guard_release_low)(values, v_bytes);
        }
        kvb_cache_destroy(cache);
    }
}

/* ---- Costs ---- */

static void a_cost_is_what_a_cache_then_holds(void **state) {
    (void)state;
    static const int lengths[] = {0, 1, 15, 16, 17, 20, 21, 35, 36, 47, 48, 49, 64, 100, 203, 300};
    for (int kind = 0; kind < cache_model_n_layers; kind++) {
        kvb_layer_spec layer = cache_model_layer(kind);
        kvb_cache_spec spec = spec_of(&layer, 1, 1 << 22);
        cache_model m;
        cache_model_create(&m, &spec, NULL, NULL, 7);
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            int sequence;
            kvb_error error;
            kvb_layer_cost cost;
            assert_int_equal(cache_model_open(&m, &sequence), KVB_OK);
            assert_int_equal(cache_model_append(&m, sequence, 0, lengths[i]), KVB_OK);
            assert_int_equal(cache_model_commit(&m, sequence), KVB_OK);
            assert_ok(kvb_layer_cost_of(&layer, 16, lengths[i], &cost, &error), error);
            kvb_cache_usage usage = kvb_cache_bytes(m.cache);
            assert_int_equal(cost.page_bytes, m.page_bytes[0]);
            assert_int_equal((size_t)cost.n_pages * cost.page_bytes, usage.pages);
            assert_int_equal(cost.exact_bytes, usage.exact);
            assert_int_equal(cost.bytes, usage.pages + usage.exact);
            cache_model_free(&m, sequence);
        }
        cache_model_destroy(&m);
    }
}

static void costs_of_a_large_model(void **state) {
    (void)state;
    kvb_layer_spec layer = kvb_layer_spec_default(8, 128, 6, 4);
    kvb_layer_cost cost;
    kvb_error error;
    assert_ok(kvb_layer_cost_of(&layer, 0, 131072, &cost, &error), error);
    assert_int_equal(cost.page_bytes, 8 * 64 * (98 + 66));
    assert_int_equal(cost.n_pages, 2048);
    assert_int_equal(cost.bytes, (size_t)131072 * 8 * (98 + 66));
    assert_true(cost.bits_per_value == 5.125);
    layer = kvb_layer_spec_default(1024, 576, 16, 16);
    assert_ok(kvb_layer_cost_of(&layer, 16, KVB_MAX_TOKENS, &cost, &error), error);
    assert_int_equal(cost.bytes, (size_t)KVB_MAX_TOKENS * 1024 * 2 * 576 * 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failing_allocation_is_reported_and_leaks_nothing),
        cmocka_unit_test(nothing_but_create_allocates),
        cmocka_unit_test(a_budget_of_n_pages_holds_n_pages),
        cmocka_unit_test(a_refusal_says_what_is_needed_and_what_is_left),
        cmocka_unit_test(a_fork_without_room_for_all_exact_tokens_changes_nothing),
        cmocka_unit_test(a_reservation_takes_all_layers_or_none),
        cmocka_unit_test(what_is_reserved_cannot_be_taken_by_others),
        cmocka_unit_test(an_empty_cache_is_one_piece_again),
        cmocka_unit_test(nothing_beyond_the_rows_is_read),
        cmocka_unit_test(a_cost_is_what_a_cache_then_holds),
        cmocka_unit_test(costs_of_a_large_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
