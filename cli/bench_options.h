/* The options of `kvbits bench`. */
#ifndef KVBITS_CLI_BENCH_OPTIONS_H
#define KVBITS_CLI_BENCH_OPTIONS_H

#include <stdio.h>

#include "bench/bench.h"

typedef struct kvb_bench_options {
    kvb_bench_config config;                /* all but parallels */
    int threads[KVB_BENCH_LIST], n_threads; /* 0: all processors */
    const char *json, *chart, *goals;       /* files, NULL: none; json "-" is standard output */
    int goals_only;                         /* measure only what the goals need */
    int has_backends, has_precisions;       /* by an option; goals_only adds none then */
    int quiet, help;
} kvb_bench_options;

/* Neither prints nor exits. The sentence names the option, the bad value and the legal ones. */
KVB_CHECKED kvb_status kvb_bench_options_parse(int argc, char **argv, kvb_bench_options *options, kvb_error *error);
void kvb_bench_options_help(FILE *stream);

#endif
