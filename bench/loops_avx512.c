#if defined(__x86_64__)
#include <immintrin.h>
typedef __m512 floats;
#define BYTES 64
#define FLOATS(x) _mm512_set1_ps(x)
#define MULTIPLY_ADD(a, b, c) _mm512_fmadd_ps(a, b, c)
#define NAME kvb_bench_loops_avx512
#define LABEL "avx512"
#include "loops_template.h"
#else
typedef int kvb_bench_no_avx512;
#endif
