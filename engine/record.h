/* Queries, keys and values of a model on a text, as a trace (docs/evaluation.md) that kvbits ab and others read. */
#ifndef KVBITS_ENGINE_RECORD_H
#define KVBITS_ENGINE_RECORD_H

#include "engine.h"
#include "shapes.h"

typedef struct kvb_record_plan {
    const int32_t *tokens;
    int n_tokens;      /* run from position 0 on */
    int from;          /* first position kept; positions from .. n_tokens - 1 are */
    const int *layers; /* in rising order; NULL: all */
    int n_layers;
    kvb_dtype dtype;
    const char *model, *text; /* names for the metadata */
} kvb_record_plan;

/* Finds the model's layers, whose NRMSE says how well attention recomputed from what is recorded agrees with the
 * engine's; `shapes` holds kvb_engine_info.n_layers of them. *bytes gets the size of the trace, but for its header.
 * KVB_ERROR_ARGUMENT for layers or positions that there are none of, KVB_ERROR_UNSUPPORTED above KVB_RECORD_LIMIT. */
#define KVB_RECORD_LIMIT 1e-4
KVB_CHECKED kvb_status kvb_record_prepare(kvb_engine *engine, const kvb_record_plan *plan, const kvb_parallel *parallel,
                                          kvb_engine_layer *shapes, uint64_t *bytes, kvb_error *error);
/* Records: the whole file, released with free(). KVB_ERROR_NOT_FINITE for what overflows the dtype. */
KVB_CHECKED kvb_status kvb_record_run(kvb_engine *engine, const kvb_record_plan *plan, const kvb_engine_layer *shapes,
                                      char **file, size_t *size, kvb_error *error);

#endif
