/* The options of `kvbits plan`. */
#ifndef KVBITS_CLI_PLAN_OPTIONS_H
#define KVBITS_CLI_PLAN_OPTIONS_H

#include <stdio.h>

#include "kvbits/eval.h"
#include "scheme.h"

enum { KVB_MAX_EXACT_CHOICES = 16 };

typedef struct kvb_plan_options {
    const char *trace, *model; /* one of them */
    const char *out;           /* NULL or "-": standard output instead of the table */
    kvb_plan_request request;
    int64_t bytes; /* of request.tokens tokens: another way to give bytes per token */
    kvb_exact_tokens exact[KVB_MAX_EXACT_CHOICES];
    int threads, quiet, help;
    /* A model only. */
    const char *text;
    int64_t trace_tokens, probe_tokens; /* of the text: recorded, and for probes */
    int probe_window;
    kvb_uniform_scheme probe;
} kvb_plan_options;

/* Neither prints nor exits. The sentence names the option, the bad value and the legal ones. */
KVB_CHECKED kvb_status kvb_plan_options_parse(int argc, char **argv, kvb_plan_options *options, kvb_error *error);
void kvb_plan_options_help(FILE *stream);

#endif
