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

#ifdef VEC_TRANSPOSES
/* ---- Many rows: keys are turned once, so that lanes are tokens and no sum crosses lanes ---- */

enum {
    most_rows = VEC_FLOATS == 8 ? 6 : 8, /* whose sums fit into the registers */
    token_vectors = 2,
    turned_coordinates = 64 /* at a time: a small part of the nearest cache, and sums in short steps */
};

/* Row i gets coordinate i of KVB_TILE_TOKENS keys, the last key again behind the last. */
static inline void turn_keys(const float *k, int n_tokens, int dim, int n, float *out) {
    for (int t = 0; t < KVB_TILE_TOKENS; t += VEC_FLOATS) {
        for (int i = 0; i < n; i += VEC_FLOATS) {
            vf block[VEC_FLOATS];
            for (int j = 0; j < VEC_FLOATS; j++) {
                int token = t + j < n_tokens ? t + j : n_tokens - 1;
                block[j] = vf_load(k + (size_t)token * (size_t)dim + i);
            }
            vf_transpose(block);
            for (int j = 0; j < VEC_FLOATS; j++) {
                vf_store(out + (i + j) * KVB_TILE_TOKENS + t, block[j]);
            }
        }
    }
}

/* n_rows, a constant, times n coordinates of token_vectors vectors. */
static inline __attribute__((always_inline)) void dot_turned(const float *q, size_t stride, int n_rows, const float *k,
                                                             int n, float *dots, int is_first) {
    vf s[most_rows][token_vectors];
    for (int r = 0; r < n_rows; r++) {
        for (int v = 0; v < token_vectors; v++) {
            s[r][v] = vf_all(0.0f);
        }
    }
    for (int i = 0; i < n; i++, k += KVB_TILE_TOKENS) {
        for (int r = 0; r < n_rows; r++) {
            vf query = vf_all(q[(size_t)r * stride + (size_t)i]);
            for (int v = 0; v < token_vectors; v++) {
                s[r][v] = vf_fma(query, vf_load(k + v * VEC_FLOATS), s[r][v]);
            }
        }
    }
    for (int r = 0; r < n_rows; r++) {
        for (int v = 0; v < token_vectors; v++) {
            float *out = dots + r * KVB_TILE_TOKENS + v * VEC_FLOATS;
            vf_store(out, is_first ? s[r][v] : vf_add(vf_load(out), s[r][v]));
        }
    }
}

static inline __attribute__((always_inline)) void dot_turned_tile(const float *q, size_t stride, int n_rows,
                                                                  const float *k, int n_tokens, int n, float *dots,
                                                                  int is_first) {
    for (int t = 0; t < n_tokens; t += token_vectors * VEC_FLOATS) {
        dot_turned(q, stride, n_rows, k + t, n, dots + t, is_first);
    }
}

static void dot_many(const float *q, int n_rows, const float *k, int n_tokens, int dim, float *dots) {
    float turned[turned_coordinates * KVB_TILE_TOKENS];
    for (int first = 0; first < dim; first += turned_coordinates) {
        int n = dim - first < turned_coordinates ? dim - first : turned_coordinates, r = 0;
        size_t stride = (size_t)dim;
        turn_keys(k + first, n_tokens, dim, n, turned);
        for (; r + most_rows <= n_rows; r += most_rows) {
            dot_turned_tile(q + (size_t)r * stride + first, stride, most_rows, turned, n_tokens, n,
                            dots + r * KVB_TILE_TOKENS, first == 0);
        }
        for (; r + 2 <= n_rows; r += 2) {
            dot_turned_tile(q + (size_t)r * stride + first, stride, 2, turned, n_tokens, n, dots + r * KVB_TILE_TOKENS,
                            first == 0);
        }
        if (r < n_rows) {
            dot_turned_tile(q + (size_t)r * stride + first, stride, 1, turned, n_tokens, n, dots + r * KVB_TILE_TOKENS,
                            first == 0);
        }
    }
}
#endif

void KVB_STEP(dot_rows)(const float *q, int n_rows, const float *k, int n_tokens, int dim, float *dots) {
#ifdef VEC_NARROWER
    if (dim % VEC_FLOATS != 0) {
        KVB_PASTE(VEC_NARROWER, dot_rows)(q, n_rows, k, n_tokens, dim, dots);
        return;
    }
#endif
#ifdef VEC_TRANSPOSES
    if (n_rows >= 2 * rows_at_once) {
        dot_many(q, n_rows, k, n_tokens, dim, dots);
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
