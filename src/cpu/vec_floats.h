/* Products of query rows with rows of floats, and weighted sums of them, in blocks that keep their sums in registers.
 */
#include "cpu/ops.h"
#include "cpu/step.h"

#include <string.h>

enum { rows_at_once = 4, tokens_at_once = 2, vectors_at_once = 2 };

/* Lane sums of n_rows x n_tokens dots; counts are constants. */
static inline __attribute__((always_inline)) void dot_block(const float *q, int n_rows, const float *k, int n_tokens,
                                                            int dim, vf *sums, int stride) {
    vf s[rows_at_once][tokens_at_once];
    for (int r = 0; r < n_rows; r++) {
        for (int t = 0; t < n_tokens; t++) {
            s[r][t] = vf_all(0.0f);
        }
    }
    for (int i = 0; i < dim; i += VEC_FLOATS) {
        vf keys[tokens_at_once];
        for (int t = 0; t < n_tokens; t++) {
            keys[t] = vf_load(k + t * dim + i);
        }
        for (int r = 0; r < n_rows; r++) {
            vf query = vf_load(q + r * dim + i);
            for (int t = 0; t < n_tokens; t++) {
                s[r][t] = vf_fma(query, keys[t], s[r][t]);
            }
        }
    }
    for (int r = 0; r < n_rows; r++) {
        for (int t = 0; t < n_tokens; t++) {
            sums[r * stride + t] = s[r][t];
        }
    }
}

/* Rows of one block with all tokens. Sums of lanes are taken for VEC_FLOATS tokens at a time; those beyond n_tokens are
 * repeats of the last. */
static inline __attribute__((always_inline)) void dot_tile(const float *q, int n_rows, const float *k, int n_tokens,
                                                           int dim, float *dots) {
    for (int first = 0; first < n_tokens; first += VEC_FLOATS) {
        vf sums[rows_at_once][VEC_FLOATS];
        for (int t = 0; t < VEC_FLOATS; t += tokens_at_once) {
            int at = first + t;
            if (at + tokens_at_once <= n_tokens) {
                dot_block(q, n_rows, k + at * dim, tokens_at_once, dim, &sums[0][t], VEC_FLOATS);
            } else {
                at = at < n_tokens ? at : n_tokens - 1;
                dot_block(q, n_rows, k + at * dim, 1, dim, &sums[0][t], VEC_FLOATS);
                for (int r = 0; r < n_rows; r++) {
                    sums[r][t + 1] = sums[r][t];
                }
            }
        }
        for (int r = 0; r < n_rows; r++) {
            vf_store_sums(dots + r * KVB_TILE_TOKENS + first, sums[r]);
        }
    }
}

void KVB_STEP(dot_rows)(const float *q, int n_rows, const float *k, int n_tokens, int dim, float *dots) {
#ifdef VEC_NARROWER
    if (dim % VEC_FLOATS != 0) {
        KVB_PASTE(VEC_NARROWER, dot_rows)(q, n_rows, k, n_tokens, dim, dots);
        return;
    }
#endif
    for (; n_rows >= rows_at_once; n_rows -= rows_at_once) {
        dot_tile(q, rows_at_once, k, n_tokens, dim, dots);
        q += rows_at_once * dim;
        dots += rows_at_once * KVB_TILE_TOKENS;
    }
    switch (n_rows) {
    case 1:
        dot_tile(q, 1, k, n_tokens, dim, dots);
        break;
    case 2:
        dot_tile(q, 2, k, n_tokens, dim, dots);
        break;
    case 3:
        dot_tile(q, 3, k, n_tokens, dim, dots);
        break;
    default:
        break;
    }
}

/* n_rows x n_vectors sums over all tokens; counts are constants. */
static inline __attribute__((always_inline)) void add_block(const float *weights, int n_rows, const float *values,
                                                            size_t stride, int n_tokens, int n_vectors, float *sums,
                                                            size_t sums_stride) {
    vf s[rows_at_once][vectors_at_once];
    for (int r = 0; r < n_rows; r++) {
        for (int v = 0; v < n_vectors; v++) {
            s[r][v] = vf_load(sums + (size_t)r * sums_stride + v * VEC_FLOATS);
        }
    }
    for (int t = 0; t < n_tokens; t++) {
        vf value[vectors_at_once];
        for (int v = 0; v < n_vectors; v++) {
            value[v] = vf_load(values + (size_t)t * stride + v * VEC_FLOATS);
        }
        for (int r = 0; r < n_rows; r++) {
            vf weight = vf_all(weights[r * KVB_TILE_TOKENS + t]);
            for (int v = 0; v < n_vectors; v++) {
                s[r][v] = vf_fma(weight, value[v], s[r][v]);
            }
        }
    }
    for (int r = 0; r < n_rows; r++) {
        for (int v = 0; v < n_vectors; v++) {
            vf_store(sums + (size_t)r * sums_stride + v * VEC_FLOATS, s[r][v]);
        }
    }
}

static inline __attribute__((always_inline)) void add_tile(const float *weights, int n_rows, const float *values,
                                                           size_t stride, int n_tokens, int dim, float *sums,
                                                           size_t sums_stride) {
    int i = 0, step = vectors_at_once * VEC_FLOATS;
    for (; i + step <= dim; i += step) {
        add_block(weights, n_rows, values + i, stride, n_tokens, vectors_at_once, sums + i, sums_stride);
    }
    for (; i + VEC_FLOATS <= dim; i += VEC_FLOATS) {
        add_block(weights, n_rows, values + i, stride, n_tokens, 1, sums + i, sums_stride);
    }
}

void KVB_STEP(add_rows)(const float *weights, int n_rows, const float *values, size_t stride, int n_tokens, int dim,
                        float *sums, size_t sums_stride) {
#ifdef VEC_NARROWER
    if (dim % VEC_FLOATS != 0) {
        KVB_PASTE(VEC_NARROWER, add_rows)(weights, n_rows, values, stride, n_tokens, dim, sums, sums_stride);
        return;
    }
#endif
    for (; n_rows >= rows_at_once; n_rows -= rows_at_once) {
        add_tile(weights, rows_at_once, values, stride, n_tokens, dim, sums, sums_stride);
        weights += rows_at_once * KVB_TILE_TOKENS;
        sums += rows_at_once * sums_stride;
    }
    switch (n_rows) {
    case 1:
        add_tile(weights, 1, values, stride, n_tokens, dim, sums, sums_stride);
        break;
    case 2:
        add_tile(weights, 2, values, stride, n_tokens, dim, sums, sums_stride);
        break;
    case 3:
        add_tile(weights, 3, values, stride, n_tokens, dim, sums, sums_stride);
        break;
    default:
        break;
    }
}
