/* The options of `kvbits ab`. */
#ifndef KVBITS_CLI_AB_OPTIONS_H
#define KVBITS_CLI_AB_OPTIONS_H

#include <stdio.h>

#include "kvbits/eval.h"

enum { KVB_LIST_MAX = 64 };

typedef struct kvb_ab_options {
    kvb_ab_config config; /* its lists point into this struct: do not copy */
    int bits[KVB_LIST_MAX], kv_lens[KVB_LIST_MAX], dims[KVB_LIST_MAX];
    kvb_pair pairs[KVB_LIST_MAX], halves[KVB_LIST_MAX];
    int pairs_grid; /* --pairs grid: every K width with every V width of `bits` */
    const char *codebook_path, *trace, *out, *json;
    int threads; /* 0: all processors */
    int report, quiet, help;
    int frontier, effort;
    int flat; /* softmax scale 1/sqrt(head_dim) */
} kvb_ab_options;

/* Neither prints nor exits. The sentence names the option, the bad value and the legal ones. */
KVB_CHECKED kvb_status kvb_ab_options_parse(int argc, char **argv, kvb_ab_options *options, kvb_error *error);
void kvb_ab_options_help(FILE *stream);

#endif
