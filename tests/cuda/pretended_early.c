/* Which launches of attention start early (kvb_cuda_queries.starts_early), and for how many tokens they wait: what the
 * host decides, on a runtime that runs no kernel. Whether kernels wait is test_cuda_early's. */
#include "check.h"
#include "kvbits/cuda_cache.h"
#include "pretended_runtime.h"

#include <math.h>
#include <stdlib.h>

enum { kv_heads = 2, q_heads = 8, dim = 128 };

#ifdef KVB_CUDA_NO_TUNED
enum { has_tuned = 0 };
#else
enum { has_tuned = 1 };
#endif

static kvb_error error;
static _Alignas(256) uint8_t memory[4096]; /* whatever a call wants a pointer to: nothing reads it */

/* `call` launched one kernel, early by so many tokens, or 0: not early. */
#define LAUNCHES(call, tokens)                                                                                         \
    do {                                                                                                               \
        const int before = pretended_last.n;                                                                           \
        assert_ok(call, error);                                                                                        \
        assert_int_equal(pretended_last.n, before + 1);                                                                \
        assert_int_equal(pretended_last.is_early, has_tuned && (tokens) > 0);                                          \
        assert_int_equal(pretended_last.early_tokens, has_tuned ? (tokens) : 0);                                       \
    } while (0)

static kvb_cuda_queries queries_of(int starts_early) {
    return (kvb_cuda_queries){.q = memory,
                              .out = memory,
                              .q_dtype = KVB_F16,
                              .out_dtype = KVB_F16,
                              .most_queries = 1,
                              .scale = 1.0f / sqrtf(dim),
                              .starts_early = starts_early};
}

static void attend(int v_bits, int exact_last, int starts_early, int tokens) {
    kvb_codec *codecs[2];
    for (int side = 0; side < 2; side++) {
        const kvb_codec_spec spec = kvb_codec_spec_default(dim, side ? v_bits : 4);
        assert_ok(kvb_codec_create(&spec, NULL, NULL, &codecs[side], &error), error);
    }
    const kvb_cuda_layer_spec spec = {
        .k_codec = codecs[0], .v_codec = codecs[1], .n_kv_heads = kv_heads, .n_q_heads = q_heads, .dense = KVB_F16};
    kvb_cuda_layer *layer;
    assert_ok(kvb_cuda_layer_create(&spec, NULL, &layer, &error), error);
    const kvb_cuda_pages pages = {.pool = memory,
                                  .table = (const int32_t *)memory,
                                  .table_stride = 1,
                                  .lengths = (int32_t *)memory,
                                  .n_sequences = 1,
                                  .exact_last_k = memory,
                                  .exact_last_v = memory,
                                  .exact_last = exact_last,
                                  .exact_last_slots = exact_last};
    const kvb_cuda_queries queries = queries_of(starts_early);
    const size_t bytes = kvb_cuda_scratch_bytes(layer, 1, 1);
    void *scratch = aligned_alloc(256, bytes);
    assert_non_null(scratch);
    LAUNCHES(kvb_cuda_attend(layer, &pages, &queries, scratch, bytes, NULL, &error), tokens);
    free(scratch);
    kvb_cuda_layer_destroy(layer);
    kvb_codec_destroy(codecs[0]);
    kvb_codec_destroy(codecs[1]);
}

/* What an append encodes are the tokens that leave the ring, as many before those that it brings. */
static void layers_wait_for_their_newest_tokens(void **state) {
    (void)state;
    attend(4, 0, 0, 0);
    attend(4, 0, 1, 1);
    attend(4, 0, KVB_CUDA_MOST_EARLY, KVB_CUDA_MOST_EARLY);
    attend(4, 100, 5, 105);
    attend(7, 0, 1, 0); /* no tuned kernel */
}

typedef struct steps {
    kvb_cuda_cache *cache;
    void *scratch;
    size_t bytes;
    int sequence;
} steps;

static void begin(steps *s, int n_new) {
    assert_ok(kvb_cuda_cache_begin(s->cache, &s->sequence, &n_new, 1, 1, NULL, &error), error);
}
static void plan(steps *s, const kvb_cuda_queries *queries) {
    assert_ok(kvb_cuda_cache_plan(s->cache, queries, s->scratch, s->bytes, NULL, &error), error);
}
static void append(steps *s, int layer) {
    assert_ok(kvb_cuda_cache_append(s->cache, layer, memory, memory, KVB_F16, NULL, &error), error);
}
#define ATTENDS(layer, tokens)                                                                                         \
    LAUNCHES(kvb_cuda_cache_attend(s.cache, layer, &q, s.scratch, s.bytes, NULL, &error), tokens)

/* Only behind rows and results: a plan, tables and lengths are not waited for. */
static void caches_start_early_behind_rows_alone(void **state) {
    (void)state;
    kvb_layer_spec layers[2] = {kvb_layer_spec_default(kv_heads, dim, 4, 4),
                                kvb_layer_spec_default(kv_heads, dim, 4, 4)};
    const kvb_cache_spec spec = {
        .layers = layers, .n_layers = 2, .max_sequences = 1, .max_tokens = 64, .budget = 1 << 20};
    const int heads[2] = {q_heads, q_heads};
    const kvb_cuda_cache_spec cuda_spec = {.cache = &spec, .n_q_heads = heads};
    steps s;
    assert_ok(kvb_cuda_cache_create(&cuda_spec, NULL, &s.cache, &error), error);
    assert_ok(kvb_cuda_cache_open_sequence(s.cache, &s.sequence, &error), error);
    s.bytes = kvb_cuda_cache_scratch_bytes(s.cache, 1, 4);
    s.scratch = aligned_alloc(256, s.bytes);
    assert_non_null(s.scratch);

    kvb_cuda_queries q = queries_of(1);
    begin(&s, 3);
    plan(&s, &q);
    ATTENDS(0, 0); /* behind a plan */
    append(&s, 0);
    ATTENDS(0, 3); /* the step's tokens, whatever number was asked for */
    append(&s, 1);
    ATTENDS(1, 3);
    ATTENDS(0, 3); /* behind attention */
    plan(&s, &q);
    ATTENDS(0, 0);
    assert_ok(kvb_cuda_cache_advance(s.cache, NULL, &error), error);
    ATTENDS(0, 0);
    q.starts_early = 0;
    append(&s, 0);
    ATTENDS(0, 0);
    q.starts_early = 1;
    const void *const rows[2] = {memory, memory};
    plan(&s, &q);
    assert_ok(kvb_cuda_cache_append_layers(s.cache, 0, 2, rows, rows, KVB_F16, NULL, &error), error);
    ATTENDS(0, 3);
    assert_ok(kvb_cuda_cache_commit(s.cache, 1, &error), error);

    q.q_begin = (const int32_t *)memory; /* only asks */
    begin(&s, 0);
    plan(&s, &q);
    ATTENDS(0, 0);
    ATTENDS(1, 1);
    assert_ok(kvb_cuda_cache_commit(s.cache, 1, &error), error);
    free(s.scratch);
    kvb_cuda_cache_destroy(s.cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(layers_wait_for_their_newest_tokens),
                                       cmocka_unit_test(caches_start_early_behind_rows_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
