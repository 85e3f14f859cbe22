#include <math.h>
#include <stdio.h>
#include <string.h>

#include "result.h"
#include "writer.h"

/* Limits on what a report is asked to draw; far above what the experiment writes. */
enum { MAX_CELLS = 100000, MAX_LAYERS = 1024, MAX_THRESHOLDS = 16, MAX_NAME = 31, MAX_STRING = 4096 };

/* Types of a field; a required field may not be missing or null. */
typedef enum field_type { SIZE, FIGURE, NUMBER, NAME, STRING, FLAG, LIST, OBJECT } field_type;

typedef struct field {
    const char *key;
    field_type type;
    int required;
} field;

#define OPTIONAL(key, type)                                                                                            \
    { key, type, 0 }
#define REQUIRED(key, type)                                                                                            \
    { key, type, 1 }

static const char *const type_names[] = {
    "a whole number from 0 to 2147483647", "a number of at least 0", "a number", "a name of 1 to 31 characters",
    "a text of at most 4096 bytes",        "true or false",          "an array", "an object",
};

static int fits(const json_t *value, field_type type) {
    switch (type) {
    case SIZE:
        return json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= 2147483647;
    case FIGURE:
        return json_is_number(value) && json_number_value(value) >= 0;
    case NUMBER:
        return json_is_number(value);
    case NAME:
        return json_is_string(value) && json_string_length(value) > 0 && json_string_length(value) <= MAX_NAME;
    case STRING:
        return json_is_string(value) && json_string_length(value) <= MAX_STRING;
    case FLAG:
        return json_is_boolean(value);
    case LIST:
        return json_is_array(value);
    case OBJECT:
        return json_is_object(value);
    }
    return 0;
}

static kvb_status check_fields(const json_t *object, const char *where, const field *fields, kvb_error *error) {
    if (!json_is_object(object)) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "not a result.json: %s must be an object", where);
    }
    for (const field *f = fields; f->key != NULL; f++) {
        const json_t *value = json_object_get(object, f->key);
        if (value == NULL || json_is_null(value)) {
            if (f->required) {
                return kvb_error_set(error, KVB_ERROR_FORMAT, "not a result.json: %s lacks \"%s\", %s", where, f->key,
                                     type_names[f->type]);
            }
        } else if (!fits(value, f->type)) {
            return kvb_error_set(error, KVB_ERROR_FORMAT, "not a result.json: \"%s\" of %s must be %s", f->key, where,
                                 type_names[f->type]);
        }
    }
    return KVB_OK;
}

/* Checks the array of objects under `key`; `owner` (may be empty) precedes it in the sentence. */
static kvb_status check_cells(const json_t *object, const char *owner, const char *key, const field *fields,
                              kvb_error *error) {
    const json_t *array = json_object_get(object, key);
    if (array == NULL || json_is_null(array)) {
        return KVB_OK;
    }
    if (!json_is_array(array) || json_array_size(array) > MAX_CELLS) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "not a result.json: %s%s must be an array of at most %d entries",
                             owner, key, MAX_CELLS);
    }
    size_t i;
    json_t *cell;
    json_array_foreach(array, i, cell) {
        char where[96];
        snprintf(where, sizeof where, "%s%s[%zu]", owner, key, i);
        kvb_status status = check_fields(cell, where, fields, error);
        if (status != KVB_OK) {
            return status;
        }
    }
    return KVB_OK;
}

static const field document_fields[] = {REQUIRED("kvbits", OBJECT),
                                        OPTIONAL("seed", NAME),
                                        OPTIONAL("shape", OBJECT),
                                        OPTIONAL("kv_seq_lens", LIST),
                                        OPTIONAL("bit_widths", LIST),
                                        OPTIONAL("n_trials_per_sdpa_cell", SIZE),
                                        OPTIONAL("decision_threshold_nrmse", FIGURE),
                                        OPTIONAL("decision_threshold_alt_nrmse", FIGURE),
                                        OPTIONAL("configuration", OBJECT),
                                        OPTIONAL("lloyd_max_convergence", OBJECT),
                                        OPTIONAL("codebook_sources", OBJECT),
                                        OPTIONAL("codebooks", OBJECT),
                                        OPTIONAL("codebook_4bit_sanity_gate", OBJECT),
                                        OPTIONAL("sdpa_sanity_gate", OBJECT),
                                        OPTIONAL("worst_nrmse", OBJECT),
                                        OPTIONAL("trace", OBJECT),
                                        OPTIONAL("verdict", STRING),
                                        OPTIONAL("verdict_at_threshold_015", STRING),
                                        OPTIONAL("verdict_rationale", STRING),
                                        {0}};

static const field round_trip_fields[] = {REQUIRED("bit_width", SIZE),    REQUIRED("case", NAME),
                                          REQUIRED("head_dim", SIZE),     REQUIRED("nrmse_mean", FIGURE),
                                          OPTIONAL("nrmse_std", FIGURE),  OPTIONAL("nrmse_low", NUMBER),
                                          OPTIONAL("nrmse_high", FIGURE), {0}};

static const field attention_fields[] = {REQUIRED("bit_width", SIZE),    REQUIRED("kv_seq_len", SIZE),
                                         OPTIONAL("n_trials", SIZE),     REQUIRED("nrmse_mean", FIGURE),
                                         OPTIONAL("nrmse_std", FIGURE),  OPTIONAL("nrmse_low", NUMBER),
                                         OPTIONAL("nrmse_high", FIGURE), {0}};

static const field pair_fields[] = {REQUIRED("k", NAME),
                                    REQUIRED("v", NAME),
                                    OPTIONAL("k_stored_bits", FIGURE),
                                    OPTIONAL("v_stored_bits", FIGURE),
                                    OPTIONAL("average_bits", FIGURE),
                                    OPTIONAL("kv_seq_len", SIZE),
                                    OPTIONAL("n_trials", SIZE),
                                    REQUIRED("nrmse_mean", FIGURE),
                                    OPTIONAL("nrmse_std", FIGURE),
                                    OPTIONAL("nrmse_p999", FIGURE),
                                    OPTIONAL("nrmse_low", NUMBER),
                                    OPTIONAL("nrmse_high", FIGURE),
                                    OPTIONAL("cosine_mean", NUMBER),
                                    OPTIONAL("k_only_mean", FIGURE),
                                    OPTIONAL("k_only_low", NUMBER),
                                    OPTIONAL("k_only_high", FIGURE),
                                    OPTIONAL("v_only_mean", FIGURE),
                                    OPTIONAL("v_only_low", NUMBER),
                                    OPTIONAL("v_only_high", FIGURE),
                                    OPTIONAL("redraw_mean", FIGURE),
                                    OPTIONAL("redraw_std", FIGURE),
                                    OPTIONAL("redraw_low", NUMBER),
                                    OPTIONAL("redraw_high", FIGURE),
                                    {0}};

static const field logit_fields[] = {REQUIRED("k", NAME),
                                     OPTIONAL("kv_seq_len", SIZE),
                                     OPTIONAL("logit_rmse", FIGURE),
                                     OPTIONAL("softmax_kl", NUMBER),
                                     OPTIONAL("softmax_kl_p999", NUMBER),
                                     OPTIONAL("top1_flips", FIGURE),
                                     OPTIONAL("top5_flips", FIGURE),
                                     {0}};

static const field worst_fields[] = {REQUIRED("k", NAME),
                                     REQUIRED("v", NAME),
                                     REQUIRED("average_bits", FIGURE),
                                     OPTIONAL("kv_seq_len", SIZE),
                                     OPTIONAL("layer", SIZE),
                                     REQUIRED("nrmse_worst", FIGURE),
                                     OPTIONAL("nrmse_low", NUMBER),
                                     OPTIONAL("nrmse_high", FIGURE),
                                     OPTIONAL("nrmse_average", FIGURE),
                                     OPTIONAL("passes", LIST),
                                     {0}};

static const field needed_fields[] = {REQUIRED("threshold", FIGURE),     OPTIONAL("k_bits_alone", FIGURE),
                                      OPTIONAL("v_bits_alone", FIGURE),  OPTIONAL("symmetric_bits", SIZE),
                                      OPTIONAL("cheapest_pair", OBJECT), {0}};

static const field cheapest_fields[] = {
    REQUIRED("k", NAME), REQUIRED("v", NAME), OPTIONAL("average_bits", FIGURE), OPTIONAL("nrmse", FIGURE), {0}};

static const field comparison_fields[] = {REQUIRED("a", NAME),
                                          REQUIRED("b", NAME),
                                          OPTIONAL("kv_seq_len", SIZE),
                                          OPTIONAL("layer", SIZE),
                                          REQUIRED("difference_mean", NUMBER),
                                          OPTIONAL("difference_low", NUMBER),
                                          OPTIONAL("difference_high", NUMBER),
                                          {0}};

static const field check_entry_fields[] = {
    REQUIRED("name", STRING), REQUIRED("passed", FLAG), OPTIONAL("detail", STRING), {0}};

static const field layer_fields[] = {
    REQUIRED("layer", SIZE),        OPTIONAL("tokens", SIZE),     OPTIONAL("num_heads", SIZE),
    OPTIONAL("num_kv_heads", SIZE), OPTIONAL("head_dim", SIZE),   OPTIONAL("v_head_dim", SIZE),
    OPTIONAL("scale", NUMBER),      OPTIONAL("softcap", NUMBER),  OPTIONAL("window", SIZE),
    OPTIONAL("queries", SIZE),      OPTIONAL("pair_cells", LIST), OPTIONAL("logit_cells", LIST),
    OPTIONAL("needed", LIST),       OPTIONAL("verdicts", LIST),   {0}};

/* The entries that a layer shares with the document. */
static kvb_status check_measures(const json_t *object, const char *owner, kvb_error *error) {
    kvb_status status = check_cells(object, owner, "pair_cells", pair_fields, error);
    if (status == KVB_OK) {
        status = check_cells(object, owner, "logit_cells", logit_fields, error);
    }
    if (status == KVB_OK) {
        status = check_cells(object, owner, "needed", needed_fields, error);
    }
    if (status == KVB_OK && json_array_size(json_object_get(object, "needed")) > MAX_THRESHOLDS) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "not a result.json: %sneeded must have at most %d entries", owner,
                             MAX_THRESHOLDS);
    }
    size_t i;
    json_t *needed;
    json_array_foreach(json_object_get(object, "needed"), i, needed) {
        const json_t *pair = json_object_get(needed, "cheapest_pair");
        if (status == KVB_OK && pair != NULL && !json_is_null(pair)) {
            char where[96];
            snprintf(where, sizeof where, "%sneeded[%zu].cheapest_pair", owner, i);
            status = check_fields(pair, where, cheapest_fields, error);
        }
    }
    return status;
}

static kvb_status check_layers(const json_t *document, kvb_error *error) {
    const json_t *layers = json_object_get(document, "layers");
    if (json_array_size(layers) > MAX_LAYERS) {
        return kvb_error_set(error, KVB_ERROR_FORMAT, "not a result.json: layers has %zu entries, at most %d are legal",
                             json_array_size(layers), MAX_LAYERS);
    }
    kvb_status status = check_cells(document, "", "layers", layer_fields, error);
    size_t i;
    json_t *layer;
    json_array_foreach(layers, i, layer) {
        if (status == KVB_OK) {
            char owner[64];
            snprintf(owner, sizeof owner, "layers[%zu].", i);
            status = check_measures(layer, owner, error);
        }
    }
    return status;
}

kvb_status kvb_result_validate(const json_t *document, kvb_error *error) {
    static const struct {
        const char *key;
        const field *fields;
    } tables[] = {{"round_trip_cells", round_trip_fields},
                  {"sdpa_cells", attention_fields},
                  {"worst_pairs", worst_fields},
                  {"paired_comparisons", comparison_fields},
                  {"checks", check_entry_fields}};
    kvb_status status = check_fields(document, "the document", document_fields, error);
    if (status != KVB_OK) {
        return status;
    }
    const json_t *kind = json_object_get(json_object_get(document, "kvbits"), "kind");
    const char *name = json_is_string(kind) ? json_string_value(kind) : "";
    if (strcmp(name, "synthetic") != 0 && strcmp(name, "trace") != 0) {
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "not a result.json: \"kind\" of \"kvbits\" must be \"synthetic\" or \"trace\"");
    }
    for (size_t i = 0; i < sizeof tables / sizeof *tables && status == KVB_OK; i++) {
        status = check_cells(document, "", tables[i].key, tables[i].fields, error);
    }
    if (status == KVB_OK) {
        status = check_measures(document, "", error);
    }
    return status == KVB_OK ? check_layers(document, error) : status;
}
