/* The options of `kvbits record`. */
#ifndef KVBITS_CLI_RECORD_OPTIONS_H
#define KVBITS_CLI_RECORD_OPTIONS_H

#include <stdio.h>

#include "kvbits/eval.h"

enum { KVB_MAX_RECORDED_LAYERS = 256 };

typedef struct kvb_record_options {
    const char *model, *text, *out;
    int64_t tokens; /* at most; 0: all of the text */
    int from, threads, help;
    int layers[KVB_MAX_RECORDED_LAYERS], n_layers; /* 0: all */
    int dtype;                                     /* kvb_dtype */
    int weights_as_stored;
} kvb_record_options;

/* Neither prints nor exits. The sentence names the option, the bad value and the legal ones. */
KVB_CHECKED kvb_status kvb_record_options_parse(int argc, char **argv, kvb_record_options *options, kvb_error *error);
void kvb_record_options_help(FILE *stream);

#endif
