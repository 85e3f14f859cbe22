/* The cache against the model: random operations on layers of every kind, on every backend. */
#include "cache_model.h"
#include "guard.h"

enum { page_tokens = 16 };

static int below(cache_model *m, int n) {
    return (int)(oracle_next(&m->random) % (uint64_t)n);
}

/* ---- Random operations ---- */

static int n_refused; /* for memory */

static int is_done(kvb_status status) {
    n_refused += status == KVB_ERROR_MEMORY;
    return status == KVB_OK;
}

/* A step of a model: the same tokens into every layer, in pieces, attending before the commit. */
static void step(cache_model *m, int sequence, int n) {
    const model_sequence *s = &m->sequences[sequence];
    int n_tokens = 0;
    for (int i = 0; i < m->spec.n_layers; i++) {
        n_tokens = s->parts[i].n_tokens > n_tokens ? s->parts[i].n_tokens : n_tokens;
    }
    n_tokens += n;
    n_tokens = n_tokens < model_tokens ? n_tokens : model_tokens;
    for (int i = 0; i < m->spec.n_layers; i++) {
        int layer = (i + 3) % m->spec.n_layers;
        while (s->parts[layer].n_tokens < n_tokens) {
            int left = n_tokens - s->parts[layer].n_tokens, now = below(m, 2) ? left : 1 + below(m, left);
            if (!is_done(cache_model_append(m, sequence, layer, now))) {
                return;
            }
        }
        int n_new = n_tokens - s->n_tokens;
        if (n_new > 0 && below(m, 6) == 0) {
            cache_model_attend(m, sequence, layer, n_new < 3 ? n_new : 3);
        }
    }
    if (below(m, 4) > 0) {
        assert_int_equal(cache_model_commit(m, sequence), KVB_OK);
    }
}

static void truncate_somewhere(cache_model *m, int sequence) {
    const model_sequence *s = &m->sequences[sequence];
    int last = s->parts[0].n_tokens, n = last - below(m, below(m, 3) ? 12 : 80);
    (void)cache_model_truncate(m, sequence, below(m, 8) ? n : below(m, last + 2));
}

static int pick_open(cache_model *m) {
    for (int tries = 0; tries < 50; tries++) {
        int s = below(m, m->spec.max_sequences);
        if (m->sequences[s].is_open) {
            return s;
        }
    }
    return -1;
}

static void operate(cache_model *m) {
    int sequence = pick_open(m), other;
    int what = below(m, 20);
    if (sequence < 0 || what == 0) {
        (void)cache_model_open(m, &other); /* refused when all are open */
    } else if (what < 9) {
        static const int sizes[] = {1, 1, 1, 2, 5, 15, 16, 17, 31, 60};
        step(m, sequence, sizes[below(m, 10)]);
    } else if (what < 11) {
        int layer = below(m, m->spec.n_layers);
        if (m->sequences[sequence].parts[layer].n_tokens + 4 < model_tokens) {
            (void)is_done(cache_model_append(m, sequence, layer, below(m, 4)));
        }
    } else if (what < 14) {
        truncate_somewhere(m, sequence);
    } else if (what < 17) {
        (void)cache_model_fork(m, sequence, &other);
    } else if (what == 17) {
        (void)cache_model_commit(m, sequence);
    } else if (what == 18) {
        (void)is_done(cache_model_reserve(m, sequence, below(m, 40)));
    } else if (below(m, 2)) {
        cache_model_free(m, sequence);
    }
}

typedef struct plan {
    const int *kinds;
    int n_layers, n_operations;
    size_t budget;
    uint64_t seed;
} plan;

static void run_random(const plan *p, const kvb_backend *backend, const kvb_allocator *allocator) {
    kvb_layer_spec layers[model_layers];
    for (int i = 0; i < p->n_layers; i++) {
        layers[i] = cache_model_layer(p->kinds[i]);
    }
    kvb_cache_spec spec = {.layers = layers,
                           .n_layers = p->n_layers,
                           .page_tokens = page_tokens,
                           .max_sequences = model_sequences,
                           .max_tokens = model_tokens,
                           .budget = p->budget};
    cache_model m;
    cache_model_create(&m, &spec, backend, allocator, p->seed);
    for (int i = 0; i < p->n_operations; i++) {
        operate(&m);
        cache_model_check(&m);
    }
    for (int s = 0; s < model_sequences; s++) {
        if (m.sequences[s].is_open) {
            cache_model_free(&m, s);
        }
    }
    cache_model_check(&m);
    kvb_cache_usage usage = kvb_cache_bytes(m.cache);
    assert_int_equal(usage.pages + usage.exact, 0);
    cache_model_destroy(&m);
}

static const int all[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
static const int windows[] = {1, 5, 8, 9, 10};
static const int exact[] = {3, 4, 6, 11};

static void random_operations_do_what_the_model_does(void **state) {
    (void)state;
    static const plan plans[] = {{all, 12, 120, (size_t)64 << 20, 1},
                                 {windows, 5, 250, (size_t)64 << 20, 2},
                                 {exact, 4, 250, (size_t)64 << 20, 3}};
    test_backends backends = open_backends();
    n_refused = 0;
    for (size_t b = 0; b < backends.n; b++) {
        for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
            run_random(&plans[i], backends.list[b], NULL);
        }
    }
    assert_int_equal(n_refused, 0);
}

static void a_full_cache_refuses_and_nothing_changes(void **state) {
    (void)state;
    static const plan plans[] = {
        {all, 10, 300, 150000, 4}, {windows, 4, 300, 60000, 5}, {exact, 3, 300, 100003, 6}, {exact, 3, 100, 64, 7}};
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        n_refused = 0;
        run_random(&plans[i], NULL, NULL);
        assert_true(n_refused > 5);
    }
}

/* ---- Guards around everything that is allocated ---- */

static void *allocate_high(void *context, size_t bytes, size_t alignment) {
    (void)context;
    return guard_allocate_high(bytes, alignment);
}

static void release_high(void *context, void *pointer, size_t bytes) {
    (void)context;
    guard_release_high(pointer, bytes);
}

static void *allocate_low(void *context, size_t bytes, size_t alignment) {
    (void)context;
    (void)alignment;
    return guard_allocate_low(bytes);
}

static void release_low(void *context, void *pointer, size_t bytes) {
    (void)context;
    guard_release_low(pointer, bytes);
}

/* With a budget that is used up, so that blocks lie at the arena's end. */
static void nothing_beyond_the_arena_and_the_tables_is_touched(void **state) {
    (void)state;
    static const plan plans[] = {
        {all, 10, 150, 150016, 8}, {windows, 4, 150, 59968, 9}, {exact, 3, 150, 99968, 10}, {all, 10, 60, 9000000, 11}};
    const kvb_allocator allocators[] = {{allocate_high, release_high, NULL}, {allocate_low, release_low, NULL}};
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        run_random(&plans[i], NULL, &allocators[0]);
        run_random(&plans[i], NULL, &allocators[1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_do_what_the_model_does),
        cmocka_unit_test(a_full_cache_refuses_and_nothing_changes),
        cmocka_unit_test(nothing_beyond_the_arena_and_the_tables_is_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
