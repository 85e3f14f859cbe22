/* The options of `kvbits eval`. */
#ifndef KVBITS_CLI_EVAL_OPTIONS_H
#define KVBITS_CLI_EVAL_OPTIONS_H

#include <stdio.h>

#include "engine/needle.h"
#include "kvbits/eval.h"
#include "scheme.h"

enum { KVB_MAX_SCHEMES = 64 };

typedef struct kvb_eval_options {
    const char *model, *text, *out, *plan;
    int64_t tokens; /* at most; 0: all of the text */
    int window, threads, quiet, no_report, help;
    int weights_as_stored;
    int rotation;                                /* kvb_rotation */
    kvb_uniform_scheme uniform[KVB_MAX_SCHEMES]; /* --schemes, then --k-bits and --v-bits */
    int n_uniform;
    kvb_uniform_scheme probe; /* --sensitivity: no exact tokens; k.bits 0: not asked for */
    const char *engine;       /* names of the engine's caches, separated by commas */
    int needle;               /* needles instead of windows */
    int needle_tokens;        /* 0: as many as the model was trained for and the text fills */
    int depths[KVB_MAX_NEEDLE_DEPTHS], n_depths, needles_per_depth;
} kvb_eval_options;

/* Neither prints nor exits. The sentence names the option, the bad value and the legal ones. */
KVB_CHECKED kvb_status kvb_eval_options_parse(int argc, char **argv, kvb_eval_options *options, kvb_error *error);
void kvb_eval_options_help(FILE *stream);

#endif
