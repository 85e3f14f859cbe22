/* Plans inside: making one by hand, and counting what it takes. */
#ifndef KVBITS_EVAL_PLAN_H
#define KVBITS_EVAL_PLAN_H

#include "kvbits/eval.h"

/* Layers all zero; NULL with the error's sentence when memory is short. */
kvb_plan *kvb_plan_new(int n_layers, kvb_error *error);
/* Bytes of one row of one head, its scale included. */
int64_t kvb_plan_row_bytes(const kvb_codec_spec *side);
/* Fills bits_per_value and bytes_per_token from the layers. */
void kvb_plan_count(kvb_plan *plan);

#endif
