/* The books of a cache on the GPU (src/cuda/cache_books.c, cache_step.c, cache_mirror.c), where there is none: device
 * memory is the host's, and what kernels do with tables and lengths is done here with a mark for each token. The marks
 * must be found where attention looks for them, and the books must be those of a cache of the CPU. */
#include "cache_model.h"
#include "cuda/cache_device.h"
#include "cuda/cache_mirror.h"

#include <limits.h>

enum { most_tokens = 2000, n_sequences = 6, most_layers = 12 };

static kvb_error error;

/* ---- A device of host memory ---- */

static int is_capturing, n_updates, n_copies;

static kvb_status fake_update(int32_t *numbers, const kvb_cuda_update *update, void *stream, kvb_error *e) {
    (void)stream;
    (void)e;
    n_updates++;
    assert_in_range(update->n, 1, KVB_CUDA_UPDATES);
    for (int i = 0; i < update->n; i++) {
        numbers[update->at[i]] = update->values[i];
    }
    return KVB_OK;
}

static kvb_status fake_copy(void *to, const void *from, size_t bytes, void *stream, kvb_error *e) {
    (void)stream;
    (void)e;
    n_copies++;
    memcpy(to, from, bytes);
    return KVB_OK;
}

static kvb_status fake_check(const kvb_cuda_cache *cache, const char *what, void *stream, kvb_error *e) {
    (void)cache;
    (void)stream;
    return is_capturing ? kvb_error_set(e, KVB_ERROR_ARGUMENT, "%s: the stream is capturing", what) : KVB_OK;
}

static void *fake_allocate(void *context, size_t bytes) {
    (void)context;
    void *arena = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    assert_non_null(arena);
    memset(arena, 0xff, bytes);
    return arena;
}

static void fake_release(void *context, void *arena, size_t bytes) {
    (void)context;
    (void)bytes;
    free(arena);
}

static const kvb_cuda_queue queue = {.update = fake_update, .copy = fake_copy, .check = fake_check};
static const kvb_cache_home memory = {.allocate = fake_allocate, .release = fake_release};
static const int q_heads[most_layers] = {6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6};

static kvb_cuda_cache *create_fake(const kvb_cache_spec *spec) {
    const kvb_cuda_cache_spec of = {.cache = spec, .n_q_heads = q_heads};
    kvb_cuda_cache *cache;
    assert_ok(kvb_cuda_books_create(&of, &queue, &memory, NULL, &cache, &error), error);
    cache->numbers = calloc(cache->at.n, sizeof *cache->numbers);
    cache->exact = malloc(cache->exact_bytes + 1);
    assert_true(cache->numbers && cache->exact);
    memset(cache->exact, 0xff, cache->exact_bytes + 1);
    return cache;
}

static void destroy_fake(kvb_cuda_cache *cache) {
    free(cache->numbers);
    free(cache->exact);
    kvb_cuda_books_destroy(cache);
}

/* ---- What the kernels do, with a mark for each token ---- */

static int32_t *mark_in_page(const kvb_cuda_cache *cache, int layer, int row, int token) {
    const int32_t page = cache->numbers[kvb_cuda_table_at(cache, row, layer) + (size_t)(token / KVB_CUDA_PAGE_TOKENS)];
    uint8_t *at = cache->books->pool.arena + (size_t)page * KVB_CUDA_POOL_UNIT;
    assert_true(at >= cache->books->pool.arena);
    assert_true(at + cache->books->layers[layer].page_bytes <= cache->books->pool.arena + cache->books->pool.budget);
    return (int32_t *)(void *)at + token % KVB_CUDA_PAGE_TOKENS;
}

static int32_t *mark_in_array(const kvb_cuda_cache *cache, int layer, int array, int row, int slot, int slots) {
    const kvb_cuda_cache_layer *of = &cache->layers[layer];
    uint8_t *at = cache->exact + of->exact_at[array] + (size_t)row * of->exact_bytes[array];
    return (int32_t *)(void *)(at + (size_t)slot * (of->exact_bytes[array] / (size_t)slots));
}

static int more_of(int a, int b) {
    return a > b ? a : b;
}

/* As the kernels find it, from numbers on the device. */
static int packed_end_of(const kvb_cuda_cache *cache, int layer, int row, int n_tokens) {
    const kvb_layer_spec *spec = &cache->books->layer_specs[layer];
    const int floor = spec->exact_last > 0 ? cache->numbers[kvb_cuda_packed_ends_at(cache, layer) + (size_t)row] : 0;
    return more_of(more_of(n_tokens - spec->exact_last, floor), spec->exact_first);
}

/* marks: of the layer's new rows. */
static void fake_append(const kvb_cuda_cache *cache, int layer, const int32_t *marks) {
    const kvb_layer_spec *spec = &cache->books->layer_specs[layer];
    for (int i = 0; i < cache->step.n_sequences; i++) {
        const int row = cache->numbers[cache->at.sequences + (size_t)i];
        const int begin = cache->numbers[cache->at.row_begin + (size_t)i];
        const int n = cache->numbers[cache->at.row_begin + (size_t)i + 1] - begin;
        const int before = cache->numbers[cache->at.before + (size_t)row], after = before + n;
        for (int t = packed_end_of(cache, layer, row, before); n > 0 && t < packed_end_of(cache, layer, row, after);
             t++) {
            *mark_in_page(cache, layer, row, t) = t >= before ? marks[begin + t - before]
                                                              : *mark_in_array(cache, layer, KVB_CUDA_LAST + 1, row,
                                                                               t % spec->exact_last, spec->exact_last);
        }
        for (int t = before; t < after; t++) {
            if (t < spec->exact_first) {
                *mark_in_array(cache, layer, KVB_CUDA_FIRST + 1, row, t, spec->exact_first) = marks[begin + t - before];
            } else if (t >= after - spec->exact_last) {
                *mark_in_array(cache, layer, KVB_CUDA_LAST + 1, row, t % spec->exact_last, spec->exact_last) =
                    marks[begin + t - before];
            }
        }
    }
}

/* ---- The model: marks of all tokens ---- */

typedef struct twin {
    kvb_cuda_cache *device;
    kvb_cache *cpu;
    const kvb_cache_spec *spec;
    oracle_random random;
    int is_open[n_sequences], n_tokens[n_sequences];
    int32_t marks[n_sequences][most_layers][most_tokens];
    int n_refused;
} twin;

static int below(twin *t, int n) {
    return (int)(oracle_next(&t->random) % (uint64_t)n);
}

/* What a query at the end of the i-th sequence of the step sees. */
static void check_seen(const twin *t, int i, int n_tokens) {
    const kvb_cuda_cache *cache = t->device;
    const int sequence = cache->step.sequences[i], row = cache->numbers[cache->at.sequences + (size_t)i];
    assert_int_equal(row, sequence);
    assert_int_equal(cache->numbers[cache->at.after + (size_t)row], n_tokens);
    for (int layer = 0; layer < t->spec->n_layers; layer++) {
        const kvb_layer_spec *spec = &t->spec->layers[layer];
        const int new_tokens = cache->step.n_new[i], first_query = n_tokens - new_tokens;
        const int begin = spec->window > 0 ? more_of(first_query - spec->window + 1, 0) : 0;
        const int last = packed_end_of(cache, layer, row, n_tokens);
        for (int token = begin; token < n_tokens; token++) {
            const int32_t *mark = token < spec->exact_first
                                      ? mark_in_array(cache, layer, KVB_CUDA_FIRST + 1, row, token, spec->exact_first)
                                  : token >= last ? mark_in_array(cache, layer, KVB_CUDA_LAST + 1, row,
                                                                  token % spec->exact_last, spec->exact_last)
                                                  : mark_in_page(cache, layer, row, token);
            if (*mark != t->marks[sequence][layer][token]) {
                fail_msg("sequence %d, layer %d, token %d of %d: another's row", sequence, layer, token, n_tokens);
            }
        }
    }
}

/* The device's books beside the CPU's, page by page. */
static void check_books(const twin *t) {
    const kvb_cache *a = t->device->books, *b = t->cpu;
    for (int sequence = 0; sequence < n_sequences; sequence++) {
        assert_int_equal(kvb_cuda_cache_n_tokens(t->device, sequence), kvb_cache_n_tokens(b, sequence));
        for (int layer = 0; layer < t->spec->n_layers; layer++) {
            const kvb_cache_part *x = kvb_cache_part_of(a, sequence, layer), *y = kvb_cache_part_of(b, sequence, layer);
            assert_int_equal(x->n_tokens, y->n_tokens);
            assert_int_equal(x->packed_end, y->packed_end);
            assert_int_equal(x->released, y->released);
            const kvb_page_range held = kvb_mirror_pages(b, sequence, layer);
            for (int64_t page = held.begin; page < held.end; page++) {
                assert_true(x->pages[page] && y->pages[page]);
                assert_int_equal(kvb_mirror_owner(a, sequence, layer, page),
                                 kvb_mirror_owner(b, sequence, layer, page));
            }
        }
    }
}

/* ---- Operations on both ---- */

static void cpu_append(twin *t, int sequence, int n) {
    for (int layer = 0; layer < t->spec->n_layers && n > 0; layer++) {
        const kvb_layer_spec *spec = &t->spec->layers[layer];
        const size_t values = (size_t)(n * spec->n_kv_heads) * (size_t)more_of(spec->k.head_dim, spec->v.head_dim);
        uint16_t *zeros = calloc(values, sizeof *zeros);
        assert_non_null(zeros);
        const kvb_kv_rows rows = {.k = zeros, .v = zeros, .dtype = KVB_F16, .n_tokens = n};
        assert_ok(kvb_cache_append(t->cpu, sequence, layer, &rows, &error), error);
        free(zeros);
    }
    assert_ok(kvb_cache_commit(t->cpu, sequence, &error), error);
}

static int32_t *draw_marks(twin *t, int layer, int step) {
    static int32_t marks[n_sequences * most_tokens], next;
    int row = 0;
    for (int i = 0; i < t->device->step.n_sequences; i++) {
        const int sequence = t->device->step.sequences[i], n = t->device->step.n_new[i];
        for (int j = 0; j < n; j++) {
            marks[row] = ++next;
            t->marks[sequence][layer][t->n_tokens[sequence] + step * n + j] = marks[row++];
        }
    }
    return marks;
}

static void queue_steps(twin *t, int n_done) {
    kvb_cuda_cache *cache = t->device;
    for (int step = 0; step < n_done; step++) {
        for (int layer = 0; layer < t->spec->n_layers; layer++) {
            fake_append(cache, layer, draw_marks(t, layer, step));
        }
        for (int i = 0; i < cache->step.n_sequences; i++) {
            if (cache->step.sequences[i] >= 0) {
                check_seen(t, i, t->n_tokens[cache->step.sequences[i]] + (step + 1) * cache->step.n_new[i]);
            }
        }
        for (int i = 0; i < cache->step.n_sequences; i++) { /* as kvb_cuda_cache_advance */
            const int row = cache->numbers[cache->at.sequences + (size_t)i];
            int32_t *numbers = cache->numbers;
            numbers[cache->at.before + (size_t)row] = numbers[cache->at.after + (size_t)row];
            numbers[cache->at.after + (size_t)row] += cache->step.n_new[i];
        }
    }
}

/* A batch in random order, with empty places. */
static void step(twin *t, int most_new) {
    int sequences[n_sequences], n_new[n_sequences], n = 0, n_steps = below(t, 4) ? 1 : 1 + below(t, 3);
    const int begin = below(t, n_sequences);
    for (int i = 0; i < n_sequences; i++) {
        const int s = (begin + i) % n_sequences, left = most_tokens - t->n_tokens[s];
        if (t->is_open[s] && below(t, 3)) {
            sequences[n] = s;
            n_new[n] = below(t, most_new + 1);
            n_new[n] = n_new[n] * n_steps > left ? left / n_steps : n_new[n];
            n++;
        } else if (below(t, 5) == 0) {
            sequences[n] = -1;
            n_new[n++] = 0;
        }
    }
    if (n == 0) {
        return;
    }
    const kvb_status status = kvb_cuda_cache_begin(t->device, sequences, n_new, n, n_steps, NULL, &error);
    if (status == KVB_ERROR_MEMORY) {
        t->n_refused++;
        assert_int_equal(kvb_cuda_cache_commit(t->device, 1, NULL), KVB_ERROR_ARGUMENT); /* no step has begun */
        return;
    }
    assert_ok(status, error);
    for (int i = 0; i < n; i++) { /* what a step copies, it has copied even when it is not done */
        if (sequences[i] >= 0) {
            assert_ok(kvb_cache_reserve(t->cpu, sequences[i], n_new[i] * n_steps, &error), error);
        }
    }
    const int n_done = below(t, 8) ? n_steps : below(t, n_steps + 1);
    queue_steps(t, n_done);
    assert_ok(kvb_cuda_cache_commit(t->device, n_done, &error), error);
    for (int i = 0; i < n; i++) {
        if (sequences[i] >= 0) {
            cpu_append(t, sequences[i], n_new[i] * n_done);
            t->n_tokens[sequences[i]] += n_new[i] * n_done;
        }
    }
}

static void open_one(twin *t) {
    int a = -1, b = -1;
    const kvb_status status = kvb_cuda_cache_open_sequence(t->device, &a, &error);
    assert_int_equal(status, kvb_cache_open_sequence(t->cpu, &b, NULL));
    if (status == KVB_OK) {
        assert_int_equal(a, b);
        t->is_open[a] = 1;
        t->n_tokens[a] = 0;
    }
}

static void truncate_one(twin *t, int s) {
    kvb_error other = {""};
    const int n = below(t, 6) ? more_of(t->n_tokens[s] - below(t, below(t, 2) ? 12 : 150), 0) : below(t, most_tokens);
    const kvb_status status = kvb_cuda_cache_truncate(t->device, s, n, &error);
    assert_int_equal(status, kvb_cache_truncate(t->cpu, s, n, &other));
    if (status == KVB_OK) {
        t->n_tokens[s] = n;
    } else {
        assert_string_equal(error.text, other.text);
    }
}

static void fork_one(twin *t, int s) {
    int a = -1, b = -1;
    const kvb_status status = kvb_cuda_cache_fork(t->device, s, &a, NULL, &error);
    assert_int_equal(status, kvb_cache_fork(t->cpu, s, &b, NULL));
    if (status == KVB_OK) {
        assert_int_equal(a, b);
        t->is_open[a] = 1;
        t->n_tokens[a] = t->n_tokens[s];
        memcpy(t->marks[a], t->marks[s], sizeof t->marks[a]);
    }
}

static void operate(twin *t) {
    const int s = below(t, n_sequences), what = below(t, 20);
    if (what < 11) {
        static const int most[] = {1, 1, 3, 20, 70, 200};
        step(t, most[below(t, 6)]);
    } else if (what == 11) {
        open_one(t);
    } else if (!t->is_open[s]) {
        assert_int_equal(kvb_cuda_cache_truncate(t->device, s, 0, &error), KVB_ERROR_ARGUMENT);
    } else if (what < 15) {
        truncate_one(t, s);
    } else if (what < 18) {
        fork_one(t, s);
    } else if (what == 18) {
        const int n = below(t, 100);
        const kvb_status status = kvb_cuda_cache_reserve(t->device, s, n, NULL, &error);
        t->n_refused += status == KVB_ERROR_MEMORY;
        if (status == KVB_OK) {
            assert_ok(kvb_cache_reserve(t->cpu, s, n, &error), error);
        }
    } else if (below(t, 2)) {
        assert_ok(kvb_cuda_cache_free_sequence(t->device, s, &error), error);
        kvb_cache_free_sequence(t->cpu, s);
        t->is_open[s] = 0;
    }
}

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

static const int all[] = {0, 1, 2, 3, 5, 6, 8, 9, 10, 11};
static const int windows[] = {1, 5, 8, 9, 10};
static const int exact[] = {3, 6, 11};

static void attention_finds_the_rows_of_random_operations(void **state) {
    (void)state;
    n_copies = 0;
    assert_int_equal(run_random(all, 10, (size_t)64 << 20, 400, 1), 0);
    assert_int_equal(run_random(windows, 5, (size_t)64 << 20, 600, 2), 0);
    assert_int_equal(run_random(exact, 3, (size_t)64 << 20, 600, 3), 0);
    assert_true(n_copies > 100);
}

/* Pages go from hand to hand. */
static void a_full_pool_refuses_and_nothing_changes(void **state) {
    (void)state;
    assert_true(run_random(all, 10, 1200000, 500, 4) > 10);
    assert_true(run_random(windows, 5, 150000, 800, 5) > 10);
    assert_true(run_random(exact, 3, 160000, 800, 6) > 10);
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
    REFUSED(KVB_ERROR_UNSUPPORTED, "layer 1: keys: half_bit");
    layers[1] = cache_model_layer(4);
    REFUSED(KVB_ERROR_UNSUPPORTED, "layer 1: v_prefix_of_k: the GPU's kernels read no latent layers");
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
