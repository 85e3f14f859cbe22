/* The steps of attention in AVX-512 with fused multiply-add, which encoding must not have: avx512_floats.c. */
#ifndef KVB_CPU_AVX512_ATTEND_H
#define KVB_CPU_AVX512_ATTEND_H

#include "cpu/ops.h"

void kvb_avx512_dot_rows(const float *q, int n_rows, const float *k, int n_tokens, int dim, float *dots);
float kvb_avx512_weigh(float *dots, uint32_t visible, float scale, float softcap, float *max, float *sum);
void kvb_avx512_add_rows(const float *weights, int n_rows, const float *values, size_t stride, int n_tokens, int dim,
                         float *sums, size_t sums_stride);

#endif
