/* Attention of one query (decode) and of many (prefill) on pages: every width, length, precision, backend and number
 * of threads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "peers/peers.h"

typedef struct attention {
    kvb_bench_arena *arena;
    const kvb_backend *backend;
    const kvb_parallel *parallel; /* NULL: one thread */
    kvb_kv_view view;
    kvb_attend_item item;
    size_t window; /* pages */
    size_t first;  /* page of the last turn's first call */
    int moves;     /* cold: every call reads the pages after those of the call before */
    void *scratch;
    size_t scratch_bytes;
} attention;

/* Queries twice as long as keys: logits with a standard deviation of 2, a softmax neither flat nor one-hot. */
static const float query_factor = 2.0f;

static kvb_status run(void *context, size_t calls, kvb_error *error) {
    attention *a = context;
    kvb_status status = KVB_OK;
    a->first = a->arena->cursor;
    for (size_t i = 0; i < calls && status == KVB_OK; i++) {
        a->view.pages = a->arena->pages + (a->moves ? a->arena->cursor : 0);
        status = kvb_attend(a->backend, &a->item, 1, a->scratch, a->scratch_bytes, a->parallel, error);
        if (a->moves)
            a->arena->cursor = (a->arena->cursor + a->window) % a->arena->n_pages;
    }
    return status;
}

static void account(void *context, size_t calls, double *touched, double *reuse) {
    attention *a = context;
    if (a->moves)
        kvb_bench_arena_account(a->arena, a->first, calls * a->window, touched, reuse);
    else
        *touched += (double)(a->window * a->arena->page_bytes);
}

static kvb_status allocate_queries(kvb_bench_suite *suite, attention *a, const kvb_bench_shape *shape, int n_q,
                                   kvb_error *error) {
    const size_t n = (size_t)n_q * (size_t)shape->n_heads * (size_t)shape->head_dim;
    float *q = NULL;
    kvb_status status = kvb_bench_allocate(suite, n * sizeof *q, (void **)&q, error);
    if (status == KVB_OK)
        status = kvb_bench_allocate(suite, n * sizeof(float), (void **)&a->item.out, error);
    if (status == KVB_OK)
        kvb_bench_normals(7, query_factor, q, n);
    a->item.q = q;
    return status;
}

/* Every query sees everything: they all stand at the last token. */
static kvb_status see_all(kvb_bench_suite *suite, attention *a, kvb_error *error) {
    int64_t *positions = NULL;
    kvb_status status = kvb_bench_allocate(suite, (size_t)a->item.n_q * sizeof *positions, (void **)&positions, error);
    for (int i = 0; i < a->item.n_q && status == KVB_OK; i++)
        positions[i] = a->view.n_tokens - 1;
    a->item.positions = positions;
    return status;
}

static kvb_status make(kvb_bench_suite *suite, kvb_bench_arena *arena, const kvb_bench_shape *shape,
                       const kvb_bench_row *row, int n_q, attention **out, kvb_error *error) {
    attention *a = NULL;
    kvb_status status = kvb_bench_allocate(suite, sizeof *a, (void **)&a, error);
    if (status != KVB_OK)
        return status;
    *out = a;
    *a = (attention){.arena = arena, .moves = strcmp(row->temperature, "cold") == 0};
    a->window = ((size_t)row->kv_len + KVB_BENCH_PAGE_TOKENS - 1) / KVB_BENCH_PAGE_TOKENS;
    a->view = (kvb_kv_view){.format = &arena->format, .pages = arena->pages, .n_tokens = row->kv_len};
    const size_t dim = (size_t)shape->head_dim;
    a->item = (kvb_attend_item){.kv = &a->view,
                                .n_q = n_q,
                                .n_heads = shape->n_heads,
                                .q_dtype = KVB_F32,
                                .q_token_stride = dim * (size_t)shape->n_heads,
                                .q_head_stride = dim,
                                .out_token_stride = dim * (size_t)shape->n_heads,
                                .out_head_stride = dim,
                                .scale = 1.0f / sqrtf((float)dim),
                                .precision = strcmp(row->precision, "precise") == 0 ? KVB_PRECISION_PRECISE
                                                                                    : KVB_PRECISION_FAST};
    status = allocate_queries(suite, a, shape, n_q, error);
    if (status == KVB_OK && row->mask && strcmp(row->mask, "all") == 0)
        status = see_all(suite, a, error);
    return status;
}

static kvb_status add(kvb_bench_suite *suite, const kvb_backend *backend, const kvb_parallel *parallel,
                      const kvb_bench_shape *shape, attention *a, const kvb_bench_row *row, kvb_error *error) {
    a->backend = backend;
    a->parallel = kvb_parallel_workers(parallel) > 1 ? parallel : NULL;
    a->scratch_bytes = kvb_attend_scratch_bytes(backend, &a->item, 1, a->parallel);
    kvb_status status = kvb_bench_allocate(suite, a->scratch_bytes, &a->scratch, error);
    kvb_bench_kernel kernel = {
        .run = run, .account = account, .context = a, .group = a->arena, .row = *row, .warm_up = !a->moves};
    kernel.most_calls = a->moves ? a->arena->n_pages / a->window : 0;
    if (a->moves && kernel.most_calls == 0)
        kernel.most_calls = 1;
    kvb_bench_attention_units(&kernel, shape, a->item.n_q, kvb_bench_token_bytes(&a->arena->format));
    kernel.row.level = a->moves ? KVB_LEVEL_DRAM : kvb_bench_level_of(suite->machine, a->window * a->arena->page_bytes);
    return status == KVB_OK ? kvb_bench_add(suite, &kernel, error) : status;
}

/* Pairs of a query and a token that it sees. */
static double visible_pairs(int n_q, int kv_len, const char *mask) {
    const double all = (double)n_q * kv_len;
    return mask && strcmp(mask, "causal") == 0 ? all - 0.5 * n_q * (n_q - 1) : all;
}

void kvb_bench_attention_units(kvb_bench_kernel *kernel, const kvb_bench_shape *shape, int n_q, double token_bytes) {
    kvb_bench_row *row = &kernel->row;
    const double tokens = (double)row->kv_len * shape->n_kv_heads;
    const double group = (double)shape->n_heads / shape->n_kv_heads, dim = shape->head_dim;
    /* A product and a sum for each coordinate of a key and of a value, for each query head. */
    const double slots = visible_pairs(n_q, row->kv_len, row->mask) * shape->n_heads * 2.0 * dim;
    if (row->mask) { /* prefill: per f32 operation, a multiply-add being two */
        row->unit = "GFLOP/s";
        row->rate = 1;
        kernel->units = 2.0 * slots;
        row->slots = 0.5;
        row->bytes = tokens * token_bytes / kernel->units;
    } else {
        row->unit = "ns/token/kv head";
        kernel->units = tokens;
        row->slots = 2.0 * dim * group;
        row->bytes = token_bytes;
    }
}

size_t kvb_bench_arena_tokens(const kvb_bench_config *config, double bytes_per_token) {
    /* All arenas together must be larger than every cache; one of them alone, if it is alone. Twice as large, because
     * kernels that read little let others come back soon. */
    const double share = 2.0 * (double)config->memory / (config->n_shapes * config->n_pairs) / bytes_per_token;
    size_t tokens = share < 1.0 ? 1 : (size_t)share + 1;
    for (int l = 0; l < config->n_kv_lens && config->work & KVB_BENCH_ATTEND; l++)
        if (tokens < (size_t)config->kv_lens[l])
            tokens = (size_t)config->kv_lens[l];
    if (config->work & KVB_BENCH_PREFILL && tokens < (size_t)config->prefill_tokens)
        tokens = (size_t)config->prefill_tokens;
    return tokens;
}

/* One shape at one pair of widths. */
typedef struct layer {
    const kvb_bench_shape *shape;
    kvb_bench_pair bits;
    kvb_bench_arena *arena; /* NULL until a row wants it */
} layer;

static kvb_status add_row(kvb_bench_suite *suite, const kvb_backend *backend, const kvb_parallel *parallel,
                          layer *layer, kvb_bench_row *row, kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    const int n_q = row->mask ? config->prefill_queries : 1;
    const double bytes = (layer->bits.k_bits + layer->bits.v_bits) * layer->shape->head_dim / 8.0;
    kvb_status status = KVB_OK;
    attention *a = NULL;
    row->threads = kvb_parallel_workers(parallel);
    if (!kvb_bench_wanted(suite, row))
        return KVB_OK;
    if (!layer->arena)
        status = kvb_bench_arena_create(suite, config->backends[0], layer->shape, layer->bits,
                                        kvb_bench_arena_tokens(config, bytes * layer->shape->n_kv_heads), &layer->arena,
                                        error);
    if (status == KVB_OK)
        status = make(suite, layer->arena, layer->shape, row, n_q, &a, error);
    return status == KVB_OK ? add(suite, backend, parallel, layer->shape, a, row, error) : status;
}

static kvb_status add_decode(kvb_bench_suite *suite, const kvb_backend *backend, layer *layer, kvb_bench_row *row,
                             kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    kvb_status status = KVB_OK;
    row->work = "attend";
    row->mask = NULL;
    for (int l = 0; l < config->n_kv_lens; l++)
        for (int t = 0; t < config->n_parallels; t++)
            for (int warm = !config->cold; warm <= config->warm && status == KVB_OK; warm++) {
                row->kv_len = config->kv_lens[l];
                row->temperature = warm ? "warm" : "cold";
                status = add_row(suite, backend, &config->parallels[t], layer, row, error);
            }
    return status;
}

static kvb_status add_prefill(kvb_bench_suite *suite, const kvb_backend *backend, layer *layer, kvb_bench_row *row,
                              kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    kvb_status status = KVB_OK;
    row->work = "prefill";
    row->temperature = "cold";
    row->kv_len = config->prefill_tokens;
    for (int t = 0; t < config->n_parallels; t++)
        for (int all = 0; all < 2 && status == KVB_OK; all++) {
            row->mask = all ? "all" : "causal";
            status = add_row(suite, backend, &config->parallels[t], layer, row, error);
        }
    return status;
}

static kvb_status add_layer(kvb_bench_suite *suite, layer *layer, kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    kvb_status status = KVB_OK;
    kvb_bench_row row = {.by = "kvbits", .shape = layer->shape->name, .head_dim = layer->shape->head_dim};
    row.layout = "pages";
    kvb_bench_codec_name(config, layer->bits.k_bits, row.k, sizeof row.k);
    kvb_bench_codec_name(config, layer->bits.v_bits, row.v, sizeof row.v);
    for (int b = 0; b < config->n_backends && status == KVB_OK; b++)
        for (int p = 0; p < config->n_precisions && status == KVB_OK; p++) {
            row.backend = kvb_backend_name(config->backends[b]);
            row.precision = config->precisions[p] == KVB_PRECISION_PRECISE ? "precise" : "fast";
            if (config->work & KVB_BENCH_ATTEND)
                status = add_decode(suite, config->backends[b], layer, &row, error);
            if (status == KVB_OK && config->work & KVB_BENCH_PREFILL)
                status = add_prefill(suite, config->backends[b], layer, &row, error);
        }
    return status;
}

kvb_status kvb_bench_add_attention(kvb_bench_suite *suite, kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    kvb_status status = KVB_OK;
    if (!(config->work & (KVB_BENCH_ATTEND | KVB_BENCH_PREFILL)))
        return KVB_OK;
    for (int s = 0; s < config->n_shapes && status == KVB_OK; s++)
        for (int p = 0; p < config->n_pairs && status == KVB_OK; p++) {
            layer layer = {.shape = &config->shapes[s], .bits = config->pairs[p]};
            status = add_layer(suite, &layer, error);
        }
    return status;
}
