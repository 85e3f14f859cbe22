#include "exact.h"

#include <math.h>
#include <stddef.h>

static double dot(const float *a, const float *b, int n) {
    double sum = 0.0;
    for (int i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

void kvb_bench_attend_exactly(const float *q, const float *k, const float *v, int n_tokens, int dim, double *out) {
    double most = -INFINITY, sum = 0.0;
    for (int i = 0; i < dim; i++)
        out[i] = 0.0;
    for (int t = 0; t < n_tokens; t++) {
        const double logit = dot(q, k + (size_t)t * (size_t)dim, dim) / sqrt((double)dim);
        const double top = fmax(most, logit), weight = exp(logit - top);
        if (top > most) {
            const double factor = exp(most - top);
            sum *= factor;
            for (int i = 0; i < dim; i++)
                out[i] *= factor;
            most = top;
        }
        sum += weight;
        for (int i = 0; i < dim; i++)
            out[i] += weight * v[(size_t)t * (size_t)dim + (size_t)i];
    }
    for (int i = 0; i < dim; i++)
        out[i] /= sum;
}

void kvb_bench_add_squares(const float *out, const double *exact, int dim, double *error, double *size) {
    for (int i = 0; i < dim; i++) {
        *error += (out[i] - exact[i]) * (out[i] - exact[i]);
        *size += exact[i] * exact[i];
    }
}
