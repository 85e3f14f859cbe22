/* The steps of attention in plain C. */
#include "cpu/ops.h"
#include "softmax.h"

enum { lanes = 16, tokens_at_once = 4 };

/* Sixteen partial sums: vectors for the compiler, and a smaller error than one sum in order. */
static inline float dot(const float *restrict a, const float *restrict b, int n) {
    float sums[lanes] = {0};
    int i = 0;
    for (; i + lanes <= n; i += lanes) {
        for (int l = 0; l < lanes; l++) {
            sums[l] += a[i + l] * b[i + l];
        }
    }
    for (int l = 0; i + l < n; l++) {
        sums[l] += a[i + l] * b[i + l];
    }
    for (int half = lanes / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) {
            sums[l] += sums[l + half];
        }
    }
    return sums[0];
}

void kvb_scalar_dot_rows(const float *q, int n_rows, const float *k, int n_tokens, int dim, float *dots) {
    for (int r = 0; r < n_rows; r++) {
        for (int t = 0; t < n_tokens; t++) {
            dots[r * KVB_TILE_TOKENS + t] = dot(q + (size_t)r * (size_t)dim, k + (size_t)t * (size_t)dim, dim);
        }
    }
}

static float soften(float dot, float scale, float softcap) {
    return softcap == 0.0f ? dot * scale : softcap * tanhf(dot * scale / softcap);
}

float kvb_scalar_weigh(float *dots, uint32_t visible, float scale, float softcap, float *max, float *sum) {
    float top = *max;
    for (int t = 0; t < KVB_TILE_TOKENS; t++) {
        dots[t] = visible >> t & 1 ? soften(dots[t], scale, softcap) : -INFINITY;
        top = dots[t] > top ? dots[t] : top;
    }
    float factor = kvb_softmax_rescale(*max, top), added = 0.0f;
    for (int t = 0; t < KVB_TILE_TOKENS; t++) {
        dots[t] = dots[t] == -INFINITY ? 0.0f : expf(dots[t] - top);
        added += dots[t];
    }
    *max = top;
    *sum = *sum * factor + added;
    return factor;
}

/* Four values at once, each sum still in the order of tokens. */
static void add_four(const float *weights, const float *const *values, int dim, float *restrict sums) {
    const float *restrict a = values[0], *restrict b = values[1], *restrict c = values[2], *restrict d = values[3];
    for (int i = 0; i < dim; i++) {
        sums[i] = sums[i] + weights[0] * a[i] + weights[1] * b[i] + weights[2] * c[i] + weights[3] * d[i];
    }
}

static void add_row(const float *weights, const float *values, size_t stride, int n_tokens, int dim, float *sums) {
    float weight[tokens_at_once];
    const float *value[tokens_at_once];
    int n_kept = 0;
    for (int t = 0; t < n_tokens; t++) {
        if (weights[t] == 0.0f) {
            continue;
        }
        weight[n_kept] = weights[t];
        value[n_kept] = values + (size_t)t * stride;
        if (++n_kept == tokens_at_once) {
            add_four(weight, value, dim, sums);
            n_kept = 0;
        }
    }
    for (int k = 0; k < n_kept; k++) {
        for (int i = 0; i < dim; i++) {
            sums[i] += weight[k] * value[k][i];
        }
    }
}

void kvb_scalar_add_seen(const float *weights, int n_rows, const float *values, size_t stride, int n_tokens, int dim,
                         float *sums, size_t sums_stride) {
    for (int r = 0; r < n_rows; r++) {
        add_row(weights + r * KVB_TILE_TOKENS, values, stride, n_tokens, dim, sums + (size_t)r * sums_stride);
    }
}

void kvb_scalar_add_rows(const float *weights, int n_rows, const float *values, size_t stride, int n_tokens, int dim,
                         float *sums, size_t sums_stride) {
    kvb_scalar_add_seen(weights, n_rows, values, stride, n_tokens, dim, sums, sums_stride);
}
