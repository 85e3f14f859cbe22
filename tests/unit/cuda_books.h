/* A kvb_cuda_cache on a device of host memory beside a kvb_cache: what kernels do with tables and lengths is done here
 * with a mark for each token, and the marks must be found where attention looks for them. */
#ifndef KVB_TESTS_CUDA_BOOKS_H
#define KVB_TESTS_CUDA_BOOKS_H

#include "cache_model.h"
#include "cuda/cache_device.h"
#include "cuda/cache_mirror.h"

enum { most_tokens = 2000, n_sequences = 6, most_layers = 12 };

static kvb_error error;

/* ---- A device of host memory ---- */

static int is_capturing, n_updates, n_copies;

static inline kvb_status fake_update(int32_t *numbers, const kvb_cuda_update *update, void *stream, kvb_error *e) {
    (void)stream;
    (void)e;
    n_updates++;
    assert_in_range(update->n, 1, KVB_CUDA_UPDATES);
    for (int i = 0; i < update->n; i++) {
        numbers[update->at[i]] = update->values[i];
    }
    return KVB_OK;
}

static inline kvb_status fake_copy(void *to, const void *from, size_t bytes, void *stream, kvb_error *e) {
    (void)stream;
    (void)e;
    n_copies++;
    memcpy(to, from, bytes);
    return KVB_OK;
}

static inline kvb_status fake_check(const kvb_cuda_cache *cache, const char *what, void *stream, kvb_error *e) {
    (void)cache;
    (void)stream;
    return is_capturing ? kvb_error_set(e, KVB_ERROR_ARGUMENT, "%s: the stream is capturing", what) : KVB_OK;
}

static inline void *fake_allocate(void *context, size_t bytes) {
    (void)context;
    void *arena = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    assert_non_null(arena);
    memset(arena, 0xff, bytes);
    return arena;
}

static inline void fake_release(void *context, void *arena, size_t bytes) {
    (void)context;
    (void)bytes;
    free(arena);
}

static const kvb_cuda_queue queue = {.update = fake_update, .copy = fake_copy, .check = fake_check};
static const kvb_cache_home memory = {.allocate = fake_allocate, .release = fake_release};
static const int q_heads[most_layers] = {6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6};

static inline kvb_cuda_cache *create_fake(const kvb_cache_spec *spec) {
    const kvb_cuda_cache_spec of = {.cache = spec, .n_q_heads = q_heads};
    kvb_cuda_cache *cache;
    assert_ok(kvb_cuda_books_create(&of, &queue, &memory, NULL, &cache, &error), error);
    cache->numbers = calloc(cache->at.n, sizeof *cache->numbers);
    cache->exact = malloc(cache->exact_bytes + 1);
    assert_true(cache->numbers && cache->exact);
    memset(cache->exact, 0xff, cache->exact_bytes + 1);
    return cache;
}

static inline void destroy_fake(kvb_cuda_cache *cache) {
    free(cache->numbers);
    free(cache->exact);
    kvb_cuda_books_destroy(cache);
}

/* ---- What the kernels do, with a mark for each token ---- */

static inline int32_t *mark_in_page(const kvb_cuda_cache *cache, int layer, int row, int token) {
    const int32_t page = cache->numbers[kvb_cuda_table_at(cache, row, layer) + (size_t)(token / KVB_CUDA_PAGE_TOKENS)];
    uint8_t *at = cache->books->pool.arena + (size_t)page * KVB_CUDA_POOL_UNIT;
    assert_true(at >= cache->books->pool.arena);
    assert_true(at + cache->books->layers[layer].page_bytes <= cache->books->pool.arena + cache->books->pool.budget);
    return (int32_t *)(void *)at + token % KVB_CUDA_PAGE_TOKENS;
}

/* Of values, of a latent layer of keys. */
static inline int32_t *mark_in_array(const kvb_cuda_cache *cache, int layer, int array, int row, int slot, int slots) {
    const kvb_cuda_cache_layer *of = &cache->layers[layer];
    array += kvb_layer_sides(&cache->books->layer_specs[layer]) - 1;
    uint8_t *at = cache->exact + of->exact_at[array] + (size_t)row * of->exact_bytes[array];
    return (int32_t *)(void *)(at + (size_t)slot * (of->exact_bytes[array] / (size_t)slots));
}

static inline int more_of(int a, int b) {
    return a > b ? a : b;
}

/* As the kernels find it, from numbers on the device. */
static inline int packed_end_of(const kvb_cuda_cache *cache, int layer, int row, int n_tokens) {
    const kvb_layer_spec *spec = &cache->books->layer_specs[layer];
    const int floor = spec->exact_last > 0 ? cache->numbers[kvb_cuda_packed_ends_at(cache, layer) + (size_t)row] : 0;
    return more_of(more_of(n_tokens - spec->exact_last, floor), spec->exact_first);
}

/* marks: of the layer's new rows. */
static inline void fake_append(const kvb_cuda_cache *cache, int layer, const int32_t *marks) {
    const kvb_layer_spec *spec = &cache->books->layer_specs[layer];
    for (int i = 0; i < cache->step.n_sequences; i++) {
        const int row = cache->numbers[cache->at.sequences + (size_t)i];
        const int begin = cache->numbers[cache->at.row_begin + (size_t)i];
        const int n = cache->numbers[cache->at.row_begin + (size_t)i + 1] - begin;
        const int before = cache->numbers[cache->at.before + (size_t)row], after = before + n;
        for (int t = packed_end_of(cache, layer, row, before); n > 0 && t < packed_end_of(cache, layer, row, after);
             t++) {
            *mark_in_page(cache, layer, row, t) =
                t >= before ? marks[begin + t - before]
                            : *mark_in_array(cache, layer, KVB_CUDA_LAST, row, t % spec->exact_last, spec->exact_last);
        }
        for (int t = before; t < after; t++) {
            if (t < spec->exact_first) {
                *mark_in_array(cache, layer, KVB_CUDA_FIRST, row, t, spec->exact_first) = marks[begin + t - before];
            } else if (t >= after - spec->exact_last) {
                *mark_in_array(cache, layer, KVB_CUDA_LAST, row, t % spec->exact_last, spec->exact_last) =
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

static inline int below(twin *t, int n) {
    return (int)(oracle_next(&t->random) % (uint64_t)n);
}

/* What a query at the end of the i-th sequence of the step sees. */
static inline void check_seen(const twin *t, int i, int n_tokens) {
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
            const int32_t *mark =
                token < spec->exact_first ? mark_in_array(cache, layer, KVB_CUDA_FIRST, row, token, spec->exact_first)
                : token >= last
                    ? mark_in_array(cache, layer, KVB_CUDA_LAST, row, token % spec->exact_last, spec->exact_last)
                    : mark_in_page(cache, layer, row, token);
            if (*mark != t->marks[sequence][layer][token]) {
                fail_msg("sequence %d, layer %d, token %d of %d: another's row", sequence, layer, token, n_tokens);
            }
        }
    }
}

/* The device's books beside the CPU's, page by page. */
static inline void check_books(const twin *t) {
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

static inline void cpu_append(twin *t, int sequence, int n) {
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

static inline int32_t *draw_marks(twin *t, int layer, int step) {
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

static inline void queue_steps(twin *t, int n_done) {
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
static inline void step(twin *t, int most_new) {
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

static inline void open_one(twin *t) {
    int a = -1, b = -1;
    const kvb_status status = kvb_cuda_cache_open_sequence(t->device, &a, &error);
    assert_int_equal(status, kvb_cache_open_sequence(t->cpu, &b, NULL));
    if (status == KVB_OK) {
        assert_int_equal(a, b);
        t->is_open[a] = 1;
        t->n_tokens[a] = 0;
    }
}

static inline void truncate_one(twin *t, int s) {
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

static inline void fork_one(twin *t, int s) {
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

static inline void operate(twin *t) {
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

#endif
