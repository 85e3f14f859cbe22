/* New tokens on their way into the cache: a step of decoding, one token into every layer and a commit, and a chunk of
 * prefill, many tokens into one layer after another. */
#include <stdio.h>

#include "arena.h"

enum { LAYERS = 8, CAPACITY = 512 /* tokens; then the sequence starts again */ };
static const int steps[] = {1, 256}; /* tokens of a call */

typedef struct filling {
    kvb_cache *cache;
    int sequence;
    float *k, *v; /* CAPACITY tokens: [token][kv head][head_dim] */
    size_t token_values;
} filling;

/* What one step appends; a kernel's context. */
typedef struct appending {
    filling *to;
    int n_tokens;
} appending;

static kvb_status run_append(void *context, size_t calls, kvb_error *error) {
    const appending *a = context;
    filling *f = a->to;
    kvb_status status = KVB_OK;
    for (size_t i = 0; i < calls && status == KVB_OK; i++) {
        int64_t at = kvb_cache_n_tokens(f->cache, f->sequence);
        if (at + a->n_tokens > CAPACITY) {
            status = kvb_cache_truncate(f->cache, f->sequence, 0, error);
            at = 0;
        }
        kvb_kv_rows rows = {.k = f->k + (size_t)at * f->token_values,
                            .v = f->v + (size_t)at * f->token_values,
                            .dtype = KVB_F32,
                            .n_tokens = a->n_tokens};
        for (int layer = 0; layer < LAYERS && status == KVB_OK; layer++)
            status = kvb_cache_append(f->cache, f->sequence, layer, &rows, error);
        if (status == KVB_OK)
            status = kvb_cache_commit(f->cache, f->sequence, error);
    }
    return status;
}

static void release_cache(void *cache) {
    kvb_cache_destroy(cache);
}

/* Scalar codes, whatever the config's trellis. */
static kvb_layer_spec layer_of(const kvb_bench_shape *shape, kvb_bench_pair bits) {
    kvb_layer_spec layer =
        kvb_layer_spec_default(shape->n_kv_heads, shape->head_dim, (int)bits.k_bits, (int)bits.v_bits);
    layer.k.half_bit = bits.k_bits > layer.k.bits;
    layer.v.half_bit = bits.v_bits > layer.v.bits;
    return layer;
}

static kvb_status make(kvb_bench_suite *suite, const kvb_backend *backend, const kvb_bench_shape *shape,
                       kvb_bench_pair bits, filling **out, kvb_error *error) {
    kvb_layer_spec layers[LAYERS];
    kvb_layer_cost cost;
    filling *f = NULL;
    for (int i = 0; i < LAYERS; i++)
        layers[i] = layer_of(shape, bits);
    kvb_status status = kvb_layer_cost_of(layers, KVB_BENCH_PAGE_TOKENS, CAPACITY, &cost, error);
    if (status == KVB_OK)
        status = kvb_bench_allocate(suite, sizeof *f, (void **)&f, error);
    if (status != KVB_OK)
        return status;
    *out = f;
    f->token_values = (size_t)shape->n_kv_heads * (size_t)shape->head_dim;
    kvb_cache_spec spec = {.layers = layers,
                           .n_layers = LAYERS,
                           .page_tokens = KVB_BENCH_PAGE_TOKENS,
                           .max_sequences = 1,
                           .max_tokens = CAPACITY,
                           .budget = LAYERS * cost.bytes};
    suite->left -= (double)spec.budget;
    status = kvb_cache_create(&spec, backend, NULL, &f->cache, error);
    if (status == KVB_OK)
        status = kvb_bench_own(suite, f->cache, release_cache, error);
    if (status == KVB_OK)
        status = kvb_cache_open_sequence(f->cache, &f->sequence, error);
    size_t values = CAPACITY * f->token_values;
    if (status == KVB_OK)
        status = kvb_bench_allocate(suite, values * sizeof(float), (void **)&f->k, error);
    if (status == KVB_OK)
        status = kvb_bench_allocate(suite, values * sizeof(float), (void **)&f->v, error);
    if (status == KVB_OK) {
        kvb_bench_normals(5, 1.0f, f->k, values);
        kvb_bench_normals(6, 1.0f, f->v, values);
    }
    return status;
}

/* Halves are only rounded: an operation per value. */
static double side_slots(int dim, double bits) {
    return bits == KVB_BENCH_DENSE ? (double)dim : kvb_bench_encode_slots((double)dim, bits);
}

static double side_bytes(int dim, double bits) {
    return dim * bits / 8.0 + (bits == KVB_BENCH_DENSE ? 0.0 : 2.0);
}

static kvb_status add(kvb_bench_suite *suite, const kvb_backend *backend, const kvb_bench_shape *shape,
                      kvb_bench_pair bits, int n_tokens, filling **shared, kvb_error *error) {
    const int dim = shape->head_dim, n_heads = shape->n_kv_heads;
    const double stored = side_bytes(dim, bits.k_bits) + side_bytes(dim, bits.v_bits);
    appending *a = NULL;
    kvb_bench_kernel kernel = {.units = (double)n_tokens * LAYERS * n_heads, .warm_up = 1, .run = run_append};
    kernel.row = (kvb_bench_row){.work = "append",
                                 .by = "kvbits",
                                 .shape = shape->name,
                                 .head_dim = dim,
                                 .kv_len = n_tokens,
                                 .layout = "pages",
                                 .backend = kvb_backend_name(backend),
                                 .temperature = "warm",
                                 .threads = 1,
                                 .unit = "ns/token/kv head",
                                 .bytes = 8.0 * dim + stored, /* floats read, rows written */
                                 .copies = 1,
                                 .slots = side_slots(dim, bits.k_bits) + side_slots(dim, bits.v_bits)};
    kernel.row.level = kvb_bench_level_of(suite->machine, (size_t)(CAPACITY * n_heads * (8.0 * dim + LAYERS * stored)));
    kvb_bench_width_name(bits.k_bits, kernel.row.k, sizeof kernel.row.k);
    kvb_bench_width_name(bits.v_bits, kernel.row.v, sizeof kernel.row.v);
    if (!kvb_bench_wanted(suite, &kernel.row))
        return KVB_OK;
    kvb_status status = *shared ? KVB_OK : make(suite, backend, shape, bits, shared, error);
    if (status == KVB_OK)
        status = kvb_bench_allocate(suite, sizeof *a, (void **)&a, error);
    if (status != KVB_OK)
        return status;
    *a = (appending){*shared, n_tokens};
    kernel.context = a;
    return kvb_bench_add(suite, &kernel, error);
}

kvb_status kvb_bench_add_appends(kvb_bench_suite *suite, kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    kvb_status status = KVB_OK;
    for (int b = 0; b < config->n_backends && config->work & KVB_BENCH_APPEND; b++)
        for (int s = 0; s < config->n_shapes; s++)
            for (int p = 0; p < config->n_pairs; p++) {
                filling *shared = NULL;
                for (size_t i = 0; i < sizeof steps / sizeof steps[0] && status == KVB_OK; i++)
                    status =
                        add(suite, config->backends[b], &config->shapes[s], config->pairs[p], steps[i], &shared, error);
            }
    return status;
}
