/* One lane at a time, for any processor. */
#include <sleef.h>
#include <stdint.h>

#define VEC_DOUBLES 1
#define VEC_FLOATS 1
#define VEC_NAME "generic"
#define VEC_TABLE kvb_vec_generic

typedef double vd __attribute__((vector_size(8)));
typedef uint64_t vu __attribute__((vector_size(8)));
typedef float vf __attribute__((vector_size(4)));

static inline vd vd_log(vd x) {
    return (vd){Sleef_cinz_logd1_u35purec(x[0])};
}

static inline void vd_sincos(vd x, vd *sine, vd *cosine) {
    Sleef_double_2 both = Sleef_cinz_sincosd1_u35purec(x[0]);
    *sine = (vd){both.x};
    *cosine = (vd){both.y};
}

static inline vd vd_sqrt(vd x) {
    return (vd){__builtin_sqrt(x[0])};
}

static inline vf vf_exp(vf x) {
    return (vf){Sleef_cinz_expf1_u10purec(x[0])};
}

#include "vec_template.h"
