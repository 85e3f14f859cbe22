/* The measure of everything here. */
#ifndef KVB_EVAL_NRMSE_H
#define KVB_EVAL_NRMSE_H

#include <math.h>

/* sqrt(difference / reference) of two sums of squares; 0 when the reference has none. */
static inline double kvb_nrmse(double difference, double reference) {
    return reference < 1e-30 ? 0.0 : sqrt(difference / reference);
}

#endif
