/* The figures of needles, as JSON. */
#include <stdlib.h>

#include "needle.h"
#include "subject_json.h"

typedef struct summary {
    const kvb_needles *needles;
    kvb_windows all, of_depth; /* draws of needles */
    double *sums, *counts;     /* per needle */
} summary;

enum figure { KL, LOG_PROBABILITY, RIGHT };

/* Of needles from .. from + draws->n_windows - 1, KL per token and the others per needle. row: 0 is the reference's. */
static kvb_estimate mean(const summary *s, const kvb_windows *draws, int row, int from, enum figure figure) {
    for (int i = 0; i < draws->n_windows; i++) {
        const size_t at = (size_t)(from + i);
        const kvb_needle_figure *f = &s->needles->figures[(size_t)row * (size_t)s->needles->n + at];
        s->sums[i] = figure == KL ? f->kl : figure == RIGHT ? f->right : f->log_probability;
        s->counts[i] = figure == KL ? s->needles->needles[at].n_answer : 1;
    }
    return kvb_estimate_ratio(draws, s->sums, s->counts, NULL);
}

/* The figures of a row over some needles, set in `object`. The reference has no KL. */
static json_t *set_figures(const summary *s, json_t *object, const kvb_windows *draws, int row, int from) {
    const kvb_estimate log_probability = mean(s, draws, row, from, LOG_PROBABILITY);
    if (row > 0)
        json_object_set_new(object, "kl_mean", kvb_json_estimate(mean(s, draws, row, from, KL)));
    json_object_set_new(object, "log_probability", kvb_json_estimate(log_probability));
    json_object_set_new(object, "probability", kvb_json_estimate(kvb_estimate_exp(log_probability)));
    json_object_set_new(object, "right", kvb_json_estimate(mean(s, draws, row, from, RIGHT)));
    return object;
}

static json_t *set_row(const summary *s, json_t *object, int row) {
    const kvb_needle_plan *plan = &s->needles->plan;
    json_t *depths = json_array();
    set_figures(s, object, &s->all, row, 0);
    for (int d = 0; d < plan->n_depths; d++)
        json_array_append_new(depths, set_figures(s, json_pack("{s:i}", "depth", plan->depths[d]), &s->of_depth, row,
                                                  d * plan->per_depth));
    json_object_set_new(object, "depths", depths);
    return object;
}

static json_t *list_schemes(const summary *s) {
    json_t *list = json_array();
    for (int i = 0; i < s->needles->subject->n_schemes; i++) {
        const kvb_eval_scheme *scheme = &s->needles->subject->schemes[i];
        json_t *object =
            json_pack("{s:s, s:s, s:o, s:o}", "name", scheme->name, "kind", scheme->cache < 0 ? "kvbits" : "engine",
                      "bits_per_value", kvb_json_number(scheme->bits_per_value), "bits_in_window",
                      kvb_json_number(scheme->bits_in_window));
        json_array_append_new(list, set_row(s, object, i + 1));
    }
    return list;
}

/* Each needle, with what every row makes of it. */
static json_t *list_needles(const kvb_needles *needles) {
    json_t *list = json_array();
    for (int i = 0; i < needles->n; i++) {
        const kvb_needle *needle = &needles->needles[i];
        json_t *kl = json_array(), *log_probability = json_array(), *right = json_array();
        for (int row = 0; row <= needles->subject->n_schemes; row++) {
            const kvb_needle_figure *f = &needles->figures[(size_t)row * (size_t)needles->n + (size_t)i];
            if (row > 0)
                json_array_append_new(kl, kvb_json_number(f->kl / needle->n_answer));
            json_array_append_new(log_probability, kvb_json_number(f->log_probability));
            json_array_append_new(right, json_boolean(f->right));
        }
        json_array_append_new(list, json_pack("{s:i, s:i, s:s, s:s, s:i, s:o, s:o, s:o}", "depth", needle->depth,
                                              "position", needle->position, "sentence", needle->text.sentence, "answer",
                                              needle->text.secret, "answer_tokens", needle->n_answer, "kl_mean", kl,
                                              "log_probability", log_probability, "right", right));
    }
    return list;
}

static kvb_status prepare(summary *s, kvb_error *error) {
    const size_t n = (size_t)s->needles->n;
    s->sums = malloc(n * sizeof *s->sums);
    s->counts = malloc(n * sizeof *s->counts);
    if (!s->sums || !s->counts)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the figures of %zu needles", n);
    kvb_status status = kvb_windows_create(s->needles->n, &s->all, error);
    return status == KVB_OK ? kvb_windows_create(s->needles->plan.per_depth, &s->of_depth, error) : status;
}

kvb_status kvb_needles_json(const kvb_needles *needles, const char *model, const char *text, char **json,
                            kvb_error *error) {
    summary s = {.needles = needles};
    kvb_status status = prepare(&s, error);
    *json = NULL;
    if (status == KVB_OK) {
        json_t *document = kvb_json_about(needles->subject, "kvbits_needle", model, text);
        json_object_set_new(document, "tokens", json_integer(needles->plan.tokens));
        json_object_set_new(document, "needles_per_depth", json_integer(needles->plan.per_depth));
        json_object_set_new(document, "self_check", kvb_json_self_check(&needles->subject->check));
        json_object_set_new(document, "reference", set_row(&s, json_object(), 0));
        json_object_set_new(document, "schemes", list_schemes(&s));
        json_object_set_new(document, "needles", list_needles(needles));
        *json = json_dumps(document, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        json_decref(document);
        if (!*json)
            status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the JSON of needles");
    }
    kvb_windows_free(&s.all);
    kvb_windows_free(&s.of_depth);
    free(s.sums);
    free(s.counts);
    return status;
}
