/* How few bits pass, family by family: one run of the A/B each, read back from its document. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "result.h"
#include "writer.h"

typedef struct family {
    const char *name;
    int effort, states, bound;
    kvb_scale_kind scale;
    int halves; /* pairs with half bits near the gates, instead of the grid */
} family;

static const family families[] = {
    {"Lloyd-Max, norm", 0, 0, 0, KVB_SCALE_NORM, 0},
    {"Lloyd-Max, lsq", 0, 0, 0, KVB_SCALE_LSQ, 0},
    {"trellis of 16, lsq", 0, 16, 0, KVB_SCALE_LSQ, 0},
    {"trellis of 16 with half bits, lsq", 0, 16, 0, KVB_SCALE_LSQ, 1},
    {"trellis of 16 with half bits, search", 0, 16, 0, KVB_SCALE_SEARCH, 1},
    {"bound", 0, 0, 1, KVB_SCALE_NORM, 0},
    {"Lloyd-Max, search", 1, 0, 0, KVB_SCALE_SEARCH, 0},
    {"trellis of 16, search", 1, 16, 0, KVB_SCALE_SEARCH, 0},
    {"trellis of 256, lsq", 2, 256, 0, KVB_SCALE_LSQ, 0},
    {"trellis of 256, search", 2, 256, 0, KVB_SCALE_SEARCH, 0},
};

enum { N_FAMILIES = sizeof families / sizeof families[0], MAX_GRID = 32, DEFAULT_REDRAWS = 8, MOST_APART = 4 };

/* Near the gates: 5.5/3.5, 5.5/4, 5.5/4.5, 6/3.5, 6/4.5. */
static const kvb_pair half_pairs[] = {{5, 3}, {5, 4}, {5, 4}, {6, 3}, {6, 4}},
                      half_more[] = {{1, 1}, {1, 0}, {1, 1}, {0, 1}, {0, 1}};

/* Keys of 3 to 8 bits with values of 2 to 6, and up to four fewer: where the frontier lies, as keys need two bits more
 * (docs/math.md). */
static int fill_grid(const family *f, kvb_pair pairs[MAX_GRID]) {
    if (f->halves) {
        memcpy(pairs, half_pairs, sizeof half_pairs);
        return sizeof half_pairs / sizeof half_pairs[0];
    }
    int n = 0, most = f->states ? KVB_MAX_TRELLIS_BITS : KVB_MAX_BITS;
    for (int k = 3; k <= most; k++)
        for (int v = 2; v <= 6; v++)
            if (v <= k && k - v <= MOST_APART)
                pairs[n++] = (kvb_pair){k, v};
    return n;
}

/* ---- One pair: the worst of all kv_lens ---- */

typedef struct point {
    double bits, mean, std, error; /* over redraws; error is of the mean */
} point;

static double real(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static point read_point(const json_t *cells, size_t n_pairs, size_t pair, int redraws) {
    point worst = {.mean = -1.0};
    for (size_t i = pair; i < json_array_size(cells); i += n_pairs) {
        const json_t *cell = json_array_get(cells, i);
        if (real(cell, "redraw_mean") > worst.mean)
            worst = (point){real(cell, "average_bits"), real(cell, "redraw_mean"), real(cell, "redraw_std"), 0.0};
    }
    worst.error = redraws > 1 ? worst.std / sqrt(redraws - 1.0) : 0.0;
    return worst;
}

static int passes(const point *p, double threshold) {
    return p->mean + 2.0 * p->error < threshold;
}

/* ---- A family ---- */

static json_t *width(int bits, int half) {
    return half ? json_real(bits + 0.5) : json_integer(bits);
}

static json_t *pair_object(const kvb_ab_config *config, int index, const point *p) {
    const kvb_pair *pair = &config->pairs[index], none = {0, 0},
                   *half = config->halves ? &config->halves[index] : &none;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "k_bits", width(pair->k_bits, half->k_bits), "v_bits",
                     width(pair->v_bits, half->v_bits), "average_bits", kvb_json_real(p->bits), "nrmse_mean",
                     kvb_json_nrmse(p->mean), "nrmse_std", kvb_json_nrmse(p->std), "standard_error",
                     kvb_json_nrmse(p->error));
}

/* The cheapest pair that passes, the better of two that cost the same; -1 when none does. */
static int find_fewest(const point *points, int n, double threshold) {
    int best = -1;
    for (int i = 0; i < n; i++) {
        int is_better = best < 0 || points[i].bits < points[best].bits ||
                        (points[i].bits == points[best].bits && points[i].mean < points[best].mean);
        if (passes(&points[i], threshold) && is_better)
            best = i;
    }
    return best;
}

static json_t *family_object(const family *f, const kvb_ab_config *config, const json_t *document) {
    json_t *object = json_object(), *pairs = json_array(), *fewest = json_array();
    const json_t *cells = json_object_get(document, "pair_cells");
    point points[MAX_GRID];
    int bad = 0;
    for (int i = 0; i < config->n_pairs; i++) {
        points[i] = read_point(cells, (size_t)config->n_pairs, (size_t)i, config->redraws);
        bad |= json_array_append_new(pairs, pair_object(config, i, &points[i]));
    }
    for (int t = 0; t < 2; t++) {
        int best = find_fewest(points, config->n_pairs, config->thresholds[t]);
        bad |= json_array_append_new(fewest, best < 0 ? json_null() : pair_object(config, best, &points[best]));
    }
    bad |= json_object_set_new(object, "family", json_string(f->name));
    bad |= json_object_set_new(object, "fewest", fewest) | json_object_set_new(object, "pairs", pairs);
    if (!bad)
        return object;
    json_decref(object);
    return NULL;
}

static kvb_status run_family(const kvb_ab_config *base, const family *f, const kvb_parallel *parallel,
                             const kvb_progress *progress, json_t *out, kvb_error *error) {
    kvb_pair pairs[MAX_GRID];
    kvb_result *result = NULL;
    static const int bits[] = {4}, dims[] = {128};
    kvb_ab_config config = *base;
    config.pairs = pairs;
    config.n_pairs = fill_grid(f, pairs);
    config.halves = f->halves ? half_more : NULL;
    config.bits = bits; /* the round trip is not asked for */
    config.round_trip_dims = dims;
    config.n_bits = config.n_round_trip_dims = config.vectors = 1;
    config.redraws = base->redraws ? base->redraws : DEFAULT_REDRAWS;
    config.codebook = KVB_CODEBOOK_LIBRARY;
    config.trellis_states = f->states;
    config.bound = f->bound;
    config.scale_kind = f->scale;
    config.scale_dtype = KVB_F16;
    kvb_status status = kvb_ab_run(&config, parallel, progress, &result, error);
    if (status == KVB_OK && json_array_append_new(out, family_object(f, &config, result->document)))
        status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a family");
    kvb_result_free(result);
    return status;
}

/* ---- Documents ---- */

static kvb_number figure(const json_t *object, const char *key) {
    return kvb_fixed(real(object, key), 4);
}

static void add_fewest(kvb_writer *w, const json_t *pair) {
    if (json_is_object(pair))
        kvb_writer_format(w, " %s (%s/%s, %s) |", figure(pair, "average_bits").text,
                          kvb_general(real(pair, "k_bits"), 2).text, kvb_general(real(pair, "v_bits"), 2).text,
                          figure(pair, "nrmse_mean").text);
    else
        kvb_writer_add(w, " none |");
}

static void add_family(kvb_writer *w, const json_t *f) {
    size_t i;
    json_t *pair;
    kvb_writer_format(w, "\n## %s\n\n| K/V | average bits | NRMSE | deviation |\n|---|---|---|---|\n",
                      json_string_value(json_object_get(f, "family")));
    json_array_foreach(json_object_get(f, "pairs"), i, pair) {
        kvb_writer_format(w, "| %s/%s | %s | %s | %s |\n", kvb_general(real(pair, "k_bits"), 2).text,
                          kvb_general(real(pair, "v_bits"), 2).text, figure(pair, "average_bits").text,
                          figure(pair, "nrmse_mean").text, figure(pair, "nrmse_std").text);
    }
}

static kvb_status write_markdown(const json_t *list, const double thresholds[2], char **markdown, kvb_error *error) {
    kvb_writer w = {0};
    size_t i;
    json_t *f;
    kvb_writer_format(&w,
                      "# Error against stored bits\n\nFewest average bits, scales included, whose NRMSE (mean over "
                      "redraws plus two standard errors, worst kv_len) is below the threshold:\n\n"
                      "| family | below %s (K/V, NRMSE) | below %s |\n|---|---|---|\n",
                      kvb_general(thresholds[0], 3).text, kvb_general(thresholds[1], 3).text);
    json_array_foreach(list, i, f) {
        const json_t *fewest = json_object_get(f, "fewest");
        kvb_writer_format(&w, "| %s |", json_string_value(json_object_get(f, "family")));
        add_fewest(&w, json_array_get(fewest, 0));
        add_fewest(&w, json_array_get(fewest, 1));
        kvb_writer_add(&w, "\n");
    }
    json_array_foreach(list, i, f) {
        add_family(&w, f);
    }
    return kvb_writer_take(&w, markdown, error);
}

kvb_status kvb_ab_frontier(const kvb_ab_config *config, int effort, const kvb_parallel *parallel,
                           const kvb_progress *progress, char **json, char **markdown, kvb_error *error) {
    if (effort < 0 || effort > 2)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "effort is %d; legal: 0 to 2", effort);
    json_t *list = json_array();
    kvb_status status = KVB_OK;
    *json = *markdown = NULL;
    for (int i = 0; i < N_FAMILIES && status == KVB_OK; i++)
        if (families[i].effort <= effort)
            status = run_family(config, &families[i], parallel, progress, list, error);
    if (status == KVB_OK)
        status = write_markdown(list, config->thresholds, markdown, error);
    int redraws = config->redraws ? config->redraws : DEFAULT_REDRAWS;
    json_t *document = json_pack("{s:o, s:[f,f], s:i, s:i, s:O}", "kvbits",
                                 json_pack("{s:s, s:s}", "version", kvb_version(), "kind", "frontier"), "thresholds",
                                 config->thresholds[0], config->thresholds[1], "trials", config->trials, "redraws",
                                 redraws, "families", list);
    kvb_result whole = {document};
    if (status == KVB_OK && !document)
        status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the frontier");
    if (status == KVB_OK)
        status = kvb_result_json(&whole, json, error);
    json_decref(document);
    json_decref(list);
    if (status != KVB_OK) {
        kvb_text_free(*markdown);
        *markdown = NULL;
    }
    return status;
}
