/* Sums of the lanes of sixteen tokens' vectors, AVX-512. Comes after avx512_codes.h. */
#ifndef KVB_CPU_AVX512_TOKENS_H
#define KVB_CPU_AVX512_TOKENS_H

#include "cpu/avx512_codes.h"

enum { block_tokens = 16 };

/* a's lanes at one place and b's at the other, and the other way round; their sum holds both. */
INLINE __m512 meet_halves(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_mask_blend_ps(0xff00, a, b), _mm512_shuffle_f32x4(a, b, 0x4e));
}

INLINE __m512 meet_quarters(__m512 a, __m512 b) {
    const __m512i other = _mm512_set_epi32(27, 26, 25, 24, 15, 14, 13, 12, 19, 18, 17, 16, 7, 6, 5, 4);
    return _mm512_add_ps(_mm512_mask_blend_ps(0xf0f0, a, b), _mm512_permutex2var_ps(a, other, b));
}

INLINE __m512 meet_pairs(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_mask_blend_ps(0xcccc, a, b), _mm512_shuffle_ps(a, b, 0x4e));
}

INLINE __m512 meet_lanes(__m512 a, __m512 b) {
    const __m512i other = _mm512_set_epi32(30, 15, 28, 13, 26, 11, 24, 9, 22, 7, 20, 5, 18, 3, 16, 1);
    return _mm512_add_ps(_mm512_mask_blend_ps(0xaaaa, a, b), _mm512_permutex2var_ps(a, other, b));
}

/* Where the sum of token t ends up: after meet_quarters four tokens lie in the order 0, 2, 1, 3. */
INLINE __m512i token_order(int joined) {
    if (joined == 8) {
        return _mm512_set_epi32(15, 13, 11, 9, 7, 5, 3, 1, 14, 12, 10, 8, 6, 4, 2, 0);
    }
    return joined == 4 ? _mm512_set_epi32(15, 11, 7, 3, 13, 9, 5, 1, 14, 10, 6, 2, 12, 8, 4, 0)
                       : _mm512_set_epi32(15, 7, 11, 3, 13, 5, 9, 1, 14, 6, 10, 2, 12, 4, 8, 0);
}

/* The 16 tokens' sums, from as many vectors as hold them. */
INLINE __m512 add_lanes(int joined, const __m512 *s) {
    __m512 halves[8], quarters[4];
    if (joined == 8) {
        __m512 both = meet_lanes(s[0], s[1]);
        return _mm512_permutexvar_ps(token_order(joined), both);
    }
    for (int i = 0; i < 8 && joined <= 2; i++) {
        halves[i] = joined == 2 ? s[i] : meet_halves(s[2 * i], s[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        quarters[i] = joined == 4 ? s[i] : meet_quarters(halves[2 * i], halves[2 * i + 1]);
    }
    __m512 low = meet_pairs(quarters[0], quarters[1]);
    __m512 high = meet_pairs(quarters[2], quarters[3]);
    return _mm512_permutexvar_ps(token_order(joined), meet_lanes(low, high));
}

#endif
