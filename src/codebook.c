#include "kvbits/kvbits.h"

#include <stddef.h>

#include "codebook_tables.inc"

const float *kvb_codebook(int bits) {
    return bits >= 1 && bits <= KVB_MAX_BITS ? codebook_tables[bits - 1] : NULL;
}
