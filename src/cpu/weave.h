/* What straightening rows of a trellis code asks of an instruction set: attend_trellis.c. */
#ifndef KVB_CPU_WEAVE_H
#define KVB_CPU_WEAVE_H

#include "cpu/ops.h"

/* A tile's planes of inputs and of places, as they lie, and where woven rows go: one after another, of two planes of
 * `stride` bytes (subsets alone), or four. */
struct kvb_weft {
    const kvb_packed_run *run;
    const uint8_t *inputs, *places;
    int place_width; /* of one or two bits; 0 where subsets stay a plane of their own */
    size_t stride;   /* bytes of a plane of one bit */
    uint8_t *out;
};

/* Asks for the inputs of rows first to first + n - 1 of those that come next; kernels ask for the other planes. */
static inline void kvb_ask_for_inputs(const kvb_weft *w, int first, int n) {
    const uint8_t *next = w->run->next[0] ? w->run->next[0] + (size_t)first * w->stride : NULL;
    for (size_t at = 0; next && at < (size_t)n * w->stride; at += 64) {
        __builtin_prefetch(next + at, 0, 2);
    }
}

#endif
