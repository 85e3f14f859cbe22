/* Codes to fixed-point centroids, 32 at a time, by shuffles of bytes: tables of 16 entries in registers, one for the
 * low bytes and one for the high ones. Wider codes choose between several tables; an odd codebook needs half of them.
 * Bytes of a trellis code (jobs.h, byte_bits), whose width counts as 8 and the stored bits, are indices as they are: a
 * shuffle takes no notice of bits 4 to 6, and gives 0 where bit 7 is set. */
#ifndef KVB_CPU_LUT_AVX2_H
#define KVB_CPU_LUT_AVX2_H

#include "cpu/each_width.h"
#include "cpu/vec_avx2.h"
#include "jobs.h"

#define LUT_CODES 32 /* codes of a look-up: two vectors of 16 centroids each */

#define LUT_BYTE_CODES 1

typedef __m256i vcodes, vwords;

static inline vcodes vcodes_load(const uint8_t *from) {
    return _mm256_loadu_si256((const __m256i *)from);
}

typedef struct lut {
    __m256i low[8], high[8]; /* as many as the width needs */
    __m256i fold;            /* odd codebooks of 5 bits and more: the mask of the folded index */
} lut;

static inline __attribute__((always_inline)) int lut_is_folded(const kvb_codec_tables *tables, int bits) {
    return bits > 4 && tables->fixed_is_odd;
}

/* 1 when lut_read serves the codebook: otherwise, look up one by one. */
static inline int lut_is_possible(const kvb_codec_tables *tables) {
    return tables->bits <= 4 || tables->byte_bits == 4 || tables->fixed_is_odd;
}

/* 1 when the tables take up few registers. */
static inline int lut_leaves_room(const kvb_codec_tables *tables) {
    return tables->bits <= 4 || (lut_is_possible(tables) && (tables->byte_bits == 4 || tables->byte_bits == 5));
}

/* Tables of a byte code: of bits 7 and 6, two or four. */
static inline __attribute__((always_inline)) int lut_byte_tables(int bits) {
    return bits == 8 + 6 ? 4 : 2;
}

static inline __attribute__((always_inline)) lut lut_open(const kvb_codec_tables *tables, int bits) {
    lut l;
    int is_byte = bits > 8, first = bits > 4 && !is_byte ? 1 << (bits - 1) : 0;
    int n = is_byte ? lut_byte_tables(bits) : bits > 5 ? 1 << (bits - 5) : 1, apart = is_byte ? 256 / n : 16;
    for (int i = 0; i < n; i++) {
        const uint8_t *low = tables->fixed_bytes[0] + first + apart * i;
        const uint8_t *high = tables->fixed_bytes[1] + first + apart * i;
        l.low[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)low));
        l.high[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)high));
    }
    l.fold = _mm256_set1_epi8((char)(bits > 4 ? (1 << (bits - 1)) - 1 : 0));
    return l;
}

/* One byte of 16 * n entries; `index` below 16 * n, `low4` its low four bits. */
static inline __attribute__((always_inline)) __m256i lut_bytes(const __m256i *table, int n, __m256i index,
                                                               __m256i low4) {
    __m256i found[8];
    for (int i = 0; i < n; i++) {
        found[i] = _mm256_shuffle_epi8(table[i], low4);
    }
    for (int bit = 4; n > 1; bit++) {
        __m256i choose = bit == 4   ? _mm256_slli_epi16(index, 3)
                         : bit == 5 ? _mm256_slli_epi16(index, 2)
                                    : _mm256_slli_epi16(index, 1);
        n /= 2;
        for (int i = 0; i < n; i++) {
            found[i] = _mm256_blendv_epi8(found[2 * i], found[2 * i + 1], choose);
        }
    }
    return found[0];
}

/* One byte of bytes of a trellis code: `other` is those with bit 7 inverted, `choose` has bit 6 as bit 7. */
static inline __attribute__((always_inline)) __m256i lut_byte(const __m256i *table, int n, __m256i codes, __m256i other,
                                                              __m256i choose) {
    __m256i found[2];
    for (int i = 0; i < n / 2; i++) {
        found[i] = _mm256_or_si256(_mm256_shuffle_epi8(table[i], codes), _mm256_shuffle_epi8(table[n / 2 + i], other));
    }
    return n > 2 ? _mm256_blendv_epi8(found[0], found[1], choose) : found[0];
}

/* Words of low and high bytes, negative where bit 7 of a byte of `signs` is set. */
static inline __attribute__((always_inline)) void lut_words(__m256i low, __m256i high, __m256i signs, __m256i *first,
                                                            __m256i *second) {
    __m256i one = _mm256_set1_epi8(1); /* a word of 0 would give 0 */
    *first = _mm256_sign_epi16(_mm256_unpacklo_epi8(low, high), _mm256_unpacklo_epi8(one, signs));
    *second = _mm256_sign_epi16(_mm256_unpackhi_epi8(low, high), _mm256_unpackhi_epi8(one, signs));
}

static inline __attribute__((always_inline)) void lut_read_bytes(const lut *l, int bits, __m256i codes, __m256i *first,
                                                                 __m256i *second) {
    __m256i other = _mm256_xor_si256(codes, _mm256_set1_epi8(-128)), choose = _mm256_add_epi8(codes, codes);
    int n = lut_byte_tables(bits);
    __m256i low = lut_byte(l->low, n, codes, other, choose), high = lut_byte(l->high, n, codes, other, choose);
    if (bits == 8 + 4) {
        *first = _mm256_unpacklo_epi8(low, high);
        *second = _mm256_unpackhi_epi8(low, high);
    } else {
        lut_words(low, high, _mm256_slli_epi16(codes, 2), first, second);
    }
}

/* Of 32 codes c0 .. c31: first = c0-c7 and c16-c23, second = c8-c15 and c24-c31. */
static inline __attribute__((always_inline)) void lut_read(const lut *l, int bits, __m256i codes, __m256i *first,
                                                           __m256i *second) {
    if (bits <= 4) {
        __m256i low = _mm256_shuffle_epi8(l->low[0], codes), high = _mm256_shuffle_epi8(l->high[0], codes);
        *first = _mm256_unpacklo_epi8(low, high);
        *second = _mm256_unpackhi_epi8(low, high);
        return;
    }
    if (bits > 8) {
        lut_read_bytes(l, bits, codes, first, second);
        return;
    }
    /* The lower half of an odd codebook is the upper one from its end, negated. */
    __m256i is_lower = bits == 8 ? _mm256_cmpgt_epi8(codes, _mm256_set1_epi8(-1))
                                 : _mm256_cmpgt_epi8(_mm256_set1_epi8((char)(1 << (bits - 1))), codes);
    __m256i index = _mm256_and_si256(_mm256_xor_si256(codes, is_lower), l->fold);
    __m256i low4 = bits > 5 ? _mm256_and_si256(index, _mm256_set1_epi8(15)) : index;
    int n = bits > 5 ? 1 << (bits - 5) : 1;
    __m256i low = lut_bytes(l->low, n, index, low4), high = lut_bytes(l->high, n, index, low4);
    lut_words(low, high, is_lower, first, second);
}

/* Four vectors of eight floats, in the order of codes. */
static inline __attribute__((always_inline)) void lut_floats(__m256i first, __m256i second, vf out[4]) {
    out[0] = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(first)));
    out[1] = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(second)));
    out[2] = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(first, 1)));
    out[3] = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(second, 1)));
}

#endif
