#include "plan_measure.h"

#include <math.h>

#include "result.h"

const int kvb_plan_widths[KVB_PLAN_WIDTHS] = {1, 2, 3, 4, 5, 6, 7, 8, KVB_DENSE_BITS, 1, 2, 3, 4, 5, 6, 7};

int kvb_plan_states(const kvb_plan_request *request, int place) {
    const int states = request->trellis_states, bits = kvb_plan_widths[place];
    return kvb_trellis_codebook(states, bits) && kvb_trellis_codebook(states, bits + kvb_plan_half(place)) ? states : 0;
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

enum { MOST_PAIRS = KVB_MAX_BITS * KVB_MAX_BITS, MOST_PACKED = KVB_PLAN_WIDTHS - 1 };

/* Pairs first to end - 1 of every width at `places` with every other, all stored with `states`. */
typedef struct pairs_run {
    int places[MOST_PACKED], n_places;
    int states, first, end;
} pairs_run;

/* Cells of a run in which a side was stored as the request wants it are taken, the others are not. */
static int take_cells(const kvb_plan_request *request, const json_t *layers, int n_layers, const pairs_run *r,
                      kvb_plan_curves *curves) {
    if (json_array_size(layers) != (size_t)n_layers)
        return 0;
    for (int l = 0; l < n_layers; l++) {
        const json_t *cells = json_object_get(json_array_get(layers, (size_t)l), "pair_cells");
        if (json_array_size(cells) != (size_t)(r->end - r->first))
            return 0;
        for (int c = r->first; c < r->end; c++) {
            const json_t *cell = json_array_get(cells, (size_t)(c - r->first));
            const int k = r->places[c / r->n_places], v = r->places[c % r->n_places];
            const int k_fits = kvb_plan_states(request, k) == r->states,
                      v_fits = kvb_plan_states(request, v) == r->states;
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

static kvb_status run_pairs(const kvb_trace *trace, const kvb_plan_request *request, kvb_plan_way way,
                            const pairs_run *r, const kvb_parallel *parallel, const kvb_progress *progress,
                            kvb_plan_curves *curves, kvb_error *error) {
    kvb_ab_config config = kvb_ab_config_trace();
    kvb_pair pairs[MOST_PAIRS], halves[MOST_PAIRS];
    kvb_result *result = NULL;
    for (int c = r->first; c < r->end; c++) {
        const int k = r->places[c / r->n_places], v = r->places[c % r->n_places];
        pairs[c - r->first] = (kvb_pair){kvb_plan_widths[k], kvb_plan_widths[v]};
        halves[c - r->first] = (kvb_pair){kvb_plan_half(k), kvb_plan_half(v)};
    }
    config.bits = &kvb_plan_widths[r->states ? KVB_MIN_TRELLIS_BITS - 1 : 0];
    config.n_bits = r->states ? KVB_MAX_TRELLIS_BITS - KVB_MIN_TRELLIS_BITS + 1 : KVB_PLAN_PACKED;
    config.pairs = pairs;
    config.n_pairs = r->end - r->first;
    config.halves = request->half_bits ? halves : NULL;
    config.trellis_states = r->states;
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

/* All packed widths with scalar codes, or those that have trellis codes with them; so many pairs at once as a run
 * takes.
 */
static kvb_status run_grid(const kvb_trace *trace, const kvb_plan_request *request, kvb_plan_way way, int states,
                           const kvb_parallel *parallel, const kvb_progress *progress, kvb_plan_curves *curves,
                           kvb_error *error) {
    pairs_run r = {.states = states};
    kvb_status status = KVB_OK;
    for (int place = 0; place < kvb_plan_choices(request); place++)
        if (place != KVB_PLAN_DENSE && (states == 0 || kvb_plan_states(request, place) == states))
            r.places[r.n_places++] = place;
    const int n_pairs = r.n_places * r.n_places;
    for (; r.first < n_pairs && status == KVB_OK; r.first = r.end) {
        r.end = r.first + MOST_PAIRS < n_pairs ? r.first + MOST_PAIRS : n_pairs;
        status = run_pairs(trace, request, way, &r, parallel, progress, curves, error);
    }
    return status;
}

kvb_status kvb_plan_measure(const kvb_trace *trace, const kvb_plan_request *request, kvb_plan_way way,
                            const kvb_parallel *parallel, const kvb_progress *progress, kvb_plan_curves *curves,
                            kvb_error *error) {
    const int n_layers = kvb_trace_layers(trace);
    forget(curves, n_layers);
    kvb_status status = run_grid(trace, request, way, 0, parallel, progress, curves, error);
    if (status == KVB_OK && request->trellis_states)
        status = run_grid(trace, request, way, request->trellis_states, parallel, progress, curves, error);
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
