/* The ways a run stores rows: variant 0 is exact, the others are kvbits codes and baselines. */
#ifndef KVB_EVAL_VARIANTS_H
#define KVB_EVAL_VARIANTS_H

#include "attend.h"
#include "kvbits/eval.h"
#include "tables.h"

enum { KVB_MAX_VARIANTS = 24, KVB_MAX_PAIRS = 72, KVB_MAX_COMBOS = 1 + KVB_MAX_PAIRS + 2 * KVB_MAX_VARIANTS };

typedef struct kvb_variant {
    char name[24];
    int bits;       /* of a kvbits code of whole bits; 0 for all others */
    int half_above; /* of one of half a bit more: the whole bits; else 0 */
    double stored_bits;
    int redrawn;            /* 1: a redraw rotates it anew; baselines without rotation stay as they are */
    kvb_store *store;       /* NULL for exact, and when `plain` is set */
    const kvb_table *plain; /* index-order arithmetic instead of the codec */
} kvb_variant;

/* The bits of a kvbits code; 0 for all others. */
static inline double kvb_variant_width(const kvb_variant *variant) {
    return variant->half_above ? variant->half_above + 0.5 : variant->bits;
}

/* Versions of one side (keys or values) for rows of `head_dim`. */
typedef struct kvb_variants {
    int n; /* at least 1: the exact one */
    int head_dim;
    kvb_variant at[KVB_MAX_VARIANTS];
} kvb_variants;

/* What a run compares: variants of keys and of values, the pairs asked for, and all combinations to be computed:
 * the reference, the pairs, every key variant with exact values and every value variant with exact keys. */
typedef struct kvb_comparison {
    kvb_tables *k_tables, *v_tables; /* owned */
    kvb_variants k, v;
    int n_pairs;
    kvb_combo pairs[KVB_MAX_PAIRS];
    int pair_combo[KVB_MAX_PAIRS];                          /* index into combos */
    int k_only[KVB_MAX_VARIANTS], v_only[KVB_MAX_VARIANTS]; /* combination of a variant with the exact other side */
    int n_combos;
    kvb_combo combos[KVB_MAX_COMBOS];
} kvb_comparison;

/* sign_seed replaces the config's for the rotation SIGNED; `rotation` replaces the config's rotation. */
KVB_CHECKED kvb_status kvb_comparison_make(const kvb_ab_config *config, int k_dim, int v_dim, kvb_rotation rotation,
                                           uint64_t sign_seed, const kvb_parallel *parallel, kvb_comparison **out,
                                           kvb_error *error);
void kvb_comparison_free(kvb_comparison *comparison);

KVB_CHECKED kvb_status kvb_variant_round_trip(const kvb_variants *variants, int index, const float *rows, size_t n_rows,
                                              float *out, kvb_error *error);

#endif
