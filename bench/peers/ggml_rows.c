/* Rows into and out of ggml's cache types, one row a call, as its set_rows does. No rotation is in these figures. */
#include <stdio.h>

#include "arena.h"
#include "ggml_peer.h"

enum { BATCH_BYTES = 256 << 10 };

typedef struct rows {
    enum ggml_type type;
    int head_dim;
    size_t n, row_bytes;
    float *floats;
    uint8_t *stored;
} rows;

static kvb_status run_store(void *context, size_t calls, kvb_error *error) {
    const rows *r = context;
    (void)error;
    for (size_t call = 0; call < calls; call++)
        for (size_t i = 0; i < r->n; i++)
            kvb_ggml_store_row(r->type, r->floats + i * (size_t)r->head_dim, r->stored + i * r->row_bytes, r->head_dim);
    return KVB_OK;
}

static kvb_status run_load(void *context, size_t calls, kvb_error *error) {
    const rows *r = context;
    const ggml_to_float_t to_float = ggml_get_type_traits(r->type)->to_float;
    (void)error;
    for (size_t call = 0; call < calls; call++)
        for (size_t i = 0; i < r->n; i++)
            to_float(r->stored + i * r->row_bytes, r->floats + i * (size_t)r->head_dim, r->head_dim);
    return KVB_OK;
}

static kvb_status make(kvb_bench_suite *suite, enum ggml_type type, int head_dim, rows **out, kvb_error *error) {
    rows *r = NULL;
    kvb_status status = kvb_bench_allocate(suite, sizeof *r, (void **)&r, error);
    if (status != KVB_OK)
        return status;
    *out = r;
    *r = (rows){.type = type, .head_dim = head_dim, .row_bytes = ggml_row_size(type, head_dim)};
    r->n = BATCH_BYTES / 4 / (size_t)head_dim;
    status = kvb_bench_allocate(suite, r->n * (size_t)head_dim * sizeof(float), (void **)&r->floats, error);
    if (status == KVB_OK)
        status = kvb_bench_allocate(suite, r->n * r->row_bytes, (void **)&r->stored, error);
    if (status != KVB_OK)
        return status;
    kvb_bench_normals(3, 1.0f, r->floats, r->n * (size_t)head_dim);
    return run_store(r, 1, error);
}

static kvb_status add(kvb_bench_suite *suite, const kvb_ggml_type *type, int head_dim, int load, kvb_error *error) {
    rows *r = NULL;
    kvb_bench_kernel kernel = {.run = load ? run_load : run_store, .warm_up = 1};
    kernel.row = (kvb_bench_row){.work = load ? "decode-rotated" : "encode",
                                 .by = "ggml",
                                 .head_dim = head_dim,
                                 .temperature = "warm",
                                 .threads = 1,
                                 .unit = "ns/row",
                                 .level = kvb_bench_level_of(suite->machine, BATCH_BYTES)};
    snprintf(kernel.row.k, sizeof kernel.row.k, "%s", type->name);
    if (!kvb_bench_wanted(suite, &kernel.row))
        return KVB_OK;
    kvb_status status = make(suite, type->type, head_dim, &r, error);
    if (status != KVB_OK)
        return status;
    kernel.context = r;
    kernel.units = (double)r->n;
    kernel.row.bytes = 4.0 * head_dim + (double)r->row_bytes;
    return kvb_bench_add(suite, &kernel, error);
}

kvb_status kvb_ggml_add_rows(kvb_bench_suite *suite, kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    kvb_status status = KVB_OK;
    for (int s = 0; s < config->n_shapes; s++)
        for (int i = 0; kvb_ggml_type_at(i) && status == KVB_OK; i++)
            for (int load = 0; load < 2 && status == KVB_OK; load++)
                if (config->work & (load ? KVB_BENCH_DECODE : KVB_BENCH_ENCODE))
                    status = add(suite, kvb_ggml_type_at(i), config->shapes[s].head_dim, load, error);
    return status;
}
