/* More verbs of AVX2, for attention alone: fused, rounded freely. */
#ifndef KVB_CPU_VEC_FUSED_AVX2_H
#define KVB_CPU_VEC_FUSED_AVX2_H

#include "cpu/vec_avx2.h"

#define VEC_HALVES
static inline vf vf_load_halves(const uint16_t *from) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
}

static inline vf vf_load_bfloats(const uint16_t *from) {
    __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
}

/* a * b + c */
static inline vf vf_fma(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}

/* The larger; b where either is NaN. */
static inline vf vf_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}

static inline vf vf_min(vf a, vf b) {
    return _mm256_min_ps(a, b);
}

static inline vf vf_divide(vf a, vf b) {
    return _mm256_div_ps(a, b);
}

static inline vf vf_abs(vf x) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

static inline vf vf_copy_sign(vf magnitude, vf sign) {
    return _mm256_or_ps(magnitude, _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
}

/* a < b ? yes : no; `no` where either is NaN. */
static inline vf vf_if_less(vf a, vf b, vf yes, vf no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

/* Lane i: bit i of `bits` ? yes : no. */
static inline vf vf_if_bit(uint32_t bits, vf yes, vf no) {
    const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i is_set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), each), each);
    return _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(is_set));
}

static inline vf vf_round(vf x) {
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* 2^n for whole n from -126 to 127. */
static inline vf vf_power_of_two(vf n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}

static inline float vf_sum(vf x) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
}

static inline float vf_largest(vf x) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
}

/* out[i] = sum of the lanes of x[i], for VEC_FLOATS vectors. */
static inline void vf_store_sums(float *out, const vf x[VEC_FLOATS]) {
    vf ab = _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
    vf cd = _mm256_hadd_ps(_mm256_hadd_ps(x[4], x[5]), _mm256_hadd_ps(x[6], x[7]));
    vf_store(out, _mm256_add_ps(_mm256_permute2f128_ps(ab, cd, 0x20), _mm256_permute2f128_ps(ab, cd, 0x31)));
}

#define VEC_TRANSPOSES
/* Lane j of x[i] and lane i of x[j] change places. */
static inline void vf_transpose(vf x[VEC_FLOATS]) {
    vf two[VEC_FLOATS], four[VEC_FLOATS];
    for (int i = 0; i < VEC_FLOATS; i += 2) {
        two[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
        two[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
    for (int i = 0; i < VEC_FLOATS; i += 4) {
        for (int k = 0; k < 2; k++) {
            four[i + 2 * k] = _mm256_shuffle_ps(two[i + k], two[i + k + 2], 0x44);
            four[i + 2 * k + 1] = _mm256_shuffle_ps(two[i + k], two[i + k + 2], 0xee);
        }
    }
    for (int k = 0; k < 4; k++) {
        x[k] = _mm256_permute2f128_ps(four[k], four[4 + k], 0x20);
        x[4 + k] = _mm256_permute2f128_ps(four[k], four[4 + k], 0x31);
    }
}

#endif
