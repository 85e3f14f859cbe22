/* Steps of encoding and decoding in AVX-512 that need VBMI, its permutations of bytes: avx512_vbmi.c. Each serves some
 * codebooks, says which, and must be asked first. */
#ifndef KVB_CPU_AVX512_ENCODE_H
#define KVB_CPU_AVX512_ENCODE_H

#include "cpu/ops.h"

static inline int kvb_avx512_vbmi_quantizes(const kvb_codec_tables *tables) {
    return tables->word_factor != 0.0f;
}

static inline int kvb_avx512_vbmi_expands(const kvb_codec_tables *tables) {
    return tables->fixed_is_exact;
}

void kvb_avx512_vbmi_quantize(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes);
void kvb_avx512_vbmi_project(const kvb_codec_tables *tables, const float *row, const uint8_t *codes, float *row_c,
                             float *c_c);
void kvb_avx512_vbmi_expand(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out);

#endif
