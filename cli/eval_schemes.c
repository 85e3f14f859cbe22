#include "eval_schemes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The engine's caches by their names; cache 0 is the reference itself. */
static kvb_status add_engine(kvb_subject *subject, const char *list, kvb_error *error) {
    kvb_status status = KVB_OK;
    if (strcmp(list, "none") == 0)
        return KVB_OK;
    for (const char *p = list; status == KVB_OK;) {
        const size_t length = strcspn(p, ",");
        int cache = 1;
        const char *name;
        while ((name = kvb_engine_cache_name(cache)) && (strlen(name) != length || memcmp(name, p, length) != 0))
            cache++;
        if (!name)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "--engine is '%.80s'; legal: none, or f16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl with "
                                 "commas between",
                                 list);
        status = kvb_subject_add(subject, name, cache, NULL, error);
        if (!p[length])
            break;
        p += length + 1;
    }
    return status;
}

/* A width that has no trellis codes with half a bit more is scalar, as others without them are. */
static void add_half(kvb_codec_spec *side, kvb_width width) {
    side->half_bit = width.half;
    if (!kvb_width_has_trellis(side->trellis_states, width))
        side->trellis_states = 0;
}

static kvb_layer_spec *layers_of(const kvb_subject *subject, const kvb_eval_options *options,
                                 const kvb_uniform_scheme *u, kvb_error *error) {
    kvb_layer_spec *layers = kvb_subject_uniform(subject, u->k.bits, u->v.bits, u->trellis_states,
                                                 u->search ? KVB_SCALE_SEARCH : KVB_SCALE_LSQ, error);
    for (int i = 0; layers && i < subject->n_layers; i++) {
        add_half(&layers[i].k, u->k);
        add_half(&layers[i].v, u->v);
        layers[i].k.rotation = layers[i].v.rotation = (kvb_rotation)options->rotation;
        layers[i].exact_first = u->exact_first;
        layers[i].exact_last = u->exact_last;
    }
    return layers;
}

static kvb_status add_uniform(kvb_subject *subject, const kvb_eval_options *options, const kvb_uniform_scheme *u,
                              kvb_error *error) {
    char name[64];
    kvb_layer_spec *layers = layers_of(subject, options, u, error);
    if (!layers)
        return KVB_ERROR_MEMORY;
    snprintf(name, sizeof name, "%g/%g", kvb_width_bits(u->k), kvb_width_bits(u->v));
    if (u->trellis_states)
        snprintf(name + strlen(name), sizeof name - strlen(name), "t%d", u->trellis_states);
    if (u->search)
        snprintf(name + strlen(name), sizeof name - strlen(name), "s");
    if (u->exact_first || u->exact_last)
        snprintf(name + strlen(name), sizeof name - strlen(name), u->exact_last ? "+%d+%d" : "+%d", u->exact_first,
                 u->exact_last);
    kvb_status status = kvb_subject_add(subject, name, -1, layers, error);
    free(layers);
    return status;
}

static kvb_status add_probes(kvb_subject *subject, const kvb_eval_options *options, kvb_error *error) {
    if (options->probe.k.bits == 0)
        return KVB_OK;
    kvb_layer_spec *layers = layers_of(subject, options, &options->probe, error);
    kvb_status status = layers ? kvb_subject_add_probes(subject, layers, error) : KVB_ERROR_MEMORY;
    free(layers);
    return status;
}

static kvb_status check_plan(const kvb_subject *subject, const char *path, const kvb_plan *plan, kvb_error *error) {
    if (plan->n_layers != subject->n_layers)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "--plan %.80s has %d layers, the model %d; legal: a plan of a trace with every layer",
                             path, plan->n_layers, subject->n_layers);
    for (int l = 0; l < plan->n_layers; l++) {
        const kvb_layer_spec *spec = &plan->layers[l].spec;
        const kvb_engine_layer *of = &subject->layers[l];
        if (plan->layers[l].index != l || spec->n_kv_heads != of->n_kv_heads || spec->k.head_dim != of->k_dim ||
            spec->v.head_dim != of->v_dim)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "--plan %.80s: layers[%d] is for layer %d of %d KV heads of %d and %d values, but the "
                                 "model's layer %d has %d of %d and %d",
                                 path, l, plan->layers[l].index, spec->n_kv_heads, spec->k.head_dim, spec->v.head_dim,
                                 l, of->n_kv_heads, of->k_dim, of->v_dim);
    }
    return KVB_OK;
}

static kvb_status add_plan(kvb_subject *subject, const char *path, kvb_error *error) {
    kvb_plan *plan = NULL;
    kvb_layer_spec *layers = NULL;
    char name[64];
    kvb_status status = kvb_plan_read(path, &plan, error);
    if (status == KVB_OK)
        status = check_plan(subject, path, plan, error);
    if (status == KVB_OK && !(layers = malloc((size_t)plan->n_layers * sizeof *layers)))
        status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %d layers", plan->n_layers);
    if (status == KVB_OK) {
        for (int l = 0; l < plan->n_layers; l++)
            layers[l] = plan->layers[l].spec;
        snprintf(name, sizeof name, "plan %.4f", plan->bits_per_value);
        status = kvb_subject_add(subject, name, -1, layers, error);
        if (status == KVB_OK)
            subject->schemes[subject->n_schemes - 1].predicted_kl = plan->predicted_kl;
    }
    free(layers);
    kvb_plan_free(plan);
    return status;
}

kvb_status kvb_eval_schemes_add(kvb_subject *subject, const kvb_eval_options *options, kvb_error *error) {
    kvb_status status = KVB_OK;
    for (int i = 0; i < options->n_uniform && status == KVB_OK; i++)
        status = add_uniform(subject, options, &options->uniform[i], error);
    if (status == KVB_OK && options->plan)
        status = add_plan(subject, options->plan, error);
    if (status == KVB_OK)
        status = add_engine(subject, options->engine, error);
    return status == KVB_OK ? add_probes(subject, options, error) : status;
}
