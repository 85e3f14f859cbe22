#include "subject.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COST_PAGE_TOKENS = 64 };

void kvb_subject_free(kvb_subject *subject) {
    if (!subject)
        return;
    for (int i = 0; i < subject->n_schemes; i++) {
        free(subject->schemes[i].layers);
        free(subject->schemes[i].means);
    }
    free(subject->schemes);
    free(subject->layers);
    free(subject);
}

static kvb_status check_exact(kvb_subject *subject, kvb_error *error) {
    kvb_self_check *check = &subject->check;
    for (int i = 0; i < subject->n_layers; i++)
        if (!(subject->layers[i].nrmse <= check->exact)) {
            check->exact = subject->layers[i].nrmse;
            check->exact_layer = i;
        }
    if (!(check->exact <= KVB_SELF_CHECK_EXACT))
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                             "self-check: attention recomputed from what was taken from layer %d differs from the "
                             "engine's by an NRMSE of %.2g (limit %g), so figures would mislead",
                             check->exact_layer, check->exact, KVB_SELF_CHECK_EXACT);
    return KVB_OK;
}

kvb_status kvb_subject_create(kvb_engine *engine, int context, const int32_t *tokens, int n_tokens,
                              const kvb_parallel *parallel, const kvb_progress *progress, kvb_subject **out,
                              kvb_error *error) {
    kvb_subject *subject = calloc(1, sizeof *subject);
    *out = NULL;
    if (!subject)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for an evaluation");
    *subject = (kvb_subject){.engine = engine,
                             .parallel = parallel,
                             .progress = progress,
                             .context = context,
                             .n_layers = kvb_engine_get_info(engine)->n_layers};
    subject->layers = calloc((size_t)subject->n_layers, sizeof *subject->layers);
    kvb_status status = subject->layers
                            ? KVB_OK
                            : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %d layers", subject->n_layers);
    if (status == KVB_OK)
        status = kvb_engine_layers_find(engine, tokens, n_tokens < context ? n_tokens : context, parallel,
                                        subject->layers, error);
    if (status == KVB_OK)
        status = check_exact(subject, error);
    if (status != KVB_OK) {
        kvb_subject_free(subject);
        return status;
    }
    *out = subject;
    return KVB_OK;
}

/* ---- Schemes ---- */

static kvb_status find_bits(const kvb_subject *subject, kvb_eval_scheme *scheme, kvb_error *error) {
    double values = 0, row_bits = 0, bytes = 0;
    if (scheme->cache >= 0) {
        scheme->bits_per_value = scheme->bits_in_window = kvb_engine_cache_bits(scheme->cache);
        return KVB_OK;
    }
    for (int i = 0; i < subject->n_layers; i++) {
        const kvb_engine_layer *layer = &subject->layers[i];
        const double n = (double)layer->n_kv_heads * (layer->k_dim + layer->v_dim);
        kvb_layer_cost cost;
        kvb_status status = kvb_layer_cost_of(&scheme->layers[i], COST_PAGE_TOKENS, subject->context, &cost, error);
        if (status != KVB_OK)
            return status;
        values += n;
        row_bits += n * cost.bits_per_value;
        bytes += (double)cost.bytes;
    }
    scheme->bits_per_value = row_bits / values;
    scheme->bits_in_window = 8 * bytes / values / subject->context;
    return KVB_OK;
}

kvb_layer_spec *kvb_subject_uniform(const kvb_subject *subject, int k_bits, int v_bits, int trellis_states,
                                    kvb_scale_kind scale, kvb_error *error) {
    kvb_layer_spec *layers = malloc((size_t)subject->n_layers * sizeof *layers);
    if (!layers)
        (void)kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %d layers", subject->n_layers);
    for (int i = 0; layers && i < subject->n_layers; i++) {
        const kvb_engine_layer *of = &subject->layers[i];
        layers[i] = kvb_layer_spec_default(of->n_kv_heads, of->k_dim, k_bits, v_bits);
        layers[i].v.head_dim = of->v_dim;
        kvb_codec_spec *sides[2] = {&layers[i].k, &layers[i].v};
        for (int side = 0; side < 2; side++) {
            if (trellis_states && kvb_trellis_codebook(trellis_states, sides[side]->bits))
                sides[side]->trellis_states = trellis_states;
            if (sides[side]->bits != KVB_DENSE_BITS)
                sides[side]->scale = scale;
        }
    }
    return layers;
}

static kvb_layer_spec *halves_of(const kvb_subject *subject, kvb_error *error) {
    return kvb_subject_uniform(subject, KVB_DENSE_BITS, KVB_DENSE_BITS, 0, KVB_SCALE_LSQ, error);
}

/* The scheme's own layers, mean keys included. */
static kvb_status copy_layers(kvb_eval_scheme *scheme, const kvb_layer_spec *layers, int n, kvb_error *error) {
    size_t n_means = 0;
    for (int i = 0; i < n; i++)
        n_means += layers[i].k_mean ? (size_t)layers[i].n_kv_heads * (size_t)layers[i].k.head_dim : 0;
    scheme->layers = malloc((size_t)n * sizeof *layers);
    scheme->means = malloc((n_means + 1) * sizeof *scheme->means);
    if (!scheme->layers || !scheme->means)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the layers of scheme %.60s", scheme->name);
    memcpy(scheme->layers, layers, (size_t)n * sizeof *layers);
    float *means = scheme->means;
    for (int i = 0; i < n; i++)
        if (layers[i].k_mean) {
            const size_t values = (size_t)layers[i].n_kv_heads * (size_t)layers[i].k.head_dim;
            scheme->layers[i].k_mean = memcpy(means, layers[i].k_mean, values * sizeof *means);
            means += values;
        }
    return KVB_OK;
}

kvb_status kvb_subject_add(kvb_subject *subject, const char *name, int cache, const kvb_layer_spec *layers,
                           kvb_error *error) {
    const size_t n = (size_t)subject->n_schemes + 1;
    kvb_eval_scheme *schemes = realloc(subject->schemes, n * sizeof *schemes);
    if (!schemes)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %zu schemes", n);
    subject->schemes = schemes;
    kvb_eval_scheme *scheme = &schemes[subject->n_schemes++];
    *scheme = (kvb_eval_scheme){.cache = layers ? -1 : cache, .probed_layer = -1, .predicted_kl = NAN};
    snprintf(scheme->name, sizeof scheme->name, "%s", name);
    kvb_status status = layers ? copy_layers(scheme, layers, subject->n_layers, error) : KVB_OK;
    if (status == KVB_OK)
        status = find_bits(subject, scheme, error);
    if (status == KVB_OK && layers) { /* what no cache can be made of is found before the work */
        kvb_stand_in in;
        status = kvb_stand_in_create(layers, subject->n_layers, subject->context, NULL, &in, error);
        if (status == KVB_OK)
            kvb_stand_in_destroy(&in);
    }
    return status;
}

kvb_status kvb_subject_add_probes(kvb_subject *subject, const kvb_layer_spec *layers, kvb_error *error) {
    kvb_layer_spec *probe = halves_of(subject, error);
    kvb_status status = probe ? KVB_OK : KVB_ERROR_MEMORY;
    for (int i = 0; i < 2 * subject->n_layers && status == KVB_OK; i++) {
        const int layer = i / 2, side = i % 2;
        const kvb_layer_spec whole = probe[layer];
        char name[64];
        *(side ? &probe[layer].v : &probe[layer].k) = side ? layers[layer].v : layers[layer].k;
        snprintf(name, sizeof name, "%s of layer %d", side ? "values" : "keys", layer);
        status = kvb_subject_add(subject, name, -1, probe, error);
        if (status == KVB_OK) {
            subject->schemes[subject->n_schemes - 1].probed_layer = layer;
            subject->schemes[subject->n_schemes - 1].probed_side = side;
        }
        probe[layer] = whole;
    }
    free(probe);
    return status;
}

/* ---- Runs ---- */

typedef struct run {
    const kvb_subject *subject;
    const kvb_passage *passage;
    kvb_reference *taken;           /* gets the reference's logits */
    const kvb_reference *reference; /* is compared with */
    kvb_divergence *out;
    double largest;
} run;

static kvb_status take_reference(void *context, int64_t position, int n, const float *logits, kvb_error *error) {
    run *r = context;
    (void)error;
    kvb_reference_take(r->taken, position - r->passage->from, n, logits, r->subject->parallel);
    return KVB_OK;
}

static kvb_status take_repetition(void *context, int64_t position, int n, const float *logits, kvb_error *error) {
    run *r = context;
    const double difference = kvb_reference_difference(r->reference, position - r->passage->from, n, logits);
    (void)error;
    r->largest = difference > r->largest ? difference : r->largest;
    return KVB_OK;
}

static kvb_status take_scheme(void *context, int64_t position, int n, const float *logits, kvb_error *error) {
    run *r = context;
    const int64_t at = position - r->passage->from;
    (void)error;
    kvb_divergence_of(r->reference, at, n, logits, r->passage->tokens + position + 1, r->out + at,
                      r->subject->parallel);
    return KVB_OK;
}

typedef kvb_status take_logits(void *context, int64_t position, int n, const float *logits, kvb_error *error);

static kvb_status run_engine(run *r, int cache, const kvb_engine_hook *hook, take_logits *take, kvb_error *error) {
    const kvb_engine_sink sink = {r, take, r->passage->from};
    return kvb_engine_run(r->subject->engine, cache, r->passage->tokens, r->passage->n, hook, &sink, error);
}

/* Caches live for one run: those of all schemes at once would be many. */
static kvb_status run_stand_in(run *r, const kvb_layer_spec *layers, const kvb_layer_errors *errors, kvb_error *error) {
    const kvb_subject *subject = r->subject;
    const size_t bytes = (size_t)subject->n_layers * sizeof(double);
    kvb_stand_in in;
    kvb_status status = kvb_stand_in_create(layers, subject->n_layers, subject->context, subject->parallel, &in, error);
    if (status != KVB_OK)
        return status;
    const kvb_engine_hook hook = kvb_stand_in_hook(&in);
    status = kvb_stand_in_begin(&in, error);
    if (status == KVB_OK)
        status = run_engine(r, 0, &hook, take_scheme, error);
    if (status == KVB_OK && errors) {
        memcpy(errors->error, in.error, bytes);
        memcpy(errors->power, in.power, bytes);
    }
    kvb_stand_in_destroy(&in);
    return status;
}

kvb_status kvb_subject_reference(kvb_subject *subject, const kvb_passage *passage, kvb_reference *reference,
                                 kvb_error *error) {
    run r = {.subject = subject, .passage = passage, .taken = reference};
    return run_engine(&r, 0, NULL, take_reference, error);
}

kvb_status kvb_subject_scheme(kvb_subject *subject, int s, const kvb_passage *passage, const kvb_reference *reference,
                              kvb_divergence *out, const kvb_layer_errors *errors, kvb_error *error) {
    run r = {.subject = subject, .passage = passage, .reference = reference, .out = out};
    const kvb_eval_scheme *scheme = &subject->schemes[s];
    return scheme->cache >= 0 ? run_engine(&r, scheme->cache, NULL, take_scheme, error)
                              : run_stand_in(&r, scheme->layers, errors, error);
}

/* ---- The self-check ---- */

static kvb_status check_halves(kvb_subject *subject, const kvb_layer_errors *errors, const run *r, kvb_error *error) {
    kvb_self_check *check = &subject->check;
    const int n = r->passage->n - r->passage->from;
    for (int i = 0; i < subject->n_layers; i++) {
        const double nrmse = kvb_nrmse_of(errors->error[i], errors->power[i]);
        if (!(nrmse <= check->halves)) {
            check->halves = nrmse;
            check->halves_layer = i;
        }
    }
    for (int i = 0; i < n; i++)
        check->halves_kl += r->out[i].kl / n;
    if (!(check->halves <= KVB_SELF_CHECK_HALVES))
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                             "self-check: a kvbits cache of halves makes an NRMSE of %.2g in layer %d (limit %g), so "
                             "figures would mislead",
                             check->halves, check->halves_layer, KVB_SELF_CHECK_HALVES);
    return KVB_OK;
}

kvb_status kvb_subject_self_check(kvb_subject *subject, const kvb_passage *passage, kvb_reference *reference,
                                  kvb_error *error) {
    kvb_layer_spec *halves = halves_of(subject, error);
    kvb_divergence *out = calloc((size_t)(passage->n - passage->from), sizeof *out);
    double *sums = calloc(2 * (size_t)subject->n_layers, sizeof *sums);
    const kvb_layer_errors errors = {sums, sums ? sums + subject->n_layers : NULL};
    run r = {.subject = subject, .passage = passage, .reference = reference, .out = out};
    kvb_status status =
        halves && out && sums ? KVB_OK : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a self-check");
    if (status == KVB_OK)
        status = kvb_subject_reference(subject, passage, reference, error);
    if (status == KVB_OK)
        status = run_engine(&r, 0, NULL, take_repetition, error);
    subject->check.repetition = r.largest;
    if (status == KVB_OK && r.largest > 0)
        status = kvb_error_set(
            error, KVB_ERROR_UNSUPPORTED,
            "two runs of the reference differ by %.3g in a logit, so that no figure would mean anything", r.largest);
    if (status == KVB_OK)
        status = run_stand_in(&r, halves, &errors, error);
    if (status == KVB_OK)
        status = check_halves(subject, &errors, &r, error);
    free(halves);
    free(sums);
    free(out);
    return status;
}

void kvb_subject_report(const kvb_subject *subject, int done, int all, int scheme) {
    if (subject->progress && subject->progress->report)
        subject->progress->report(subject->progress->context, scheme < 0 ? "reference" : subject->schemes[scheme].name,
                                  (done + (scheme + 1.0) / (subject->n_schemes + 1)) / all);
}
