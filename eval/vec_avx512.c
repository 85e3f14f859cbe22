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

#include "vec_template.h"
#else
typedef int kvb_vec_avx512_is_not_for_this_processor;
#endif
