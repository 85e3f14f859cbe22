/* Verbs of AVX2 for attention in fixed point: vectors of codes, of 16-bit words and of 32-bit sums. A block of
 * LUT_CODES codes is two vectors of words and four of floats. */
#ifndef KVB_CPU_FIXED_AVX2_H
#define KVB_CPU_FIXED_AVX2_H

#include "cpu/avx2_attend.h"
#include "cpu/lut_avx2.h"
#include "cpu/vec_fused_avx2.h"

#include <string.h>

typedef __m256i vsums;

/* ---- Codes ---- */

static inline vcodes vcodes_zero(void) {
    return _mm256_setzero_si256();
}

static inline vcodes vcodes_or(vcodes a, vcodes b) {
    return _mm256_or_si256(a, b);
}

/* Of each byte the `width` bits from `down` on, at bit `up`: constants. */
static inline __attribute__((always_inline)) vcodes vcodes_shift(vcodes bytes, int down, int width, int up) {
    bytes = down ? _mm256_srli_epi16(bytes, down) : bytes;
    bytes = width < 8 ? _mm256_and_si256(bytes, _mm256_set1_epi8((char)((1 << width) - 1))) : bytes;
    return up ? _mm256_slli_epi16(bytes, up) : bytes;
}

/* Each eight bytes by a number of bits of their own; what crosses from byte to byte is up to the caller. */
static inline vcodes vcodes_shifts(const uint8_t down[4]) {
    return _mm256_setr_epi64x(down[0], down[1], down[2], down[3]);
}

static inline vcodes vcodes_down(vcodes bytes, vcodes shifts) {
    return _mm256_srlv_epi64(bytes, shifts);
}

static inline vcodes vcodes_load_twice(const uint8_t *from) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)from));
}

static inline vcodes vcodes_load_pieces(const uint8_t *const from[4], size_t at) {
    __m128i both[2];
    for (int i = 0; i < 2; i++) {
        __m128i low = _mm_loadl_epi64((const __m128i *)(from[2 * i] + at));
        both[i] = _mm_unpacklo_epi64(low, _mm_loadl_epi64((const __m128i *)(from[2 * i + 1] + at)));
    }
    return _mm256_inserti128_si256(_mm256_castsi128_si256(both[0]), both[1], 1);
}

static inline void vcodes_unpack(const kvb_codec_tables *tables, const uint8_t *const planes[KVB_MAX_PLANES],
                                 uint8_t *codes) {
    kvb_avx2_unpack(tables, planes, codes);
}

/* Where lut_read puts code i of a block. */
static inline int lut_word(int i) {
    return (i & 7) | (i & 16) >> 1 | (i & 8) << 1;
}

/* ---- Floats ---- */

/* x where the weight is not 0, else 0, whatever x is. */
static inline vf vf_unless_zero(vf weight, vf x) {
    return _mm256_and_ps(x, _mm256_cmp_ps(weight, vf_all(0.0f), _CMP_NEQ_UQ));
}

/* Sums of the magnitudes of a block of a query that meet in a lane of vsums_add_block, in some order of lanes. */
static inline vf vf_lane_sums(const float *q) {
    vf low = vf_add(vf_abs(vf_load(q)), vf_abs(vf_load(q + 8)));
    vf high = vf_add(vf_abs(vf_load(q + 16)), vf_abs(vf_load(q + 24)));
    return _mm256_hadd_ps(low, high);
}

/* ---- Words ---- */

/* A block of a query to integers, ordered as lut_read orders its words. */
static inline void vwords_round(int16_t *out, const vf x[4]) {
    for (int i = 0; i < 2; i++) {
        __m256i first = _mm256_cvtps_epi32(x[i]), second = _mm256_cvtps_epi32(x[i + 2]);
        __m256i low = _mm256_permute2x128_si256(first, second, 0x20);
        __m256i high = _mm256_permute2x128_si256(first, second, 0x31);
        _mm256_store_si256((__m256i *)out + i, _mm256_packs_epi32(low, high));
    }
}

/* Two vectors to integers, in their order. */
static inline void vwords_round_two(int16_t *out, vf low, vf high) {
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(low), _mm256_cvtps_epi32(high));
    _mm256_store_si256((__m256i *)out, _mm256_permute4x64_epi64(words, 0xd8));
}

/* A block of two rows of values. Words of the rows lie beside each other, for sums over pairs: the vectors hold of
 * coordinates, each twice, c0-c3 c16-c19, c4-c7 c20-c23, c8-c11 c24-c27, c12-c15 c28-c31. */
static inline __attribute__((always_inline)) void vwords_read_pair(const lut *l, int bits, vcodes even, vcodes odd,
                                                                   vwords *out, int step) {
    vwords first, second;
    lut_read(l, bits, _mm256_unpacklo_epi8(even, odd), &first, &second);
    out[0] = first;
    out[step] = second;
    lut_read(l, bits, _mm256_unpackhi_epi8(even, odd), &first, &second);
    out[2 * step] = first;
    out[3 * step] = second;
}

/* Which of those vectors holds coordinate i of a block, and at which word. */
static inline int lut_pair_word(int i, int is_odd, int *word) {
    *word = (i / 16 * 4 + i % 4) * 2 + is_odd;
    return i % 16 / 4;
}

/* The words of even or odd places as floats, 2^16 times as large. */
#define VWORDS_WORTH 0x1p-16f

static inline __attribute__((always_inline)) vf vwords_float(vwords x, int is_odd) {
    return _mm256_cvtepi32_ps(is_odd ? _mm256_and_si256(x, _mm256_set1_epi32(-65536)) : _mm256_slli_epi32(x, 16));
}

/* Half a block of floats, from the order of coordinates to that of vwords_float(lut_read) and back. */
static inline void vwords_order(vf x[2]) {
    vf low = _mm256_permute2f128_ps(x[0], x[1], 0x20), high = _mm256_permute2f128_ps(x[0], x[1], 0x31);
    x[0] = _mm256_shuffle_ps(low, high, 0x88);
    x[1] = _mm256_shuffle_ps(low, high, 0xdd);
}

static inline void vwords_reorder(vf x[2]) {
    vf low = _mm256_unpacklo_ps(x[0], x[1]), high = _mm256_unpackhi_ps(x[0], x[1]);
    x[0] = _mm256_permute2f128_ps(low, high, 0x20);
    x[1] = _mm256_permute2f128_ps(low, high, 0x31);
}

/* ---- Sums ---- */

static inline vsums vsums_zero(void) {
    return _mm256_setzero_si256();
}

static inline vsums vsums_add(vsums s, vwords a, vwords b) {
    return _mm256_add_epi32(s, _mm256_madd_epi16(a, b));
}

/* Both vectors of words of a block. */
static inline vsums vsums_add_block(vsums s, vwords a, vwords b, vwords c, vwords d) {
    return _mm256_add_epi32(s, _mm256_add_epi32(_mm256_madd_epi16(a, b), _mm256_madd_epi16(c, d)));
}

static inline vf vsums_floats(vsums s) {
    return _mm256_cvtepi32_ps(s);
}

/* Half a block of two rows of values, two vectors of vwords_read_pair, times two weights. */
static inline void vsums_add_pair(vsums s[2], const int16_t *weights, vwords first, vwords second) {
    int32_t both;
    memcpy(&both, weights, sizeof both);
    __m256i pair = _mm256_set1_epi32(both);
    s[0] = vsums_add(s[0], pair, first);
    s[1] = vsums_add(s[1], pair, second);
}

/* The sums of half a block in the order of coordinates: those of eight, and VSUMS_APART behind them of eight more. */
#define VSUMS_APART 16

static inline vf vsums_low(const vsums s[2]) {
    return vsums_floats(_mm256_permute2x128_si256(s[0], s[1], 0x20));
}

static inline vf vsums_high(const vsums s[2]) {
    return vsums_floats(_mm256_permute2x128_si256(s[0], s[1], 0x31));
}

#endif
