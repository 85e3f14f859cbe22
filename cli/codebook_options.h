/* The options of `kvbits codebook`. */
#ifndef KVBITS_CLI_CODEBOOK_OPTIONS_H
#define KVBITS_CLI_CODEBOOK_OPTIONS_H

#include <stdio.h>

#include "kvbits/eval.h"

typedef enum kvb_codebook_origin {
    KVB_ORIGIN_LIBRARY = 0,
    KVB_ORIGIN_LLOYD,
    KVB_ORIGIN_OPTIMUM,
    KVB_ORIGIN_BETA,
    KVB_ORIGIN_FILE
} kvb_codebook_origin;

typedef enum kvb_codebook_format { KVB_FORMAT_TEXT = 0, KVB_FORMAT_JSON, KVB_FORMAT_C } kvb_codebook_format;

typedef struct kvb_codebook_options {
    int bits[KVB_MAX_BITS];
    int n_bits; /* 0: every width that the source has */
    kvb_codebook_origin origin;
    const char *path; /* KVB_ORIGIN_FILE */
    int dim;          /* KVB_ORIGIN_BETA */
    kvb_cdf cdf;
    double stop;
    int round_limit; /* 0: 10000 up to 6 bits, 100000 above */
    double factor;   /* 0: not given */
    kvb_codebook_format format;
    const char *check; /* the file to check instead of printing a table */
    double tolerance;
    int help;
} kvb_codebook_options;

/* Neither prints nor exits. The sentence names the option, the bad value and the legal ones. */
KVB_CHECKED kvb_status kvb_codebook_options_parse(int argc, char **argv, kvb_codebook_options *options,
                                                  kvb_error *error);
void kvb_codebook_options_help(FILE *stream);

#endif
