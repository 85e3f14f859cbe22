#if defined(__aarch64__)
#include <arm_neon.h>
typedef float32x4_t floats;
#define BYTES 16
#define FLOATS(x) vdupq_n_f32(x)
#define MULTIPLY_ADD(a, b, c) vfmaq_f32(c, a, b)
#define NAME kvb_bench_loops_neon
#define LABEL "neon"
#include "loops_template.h"
#else
typedef int kvb_bench_no_neon;
#endif
