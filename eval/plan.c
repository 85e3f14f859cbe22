/* Plans: every layer's keys and values measured alone at every width, and the widths that the budget buys at the least
 * sum of squared errors. */
#include "plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "display.h"
#include "plan_allocate.h"
#include "result.h"

enum { N_PACKED = KVB_MAX_BITS, N_WIDTHS = N_PACKED + 1, DENSE = N_PACKED };
static const int widths[N_WIDTHS] = {1, 2, 3, 4, 5, 6, 7, 8, KVB_DENSE_BITS};

/* NRMSE of one layer's attention output, by the places of widths; NaN where it was not measured. */
typedef struct layer_errors {
    double one_side[2][N_WIDTHS], both[N_WIDTHS][N_WIDTHS];
} layer_errors;

typedef struct planner {
    const kvb_trace *trace;
    const kvb_plan_request *request;
    int n_layers;
    layer_errors *errors;     /* [n_layers] */
    kvb_plan_option *options; /* [n_layers][K, V][N_WIDTHS] */
    int *chosen;              /* [n_layers][K, V] */
} planner;

/* ---- Counting ---- */

int64_t kvb_plan_row_bytes(const kvb_codec_spec *side) {
    int planes[KVB_MAX_PLANES];
    if (side->bits == KVB_DENSE_BITS)
        return 2 * (int64_t)side->head_dim;
    const int n =
        side->trellis_states ? kvb_trellis_plane_widths(side->bits, planes) : kvb_plane_widths(side->bits, planes);
    int64_t bytes = side->scale_dtype == KVB_F16 ? 2 : 4;
    for (int p = 0; p < n; p++)
        bytes += ((int64_t)side->head_dim * planes[p] + 7) / 8;
    return bytes;
}

void kvb_plan_count(kvb_plan *plan) {
    int64_t values = 0;
    plan->bytes_per_token = 0;
    for (int l = 0; l < plan->n_layers; l++) {
        const kvb_layer_spec *spec = &plan->layers[l].spec;
        plan->bytes_per_token += spec->n_kv_heads * (kvb_plan_row_bytes(&spec->k) + kvb_plan_row_bytes(&spec->v));
        values += (int64_t)spec->n_kv_heads * (spec->k.head_dim + spec->v.head_dim);
    }
    plan->bits_per_value = 8.0 * (double)plan->bytes_per_token / (double)values;
}

/* ---- Measuring ---- */

static int is_trellis(const planner *p, int place) {
    return p->request->trellis_states && widths[place] >= KVB_MIN_TRELLIS_BITS && widths[place] <= KVB_MAX_TRELLIS_BITS;
}

static void forget(planner *p) {
    for (int l = 0; l < p->n_layers; l++) {
        layer_errors *e = &p->errors[l];
        for (int a = 0; a < N_WIDTHS; a++)
            for (int b = 0; b < N_WIDTHS; b++)
                e->both[a][b] = NAN;
    }
}

/* The cells of a run over all pairs of widths[first] to widths[last]. */
static int take_cells(planner *p, const json_t *layers, int first, int last, int states) {
    int n = last - first + 1;
    if (json_array_size(layers) != (size_t)p->n_layers)
        return 0;
    for (int l = 0; l < p->n_layers; l++) {
        const json_t *cells = json_object_get(json_array_get(layers, (size_t)l), "pair_cells");
        if (json_array_size(cells) != (size_t)(n * n))
            return 0;
        for (int c = 0; c < n * n; c++) {
            const json_t *cell = json_array_get(cells, (size_t)c);
            int k = first + c / n, v = first + c % n;
            layer_errors *e = &p->errors[l];
            if (is_trellis(p, k) == (states > 0))
                e->one_side[0][k] = json_number_value(json_object_get(cell, "k_only_mean"));
            if (is_trellis(p, v) == (states > 0))
                e->one_side[1][v] = json_number_value(json_object_get(cell, "v_only_mean"));
            if (is_trellis(p, k) == (states > 0) && is_trellis(p, v) == (states > 0))
                e->both[k][v] = json_number_value(json_object_get(cell, "nrmse_mean"));
        }
    }
    return 1;
}

static kvb_status run_pairs(planner *p, int first, int last, int states, const kvb_parallel *parallel,
                            const kvb_progress *progress, kvb_error *error) {
    kvb_ab_config config = kvb_ab_config_trace();
    kvb_pair pairs[N_PACKED * N_PACKED];
    kvb_result *result = NULL;
    int n = last - first + 1;
    for (int c = 0; c < n * n; c++)
        pairs[c] = (kvb_pair){widths[first + c / n], widths[first + c % n]};
    config.bits = &widths[first];
    config.n_bits = n;
    config.pairs = pairs;
    config.n_pairs = n * n;
    config.trellis_states = states;
    config.scale_kind = p->request->scale;
    config.queries = p->request->queries;
    kvb_status status = kvb_ab_run_trace(&config, p->trace, parallel, progress, &result, error);
    if (status == KVB_OK && !take_cells(p, json_object_get(result->document, "layers"), first, last, states))
        status = kvb_error_set(error, KVB_ERROR_FORMAT, "the run over the trace did not measure every pair");
    kvb_result_free(result);
    return status;
}

/* Halves are taken as exact: what they do is a thousandth of what 8 bits do. */
static kvb_status measure(planner *p, const kvb_parallel *parallel, const kvb_progress *progress, kvb_error *error) {
    forget(p);
    kvb_status status = run_pairs(p, 0, N_PACKED - 1, 0, parallel, progress, error);
    if (status == KVB_OK && p->request->trellis_states)
        status = run_pairs(p, KVB_MIN_TRELLIS_BITS - 1, KVB_MAX_TRELLIS_BITS - 1, p->request->trellis_states, parallel,
                           progress, error);
    for (int l = 0; l < p->n_layers && status == KVB_OK; l++) {
        layer_errors *e = &p->errors[l];
        e->one_side[0][DENSE] = e->one_side[1][DENSE] = 0.0;
        for (int w = 0; w < N_WIDTHS; w++) {
            e->both[w][DENSE] = e->one_side[0][w];
            e->both[DENSE][w] = e->one_side[1][w];
        }
    }
    return status;
}

/* ---- Choosing ---- */

static kvb_codec_spec side_of(const planner *p, int layer, int is_v, int place) {
    const kvb_trace_layer *l = kvb_trace_get_layer(p->trace, layer);
    kvb_codec_spec spec = kvb_codec_spec_default(is_v ? l->v_head_dim : l->head_dim, widths[place]);
    spec.scale = p->request->scale;
    spec.trellis_states = is_trellis(p, place) ? p->request->trellis_states : 0;
    return spec;
}

/* Returns the values of one token, and fills what each width costs and does. */
static int64_t list_options(planner *p) {
    int64_t values = 0;
    for (int l = 0; l < p->n_layers; l++) {
        const kvb_trace_layer *layer = kvb_trace_get_layer(p->trace, l);
        values += (int64_t)layer->n_kv_heads * (layer->head_dim + layer->v_head_dim);
        for (int side = 0; side < 2; side++)
            for (int w = 0; w < N_WIDTHS; w++) {
                const kvb_codec_spec spec = side_of(p, l, side, w);
                const double e = p->errors[l].one_side[side][w];
                p->options[(l * 2 + side) * N_WIDTHS + w] =
                    (kvb_plan_option){.bytes = layer->n_kv_heads * kvb_plan_row_bytes(&spec), .damage = e * e};
            }
    }
    return values;
}

/* With every group at the width of its own at `chosen`, or at one pair of widths (chosen NULL). */
static double total(const planner *p, const int *chosen, int k, int v, int64_t *bytes) {
    double damage = 0.0;
    *bytes = 0;
    for (int g = 0; g < 2 * p->n_layers; g++) {
        const kvb_plan_option *o = &p->options[g * N_WIDTHS + (chosen ? chosen[g] : g % 2 ? v : k)];
        *bytes += o->bytes;
        damage += o->damage;
    }
    return damage;
}

static kvb_status allocate(planner *p, int64_t budget, kvb_error *error) {
    int64_t least;
    kvb_status status = kvb_plan_allocate(p->options, 2 * p->n_layers, N_WIDTHS, budget, p->chosen);
    if (status == KVB_ERROR_ARGUMENT) {
        (void)total(p, NULL, 0, 0, &least);
        return kvb_error_set(error, status,
                             "the budget is %lld bytes per token; legal: %lld and more, which 1 bit everywhere takes",
                             (long long)budget, (long long)least);
    }
    if (status != KVB_OK)
        return kvb_error_set(error, status, "out of memory for choosing among widths within %lld bytes per token",
                             (long long)budget);
    return KVB_OK;
}

/* The fewest bytes whose least damage is at most what was asked for: damage never grows with bytes. */
static kvb_status allocate_for_error(planner *p, kvb_error *error) {
    const double most = p->request->error * p->request->error * p->n_layers;
    int64_t low, high, bytes;
    (void)total(p, NULL, 0, 0, &low);
    (void)total(p, NULL, DENSE, DENSE, &high);
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        kvb_status status = allocate(p, middle, error);
        if (status != KVB_OK)
            return status;
        if (total(p, p->chosen, 0, 0, &bytes) <= most)
            high = bytes;
        else
            low = middle + 1;
    }
    return allocate(p, low, error);
}

static void find_uniform(const planner *p, int64_t budget, int64_t values, kvb_plan_uniform *out) {
    double least = INFINITY;
    int k = -1, v = -1;
    int64_t bytes, taken = 0;
    for (int c = 0; c < N_WIDTHS * N_WIDTHS; c++) {
        const double damage = total(p, NULL, c / N_WIDTHS, c % N_WIDTHS, &bytes);
        if (bytes <= budget && damage < least) {
            least = damage;
            taken = bytes;
            k = c / N_WIDTHS;
            v = c % N_WIDTHS;
        }
    }
    if (k < 0)
        return;
    double squares = 0.0;
    for (int l = 0; l < p->n_layers; l++)
        squares += p->errors[l].both[k][v] * p->errors[l].both[k][v];
    *out = (kvb_plan_uniform){.k_bits = widths[k],
                              .v_bits = widths[v],
                              .bits_per_value = 8.0 * (double)taken / (double)values,
                              .predicted = sqrt(least / p->n_layers),
                              .measured = sqrt(squares / p->n_layers)};
}

/* ---- The plan ---- */

/* How many are less, and half of those that are equal. */
static double rank_of(const kvb_plan *plan, int layer, int is_measured) {
    double rank = 0.0, own = is_measured ? plan->layers[layer].measured : plan->layers[layer].predicted;
    for (int l = 0; l < plan->n_layers; l++) {
        const double other = is_measured ? plan->layers[l].measured : plan->layers[l].predicted;
        rank += other < own ? 1.0 : other == own ? 0.5 : 0.0;
    }
    return rank;
}

/* Pearson's correlation of the ranks, whose mean is n / 2. */
static double correlate(const kvb_plan *plan) {
    double ab = 0.0, aa = 0.0, bb = 0.0;
    for (int l = 0; l < plan->n_layers; l++) {
        const double a = rank_of(plan, l, 0) - 0.5 * plan->n_layers, b = rank_of(plan, l, 1) - 0.5 * plan->n_layers;
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    return isnan(plan->measured) || aa == 0.0 || bb == 0.0 ? NAN : ab / sqrt(aa * bb);
}

static void fill(const planner *p, kvb_plan *plan) {
    double predicted = 0.0, measured = 0.0;
    for (int l = 0; l < p->n_layers; l++) {
        const kvb_trace_layer *layer = kvb_trace_get_layer(p->trace, l);
        const int k = p->chosen[2 * l], v = p->chosen[2 * l + 1];
        kvb_plan_layer *out = &plan->layers[l];
        out->index = layer->index;
        out->spec = kvb_layer_spec_default(layer->n_kv_heads, layer->head_dim, widths[k], widths[v]);
        out->spec.k = side_of(p, l, 0, k);
        out->spec.v = side_of(p, l, 1, v);
        out->spec.window = layer->window;
        out->k_error = p->errors[l].one_side[0][k];
        out->v_error = p->errors[l].one_side[1][v];
        out->predicted = hypot(out->k_error, out->v_error);
        out->measured = p->errors[l].both[k][v];
        predicted += out->predicted * out->predicted;
        measured += out->measured * out->measured;
    }
    plan->predicted = sqrt(predicted / p->n_layers);
    plan->measured = sqrt(measured / p->n_layers);
    plan->rank_correlation = correlate(plan);
    kvb_display(plan->source, kvb_trace_name(p->trace));
    kvb_plan_count(plan);
}

static kvb_status choose(planner *p, kvb_plan *plan, kvb_error *error) {
    const kvb_plan_request *r = p->request;
    const int64_t values = list_options(p);
    int64_t budget = r->bytes_per_token;
    kvb_status status;
    if (r->bits_per_value > 0.0)
        budget = (int64_t)floor(r->bits_per_value * (double)values / 8.0 + 1e-9);
    status = r->error > 0.0 ? allocate_for_error(p, error) : allocate(p, budget, error);
    if (status != KVB_OK)
        return status;
    fill(p, plan);
    find_uniform(p, r->error > 0.0 ? plan->bytes_per_token : budget, values, &plan->uniform);
    return KVB_OK;
}

static kvb_status check(const kvb_plan_request *r, kvb_error *error) {
    const int n = (r->bits_per_value != 0.0) + (r->bytes_per_token != 0) + (r->error != 0.0);
    if (n != 1)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "%d limits are given; legal: one of bits per value, bytes per token and error", n);
    if (!(r->bits_per_value >= 0.0 && r->bits_per_value <= 64.0))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "bits per value are %g; legal: above 0, up to 64",
                             r->bits_per_value);
    if (r->bytes_per_token < 0)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "bytes per token are %lld; legal: 1 and more",
                             (long long)r->bytes_per_token);
    if (!(r->error >= 0.0 && r->error <= 10.0))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "the error is %g; legal: above 0, up to 10", r->error);
    return KVB_OK;
}

kvb_status kvb_plan_make(const kvb_trace *trace, const kvb_plan_request *request, const kvb_parallel *parallel,
                         const kvb_progress *progress, kvb_plan **out, kvb_error *error) {
    planner p = {.trace = trace, .request = request, .n_layers = kvb_trace_layers(trace)};
    kvb_plan *plan = NULL;
    kvb_status status = check(request, error);
    *out = NULL;
    if (status != KVB_OK)
        return status;
    if (p.n_layers > KVB_MAX_LAYERS)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "the trace has %d layers; legal: 1 to %d", p.n_layers,
                             KVB_MAX_LAYERS);
    const size_t n = (size_t)p.n_layers;
    p.errors = calloc(n, sizeof *p.errors);
    p.options = calloc(n * 2 * N_WIDTHS, sizeof *p.options);
    p.chosen = calloc(n * 2, sizeof *p.chosen);
    if (!p.errors || !p.options || !p.chosen)
        status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a plan of %d layers", p.n_layers);
    else if (!(plan = kvb_plan_new(p.n_layers, error)))
        status = KVB_ERROR_MEMORY;
    if (status == KVB_OK)
        status = measure(&p, parallel, progress, error);
    if (status == KVB_OK)
        status = choose(&p, plan, error);
    free(p.errors);
    free(p.options);
    free(p.chosen);
    if (status == KVB_OK)
        *out = plan;
    else
        kvb_plan_free(plan);
    return status;
}
