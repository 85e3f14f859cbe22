#include "layout.h"

#include <stddef.h>

#include "codebook_tables.inc"
#include "trellis_tables.inc"

const float *kvb_codebook(int bits) {
    return bits >= 1 && bits <= KVB_MAX_BITS ? codebook_tables[bits - 1] : NULL;
}

const float *kvb_trellis_codebook(int states, int bits) {
    int row = 0;
    if (bits < KVB_MIN_TRELLIS_BITS || bits > KVB_MAX_TRELLIS_BITS) {
        return NULL;
    }
#define FIND(n, memory, taps0, taps1)                                                                                  \
    if (states == (n)) {                                                                                               \
        return trellis_tables[row][bits - KVB_MIN_TRELLIS_BITS];                                                       \
    }                                                                                                                  \
    row++;
    KVB_EACH_TRELLIS(FIND)
#undef FIND
    return NULL;
}
