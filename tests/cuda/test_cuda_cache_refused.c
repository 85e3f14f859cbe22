/* What the calls of kvb_cuda_cache, of kvb_cuda_decode and of kvb_cuda_merge refuse before any device is asked. Runs
 * without a GPU, on books in the host's memory and a layer put together by hand; test_cuda_books has the books' own. */
#include "cache_device.h"
#include "cache_model.h"
#include "layer.h"

#include <string.h>

static kvb_error error;
static _Alignas(256) uint8_t memory[256]; /* stands for device memory: nobody reads it */
static kvb_cuda_layer layer;
static kvb_cuda_cache *cache;
static int sequence;

static kvb_status no_update(int32_t *numbers, const kvb_cuda_update *update, void *stream, kvb_error *e) {
    (void)numbers, (void)update, (void)stream, (void)e;
    return KVB_OK;
}
static kvb_status no_copy(void *to, const void *from, size_t bytes, void *stream, kvb_error *e) {
    (void)to, (void)from, (void)bytes, (void)stream, (void)e;
    return KVB_OK;
}
static kvb_status no_check(const kvb_cuda_cache *of, const char *what, void *stream, kvb_error *e) {
    (void)of, (void)what, (void)stream, (void)e;
    return KVB_OK;
}
static void *nowhere(void *context, size_t bytes) {
    (void)context, (void)bytes;
    return memory;
}
static void release(void *context, void *arena, size_t bytes) {
    (void)context, (void)arena, (void)bytes;
}

static int set_up(void **state) {
    (void)state;
    const kvb_layer_spec spec = cache_model_layer(1); /* window 40 */
    const kvb_cache_spec of = {
        .layers = &spec, .n_layers = 1, .max_sequences = 2, .max_tokens = 1000, .budget = (size_t)1 << 20};
    const int heads = 3;
    const kvb_cuda_cache_spec cuda = {.cache = &of, .n_q_heads = &heads};
    const kvb_cuda_queue queue = {.update = no_update, .copy = no_copy, .check = no_check};
    const kvb_cache_home home = {.allocate = nowhere, .release = release};
    assert_ok(kvb_cuda_books_create(&cuda, &queue, &home, NULL, &cache, &error), error);
    layer = (kvb_cuda_layer){.n_kv_heads = 1, .n_q_heads = 3, .n_blocks = 132, .dense = KVB_F16};
    for (int i = 0; i < 2; i++) {
        layer.formats[i] = (kvb_cuda_format){
            .head_dim = i ? 64 : 96, .bits = i ? 3 : 5, .code = i ? 3 : 5, .scale_bytes = 2, .hadamard_order = 1};
        layer.head_bytes[i] = 4224;
        layer.kernels[i] = &kvb_cuda_attend_general;
    }
    cache->layers[0].layer = &layer;
    cache->numbers = (int32_t *)(void *)memory;
    assert_ok(kvb_cuda_cache_open_sequence(cache, &sequence, &error), error);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    kvb_cuda_books_destroy(cache);
    return 0;
}

static void refused(kvb_status status, const char *part) {
    if (status != KVB_ERROR_ARGUMENT || !strstr(error.text, part)) {
        fail_msg("status %d, \"%s\" where a sentence with \"%s\" is due", (int)status, error.text, part);
    }
    error.text[0] = '\0';
}

static void begin(int n_new) {
    assert_ok(kvb_cuda_cache_begin(cache, &sequence, &n_new, 1, 1, NULL, &error), error);
}

static void creation(void **state) {
    (void)state;
    kvb_cuda_cache *out = cache;
    const kvb_layer_spec of_layer = cache_model_layer(0);
    const kvb_cache_spec of = {.layers = &of_layer, .n_layers = 1, .max_sequences = 2, .max_tokens = 9, .budget = 64};
    kvb_cuda_cache_spec spec = {.cache = &of};
    refused(kvb_cuda_cache_create(NULL, NULL, &out, &error), "spec is NULL; spec and out are needed");
    refused(kvb_cuda_cache_create(&spec, NULL, NULL, &error), "out is NULL");
    refused(kvb_cuda_cache_create(&spec, NULL, &out, &error), "n_q_heads of the spec is NULL");
    assert_null(out);
    spec.cache = NULL;
    refused(kvb_cuda_cache_create(&spec, NULL, &out, &error), "cache of the spec is NULL");
    kvb_cuda_cache_destroy(NULL);
    refused(kvb_cuda_cache_open_sequence(NULL, &sequence, &error), "cache is NULL");
    assert_null(kvb_cuda_cache_layer_at(cache, 1));
    assert_ptr_equal(kvb_cuda_cache_layer_at(cache, 0), &layer);
}

static void outside_of_a_step(void **state) {
    (void)state;
    const kvb_cuda_queries queries = {.q = memory, .out = memory, .most_queries = 1, .scale = 1.0f};
    refused(kvb_cuda_cache_append(cache, 0, memory, memory, KVB_F32, NULL, &error), "no step has begun");
    refused(kvb_cuda_cache_append_layers(cache, 0, 1, NULL, NULL, KVB_F32, NULL, &error), "no step has begun");
    refused(kvb_cuda_cache_plan(cache, &queries, memory, 1, NULL, &error), "no step has begun");
    refused(kvb_cuda_cache_attend(cache, 0, &queries, memory, 1, NULL, &error), "no step has begun");
    refused(kvb_cuda_cache_advance(cache, NULL, &error), "no step has begun");
    refused(kvb_cuda_cache_download(cache, NULL, NULL, &error), "kvb_cuda_cache_download: host is NULL");
    refused(kvb_cuda_cache_upload(cache, NULL, NULL, &error), "kvb_cuda_cache_upload: host is NULL");
}

static void in_a_step(void **state) {
    (void)state;
    const size_t bytes = kvb_cuda_cache_scratch_bytes(cache, 1, 2);
    kvb_cuda_queries queries = {.q = memory, .out = memory, .scale = 1.0f};
    assert_true(bytes > 0);
    assert_int_equal(kvb_cuda_cache_scratch_bytes(cache, 0, 1), 0);
    assert_int_equal(kvb_cuda_cache_scratch_bytes(NULL, 1, 1), 0);
    begin(2);
    refused(kvb_cuda_cache_append(cache, 1, memory, memory, KVB_F32, NULL, &error), "layer 1 is not from 0 to 0");
    refused(kvb_cuda_cache_append(cache, 0, NULL, memory, KVB_F32, NULL, &error), "k is NULL");
    refused(kvb_cuda_cache_append(cache, 0, memory, memory, (kvb_dtype)5, NULL, &error), "dtype is 5");
    const void *some[] = {memory}, *none[] = {NULL};
#define REFUSED(first, n, k, v, dtype, part)                                                                           \
    refused(kvb_cuda_cache_append_layers(cache, first, n, k, v, dtype, NULL, &error), part)
    REFUSED(1, 1, some, some, KVB_F32, "layer 1 is not from 0 to 0");
    REFUSED(0, 0, some, some, KVB_F32, "n_layers 0 is not from 1 to the 1 from layer 0 on");
    REFUSED(0, 2, some, some, KVB_F32, "n_layers 2 is not from 1 to the 1 from layer 0 on");
    REFUSED(0, 1, NULL, some, KVB_F32, "k is NULL; a pointer for each layer is needed");
    REFUSED(0, 1, none, some, KVB_F32, "layer 0: cuda rows: k is NULL");
    REFUSED(0, 1, some, none, KVB_F32, "layer 0: cuda rows: v is NULL");
    REFUSED(0, 1, some, NULL, KVB_F32, "layer 0: cuda rows: v is NULL");
    REFUSED(0, 1, some, some, (kvb_dtype)5, "layer 0: cuda rows: dtype is 5");
#undef REFUSED
    refused(kvb_cuda_cache_plan(cache, NULL, memory, bytes, NULL, &error), "queries is NULL");
    refused(kvb_cuda_cache_plan(cache, &queries, memory, bytes - 1, NULL, &error), "kvb_cuda_cache_scratch_bytes");
    refused(kvb_cuda_cache_plan(cache, &queries, memory + 128, bytes, NULL, &error), "aligned to 256");
    refused(kvb_cuda_cache_attend(cache, 0, &queries, memory, bytes, NULL, &error),
            "most_queries 2: the step has a plan for 0; kvb_cuda_cache_plan comes first");
    queries.window = 40;
    refused(kvb_cuda_cache_plan(cache, &queries, memory, bytes, NULL, &error), "window 40 of queries is not 0");
    refused(kvb_cuda_cache_decode(cache, 0, KVB_CUDA_K, sequence, 0, 1, memory, KVB_F32, NULL, &error),
            "a step of 1 sequences has begun");
    refused(kvb_cuda_cache_download(cache, NULL, NULL, &error), "a step of 1 sequences has begun");
    assert_ok(kvb_cuda_cache_commit(cache, 1, &error), error);
    begin(0);
    queries.window = 0;
    refused(kvb_cuda_cache_plan(cache, &queries, memory, bytes, NULL, &error),
            "q_begin is NULL, and the step has no new tokens");
    assert_ok(kvb_cuda_cache_append(cache, 0, NULL, NULL, KVB_F32, NULL, &error), error); /* nothing to do */
    assert_ok(kvb_cuda_cache_append_layers(cache, 0, 1, NULL, NULL, KVB_F32, NULL, &error), error);
    assert_ok(kvb_cuda_cache_commit(cache, 0, &error), error);
}

static void decoding(void **state) {
    (void)state;
    begin(300);
    assert_ok(kvb_cuda_cache_commit(cache, 1, &error), error);
#define REFUSED(layer_, side, sequence_, first, n, out, dtype, part)                                                   \
    refused(kvb_cuda_cache_decode(cache, layer_, side, sequence_, first, n, out, dtype, NULL, &error), part)
    REFUSED(1, KVB_CUDA_K, sequence, 290, 1, memory, KVB_F32, "layer 1 is not from 0 to 0");
    REFUSED(0, KVB_CUDA_K, 1, 290, 1, memory, KVB_F32, "sequence 1 is not open");
    REFUSED(0, KVB_CUDA_K, sequence, 290, 11, memory, KVB_F32, "tokens 290 and 11 behind it are not from 0 to the 300");
    REFUSED(0, KVB_CUDA_K, sequence, 255, 10, memory, KVB_F32,
            "first 255: the window of layer 0 has given back tokens before 256");
    REFUSED(0, (kvb_cuda_side)2, sequence, 290, 1, memory, KVB_F32, "side is 2");
    REFUSED(0, KVB_CUDA_V, sequence, 290, 1, NULL, KVB_F32, "out is NULL");
    REFUSED(0, KVB_CUDA_V, sequence, 290, 1, memory, (kvb_dtype)4, "dtype is 4");
#undef REFUSED
    kvb_cuda_pages pages = kvb_cuda_cache_pages(cache, 0);
    refused(kvb_cuda_decode(&layer, &pages, KVB_CUDA_K, 2, 0, 1, memory, KVB_F32, NULL, &error), "sequence is 2");
    pages.page_stride = 100;
    refused(kvb_cuda_decode(&layer, &pages, KVB_CUDA_K, 0, 0, 1, memory, KVB_F32, NULL, &error),
            "page_stride is 100, legal are multiples of 32");
}

static void merging(void **state) {
    (void)state;
    float lse = 0.0f;
    refused(kvb_cuda_merge(NULL, &lse, memory, &lse, KVB_F32, 1, 1, NULL, &error), "out is NULL");
    refused(kvb_cuda_merge(memory, &lse, memory, NULL, KVB_F32, 1, 1, NULL, &error), "more_lse is NULL");
    refused(kvb_cuda_merge(memory, &lse, memory, &lse, (kvb_dtype)3, 1, 1, NULL, &error), "dtype is 3");
    refused(kvb_cuda_merge(memory, &lse, memory, &lse, KVB_F32, 1, 0, NULL, &error), "dim is 0, legal are 1 to 65536");
    refused(kvb_cuda_merge(memory, &lse, memory, &lse, KVB_F32, (size_t)1 << 31, 1, NULL, &error),
            "n_rows is 2147483648");
    assert_ok(kvb_cuda_merge(memory, &lse, memory, &lse, KVB_F32, 0, 1, NULL, &error), error);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(creation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(outside_of_a_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(in_a_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(decoding, set_up, tear_down),
        cmocka_unit_test_setup_teardown(merging, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
