/* ggml's FLASH_ATTN_EXT on its own cache types, in two layouts: all tokens of a head together (its best), and all heads
 * of a token together (what llama.cpp's cache does). One node per graph; planning is not timed. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "ggml_peer.h"

enum { DISTINCT_ROWS = 64, GRAPH_NODES = 16, TENSORS = 8 };
/* As our queries: logits with a standard deviation of 2. */
static const float query_factor = 2.0f;

/* Keys and values of one layer, of which every call reads the next window. */
typedef struct cache {
    kvb_bench_arena pages; /* only its accounting: page_bytes, n_pages, cursor, last */
    uint8_t *k, *v;
    size_t row_bytes;
    kvb_ggml_strides strides;
} cache;

typedef struct attention {
    cache *cache;
    struct ggml_context *context;
    struct ggml_tensor *k, *v, *result;
    struct ggml_cgraph *graph;
    struct ggml_cplan plan;
    size_t window, first; /* in pages */
    int moves;
} attention;

static void next_window(cache *c, size_t window) {
    c->pages.cursor += window;
    if (c->pages.cursor + window > c->pages.n_pages)
        c->pages.cursor = 0;
}

static kvb_status run(void *context, size_t calls, kvb_error *error) {
    attention *a = context;
    cache *c = a->cache;
    enum ggml_status done = GGML_STATUS_SUCCESS;
    if (c->pages.cursor + a->window > c->pages.n_pages)
        c->pages.cursor = 0;
    a->first = a->moves ? c->pages.cursor : 0;
    for (size_t i = 0; i < calls && done == GGML_STATUS_SUCCESS; i++) {
        const size_t at = (a->moves ? c->pages.cursor : 0) * KVB_BENCH_PAGE_TOKENS * c->strides.token;
        a->k->data = c->k + at;
        a->v->data = c->v + at;
        done = ggml_graph_compute(a->graph, &a->plan);
        if (a->moves)
            next_window(c, a->window);
    }
    return done == GGML_STATUS_SUCCESS
               ? KVB_OK
               : kvb_error_set(error, KVB_ERROR_UNSUPPORTED, "ggml could not compute an attention (status %d)", done);
}

static void account(void *context, size_t calls, double *touched, double *reuse) {
    attention *a = context;
    kvb_bench_arena *pages = &a->cache->pages;
    size_t at = a->first;
    for (size_t i = 0; i < calls; i++) {
        if (a->moves)
            kvb_bench_arena_account(pages, at, a->window, touched, reuse);
        else
            *touched += (double)(a->window * pages->page_bytes);
        at = at + 2 * a->window > pages->n_pages ? 0 : at + a->window;
    }
}

static kvb_status make_cache(kvb_bench_suite *suite, const kvb_bench_shape *shape, enum ggml_type type, int head_major,
                             cache **out, kvb_error *error) {
    cache *c = NULL;
    float *values = NULL;
    kvb_status status = kvb_bench_allocate(suite, sizeof *c, (void **)&c, error);
    if (status == KVB_OK)
        status = kvb_bench_allocate(suite, (size_t)shape->head_dim * sizeof *values, (void **)&values, error);
    if (status != KVB_OK)
        return status;
    *out = c;
    c->row_bytes = ggml_row_size(type, shape->head_dim);
    const size_t heads = (size_t)shape->n_kv_heads;
    const size_t wanted = kvb_bench_arena_tokens(suite->config, 2.0 * (double)(c->row_bytes * heads));
    c->pages.n_pages = (wanted + KVB_BENCH_PAGE_TOKENS - 1) / KVB_BENCH_PAGE_TOKENS;
    c->pages.page_bytes = 2 * KVB_BENCH_PAGE_TOKENS * heads * c->row_bytes;
    const size_t tokens = c->pages.n_pages * KVB_BENCH_PAGE_TOKENS, rows = tokens * heads;
    c->strides.token = head_major ? c->row_bytes : heads * c->row_bytes;
    c->strides.head = head_major ? tokens * c->row_bytes : c->row_bytes;
    status = kvb_bench_allocate(suite, c->pages.n_pages * sizeof(double), (void **)&c->pages.last, error);
    if (status == KVB_OK)
        status = kvb_bench_allocate(suite, rows * c->row_bytes, (void **)&c->k, error);
    if (status == KVB_OK)
        status = kvb_bench_allocate(suite, rows * c->row_bytes, (void **)&c->v, error);
    for (size_t p = 0; p < c->pages.n_pages && status == KVB_OK; p++)
        c->pages.last[p] = -1.0;
    for (size_t i = 0; i < rows && status == KVB_OK; i++)
        for (int side = 0; side < 2; side++) {
            uint8_t *base = side ? c->v : c->k, *row = base + i * c->row_bytes;
            if (i < DISTINCT_ROWS) {
                kvb_bench_normals(2 * i + (uint64_t)side, 1.0f, values, (size_t)shape->head_dim);
                kvb_ggml_store_row(type, values, row, shape->head_dim);
            } else {
                memcpy(row, base + i % DISTINCT_ROWS * c->row_bytes, c->row_bytes);
            }
        }
    return status;
}

/* Memory for a tensor that ggml has only described. */
static kvb_status give_memory(kvb_bench_suite *suite, struct ggml_tensor *tensor, kvb_error *error) {
    return kvb_bench_allocate(suite, ggml_nbytes(tensor), &tensor->data, error);
}

/* -Inf where query i does not see token j. */
static void fill_mask(struct ggml_tensor *mask, int n_q, int kv_len, int causal) {
    const ggml_fp16_t seen = ggml_fp32_to_fp16(0.0f), unseen = ggml_fp32_to_fp16(-INFINITY);
    ggml_fp16_t *values = mask->data;
    for (int i = 0; i < n_q; i++)
        for (int j = 0; j < kv_len; j++)
            values[(size_t)i * (size_t)kv_len + (size_t)j] = causal && j > kv_len - n_q + i ? unseen : seen;
}

static struct ggml_tensor *cache_tensor(struct ggml_context *context, const cache *c, enum ggml_type type,
                                        const kvb_bench_shape *shape, int kv_len) {
    struct ggml_tensor *tensor = ggml_new_tensor_3d(context, type, shape->head_dim, kv_len, shape->n_kv_heads);
    tensor->nb[1] = c->strides.token;
    tensor->nb[2] = c->strides.head;
    tensor->nb[3] = c->strides.head * (size_t)shape->n_kv_heads;
    return tensor;
}

static void release_context(void *context) {
    ggml_free(context);
}

static kvb_status make_graph(kvb_bench_suite *suite, attention *a, const kvb_bench_shape *shape, enum ggml_type type,
                             const kvb_bench_row *row, int n_q, kvb_error *error) {
    struct ggml_init_params params = {.no_alloc = true};
    params.mem_size = TENSORS * ggml_tensor_overhead() + ggml_graph_overhead_custom(GRAPH_NODES, false);
    a->context = ggml_init(params);
    if (!a->context)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a ggml context");
    kvb_status status = kvb_bench_own(suite, a->context, release_context, error);
    if (status != KVB_OK)
        return status;
    const int dim = shape->head_dim, heads = shape->n_heads;
    struct ggml_tensor *q = ggml_new_tensor_3d(a->context, GGML_TYPE_F32, dim, n_q, heads);
    q->nb[1] = (size_t)dim * (size_t)heads * sizeof(float); /* [token][head][dim], as llama.cpp has them */
    q->nb[2] = (size_t)dim * sizeof(float);
    a->k = cache_tensor(a->context, a->cache, type, shape, row->kv_len);
    a->v = cache_tensor(a->context, a->cache, type, shape, row->kv_len);
    struct ggml_tensor *mask = ggml_new_tensor_2d(a->context, GGML_TYPE_F16, row->kv_len, n_q);
    struct ggml_tensor *out =
        ggml_flash_attn_ext(a->context, q, a->k, a->v, mask, 1.0f / sqrtf((float)dim), 0.0f, 0.0f);
    status = give_memory(suite, q, error);
    if (status == KVB_OK)
        status = give_memory(suite, mask, error);
    if (status == KVB_OK)
        status = give_memory(suite, out, error);
    if (status != KVB_OK)
        return status;
    kvb_bench_normals(7, query_factor, q->data, (size_t)dim * (size_t)heads * (size_t)n_q);
    fill_mask(mask, n_q, row->kv_len, row->mask && strcmp(row->mask, "causal") == 0);
    a->k->data = a->cache->k;
    a->v->data = a->cache->v;
    a->result = out;
    a->graph = ggml_new_graph_custom(a->context, GRAPH_NODES, false);
    ggml_build_forward_expand(a->graph, out);
    a->plan = ggml_graph_plan(a->graph, row->threads, NULL);
    return kvb_bench_allocate(suite, a->plan.work_size, (void **)&a->plan.work_data, error);
}

static kvb_status add(kvb_bench_suite *suite, cache *c, const kvb_bench_shape *shape, enum ggml_type type, int n_q,
                      const kvb_bench_row *row, kvb_error *error) {
    attention *a = NULL;
    kvb_status status = kvb_bench_allocate(suite, sizeof *a, (void **)&a, error);
    if (status != KVB_OK)
        return status;
    a->cache = c;
    a->window = ((size_t)row->kv_len + KVB_BENCH_PAGE_TOKENS - 1) / KVB_BENCH_PAGE_TOKENS;
    a->moves = strcmp(row->temperature, "cold") == 0;
    status = make_graph(suite, a, shape, type, row, n_q, error);
    kvb_bench_kernel kernel = {
        .run = run, .account = account, .context = a, .group = c, .row = *row, .warm_up = !a->moves};
    kernel.most_calls = a->moves ? c->pages.n_pages / a->window : 0;
    kvb_bench_attention_units(&kernel, shape, n_q, 2.0 * (double)c->row_bytes);
    kernel.row.level = a->moves ? KVB_LEVEL_DRAM : kvb_bench_level_of(suite->machine, a->window * c->pages.page_bytes);
    return status == KVB_OK ? kvb_bench_add(suite, &kernel, error) : status;
}

/* Strides, types and masks as in every row to come, on a case small enough to be computed by hand. */
static kvb_status check(kvb_bench_suite *suite, cache *c, const kvb_bench_shape *shape, enum ggml_type type,
                        kvb_error *error) {
    const kvb_bench_row row = {.kv_len = 50, .mask = "causal", .threads = 1};
    attention a = {.cache = c, .window = 1};
    kvb_status status = make_graph(suite, &a, shape, type, &row, 3, error);
    if (status == KVB_OK)
        status = run(&a, 1, error);
    return status == KVB_OK ? kvb_ggml_check_attention(a.result, &c->strides, error) : status;
}

/* One shape at one type and layout. */
typedef struct layer {
    const kvb_bench_shape *shape;
    enum ggml_type type;
    int head_major;
    cache *cache; /* NULL until a row wants it */
} layer;

static kvb_status add_row(kvb_bench_suite *suite, const kvb_parallel *parallel, layer *layer, kvb_bench_row *row,
                          kvb_error *error) {
    kvb_status status = KVB_OK;
    row->threads = kvb_parallel_workers(parallel);
    if (!kvb_bench_wanted(suite, row))
        return KVB_OK;
    if (!layer->cache) {
        status = make_cache(suite, layer->shape, layer->type, layer->head_major, &layer->cache, error);
        if (status == KVB_OK)
            status = check(suite, layer->cache, layer->shape, layer->type, error);
    }
    const int n_q = row->mask ? suite->config->prefill_queries : 1;
    return status == KVB_OK ? add(suite, layer->cache, layer->shape, layer->type, n_q, row, error) : status;
}

static kvb_status add_decode(kvb_bench_suite *suite, layer *layer, kvb_bench_row row, kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    kvb_status status = KVB_OK;
    row.work = "attend";
    for (int l = 0; l < config->n_kv_lens; l++)
        for (int t = 0; t < config->n_parallels; t++)
            for (int warm = !config->cold; warm <= config->warm && status == KVB_OK; warm++) {
                row.kv_len = config->kv_lens[l];
                row.temperature = warm ? "warm" : "cold";
                status = add_row(suite, &config->parallels[t], layer, &row, error);
            }
    return status;
}

/* Quantized types take seconds a call: they are measured in their better layout and with the mask that engines use. */
static kvb_status add_prefill(kvb_bench_suite *suite, layer *layer, kvb_bench_row row, kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    const int half = layer->type == GGML_TYPE_F16;
    kvb_status status = KVB_OK;
    row.work = "prefill";
    row.temperature = "cold";
    row.kv_len = config->prefill_tokens;
    for (int t = 0; t < config->n_parallels && (half || layer->head_major); t++)
        for (int all = 0; all <= half && status == KVB_OK; all++) {
            row.mask = all ? "all" : "causal";
            status = add_row(suite, &config->parallels[t], layer, &row, error);
        }
    return status;
}

static kvb_status add_layer(kvb_bench_suite *suite, layer *layer, const char *type_name, kvb_error *error) {
    kvb_bench_row row = {.by = "ggml", .shape = layer->shape->name, .head_dim = layer->shape->head_dim};
    kvb_status status = KVB_OK;
    row.layout = layer->head_major ? "head-major" : "token-major";
    snprintf(row.k, sizeof row.k, "%s", type_name);
    snprintf(row.v, sizeof row.v, "%s", type_name);
    if (suite->config->work & KVB_BENCH_ATTEND)
        status = add_decode(suite, layer, row, error);
    if (status == KVB_OK && suite->config->work & KVB_BENCH_PREFILL)
        status = add_prefill(suite, layer, row, error);
    return status;
}

kvb_status kvb_ggml_add_attention(kvb_bench_suite *suite, kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    kvb_status status = KVB_OK;
    for (int s = 0; s < config->n_shapes; s++)
        for (int i = 0; kvb_ggml_type_at(i) && status == KVB_OK; i++)
            for (int head_major = 1; head_major >= 0 && status == KVB_OK; head_major--) {
                const kvb_ggml_type *type = kvb_ggml_type_at(i);
                layer layer = {.shape = &config->shapes[s], .type = type->type, .head_major = head_major};
                status = add_layer(suite, &layer, type->name, error);
            }
    return status;
}
