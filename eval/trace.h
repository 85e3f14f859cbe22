/* The inside of a trace: the container, and its tensors sorted into layers. */
#ifndef KVBITS_EVAL_TRACE_H
#define KVBITS_EVAL_TRACE_H

#include "kvbits/eval.h"
#include "safetensors.h"

#define KVB_TRACE_SIDES 3

struct kvb_trace {
    kvb_safetensors file;
    void *map; /* NULL when the bytes are the caller's */
    size_t map_bytes;
    int n_layers;
    kvb_trace_layer *layers;                                 /* in rising order of index */
    const kvb_safetensors_tensor *(*sides)[KVB_TRACE_SIDES]; /* [layer][kvb_side] */
};

/* Fills layers and sides from the container's tensors: names, dtypes, shapes and positions. */
KVB_CHECKED kvb_status kvb_trace_sort_layers(kvb_trace *trace, kvb_error *error);
/* Fills every layer's scale, softcap and window from the metadata. */
KVB_CHECKED kvb_status kvb_trace_read_settings(kvb_trace *trace, kvb_error *error);

#endif
