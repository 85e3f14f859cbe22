/* Vector verbs of AVX-512: sixteen floats. The bit-exact steps use these alone; none of them fuses or reorders a
 * rounding. */
#ifndef KVB_CPU_VEC_AVX512_H
#define KVB_CPU_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#define VEC_FLOATS 16

typedef __m512 vf;
typedef __m512i vi;

static inline vf vf_load(const float *from) {
    return _mm512_loadu_ps(from);
}

static inline void vf_store(float *to, vf x) {
    _mm512_storeu_ps(to, x);
}

static inline vf vf_all(float x) {
    return _mm512_set1_ps(x);
}

static inline vf vf_add(vf a, vf b) {
    return _mm512_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b) {
    return _mm512_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b) {
    return _mm512_mul_ps(a, b);
}

/* Flips the bits that `masks` holds. */
static inline vf vf_flip(vf x, const uint32_t *masks) {
    return _mm512_xor_ps(x, _mm512_castsi512_ps(_mm512_loadu_si512(masks)));
}

/* Of distances 1, 2, 4, 8: 1 and, in the lanes whose number has that bit, -1. */
static const float vf_alternating[4][VEC_FLOATS] = {
    {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1},
    {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1},
    {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1},
    {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1},
};

/* Butterflies of distance h = 1, 2, 4, 8 inside a vector. With b the partner of a, lanes become a + b and b + (-a),
 * which is b - a to the bit. The sign comes from a product, because multipliers idle here; bitwise operations would
 * take turns with the additions. */
static inline __attribute__((always_inline)) vf vf_butterfly(vf x, int h) {
    switch (h) {
    case 1:
        return _mm512_add_ps(_mm512_permute_ps(x, 0xb1), _mm512_mul_ps(x, vf_load(vf_alternating[0])));
    case 2:
        return _mm512_add_ps(_mm512_permute_ps(x, 0x4e), _mm512_mul_ps(x, vf_load(vf_alternating[1])));
    case 4:
        return _mm512_add_ps(_mm512_shuffle_f32x4(x, x, 0xb1), _mm512_mul_ps(x, vf_load(vf_alternating[2])));
    default:
        return _mm512_add_ps(_mm512_shuffle_f32x4(x, x, 0x4e), _mm512_mul_ps(x, vf_load(vf_alternating[3])));
    }
}

/* All of distances 1, 2, ... below `run`. */
static inline __attribute__((always_inline)) vf vf_butterflies(vf x, int run) {
    for (int h = 1; h < run && h < VEC_FLOATS; h *= 2) {
        x = vf_butterfly(x, h);
    }
    return x;
}

/* Folds the 16 lanes of the fixed summation tree by halves. */
static inline float vf_fold(const vf lanes[1]) {
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(lanes[0]), _mm512_extractf32x8_ps(lanes[0], 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* Sums of four rows from their 16 lanes: lane l + l+8, then +4, +2, +1. */
static inline void vf_fold_four(vf lanes[4][1], float sums[4]) {
    vf a = lanes[0][0], b = lanes[1][0], c = lanes[2][0], d = lanes[3][0];
    vf ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    vf cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    vf x = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    x = _mm512_add_ps(x, _mm512_permute_ps(x, 0x4e));
    x = _mm512_add_ps(x, _mm512_permute_ps(x, 0xb1));
    x = _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12), x);
    _mm_storeu_ps(sums, _mm512_castps512_ps128(x));
}

/* ---- Search in a sorted tree of floats ---- */

static inline vi vi_zero(void) {
    return _mm512_setzero_si512();
}

/* A level of the tree with at most 8, 16, 32 entries, in so many registers. */
static inline vf vf_pick8(const float *level, vi at) {
    return _mm512_permutexvar_ps(at, _mm512_castps256_ps512(_mm256_loadu_ps(level)));
}

static inline vf vf_pick16(const float *level, vi at) {
    return _mm512_permutexvar_ps(at, _mm512_loadu_ps(level));
}

static inline vf vf_pick32(const float *level, vi at) {
    return _mm512_permutex2var_ps(_mm512_loadu_ps(level), at, _mm512_loadu_ps(level + 16));
}

/* 2 * at + (x > level) */
static inline vi vi_descend(vi at, vf x, vf level) {
    vi twice = _mm512_add_epi32(at, at);
    return _mm512_mask_add_epi32(twice, _mm512_cmp_ps_mask(x, level, _CMP_GT_OQ), twice, _mm512_set1_epi32(1));
}

/* Values 0 .. 255 as bytes. */
static inline void vi_store_bytes(uint8_t *to, vi x) {
    _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8(x));
}

#endif
