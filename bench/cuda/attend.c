/* Attention on pages: decode, prompts, and the plan of a step. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu.h"

typedef struct attending {
    const kvb_cuda_layer *layer;
    kvb_cuda_pages pages;
    kvb_cuda_queries queries;
    void *scratch;
    size_t scratch_bytes;
    double tokens; /* that are seen, over all sequences */
    double pairs;  /* of a query and a token that it sees */
} attending;

static kvb_status launch_plan(void *context, kvb_error *error) {
    const attending *a = context;
    return kvb_cuda_attend_plan(a->layer, &a->pages, &a->queries, a->scratch, a->scratch_bytes, NULL, error);
}

static kvb_status launch_attend(void *context, kvb_error *error) {
    const attending *a = context;
    return kvb_cuda_attend(a->layer, &a->pages, &a->queries, a->scratch, a->scratch_bytes, NULL, error);
}

static int is(const kvb_bench_gpu_case *c, const char *variant) {
    return c->variant && strcmp(c->variant, variant) == 0;
}

/* Of sequence s. Mixed lengths go from a sixteenth of kv_len to what makes kv_len their mean. */
static int length_of(const kvb_bench_gpu_case *c, int s) {
    if (is(c, "tail"))
        return c->kv_len > 13 ? c->kv_len - 13 : 1;
    if (!is(c, "mixed") || c->batch == 1)
        return c->kv_len;
    const double least = c->kv_len / 16.0;
    return (int)(least + s * 2.0 * (c->kv_len - least) / (c->batch - 1));
}

static int pages_of(int tokens) {
    return (tokens + KVB_CUDA_PAGE_TOKENS - 1) / KVB_CUDA_PAGE_TOKENS;
}

/* The table: pages in order, or in an order that jumps. */
static void fill_table(const kvb_bench_gpu_case *c, size_t stride, const int32_t *lengths, int32_t *table) {
    size_t n = 0, at = 0, step = 1;
    for (int s = 0; s < c->batch; s++)
        n += (size_t)pages_of(lengths[s]);
    if (is(c, "scattered")) /* a step without a divisor in common */
        for (step = n / 3 * 2 + 1;; step++) {
            size_t a = step, b = n;
            while (b) {
                const size_t rest = a % b;
                a = b;
                b = rest;
            }
            if (a == 1)
                break;
        }
    for (int s = 0; s < c->batch; s++)
        for (int i = 0; i < pages_of(lengths[s]); i++)
            table[(size_t)s * stride + (size_t)i] = (int32_t)(at++ * step % n);
}

static kvb_status place(kvb_bench_device *device, const kvb_bench_gpu_case *c, attending *a, kvb_error *error) {
    const int window = a->queries.window;
    size_t stride = 1;
    int32_t *lengths = malloc((size_t)c->batch * sizeof *lengths);
    for (int s = 0; lengths && s < c->batch; s++) {
        lengths[s] = length_of(c, s);
        stride = (size_t)pages_of(lengths[s]) > stride ? (size_t)pages_of(lengths[s]) : stride;
        a->tokens += window && window < lengths[s] ? window : lengths[s];
        a->pairs += c->queries > 1 ? ((double)lengths[s] - 0.5 * (c->queries - 1)) * c->queries
                                   : (window && window < lengths[s] ? window : lengths[s]);
    }
    int32_t *table = calloc((size_t)c->batch * stride, sizeof *table);
    kvb_status status = lengths && table ? KVB_OK
                                         : kvb_error_set(error, KVB_ERROR_MEMORY,
                                                         "out of memory for a table of %d sequences", c->batch);
    if (status == KVB_OK) {
        fill_table(c, stride, lengths, table);
        status = kvb_bench_gpu_upload(device, table, (size_t)c->batch * stride * sizeof *table,
                                      (void **)&a->pages.table, error);
    }
    if (status == KVB_OK)
        status = kvb_bench_gpu_upload(device, lengths, (size_t)c->batch * sizeof *lengths, (void **)&a->pages.lengths,
                                      error);
    a->pages.table_stride = stride;
    a->pages.n_sequences = c->batch;
    free(lengths);
    free(table);
    return status;
}

static kvb_status ask(kvb_bench_device *device, const kvb_bench_gpu_case *c, attending *a, kvb_error *error) {
    const size_t values = (size_t)c->batch * (size_t)c->queries * (size_t)c->shape.n_heads * (size_t)c->shape.head_dim;
    void *q = NULL;
    kvb_status status = kvb_bench_gpu_normals(device, 3, values, &q, error);
    if (status == KVB_OK)
        status = kvb_bench_gpu_allocate(device, 2 * values, &a->queries.out, error);
    a->queries.q = q;
    a->queries.q_dtype = a->queries.out_dtype = KVB_BF16;
    a->queries.most_queries = c->queries;
    a->queries.scale = 1.0f / sqrtf((float)c->shape.head_dim);
    a->queries.split_queries = c->precision == KVB_PRECISION_PRECISE;
    a->scratch_bytes = kvb_cuda_scratch_bytes(a->layer, c->batch, c->queries);
    if (status == KVB_OK)
        status = kvb_bench_gpu_allocate(device, a->scratch_bytes, &a->scratch, error);
    if (status == KVB_OK)
        status = kvb_cuda_scratch_clear(a->layer, a->scratch, a->scratch_bytes, NULL, error);
    return status == KVB_OK ? launch_plan(a, error) : status;
}

static kvb_status add_rows(kvb_bench_device *device, const kvb_bench_gpu_case *c, attending *a, kvb_error *error) {
    kvb_bench_row row = kvb_bench_gpu_row(device, "plan", &c->shape, c->bits, c->states, a->layer);
    kvb_status status = KVB_OK;
    row.batch = c->batch;
    row.kv_len = c->kv_len;
    row.variant = c->variant;
    if (c->plans) {
        kvb_bench_row plan = row;
        plan.kernel = NULL; /* that is said of attention */
        status = kvb_bench_gpu_add(device, &plan, 1.0, launch_plan, a, error);
    }
    row.work = c->queries > 1 ? "prefill" : "attend";
    row.mask = c->queries > 1 ? "causal" : NULL;
    row.precision = c->precision == KVB_PRECISION_PRECISE ? "precise" : "fast";
    row.bytes = a->tokens * (double)kvb_cuda_layer_page_bytes(a->layer) / KVB_CUDA_PAGE_TOKENS;
    row.slots = 2.0 * a->pairs * c->shape.n_heads * c->shape.head_dim;
    return status == KVB_OK ? kvb_bench_gpu_add(device, &row, 1.0, launch_attend, a, error) : status;
}

kvb_status kvb_bench_gpu_add_attend(kvb_bench_device *device, const kvb_bench_gpu_case *c, kvb_error *error) {
    attending *a = NULL;
    kvb_cuda_layer *layer = NULL;
    kvb_status status = kvb_bench_allocate(device->suite, sizeof *a, (void **)&a, error);
    if (status == KVB_OK)
        status = kvb_bench_gpu_layer(device, &c->shape, c->bits, c->states, &layer, error);
    if (status == KVB_OK) {
        a->layer = layer;
        status = kvb_bench_gpu_pages(device, &c->shape, c->bits, c->states, layer, &a->pages.pool, error);
    }
    if (status == KVB_OK) {
        a->queries.window = is(c, "window") ? c->kv_len / 2 + 1 : 0;
        status = place(device, c, a, error);
    }
    if (status == KVB_OK)
        status = ask(device, c, a, error);
    return status == KVB_OK ? add_rows(device, c, a, error) : status;
}
