/* The codec of the reference run, restated: float sums in index order, two multiplications each way. It exists to
 * check the library's figures against docs/evaluation.md's arithmetic (kvb_sums: KVB_SUMS_INDEX_ORDER). */
#ifndef KVB_EVAL_PLAIN_H
#define KVB_EVAL_PLAIN_H

#include <stddef.h>

/* <a, b>, summed in index order. */
float kvb_plain_dot(const float *a, const float *b, size_t d);
/* Case B: norm, codes, and back; out may be row. */
void kvb_plain_round_trip(const float *centroids, int levels, const float *row, size_t d, float *out);
/* Orthonormal Walsh-Hadamard transform of a power-of-two length, in place. */
void kvb_plain_hadamard(float *row, size_t d);

#endif
