#include "plan_measure.h"

#include <math.h>

#include "result.h"

const int kvb_plan_widths[KVB_PLAN_WIDTHS] = {1, 2, 3, 4, 5, 6, 7, 8, KVB_DENSE_BITS};

int kvb_plan_states(const kvb_plan_request *request, int place) {
    return kvb_trellis_codebook(request->trellis_states, kvb_plan_widths[place]) ? request->trellis_states : 0;
}

int kvb_plan_mean_tokens(const kvb_trace *trace) {
    const int tokens = kvb_trace_get_layer(trace, 0)->tokens;
    return tokens < 2 ? 1 : tokens / 2;
}

static void forget(kvb_plan_curves *curves, int n_layers) {
    for (int l = 0; l < n_layers; l++)
        for (int a = 0; a < KVB_PLAN_WIDTHS; a++)
            for (int b = 0; b < KVB_PLAN_WIDTHS; b++)
                curves[l].both[a][b] = NAN;
}

/* A run over all pairs of the widths at places first to last, all of which were stored with `states`. */
typedef struct pairs_run {
    int first, last, states;
} pairs_run;

/* Cells of a run in which a side was stored as the request wants it are taken, the others are not. */
static int take_cells(const kvb_plan_request *request, const json_t *layers, int n_layers, pairs_run r,
                      kvb_plan_curves *curves) {
    const int n = r.last - r.first + 1;
    if (json_array_size(layers) != (size_t)n_layers)
        return 0;
    for (int l = 0; l < n_layers; l++) {
        const json_t *cells = json_object_get(json_array_get(layers, (size_t)l), "pair_cells");
        if (json_array_size(cells) != (size_t)(n * n))
            return 0;
        for (int c = 0; c < n * n; c++) {
            const json_t *cell = json_array_get(cells, (size_t)c);
            const int k = r.first + c / n, v = r.first + c % n;
            const int k_fits = kvb_plan_states(request, k) == r.states,
                      v_fits = kvb_plan_states(request, v) == r.states;
            if (k_fits)
                curves[l].one_side[0][k] = json_number_value(json_object_get(cell, "k_only_mean"));
            if (v_fits)
                curves[l].one_side[1][v] = json_number_value(json_object_get(cell, "v_only_mean"));
            if (k_fits && v_fits)
                curves[l].both[k][v] = json_number_value(json_object_get(cell, "nrmse_mean"));
        }
    }
    return 1;
}

/* The first query that judges whatever the request asks for. */
static int first_judge(const kvb_trace *trace, const kvb_plan_request *request) {
    int first = request->k_mean ? kvb_plan_mean_tokens(trace) : 0;
    for (int i = 0; i < request->n_exact; i++) {
        const int exact = request->exact[i].first + request->exact[i].last;
        first = exact > first ? exact : first;
    }
    return first;
}

static kvb_status run_pairs(const kvb_trace *trace, const kvb_plan_request *request, kvb_plan_way way, pairs_run r,
                            const kvb_parallel *parallel, const kvb_progress *progress, kvb_plan_curves *curves,
                            kvb_error *error) {
    kvb_ab_config config = kvb_ab_config_trace();
    kvb_pair pairs[KVB_PLAN_PACKED * KVB_PLAN_PACKED];
    kvb_result *result = NULL;
    const int n = r.last - r.first + 1;
    for (int c = 0; c < n * n; c++)
        pairs[c] = (kvb_pair){kvb_plan_widths[r.first + c / n], kvb_plan_widths[r.first + c % n]};
    config.bits = &kvb_plan_widths[r.first];
    config.n_bits = n;
    config.pairs = pairs;
    config.n_pairs = n * n;
    config.trellis_states = r.states;
    config.scale_kind = request->scale;
    config.queries = request->queries;
    config.queries_from = first_judge(trace, request);
    config.k_mean = way.is_centered ? kvb_plan_mean_tokens(trace) : 0;
    config.exact_first = way.exact.first;
    config.exact_last = way.exact.last;
    kvb_status status = kvb_ab_run_trace(&config, trace, parallel, progress, &result, error);
    if (status == KVB_OK &&
        !take_cells(request, json_object_get(result->document, "layers"), kvb_trace_layers(trace), r, curves))
        status = kvb_error_set(error, KVB_ERROR_FORMAT, "the run over the trace did not measure every pair");
    kvb_result_free(result);
    return status;
}

kvb_status kvb_plan_measure(const kvb_trace *trace, const kvb_plan_request *request, kvb_plan_way way,
                            const kvb_parallel *parallel, const kvb_progress *progress, kvb_plan_curves *curves,
                            kvb_error *error) {
    const pairs_run scalar = {0, KVB_PLAN_PACKED - 1, 0},
                    trellis = {KVB_MIN_TRELLIS_BITS - 1, KVB_MAX_TRELLIS_BITS - 1, request->trellis_states};
    const int n_layers = kvb_trace_layers(trace);
    forget(curves, n_layers);
    kvb_status status = run_pairs(trace, request, way, scalar, parallel, progress, curves, error);
    if (status == KVB_OK && request->trellis_states)
        status = run_pairs(trace, request, way, trellis, parallel, progress, curves, error);
    for (int l = 0; l < n_layers && status == KVB_OK; l++) {
        kvb_plan_curves *c = &curves[l];
        c->one_side[0][KVB_PLAN_DENSE] = c->one_side[1][KVB_PLAN_DENSE] = 0.0;
        for (int w = 0; w < KVB_PLAN_WIDTHS; w++) {
            c->both[w][KVB_PLAN_DENSE] = c->one_side[0][w];
            c->both[KVB_PLAN_DENSE][w] = c->one_side[1][w];
        }
    }
    return status;
}
