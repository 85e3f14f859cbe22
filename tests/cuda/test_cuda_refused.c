/* What the calls of libkvbits-cuda refuse before any device is asked: every sentence names the bad value. Runs without
 * a GPU, on a layer put together by hand. */
#include "check.h"
#include "layer.h"

#include <limits.h>
#include <math.h>
#include <string.h>

static kvb_error error;
static kvb_cuda_layer layer;
static kvb_cuda_pages pages;
static kvb_cuda_rows rows;
static kvb_cuda_queries queries;
static kvb_packed packed;
static _Alignas(256) uint8_t memory[256]; /* stands for device memory: nobody reads it */
static const size_t enough = (size_t)1 << 40;

static int set_up(void **state) {
    (void)state;
    layer = (kvb_cuda_layer){.n_kv_heads = 2, .n_q_heads = 8, .n_blocks = 132, .dense = KVB_F16};
    for (int i = 0; i < 2; i++) {
        layer.formats[i] =
            (kvb_cuda_format){.head_dim = 128, .bits = 4, .code = 4, .scale_bytes = 2, .hadamard_order = 1};
        layer.head_bytes[i] = 4224;
        layer.kernels[i] = &kvb_cuda_attend_general;
    }
    pages = (kvb_cuda_pages){
        .pool = memory, .table = (int32_t *)memory, .table_stride = 4, .lengths = (int32_t *)memory, .n_sequences = 3};
    rows = (kvb_cuda_rows){.k = memory, .v = memory, .dtype = KVB_F32, .row_begin = (int32_t *)memory, .most_rows = 1};
    queries = (kvb_cuda_queries){
        .q = memory, .out = memory, .q_dtype = KVB_F32, .out_dtype = KVB_F32, .most_queries = 1, .scale = 1.0f};
    packed = (kvb_packed){.scales = memory, .planes = {memory}};
    return 0;
}

static void refused(kvb_status status, const char *part) {
    if (status != KVB_ERROR_ARGUMENT || !strstr(error.text, part)) {
        fail_msg("status %d, \"%s\" where a sentence with \"%s\" is due", (int)status, error.text, part);
    }
    error.text[0] = '\0';
}

/* With the one bad value in place, every call that reads it refuses. */
static void append_refused(const char *part) {
    refused(kvb_cuda_append(&layer, &pages, &rows, NULL, &error), part);
    set_up(NULL);
}
static void attend_refused(const char *part) {
    refused(kvb_cuda_attend(&layer, &pages, &queries, memory, enough, NULL, &error), part);
    refused(kvb_cuda_attend_plan(&layer, &pages, &queries, memory, enough, NULL, &error), part);
    set_up(NULL);
}

/* With the sentences of kvb_layer_format_check and kvb_cache_create. */
static void latent_layers(void) {
    kvb_cuda_layer *out;
    kvb_codec_spec spec = kvb_codec_spec_default(96, 4);
    kvb_codec *rotated = create_codec(&spec), *plain;
    float mean[96] = {0};
    spec.rotation = KVB_ROTATION_NONE;
    plain = create_codec(&spec);
    kvb_cuda_layer_spec of = {
        .k_codec = rotated, .n_kv_heads = 1, .n_q_heads = 4, .v_dim = 64, .v_prefix_of_k = 1, .dense = KVB_F16};
#define REFUSED(part) refused(kvb_cuda_layer_create(&of, NULL, &out, &error), part)
    REFUSED("cuda layer: rotation 2 mixes the keys of a latent layer; a prefix of them needs rotation 0 (none)");
    of.k_codec = plain;
    of.v_codec = plain;
    of.v_dim = 96;
    REFUSED("cuda layer: v_codec is given for a latent layer; its values are prefixes of the keys, so it is NULL");
    of.v_codec = NULL;
    of.v_dim = 0;
    REFUSED("cuda layer: v_dim 0 is not a multiple of 8 from 8 to 576");
    of.v_dim = 104;
    REFUSED("cuda layer: v_dim 104 of a latent layer is more than its k_dim 96");
    of.v_dim = 64;
    of.k_mean = mean;
    REFUSED("cuda layer: k_mean is given for a latent layer; legal: packed keys, not latent");
    of.k_mean = NULL;
    of.k_codec = NULL;
    of.k_dim = 64;
    of.v_dim = 72;
    REFUSED("cuda layer: v_dim 72 of a latent layer is more than its k_dim 64");
    of.dense = (kvb_dtype)0;
    REFUSED("cuda layer: k_codec is NULL, and dense names no type for dense rows");
#undef REFUSED
    kvb_codec_destroy(rotated);
    kvb_codec_destroy(plain);
}

static void layers(void **state) {
    (void)state;
    kvb_cuda_layer *out;
    kvb_codec_spec spec = kvb_codec_spec_default(128, 4);
    kvb_codec *codec = create_codec(&spec);
    kvb_cuda_layer_spec of = {.k_codec = codec, .v_codec = codec, .n_kv_heads = 2, .n_q_heads = 4};
    refused(kvb_cuda_layer_create(NULL, NULL, &out, &error), "spec is NULL");
    refused(kvb_cuda_layer_create(&of, NULL, NULL, &error), "out is NULL");
    of.v_codec = NULL;
    refused(kvb_cuda_layer_create(&of, NULL, &out, &error), "v_codec is NULL, and dense names no type");
    of.dense = KVB_BF16;
    of.v_dim = 100;
    refused(kvb_cuda_layer_create(&of, NULL, &out, &error), "v_dim is 100, legal for dense rows are multiples of 8");
    of.v_codec = codec;
    refused(kvb_cuda_layer_create(&of, NULL, &out, &error), "v_dim is 100, legal are 0 and the codec's head_dim 128");
    of.v_dim = 0;
    of.n_kv_heads = 0;
    refused(kvb_cuda_layer_create(&of, NULL, &out, &error), "n_kv_heads is 0");
    of.n_kv_heads = 3;
    refused(kvb_cuda_layer_create(&of, NULL, &out, &error), "n_q_heads is 4, legal are multiples of n_kv_heads (3)");
    assert_null(out);
    of.n_q_heads = 4;
    of.dense = (kvb_dtype)3;
    refused(kvb_cuda_layer_create(&of, NULL, &out, &error), "dense is 3, legal are KVB_F16, KVB_BF16 and 0");
    of.dense = KVB_F16;
    float mean[2 * 128] = {[131] = -65505.0f};
    of.n_kv_heads = 2;
    of.k_mean = mean;
    refused(kvb_cuda_layer_create(&of, NULL, &out, &error),
            "k_mean of head 1 coordinate 3 is -65505; legal: up to 65504");
    mean[131] = NAN;
    refused(kvb_cuda_layer_create(&of, NULL, &out, &error), "k_mean of head 1 coordinate 3 is ");
    of.k_codec = NULL;
    of.k_dim = 128;
    refused(kvb_cuda_layer_create(&of, NULL, &out, &error), "k_mean is given for dense keys");
    of.k_codec = codec;
    of.k_mean = NULL;
    latent_layers();
    refused(kvb_cuda_device_get(0, NULL, &error), "out is NULL");
    kvb_cuda_layer_destroy(NULL);
    kvb_codec_destroy(codec);
}

static void page_batches(void **state) {
    (void)state;
    refused(kvb_cuda_append(NULL, &pages, &rows, NULL, &error), "layer is NULL");
    refused(kvb_cuda_append(&layer, NULL, &rows, NULL, &error), "pages is NULL");
    pages.pool = NULL;
    append_refused("pool is NULL");
    pages.pool = memory + 64;
    append_refused("multiples of 128");
    pages.table = NULL;
    append_refused("table is NULL");
    pages.lengths = NULL;
    append_refused("lengths is NULL");
    pages.n_sequences = 32768;
    append_refused("n_sequences is 32768, legal are 1 to 32767");
    pages.table_stride = 0;
    append_refused("table_stride is 0");
}

/* Attention and append refuse the same exact tokens, but for what only one of them can read. */
static void exact_refused(const char *part) {
    refused(kvb_cuda_append(&layer, &pages, &rows, NULL, &error), part);
    attend_refused(part);
}

static void exact_tokens(void **state) {
    (void)state;
    pages.exact_first = -1;
    exact_refused("exact_first is -1, legal are 0 to 65536");
    pages.exact_last = 65537;
    exact_refused("exact_last is 65537, legal are 0 to 65536");
    pages.exact_first = 4;
    pages.exact_first_k = memory;
    exact_refused("exact_first is 4, but its keys or values are NULL or misaligned");
    pages.exact_last = pages.exact_last_slots = 4;
    pages.exact_last_k = memory;
    pages.exact_last_v = memory + 1;
    exact_refused("exact_last is 4, but its keys or values are NULL or misaligned");
    pages.exact_last = pages.exact_last_slots = 4;
    pages.exact_last_k = pages.exact_last_v = memory;
    layer.dense = (kvb_dtype)0;
    exact_refused("exact_last is 4, but the layer's spec names no type");
    pages.exact_last_k = pages.exact_last_v = memory;
    pages.exact_last = 4;
    pages.exact_last_slots = 3;
    exact_refused("exact_last_slots is 3, legal are exact_last (4) to 65536");
    pages.exact_last_slots = -1;
    exact_refused("exact_last_slots is -1");
    layer.v_prefix = 64; /* values are nowhere, and do not count */
    pages.exact_first = 4;
    pages.exact_first_v = memory;
    exact_refused("exact_first is 4, but its keys are NULL or misaligned");
    pages.exact_last_k = pages.exact_last_v = memory;
    pages.exact_last = 4;
    append_refused("exact_last_slots is 0, legal are exact_last (4) to 65536 for an append");
}

static void new_rows(void **state) {
    (void)state;
    refused(kvb_cuda_append(&layer, &pages, NULL, NULL, &error), "the struct is NULL");
    rows.v = NULL;
    append_refused("v is NULL");
    layer.v_prefix = 64; /* v does not count */
    rows.v = NULL;
    rows.dtype = (kvb_dtype)7;
    append_refused("dtype is 7");
    layer.v_prefix = 64;
    rows.k = NULL;
    append_refused("k is NULL");
    rows.row_begin = NULL;
    append_refused("row_begin is NULL");
    rows.dtype = (kvb_dtype)7;
    append_refused("dtype is 7");
    rows.most_rows = 0;
    append_refused("most_rows is 0");
    const kvb_cuda_layer *layers[2] = {&layer, NULL};
    kvb_cuda_pages both[2] = {pages, pages};
    kvb_cuda_rows of_both[2] = {rows, rows};
    refused(kvb_cuda_append_layers(NULL, both, of_both, 2, NULL, &error), "layers is NULL");
    refused(kvb_cuda_append_layers(layers, both, of_both, 0, NULL, &error), "n_layers is 0, legal are 1 and more");
    refused(kvb_cuda_append_layers(layers, NULL, of_both, 2, NULL, &error), "layer 0 of 2: cuda: pages is NULL");
    refused(kvb_cuda_append_layers(layers, both, of_both, 2, NULL, &error), "layer 1 of 2: cuda: layer is NULL");
    layers[1] = &layer;
    of_both[1].v = NULL;
    refused(kvb_cuda_append_layers(layers, both, of_both, 2, NULL, &error), "layer 1 of 2: cuda rows: v is NULL");
    rows.most_rows = -1;
    refused(kvb_cuda_advance(&pages, &rows, NULL, &error), "most_rows is -1");
    set_up(NULL);
    pages.lengths = NULL;
    refused(kvb_cuda_advance(&pages, &rows, NULL, &error), "lengths");
}

static void conversions(void **state) {
    (void)state;
    refused(kvb_cuda_export(&layer, &pages, (kvb_cuda_side)2, 0, 0, 0, 1, &packed, NULL, &error), "side is 2");
    refused(kvb_cuda_export(&layer, &pages, KVB_CUDA_K, 3, 0, 0, 1, &packed, NULL, &error),
            "sequence is 3, legal are 0 to 2");
    refused(kvb_cuda_import(&layer, &pages, KVB_CUDA_V, 0, 2, 0, 1, &packed, NULL, &error),
            "kv_head is 2, legal are 0 to 1");
    refused(kvb_cuda_import(&layer, &pages, KVB_CUDA_V, 0, 0, -1, 1, &packed, NULL, &error), "tokens -1 and 1");
    refused(kvb_cuda_export(&layer, &pages, KVB_CUDA_V, 0, 0, 5, INT_MAX - 5, &packed, NULL, &error),
            "tokens 5 and 2147483642");
    refused(kvb_cuda_export(&layer, &pages, KVB_CUDA_V, 0, 0, 0, 1, NULL, NULL, &error), "plane 0 of packed is NULL");
    packed.scales = memory + 1;
    refused(kvb_cuda_export(&layer, &pages, KVB_CUDA_V, 0, 0, 0, 1, &packed, NULL, &error), "legal are multiples of 2");
}

static void asked(void **state) {
    (void)state;
    queries.q_dtype = (kvb_dtype)9;
    attend_refused("q_dtype is 9");
    queries.most_queries = 0;
    attend_refused("most_queries is 0");
    queries.scale = INFINITY;
    attend_refused("scale is inf");
    queries.softcap = -1.0f;
    attend_refused("softcap is -1");
    queries.starts_early = -1;
    attend_refused("starts_early is -1, legal are 0 (no) and 1 to 1048576");
    queries.starts_early = KVB_CUDA_MOST_EARLY + 1;
    attend_refused("starts_early is 1048577");
    queries.window = -5;
    attend_refused("window is -5");
    queries.out = NULL;
    refused(kvb_cuda_attend(&layer, &pages, &queries, memory, enough, NULL, &error), "out is NULL");
    set_up(NULL);
    refused(kvb_cuda_attend(&layer, &pages, &queries, NULL, enough, NULL, &error), "cuda scratch");
    refused(kvb_cuda_attend(&layer, &pages, &queries, memory + 128, enough, NULL, &error), "aligned to 256");
    refused(kvb_cuda_attend(&layer, &pages, &queries, memory, kvb_cuda_scratch_bytes(&layer, 3, 1) - 1, NULL, &error),
            "cuda scratch");
    refused(kvb_cuda_scratch_clear(&layer, NULL, 1, NULL, &error), "scratch is NULL");
}

static void sizes(void **state) {
    (void)state;
    assert_int_equal(kvb_cuda_layer_page_bytes(&layer), 2 * 2 * 4224);
    assert_int_equal(kvb_cuda_scratch_bytes(&layer, 0, 1), 0);
    assert_int_equal(kvb_cuda_scratch_bytes(&layer, 1, 0), 0);
    assert_int_equal(kvb_cuda_scratch_bytes(NULL, 1, 1), 0);
    assert_int_equal(kvb_cuda_scratch_bytes(&layer, INT_MAX, INT_MAX), 0);
    assert_true(kvb_cuda_scratch_bytes(&layer, 16, 1) > kvb_cuda_scratch_bytes(&layer, 1, 1));
    assert_true(kvb_cuda_scratch_bytes(&layer, 1, 64) > kvb_cuda_scratch_bytes(&layer, 1, 1));
    assert_int_equal(kvb_cuda_layer_is_tuned(&layer), 0);
}

/* The list of tuned kernels holds what it says, in both precisions, and nothing twice; or nothing in builds without. */
static void tuned_kernels(void **state) {
    (void)state;
#ifdef KVB_CUDA_NO_TUNED
    assert_null(kvb_cuda_attend_find(4, 4, 128, 128, 0));
#else
#define KVB_ATTEND(K, V, DK, DV)                                                                                       \
    for (int precise = 0; precise < 2; precise++) {                                                                    \
        const kvb_cuda_attend_kernel *kernel = kvb_cuda_attend_find(K, V, DK, DV, precise);                            \
        assert_non_null(kernel);                                                                                       \
        assert_true(kernel->k_code == K && kernel->v_code == V && kernel->k_dim == DK && kernel->v_dim == DV);         \
        assert_int_equal(kernel->precise, precise);                                                                    \
    }
#include "attend_instances.def"
#undef KVB_ATTEND
#endif
    assert_null(kvb_cuda_attend_find(4, 7, 128, 128, 0));
    assert_null(kvb_cuda_attend_find(4, 4, 128, 96, 0));
    assert_null(kvb_cuda_attend_find(4, T4, 128, 128, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(layers, set_up),       cmocka_unit_test_setup(page_batches, set_up),
        cmocka_unit_test_setup(exact_tokens, set_up), cmocka_unit_test_setup(new_rows, set_up),
        cmocka_unit_test_setup(conversions, set_up),  cmocka_unit_test_setup(asked, set_up),
        cmocka_unit_test_setup(sizes, set_up),        cmocka_unit_test_setup(tuned_kernels, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
