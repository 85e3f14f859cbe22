/* The schemes that the options of `kvbits eval` name. */
#ifndef KVBITS_CLI_EVAL_SCHEMES_H
#define KVBITS_CLI_EVAL_SCHEMES_H

#include "engine/evaluate.h"
#include "eval_options.h"

/* Adds --schemes, --k-bits with --v-bits, --plan, --engine and the probes of --sensitivity, in this order. */
KVB_CHECKED kvb_status kvb_eval_schemes_add(kvb_subject *subject, const kvb_eval_options *options, kvb_error *error);

#endif
