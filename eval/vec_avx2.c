/* Four doubles, eight floats. SLEEF's deterministic functions come without FMA, hence its plain AVX set. */
#if defined(__AVX2__)
#include <immintrin.h>
#include <sleef.h>
#include <stdint.h>

#define VEC_DOUBLES 4
#define VEC_FLOATS 8
#define VEC_NAME "avx2"
#define VEC_TABLE kvb_vec_avx2

typedef __m256d vd;
typedef uint64_t vu __attribute__((vector_size(8 * VEC_DOUBLES)));
typedef __m256 vf;

static inline vd vd_log(vd x) {
    return Sleef_cinz_logd4_u35avx(x);
}

static inline void vd_sincos(vd x, vd *sine, vd *cosine) {
    Sleef___m256d_2 both = Sleef_cinz_sincosd4_u35avx(x);
    *sine = both.x;
    *cosine = both.y;
}

static inline vd vd_sqrt(vd x) {
    return _mm256_sqrt_pd(x);
}

static inline vf vf_exp(vf x) {
    return Sleef_cinz_expf8_u10avx(x);
}

/* Four pairs of four lanes, transposed: row l gets the pairs of lane l. */
static inline void store_4_pairs(const vd *cosines, const vd *sines, float *const *out, size_t at) {
    __m128d low[4], high[4]; /* pairs as 64-bit units, of lanes 0 and 1, and of 2 and 3 */
    for (int p = 0; p < 4; p++) {
        __m128 c = _mm256_cvtpd_ps(cosines[p]), s = _mm256_cvtpd_ps(sines[p]);
        low[p] = _mm_castps_pd(_mm_unpacklo_ps(c, s));
        high[p] = _mm_castps_pd(_mm_unpackhi_ps(c, s));
    }
    for (int p = 0; p < 4; p += 2) {
        _mm_storeu_ps(out[0] + at + 2 * p, _mm_castpd_ps(_mm_unpacklo_pd(low[p], low[p + 1])));
        _mm_storeu_ps(out[1] + at + 2 * p, _mm_castpd_ps(_mm_unpackhi_pd(low[p], low[p + 1])));
        _mm_storeu_ps(out[2] + at + 2 * p, _mm_castpd_ps(_mm_unpacklo_pd(high[p], high[p + 1])));
        _mm_storeu_ps(out[3] + at + 2 * p, _mm_castpd_ps(_mm_unpackhi_pd(high[p], high[p + 1])));
    }
}

#define VEC_STORE_PAIRS
static inline void store_pairs(const vd *cosines, const vd *sines, size_t pairs, float *const *out, size_t at) {
    size_t p = 0;
    for (; p + 4 <= pairs; p += 4)
        store_4_pairs(cosines + p, sines + p, out, at + 2 * p);
    for (; p < pairs; p++) {
        for (int l = 0; l < VEC_DOUBLES; l++) {
            out[l][at + 2 * p] = (float)cosines[p][l];
            out[l][at + 2 * p + 1] = (float)sines[p][l];
        }
    }
}

#include "vec_template.h"
#else
typedef int kvb_vec_avx2_is_not_for_this_processor;
#endif
