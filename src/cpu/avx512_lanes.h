/* Sums and maxima of the lanes of sixteen vectors at once. */
#ifndef KVB_CPU_AVX512_LANES_H
#define KVB_CPU_AVX512_LANES_H

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

enum { lanes = 16 };

/* Lane i: that of x[i]. */
#define FOLD_LANES(name, op)                                                                                           \
    INLINE __m512 name(const __m512 x[lanes]) {                                                                        \
        __m512 two[8], four[4];                                                                                        \
        for (int i = 0; i < 8; i++) {                                                                                  \
            two[i] = op(_mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]), _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]));       \
        }                                                                                                              \
        for (int i = 0; i < 4; i++) {                                                                                  \
            four[i] = op(_mm512_shuffle_ps(two[2 * i], two[2 * i + 1], 0x44),                                          \
                         _mm512_shuffle_ps(two[2 * i], two[2 * i + 1], 0xee));                                         \
        }                                                                                                              \
        __m512 a = op(_mm512_shuffle_f32x4(four[0], four[1], 0x88), _mm512_shuffle_f32x4(four[0], four[1], 0xdd));     \
        __m512 b = op(_mm512_shuffle_f32x4(four[2], four[3], 0x88), _mm512_shuffle_f32x4(four[2], four[3], 0xdd));     \
        return op(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));                                 \
    }

FOLD_LANES(lane_sums, _mm512_add_ps)
FOLD_LANES(lane_maxima, _mm512_max_ps)

#endif
