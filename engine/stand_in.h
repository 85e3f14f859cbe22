/* A kvbits cache in the place of the engine's: a hook that appends what the model computes, attends, and puts its
 * result where the engine's was. What it replaces is the engine's attention on exact keys and values, from the same
 * inputs, so that the two give each layer's own error. */
#ifndef KVBITS_ENGINE_STAND_IN_H
#define KVBITS_ENGINE_STAND_IN_H

#include "engine.h"

typedef struct kvb_stand_in {
    kvb_cache *cache;
    int sequence, n_layers;
    int one_by_one; /* tokens enter and attend one at a time, as in decoding: exact last tokens differ otherwise */
    const kvb_parallel *parallel;
    void *scratch;
    size_t scratch_bytes;
    float *out;
    size_t out_values;
    double *error, *power; /* per layer: sums of squares of the difference and of the exact output */
} kvb_stand_in;

/* layers: n_layers specs, whose windows are left aside (the engine's count). context: tokens of the longest run. On
 * failure nothing is held. */
KVB_CHECKED kvb_status kvb_stand_in_create(const kvb_layer_spec *layers, int n_layers, int context,
                                           const kvb_parallel *parallel, kvb_stand_in *out, kvb_error *error);
void kvb_stand_in_destroy(kvb_stand_in *in); /* a zeroed one is legal */
/* An empty sequence and errors of 0: before every run. */
KVB_CHECKED kvb_status kvb_stand_in_begin(kvb_stand_in *in, kvb_error *error);
kvb_engine_hook kvb_stand_in_hook(kvb_stand_in *in);

#endif
