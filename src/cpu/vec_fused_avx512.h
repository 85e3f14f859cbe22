/* More verbs of AVX-512, for attention alone: fused, rounded freely. */
#ifndef KVB_CPU_VEC_FUSED_AVX512_H
#define KVB_CPU_VEC_FUSED_AVX512_H

#include "cpu/avx2_attend.h"
#include "cpu/vec_avx512.h"

#define VEC_NARROWER avx2 /* for rows that are no whole vectors */

#define VEC_HALVES
static inline vf vf_load_halves(const uint16_t *from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}

static inline vf vf_load_bfloats(const uint16_t *from) {
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

/* a * b + c */
static inline vf vf_fma(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}

/* The larger; b where either is NaN. */
static inline vf vf_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}

static inline vf vf_min(vf a, vf b) {
    return _mm512_min_ps(a, b);
}

static inline vf vf_divide(vf a, vf b) {
    return _mm512_div_ps(a, b);
}

static inline vf vf_abs(vf x) {
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), x);
}

static inline vf vf_copy_sign(vf magnitude, vf sign) {
    return _mm512_or_ps(magnitude, _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
}

/* a < b ? yes : no; `no` where either is NaN. */
static inline vf vf_if_less(vf a, vf b, vf yes, vf no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}

/* Lane i: bit i of `bits` ? yes : no. */
static inline vf vf_if_bit(uint32_t bits, vf yes, vf no) {
    return _mm512_mask_blend_ps((__mmask16)bits, no, yes);
}

static inline vf vf_round(vf x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* 2^n for whole n from -126 to 127. */
static inline vf vf_power_of_two(vf n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}

static inline float vf_sum(vf x) {
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
}

static inline float vf_largest(vf x) {
    __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
}

/* Sums of pairs, in each 128 bits: those of a, then those of b. */
static inline vf vf_pair_sums(vf a, vf b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
}

/* Four vectors of sums of four each, in each 128 bits one of every vector. */
static inline vf vf_four_sums(const vf x[4]) {
    return vf_pair_sums(vf_pair_sums(x[0], x[1]), vf_pair_sums(x[2], x[3]));
}

/* out[i] = sum of the lanes of x[i], for VEC_FLOATS vectors. */
static inline void vf_store_sums(float *out, const vf x[VEC_FLOATS]) {
    vf a = vf_four_sums(x), b = vf_four_sums(x + 4), c = vf_four_sums(x + 8), d = vf_four_sums(x + 12);
    vf ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    vf cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x88), _mm512_shuffle_f32x4(c, d, 0xdd));
    vf_store(out, _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd)));
}

#define VEC_TRANSPOSES
/* Lane j of x[i] and lane i of x[j] change places. */
static inline void vf_transpose(vf x[VEC_FLOATS]) {
    vf two[VEC_FLOATS], four[VEC_FLOATS];
    for (int i = 0; i < VEC_FLOATS; i += 2) {
        two[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
        two[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
    for (int i = 0; i < VEC_FLOATS; i += 4) {
        for (int k = 0; k < 2; k++) {
            four[i + 2 * k] = _mm512_shuffle_ps(two[i + k], two[i + k + 2], 0x44);
            four[i + 2 * k + 1] = _mm512_shuffle_ps(two[i + k], two[i + k + 2], 0xee);
        }
    }
    /* Now 128-bit lane b of four[4a + k] is row 4b + k of columns 4a .. 4a + 3. */
    for (int k = 0; k < 4; k++) {
        vf a = _mm512_shuffle_f32x4(four[k], four[4 + k], 0x88), b = _mm512_shuffle_f32x4(four[k], four[4 + k], 0xdd);
        vf c = _mm512_shuffle_f32x4(four[8 + k], four[12 + k], 0x88);
        vf d = _mm512_shuffle_f32x4(four[8 + k], four[12 + k], 0xdd);
        x[k] = _mm512_shuffle_f32x4(a, c, 0x88);
        x[8 + k] = _mm512_shuffle_f32x4(a, c, 0xdd);
        x[4 + k] = _mm512_shuffle_f32x4(b, d, 0x88);
        x[12 + k] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
}

#endif
