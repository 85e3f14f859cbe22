/* The options of `kvbits info`. */
#ifndef KVBITS_CLI_INFO_OPTIONS_H
#define KVBITS_CLI_INFO_OPTIONS_H

#include <stdio.h>

#include "kvbits/eval.h"

typedef struct kvb_info_options {
    int n_layers;
    int64_t n_tokens;
    int page_tokens;
    kvb_layer_spec layer; /* of every layer; its bits are the chosen pair */
    const char *plan;     /* prices this plan instead */
    int half_bits;        /* tables have them, too */
    int json;
    int help;
} kvb_info_options;

/* Neither prints nor exits. The sentence names the option, the bad value and the legal ones. */
KVB_CHECKED kvb_status kvb_info_options_parse(int argc, char **argv, kvb_info_options *options, kvb_error *error);
void kvb_info_options_help(FILE *stream);

#endif
