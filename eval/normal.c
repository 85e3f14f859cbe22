#include "normal.h"

#include <math.h>

#include <sleef.h>

#define INV_SQRT_2 0.70710678118654752440
#define INV_SQRT_2PI 0.39894228040143267794

#if defined(__SSE2__)
/* SLEEF's cinz functions give a lane the bits of the scalar function, and SSE2 is there on every x86-64: half the time
 * and nothing to choose at run time. */
void kvb_normal_tails(double *x, int n, double *tail, double *density) {
    const __m128d half = _mm_set1_pd(0.5);
    if (n % KVB_NORMAL_BATCH)
        x[n] = 0.0;
    for (int i = 0; i < n; i += KVB_NORMAL_BATCH) {
        const __m128d v = _mm_loadu_pd(x + i);
        const __m128d erfc = Sleef_cinz_erfcd2_u15sse2(_mm_mul_pd(v, _mm_set1_pd(INV_SQRT_2)));
        const __m128d exp = Sleef_cinz_expd2_u10sse2(_mm_mul_pd(_mm_mul_pd(v, v), _mm_set1_pd(-0.5)));
        _mm_storeu_pd(tail + i, _mm_mul_pd(half, erfc));
        _mm_storeu_pd(density + i, _mm_mul_pd(_mm_set1_pd(INV_SQRT_2PI), exp));
    }
}
#else
void kvb_normal_tails(double *x, int n, double *tail, double *density) {
    for (int i = 0; i < n; i++) {
        tail[i] = 0.5 * Sleef_cinz_erfcd1_u15purec(x[i] * INV_SQRT_2);
        density[i] = INV_SQRT_2PI * Sleef_cinz_expd1_u10purec(x[i] * x[i] * -0.5);
    }
}
#endif

double kvb_normal_upper_quantile(double tail) {
    /* Abramowitz-Stegun 26.2.23 is within 4.5e-4; Halley's step cubes that, so the third one only polishes. */
    const double t = sqrt(-2.0 * Sleef_cinz_logd1_u10purec(tail));
    double x[KVB_NORMAL_BATCH], q[KVB_NORMAL_BATCH], density[KVB_NORMAL_BATCH];
    x[0] = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
    for (int step = 0; step < 3; step++) {
        kvb_normal_tails(x, 1, q, density);
        const double newton = (q[0] - tail) / density[0];
        x[0] += newton / (1.0 - 0.5 * x[0] * newton);
    }
    return x[0];
}
