/* The options of `kvbits ab`, one entry each: the parser and --help go by this list. */
#ifndef KVBITS_CLI_AB_OPTION_LIST_H
#define KVBITS_CLI_AB_OPTION_LIST_H

#include "ab_options.h"

/* What an option's value is, and how it is stored. */
typedef enum kvb_ab_kind {
    KVB_AB_FLAG,     /* sets an int to 1 */
    KVB_AB_NO_FLAG,  /* sets an int to 0 */
    KVB_AB_COUNT,    /* int, at least 0 */
    KVB_AB_SEED,     /* uint64_t, decimal or 0x */
    KVB_AB_AMOUNT,   /* double, at least 0 */
    KVB_AB_POSITIVE, /* double, above 0 */
    KVB_AB_COUNTS,   /* list of int, and its length */
    KVB_AB_CHOICE,   /* one of `legal`, stored as its place */
    KVB_AB_TEXT,     /* const char *, not empty */
    KVB_AB_PAIRS,    /* K/V,... or grid */
    KVB_AB_THRESHOLDS,
    KVB_AB_CODEBOOK
} kvb_ab_kind;

/* Where an option means something; elsewhere it is refused, for it would be ignored. */
typedef enum kvb_ab_scope {
    KVB_AB_ANYWHERE,
    KVB_AB_SYNTHETIC,
    KVB_AB_OF_TRACE,
    KVB_AB_STUDENT_T, /* generators */
    KVB_AB_OUTLIERS,
    KVB_AB_SINK,
    KVB_AB_LOW_RANK,
    KVB_AB_ITERATED, /* codebooks from the fixed-point iteration */
    KVB_AB_SIGNED    /* something is rotated with random signs */
} kvb_ab_scope;

typedef struct kvb_ab_option {
    const char *name;
    kvb_ab_kind kind;
    kvb_ab_scope scope;
    size_t offset;     /* into kvb_ab_options */
    const char *legal; /* CHOICE: names separated by '|'; else the metavariable, NULL for flags */
    const char *help;
} kvb_ab_option;

enum { KVB_AB_MAX_OPTIONS = 64 };

/* The i-th option, NULL past the last; there are at most KVB_AB_MAX_OPTIONS. */
const kvb_ab_option *kvb_ab_option_at(int i);

#endif
