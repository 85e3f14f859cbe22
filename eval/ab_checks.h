/* The checks of a run: those that hold for any configuration, and the default experiment's own bands. */
#ifndef KVB_EVAL_AB_CHECKS_H
#define KVB_EVAL_AB_CHECKS_H

#include "document.h"

/* What a synthetic run found. */
typedef struct kvb_ab_found {
    const kvb_ab_config *config;
    const kvb_comparison *comparison;
    const kvb_round_trip_cell *round_trip;
    size_t n_round_trip;
    const kvb_cell *cells;
    size_t n_cells;
} kvb_ab_found;

/* 1 when data, storage and thresholds are the default experiment's; codebooks may come from a file. */
int kvb_ab_is_default(const kvb_ab_config *config);
/* Largest difference of the 4-bit table, as floats, to the production table: gate 1. Negative without a 4-bit table. */
double kvb_ab_production_difference(const kvb_tables *tables);
/* Mean of the 4/4 pair at kv_len 512: gate 2. Negative when the run has no such cell. */
double kvb_ab_gate_2(const kvb_ab_found *found);
/* Appends all checks; 0, or -1 when memory is short. */
int kvb_ab_add_checks(json_t *checks, const kvb_ab_found *found);

#endif
