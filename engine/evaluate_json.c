/* The figures of an evaluation, as JSON. */
#include <math.h>
#include <stdlib.h>

#include "evaluate.h"
#include "subject_json.h"

typedef struct summary {
    const kvb_eval *eval;
    kvb_windows windows;
    double *sums, *counts; /* per window */
    double *sorted;
    uint16_t *window_of;
    double *mean_draws, *p999_draws; /* [scheme][KVB_DRAWS] */
    double *means, *p999s;           /* [scheme] */
} summary;

static size_t n_values(const summary *s) {
    return (size_t)s->eval->n_windows * (size_t)s->eval->text.window;
}

/* ---- Means and quantiles of one scheme ---- */

typedef double figure(const kvb_divergence *d);

static double kl_of(const kvb_divergence *d) {
    return d->kl;
}

static double same_of(const kvb_divergence *d) {
    return d->same_top;
}

/* The mean of a figure at positions from..to-1 of all windows. */
static kvb_estimate mean(const summary *s, int scheme, figure *of, int from, int to, double *draws) {
    const int window = s->eval->text.window;
    for (int w = 0; w < s->eval->n_windows; w++) {
        const kvb_divergence *d = s->eval->divergence[scheme] + (size_t)w * (size_t)window;
        s->sums[w] = 0;
        s->counts[w] = to - from;
        for (int i = from; i < to; i++)
            s->sums[w] += of(d + i);
    }
    return kvb_estimate_ratio(&s->windows, s->sums, s->counts, draws);
}

/* Of log losses: the last position of a window has no next token. paired: minus the reference's. */
static kvb_estimate log_loss(const summary *s, int scheme, int paired) {
    const int window = s->eval->text.window;
    for (int w = 0; w < s->eval->n_windows; w++) {
        const size_t at = (size_t)w * (size_t)window;
        s->sums[w] = 0;
        s->counts[w] = window - 1;
        for (size_t i = at; i + 1 < at + (size_t)window; i++)
            s->sums[w] +=
                (scheme < 0 ? 0 : s->eval->divergence[scheme][i].log_loss) - (scheme < 0 ? -s->eval->reference_loss[i]
                                                                              : paired   ? s->eval->reference_loss[i]
                                                                                         : 0);
    }
    return kvb_estimate_ratio(&s->windows, s->sums, s->counts, NULL);
}

typedef struct place {
    double kl;
    uint16_t window;
} place;

static int compare_places(const void *a, const void *b) {
    const double x = ((const place *)a)->kl, y = ((const place *)b)->kl;
    return (x > y) - (x < y);
}

/* Fills sorted and window_of. */
static int sort(const summary *s, int scheme) {
    const size_t n = n_values(s);
    place *places = malloc(n * sizeof *places);
    if (!places)
        return 0;
    for (size_t i = 0; i < n; i++)
        places[i] = (place){s->eval->divergence[scheme][i].kl, (uint16_t)(i / (size_t)s->eval->text.window)};
    qsort(places, n, sizeof *places, compare_places);
    for (size_t i = 0; i < n; i++) {
        s->sorted[i] = places[i].kl;
        s->window_of[i] = places[i].window;
    }
    free(places);
    return 1;
}

static json_t *quantile(const summary *s, double q, double *draws, double *value) {
    const kvb_estimate e = kvb_estimate_quantile(&s->windows, s->sorted, s->window_of, n_values(s), q, draws);
    if (value)
        *value = e.value;
    return kvb_json_estimate(e);
}

static json_t *divergences(const summary *s, int scheme) {
    double *mean_draws = s->mean_draws + (size_t)scheme * KVB_DRAWS, *p999 = s->p999_draws + (size_t)scheme * KVB_DRAWS;
    const kvb_estimate average = mean(s, scheme, kl_of, 0, s->eval->text.window, mean_draws);
    if (!sort(s, scheme))
        return NULL;
    s->means[scheme] = average.value;
    json_t *median = quantile(s, .5, NULL, NULL), *p99 = quantile(s, .99, NULL, NULL);
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "mean", kvb_json_estimate(average), "median", median, "p99", p99,
                     "p999", quantile(s, .999, p999, &s->p999s[scheme]), "largest",
                     kvb_json_number(s->sorted[n_values(s) - 1]));
}

static json_t *positions(const summary *s, int scheme) {
    json_t *list = json_array();
    for (int from = 0, to = 16; from < s->eval->text.window; from = to, to *= 4) {
        const int end = to < s->eval->text.window ? to : s->eval->text.window;
        json_array_append_new(list,
                              json_pack("{s:i, s:i, s:o, s:o}", "from", from, "to", end - 1, "kl_mean",
                                        kvb_json_estimate(mean(s, scheme, kl_of, from, end, NULL)), "top1_agreement",
                                        kvb_json_estimate(mean(s, scheme, same_of, from, end, NULL))));
    }
    return list;
}

static json_t *layers(const summary *s, int scheme) {
    const kvb_eval *eval = s->eval;
    json_t *list = json_array();
    for (int l = 0; eval->layer_error[scheme] && l < eval->subject->n_layers; l++) {
        double draws[KVB_DRAWS];
        for (int w = 0; w < eval->n_windows; w++) {
            s->sums[w] = eval->layer_error[scheme][(size_t)w * (size_t)eval->subject->n_layers + (size_t)l];
            s->counts[w] = eval->layer_power[scheme][(size_t)w * (size_t)eval->subject->n_layers + (size_t)l];
        }
        kvb_estimate e = kvb_estimate_ratio(&s->windows, s->sums, s->counts, draws);
        const kvb_layer_spec *spec = &eval->subject->schemes[scheme].layers[l];
        e = (kvb_estimate){sqrt(e.value), sqrt(e.low), sqrt(e.high)};
        json_array_append_new(list, json_pack("{s:i, s:i, s:i, s:i, s:i, s:o}", "layer", l, "k_bits", spec->k.bits,
                                              "v_bits", spec->v.bits, "exact_first", spec->exact_first, "exact_last",
                                              spec->exact_last, "nrmse", kvb_json_estimate(e)));
    }
    return list;
}

static json_t *scheme(const summary *s, int i) {
    const kvb_eval_scheme *scheme = &s->eval->subject->schemes[i];
    json_t *kl = divergences(s, i), *predicted = kvb_json_number(scheme->predicted_kl);
    if (!kl) {
        json_decref(predicted);
        return NULL;
    }
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", scheme->name, "kind",
                     scheme->cache < 0 ? "kvbits" : "engine", "bits_per_value", kvb_json_number(scheme->bits_per_value),
                     "bits_in_window", kvb_json_number(scheme->bits_in_window), "predicted_kl", predicted, "kl", kl,
                     "top1_agreement", kvb_json_estimate(mean(s, i, same_of, 0, s->eval->text.window, NULL)),
                     "perplexity", kvb_json_estimate(kvb_estimate_exp(log_loss(s, i, 0))), "perplexity_ratio",
                     kvb_json_estimate(kvb_estimate_exp(log_loss(s, i, 1))), "positions", positions(s, i), "layers",
                     layers(s, i));
}

/* ---- What either side of each layer does alone ---- */

/* Probes come in pairs, keys and values of a layer, and all have one code. NULL: there are none. */
static json_t *sensitivity(const summary *s) {
    const kvb_eval *eval = s->eval;
    json_t *list = json_array(), *object = NULL;
    for (int i = 0; i + 1 < eval->subject->n_schemes; i++) {
        const kvb_eval_scheme *k = &eval->subject->schemes[i], *v = k + 1;
        if (k->probed_layer < 0 || k->probed_side != 0)
            continue;
        const kvb_codec_spec *of_k = &k->layers[k->probed_layer].k, *of_v = &v->layers[v->probed_layer].v;
        if (!object)
            object = json_pack("{s:i, s:i, s:i, s:i, s:s, s:i}", "k_bits", of_k->bits, "v_bits", of_v->bits,
                               "k_trellis_states", of_k->trellis_states, "v_trellis_states", of_v->trellis_states,
                               "scale", of_k->scale == KVB_SCALE_SEARCH ? "search" : "lsq", "tokens",
                               eval->n_windows * eval->text.window);
        json_array_append_new(list, json_pack("{s:i, s:o, s:o}", "layer", k->probed_layer, "k",
                                              kvb_json_estimate(mean(s, i, kl_of, 0, eval->text.window, NULL)), "v",
                                              kvb_json_estimate(mean(s, i + 1, kl_of, 0, eval->text.window, NULL))));
    }
    if (object)
        json_object_set(object, "layers", list);
    json_decref(list);
    return object;
}

/* ---- Ours beside the engine's ---- */

static json_t *ratio(const summary *s, const double *values, const double *draws, int a, int b) {
    double ratios[KVB_DRAWS];
    for (int d = 0; d < KVB_DRAWS; d++)
        ratios[d] = draws[(size_t)a * KVB_DRAWS + (size_t)d] / draws[(size_t)b * KVB_DRAWS + (size_t)d];
    return kvb_json_estimate(kvb_estimate_from(&s->windows, values[a] / values[b], ratios));
}

static json_t *comparisons(const summary *s) {
    json_t *list = json_array();
    for (int a = 0; a < s->eval->subject->n_schemes; a++)
        for (int b = 0; b < s->eval->subject->n_schemes; b++)
            if (a != b && s->eval->subject->schemes[a].cache < 0 && s->eval->subject->schemes[a].probed_layer < 0 &&
                s->eval->subject->schemes[b].probed_layer < 0)
                json_array_append_new(list,
                                      json_pack("{s:s, s:s, s:o, s:o}", "scheme", s->eval->subject->schemes[a].name,
                                                "against", s->eval->subject->schemes[b].name, "kl_mean_ratio",
                                                ratio(s, s->means, s->mean_draws, a, b), "kl_p999_ratio",
                                                ratio(s, s->p999s, s->p999_draws, a, b)));
    return list;
}

/* ---- The whole ---- */

static json_t *about(const kvb_eval *eval, const char *model, const char *text) {
    json_t *document = kvb_json_about(eval->subject, "kvbits_eval", model, text);
    json_object_set_new(document, "tokens", json_integer(eval->n_windows * eval->text.window));
    json_object_set_new(document, "window", json_integer(eval->text.window));
    json_object_set_new(document, "windows", json_integer(eval->n_windows));
    json_object_set_new(document, "self_check", kvb_json_self_check(&eval->subject->check));
    return document;
}

static kvb_status prepare(summary *s, kvb_error *error) {
    const size_t n = n_values(s), windows = (size_t)s->eval->n_windows,
                 schemes = (size_t)s->eval->subject->n_schemes + 1;
    s->sums = malloc(windows * sizeof(double));
    s->counts = malloc(windows * sizeof(double));
    s->sorted = malloc(n * sizeof(double));
    s->window_of = malloc(n * sizeof(uint16_t));
    s->mean_draws = malloc(schemes * KVB_DRAWS * sizeof(double));
    s->p999_draws = malloc(schemes * KVB_DRAWS * sizeof(double));
    s->means = malloc(schemes * sizeof(double));
    s->p999s = malloc(schemes * sizeof(double));
    if (!s->sums || !s->counts || !s->sorted || !s->window_of || !s->mean_draws || !s->p999_draws || !s->means ||
        !s->p999s)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the figures of %zu tokens", n);
    return kvb_windows_create(s->eval->n_windows, &s->windows, error);
}

static void release(summary *s) {
    kvb_windows_free(&s->windows);
    free(s->sums);
    free(s->counts);
    free(s->sorted);
    free(s->window_of);
    free(s->mean_draws);
    free(s->p999_draws);
    free(s->means);
    free(s->p999s);
}

kvb_status kvb_eval_json(const kvb_eval *eval, const char *model, const char *text, char **json, kvb_error *error) {
    summary s = {.eval = eval};
    json_t *document = NULL, *schemes = json_array();
    *json = NULL;
    kvb_status status = prepare(&s, error);
    for (int i = 0; i < eval->subject->n_schemes && status == KVB_OK; i++)
        if (eval->subject->schemes[i].probed_layer < 0 && json_array_append_new(schemes, scheme(&s, i)) != 0)
            status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the figures of %.60s",
                                   eval->subject->schemes[i].name);
    if (status == KVB_OK) {
        document = about(eval, model, text);
        json_t *reference = json_pack("{s:o}", "perplexity", kvb_json_estimate(kvb_estimate_exp(log_loss(&s, -1, 0))));
        json_object_set_new(document, "reference", reference);
        json_object_set(document, "schemes", schemes);
        json_object_set_new(document, "comparisons", comparisons(&s));
        json_t *probes = sensitivity(&s);
        if (probes)
            json_object_set_new(document, "sensitivity", probes);
        *json = json_dumps(document, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        if (!*json)
            status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the JSON of an evaluation");
    }
    json_decref(document);
    json_decref(schemes);
    release(&s);
    return status;
}
