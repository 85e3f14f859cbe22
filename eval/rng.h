/* xoshiro256** with jumps: the transition is linear over GF(2), so n steps are one 256 x 256 bit matrix. */
#ifndef KVB_EVAL_RNG_H
#define KVB_EVAL_RNG_H

#include "kvbits/eval.h"

/* The matrix of a fixed number of steps, tabulated by the 64 nibbles of the state: 32 KiB. */
typedef struct kvb_jump {
    uint64_t nibble[64][16][4];
} kvb_jump;

void kvb_jump_make(kvb_jump *jump, uint64_t steps);
kvb_rng kvb_jump_apply(const kvb_jump *jump, kvb_rng rng);

#endif
