#include <stdio.h>
#include <string.h>

#include "document.h"
#include "result.h"

int kvb_document_set_interval(json_t *object, const char *prefix, const kvb_statistic *s) {
    char key[48];
    int bad = 0, known = s->n > 1; /* one value says nothing of how far others would lie */
    snprintf(key, sizeof key, "%s_low", prefix);
    bad |= json_object_set_new(object, key, known ? kvb_json_nrmse(s->low) : json_null());
    snprintf(key, sizeof key, "%s_high", prefix);
    return bad | json_object_set_new(object, key, known ? kvb_json_nrmse(s->high) : json_null());
}

int kvb_document_set_statistic(json_t *object, const char *prefix, const kvb_statistic *s) {
    char key[48];
    snprintf(key, sizeof key, "%s_mean", prefix);
    int bad = json_object_set_new(object, key, kvb_json_nrmse(s->mean));
    snprintf(key, sizeof key, "%s_std", prefix);
    bad |= json_object_set_new(object, key, kvb_json_nrmse(s->std));
    return bad | kvb_document_set_interval(object, prefix, s);
}

static int set_attribution(json_t *object, const char *prefix, const kvb_measured *measured, int combo) {
    char key[48];
    kvb_statistic s = kvb_measured_statistic(measured, KVB_MEASURE_NRMSE, combo);
    snprintf(key, sizeof key, "%s_mean", prefix);
    return json_object_set_new(object, key, kvb_json_nrmse(s.mean)) | kvb_document_set_interval(object, prefix, &s);
}

static int set_id(json_t *object, const char *id_key, int id) {
    return id_key ? json_object_set_new(object, id_key, json_integer(id)) : 0;
}

static int set_names(json_t *object, const kvb_cell *cell, int pair) {
    const kvb_comparison *c = cell->comparison;
    const kvb_variant *k = &c->k.at[c->pairs[pair].k], *v = &c->v.at[c->pairs[pair].v];
    int bad = json_object_set_new(object, "k", json_string(k->name));
    bad |= json_object_set_new(object, "v", json_string(v->name));
    bad |= json_object_set_new(object, "k_stored_bits", kvb_json_real(k->stored_bits));
    bad |= json_object_set_new(object, "v_stored_bits", kvb_json_real(v->stored_bits));
    return bad | json_object_set_new(object, "average_bits", kvb_json_real(kvb_pair_bits(cell, 1, pair)));
}

static json_t *pair_cell(const kvb_cell *cell, int pair, const char *id_key) {
    const kvb_comparison *c = cell->comparison;
    const kvb_measured *m = cell->measured;
    kvb_statistic nrmse = kvb_measured_statistic(m, KVB_MEASURE_NRMSE, c->pair_combo[pair]);
    kvb_statistic cosine = kvb_measured_statistic(m, KVB_MEASURE_COSINE, c->pair_combo[pair]);
    json_t *object = json_object();
    int bad = set_names(object, cell, pair) | set_id(object, id_key, cell->id);
    bad |= json_object_set_new(object, "n_trials", json_integer((json_int_t)nrmse.n));
    bad |= kvb_document_set_statistic(object, "nrmse", &nrmse);
    bad |= json_object_set_new(object, "nrmse_p999", kvb_json_nrmse(nrmse.p999));
    bad |= json_object_set_new(object, "cosine_mean", kvb_json_nrmse(cosine.mean));
    bad |= set_attribution(object, "k_only", m, c->k_only[c->pairs[pair].k]);
    bad |= set_attribution(object, "v_only", m, c->v_only[c->pairs[pair].v]);
    if (!bad)
        return object;
    json_decref(object);
    return NULL;
}

int kvb_document_add_pairs(json_t *array, const kvb_cell *cell, const char *id_key) {
    int bad = 0;
    for (int pair = 0; pair < cell->comparison->n_pairs; pair++)
        bad |= json_array_append_new(array, pair_cell(cell, pair, id_key));
    return bad;
}

int kvb_document_add_logits(json_t *array, const kvb_cell *cell, const char *id_key) {
    const kvb_variants *k = &cell->comparison->k;
    int bad = 0;
    for (int i = 1; i < k->n; i++) {
        kvb_statistic rmse = kvb_measured_statistic(cell->measured, KVB_MEASURE_LOGIT_RMSE, i);
        kvb_statistic kl = kvb_measured_statistic(cell->measured, KVB_MEASURE_KL, i);
        kvb_statistic top1 = kvb_measured_statistic(cell->measured, KVB_MEASURE_TOP1, i);
        kvb_statistic top5 = kvb_measured_statistic(cell->measured, KVB_MEASURE_TOP5, i);
        json_t *object = json_object();
        bad |= json_object_set_new(object, "k", json_string(k->at[i].name));
        bad |= set_id(object, id_key, cell->id);
        bad |= json_object_set_new(object, "logit_rmse", kvb_json_real(rmse.mean));
        bad |= json_object_set_new(object, "softmax_kl", kvb_json_real(kl.mean));
        bad |= json_object_set_new(object, "softmax_kl_p999", kvb_json_real(kl.p999));
        bad |= json_object_set_new(object, "top1_flips", kvb_json_real(top1.mean));
        bad |= json_object_set_new(object, "top5_flips", kvb_json_real(top5.mean));
        bad |= json_array_append_new(array, object);
    }
    return bad;
}

static void pair_name(const kvb_comparison *c, int pair, char *out, size_t bytes) {
    snprintf(out, bytes, "%s/%s", c->k.at[c->pairs[pair].k].name, c->v.at[c->pairs[pair].v].name);
}

int kvb_document_add_differences(json_t *array, const kvb_cell *cell, const char *id_key) {
    const kvb_comparison *c = cell->comparison;
    int bad = 0;
    for (int pair = 1; pair < c->n_pairs; pair++) {
        char a[64], b[64];
        kvb_statistic s = kvb_measured_difference(cell->measured, c->pair_combo[pair], c->pair_combo[pair - 1]);
        json_t *object = json_object();
        pair_name(c, pair, a, sizeof a);
        pair_name(c, pair - 1, b, sizeof b);
        bad |= json_object_set_new(object, "a", json_string(a));
        bad |= json_object_set_new(object, "b", json_string(b));
        bad |= set_id(object, id_key, cell->id);
        bad |= json_object_set_new(object, "difference_mean", kvb_json_nrmse(s.mean));
        bad |= kvb_document_set_interval(object, "difference", &s);
        bad |= json_array_append_new(array, object);
    }
    return bad;
}

json_t *kvb_document_worst_pairs(const kvb_cell *cells, size_t n, const char *id_key, const double thresholds[2]) {
    const kvb_comparison *c = cells[0].comparison;
    json_t *array = json_array();
    int bad = 0;
    for (int pair = 0; pair < c->n_pairs; pair++) {
        kvb_worst worst = kvb_worst_of(cells, n, KVB_SLICE_PAIR, pair);
        json_t *object = json_object();
        bad |= json_object_set_new(object, "k", json_string(c->k.at[c->pairs[pair].k].name));
        bad |= json_object_set_new(object, "v", json_string(c->v.at[c->pairs[pair].v].name));
        bad |= json_object_set_new(object, "average_bits", kvb_json_real(kvb_pair_bits(cells, n, pair)));
        bad |= set_id(object, id_key, worst.id);
        bad |= json_object_set_new(object, "nrmse_worst", kvb_json_nrmse(worst.nrmse.mean));
        bad |= kvb_document_set_interval(object, "nrmse", &worst.nrmse);
        bad |= json_object_set_new(object, "nrmse_average", kvb_json_nrmse(worst.average));
        bad |= json_object_set_new(
            object, "passes",
            json_pack("[b, b]", worst.nrmse.mean <= thresholds[0], worst.nrmse.mean <= thresholds[1]));
        bad |= json_array_append_new(array, object);
    }
    if (!bad)
        return array;
    json_decref(array);
    return NULL;
}

static json_t *width_or_null(double bits) {
    return bits == 0 ? json_null() : bits == (int)bits ? json_integer((int)bits) : kvb_json_real(bits);
}

json_t *kvb_document_needed(const kvb_cell *cells, size_t n, const double thresholds[2]) {
    const kvb_comparison *c = cells[0].comparison;
    json_t *array = json_array();
    int bad = 0;
    for (int i = 0; i < 2; i++) {
        kvb_needed needed = kvb_needed_for(cells, n, thresholds[i]);
        int pair = needed.cheapest_pair;
        json_t *cheapest = json_null(), *object = json_object();
        if (pair >= 0)
            cheapest =
                json_pack("{s:s, s:s, s:o, s:o}", "k", c->k.at[c->pairs[pair].k].name, "v",
                          c->v.at[c->pairs[pair].v].name, "average_bits", kvb_json_real(kvb_pair_bits(cells, n, pair)),
                          "nrmse", kvb_json_nrmse(needed.cheapest.nrmse.mean));
        bad |= json_object_set_new(object, "threshold", kvb_json_real(thresholds[i]));
        bad |= json_object_set_new(object, "k_bits_alone", width_or_null(needed.k_bits_alone));
        bad |= json_object_set_new(object, "v_bits_alone", width_or_null(needed.v_bits_alone));
        bad |= json_object_set_new(object, "symmetric_bits", width_or_null(needed.symmetric_bits));
        bad |= json_object_set_new(object, "cheapest_pair", cheapest);
        bad |= json_array_append_new(array, object);
    }
    if (!bad)
        return array;
    json_decref(array);
    return NULL;
}

/* "4/4 0.3880 [0.3671, 0.4088], 5/5 ...": every pair, or where they are many those of equal widths. */
static void list_worst(const kvb_cell *cells, size_t n, char *out, size_t bytes) {
    const kvb_comparison *c = cells[0].comparison;
    size_t used = 0;
    for (int pair = 0; pair < c->n_pairs && used < bytes; pair++) {
        int equal =
            c->k.at[c->pairs[pair].k].bits > 0 && c->k.at[c->pairs[pair].k].bits == c->v.at[c->pairs[pair].v].bits;
        char name[64];
        if (c->n_pairs > 8 && !equal)
            continue;
        kvb_worst worst = kvb_worst_of(cells, n, KVB_SLICE_PAIR, pair);
        pair_name(c, pair, name, sizeof name);
        int wrote = snprintf(out + used, bytes - used, "%s%s %.4f", used ? ", " : "", name, worst.nrmse.mean);
        used += wrote > 0 ? (size_t)wrote : 0;
        if (worst.nrmse.n < 2 || used >= bytes)
            continue;
        wrote = snprintf(out + used, bytes - used, " [%.4f, %.4f]", worst.nrmse.low, worst.nrmse.high);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    if (used == 0)
        snprintf(out, bytes, "%d pairs, see the table", c->n_pairs);
}

static void describe(const kvb_cell *cells, size_t n, double threshold, char *out, size_t bytes) {
    const kvb_comparison *c = cells[0].comparison;
    kvb_needed needed = kvb_needed_for(cells, n, threshold);
    char verdict[64], name[64];
    kvb_verdict_name(cells, n, threshold, verdict, sizeof verdict);
    if (needed.cheapest_pair < 0) {
        snprintf(out, bytes, "at %g %s: no pair passes", threshold, verdict);
        return;
    }
    pair_name(c, needed.cheapest_pair, name, sizeof name);
    const char *sure = needed.cheapest.nrmse.n < 2               ? ", but of a single sample"
                       : needed.cheapest.nrmse.high <= threshold ? ""
                                                                 : ", but its interval crosses the threshold";
    snprintf(out, bytes, "at %g %s: the cheapest pair that passes is K/V %s, %.4g bits per value, worst NRMSE %.4f%s",
             threshold, verdict, name, kvb_pair_bits(cells, n, needed.cheapest_pair), needed.cheapest.nrmse.mean, sure);
}

int kvb_document_set_verdict(json_t *object, const kvb_cell *cells, size_t n, const char *what,
                             const double thresholds[2]) {
    char verdict[2][64], worst[1024], first[768], second[768];
    for (int i = 0; i < 2; i++)
        kvb_verdict_name(cells, n, thresholds[i], verdict[i], sizeof verdict[i]);
    list_worst(cells, n, worst, sizeof worst);
    describe(cells, n, thresholds[0], first, sizeof first);
    describe(cells, n, thresholds[1], second, sizeof second);
    int bad = json_object_set_new(object, "verdict", json_string(verdict[0]));
    bad |= json_object_set_new(object, "verdict_at_threshold_015", json_string(verdict[1]));
    return bad | json_object_set_new(
                     object, "verdict_rationale",
                     json_sprintf("Worst NRMSE over %s (95 %% interval): %s; %s; %s.", what, worst, first, second));
}
