/* What `kvbits codebook` prints: tables, and verdicts on tables. */
#ifndef KVBITS_CLI_CODEBOOK_PRINT_H
#define KVBITS_CLI_CODEBOOK_PRINT_H

#include <stdio.h>

#include "codebook_options.h"

/* A table and its figures. */
typedef struct kvb_codebook_sheet {
    int bits;
    kvb_law law;
    const char *source;
    double centroids[KVB_MAX_LEVELS]; /* as printed */
    double factor;                    /* of the printed centroids: divided by it they are made for unit variance */
    double mse;                       /* at unit variance */
    kvb_lloyd_report lloyd;           /* rounds 0: not iterated */
} kvb_codebook_sheet;

typedef struct kvb_codebook_verdict {
    int bits;
    kvb_codebook_check check;
    double worst_centroid; /* the centroid of check.worst_level, as it stands in the file */
    double worst_optimum;  /* where that level belongs, at unit variance */
    double given_factor;   /* 0: none */
    double given_mse;      /* of the table divided by given_factor */
} kvb_codebook_verdict;

void kvb_codebook_print(FILE *stream, kvb_codebook_format format, const kvb_codebook_sheet *sheets, int n);
void kvb_codebook_print_verdicts(FILE *stream, kvb_codebook_format format, const kvb_codebook_verdict *verdicts, int n);

#endif
