/* The steps of attention in AVX2 with fused multiply-add, which encoding must not have: avx2_floats.c, avx2_keys.c,
 * avx2_values.c. */
#ifndef KVB_CPU_AVX2_ATTEND_H
#define KVB_CPU_AVX2_ATTEND_H

#include "cpu/ops.h"

void kvb_avx2_unpack(const kvb_codec_tables *tables, const uint8_t *const planes[KVB_MAX_PLANES], uint8_t *codes);

/* avx2_trellis.c */
int kvb_avx2_weave(const kvb_weft *w);

void kvb_avx2_dot_rows(const float *q, int n_rows, const float *k, int n_tokens, int dim, float *dots);
float kvb_avx2_weigh(float *dots, uint32_t visible, float scale, float softcap, float *max, float *sum);
void kvb_avx2_add_rows(const float *weights, int n_rows, const float *values, size_t stride, int n_tokens, int dim,
                       float *sums, size_t sums_stride);
void kvb_avx2_dot_halves(const float *q, int n_rows, const kvb_half_run *keys, float *dots);
void kvb_avx2_add_halves(const float *weights, int n_rows, const kvb_half_run *values, float *sums, size_t sums_stride);
void kvb_avx2_fix_queries(const kvb_codec_tables *keys, const float *q, int n_rows, int16_t *fixed, float *factors);
void kvb_avx2_dot_packed(const kvb_packed_run *keys, const int16_t *q, const float *factors, int n_rows, void *scratch,
                         float *dots);
void kvb_avx2_add_packed(const kvb_packed_run *values, int dim, const float *weights, int n_rows, void *scratch,
                         float *sums, size_t sums_stride);
void kvb_avx2_dot_packed_floats(const kvb_packed_run *keys, const float *q, int n_rows, void *scratch, float *dots);
void kvb_avx2_add_packed_floats(const kvb_packed_run *values, int dim, const float *weights, int n_rows, void *scratch,
                                float *sums, size_t sums_stride);

#endif
