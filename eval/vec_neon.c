/* Two doubles, four floats: every AArch64. */
#if defined(__aarch64__)
#include <arm_neon.h>
#include <sleef.h>
#include <stdint.h>

#define VEC_DOUBLES 2
#define VEC_FLOATS 4
#define VEC_NAME "neon"
#define VEC_TABLE kvb_vec_neon

typedef float64x2_t vd;
typedef uint64_t vu __attribute__((vector_size(8 * VEC_DOUBLES)));
typedef float32x4_t vf;

static inline vd vd_log(vd x) {
    return Sleef_cinz_logd2_u35advsimdnofma(x);
}

static inline void vd_sincos(vd x, vd *sine, vd *cosine) {
    Sleef_float64x2_t_2 both = Sleef_cinz_sincosd2_u35advsimdnofma(x);
    *sine = both.x;
    *cosine = both.y;
}

static inline vd vd_sqrt(vd x) {
    return vsqrtq_f64(x);
}

static inline vf vf_exp(vf x) {
    return Sleef_cinz_expf4_u10advsimdnofma(x);
}

#include "vec_template.h"
#else
typedef int kvb_vec_neon_is_not_for_this_processor;
#endif
