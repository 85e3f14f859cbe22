/* The A/B on a recorded trace: every layer on its own, the worst layer decides for the model. */
#include <stdlib.h>

#include "ab_trace_layer.h"
#include "document.h"
#include "result.h"

typedef struct trace_run {
    const kvb_ab_config *config;
    const kvb_trace *trace;
    kvb_arithmetic arithmetic;
    size_t n;
    kvb_comparison **comparisons; /* [n]; layers of equal head_dims share one */
    kvb_measured *measured;       /* [n] */
    kvb_cell *cells;              /* [n] */
    double *transform_errors;     /* [n] */
} trace_run;

/* 1 when no earlier layer has the same comparison. */
static int is_first_owner(const trace_run *r, size_t i) {
    for (size_t j = 0; j < i; j++)
        if (r->comparisons[j] == r->comparisons[i])
            return 0;
    return 1;
}

static void release(trace_run *r) {
    for (size_t i = r->comparisons ? r->n : 0; i-- > 0;) /* backwards: the first owner frees it, after all others */
        if (is_first_owner(r, i))
            kvb_comparison_free(r->comparisons[i]);
    for (size_t i = 0; r->measured && i < r->n; i++)
        kvb_measured_free(&r->measured[i]);
    free(r->comparisons);
    free(r->measured);
    free(r->cells);
    free(r->transform_errors);
}

static kvb_status check_layer(const kvb_ab_config *config, const kvb_trace_layer *layer, kvb_error *error) {
    kvb_rotation needed =
        config->baselines && config->rotation == KVB_ROTATION_NONE ? KVB_ROTATION_SIGNED : config->rotation;
    int dims[2] = {layer->head_dim, layer->v_head_dim};
    for (int side = 0; side < 2; side++)
        if (!kvb_head_dim_supported(dims[side], needed))
            return kvb_error_set(
                error, KVB_ERROR_ARGUMENT,
                "layer %d has head_dim %d for %s, which the rotation '%s' does not take; legal: m * 2^k "
                "from 32 to 576 with m in 1, 12, 20, 28, 36, or the rotation none without baselines",
                layer->index, dims[side], side ? "V" : "K", kvb_rotation_name(needed));
    return KVB_OK;
}

/* The comparison of an earlier layer with the same head_dims, or a new one. */
static kvb_status find_comparison(trace_run *r, size_t i, const kvb_parallel *parallel, kvb_error *error) {
    const kvb_trace_layer *layer = kvb_trace_get_layer(r->trace, (int)i);
    for (size_t j = 0; j < i; j++)
        if (r->comparisons[j]->k.head_dim == layer->head_dim && r->comparisons[j]->v.head_dim == layer->v_head_dim) {
            r->comparisons[i] = r->comparisons[j];
            return KVB_OK;
        }
    return kvb_comparison_make(r->config, layer->head_dim, layer->v_head_dim, r->config->rotation, r->config->sign_seed,
                               parallel, &r->comparisons[i], error);
}

/* The share of one layer, as a share of all. */
typedef struct layer_progress {
    const kvb_progress *whole;
    size_t index, n;
} layer_progress;

static void report_layer(void *context, const char *what, double share) {
    const layer_progress *p = context;
    if (p->whole)
        p->whole->report(p->whole->context, what, ((double)p->index + share) / (double)p->n);
}

static kvb_status measure(trace_run *r, const kvb_parallel *parallel, const kvb_progress *progress, kvb_error *error) {
    kvb_status status = KVB_OK;
    for (size_t i = 0; i < r->n && status == KVB_OK; i++)
        status = check_layer(r->config, kvb_trace_get_layer(r->trace, (int)i), error);
    for (size_t i = 0; i < r->n && status == KVB_OK; i++) {
        layer_progress part = {progress, i, r->n};
        kvb_progress of_layer = {report_layer, &part};
        status = find_comparison(r, i, parallel, error);
        if (status == KVB_OK)
            status = kvb_ab_trace_layer(r->config, r->trace, (int)i, r->comparisons[i], &r->arithmetic, parallel,
                                        &of_layer, &r->measured[i], &r->transform_errors[i], error);
        r->cells[i] = (kvb_cell){kvb_trace_get_layer(r->trace, (int)i)->index, r->comparisons[i], &r->measured[i]};
    }
    return status;
}

/* ---- The document ---- */

static json_t *layer_object(const trace_run *r, size_t i) {
    const kvb_trace_layer *l = kvb_trace_get_layer(r->trace, (int)i);
    const kvb_cell *cell = &r->cells[i];
    kvb_layer_attention attention = kvb_layer_attention_of(r->config, l);
    json_t *pairs = json_array(), *logits = json_array(), *verdicts = json_array();
    json_t *object = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "layer", l->index, "tokens", l->tokens,
                               "num_heads", l->n_heads, "num_kv_heads", l->n_kv_heads, "head_dim", l->head_dim,
                               "v_head_dim", l->v_head_dim, "window", attention.window);
    int bad = json_object_set_new(object, "scale", kvb_json_real(attention.scale));
    bad |= json_object_set_new(object, "softcap", kvb_json_real(attention.softcap));
    bad |= json_object_set_new(object, "queries", json_integer((json_int_t)cell->measured->n));
    bad |= kvb_document_add_pairs(pairs, cell, NULL) | json_object_set_new(object, "pair_cells", pairs);
    bad |= kvb_document_add_logits(logits, cell, NULL) | json_object_set_new(object, "logit_cells", logits);
    bad |= json_object_set_new(object, "needed", kvb_document_needed(cell, 1, r->config->thresholds));
    for (int t = 0; t < 2; t++) {
        char verdict[64];
        kvb_verdict_name(cell, 1, r->config->thresholds[t], verdict, sizeof verdict);
        bad |= json_array_append_new(verdicts, json_string(verdict));
    }
    bad |= json_object_set_new(object, "verdicts", verdicts);
    if (!bad)
        return object;
    json_decref(object);
    return NULL;
}

static int set_trace(json_t *root, const kvb_trace *trace) {
    static const char *const keys[] = {"model", "model_file", "license", "text", "recorded_with"};
    json_t *metadata = json_object();
    int bad = 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (kvb_trace_metadata(trace, keys[i]))
            bad |= json_object_set_new(metadata, keys[i], json_string(kvb_trace_metadata(trace, keys[i])));
    json_t *object = json_pack("{s:o}", "file", kvb_json_name(kvb_trace_name(trace)));
    bad |= json_object_set_new(object, "metadata", metadata);
    return bad | json_object_set_new(root, "trace", object);
}

static int add_checks(json_t *checks, const trace_run *r) {
    int bad = 0;
    for (size_t i = 0; i < r->n; i++) {
        bad |= kvb_document_add_check(checks, "reference attention finite",
                                      kvb_measured_reference_finite(&r->measured[i]), "layer %d", r->cells[i].id);
        bad |= kvb_document_add_check(checks, "transform alone is exact", r->transform_errors[i] < 1e-5,
                                      "layer %d: worst row's NRMSE %.3e (below 1e-5)", r->cells[i].id,
                                      r->transform_errors[i]);
    }
    for (size_t i = 0; i < r->n; i++) {
        const kvb_comparison *c = r->comparisons[i];
        if (!is_first_owner(r, i))
            continue;
        bad |= kvb_document_add_table_checks(checks, c->k_tables);
        if (c->v.head_dim != c->k.head_dim)
            bad |= kvb_document_add_table_checks(checks, c->v_tables);
    }
    return bad;
}

static kvb_status make_document(const trace_run *r, kvb_result **out, kvb_error *error) {
    json_t *root = json_object(), *layers = json_array(), *checks = json_array(), *widths = json_array();
    int bad = json_object_set_new(root, "kvbits", json_pack("{s:s, s:s}", "version", kvb_version(), "kind", "trace"));
    bad |= set_trace(root, r->trace);
    for (int i = 0; i < r->config->n_bits; i++)
        bad |= json_array_append_new(widths, json_integer(r->config->bits[i]));
    bad |= json_object_set_new(root, "bit_widths", widths);
    bad |= json_object_set_new(root, "decision_threshold_nrmse", kvb_json_real(r->config->thresholds[0]));
    bad |= json_object_set_new(root, "decision_threshold_alt_nrmse", kvb_json_real(r->config->thresholds[1]));
    bad |= json_object_set_new(root, "configuration", kvb_document_configuration(r->config, 1));
    bad |= kvb_document_set_tables(root, r->comparisons[0]->k_tables);
    for (size_t i = 0; i < r->n; i++)
        bad |= json_array_append_new(layers, layer_object(r, i));
    bad |= json_object_set_new(root, "layers", layers);
    bad |= json_object_set_new(root, "worst_pairs",
                               kvb_document_worst_pairs(r->cells, r->n, "layer", r->config->thresholds));
    bad |= json_object_set_new(root, "needed", kvb_document_needed(r->cells, r->n, r->config->thresholds));
    bad |= kvb_document_set_verdict(root, r->cells, r->n, "layers", r->config->thresholds);
    bad |= add_checks(checks, r) | json_object_set_new(root, "checks", checks);
    if (!bad)
        return kvb_result_create(root, out, error);
    json_decref(root);
    return kvb_error_set(error, KVB_ERROR_NOT_FINITE,
                         "the result holds a figure that is not finite, or memory ran out");
}

kvb_status kvb_ab_run_trace(const kvb_ab_config *config, const kvb_trace *trace, const kvb_parallel *parallel,
                            const kvb_progress *progress, kvb_result **out, kvb_error *error) {
    trace_run r = {.config = config, .trace = trace, .n = (size_t)kvb_trace_layers(trace)};
    kvb_status status = kvb_ab_config_check(config, error);
    if (status == KVB_OK && config->sums != KVB_SUMS_LANES)
        status = kvb_error_set(error, KVB_ERROR_ARGUMENT,
                               "sums in index order restate the synthetic run; legal for a "
                               "trace: lanes");
    if (status == KVB_OK)
        status = kvb_arithmetic_open(config->sums, &r.arithmetic, error);
    if (status != KVB_OK)
        return status;
    r.comparisons = calloc(r.n, sizeof *r.comparisons);
    r.measured = calloc(r.n, sizeof *r.measured);
    r.cells = calloc(r.n, sizeof *r.cells);
    r.transform_errors = calloc(r.n, sizeof *r.transform_errors);
    if (!r.comparisons || !r.measured || !r.cells || !r.transform_errors)
        status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %zu layers", r.n);
    if (status == KVB_OK)
        status = measure(&r, parallel, progress, error);
    if (status == KVB_OK)
        status = make_document(&r, out, error);
    release(&r);
    return status;
}
