#include "stand_in.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_TOKENS = 64 };

static size_t budget_of(const kvb_layer_spec *layers, int n_layers, int context) {
    size_t bytes = 1 << 20;
    for (int i = 0; i < n_layers; i++) {
        kvb_layer_cost cost;
        if (kvb_layer_cost_of(&layers[i], PAGE_TOKENS, context, &cost, NULL) == KVB_OK)
            bytes += (size_t)(cost.n_pages + 2) * cost.page_bytes + cost.exact_bytes + 4096;
    }
    return bytes;
}

kvb_status kvb_stand_in_create(const kvb_layer_spec *layers, int n_layers, int context, const kvb_parallel *parallel,
                               kvb_stand_in *out, kvb_error *error) {
    kvb_layer_spec *open = malloc((size_t)n_layers * sizeof *open);
    *out = (kvb_stand_in){.sequence = -1, .n_layers = n_layers, .parallel = parallel};
    out->error = calloc((size_t)n_layers, sizeof *out->error);
    out->power = calloc((size_t)n_layers, sizeof *out->power);
    kvb_status status = KVB_OK;
    if (!open || !out->error || !out->power)
        status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %d layers", n_layers);
    for (int i = 0; i < n_layers && status == KVB_OK; i++) {
        open[i] = layers[i];
        open[i].window = 0;
        out->one_by_one |= layers[i].exact_last > 0;
    }
    if (status == KVB_OK) {
        const kvb_cache_spec spec = {.layers = open,
                                     .n_layers = n_layers,
                                     .page_tokens = PAGE_TOKENS,
                                     .max_sequences = 1,
                                     .max_tokens = context,
                                     .budget = budget_of(open, n_layers, context)};
        status = kvb_cache_create(&spec, NULL, NULL, &out->cache, error);
    }
    free(open);
    if (status != KVB_OK)
        kvb_stand_in_destroy(out);
    return status;
}

void kvb_stand_in_destroy(kvb_stand_in *in) {
    kvb_cache_destroy(in->cache);
    free(in->scratch);
    free(in->out);
    free(in->error);
    free(in->power);
    *in = (kvb_stand_in){.sequence = -1};
}

kvb_status kvb_stand_in_begin(kvb_stand_in *in, kvb_error *error) {
    memset(in->error, 0, (size_t)in->n_layers * sizeof *in->error);
    memset(in->power, 0, (size_t)in->n_layers * sizeof *in->power);
    if (in->sequence >= 0)
        kvb_cache_free_sequence(in->cache, in->sequence);
    in->sequence = -1;
    return kvb_cache_open_sequence(in->cache, &in->sequence, error);
}

static kvb_status grow(kvb_stand_in *in, size_t scratch_bytes, size_t values, kvb_error *error) {
    if (in->scratch_bytes < scratch_bytes) {
        free(in->scratch);
        in->scratch = malloc(scratch_bytes);
        in->scratch_bytes = in->scratch ? scratch_bytes : 0;
    }
    if (in->out_values < values) {
        free(in->out);
        in->out = malloc(values * sizeof *in->out);
        in->out_values = in->out ? values : 0;
    }
    if (in->scratch_bytes < scratch_bytes || in->out_values < values)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for attention");
    return KVB_OK;
}

/* Appends tokens first .. first + n - 1 of the batch and attends from them. */
static kvb_status step(kvb_stand_in *in, const kvb_engine_attention *a, int first, int n, kvb_error *error) {
    const size_t q_row = (size_t)a->n_heads * (size_t)a->k_dim, out_row = (size_t)a->n_heads * (size_t)a->v_dim;
    const size_t k_row = (size_t)a->n_kv_heads * (size_t)a->k_dim, v_row = (size_t)a->n_kv_heads * (size_t)a->v_dim;
    const kvb_kv_rows rows = {
        .k = a->k + (size_t)first * k_row, .v = a->v + (size_t)first * v_row, .dtype = KVB_F32, .n_tokens = n};
    kvb_kv_view view;
    kvb_status status = kvb_cache_append(in->cache, in->sequence, a->layer, &rows, error);
    if (status == KVB_OK)
        status = kvb_cache_view(in->cache, in->sequence, a->layer, &view, error);
    if (status != KVB_OK)
        return status;
    view.window = a->window;
    const kvb_attend_item item = {.kv = &view,
                                  .n_q = n,
                                  .n_heads = a->n_heads,
                                  .q = a->q + (size_t)first * q_row,
                                  .q_dtype = KVB_F32,
                                  .q_token_stride = q_row,
                                  .q_head_stride = (size_t)a->k_dim,
                                  .out = in->out + (size_t)first * out_row,
                                  .out_token_stride = out_row,
                                  .out_head_stride = (size_t)a->v_dim,
                                  .scale = a->scale,
                                  .softcap = a->softcap,
                                  .precision = KVB_PRECISION_PRECISE};
    const size_t bytes = kvb_attend_scratch_bytes(NULL, &item, 1, in->parallel);
    if (bytes > in->scratch_bytes)
        status = grow(in, bytes, 0, error);
    if (status == KVB_OK)
        status = kvb_attend(NULL, &item, 1, in->scratch, in->scratch_bytes, in->parallel, error);
    return status;
}

static kvb_status attend(void *context, const kvb_engine_attention *a, kvb_error *error) {
    kvb_stand_in *in = context;
    const size_t values = (size_t)a->n_tokens * (size_t)a->n_heads * (size_t)a->v_dim;
    if (a->layer >= in->n_layers)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "layer %d of a cache of %d layers", a->layer, in->n_layers);
    const int n = in->one_by_one ? 1 : a->n_tokens;
    kvb_status status = grow(in, 1, values, error);
    for (int i = 0; i < a->n_tokens && status == KVB_OK; i += n)
        status = step(in, a, i, n, error);
    if (status == KVB_OK && a->layer == in->n_layers - 1)
        status = kvb_cache_commit(in->cache, in->sequence, error);
    if (status != KVB_OK)
        return status;
    double squares = 0, power = 0;
    for (size_t i = 0; i < values; i++) {
        const double difference = (double)in->out[i] - (double)a->out[i];
        squares += difference * difference;
        power += (double)a->out[i] * (double)a->out[i];
    }
    in->error[a->layer] += squares;
    in->power[a->layer] += power;
    memcpy(a->out, in->out, values * sizeof *in->out);
    return KVB_OK;
}

kvb_engine_hook kvb_stand_in_hook(kvb_stand_in *in) {
    return (kvb_engine_hook){.context = in, .attention = attend};
}
