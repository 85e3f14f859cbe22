/* Eight doubles, sixteen floats, without FMA for the same bits as the others. */
#if defined(__AVX512F__)
#include <immintrin.h>
#include <sleef.h>
#include <stdint.h>

#define VEC_DOUBLES 8
#define VEC_FLOATS 16
#define VEC_NAME "avx512"
#define VEC_TABLE kvb_vec_avx512

typedef __m512d vd;
typedef uint64_t vu __attribute__((vector_size(8 * VEC_DOUBLES)));
typedef __m512 vf;

static inline vd vd_log(vd x) {
    return Sleef_cinz_logd8_u35avx512fnofma(x);
}

static inline void vd_sincos(vd x, vd *sine, vd *cosine) {
    Sleef___m512d_2 both = Sleef_cinz_sincosd8_u35avx512fnofma(x);
    *sine = both.x;
    *cosine = both.y;
}

static inline vd vd_sqrt(vd x) {
    return _mm512_sqrt_pd(x);
}

static inline vf vf_exp(vf x) {
    return Sleef_cinz_expf16_u10avx512fnofma(x);
}

#define VEC_BITS
static inline vu rotate(vu x, int left) {
    return (vu)_mm512_rolv_epi64((__m512i)x, _mm512_set1_epi64(left));
}

static inline vu xor_3(vu a, vu b, vu c) {
    return (vu)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x96);
}

#define VEC_TO_DOUBLE
static inline vd to_double(vu x) {
    return _mm512_cvtepu64_pd((__m512i)x);
}

/* Pairs as 64-bit units, of lanes 0 1 4 5 2 3 6 7. */
static inline vd pair_up(vd cosine, vd sine) {
    __m256 c = _mm512_cvtpd_ps(cosine), s = _mm512_cvtpd_ps(sine);
    __m512 low = _mm512_castps256_ps512(_mm256_unpacklo_ps(c, s));
    return _mm512_castps_pd(_mm512_insertf32x8(low, _mm256_unpackhi_ps(c, s), 1));
}

/* Eight pairs of eight lanes, transposed: row l gets the pairs of lane l. */
static inline void store_8_pairs(const vd *cosines, const vd *sines, float *const *out, size_t at) {
    static const int lane[8] = {0, 1, 4, 5, 2, 3, 6, 7};
    vd t[8], halves[2][2], rows[8];
    for (int p = 0; p < 8; p++)
        t[p] = pair_up(cosines[p], sines[p]);
    for (int odd = 0; odd < 2; odd++) {
        for (int i = 0; i < 2; i++) {
            vd *q = t + 4 * i;
            vd a = odd ? _mm512_unpackhi_pd(q[0], q[1]) : _mm512_unpacklo_pd(q[0], q[1]);
            vd b = odd ? _mm512_unpackhi_pd(q[2], q[3]) : _mm512_unpacklo_pd(q[2], q[3]);
            halves[i][0] = _mm512_shuffle_f64x2(a, b, 0x88); /* places 0 and 4 of t, or 1 and 5 */
            halves[i][1] = _mm512_shuffle_f64x2(a, b, 0xdd); /* 2 and 6, or 3 and 7 */
        }
        for (int i = 0; i < 2; i++) {
            rows[odd + 2 * i] = _mm512_shuffle_f64x2(halves[0][i], halves[1][i], 0x88);
            rows[odd + 2 * i + 4] = _mm512_shuffle_f64x2(halves[0][i], halves[1][i], 0xdd);
        }
    }
    for (int i = 0; i < 8; i++)
        _mm512_storeu_ps(out[lane[i]] + at, _mm512_castpd_ps(rows[i]));
}

#define VEC_STORE_PAIRS
static inline void store_pairs(const vd *cosines, const vd *sines, size_t pairs, float *const *out, size_t at) {
    size_t p = 0;
    for (; p + 8 <= pairs; p += 8)
        store_8_pairs(cosines + p, sines + p, out, at + 2 * p);
    for (; p < pairs; p++) {
        for (int l = 0; l < VEC_DOUBLES; l++) {
            out[l][at + 2 * p] = (float)cosines[p][l];
            out[l][at + 2 * p + 1] = (float)sines[p][l];
        }
    }
}

#include "vec_template.h"
#else
typedef int kvb_vec_avx512_is_not_for_this_processor;
#endif
