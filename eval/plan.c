/* Plans: the widths that a budget buys at the least damage, with each choice of exact tokens, and the best of those. */
#include "plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ab_trace_layer.h"
#include "display.h"
#include "plan_allocate.h"
#include "plan_measure.h"

enum { DENSE = KVB_PLAN_DENSE };
static const int *const widths = kvb_plan_widths;

typedef struct planner {
    const kvb_trace *trace;
    const kvb_plan_request *request;
    int n_layers;
    int n_widths;                  /* among which each side has one */
    int64_t values;                /* of one token, all layers */
    kvb_plan_curves *none, *exact; /* [n_layers]: without exact tokens, and with those of the choice at work */
    double *weights;               /* [n_layers][K, V]: the damage of a squared error of 1 */
    kvb_plan_option *options;      /* [n_layers][K, V][n_widths], of the choice at work */
    int *chosen;                   /* [n_layers][K, V] */
} planner;

/* ---- Counting ---- */

int64_t kvb_plan_row_bytes(const kvb_codec_spec *side) {
    if (side->bits == KVB_DENSE_BITS)
        return 2 * (int64_t)side->head_dim;
    return (side->scale_dtype == KVB_F16 ? 2 : 4) + (int64_t)side->head_dim * (2 * side->bits + side->half_bit) / 16;
}

/* Tokens of a context that stay exact. */
static int64_t exact_of(kvb_exact_tokens exact, int64_t tokens) {
    const int64_t n = (int64_t)exact.first + exact.last;
    return n < tokens ? n : tokens;
}

void kvb_plan_count(kvb_plan *plan) {
    int64_t values = 0;
    plan->bytes_per_token = plan->bytes = 0;
    for (int l = 0; l < plan->n_layers; l++) {
        const kvb_layer_spec *spec = &plan->layers[l].spec;
        const int64_t rows = spec->n_kv_heads * (kvb_plan_row_bytes(&spec->k) + kvb_plan_row_bytes(&spec->v)),
                      of_layer = (int64_t)spec->n_kv_heads * (spec->k.head_dim + spec->v.head_dim),
                      exact = exact_of((kvb_exact_tokens){spec->exact_first, spec->exact_last}, plan->tokens);
        plan->bytes_per_token += rows;
        plan->bytes += plan->tokens * rows + exact * 2 * of_layer; /* exact tokens have packed rows beside */
        values += of_layer;
    }
    plan->bits_per_value = 8.0 * (double)plan->bytes_per_token / (double)values;
}

/* ---- Choosing widths ---- */

static kvb_codec_spec side_of(const planner *p, int layer, int is_v, int place) {
    const kvb_trace_layer *l = kvb_trace_get_layer(p->trace, layer);
    kvb_codec_spec spec = kvb_codec_spec_default(is_v ? l->v_head_dim : l->head_dim, widths[place]);
    spec.half_bit = kvb_plan_half(place);
    spec.scale = p->request->scale;
    spec.trellis_states = kvb_plan_states(p->request, place);
    return spec;
}

/* What each width costs and does. */
static void list_options(planner *p, const kvb_plan_curves *curves) {
    for (int g = 0; g < 2 * p->n_layers; g++)
        for (int w = 0; w < p->n_widths; w++) {
            const kvb_codec_spec spec = side_of(p, g / 2, g % 2, w);
            const double e = curves[g / 2].one_side[g % 2][w];
            p->options[g * p->n_widths + w] =
                (kvb_plan_option){.bytes = kvb_trace_get_layer(p->trace, g / 2)->n_kv_heads * kvb_plan_row_bytes(&spec),
                                  .damage = p->weights[g] * e * e};
        }
}

/* With every group at the width of its own at `chosen`, or at one pair of widths (chosen NULL). */
static double total(const planner *p, const int *chosen, int k, int v, int64_t *bytes) {
    double damage = 0.0;
    *bytes = 0;
    for (int g = 0; g < 2 * p->n_layers; g++) {
        const kvb_plan_option *o = &p->options[g * p->n_widths + (chosen ? chosen[g] : g % 2 ? v : k)];
        *bytes += o->bytes;
        damage += o->damage;
    }
    return damage;
}

static kvb_status allocate(planner *p, int64_t budget, kvb_error *error) {
    int64_t least;
    kvb_status status = kvb_plan_allocate(p->options, 2 * p->n_layers, p->n_widths, budget, p->chosen);
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

/* The fewest bytes whose least damage is at most `most`: damage never grows with bytes. */
static kvb_status allocate_for(planner *p, double most, kvb_error *error) {
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

/* The most damage that is asked for; negative: bytes are given instead. */
static double damage_limit(const planner *p) {
    const kvb_plan_request *r = p->request;
    return r->kl > 0.0 ? r->kl : r->error > 0.0 ? r->error * r->error * p->n_layers : -1.0;
}

/* Bytes for the rows of a token, after the exact tokens of the context have been paid for. */
static int64_t row_budget(const planner *p, kvb_exact_tokens exact) {
    const kvb_plan_request *r = p->request;
    const int64_t n = exact_of(exact, r->tokens);
    const double most =
        r->bits_per_value > 0.0 ? r->bits_per_value * (double)p->values / 8.0 + 1e-9 : (double)r->bytes_per_token;
    return (int64_t)floor(n == 0 ? most : most - 2.0 * (double)n * (double)p->values / (double)r->tokens);
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

static void fill(const planner *p, const kvb_plan_curves *curves, kvb_exact_tokens exact, kvb_plan *plan) {
    double predicted = 0.0, measured = 0.0, damage;
    for (int l = 0; l < p->n_layers; l++) {
        const kvb_trace_layer *layer = kvb_trace_get_layer(p->trace, l);
        const int k = p->chosen[2 * l], v = p->chosen[2 * l + 1];
        kvb_plan_layer *out = &plan->layers[l];
        out->index = layer->index;
        out->spec = kvb_layer_spec_default(layer->n_kv_heads, layer->head_dim, widths[k], widths[v]);
        out->spec.k = side_of(p, l, 0, k);
        out->spec.v = side_of(p, l, 1, v);
        out->spec.window = layer->window;
        out->spec.exact_first = exact.first;
        out->spec.exact_last = exact.last;
        out->k_error = curves[l].one_side[0][k];
        out->v_error = curves[l].one_side[1][v];
        out->predicted = hypot(out->k_error, out->v_error);
        out->measured = curves[l].both[k][v];
        predicted += out->predicted * out->predicted;
        measured += out->measured * out->measured;
    }
    plan->predicted = sqrt(predicted / p->n_layers);
    plan->measured = sqrt(measured / p->n_layers);
    damage = total(p, p->chosen, 0, 0, &plan->bytes_per_token);
    plan->predicted_kl = p->request->sensitivity ? damage : NAN;
    plan->rank_correlation = correlate(plan);
    plan->tokens = p->request->tokens;
    kvb_plan_count(plan);
}

/* Mean keys of a layer with packed ones. */
static kvb_status take_mean(const kvb_trace *trace, int l, kvb_plan_layer *out, kvb_error *error) {
    const kvb_trace_layer *layer = kvb_trace_get_layer(trace, l);
    const size_t heads = (size_t)layer->n_kv_heads, tokens = (size_t)layer->tokens, dim = (size_t)layer->head_dim;
    const size_t mean_tokens = (size_t)kvb_plan_mean_tokens(trace);
    const size_t n = mean_tokens < tokens ? mean_tokens : tokens;
    float *keys = malloc(heads * tokens * dim * sizeof *keys);
    out->k_mean = malloc(heads * dim * sizeof *out->k_mean);
    kvb_status status = keys && out->k_mean ? KVB_OK
                                            : kvb_error_set(error, KVB_ERROR_MEMORY,
                                                            "out of memory for the keys of layer %d", layer->index);
    if (status == KVB_OK)
        status = kvb_trace_read(trace, l, KVB_SIDE_K, keys, error);
    for (size_t i = 0; status == KVB_OK && i < heads * dim; i++)
        out->k_mean[i] = kvb_trace_mean(keys + i / dim * tokens * dim + i % dim, n, dim);
    free(keys);
    out->spec.k_mean = out->k_mean;
    return status;
}

static kvb_status take_means(const kvb_trace *trace, kvb_plan *plan, kvb_error *error) {
    kvb_status status = KVB_OK;
    for (int l = 0; l < plan->n_layers && status == KVB_OK; l++)
        if (plan->layers[l].spec.k.bits != KVB_DENSE_BITS)
            status = take_mean(trace, l, &plan->layers[l], error);
    return status;
}

/* Of two plans, of the same layers, the one that does less; where damage is what was asked for, the one with fewer
 * bytes. */
static int is_better(const planner *p, const kvb_plan *a, const kvb_plan *b) {
    if (damage_limit(p) >= 0.0)
        return a->bytes < b->bytes;
    return p->request->sensitivity ? a->predicted_kl < b->predicted_kl : a->predicted < b->predicted;
}

/* The best plan with these exact tokens. */
static kvb_status plan_with(planner *p, const kvb_plan_curves *curves, kvb_exact_tokens exact, kvb_plan *plan,
                            kvb_error *error) {
    const double most = damage_limit(p);
    list_options(p, curves);
    kvb_status status = most >= 0.0 ? allocate_for(p, most, error) : allocate(p, row_budget(p, exact), error);
    if (status == KVB_OK)
        fill(p, curves, exact, plan);
    return status;
}

static kvb_status try_exact(planner *p, kvb_exact_tokens exact, const kvb_parallel *parallel,
                            const kvb_progress *progress, kvb_plan *plan, kvb_error *error) {
    kvb_error reason;
    kvb_plan *other = kvb_plan_new(p->n_layers, error);
    if (!other)
        return KVB_ERROR_MEMORY;
    kvb_status status = kvb_plan_measure(p->trace, p->request, (kvb_plan_way){exact, p->request->k_mean}, parallel,
                                         progress, p->exact, error);
    if (status == KVB_OK) {
        status = plan_with(p, p->exact, exact, other, &reason);
        if (status == KVB_OK && is_better(p, other, plan)) {
            kvb_plan_layer *layers = plan->layers;
            *plan = *other;
            other->layers = layers;
        }
        /* Exact tokens that leave too little for the rest are no choice. */
        status = status == KVB_ERROR_ARGUMENT ? KVB_OK : status;
        if (status != KVB_OK)
            *error = reason;
    }
    kvb_plan_free(other);
    return status;
}

/* Of whole bits. */
static void find_uniform(planner *p, const kvb_plan *plan, kvb_plan_uniform *out) {
    const int64_t of_plan = plan->tokens ? plan->bytes / plan->tokens : plan->bytes_per_token,
                  budget = damage_limit(p) >= 0.0 ? of_plan : row_budget(p, (kvb_exact_tokens){0, 0});
    double least = INFINITY, squares = 0.0, both = 0.0;
    int k = -1, v = -1;
    int64_t bytes, taken = 0;
    list_options(p, p->none);
    for (int c = 0; c < KVB_PLAN_WHOLE * KVB_PLAN_WHOLE; c++) {
        const double damage = total(p, NULL, c / KVB_PLAN_WHOLE, c % KVB_PLAN_WHOLE, &bytes);
        if (bytes <= budget && damage < least) {
            least = damage;
            taken = bytes;
            k = c / KVB_PLAN_WHOLE;
            v = c % KVB_PLAN_WHOLE;
        }
    }
    if (k < 0)
        return;
    for (int l = 0; l < p->n_layers; l++) {
        const kvb_plan_curves *c = &p->none[l];
        squares += c->one_side[0][k] * c->one_side[0][k] + c->one_side[1][v] * c->one_side[1][v];
        both += c->both[k][v] * c->both[k][v];
    }
    *out = (kvb_plan_uniform){.k_bits = widths[k],
                              .v_bits = widths[v],
                              .bits_per_value = 8.0 * (double)taken / (double)p->values,
                              .predicted = sqrt(squares / p->n_layers),
                              .measured = sqrt(both / p->n_layers),
                              .predicted_kl = p->request->sensitivity ? least : NAN};
}

/* Damage is the sum of squared errors, or with sensitivities the KL divergence: that of small errors grows with their
 * square, and the probe says where it is. `probed` are curves of keys as the probe stored them. */
static kvb_status weigh(planner *p, const kvb_plan_curves *probed, kvb_error *error) {
    const kvb_sensitivity *s = p->request->sensitivity;
    for (int g = 0; g < 2 * p->n_layers; g++) {
        const double e = s ? probed[g / 2].one_side[g % 2][(g % 2 ? s->v_bits : s->k_bits) - 1] : 1.0;
        p->weights[g] = s ? s->kl[g] / (e * e) : 1.0;
        if (!(p->weights[g] >= 0.0 && isfinite(p->weights[g])))
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "layer %d: a KL divergence of %g at an error of %g by the %s alone says nothing of "
                                 "other errors",
                                 kvb_trace_get_layer(p->trace, g / 2)->index, s ? s->kl[g] : 0.0, e,
                                 g % 2 ? "values" : "keys");
    }
    return KVB_OK;
}

/* Probes store keys as they are. */
static kvb_status measure_weights(planner *p, const kvb_parallel *parallel, const kvb_progress *progress,
                                  kvb_error *error) {
    const kvb_plan_way as_probed = {{0, 0}, 0};
    if (!p->request->sensitivity || !p->request->k_mean)
        return weigh(p, p->none, error);
    kvb_status status = kvb_plan_measure(p->trace, p->request, as_probed, parallel, progress, p->exact, error);
    return status == KVB_OK ? weigh(p, p->exact, error) : status;
}

static kvb_status make(planner *p, const kvb_parallel *parallel, const kvb_progress *progress, kvb_plan *plan,
                       kvb_error *error) {
    const kvb_plan_request *r = p->request;
    const kvb_exact_tokens none = {0, 0};
    for (int l = 0; l < p->n_layers; l++) {
        const kvb_trace_layer *layer = kvb_trace_get_layer(p->trace, l);
        p->values += (int64_t)layer->n_kv_heads * (layer->head_dim + layer->v_head_dim);
    }
    kvb_status status =
        kvb_plan_measure(p->trace, r, (kvb_plan_way){none, r->k_mean}, parallel, progress, p->none, error);
    if (status == KVB_OK)
        status = measure_weights(p, parallel, progress, error);
    if (status == KVB_OK)
        status = plan_with(p, p->none, none, plan, error);
    for (int i = 0; i < r->n_exact && status == KVB_OK; i++)
        status = try_exact(p, r->exact[i], parallel, progress, plan, error);
    if (status == KVB_OK && r->k_mean)
        status = take_means(p->trace, plan, error);
    if (status == KVB_OK) {
        find_uniform(p, plan, &plan->uniform);
        kvb_display(plan->source, kvb_trace_name(p->trace));
    }
    return status;
}

/* ---- Requests ---- */

static kvb_status check_limits(const kvb_plan_request *r, kvb_error *error) {
    const int n = (r->bits_per_value != 0.0) + (r->bytes_per_token != 0) + (r->error != 0.0) + (r->kl != 0.0);
    if (n != 1)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "%d limits are given; legal: one of bits per value, bytes per token, error and KL "
                             "divergence",
                             n);
    if (!(r->bits_per_value >= 0.0 && r->bits_per_value <= 64.0))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "bits per value are %g; legal: above 0, up to 64",
                             r->bits_per_value);
    if (r->bytes_per_token < 0)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "bytes per token are %lld; legal: 1 and more",
                             (long long)r->bytes_per_token);
    if (!(r->error >= 0.0 && r->error <= 10.0))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "the error is %g; legal: above 0, up to 10", r->error);
    if (!(r->kl >= 0.0 && r->kl <= 100.0) || (r->kl > 0.0 && !r->sensitivity))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "the KL divergence is %g; legal: above 0, up to 100, with sensitivities", r->kl);
    return KVB_OK;
}

static kvb_status check_exact(const kvb_trace *trace, const kvb_plan_request *r, kvb_error *error) {
    if (r->tokens < 0 || r->tokens > KVB_PLAN_MAX_TOKENS)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "the context is %lld tokens; legal: 0 to %d",
                             (long long)r->tokens, KVB_PLAN_MAX_TOKENS);
    if (r->n_exact < 0 || (r->n_exact > 0 && (!r->exact || r->tokens == 0)))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "%d choices of exact tokens; legal: 0 and more, with the context whose bytes they share",
                             r->n_exact);
    for (int i = 0; i < r->n_exact; i++) {
        const kvb_exact_tokens e = r->exact[i];
        if (e.first < 0 || e.first > 65536 || e.last < 0 || e.last > 65536)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "exact tokens are %d and %d; legal: 0 to 65536", e.first,
                                 e.last);
        for (int l = 0; l < kvb_trace_layers(trace); l++)
            if (2 * (e.first + e.last) > kvb_trace_get_layer(trace, l)->tokens)
                return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                     "%d and %d exact tokens cannot be judged by a trace of %d; legal: half of them at "
                                     "most",
                                     e.first, e.last, kvb_trace_get_layer(trace, l)->tokens);
    }
    return KVB_OK;
}

static kvb_status check_half_bits(const kvb_trace *trace, const kvb_plan_request *r, kvb_error *error) {
    for (int l = 0; r->half_bits && l < kvb_trace_layers(trace); l++) {
        const kvb_trace_layer *layer = kvb_trace_get_layer(trace, l);
        if (layer->head_dim % 16 != 0 || layer->v_head_dim % 16 != 0)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "layer %d has head_dims of %d and %d; legal with half bits: multiples of 16",
                                 layer->index, layer->head_dim, layer->v_head_dim);
    }
    return KVB_OK;
}

static kvb_status check_sensitivity(const planner *p, kvb_error *error) {
    const kvb_sensitivity *s = p->request->sensitivity;
    if (!s)
        return KVB_OK;
    if (s->n_layers != p->n_layers)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "there are sensitivities of %d layers; the trace has %d",
                             s->n_layers, p->n_layers);
    if (s->k_bits < 1 || s->k_bits > KVB_MAX_BITS || s->v_bits < 1 || s->v_bits > KVB_MAX_BITS)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "probes are of %d and %d bits; legal: 1 to %d", s->k_bits,
                             s->v_bits, KVB_MAX_BITS);
    for (int l = 0; l < p->n_layers; l++)
        if (s->layers[l] != kvb_trace_get_layer(p->trace, l)->index)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "there is a sensitivity of layer %d where the trace has %d",
                                 s->layers[l], kvb_trace_get_layer(p->trace, l)->index);
    return KVB_OK;
}

kvb_status kvb_plan_make(const kvb_trace *trace, const kvb_plan_request *request, const kvb_parallel *parallel,
                         const kvb_progress *progress, kvb_plan **out, kvb_error *error) {
    planner p = {
        .trace = trace, .request = request, .n_layers = kvb_trace_layers(trace), .n_widths = kvb_plan_choices(request)};
    kvb_plan *plan = NULL;
    kvb_status status = check_limits(request, error);
    if (status == KVB_OK)
        status = check_exact(trace, request, error);
    if (status == KVB_OK)
        status = check_half_bits(trace, request, error);
    if (status == KVB_OK)
        status = check_sensitivity(&p, error);
    *out = NULL;
    if (status != KVB_OK)
        return status;
    if (p.n_layers > KVB_MAX_LAYERS)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "the trace has %d layers; legal: 1 to %d", p.n_layers,
                             KVB_MAX_LAYERS);
    const size_t n = (size_t)p.n_layers;
    p.none = calloc(n, sizeof *p.none);
    p.exact = calloc(n, sizeof *p.exact);
    p.weights = calloc(n * 2, sizeof *p.weights);
    p.options = calloc(n * 2 * (size_t)p.n_widths, sizeof *p.options);
    p.chosen = calloc(n * 2, sizeof *p.chosen);
    if (!p.none || !p.exact || !p.weights || !p.options || !p.chosen)
        status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a plan of %d layers", p.n_layers);
    else if (!(plan = kvb_plan_new(p.n_layers, error)))
        status = KVB_ERROR_MEMORY;
    if (status == KVB_OK)
        status = make(&p, parallel, progress, plan, error);
    free(p.none);
    free(p.exact);
    free(p.weights);
    free(p.options);
    free(p.chosen);
    if (status == KVB_OK)
        *out = plan;
    else
        kvb_plan_free(plan);
    return status;
}
