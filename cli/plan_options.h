/* The options of `kvbits plan`. */
#ifndef KVBITS_CLI_PLAN_OPTIONS_H
#define KVBITS_CLI_PLAN_OPTIONS_H

#include <stdio.h>

#include "kvbits/eval.h"

typedef struct kvb_plan_options {
    const char *trace, *out; /* out: NULL or "-", standard output instead of the table */
    kvb_plan_request request;
    int64_t bytes, tokens; /* another way to give bytes per token */
    int threads, quiet, help;
} kvb_plan_options;

/* Neither prints nor exits. The sentence names the option, the bad value and the legal ones. */
KVB_CHECKED kvb_status kvb_plan_options_parse(int argc, char **argv, kvb_plan_options *options, kvb_error *error);
void kvb_plan_options_help(FILE *stream);

#endif
