/* The steps of attention in Advanced SIMD with fused multiply-add, which encoding must not have: neon_floats.c. */
#ifndef KVB_CPU_NEON_ATTEND_H
#define KVB_CPU_NEON_ATTEND_H

#include "cpu/ops.h"

void kvb_neon_dot_rows(const float *q, int n_rows, const float *k, int n_tokens, int dim, float *dots);
float kvb_neon_weigh(float *dots, uint32_t visible, float scale, float softcap, float *max, float *sum);
void kvb_neon_add_rows(const float *weights, int n_rows, const float *values, size_t stride, int n_tokens, int dim,
                       float *sums, size_t sums_stride);

#endif
