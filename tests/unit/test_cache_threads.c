/* Readers beside the writer: they attend over forks while the sequence that shares their pages is written. */
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include "cache_model.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { n_layers = 3, n_readers = 3, n_heads = 4, n_q = 2, k_most = 96, v_most = 96, n_rounds = 60 };

typedef struct reader {
    kvb_cache *cache;
    int sequence;
    atomic_int n_loops, has_failed;
    atomic_int *is_over;
    pthread_t thread;
} reader;

static size_t attend(const kvb_cache *cache, int sequence, int layer, float *out, void *scratch, size_t scratch_bytes) {
    static const float q[n_q * n_heads * k_most] = {0.5f, -1.0f, 2.0f, 0.25f};
    kvb_kv_view view;
    if (kvb_cache_view(cache, sequence, layer, &view, NULL)) {
        return 0;
    }
    size_t heads = (size_t)view.format->n_kv_heads * 2, v_dim = (size_t)view.format->v_dim;
    kvb_attend_item item = {.kv = &view,
                            .n_q = n_q,
                            .n_heads = (int)heads,
                            .q = q,
                            .q_token_stride = heads * (size_t)view.format->k_dim,
                            .q_head_stride = (size_t)view.format->k_dim,
                            .out = out,
                            .out_token_stride = heads * v_dim,
                            .out_head_stride = v_dim,
                            .scale = 1.0f};
    return kvb_attend(NULL, &item, 1, scratch, scratch_bytes, NULL, NULL) ? 0 : n_q * heads * v_dim * sizeof *out;
}

enum { scratch_size = 1 << 20, out_size = n_q * n_heads * v_most };

/* The same bits each time, whatever the writer does. */
static void *read_for_long(void *argument) {
    reader *r = argument;
    float *first = calloc(n_layers * out_size, sizeof *first), *out = calloc(out_size, sizeof *out);
    void *scratch = malloc(scratch_size);
    for (int i = 0; !atomic_load(&r->has_failed) && !atomic_load(r->is_over); i++) {
        int layer = i % n_layers;
        size_t bytes = attend(r->cache, r->sequence, layer, out, scratch, scratch_size);
        float *expected = first + layer * out_size;
        if (i < n_layers) {
            memcpy(expected, out, bytes);
        }
        atomic_store(&r->has_failed, bytes == 0 || memcmp(expected, out, bytes) != 0);
        atomic_fetch_add(&r->n_loops, 1);
    }
    free(first);
    free(out);
    free(scratch);
    return NULL;
}

static void append_all(cache_model *m, int sequence, int n) {
    for (int i = 0; i < n_layers; i++) {
        assert_int_equal(cache_model_append(m, sequence, i, n), KVB_OK);
    }
}

static int at_least(const atomic_int *loops, int n) {
    return atomic_load(loops) >= n;
}

/* Until every reader has gone round once more, so that each round of writing is read through. */
static void let_read(reader readers[n_readers], int n_loops) {
    for (int r = 0; r < n_readers; r++) {
        while (!at_least(&readers[r].n_loops, n_loops) && !atomic_load(&readers[r].has_failed)) {
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        }
    }
}

/* Everything that a writer does, to sequences that share pages with the readers'. */
static void write_for_long(cache_model *m, int written, reader readers[n_readers]) {
    for (int round = 0; round < n_rounds; round++) {
        int copy, other;
        append_all(m, written, 1 + round % 5); /* copies the shared last page */
        assert_int_equal(cache_model_commit(m, written), KVB_OK);
        assert_int_equal(cache_model_fork(m, written, &copy), KVB_OK);
        assert_int_equal(cache_model_reserve(m, copy, 20), KVB_OK);
        append_all(m, copy, 3);
        (void)cache_model_truncate(m, copy, 60);
        append_all(m, copy, 2);
        cache_model_free(m, copy);
        (void)cache_model_truncate(m, written, 71);
        (void)cache_model_open(m, &other); /* all sequences are open now and then */
        cache_model_free(m, other);
        let_read(readers, (round + 1) * 2);
    }
}

static void readers_of_forks_see_no_writing(void **state) {
    (void)state;
    kvb_layer_spec layers[n_layers] = {cache_model_layer(0), cache_model_layer(3), cache_model_layer(4)};
    kvb_cache_spec spec = {.layers = layers,
                           .n_layers = n_layers,
                           .page_tokens = 16,
                           .max_sequences = model_sequences,
                           .max_tokens = model_tokens,
                           .budget = 1 << 22};
    cache_model m;
    cache_model_create(&m, &spec, NULL, NULL, 1);
    int written, forks[2];
    assert_int_equal(cache_model_open(&m, &written), KVB_OK);
    append_all(&m, written, 72); /* the fifth page is half full */
    assert_int_equal(cache_model_commit(&m, written), KVB_OK);
    assert_int_equal(cache_model_fork(&m, written, &forks[0]), KVB_OK);
    append_all(&m, written, 5);
    assert_int_equal(cache_model_commit(&m, written), KVB_OK);
    assert_int_equal(cache_model_fork(&m, written, &forks[1]), KVB_OK);
    atomic_int is_over = 0;
    reader readers[n_readers];
    memset(readers, 0, sizeof readers);
    for (int r = 0; r < n_readers; r++) {
        readers[r].cache = m.cache;
        readers[r].sequence = forks[r % 2];
        readers[r].is_over = &is_over;
        assert_int_equal(pthread_create(&readers[r].thread, NULL, read_for_long, &readers[r]), 0);
    }
    write_for_long(&m, written, readers);
    atomic_store(&is_over, 1);
    for (int r = 0; r < n_readers; r++) {
        assert_int_equal(pthread_join(readers[r].thread, NULL), 0);
        assert_false(atomic_load(&readers[r].has_failed));
        assert_true(atomic_load(&readers[r].n_loops) >= 2 * n_rounds);
    }
    cache_model_check(&m);
    cache_model_destroy(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_of_forks_see_no_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
