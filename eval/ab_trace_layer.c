#include "ab_trace_layer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nrmse.h"
#include "parallel.h"

enum { CHUNK = KVB_ATTEND_ADD_MAX /* rows stored and values added at once */ };

typedef struct layer_run {
    const kvb_trace_layer *layer;
    const kvb_comparison *comparison;
    const kvb_arithmetic *arithmetic;
    kvb_layer_attention attention;
    size_t tokens, group, queries, head; /* head: the KV head at work */
    size_t query_from, exact_first, exact_last;
    float *q, *k, *v;             /* as read: [heads][tokens][dim] */
    float *k_rows, *v_rows;       /* every variant of one KV head: [variant][tokens][dim] */
    kvb_attend_variants *attends; /* per worker */
    void *memory;                 /* of the attends */
    int workers;
    kvb_measured *measured;
    kvb_failure failure;
} layer_run;

kvb_layer_attention kvb_layer_attention_of(const kvb_ab_config *config, const kvb_trace_layer *layer) {
    return (kvb_layer_attention){config->scale > 0.0 ? config->scale : layer->scale,
                                 config->softcap >= 0.0 ? config->softcap : layer->softcap,
                                 config->window >= 0 ? config->window : layer->window};
}

static int first_query(const kvb_ab_config *config, const kvb_trace_layer *layer) {
    return config->queries_from < layer->tokens ? config->queries_from : layer->tokens - 1;
}

size_t kvb_layer_queries(const kvb_ab_config *config, const kvb_trace_layer *layer) {
    int most = layer->tokens - first_query(config, layer), all = config->queries == 0 || config->queries > most;
    return (size_t)(all ? most : config->queries);
}

/* Evenly spaced, the last one at the last token. */
static size_t query_position(const layer_run *r, size_t index) {
    return r->query_from + (index + 1) * (r->tokens - r->query_from) / r->queries - 1;
}

/* ---- Every variant of one KV head's rows; the first ones may be exact in all ---- */

static void store_chunk(void *argument, size_t index, int worker) {
    (void)worker;
    layer_run *r = argument;
    size_t chunks = (r->tokens + CHUNK - 1) / CHUNK, variant = index / chunks, first = index % chunks * CHUNK;
    size_t n = r->tokens - first < CHUNK ? r->tokens - first : CHUNK, n_k = (size_t)r->comparison->k.n;
    int keys = variant < n_k;
    const kvb_variants *variants = keys ? &r->comparison->k : &r->comparison->v;
    size_t at = keys ? variant : variant - n_k, d = (size_t)variants->head_dim;
    const float *rows = (keys ? r->k : r->v) + (r->head * r->tokens + first) * d;
    float *out = (keys ? r->k_rows : r->v_rows) + (at * r->tokens + first) * d;
    kvb_error error;
    kvb_status status = kvb_variant_round_trip(variants, (int)at, rows, n, out, &error);
    if (first < r->exact_first)
        memcpy(out, rows, (r->exact_first - first < n ? r->exact_first - first : n) * d * sizeof *out);
    kvb_failure_note(&r->failure, status, &error);
}

/* ---- One query position ---- */

/* Adds the needed values, run by run of neighboring positions; those from `recent` on, counted as in scores, are exact:
 * variant 0's. */
static void add_needed(const layer_run *r, kvb_attend_variants *attend, size_t first, size_t recent,
                       size_t *positions) {
    const float *values[KVB_MAX_VARIANTS];
    size_t d = (size_t)r->comparison->v.head_dim;
    for (size_t j = 0; j < attend->len;) {
        size_t n = 0;
        if (!attend->needed[j]) {
            j++;
            continue;
        }
        const size_t end = j < recent ? recent : attend->len;
        while (j + n < end && n < CHUNK && attend->needed[j + n]) {
            positions[n] = j + n;
            n++;
        }
        for (int variant = 0; variant < r->comparison->v.n; variant++)
            values[variant] = r->v_rows + ((j < recent ? (size_t)variant : 0) * r->tokens + first + j) * d;
        kvb_attend_add(attend, positions, n, values);
        j += n;
    }
}

static void run_query(void *argument, size_t index, int worker) {
    layer_run *r = argument;
    kvb_attend_variants *attend = &r->attends[worker];
    size_t position = query_position(r, index), window = (size_t)r->attention.window, positions[CHUNK];
    size_t first = window > 0 && position + 1 > window ? position + 1 - window : 0, len = position + 1 - first;
    size_t d = (size_t)r->comparison->k.head_dim, n_k = (size_t)r->comparison->k.n;
    size_t recent = len > r->exact_last ? len - r->exact_last : 0;
    for (size_t g = 0; g < r->group; g++) {
        const float *q = r->q + ((r->head * r->group + g) * r->tokens + position) * d;
        for (size_t k = 0; k < n_k; k++) {
            float *scores = attend->scores + (g * n_k + k) * attend->shape.max_len;
            kvb_row_dots(r->arithmetic, r->k_rows + (k * r->tokens + first) * d, recent, d, q, scores);
            kvb_row_dots(r->arithmetic, r->k_rows + (first + recent) * d, len - recent, d, q, scores + recent);
        }
    }
    kvb_attend_softmax(attend, len, kvb_measured_logits(r->measured, index, r->head));
    add_needed(r, attend, first, recent, positions);
    kvb_attend_finish(attend, kvb_measured_outputs(r->measured, index, r->head));
}

/* ---- The layer ---- */

/* The NRMSE of the worst of one side's rows after rotation and back. */
static double transform_error_of(const layer_run *r, const kvb_ab_config *config, const float *rows, int head_dim) {
    kvb_codec_spec spec = kvb_codec_spec_default(head_dim, 4);
    kvb_codec *codec = NULL;
    float row[KVB_MAX_HEAD_DIM];
    size_t d = (size_t)head_dim;
    double worst = 0.0;
    spec.rotation = config->rotation;
    spec.sign_seed = config->sign_seed;
    if (kvb_codec_create(&spec, NULL, NULL, &codec, NULL) != KVB_OK)
        return NAN;
    for (size_t j = 0; j < r->tokens * (size_t)r->layer->n_kv_heads; j++) {
        float difference, norm;
        memcpy(row, rows + j * d, d * sizeof *row);
        kvb_rotate(codec, row, d, 1);
        kvb_unrotate(codec, row, d, 1);
        kvb_row_distance(r->arithmetic, rows + j * d, row, d, &difference, &norm);
        worst = fmax(worst, kvb_nrmse(difference, norm));
    }
    kvb_codec_destroy(codec);
    return worst;
}

static float *floats(size_t count, size_t more, size_t still_more) {
    size_t limit = SIZE_MAX / sizeof(float);
    if (count > limit / more || count * more > limit / still_more)
        return NULL;
    return malloc(count * more * still_more * sizeof(float));
}

static kvb_status allocate(layer_run *r, const kvb_ab_config *config, kvb_error *error) {
    const kvb_trace_layer *l = r->layer;
    size_t k_dim = (size_t)l->head_dim, v_dim = (size_t)l->v_head_dim, attend_bytes;
    kvb_attend_shape shape = {.arithmetic = r->arithmetic,
                              .n_q = (int)r->group,
                              .n_k = r->comparison->k.n,
                              .n_combos = r->comparison->n_combos,
                              .combos = r->comparison->combos,
                              .max_len = r->tokens,
                              .v_dim = v_dim,
                              .scale = (float)r->attention.scale,
                              .softcap = (float)r->attention.softcap,
                              .skip = config->skip};
    attend_bytes = kvb_attend_bytes(&shape);
    r->q = floats((size_t)l->n_heads, r->tokens, k_dim);
    r->k = floats((size_t)l->n_kv_heads, r->tokens, k_dim);
    r->v = floats((size_t)l->n_kv_heads, r->tokens, v_dim);
    r->k_rows = floats((size_t)r->comparison->k.n, r->tokens, k_dim);
    r->v_rows = floats((size_t)r->comparison->v.n, r->tokens, v_dim);
    r->attends = calloc((size_t)r->workers, sizeof *r->attends);
    if (attend_bytes > 0 && attend_bytes <= SIZE_MAX / (size_t)r->workers)
        r->memory = malloc((size_t)r->workers * attend_bytes);
    if (!r->q || !r->k || !r->v || !r->k_rows || !r->v_rows || !r->attends || !r->memory)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for layer %d of %zu tokens", l->index, r->tokens);
    for (int i = 0; i < r->workers; i++)
        kvb_attend_init(&r->attends[i], &shape, (char *)r->memory + (size_t)i * attend_bytes);
    return kvb_measured_make(r->measured, r->queries, (size_t)l->n_kv_heads, r->comparison, error);
}

static kvb_status read_sides(layer_run *r, const kvb_trace *trace, int index, kvb_error *error) {
    kvb_status status = kvb_trace_read(trace, index, KVB_SIDE_Q, r->q, error);
    if (status == KVB_OK)
        status = kvb_trace_read(trace, index, KVB_SIDE_K, r->k, error);
    return status == KVB_OK ? kvb_trace_read(trace, index, KVB_SIDE_V, r->v, error) : status;
}

static kvb_status run_heads(layer_run *r, const kvb_parallel *parallel, const kvb_progress *progress,
                            kvb_error *error) {
    size_t heads = (size_t)r->layer->n_kv_heads, chunks = (r->tokens + CHUNK - 1) / CHUNK,
           variants = (size_t)(r->comparison->k.n + r->comparison->v.n);
    for (r->head = 0; r->head < heads; r->head++) {
        kvb_parallel_for(parallel, variants * chunks, store_chunk, r);
        if (r->failure.noted)
            return kvb_error_set(error, r->failure.status, "layer %d: %s", r->layer->index, r->failure.error.text);
        kvb_parallel_for(parallel, r->queries, run_query, r);
        if (progress)
            progress->report(progress->context, "layers", (double)(r->head + 1) / (double)heads);
    }
    kvb_measured_pool(r->measured);
    return KVB_OK;
}

kvb_status kvb_ab_trace_layer(const kvb_ab_config *config, const kvb_trace *trace, int index,
                              const kvb_comparison *comparison, const kvb_arithmetic *arithmetic,
                              const kvb_parallel *parallel, const kvb_progress *progress, kvb_measured *measured,
                              double *transform_error, kvb_error *error) {
    const kvb_trace_layer *layer = kvb_trace_get_layer(trace, index);
    layer_run r = {.layer = layer,
                   .comparison = comparison,
                   .arithmetic = arithmetic,
                   .attention = kvb_layer_attention_of(config, layer),
                   .tokens = (size_t)layer->tokens,
                   .group = (size_t)(layer->n_heads / layer->n_kv_heads),
                   .queries = kvb_layer_queries(config, layer),
                   .query_from = (size_t)first_query(config, layer),
                   .exact_first = (size_t)config->exact_first,
                   .exact_last = (size_t)config->exact_last,
                   .workers = kvb_parallel_workers(parallel),
                   .measured = measured};
    kvb_status status = allocate(&r, config, error);
    if (status == KVB_OK)
        status = read_sides(&r, trace, index, error);
    if (status == KVB_OK) {
        *transform_error = fmax(transform_error_of(&r, config, r.k, layer->head_dim),
                                transform_error_of(&r, config, r.v, layer->v_head_dim));
        status = run_heads(&r, parallel, progress, error);
    }
    free(r.q);
    free(r.k);
    free(r.v);
    free(r.k_rows);
    free(r.v_rows);
    free(r.attends);
    free(r.memory);
    return status;
}
