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

#include "vec_template.h"
#else
typedef int kvb_vec_avx2_is_not_for_this_processor;
#endif
