#include "ab_round_trip.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nrmse.h"
#include "parallel.h"
#include "plain.h"
#include "stream.h"

enum { CASES = 3, CHUNK = 64 };

/* One head_dim: its vectors and everything that stores them. */
typedef struct dimension {
    const kvb_ab_config *config;
    const kvb_tables *tables;
    const kvb_arithmetic *arithmetic;
    size_t d, n;
    float *vectors;                     /* [n][d] */
    double *nrmse;                      /* [n_bits][CASES][n] */
    kvb_store *stores[KVB_MAX_BITS][2]; /* by place in config->bits: A, B */
    kvb_codec *transform;               /* case C */
    float **stored;                     /* per worker: CHUNK rows */
    kvb_failure failure;
} dimension;

static void use_vectors(void *context, size_t first, size_t n, float *rows, int worker) {
    dimension *dim = context;
    (void)worker;
    memcpy(dim->vectors + first * dim->d, rows, n * dim->d * sizeof *rows);
}

static void plain_round_trip(const dimension *dim, size_t b, int kind, const float *rows, size_t n, float *out) {
    const kvb_table *table = &dim->tables->width[dim->config->bits[b]];
    memcpy(out, rows, n * dim->d * sizeof *out);
    for (size_t r = 0; r < n; r++) {
        float *row = out + r * dim->d;
        if (kind != 1)
            kvb_plain_hadamard(row, dim->d);
        if (kind != 2)
            kvb_plain_round_trip(table->centroids, table->levels, row, dim->d, row);
        if (kind != 1)
            kvb_plain_hadamard(row, dim->d);
    }
}

static kvb_status round_trip(const dimension *dim, size_t b, int kind, const float *rows, size_t n, float *out,
                             kvb_error *error) {
    if (dim->config->sums == KVB_SUMS_INDEX_ORDER) {
        plain_round_trip(dim, b, kind, rows, n, out);
        return KVB_OK;
    }
    if (kind < 2)
        return kvb_store_round_trip(dim->stores[b][kind], rows, n, out, error);
    memcpy(out, rows, n * dim->d * sizeof *out);
    kvb_rotate(dim->transform, out, dim->d, n);
    kvb_unrotate(dim->transform, out, dim->d, n);
    return KVB_OK;
}

static void run_chunk(void *argument, size_t index, int worker) {
    dimension *dim = argument;
    size_t first = index * CHUNK, n = dim->n - first < CHUNK ? dim->n - first : CHUNK;
    const float *rows = dim->vectors + first * dim->d;
    float *out = dim->stored[worker];
    for (size_t b = 0; b < (size_t)dim->config->n_bits; b++) {
        for (int kind = 0; kind < CASES; kind++) {
            kvb_error error;
            kvb_status status = round_trip(dim, b, kind, rows, n, out, &error);
            if (status != KVB_OK) {
                kvb_failure_note(&dim->failure, status, &error);
                return;
            }
            for (size_t r = 0; r < n; r++) {
                float difference, norm;
                kvb_row_distance(dim->arithmetic, rows + r * dim->d, out + r * dim->d, dim->d, &difference, &norm);
                dim->nrmse[(b * CASES + (size_t)kind) * dim->n + first + r] = kvb_nrmse(difference, norm);
            }
        }
    }
}

static kvb_status make_stores(dimension *dim, kvb_error *error) {
    const kvb_ab_config *config = dim->config;
    kvb_codec_spec spec = {.head_dim = (int)dim->d,
                           .bits = config->bits[0],
                           .rotation = KVB_ROTATION_HADAMARD,
                           .scale = config->scale_kind,
                           .scale_dtype = config->scale_dtype,
                           .trellis_states = config->trellis_states};
    kvb_status status = kvb_codec_create(&spec, NULL, NULL, &dim->transform, error);
    for (int b = 0; b < config->n_bits && status == KVB_OK; b++) {
        for (int kind = 0; kind < 2 && status == KVB_OK; kind++) {
            spec.bits = config->bits[b];
            spec.rotation = kind == 0 ? KVB_ROTATION_HADAMARD : KVB_ROTATION_NONE;
            spec.centroids = config->trellis_states ? NULL : dim->tables->width[spec.bits].centroids;
            kvb_scheme scheme = {.kind = KVB_SCHEME_CODEC, .spec = spec};
            status = kvb_store_create(&scheme, &dim->stores[b][kind], error);
        }
    }
    return status;
}

static kvb_status make_vectors(dimension *dim, const kvb_parallel *parallel, kvb_error *error) {
    int workers = kvb_parallel_workers(parallel);
    size_t buffer = KVB_STREAM_ITEM_ROWS * dim->d;
    kvb_stream *stream = malloc(sizeof *stream);
    kvb_rng *starts = malloc((dim->n / KVB_STREAM_ITEM_ROWS + 2) * sizeof *starts);
    float *memory = malloc((size_t)workers * buffer * sizeof *memory),
          **buffers = calloc((size_t)workers, sizeof *buffers);
    kvb_status status = KVB_OK;
    if (stream && starts && memory && buffers) {
        for (int i = 0; i < workers; i++)
            buffers[i] = memory + (size_t)i * buffer;
        kvb_stream_open(stream, kvb_rng_seed(dim->config->seed), dim->d, dim->arithmetic->vec);
        kvb_stream_rows(stream, dim->n, parallel, starts, buffers, use_vectors, dim);
    } else {
        status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for random vectors");
    }
    free(stream);
    free(starts);
    free(memory);
    free(buffers);
    return status;
}

static kvb_status allocate(dimension *dim, int workers, kvb_error *error) {
    dim->vectors = malloc(dim->n * dim->d * sizeof *dim->vectors);
    dim->nrmse = malloc((size_t)dim->config->n_bits * CASES * dim->n * sizeof *dim->nrmse);
    dim->stored = calloc((size_t)workers, sizeof *dim->stored);
    int lacking = !dim->vectors || !dim->nrmse || !dim->stored;
    for (int i = 0; dim->stored && i < workers; i++)
        lacking |= (dim->stored[i] = malloc(CHUNK * dim->d * sizeof(float))) == NULL;
    return lacking ? kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %zu vectors", dim->n) : KVB_OK;
}

static void release(dimension *dim, int workers) {
    for (int i = 0; dim->stored && i < workers; i++)
        free(dim->stored[i]);
    free(dim->stored);
    free(dim->vectors);
    free(dim->nrmse);
    for (int b = 0; b < KVB_MAX_BITS; b++)
        for (int kind = 0; kind < 2; kind++)
            kvb_store_destroy(dim->stores[b][kind]);
    kvb_codec_destroy(dim->transform);
}

static kvb_status run_dimension(dimension *dim, const kvb_parallel *parallel, kvb_error *error) {
    kvb_status status = make_stores(dim, error);
    if (status == KVB_OK)
        status = allocate(dim, kvb_parallel_workers(parallel), error);
    if (status == KVB_OK)
        status = make_vectors(dim, parallel, error);
    if (status != KVB_OK)
        return status;
    kvb_parallel_for(parallel, (dim->n + CHUNK - 1) / CHUNK, run_chunk, dim);
    return kvb_failure_result(&dim->failure, error);
}

kvb_status kvb_ab_round_trip(const kvb_ab_config *config, const kvb_tables *tables, const kvb_arithmetic *arithmetic,
                             const kvb_parallel *parallel, kvb_round_trip_cell *cells, kvb_error *error) {
    kvb_status status = KVB_OK;
    kvb_tables *own = malloc(sizeof *own); /* of this head_dim */
    if (!own)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for codebooks");
    for (int i = 0; i < config->n_round_trip_dims && status == KVB_OK; i++) {
        dimension dim = {.config = config,
                         .tables = tables,
                         .arithmetic = arithmetic,
                         .d = (size_t)config->round_trip_dims[i],
                         .n = (size_t)config->vectors};
        if (config->codebook == KVB_CODEBOOK_BETA) {
            unsigned wanted = 0;
            for (int b = 0; b < config->n_bits; b++)
                wanted |= 1u << config->bits[b];
            status = kvb_tables_make(config, wanted, config->round_trip_dims[i], parallel, own, error);
            dim.tables = own;
        }
        if (status == KVB_OK)
            status = run_dimension(&dim, parallel, error);
        for (int b = 0; b < config->n_bits && status == KVB_OK; b++)
            for (int kind = 0; kind < CASES; kind++) {
                kvb_round_trip_cell *cell = &cells[(b * config->n_round_trip_dims + i) * CASES + kind];
                *cell =
                    (kvb_round_trip_cell){config->bits[b], (char)('A' + kind), config->round_trip_dims[i],
                                          kvb_statistic_of(dim.nrmse + (b * CASES + kind) * config->vectors, dim.n)};
            }
        release(&dim, kvb_parallel_workers(parallel));
    }
    free(own);
    return status;
}
