/* T1d: which widths suffice, over cells that share their pairs (the kv_lens of the A/B, the layers of a trace). */
#ifndef KVB_EVAL_VERDICT_H
#define KVB_EVAL_VERDICT_H

#include "measured.h"

typedef struct kvb_cell {
    int id; /* kv_len or layer */
    const kvb_comparison *comparison;
    const kvb_measured *measured;
} kvb_cell;

typedef struct kvb_worst {
    int id;
    kvb_statistic nrmse; /* of the cell with the largest mean */
    double average;      /* of the means over cells */
} kvb_worst;

/* Over the cells, combination by index of a pair, of a key variant with exact values, of a value variant with exact
 * keys. */
typedef enum kvb_slice { KVB_SLICE_PAIR, KVB_SLICE_K_ONLY, KVB_SLICE_V_ONLY } kvb_slice;
kvb_worst kvb_worst_of(const kvb_cell *cells, size_t n, kvb_slice slice, int index);

/* Stored bits per value of a pair, keys and values together, scales included; mean over the cells. */
double kvb_pair_bits(const kvb_cell *cells, size_t n, int pair);

typedef struct kvb_needed {
    double threshold;
    double k_bits_alone, v_bits_alone; /* fewest that pass; 0 when none does */
    int symmetric_bits;                /* of whole bits, likewise */
    int cheapest_pair;                 /* index of the pair, -1 when none passes */
    kvb_worst cheapest;
} kvb_needed;

kvb_needed kvb_needed_for(const kvb_cell *cells, size_t n, double threshold);
/* "bit_width_6_sufficient", or "all_bit_widths_fail_pivot_to_mixed_precision"; when no pair has equal widths of whole
 * bits, "pair_7_5_sufficient" or "all_pairs_fail". */
void kvb_verdict_name(const kvb_cell *cells, size_t n, double threshold, char *out, size_t bytes);

#endif
