/* The A/B on synthetic data: T1a codebooks, T1b round trips, T1c attention, T1d verdict, and the document of it all. */
#include <stdio.h>
#include <stdlib.h>

#include "ab_attention.h"
#include "ab_checks.h"
#include "result.h"

typedef struct experiment {
    const kvb_ab_config *config;
    kvb_arithmetic arithmetic;
    kvb_comparison *comparison;
    kvb_round_trip_cell *round_trip;
    size_t n_round_trip;
    kvb_measured *measured; /* [n_kv_lens] */
    kvb_cell *cells;
    double *redraws; /* [n_kv_lens][n_pairs][redraws] means */
} experiment;

static void release(experiment *e) {
    for (int i = 0; e->measured && i < e->config->n_kv_lens; i++)
        kvb_measured_free(&e->measured[i]);
    free(e->measured);
    free(e->cells);
    free(e->round_trip);
    free(e->redraws);
    kvb_comparison_free(e->comparison);
}

static kvb_status allocate(experiment *e, kvb_error *error) {
    const kvb_ab_config *config = e->config;
    size_t lens = (size_t)config->n_kv_lens;
    e->n_round_trip = (size_t)config->n_bits * (size_t)config->n_round_trip_dims * 3;
    e->round_trip = calloc(e->n_round_trip, sizeof *e->round_trip);
    e->measured = calloc(lens, sizeof *e->measured);
    e->cells = calloc(lens, sizeof *e->cells);
    e->redraws = calloc(lens * KVB_MAX_PAIRS * (size_t)(config->redraws + 1), sizeof *e->redraws);
    if (e->round_trip && e->measured && e->cells && e->redraws)
        return KVB_OK;
    return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the experiment's cells");
}

static double *redraw_means(const experiment *e, int len, int pair) {
    return e->redraws + ((size_t)len * KVB_MAX_PAIRS + (size_t)pair) * (size_t)e->config->redraws;
}

/* The same data once more, its rows rotated at random before they are stored. */
static kvb_status redraw(experiment *e, int index, const kvb_parallel *parallel, const kvb_progress *progress,
                         kvb_error *error) {
    const kvb_ab_config *config = e->config;
    kvb_comparison *comparison = NULL;
    kvb_measured *measured = calloc((size_t)config->n_kv_lens, sizeof *measured);
    char what[48];
    snprintf(what, sizeof what, "redraw %d of %d", index + 1, config->redraws);
    if (!measured)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a redraw");
    kvb_status status = kvb_comparison_make(config, config->head_dim, config->head_dim, KVB_ROTATION_SIGNED,
                                            config->sign_seed + 1 + (uint64_t)index, parallel, &comparison, error);
    if (status == KVB_OK)
        status = kvb_ab_attention(config, comparison, &e->arithmetic, parallel, progress, what, measured, error);
    for (int len = 0; len < config->n_kv_lens && status == KVB_OK; len++)
        for (int pair = 0; pair < comparison->n_pairs; pair++)
            redraw_means(e, len, pair)[index] =
                kvb_measured_statistic(&measured[len], KVB_MEASURE_NRMSE, comparison->pair_combo[pair]).mean;
    for (int len = 0; len < config->n_kv_lens; len++)
        kvb_measured_free(&measured[len]);
    free(measured);
    kvb_comparison_free(comparison);
    return status;
}

static kvb_status measure(experiment *e, const kvb_parallel *parallel, const kvb_progress *progress, kvb_error *error) {
    const kvb_ab_config *config = e->config;
    kvb_status status = kvb_comparison_make(config, config->head_dim, config->head_dim, config->rotation,
                                            config->sign_seed, parallel, &e->comparison, error);
    if (status == KVB_OK)
        status = kvb_ab_round_trip(config, e->comparison->k_tables, &e->arithmetic, parallel, e->round_trip, error);
    if (status == KVB_OK)
        status = kvb_ab_attention(config, e->comparison, &e->arithmetic, parallel, progress, "attention", e->measured,
                                  error);
    for (int i = 0; i < config->redraws && status == KVB_OK; i++)
        status = redraw(e, i, parallel, progress, error);
    for (int i = 0; i < config->n_kv_lens; i++)
        e->cells[i] = (kvb_cell){config->kv_lens[i], e->comparison, &e->measured[i]};
    return status;
}

/* ---- The document ---- */

static json_t *ints(const int *values, int n) {
    json_t *array = json_array();
    int bad = 0;
    for (int i = 0; i < n; i++)
        bad |= json_array_append_new(array, json_integer(values[i]));
    if (!bad)
        return array;
    json_decref(array);
    return NULL;
}

static int set_head(json_t *root, const kvb_ab_config *config) {
    json_t *configuration = kvb_document_configuration(config, 0);
    int bad = json_object_set_new(configuration, "default", json_boolean(kvb_ab_is_default(config)));
    bad |= json_object_set_new(root, "kvbits", json_pack("{s:s, s:s}", "version", kvb_version(), "kind", "synthetic"));
    bad |= json_object_set_new(root, "seed", json_sprintf("0x%llX", (unsigned long long)config->seed));
    bad |= json_object_set_new(root, "shape",
                               json_pack("{s:i, s:i, s:i}", "num_heads", config->n_heads, "num_kv_heads",
                                         config->n_kv_heads, "head_dim", config->head_dim));
    bad |= json_object_set_new(root, "kv_seq_lens", ints(config->kv_lens, config->n_kv_lens));
    bad |= json_object_set_new(root, "bit_widths", ints(config->bits, config->n_bits));
    bad |= json_object_set_new(root, "n_trials_per_sdpa_cell", json_integer(config->trials));
    bad |= json_object_set_new(root, "decision_threshold_nrmse", kvb_json_real(config->thresholds[0]));
    bad |= json_object_set_new(root, "decision_threshold_alt_nrmse", kvb_json_real(config->thresholds[1]));
    return bad | json_object_set_new(root, "configuration", configuration);
}

static int set_round_trip(json_t *root, const experiment *e) {
    json_t *cells = json_array();
    int bad = 0;
    for (size_t i = 0; i < e->n_round_trip; i++) {
        const kvb_round_trip_cell *cell = &e->round_trip[i];
        json_t *object = json_pack("{s:i, s:s%, s:i}", "bit_width", cell->bits, "case", &cell->kind, (size_t)1,
                                   "head_dim", cell->head_dim);
        bad |= kvb_document_set_statistic(object, "nrmse", &cell->nrmse);
        bad |= json_array_append_new(cells, object);
    }
    return bad | json_object_set_new(root, "round_trip_cells", cells);
}

/* The pairs of equal widths, in the reference run's order and form: width outermost. */
static int set_symmetric(json_t *root, const experiment *e) {
    const kvb_comparison *c = e->comparison;
    json_t *cells = json_array(), *worst = json_object();
    int bad = 0;
    for (int pair = 0; pair < c->n_pairs; pair++) {
        int bits = c->k.at[c->pairs[pair].k].bits;
        char key[16];
        if (bits == 0 || bits != c->v.at[c->pairs[pair].v].bits)
            continue;
        for (int i = 0; i < e->config->n_kv_lens; i++) {
            kvb_statistic s = kvb_measured_statistic(&e->measured[i], KVB_MEASURE_NRMSE, c->pair_combo[pair]);
            json_t *object = json_pack("{s:i, s:i, s:i, s:i, s:i}", "bit_width", bits, "k_bits", bits, "v_bits", bits,
                                       "kv_seq_len", e->config->kv_lens[i], "n_trials", e->config->trials);
            bad |= kvb_document_set_statistic(object, "nrmse", &s);
            bad |= json_array_append_new(cells, object);
        }
        snprintf(key, sizeof key, "%dbit", bits);
        kvb_worst w = kvb_worst_of(e->cells, (size_t)e->config->n_kv_lens, KVB_SLICE_PAIR, pair);
        bad |= json_object_set_new(worst, key, kvb_json_nrmse(w.nrmse.mean));
    }
    return bad | json_object_set_new(root, "sdpa_cells", cells) | json_object_set_new(root, "worst_nrmse", worst);
}

static int set_redraws(json_t *pairs, const experiment *e, int len) {
    int bad = 0;
    for (int pair = 0; e->config->redraws > 0 && pair < e->comparison->n_pairs; pair++) {
        json_t *object = json_array_get(pairs, (size_t)(len * e->comparison->n_pairs + pair));
        if (!e->comparison->k.at[e->comparison->pairs[pair].k].redrawn)
            continue;
        kvb_statistic s = kvb_statistic_of(redraw_means(e, len, pair), (size_t)e->config->redraws);
        bad |= kvb_document_set_statistic(object, "redraw", &s);
    }
    return bad;
}

static int set_cells(json_t *root, const experiment *e) {
    json_t *pairs = json_array(), *logits = json_array(), *differences = json_array();
    int bad = 0;
    for (int i = 0; i < e->config->n_kv_lens; i++) {
        bad |= kvb_document_add_pairs(pairs, &e->cells[i], "kv_seq_len") | set_redraws(pairs, e, i);
        bad |= kvb_document_add_logits(logits, &e->cells[i], "kv_seq_len");
        bad |= kvb_document_add_differences(differences, &e->cells[i], "kv_seq_len");
    }
    bad |= json_object_set_new(root, "pair_cells", pairs);
    bad |= json_object_set_new(root, "logit_cells", logits);
    return bad | json_object_set_new(root, "paired_comparisons", differences);
}

static int set_gates(json_t *root, const kvb_ab_found *found) {
    double first = kvb_ab_production_difference(found->comparison->k_tables), second = kvb_ab_gate_2(found);
    int bad = 0;
    if (first >= 0.0)
        bad |= json_object_set_new(
            root, "codebook_4bit_sanity_gate",
            json_pack("{s:o, s:b}", "max_diff_vs_production", kvb_json_real(first), "passed", first < 1e-4));
    if (second >= 0.0)
        bad |= json_object_set_new(root, "sdpa_sanity_gate",
                                   json_pack("{s:o, s:b}", "4bit_at_kvl_512", kvb_json_nrmse(second), "passed",
                                             second >= 0.10 && second <= 0.60));
    return bad;
}

static kvb_status make_document(const experiment *e, kvb_result **out, kvb_error *error) {
    size_t n = (size_t)e->config->n_kv_lens;
    kvb_ab_found found = {e->config, e->comparison, e->round_trip, e->n_round_trip, e->cells, n};
    json_t *root = json_object(), *checks = json_array();
    int bad =
        set_head(root, e->config) | kvb_document_set_tables(root, e->comparison->k_tables) | set_gates(root, &found);
    bad |= set_round_trip(root, e) | set_symmetric(root, e) | set_cells(root, e);
    bad |= json_object_set_new(root, "worst_pairs",
                               kvb_document_worst_pairs(e->cells, n, "kv_seq_len", e->config->thresholds));
    bad |= json_object_set_new(root, "needed", kvb_document_needed(e->cells, n, e->config->thresholds));
    bad |= kvb_document_set_verdict(root, e->cells, n, "kv_len", e->config->thresholds);
    bad |= kvb_ab_add_checks(checks, &found);
    bad |= json_object_set_new(root, "checks", checks);
    if (!bad)
        return kvb_result_create(root, out, error);
    json_decref(root);
    return kvb_error_set(error, KVB_ERROR_NOT_FINITE,
                         "the result holds a figure that is not finite, or memory ran out");
}

kvb_status kvb_ab_run(const kvb_ab_config *config, const kvb_parallel *parallel, const kvb_progress *progress,
                      kvb_result **out, kvb_error *error) {
    experiment e = {.config = config};
    kvb_status status = kvb_ab_config_check(config, error);
    if (status != KVB_OK)
        return status;
    status = kvb_arithmetic_open(config->sums, &e.arithmetic, error);
    if (status == KVB_OK)
        status = allocate(&e, error);
    if (status == KVB_OK)
        status = measure(&e, parallel, progress, error);
    if (status == KVB_OK)
        status = make_document(&e, out, error);
    release(&e);
    return status;
}
