/* Vector verbs of AVX2: eight floats. The bit-exact steps use these alone; none of them fuses or reorders a rounding.
 */
#ifndef KVB_CPU_VEC_AVX2_H
#define KVB_CPU_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>

#define VEC_FLOATS 8

typedef __m256 vf;
typedef __m256i vi;

static inline vf vf_load(const float *from) {
    return _mm256_loadu_ps(from);
}

static inline void vf_store(float *to, vf x) {
    _mm256_storeu_ps(to, x);
}

static inline vf vf_all(float x) {
    return _mm256_set1_ps(x);
}

static inline vf vf_add(vf a, vf b) {
    return _mm256_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b) {
    return _mm256_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b) {
    return _mm256_mul_ps(a, b);
}

/* Flips the bits that `masks` holds. */
static inline vf vf_flip(vf x, const uint32_t *masks) {
    return _mm256_xor_ps(x, _mm256_castsi256_ps(_mm256_loadu_si256((const __m256i *)masks)));
}

/* All butterflies inside a vector: distances 1, 2, ... below `run`. With b the partner of a, lanes become a + b and
 * b + (-a), which is b - a to the bit. */
static inline vf vf_butterflies(vf x, int run) {
    const vf s = _mm256_castsi256_ps(_mm256_set1_epi64x((long long)0x8000000000000000u));
    const vf s2 = _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, INT32_MIN, INT32_MIN, 0, 0, INT32_MIN, INT32_MIN));
    const vf s4 = _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, 0, 0, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN));
    x = _mm256_add_ps(_mm256_permute_ps(x, 0xb1), _mm256_xor_ps(x, s));
    if (run > 2) {
        x = _mm256_add_ps(_mm256_permute_ps(x, 0x4e), _mm256_xor_ps(x, s2));
    }
    if (run > 4) {
        x = _mm256_add_ps(_mm256_permute2f128_ps(x, x, 1), _mm256_xor_ps(x, s4));
    }
    return x;
}

/* Sums of four rows from their 16 lanes: lane l + l+8, then +4, +2, +1. */
static inline void vf_fold_four(vf lanes[4][2], float sums[4]) {
    vf two[2];
    for (int r = 0; r < 4; r += 2) {
        vf a = _mm256_add_ps(lanes[r][0], lanes[r][1]), b = _mm256_add_ps(lanes[r + 1][0], lanes[r + 1][1]);
        vf x = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
        x = _mm256_add_ps(x, _mm256_permute_ps(x, 0x4e));
        two[r / 2] = _mm256_add_ps(x, _mm256_permute_ps(x, 0xb1));
    }
    for (int r = 0; r < 4; r++) {
        sums[r] = _mm_cvtss_f32(r % 2 ? _mm256_extractf128_ps(two[r / 2], 1) : _mm256_castps256_ps128(two[r / 2]));
    }
}

/* Folds the 16 lanes of the fixed summation tree by halves. */
static inline float vf_fold(const vf lanes[2]) {
    vf eight = _mm256_add_ps(lanes[0], lanes[1]);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* ---- Search in a sorted tree of floats ---- */

static inline vi vi_zero(void) {
    return _mm256_setzero_si256();
}

/* A level of the tree with at most 8, 16, 32 entries, in so many registers. */
static inline vf vf_pick8(const float *level, vi at) {
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps(level), at);
}

static inline vf vf_pick16(const float *level, vi at) {
    vf high = _mm256_castsi256_ps(_mm256_slli_epi32(at, 28));
    return _mm256_blendv_ps(vf_pick8(level, at), vf_pick8(level + 8, at), high);
}

static inline vf vf_pick32(const float *level, vi at) {
    vf high = _mm256_castsi256_ps(_mm256_slli_epi32(at, 27));
    return _mm256_blendv_ps(vf_pick16(level, at), vf_pick16(level + 16, at), high);
}

/* 2 * at + (x > level): the mask of a comparison is -1. */
static inline vi vi_descend(vi at, vf x, vf level) {
    vi above = _mm256_castps_si256(_mm256_cmp_ps(x, level, _CMP_GT_OQ));
    return _mm256_sub_epi32(_mm256_add_epi32(at, at), above);
}

/* ---- The same in the upper half of an odd codebook ---- */

#define VEC_HALF_TREES

/* What compares with midpoints above 0 as x does with those of its side: patterns rise with the magnitude, and below 0
 * a value that equals its midpoint is beyond it. `lower`: -1 where x is in the lower half, which takes 0 and NaN. */
static inline vi vf_fold_key(vf x, vi *lower) {
    *lower = _mm256_castps_si256(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_NGT_UQ));
    vi magnitude = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
    return _mm256_sub_epi32(magnitude, *lower);
}

/* 2 * at + (key > level) */
static inline vi vi_descend_key(vi at, vi key, vf level) {
    return _mm256_sub_epi32(_mm256_add_epi32(at, at), _mm256_cmpgt_epi32(key, _mm256_castps_si256(level)));
}

/* half + at, or half - 1 - at where `lower` is -1 */
static inline vi vi_unfold(vi at, vi lower, int half) {
    return _mm256_add_epi32(_mm256_xor_si256(at, lower), _mm256_set1_epi32(half));
}

/* The inverse: at, and the sign of the half. */
static inline vi vi_fold(vi code, int half, vf *sign) {
    vi from_middle = _mm256_sub_epi32(code, _mm256_set1_epi32(half));
    *sign = _mm256_castsi256_ps(_mm256_and_si256(from_middle, _mm256_set1_epi32(INT32_MIN)));
    return _mm256_xor_si256(from_middle, _mm256_srai_epi32(from_middle, 31));
}

static inline vf vf_xor(vf a, vf b) {
    return _mm256_xor_ps(a, b);
}

static inline vi vi_load_bytes(const uint8_t *from) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
}

/* ---- Codes as bytes ---- */

/* 4 * VEC_FLOATS values 0 .. 255 as bytes. */
static inline void vi_store_four(uint8_t *to, const vi x[4]) {
    vi words = _mm256_packus_epi16(_mm256_packs_epi32(x[0], x[1]), _mm256_packs_epi32(x[2], x[3]));
    words = _mm256_permutevar8x32_epi32(words, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)to, words);
}

/* Values 0 .. 255 as bytes. */
static inline void vi_store_bytes(uint8_t *to, vi x) {
    __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64((__m128i *)to, _mm_packus_epi16(halves, halves));
}

#endif
