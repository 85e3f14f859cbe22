/* The steps of attention in AVX-512 with fused multiply-add, which encoding must not have: avx512_floats.c,
 * avx512_keys.c, avx512_values.c, avx512_packed_floats.c, avx512_prefill_*.c. */
#ifndef KVB_CPU_AVX512_ATTEND_H
#define KVB_CPU_AVX512_ATTEND_H

#include "cpu/ops.h"

void kvb_avx512_dot_rows(const float *q, int n_rows, const float *k, int n_tokens, int dim, float *dots);
float kvb_avx512_weigh(float *dots, uint32_t visible, float scale, float softcap, float *max, float *sum);
void kvb_avx512_add_rows(const float *weights, int n_rows, const float *values, size_t stride, int n_tokens, int dim,
                         float *sums, size_t sums_stride);
void kvb_avx512_dot_halves(const float *q, int n_rows, const kvb_half_run *keys, float *dots);
void kvb_avx512_add_halves(const float *weights, int n_rows, const kvb_half_run *values, float *sums,
                           size_t sums_stride);

void kvb_avx512_dot_packed_floats(const kvb_packed_run *keys, const float *q, int n_rows, void *scratch, float *dots);
void kvb_avx512_add_packed_floats(const kvb_packed_run *values, int dim, const float *weights, int n_rows,
                                  void *scratch, float *sums, size_t sums_stride);

/* avx512_trellis.c */
int kvb_avx512_weave(const kvb_weft *w);

void kvb_avx512_unpack(const kvb_codec_tables *tables, const uint8_t *const planes[KVB_MAX_PLANES], uint8_t *codes);

void kvb_avx512_weigh_many(float *dots, const uint32_t visible[KVB_WEIGH_ROWS], float scale, float softcap, float *max,
                           float *sum, float factors[KVB_WEIGH_ROWS]);

/* avx512_prefill_*.c: for many rows; their queries lie in an order of their own. */
#define KVB_AVX512_MANY (KVB_FEW_ROWS + 1)
void kvb_avx512_fix_queries_many(const kvb_codec_tables *keys, const float *q, int n_rows, int16_t *fixed,
                                 float *factors);
void kvb_avx512_dot_packed_many(const kvb_packed_run *keys, const int16_t *q, const float *factors, int n_rows,
                                void *scratch, float *dots);
void kvb_avx512_add_packed_many(const kvb_packed_run *values, int dim, const float *weights, int n_rows, void *scratch,
                                float *sums, size_t sums_stride);

/* Packed rows in fixed point, up to KVB_FEW_ROWS query rows; "avx512vbmi" looks up 7 and 8 bits as bytes. */
#define KVB_AVX512_FEW(isa)                                                                                            \
    void kvb_##isa##_fix_queries(const kvb_codec_tables *keys, const float *q, int n_rows, int16_t *fixed,             \
                                 float *factors);                                                                      \
    void kvb_##isa##_dot_packed(const kvb_packed_run *keys, const int16_t *q, const float *factors, int n_rows,        \
                                void *scratch, float *dots);                                                           \
    void kvb_##isa##_add_ordered(const kvb_packed_run *values, const float *weights, int n_rows, void *scratch,        \
                                 float *ordered);                                                                      \
    void kvb_##isa##_finish_ordered(const kvb_codec_tables *values, int dim, const float *ordered, int n_rows,         \
                                    float *sums, size_t sums_stride)
KVB_AVX512_FEW(avx512);
KVB_AVX512_FEW(avx512vbmi);

#endif
