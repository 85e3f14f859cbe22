/* A plan as JSON (docs/plan.md) and back. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "display.h"
#include "document.h"
#include "json_file.h"
#include "plan.h"
#include "result.h"

enum { FORMAT = 1 };
static const char what[] = "plan";

void kvb_plan_free(kvb_plan *plan) {
    for (int l = 0; plan && l < plan->n_layers; l++)
        free(plan->layers[l].k_mean);
    if (plan)
        free(plan->layers);
    free(plan);
}

kvb_plan *kvb_plan_new(int n_layers, kvb_error *error) {
    kvb_plan *plan = calloc(1, sizeof *plan);
    if (plan && (plan->layers = calloc((size_t)n_layers, sizeof *plan->layers))) {
        plan->n_layers = n_layers;
        return plan;
    }
    free(plan);
    (void)kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a plan of %d layers", n_layers);
    return NULL;
}

/* ---- Writing ---- */

static json_t *figure_or_null(double value) {
    return isnan(value) ? json_null() : kvb_json_real(value);
}

static json_t *width_number(const kvb_codec_spec *side) {
    return side->half_bit ? json_real(side->bits + 0.5) : json_integer(side->bits);
}

static json_t *side_object(const kvb_codec_spec *side) {
    char seed[24];
    if (side->bits == KVB_DENSE_BITS)
        return json_pack("{s:i, s:i}", "head_dim", side->head_dim, "bits", side->bits);
    snprintf(seed, sizeof seed, "0x%" PRIX64, side->sign_seed);
    return json_pack("{s:i, s:o, s:i, s:s, s:s, s:s, s:s}", "head_dim", side->head_dim, "bits", width_number(side),
                     "trellis_states", side->trellis_states, "rotation", kvb_rotation_name(side->rotation), "sign_seed",
                     seed, "scale", kvb_scale_kind_name(side->scale), "scale_dtype",
                     side->scale_dtype == KVB_F16 ? "f16" : "f32");
}

/* [kv head][head_dim] */
static json_t *mean_array(const kvb_plan_layer *layer) {
    const int dim = layer->spec.k.head_dim;
    json_t *heads = json_array();
    int bad = 0;
    for (int h = 0; h < layer->spec.n_kv_heads; h++) {
        json_t *values = json_array();
        for (int i = 0; i < dim; i++)
            bad |= json_array_append_new(values, kvb_json_real((double)layer->k_mean[h * dim + i]));
        bad |= json_array_append_new(heads, values);
    }
    if (!bad)
        return heads;
    json_decref(heads);
    return NULL;
}

static json_t *layer_object(const kvb_plan_layer *layer) {
    const kvb_layer_spec *spec = &layer->spec;
    json_t *object = json_pack("{s:i, s:i, s:o, s:o, s:s, s:i, s:i, s:i}", "layer", layer->index, "n_kv_heads",
                               spec->n_kv_heads, "k", side_object(&spec->k), "v", side_object(&spec->v), "dense",
                               spec->dense == KVB_F16 ? "f16" : "bf16", "window", spec->window, "exact_first",
                               spec->exact_first, "exact_last", spec->exact_last);
    int bad = json_object_set_new(object, "k_error", figure_or_null(layer->k_error));
    bad |= json_object_set_new(object, "v_error", figure_or_null(layer->v_error));
    if (layer->k_mean)
        bad |= json_object_set_new(object, "k_mean", mean_array(layer));
    bad |= json_object_set_new(object, "predicted", figure_or_null(layer->predicted));
    bad |= json_object_set_new(object, "measured", figure_or_null(layer->measured));
    if (!bad)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *uniform_object(const kvb_plan_uniform *uniform) {
    if (uniform->k_bits == 0)
        return json_null();
    return json_pack("{s:i, s:i, s:o, s:o, s:o, s:o}", "k_bits", uniform->k_bits, "v_bits", uniform->v_bits,
                     "bits_per_value", figure_or_null(uniform->bits_per_value), "predicted",
                     figure_or_null(uniform->predicted), "measured", figure_or_null(uniform->measured), "predicted_kl",
                     figure_or_null(uniform->predicted_kl));
}

kvb_status kvb_plan_json(const kvb_plan *plan, char **text, kvb_error *error) {
    json_t *layers = json_array();
    json_t *root = json_pack("{s:i, s:s, s:o, s:o, s:I}", "kvbits_plan", FORMAT, "kvbits", kvb_version(), "source",
                             kvb_json_name(plan->source), "bits_per_value", kvb_json_real(plan->bits_per_value),
                             "bytes_per_token", (json_int_t)plan->bytes_per_token);
    int bad = json_object_set_new(root, "tokens", json_integer((json_int_t)plan->tokens));
    bad |= json_object_set_new(root, "bytes", json_integer((json_int_t)plan->bytes));
    bad |= json_object_set_new(root, "predicted", figure_or_null(plan->predicted));
    bad |= json_object_set_new(root, "measured", figure_or_null(plan->measured));
    bad |= json_object_set_new(root, "predicted_kl", figure_or_null(plan->predicted_kl));
    bad |= json_object_set_new(root, "rank_correlation", figure_or_null(plan->rank_correlation));
    bad |= json_object_set_new(root, "uniform", uniform_object(&plan->uniform));
    for (int l = 0; l < plan->n_layers; l++)
        bad |= json_array_append_new(layers, layer_object(&plan->layers[l]));
    bad |= json_object_set_new(root, "layers", layers);
    char *dumped = bad ? NULL : json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    json_decref(root);
    *text = dumped ? malloc(strlen(dumped) + 2) : NULL;
    if (*text)
        sprintf(*text, "%s\n", dumped);
    free(dumped);
    return *text ? KVB_OK : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the plan's text");
}

/* ---- Reading ---- */

/* Where a value stands, for errors: file, layer (-1: none), side ("": none). */
typedef struct place {
    const char *shown, *side;
    int layer;
    kvb_error *error;
} place;

static kvb_status refuse(const place *p, const char *key, const char *legal) {
    if (p->layer < 0)
        return kvb_error_set(p->error, KVB_ERROR_FORMAT, "%s: \"%s\" must be %s", p->shown, key, legal);
    return kvb_error_set(p->error, KVB_ERROR_FORMAT, "%s: \"%s\" of layers[%d]%s must be %s", p->shown, key, p->layer,
                         p->side, legal);
}

static kvb_status read_int(const place *p, const json_t *object, const char *key, int low, int high, int *out) {
    char legal[64];
    const json_t *value = json_object_get(object, key);
    snprintf(legal, sizeof legal, "a whole number from %d to %d", low, high);
    if (!json_is_integer(value) || json_integer_value(value) < low || json_integer_value(value) > high)
        return refuse(p, key, legal);
    *out = (int)json_integer_value(value);
    return KVB_OK;
}

/* The number of the name in "a|b|c". */
static kvb_status read_choice(const place *p, const json_t *object, const char *key, const char *names, int *out) {
    char legal[80];
    const char *value = json_string_value(json_object_get(object, key)), *at = names;
    for (int i = 0; value && at; i++) {
        const char *end = strchr(at, '|');
        size_t length = end ? (size_t)(end - at) : strlen(at);
        if (strlen(value) == length && memcmp(value, at, length) == 0) {
            *out = i;
            return KVB_OK;
        }
        at = end ? end + 1 : NULL;
    }
    snprintf(legal, sizeof legal, "one of the strings %s", names);
    return refuse(p, key, legal);
}

/* A missing or null figure is NaN. */
static kvb_status read_figure(const place *p, const json_t *object, const char *key, double low, double *out) {
    char legal[64];
    const json_t *value = json_object_get(object, key);
    *out = json_is_number(value) ? json_number_value(value) : NAN;
    if (!value || json_is_null(value) || *out >= low)
        return KVB_OK;
    snprintf(legal, sizeof legal, "a number from %d on, or null", (int)low);
    return refuse(p, key, legal);
}

static kvb_status read_seed(const place *p, const json_t *object, uint64_t *out) {
    const char *text = json_string_value(json_object_get(object, "sign_seed"));
    size_t digits = text && text[0] == '0' && text[1] == 'x' ? strspn(text + 2, "0123456789abcdefABCDEF") : 0;
    if (digits < 1 || digits > 16 || text[2 + digits] != 0)
        return refuse(p, "sign_seed", "a string of 0x and up to 16 hexadecimal digits");
    *out = strtoull(text, NULL, 16);
    return KVB_OK;
}

/* Of other whole numbers the library says what it takes. */
static kvb_status read_width(const place *p, const json_t *object, int *bits, int *half) {
    const json_t *value = json_object_get(object, "bits");
    const double width = json_number_value(value);
    *bits = width >= 1 && width <= KVB_DENSE_BITS ? (int)width : 0;
    *half = *bits < KVB_MAX_BITS && width - *bits == 0.5;
    if (!json_is_number(value) || *bits == 0 || width != *bits + 0.5 * *half)
        return refuse(p, "bits", "a number from 1 to 8 in steps of 0.5, or 16");
    return KVB_OK;
}

static kvb_status read_side(const place *p, const json_t *object, kvb_codec_spec *out) {
    int bits = 0, half = 0, dim = 0, states = 0, rotation = 0, scale = 0, dtype = 0;
    uint64_t seed = 0;
    kvb_status status;
    if (!json_is_object(object))
        return refuse(p, "k and v", "objects");
    if ((status = read_width(p, object, &bits, &half)) ||
        (status = read_int(p, object, "head_dim", 1, KVB_MAX_HEAD_DIM, &dim)))
        return status;
    *out = kvb_codec_spec_default(dim, bits);
    out->half_bit = half;
    if (bits == KVB_DENSE_BITS)
        return KVB_OK;
    if ((status = read_int(p, object, "trellis_states", 0, 256, &states)) ||
        (status = read_choice(p, object, "rotation", "none|hadamard|signed", &rotation)) ||
        (status = read_choice(p, object, "scale", "norm|lsq|search", &scale)) ||
        (status = read_choice(p, object, "scale_dtype", "f16|f32", &dtype)) || (status = read_seed(p, object, &seed)))
        return status;
    out->trellis_states = states;
    out->rotation = (kvb_rotation)rotation;
    out->scale = (kvb_scale_kind)scale;
    out->scale_dtype = dtype ? KVB_F32 : KVB_F16;
    out->sign_seed = seed;
    return KVB_OK;
}

_Static_assert(KVB_ROTATION_NONE == 0 && KVB_ROTATION_HADAMARD == 1 && KVB_ROTATION_SIGNED == 2, "in names' order");
_Static_assert(KVB_SCALE_NORM == 0 && KVB_SCALE_LSQ == 1 && KVB_SCALE_SEARCH == 2, "in names' order");

static kvb_status read_mean(const place *p, const json_t *heads, kvb_plan_layer *out) {
    const int n_heads = out->spec.n_kv_heads, dim = out->spec.k.head_dim;
    if (!heads || json_is_null(heads))
        return KVB_OK;
    if (json_array_size(heads) != (size_t)n_heads)
        return refuse(p, "k_mean", "null, or an array of an array for each KV head");
    if (!(out->k_mean = malloc((size_t)n_heads * (size_t)dim * sizeof *out->k_mean)))
        return kvb_error_set(p->error, KVB_ERROR_MEMORY, "out of memory for the mean keys of layers[%d]", p->layer);
    for (int h = 0; h < n_heads; h++) {
        const json_t *values = json_array_get(heads, (size_t)h);
        if (json_array_size(values) != (size_t)dim)
            return refuse(p, "k_mean", "arrays of head_dim numbers");
        for (int i = 0; i < dim; i++) {
            const json_t *value = json_array_get(values, (size_t)i);
            if (!json_is_number(value) || !(fabs(json_number_value(value)) <= KVB_MAX_K_MEAN))
                return refuse(p, "k_mean", "numbers up to 65504 in magnitude");
            out->k_mean[h * dim + i] = (float)json_number_value(value);
        }
    }
    out->spec.k_mean = out->k_mean;
    return KVB_OK;
}

/* What the library itself has to say of the layer is said with its place. */
static kvb_status check_layer(const place *p, const kvb_layer_spec *spec) {
    kvb_layer_cost cost;
    kvb_error reason;
    if (kvb_layer_cost_of(spec, 64, 1, &cost, &reason) == KVB_OK)
        return KVB_OK;
    return kvb_error_set(p->error, KVB_ERROR_FORMAT, "%s: layers[%d]: %s", p->shown, p->layer, reason.text);
}

static kvb_status read_layer(place p, const json_t *object, kvb_plan_layer *out) {
    int dense = 0;
    kvb_status status;
    kvb_layer_spec *spec = &out->spec;
    const char *const sides[] = {" (keys)", " (values)"};
    if (!json_is_object(object))
        return refuse(&p, "layers", "an array of objects");
    *spec = kvb_layer_spec_default(1, KVB_MIN_HEAD_DIM, 4, 4);
    if ((status = read_int(&p, object, "layer", 0, INT32_MAX, &out->index)) ||
        (status = read_int(&p, object, "n_kv_heads", 1, 1024, &spec->n_kv_heads)) ||
        (status = read_choice(&p, object, "dense", "f16|bf16", &dense)) ||
        (status = read_int(&p, object, "window", 0, 1 << 30, &spec->window)) ||
        (status = read_int(&p, object, "exact_first", 0, 65536, &spec->exact_first)) ||
        (status = read_int(&p, object, "exact_last", 0, 65536, &spec->exact_last)) ||
        (status = read_figure(&p, object, "k_error", 0.0, &out->k_error)) ||
        (status = read_figure(&p, object, "v_error", 0.0, &out->v_error)) ||
        (status = read_figure(&p, object, "predicted", 0.0, &out->predicted)) ||
        (status = read_figure(&p, object, "measured", 0.0, &out->measured)))
        return status;
    spec->dense = dense ? KVB_BF16 : KVB_F16;
    for (int side = 0; side < 2; side++) {
        p.side = sides[side];
        if ((status = read_side(&p, json_object_get(object, side ? "v" : "k"), side ? &spec->v : &spec->k)))
            return status;
    }
    p.side = "";
    status = read_mean(&p, json_object_get(object, "k_mean"), out);
    return status == KVB_OK ? check_layer(&p, spec) : status;
}

static kvb_status read_uniform(const place *p, const json_t *object, kvb_plan_uniform *out) {
    kvb_status status;
    if (!object || json_is_null(object))
        return KVB_OK;
    if ((status = read_int(p, object, "k_bits", 1, KVB_DENSE_BITS, &out->k_bits)) ||
        (status = read_int(p, object, "v_bits", 1, KVB_DENSE_BITS, &out->v_bits)) ||
        (status = read_figure(p, object, "bits_per_value", 0.0, &out->bits_per_value)) ||
        (status = read_figure(p, object, "predicted", 0.0, &out->predicted)))
        return status;
    status = read_figure(p, object, "predicted_kl", 0.0, &out->predicted_kl);
    return status == KVB_OK ? read_figure(p, object, "measured", 0.0, &out->measured) : status;
}

/* A missing context is none. */
static kvb_status read_tokens(const place *p, const json_t *root, int64_t *out) {
    const json_t *value = json_object_get(root, "tokens");
    *out = json_integer_value(value);
    if (!value || (json_is_integer(value) && *out >= 0 && *out <= KVB_PLAN_MAX_TOKENS))
        return KVB_OK;
    return refuse(p, "tokens", "a whole number from 0 to 2147483647");
}

static kvb_status read_plan(const place *p, const json_t *root, kvb_plan **out) {
    int version = 0;
    kvb_status status;
    const json_t *layers = json_object_get(root, "layers");
    if (!json_is_object(root) || !json_object_get(root, "kvbits_plan"))
        return kvb_error_set(p->error, KVB_ERROR_FORMAT, "%s: no plan: there is no \"kvbits_plan\"", p->shown);
    if ((status = read_int(p, root, "kvbits_plan", FORMAT, FORMAT, &version)))
        return status;
    if (!json_is_array(layers) || json_array_size(layers) < 1 || json_array_size(layers) > KVB_MAX_LAYERS)
        return refuse(p, "layers", "an array of 1 to 1024 objects");
    kvb_plan *plan = kvb_plan_new((int)json_array_size(layers), p->error);
    if (!plan)
        return KVB_ERROR_MEMORY;
    *out = plan;
    const char *source = json_string_value(json_object_get(root, "source"));
    kvb_display(plan->source, source ? source : "");
    if ((status = read_figure(p, root, "predicted", 0.0, &plan->predicted)) ||
        (status = read_figure(p, root, "measured", 0.0, &plan->measured)) ||
        (status = read_figure(p, root, "predicted_kl", 0.0, &plan->predicted_kl)) ||
        (status = read_tokens(p, root, &plan->tokens)) ||
        (status = read_figure(p, root, "rank_correlation", -1.0, &plan->rank_correlation)) ||
        (status = read_uniform(p, json_object_get(root, "uniform"), &plan->uniform)))
        return status;
    for (int l = 0; l < plan->n_layers && status == KVB_OK; l++) {
        place at = *p;
        at.layer = l;
        status = read_layer(at, json_array_get(layers, (size_t)l), &plan->layers[l]);
    }
    if (status == KVB_OK)
        kvb_plan_count(plan); /* by the layers, whatever the file says */
    return status;
}

kvb_status kvb_plan_parse(const char *json, size_t bytes, const char *name, kvb_plan **out, kvb_error *error) {
    char shown[KVB_DISPLAY_BYTES];
    *out = NULL;
    kvb_display(shown, name);
    json_t *root = kvb_json_file_parse(json, bytes, shown, what, error);
    if (!root)
        return KVB_ERROR_FORMAT;
    const place p = {.shown = shown, .side = "", .layer = -1, .error = error};
    const kvb_status status = read_plan(&p, root, out);
    json_decref(root);
    if (status != KVB_OK) {
        kvb_plan_free(*out);
        *out = NULL;
    }
    return status;
}

kvb_status kvb_plan_read(const char *path, kvb_plan **out, kvb_error *error) {
    char *text = NULL;
    size_t bytes = 0;
    *out = NULL;
    kvb_status status = kvb_json_file_read(path, what, &text, &bytes, error);
    if (status == KVB_OK)
        status = kvb_plan_parse(text, bytes, path, out, error);
    free(text);
    return status;
}
