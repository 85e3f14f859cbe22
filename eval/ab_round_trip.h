/* T1b: quantize and read back Gaussian vectors. Case A between two Hadamard transforms, B as they are, C the transforms
 * alone. */
#ifndef KVB_EVAL_AB_ROUND_TRIP_H
#define KVB_EVAL_AB_ROUND_TRIP_H

#include "tables.h"
#include "arithmetic.h"

typedef struct kvb_round_trip_cell {
    int bits;
    char kind; /* 'A', 'B' or 'C' */
    int head_dim;
    kvb_statistic nrmse;
} kvb_round_trip_cell;

/* cells: n_bits * n_round_trip_dims * 3, width outermost, then head_dim, then case. `tables` serve every head_dim but
 * for KVB_CODEBOOK_BETA, whose tables depend on it. */
KVB_CHECKED kvb_status kvb_ab_round_trip(const kvb_ab_config *config, const kvb_tables *tables,
                                         const kvb_arithmetic *arithmetic, const kvb_parallel *parallel,
                                         kvb_round_trip_cell *cells, kvb_error *error);

#endif
