#include "evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stand_in.h"

enum { COST_PAGE_TOKENS = 64 };

void kvb_eval_free(kvb_eval *eval) {
    if (!eval)
        return;
    for (int i = 0; i < eval->n_schemes; i++) {
        free(eval->schemes[i].layers);
        free(eval->schemes[i].means);
        free(eval->divergence[i]);
        free(eval->layer_error[i]);
        free(eval->layer_power[i]);
    }
    free(eval->schemes);
    free(eval->divergence);
    free(eval->layer_error);
    free(eval->layer_power);
    free(eval->layers);
    free(eval->reference_loss);
    free(eval);
}

/* ---- Schemes ---- */

static kvb_status find_bits(const kvb_eval *eval, kvb_eval_scheme *scheme, kvb_error *error) {
    double values = 0, row_bits = 0, bytes = 0;
    if (scheme->cache >= 0) {
        scheme->bits_per_value = scheme->bits_in_window = kvb_engine_cache_bits(scheme->cache);
        return KVB_OK;
    }
    for (int i = 0; i < eval->n_layers; i++) {
        const kvb_engine_layer *layer = &eval->layers[i];
        const double n = (double)layer->n_kv_heads * (layer->k_dim + layer->v_dim);
        kvb_layer_cost cost;
        kvb_status status = kvb_layer_cost_of(&scheme->layers[i], COST_PAGE_TOKENS, eval->text.window, &cost, error);
        if (status != KVB_OK)
            return status;
        values += n;
        row_bits += n * cost.bits_per_value;
        bytes += (double)cost.bytes;
    }
    scheme->bits_per_value = row_bits / values;
    scheme->bits_in_window = 8 * bytes / values / eval->text.window;
    return KVB_OK;
}

static kvb_status grow(kvb_eval *eval, kvb_error *error) {
    const size_t n = (size_t)eval->n_schemes + 1;
    kvb_eval_scheme *schemes = realloc(eval->schemes, n * sizeof *schemes);
    if (schemes)
        eval->schemes = schemes;
    kvb_divergence **divergence = realloc(eval->divergence, n * sizeof(kvb_divergence *));
    if (divergence)
        eval->divergence = divergence;
    double **errors = realloc(eval->layer_error, n * sizeof(double *));
    if (errors)
        eval->layer_error = errors;
    double **power = realloc(eval->layer_power, n * sizeof(double *));
    if (power)
        eval->layer_power = power;
    return schemes && divergence && errors && power
               ? KVB_OK
               : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %zu schemes", n);
}

kvb_layer_spec *kvb_eval_uniform(const kvb_eval *eval, int k_bits, int v_bits, int trellis_states, kvb_scale_kind scale,
                                 kvb_error *error) {
    kvb_layer_spec *layers = malloc((size_t)eval->n_layers * sizeof *layers);
    if (!layers)
        (void)kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %d layers", eval->n_layers);
    for (int i = 0; layers && i < eval->n_layers; i++) {
        const kvb_engine_layer *of = &eval->layers[i];
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

static kvb_layer_spec *halves_of(const kvb_eval *eval, kvb_error *error) {
    return kvb_eval_uniform(eval, KVB_DENSE_BITS, KVB_DENSE_BITS, 0, KVB_SCALE_LSQ, error);
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

kvb_status kvb_eval_add(kvb_eval *eval, const char *name, int cache, const kvb_layer_spec *layers, kvb_error *error) {
    kvb_status status = grow(eval, error);
    if (status != KVB_OK)
        return status;
    const size_t n_layers = (size_t)eval->n_layers, n_windows = (size_t)eval->n_windows;
    const int at = eval->n_schemes++;
    kvb_eval_scheme *scheme = &eval->schemes[at];
    *scheme = (kvb_eval_scheme){.cache = layers ? -1 : cache, .probed_layer = -1, .predicted_kl = NAN};
    snprintf(scheme->name, sizeof scheme->name, "%s", name);
    eval->divergence[at] = calloc(n_windows * (size_t)eval->text.window, sizeof(kvb_divergence));
    eval->layer_error[at] = layers ? calloc(n_windows * n_layers, sizeof(double)) : NULL;
    eval->layer_power[at] = layers ? calloc(n_windows * n_layers, sizeof(double)) : NULL;
    if (!eval->divergence[at] || (layers && (!eval->layer_error[at] || !eval->layer_power[at])))
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the figures of scheme %.60s", name);
    if (layers)
        status = copy_layers(scheme, layers, eval->n_layers, error);
    if (status == KVB_OK)
        status = find_bits(eval, scheme, error);
    if (status == KVB_OK && layers) { /* what no cache can be made of is found before the work */
        kvb_stand_in in;
        status = kvb_stand_in_create(layers, eval->n_layers, eval->text.window, NULL, &in, error);
        if (status == KVB_OK)
            kvb_stand_in_destroy(&in);
    }
    return status;
}

kvb_status kvb_eval_add_probes(kvb_eval *eval, const kvb_layer_spec *layers, kvb_error *error) {
    kvb_layer_spec *probe = halves_of(eval, error);
    kvb_status status = probe ? KVB_OK : KVB_ERROR_MEMORY;
    for (int i = 0; i < 2 * eval->n_layers && status == KVB_OK; i++) {
        const int layer = i / 2, side = i % 2;
        const kvb_layer_spec whole = probe[layer];
        char name[64];
        *(side ? &probe[layer].v : &probe[layer].k) = side ? layers[layer].v : layers[layer].k;
        snprintf(name, sizeof name, "%s of layer %d", side ? "values" : "keys", layer);
        status = kvb_eval_add(eval, name, -1, probe, error);
        if (status == KVB_OK) {
            eval->schemes[eval->n_schemes - 1].probed_layer = layer;
            eval->schemes[eval->n_schemes - 1].probed_side = side;
        }
        probe[layer] = whole;
    }
    free(probe);
    return status;
}

double kvb_eval_mean_kl(const kvb_eval *eval, int scheme) {
    const size_t n = (size_t)eval->n_windows * (size_t)eval->text.window;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += eval->divergence[scheme][i].kl;
    return sum / (double)n;
}

/* ---- Runs over one window ---- */

typedef struct run {
    kvb_eval *eval;
    kvb_reference *reference;
    const int32_t *next; /* of each position */
    kvb_divergence *out; /* of the window */
    double *loss;        /* the reference's, of the window */
    double largest;
} run;

static kvb_status take_reference(void *context, int64_t position, int n, const float *logits, kvb_error *error) {
    run *r = context;
    (void)error;
    kvb_reference_take(r->reference, position, n, logits, r->eval->parallel);
    for (int64_t i = position; i < position + n; i++)
        r->loss[i] =
            r->next[i] < 0
                ? 0
                : r->reference->lse[i] -
                      (double)r->reference->logits[(size_t)i * (size_t)r->reference->n_vocab + (size_t)r->next[i]];
    return KVB_OK;
}

static kvb_status take_repetition(void *context, int64_t position, int n, const float *logits, kvb_error *error) {
    run *r = context;
    const double difference = kvb_reference_difference(r->reference, position, n, logits);
    (void)error;
    r->largest = difference > r->largest ? difference : r->largest;
    return KVB_OK;
}

static kvb_status take_scheme(void *context, int64_t position, int n, const float *logits, kvb_error *error) {
    run *r = context;
    (void)error;
    kvb_divergence_of(r->reference, position, n, logits, r->next + position, r->out + position, r->eval->parallel);
    return KVB_OK;
}

/* The tokens of window w, and what follows each. */
static void fill_window(const kvb_eval *eval, int w, int32_t *tokens, int32_t *next) {
    const kvb_eval_tokens *text = &eval->text;
    const int extra = text->first >= 0, own = text->window - extra;
    if (extra)
        tokens[0] = text->first;
    memcpy(tokens + extra, text->tokens + (size_t)w * (size_t)own, (size_t)own * sizeof *tokens);
    for (int i = 0; i < text->window; i++)
        next[i] = i + 1 < text->window ? tokens[i + 1] : -1;
}

/* Caches live for one window: those of all schemes at once would be many. */
static kvb_status run_stand_in(kvb_eval *eval, int s, int w, const int32_t *tokens, const kvb_engine_sink *sink,
                               kvb_error *error) {
    const size_t n = (size_t)eval->n_layers;
    kvb_stand_in in;
    kvb_status status =
        kvb_stand_in_create(eval->schemes[s].layers, eval->n_layers, eval->text.window, eval->parallel, &in, error);
    if (status != KVB_OK)
        return status;
    const kvb_engine_hook hook = kvb_stand_in_hook(&in);
    status = kvb_stand_in_begin(&in, error);
    if (status == KVB_OK)
        status = kvb_engine_run(eval->engine, 0, tokens, eval->text.window, &hook, sink, error);
    if (status == KVB_OK) {
        memcpy(eval->layer_error[s] + (size_t)w * n, in.error, n * sizeof(double));
        memcpy(eval->layer_power[s] + (size_t)w * n, in.power, n * sizeof(double));
    }
    kvb_stand_in_destroy(&in);
    return status;
}

static kvb_status run_scheme(kvb_eval *eval, int s, int w, const int32_t *tokens, run *r, kvb_error *error) {
    const kvb_engine_sink sink = {r, take_scheme};
    const int cache = eval->schemes[s].cache;
    r->out = eval->divergence[s] + (size_t)w * (size_t)eval->text.window;
    return cache < 0 ? run_stand_in(eval, s, w, tokens, &sink, error)
                     : kvb_engine_run(eval->engine, cache, tokens, eval->text.window, NULL, &sink, error);
}

/* ---- The self-check ---- */

static kvb_status check_exact(kvb_eval *eval, kvb_error *error) {
    kvb_self_check *check = &eval->check;
    for (int i = 0; i < eval->n_layers; i++)
        if (!(eval->layers[i].nrmse <= check->exact)) {
            check->exact = eval->layers[i].nrmse;
            check->exact_layer = i;
        }
    if (!(check->exact <= KVB_SELF_CHECK_EXACT))
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                             "self-check: attention recomputed from what was taken from layer %d differs from the "
                             "engine's by an NRMSE of %.2g (limit %g), so figures would mislead",
                             check->exact_layer, check->exact, KVB_SELF_CHECK_EXACT);
    return KVB_OK;
}

static kvb_status check_halves(kvb_eval *eval, const kvb_stand_in *in, const run *r, kvb_error *error) {
    kvb_self_check *check = &eval->check;
    for (int i = 0; i < eval->n_layers; i++) {
        const double nrmse = kvb_nrmse_of(in->error[i], in->power[i]);
        if (!(nrmse <= check->halves)) {
            check->halves = nrmse;
            check->halves_layer = i;
        }
    }
    for (int i = 0; i < eval->text.window; i++)
        check->halves_kl += r->out[i].kl / eval->text.window;
    if (!(check->halves <= KVB_SELF_CHECK_HALVES))
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                             "self-check: a kvbits cache of halves makes an NRMSE of %.2g in layer %d (limit %g), so "
                             "figures would mislead",
                             check->halves, check->halves_layer, KVB_SELF_CHECK_HALVES);
    return KVB_OK;
}

/* Two reference runs agree, and halves in the place of floats change next to nothing. */
static kvb_status self_check(kvb_eval *eval, const int32_t *tokens, run *r, kvb_error *error) {
    kvb_stand_in in = {.sequence = -1};
    kvb_layer_spec *halves = halves_of(eval, error);
    kvb_divergence *out = calloc((size_t)eval->text.window, sizeof *out);
    const kvb_engine_sink first = {r, take_reference}, second = {r, take_repetition}, third = {r, take_scheme};
    kvb_status status =
        halves && out ? KVB_OK : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a self-check");
    r->out = out;
    if (status == KVB_OK)
        status = kvb_stand_in_create(halves, eval->n_layers, eval->text.window, eval->parallel, &in, error);
    if (status == KVB_OK)
        status = kvb_engine_run(eval->engine, 0, tokens, eval->text.window, NULL, &first, error);
    if (status == KVB_OK)
        status = kvb_engine_run(eval->engine, 0, tokens, eval->text.window, NULL, &second, error);
    eval->check.repetition = r->largest;
    if (status == KVB_OK && r->largest > 0)
        status = kvb_error_set(
            error, KVB_ERROR_UNSUPPORTED,
            "two runs of the reference differ by %.3g in a logit, so that no figure would mean anything", r->largest);
    if (status == KVB_OK)
        status = kvb_stand_in_begin(&in, error);
    const kvb_engine_hook hook = kvb_stand_in_hook(&in);
    if (status == KVB_OK)
        status = kvb_engine_run(eval->engine, 0, tokens, eval->text.window, &hook, &third, error);
    if (status == KVB_OK)
        status = check_halves(eval, &in, r, error);
    kvb_stand_in_destroy(&in);
    free(halves);
    free(out);
    return status;
}

kvb_status kvb_eval_create(kvb_engine *engine, const kvb_eval_tokens *text, const kvb_parallel *parallel,
                           const kvb_progress *progress, kvb_eval **out, kvb_error *error) {
    const int own = text->window - (text->first >= 0);
    *out = NULL;
    if (text->window < 16 || text->n_tokens < own)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "%d tokens in windows of %d; legal: windows of at least 16, and "
                             "one full window",
                             text->n_tokens, text->window);
    kvb_eval *eval = calloc(1, sizeof *eval);
    if (!eval)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for an evaluation");
    *eval = (kvb_eval){.engine = engine,
                       .parallel = parallel,
                       .progress = progress,
                       .text = *text,
                       .n_windows = text->n_tokens / own,
                       .n_layers = kvb_engine_get_info(engine)->n_layers};
    eval->layers = calloc((size_t)eval->n_layers, sizeof *eval->layers);
    eval->reference_loss = calloc((size_t)eval->n_windows * (size_t)text->window, sizeof(double));
    kvb_status status = eval->layers && eval->reference_loss
                            ? KVB_OK
                            : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %d windows", eval->n_windows);
    if (status == KVB_OK)
        status = kvb_engine_layers_find(engine, text->tokens, text->n_tokens < own ? text->n_tokens : own, parallel,
                                        eval->layers, error);
    if (status == KVB_OK)
        status = check_exact(eval, error);
    if (status != KVB_OK) {
        kvb_eval_free(eval);
        return status;
    }
    *out = eval;
    return KVB_OK;
}

/* ---- All windows ---- */

static void report(const kvb_eval *eval, int w, int s) {
    if (eval->progress && eval->progress->report)
        eval->progress->report(eval->progress->context, s < 0 ? "reference" : eval->schemes[s].name,
                               (w + (s + 1.0) / (eval->n_schemes + 1)) / eval->n_windows);
}

static kvb_status run_windows(kvb_eval *eval, kvb_reference *reference, int32_t *tokens, int32_t *next,
                              kvb_error *error) {
    kvb_status status = KVB_OK;
    for (int w = 0; w < eval->n_windows && status == KVB_OK; w++) {
        run r = {.eval = eval,
                 .reference = reference,
                 .next = next,
                 .loss = eval->reference_loss + (size_t)w * (size_t)eval->text.window};
        const kvb_engine_sink sink = {&r, take_reference};
        fill_window(eval, w, tokens, next);
        report(eval, w, -1);
        status = w == 0 ? self_check(eval, tokens, &r, error)
                        : kvb_engine_run(eval->engine, 0, tokens, eval->text.window, NULL, &sink, error);
        for (int s = 0; s < eval->n_schemes && status == KVB_OK; s++) {
            report(eval, w, s);
            status = run_scheme(eval, s, w, tokens, &r, error);
        }
    }
    return status;
}

kvb_status kvb_eval_run(kvb_eval *eval, kvb_error *error) {
    const size_t window = (size_t)eval->text.window;
    int32_t *tokens = malloc(2 * window * sizeof *tokens);
    kvb_reference reference = {.window = 0};
    kvb_status status =
        tokens ? KVB_OK : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %zu tokens", window);
    if (status == KVB_OK)
        status = kvb_reference_create(kvb_engine_get_info(eval->engine)->n_vocab, eval->text.window, &reference, error);
    if (status == KVB_OK)
        status = run_windows(eval, &reference, tokens, tokens + window, error);
    kvb_reference_free(&reference);
    free(tokens);
    return status;
}
