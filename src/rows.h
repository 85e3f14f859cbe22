/* Single values of rows in the caller's memory, for error sentences. */
#ifndef KVB_ROWS_H
#define KVB_ROWS_H

#include "half.h"
#include "kvbits/kvbits.h"

/* The value of any legal dtype at an address of any alignment. */
static inline float kvb_value_at(const void *address, kvb_dtype dtype) {
    if (dtype == KVB_F32) {
        float value;
        memcpy(&value, address, sizeof value);
        return value;
    }
    uint16_t half;
    memcpy(&half, address, sizeof half);
    return dtype == KVB_F16 ? kvb_half_to_float(half) : kvb_bfloat_to_float(half);
}

/* The first coordinate that is NaN, Inf or larger than KVB_MAX_ABS, and its value; -1 when there is none. */
int kvb_illegal_coordinate(const void *row, kvb_dtype dtype, int head_dim, float *value);

#endif
