/* What straightening rows of a trellis code asks of an instruction set: attend_trellis.c. */
#ifndef KVB_CPU_WEAVE_H
#define KVB_CPU_WEAVE_H

#include "cpu/ops.h"

/* A tile's planes of inputs and of places, as they lie, and where woven rows go: one after another, of two planes of
 * `stride` bytes (subsets alone), or four; or of a byte for each coordinate. */
struct kvb_weft {
    const kvb_packed_run *run;
    const uint8_t *inputs, *places;
    const uint8_t *tops; /* a plane of the places' highest bit where that is apart, for bytes; else NULL */
    int place_width;     /* of one or two bits; 0 where subsets stay a plane of their own; in bytes also four */
    int byte_bits;       /* of bytes: as in kvb_codec_tables; else 0 */
    size_t stride;       /* bytes of a plane of one bit */
    uint8_t *out;
};

/* Asks for 64 bytes of the planes of one bit of the rows that come next, from byte `at` on: kernels see planes of woven
 * rows and ask for the others. */
static inline void kvb_ask_for_inputs(const kvb_weft *w, size_t at) {
    const uint8_t *inputs = w->run->next[0], *tops = w->tops ? w->run->next[2] : NULL;
    if (inputs) {
        __builtin_prefetch(inputs + at, 0, 2);
    }
    if (tops) {
        __builtin_prefetch(tops + at, 0, 2);
    }
}

#endif
