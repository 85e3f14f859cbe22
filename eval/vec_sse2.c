/* Two doubles, four floats: every x86-64. */
#if defined(__SSE2__)
#include <emmintrin.h>
#include <sleef.h>
#include <stdint.h>

#define VEC_DOUBLES 2
#define VEC_FLOATS 4
#define VEC_NAME "sse2"
#define VEC_TABLE kvb_vec_sse2

typedef __m128d vd;
typedef uint64_t vu __attribute__((vector_size(8 * VEC_DOUBLES)));
typedef __m128 vf;

static inline vd vd_log(vd x) {
    return Sleef_cinz_logd2_u35sse2(x);
}

static inline void vd_sincos(vd x, vd *sine, vd *cosine) {
    Sleef___m128d_2 both = Sleef_cinz_sincosd2_u35sse2(x);
    *sine = both.x;
    *cosine = both.y;
}

static inline vd vd_sqrt(vd x) {
    return _mm_sqrt_pd(x);
}

static inline vf vf_exp(vf x) {
    return Sleef_cinz_expf4_u10sse2(x);
}

#include "vec_template.h"
#else
typedef int kvb_vec_sse2_is_not_for_this_processor;
#endif
