#if defined(__x86_64__)
#include <immintrin.h>
typedef __m256 floats;
#define BYTES 32
#define FLOATS(x) _mm256_set1_ps(x)
#define MULTIPLY_ADD(a, b, c) _mm256_fmadd_ps(a, b, c)
#define NAME kvb_bench_loops_avx2
#define LABEL "avx2"
#include "loops_template.h"
#else
typedef int kvb_bench_no_avx2;
#endif
