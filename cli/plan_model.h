/* What a plan is made from, out of a model: a trace of a text, and what each side of each layer does alone. */
#ifndef KVBITS_CLI_PLAN_MODEL_H
#define KVBITS_CLI_PLAN_MODEL_H

#include "kvbits/eval.h"
#include "plan_options.h"

typedef struct kvb_plan_model {
    char *file; /* the trace's bytes */
    kvb_trace *trace;
    int *layers;
    double *kl;
    kvb_sensitivity sensitivity; /* of `layers` and `kl` */
} kvb_plan_model;

/* Runs the model. On failure nothing is held. */
KVB_CHECKED kvb_status kvb_plan_model_run(const kvb_plan_options *options, const kvb_parallel *parallel,
                                          const kvb_progress *progress, kvb_plan_model *out, kvb_error *error);
void kvb_plan_model_free(kvb_plan_model *model); /* a zeroed one is legal */

#endif
