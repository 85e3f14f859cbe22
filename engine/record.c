#include "record.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDES = 3 };

static const char side_names[SIDES] = {'q', 'k', 'v'};

static int is_wanted(const kvb_record_plan *plan, int layer) {
    if (!plan->layers)
        return 1;
    for (int i = 0; i < plan->n_layers; i++)
        if (plan->layers[i] == layer)
            return 1;
    return 0;
}

/* Values of one token of one side. */
static size_t row_of(const kvb_engine_layer *layer, int side) {
    return (size_t)(side == 0 ? layer->n_heads : layer->n_kv_heads) * (size_t)(side == 2 ? layer->v_dim : layer->k_dim);
}

static size_t side_bytes(const kvb_record_plan *plan, const kvb_engine_layer *layer, int side) {
    return (size_t)(plan->n_tokens - plan->from) * row_of(layer, side) * kvb_dtype_bytes(plan->dtype);
}

static kvb_status check(const kvb_engine *engine, const kvb_record_plan *plan, kvb_error *error) {
    const int n = kvb_engine_get_info(engine)->n_layers;
    for (int i = 0; plan->layers && i < plan->n_layers; i++)
        if (plan->layers[i] < 0 || plan->layers[i] >= n)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "layer %d; the model has layers 0 to %d", plan->layers[i],
                                 n - 1);
    if (plan->from < 0 || plan->from >= plan->n_tokens)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "positions from %d on; the text has positions 0 to %d",
                             plan->from, plan->n_tokens - 1);
    return KVB_OK;
}

kvb_status kvb_record_prepare(kvb_engine *engine, const kvb_record_plan *plan, const kvb_parallel *parallel,
                              kvb_engine_layer *shapes, uint64_t *bytes, kvb_error *error) {
    const int n = kvb_engine_get_info(engine)->n_layers;
    kvb_status status = check(engine, plan, error);
    if (status == KVB_OK)
        status = kvb_engine_layers_find(engine, plan->tokens, plan->n_tokens, parallel, shapes, error);
    *bytes = (uint64_t)(plan->n_tokens - plan->from) * 4;
    for (int l = 0; l < n && status == KVB_OK; l++) {
        if (!(shapes[l].nrmse <= KVB_RECORD_LIMIT))
            return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                                 "layer %d: attention recomputed from its queries, keys and values differs from the "
                                 "engine's by an NRMSE of %.2g (limit %g), so a trace would mislead",
                                 l, shapes[l].nrmse, KVB_RECORD_LIMIT);
        for (int side = 0; is_wanted(plan, l) && side < SIDES; side++)
            *bytes += side_bytes(plan, &shapes[l], side);
    }
    return status;
}

/* ---- The header ---- */

static void add_tensor(json_t *header, const char *name, const char *dtype, const size_t shape[3], int rank, size_t *at,
                       size_t bytes) {
    json_t *sizes = json_array();
    for (int i = 0; i < rank; i++)
        json_array_append_new(sizes, json_integer((json_int_t)shape[i]));
    json_object_set_new(header, name,
                        json_pack("{s:s, s:o, s:[I,I]}", "dtype", dtype, "shape", sizes, "data_offsets",
                                  (json_int_t)*at, (json_int_t)(*at + bytes)));
    *at += bytes;
}

static void set_number(json_t *metadata, const char *key, int layer, double value) {
    char name[64], text[32];
    if (layer < 0)
        snprintf(name, sizeof name, "%s", key);
    else
        snprintf(name, sizeof name, "layers.%d.%s", layer, key);
    snprintf(text, sizeof text, "%.9g", value);
    json_object_set_new(metadata, name, json_string(text));
}

static json_t *make_metadata(const kvb_engine *engine, const kvb_record_plan *plan, const kvb_engine_layer *shapes) {
    const kvb_engine_info *info = kvb_engine_get_info(engine);
    json_t *metadata =
        json_pack("{s:s, s:s, s:s, s:s}", "model", info->name[0] ? info->name : plan->model, "license",
                  info->license[0] ? info->license : "unknown", "model_file", plan->model, "text", plan->text);
    char how[160];
    snprintf(how, sizeof how, "kvbits record %s, %s%s", kvb_version(), info->software,
             info->weights_expanded ? ", weights expanded to floats" : "");
    json_object_set_new(metadata, "recorded_with", json_string(how));
    for (int l = 0; l < info->n_layers; l++)
        if (is_wanted(plan, l)) {
            set_number(metadata, "scale", l, shapes[l].scale);
            set_number(metadata, "softcap", l, shapes[l].softcap);
            set_number(metadata, "window", l, shapes[l].window);
        }
    return metadata;
}

/* The header's text, a multiple of 8 bytes; offsets gets where each layer's sides begin in the data. */
static char *make_header(const kvb_engine *engine, const kvb_record_plan *plan, const kvb_engine_layer *shapes,
                         size_t (*offsets)[SIDES], size_t *data) {
    static const char *const dtypes[] = {"F32", "F16", "BF16"};
    const size_t tokens = (size_t)(plan->n_tokens - plan->from);
    json_t *header = json_object();
    *data = 0;
    json_object_set_new(header, "__metadata__", make_metadata(engine, plan, shapes));
    add_tensor(header, "positions", "I32", (const size_t[]){tokens, 0, 0}, 1, data, 4 * tokens);
    for (int l = 0; l < kvb_engine_get_info(engine)->n_layers; l++)
        for (int side = 0; is_wanted(plan, l) && side < SIDES; side++) {
            char name[48];
            const size_t heads = (size_t)(side == 0 ? shapes[l].n_heads : shapes[l].n_kv_heads);
            snprintf(name, sizeof name, "layers.%d.%c", l, side_names[side]);
            offsets[l][side] = *data;
            add_tensor(header, name, dtypes[plan->dtype],
                       (const size_t[]){tokens, heads, row_of(&shapes[l], side) / heads}, 3, data,
                       side_bytes(plan, &shapes[l], side));
        }
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    const size_t length = text ? strlen(text) : 0, padded = (length + 7) / 8 * 8;
    char *whole = text ? malloc(padded + 1) : NULL;
    if (whole) {
        memcpy(whole, text, length);
        memset(whole + length, ' ', padded - length);
        whole[padded] = 0;
    }
    free(text);
    return whole;
}

/* ---- The values ---- */

typedef struct recorder {
    const kvb_record_plan *plan;
    const kvb_engine_layer *shapes;
    size_t (*offsets)[SIDES];
    char *data;
} recorder;

static int put_value(char *to, kvb_dtype dtype, float value) {
    const uint16_t half = dtype == KVB_F16 ? kvb_f32_to_f16(value) : kvb_f32_to_bf16(value);
    if (dtype == KVB_F32)
        memcpy(to, &value, sizeof value);
    else
        memcpy(to, &half, sizeof half);
    return isfinite(value) && isfinite(dtype == KVB_F16 ? kvb_f16_to_f32(half) : value);
}

static kvb_status put_side(const recorder *r, const kvb_engine_attention *a, int side, const float *rows,
                           kvb_error *error) {
    const size_t row = row_of(&r->shapes[a->layer], side), bytes = kvb_dtype_bytes(r->plan->dtype);
    for (int64_t i = 0; i < a->n_tokens; i++) {
        const int64_t at = a->position + i - r->plan->from;
        if (at < 0)
            continue;
        char *to = r->data + r->offsets[a->layer][side] + (size_t)at * row * bytes;
        for (size_t c = 0; c < row; c++)
            if (!put_value(to + c * bytes, r->plan->dtype, rows[(size_t)i * row + c]))
                return kvb_error_set(error, KVB_ERROR_NOT_FINITE,
                                     "layers.%d.%c reaches %g, which the chosen dtype cannot hold: use --dtype bf16 or "
                                     "--dtype f32",
                                     a->layer, side_names[side], (double)rows[(size_t)i * row + c]);
    }
    return KVB_OK;
}

static kvb_status record(void *context, const kvb_engine_attention *a, kvb_error *error) {
    const recorder *r = context;
    const float *rows[SIDES] = {a->q, a->k, a->v};
    kvb_status status = KVB_OK;
    for (int side = 0; is_wanted(r->plan, a->layer) && side < SIDES && status == KVB_OK; side++)
        status = put_side(r, a, side, rows[side], error);
    return status;
}

/* A window shows itself only where the text is longer: then the shapes, from its first tokens, do not know it yet. */
static kvb_status find_window(void *context, const kvb_engine_attention *a, kvb_error *error) {
    kvb_engine_layer *shapes = context;
    (void)error;
    if (a->window)
        shapes[a->layer].window = a->window;
    return KVB_OK;
}

static void put_positions(char *to, const kvb_record_plan *plan) {
    for (int32_t p = plan->from; p < plan->n_tokens; p++, to += 4)
        for (int b = 0; b < 4; b++)
            to[b] = (char)((uint32_t)p >> (8 * b) & 255);
}

kvb_status kvb_record_run(kvb_engine *engine, const kvb_record_plan *plan, const kvb_engine_layer *shapes, char **file,
                          size_t *size, kvb_error *error) {
    const size_t n = (size_t)kvb_engine_get_info(engine)->n_layers;
    size_t data = 0, length = 0;
    *file = NULL;
    *size = 0;
    kvb_engine_layer *known = malloc(n * sizeof *known);
    size_t(*offsets)[SIDES] = calloc(n, sizeof *offsets);
    char *header = NULL;
    kvb_status status = known && offsets ? KVB_OK : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a trace");
    if (status == KVB_OK) {
        const kvb_engine_hook windows = {known, find_window};
        memcpy(known, shapes, n * sizeof *known);
        status = kvb_engine_run(engine, 0, plan->tokens, plan->n_tokens, &windows, NULL, error);
    }
    if (status == KVB_OK) {
        header = make_header(engine, plan, known, offsets, &data);
        length = header ? strlen(header) : 0;
        *file = header ? malloc(8 + length + data) : NULL;
        if (!*file)
            status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a trace of %zu bytes", data);
    }
    if (status == KVB_OK) {
        recorder r = {plan, known, offsets, *file + 8 + length};
        const kvb_engine_hook hook = {&r, record};
        for (int b = 0; b < 8; b++)
            (*file)[b] = (char)((uint64_t)length >> (8 * b) & 255);
        memcpy(*file + 8, header, length);
        put_positions(r.data, plan);
        *size = 8 + length + data;
        status = kvb_engine_run(engine, 0, plan->tokens, plan->n_tokens, &hook, NULL, error);
    }
    if (status != KVB_OK) {
        free(*file);
        *file = NULL;
    }
    free(header);
    free(offsets);
    free(known);
    return status;
}
