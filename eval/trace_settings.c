#include "trace.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Wide enough for any model, narrow enough that logits of finite queries and keys stay far from overflow. */
#define MIN_FACTOR 1e-6
#define MAX_FACTOR 1e6

/* Metadata are strings; the number inside follows JSON's grammar, whose reader heeds no locale. */
static json_t *load_number(const char *text) {
    json_t *value = json_loadb(text, strlen(text), JSON_DECODE_ANY, NULL);
    if (!json_is_number(value)) {
        json_decref(value);
        return NULL;
    }
    return value;
}

/* The layer's own entry before the file's. */
static const char *find(const kvb_trace *trace, int index, const char *setting, char key[64]) {
    snprintf(key, 64, "layers.%d.%s", index, setting);
    const char *text = kvb_safetensors_metadata(&trace->file, key);
    if (!text) {
        snprintf(key, 64, "%s", setting);
        text = kvb_safetensors_metadata(&trace->file, key);
    }
    return text;
}

/* A real within [MIN_FACTOR, MAX_FACTOR], or 0 where that means "none". Leaves *out alone when absent. */
static kvb_status read_factor(const kvb_trace *trace, int index, const char *setting, int zero_is_legal, double *out,
                              kvb_error *error) {
    char key[64], shown[KVB_DISPLAY_BYTES];
    const char *text = find(trace, index, setting, key);
    if (!text) {
        return KVB_OK;
    }
    json_t *number = load_number(text);
    const double value = number ? json_number_value(number) : NAN;
    json_decref(number);
    if (!(value >= MIN_FACTOR && value <= MAX_FACTOR) && !(zero_is_legal && value == 0)) {
        kvb_display(shown, text);
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: metadata %s is \"%s\", but must be a number from %g to %g%s",
                             trace->file.file, key, shown, MIN_FACTOR, MAX_FACTOR,
                             zero_is_legal ? ", or 0 for none" : "");
    }
    *out = value;
    return KVB_OK;
}

static kvb_status read_window(const kvb_trace *trace, int index, int *out, kvb_error *error) {
    char key[64], shown[KVB_DISPLAY_BYTES];
    const char *text = find(trace, index, "window", key);
    if (!text) {
        return KVB_OK;
    }
    json_t *number = load_number(text);
    const json_int_t value = json_is_integer(number) ? json_integer_value(number) : -1;
    json_decref(number);
    if (value < 0 || value > INT_MAX) {
        kvb_display(shown, text);
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: metadata %s is \"%s\", but must be a whole number of tokens from 0 (none) to %d",
                             trace->file.file, key, shown, INT_MAX);
    }
    *out = (int)value;
    return KVB_OK;
}

kvb_status kvb_trace_read_settings(kvb_trace *trace, kvb_error *error) {
    kvb_status status = KVB_OK;
    for (int i = 0; !status && i < trace->n_layers; i++) {
        kvb_trace_layer *layer = &trace->layers[i];
        layer->scale = 1 / sqrt(layer->head_dim);
        status = read_factor(trace, layer->index, "scale", 0, &layer->scale, error);
        if (!status) {
            status = read_factor(trace, layer->index, "softcap", 1, &layer->softcap, error);
        }
        if (!status) {
            status = read_window(trace, layer->index, &layer->window, error);
        }
    }
    return status;
}
