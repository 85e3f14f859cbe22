/* The codebooks of a run, by width, and where each came from. */
#ifndef KVB_EVAL_TABLES_H
#define KVB_EVAL_TABLES_H

#include "kvbits/eval.h"

typedef struct kvb_table {
    int levels; /* 0: not asked for */
    const char *source;
    double exact[KVB_MAX_LEVELS];
    float centroids[KVB_MAX_LEVELS]; /* what the codec uses */
    int iterated;                    /* 1: `lloyd` holds the iteration's diagnostics */
    kvb_lloyd_report lloyd;
} kvb_table;

typedef struct kvb_tables {
    kvb_table width[KVB_MAX_BITS + 1];
} kvb_tables;

/* Tables for the widths set in `wanted` (bit b for b bits); head_dim matters to KVB_CODEBOOK_BETA only. */
KVB_CHECKED kvb_status kvb_tables_make(const kvb_ab_config *config, unsigned wanted, int head_dim,
                                       const kvb_parallel *parallel, kvb_tables *tables, kvb_error *error);

#endif
