#include "verdict.h"

#include <math.h>
#include <stdio.h>

/* Sums of equal widths in another order differ by rounding: that makes no pair cheaper. */
#define SAME_BITS 1e-9

static int combo_of(const kvb_comparison *c, kvb_slice slice, int index) {
    return slice == KVB_SLICE_PAIR     ? c->pair_combo[index]
           : slice == KVB_SLICE_K_ONLY ? c->k_only[index]
                                       : c->v_only[index];
}

kvb_worst kvb_worst_of(const kvb_cell *cells, size_t n, kvb_slice slice, int index) {
    kvb_worst worst = {.id = -1};
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        int combo = combo_of(cells[i].comparison, slice, index);
        kvb_statistic nrmse = kvb_measured_statistic(cells[i].measured, KVB_MEASURE_NRMSE, combo);
        sum += nrmse.mean;
        int nan_already = worst.id >= 0 && isnan(worst.nrmse.mean); /* NaN counts as worst */
        if (worst.id < 0 || (!nan_already && !(nrmse.mean <= worst.nrmse.mean))) {
            worst.id = cells[i].id;
            worst.nrmse = nrmse;
        }
    }
    worst.average = sum / (double)n;
    return worst;
}

double kvb_pair_bits(const kvb_cell *cells, size_t n, int pair) {
    double bits = 0.0, values = 0.0;
    for (size_t i = 0; i < n; i++) {
        const kvb_comparison *c = cells[i].comparison;
        bits += c->k.at[c->pairs[pair].k].stored_bits * c->k.head_dim +
                c->v.at[c->pairs[pair].v].stored_bits * c->v.head_dim;
        values += c->k.head_dim + c->v.head_dim;
    }
    return bits / values;
}

/* The fewest bits of the variants 1..n_variants-1 whose slice passes. */
static double fewest_bits(const kvb_cell *cells, size_t n, kvb_slice slice, const kvb_variants *variants,
                          double threshold) {
    double fewest = 0;
    for (int i = 1; i < variants->n; i++) {
        double bits = kvb_variant_width(&variants->at[i]);
        if (bits > 0 && (fewest == 0 || bits < fewest) && kvb_worst_of(cells, n, slice, i).nrmse.mean <= threshold)
            fewest = bits;
    }
    return fewest;
}

/* Widths of a pair of kvbits codes; 0 for a baseline. */
typedef struct pair_widths {
    double k_bits, v_bits;
} pair_widths;

static pair_widths widths(const kvb_comparison *c, int pair) {
    return (pair_widths){kvb_variant_width(&c->k.at[c->pairs[pair].k]), kvb_variant_width(&c->v.at[c->pairs[pair].v])};
}

/* The bits of a pair of equal whole bits; 0 for all others. */
static int symmetric_width(const kvb_comparison *c, int pair) {
    const int k = c->k.at[c->pairs[pair].k].bits, v = c->v.at[c->pairs[pair].v].bits;
    return k == v ? k : 0;
}

kvb_needed kvb_needed_for(const kvb_cell *cells, size_t n, double threshold) {
    const kvb_comparison *c = cells[0].comparison;
    kvb_needed needed = {.threshold = threshold, .cheapest_pair = -1};
    needed.k_bits_alone = fewest_bits(cells, n, KVB_SLICE_K_ONLY, &c->k, threshold);
    needed.v_bits_alone = fewest_bits(cells, n, KVB_SLICE_V_ONLY, &c->v, threshold);
    double cheapest = 0.0;
    for (int i = 0; i < c->n_pairs; i++) {
        int alike = symmetric_width(c, i);
        kvb_worst worst = kvb_worst_of(cells, n, KVB_SLICE_PAIR, i);
        if (widths(c, i).k_bits == 0 || !(worst.nrmse.mean <= threshold))
            continue;
        if (alike && (needed.symmetric_bits == 0 || alike < needed.symmetric_bits))
            needed.symmetric_bits = alike;
        double stored = kvb_pair_bits(cells, n, i);
        if (needed.cheapest_pair < 0 || stored < cheapest - SAME_BITS ||
            (stored <= cheapest + SAME_BITS && worst.nrmse.mean < needed.cheapest.nrmse.mean)) {
            needed.cheapest_pair = i;
            needed.cheapest = worst;
            cheapest = stored;
        }
    }
    return needed;
}

void kvb_verdict_name(const kvb_cell *cells, size_t n, double threshold, char *out, size_t bytes) {
    const kvb_comparison *c = cells[0].comparison;
    kvb_needed needed = kvb_needed_for(cells, n, threshold);
    int symmetric = 0;
    for (int i = 0; i < c->n_pairs; i++)
        symmetric |= symmetric_width(c, i);
    if (symmetric && needed.symmetric_bits)
        snprintf(out, bytes, "bit_width_%d_sufficient", needed.symmetric_bits);
    else if (symmetric)
        snprintf(out, bytes, "all_bit_widths_fail_pivot_to_mixed_precision");
    else if (needed.cheapest_pair >= 0)
        snprintf(out, bytes, "pair_%g_%g_sufficient", widths(c, needed.cheapest_pair).k_bits,
                 widths(c, needed.cheapest_pair).v_bits);
    else
        snprintf(out, bytes, "all_pairs_fail");
}
