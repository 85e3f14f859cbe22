#include "shapes.h"

#include <math.h>
#include <stdlib.h>

enum { CHECKED_TOKENS = 256 };

double kvb_nrmse_of(double squared_error, double power) {
    return power > 0 ? sqrt(squared_error / power) : squared_error > 0 ? INFINITY : 0;
}

typedef struct check {
    const kvb_engine_attention *a;
    double *error, *power; /* per token */
} check;

static double logit(const kvb_engine_attention *a, int token, int head, int other) {
    const int group = a->n_heads / a->n_kv_heads;
    const float *q = a->q + ((size_t)token * (size_t)a->n_heads + (size_t)head) * (size_t)a->k_dim;
    const float *k = a->k + ((size_t)other * (size_t)a->n_kv_heads + (size_t)(head / group)) * (size_t)a->k_dim;
    double sum = 0;
    for (int c = 0; c < a->k_dim; c++)
        sum += (double)q[c] * (double)k[c];
    sum *= (double)a->scale;
    return a->softcap > 0 ? (double)a->softcap * tanh(sum / (double)a->softcap) : sum;
}

static void one_head(const check *c, int token, int head) {
    const kvb_engine_attention *a = c->a;
    const int first = a->window && token >= a->window ? token - a->window + 1 : 0, group = a->n_heads / a->n_kv_heads;
    double weights[CHECKED_TOKENS], max = -INFINITY, sum = 0;
    for (int j = first; j <= token; j++) {
        weights[j] = logit(a, token, head, j);
        max = weights[j] > max ? weights[j] : max;
    }
    for (int j = first; j <= token; j++)
        sum += weights[j] = exp(weights[j] - max);
    const float *out = a->out + ((size_t)token * (size_t)a->n_heads + (size_t)head) * (size_t)a->v_dim;
    double value[KVB_MAX_HEAD_DIM] = {0};
    for (int j = first; j <= token; j++) {
        const float *v = a->v + ((size_t)j * (size_t)a->n_kv_heads + (size_t)(head / group)) * (size_t)a->v_dim;
        for (int i = 0; i < a->v_dim; i++)
            value[i] += weights[j] / sum * (double)v[i];
    }
    for (int i = 0; i < a->v_dim; i++) {
        c->error[token] += (value[i] - (double)out[i]) * (value[i] - (double)out[i]);
        c->power[token] += value[i] * value[i];
    }
}

static void check_token(void *context, size_t token, int worker) {
    const check *c = context;
    (void)worker;
    c->error[token] = c->power[token] = 0;
    for (int h = 0; h < c->a->n_heads; h++)
        one_head(c, (int)token, h);
}

double kvb_attention_nrmse(const kvb_engine_attention *a, const kvb_parallel *parallel) {
    double error[CHECKED_TOKENS], power[CHECKED_TOKENS], errors = 0, powers = 0;
    check c = {a, error, power};
    const int n = a->n_tokens < CHECKED_TOKENS ? a->n_tokens : CHECKED_TOKENS;
    kvb_parallel_for(parallel, (size_t)n, check_token, &c);
    for (int i = 0; i < n; i++) {
        errors += error[i];
        powers += power[i];
    }
    return kvb_nrmse_of(errors, powers);
}

typedef struct finder {
    kvb_engine_layer *layers;
    int n_layers;
    const kvb_parallel *parallel;
} finder;

static kvb_status find(void *context, const kvb_engine_attention *a, kvb_error *error) {
    finder *f = context;
    if (a->v_dim > KVB_MAX_HEAD_DIM || a->k_dim > KVB_MAX_HEAD_DIM)
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED, "layer %d has rows of %d and %d values; legal: up to %d",
                             a->layer, a->k_dim, a->v_dim, KVB_MAX_HEAD_DIM);
    if (a->layer >= f->n_layers)
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED, "the graph has a layer %d, the model %d layers", a->layer,
                             f->n_layers);
    f->layers[a->layer] = (kvb_engine_layer){.n_heads = a->n_heads,
                                             .n_kv_heads = a->n_kv_heads,
                                             .k_dim = a->k_dim,
                                             .v_dim = a->v_dim,
                                             .window = a->window,
                                             .scale = a->scale,
                                             .softcap = a->softcap,
                                             .nrmse = kvb_attention_nrmse(a, f->parallel)};
    return KVB_OK;
}

kvb_status kvb_engine_layers_find(kvb_engine *engine, const int32_t *tokens, int n, const kvb_parallel *parallel,
                                  kvb_engine_layer *layers, kvb_error *error) {
    finder f = {layers, kvb_engine_get_info(engine)->n_layers, parallel};
    const kvb_engine_hook hook = {&f, find};
    return kvb_engine_run(engine, 0, tokens, n < CHECKED_TOKENS ? n : CHECKED_TOKENS, &hook, NULL, error);
}
