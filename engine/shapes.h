/* What the model's layers are, and attention computed again from what the hook saw, in double precision. */
#ifndef KVBITS_ENGINE_SHAPES_H
#define KVBITS_ENGINE_SHAPES_H

#include "engine.h"

typedef struct kvb_engine_layer {
    int n_heads, n_kv_heads, k_dim, v_dim, window;
    float scale, softcap;
    double nrmse; /* of the recomputed attention against the engine's */
} kvb_engine_layer;

/* ||other - reference|| / ||reference||; two zero vectors give 0. */
double kvb_nrmse_of(double squared_error, double power);

/* Attention of the batch's own tokens by its definition, against a->out. The batch begins at position 0. */
double kvb_attention_nrmse(const kvb_engine_attention *a, const kvb_parallel *parallel);

/* Runs the first tokens, at most 256, and fills layers[0..n_layers). */
KVB_CHECKED kvb_status kvb_engine_layers_find(kvb_engine *engine, const int32_t *tokens, int n,
                                              const kvb_parallel *parallel, kvb_engine_layer *layers, kvb_error *error);

#endif
