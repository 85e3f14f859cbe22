/* Products of a few query rows with packed keys, and weighted sums of packed values, in floats: centroids come as words
 * (fixed_codes.h), which are the centroids exactly where a codebook says so, and become floats on their way into the
 * multiply-adds. Scales, of keys and of values, are multiplied outside of the loops. */
#include "cpu/fixed_codes.h"
#include "cpu/step.h"

enum { most_sums = 8 }; /* in registers, and as many as keep the multipliers busy: a sum waits for itself */

INLINE const vwords *row_words(const void *words, int row, int dim) {
    return (const vwords *)words + (size_t)row * KVB_FIXED_DIM(dim) / block_words;
}

/* ---- Keys ---- */

/* Queries in the order of words, 0 behind the last coordinate. */
static void order_queries(const float *q, int n_rows, int dim, float *out) {
    for (int r = 0; r < n_rows; r++, q += dim, out += KVB_MAX_HEAD_DIM) {
        float padded[LUT_CODES] = {0};
        for (int i = 0; i < dim; i += LUT_CODES) {
            const float *from = q + i;
            if (i + LUT_CODES > dim) {
                memcpy(padded, from, (size_t)(dim - i) * sizeof *padded);
                from = padded;
            }
            for (int half = 0; half < 2; half++) {
                vf x[2] = {vf_load(from + 8 * half), vf_load(from + 8 * half + VSUMS_APART)};
                vwords_order(x);
                vf_store(out + i + half * block_words, x[0]);
                vf_store(out + i + half * block_words + lanes, x[1]);
            }
        }
    }
}

/* Lane sums of n_rows x n_tokens dots; counts are constants. */
INLINE void dot_float_block(const float *q, int n_rows, const vwords *k, int n_tokens, size_t stride, int n_vectors,
                            vf *sums) {
    vf s[rows_at_once][rows_at_once];
    for (int r = 0; r < n_rows; r++) {
        for (int t = 0; t < n_tokens; t++) {
            s[r][t] = vf_all(0.0f);
        }
    }
    for (int v = 0; v < n_vectors; v++, q += block_words) {
        for (int half = 0; half < 2; half++) {
            vf query[rows_at_once];
            KEEP_ORDER; /* words are loaded again for their other half: kept, they would drive a sum out */
            for (int r = 0; r < n_rows; r++) {
                query[r] = vf_load(q + r * KVB_MAX_HEAD_DIM + half * lanes);
                KEEP(query[r]);
            }
            for (int t = 0; t < n_tokens; t++) {
                vf key = vwords_float(k[(size_t)t * stride + (size_t)v], half);
                for (int r = 0; r < n_rows; r++) {
                    s[r][t] = vf_fma(query[r], key, s[r][t]);
                }
            }
        }
    }
    for (int r = 0; r < n_rows; r++) {
        for (int t = 0; t < n_tokens; t++) {
            sums[r * lanes + t] = s[r][t];
        }
    }
}

/* All tokens in steps of `lanes`: dots behind the last token are of whatever lies there. */
INLINE void dot_floats(const float *q, int n_rows, const kvb_packed_run *run, const void *words, const float *scales,
                       float *dots) {
    const int n_tokens = n_rows > 2 ? 2 : 4, dim = run->tables->head_dim;
    const vf worth = vf_all(run->tables->fixed_unit * VWORDS_WORTH);
    for (int first = 0; first < run->n_rows; first += lanes) {
        vf sums[rows_at_once * lanes];
        for (int t = 0; t < lanes; t += n_tokens) {
            fetch_share(run, (first + t) / n_tokens, KVB_TILE_TOKENS / n_tokens);
            dot_float_block(q, n_rows, row_words(words, first + t, dim), n_tokens, KVB_FIXED_DIM(dim) / block_words,
                            2 * n_blocks(dim), &sums[t]);
        }
        for (int r = 0; r < n_rows; r++) {
            float *out = dots + r * KVB_TILE_TOKENS + first;
            vf_store_sums(out, sums + r * lanes);
            vf_store(out, vf_mul(vf_mul(vf_load(out), worth), vf_load(scales + first)));
        }
    }
}

void KVB_STEP(dot_packed_floats)(const kvb_packed_run *keys, const float *q, int n_rows, void *scratch, float *dots) {
    int dim = keys->tables->head_dim;
    _Alignas(64) float ordered[rows_at_once * KVB_MAX_HEAD_DIM];
    float scales[KVB_TILE_TOKENS];
    const void *words = read_words(keys, dim, scratch);
    read_scales(keys, scales);
    for (; n_rows > 0; n_rows -= rows_at_once) {
        order_queries(q, n_rows < rows_at_once ? n_rows : rows_at_once, dim, ordered);
        switch (n_rows) {
        case 1:
            dot_floats(ordered, 1, keys, words, scales, dots);
            break;
        case 2:
            dot_floats(ordered, 2, keys, words, scales, dots);
            break;
        case 3:
            dot_floats(ordered, 3, keys, words, scales, dots);
            break;
        default:
            dot_floats(ordered, rows_at_once, keys, words, scales, dots);
        }
        q += rows_at_once * dim;
        dots += rows_at_once * KVB_TILE_TOKENS;
    }
}

/* ---- Values ---- */

/* n_vectors of words for n_rows rows of weights, over all tokens; counts are constants. */
INLINE void add_float_block(const float *weights, int n_rows, const vwords *values, size_t stride, int n_tokens,
                            int n_vectors, vf *s) {
    for (int i = 0; i < n_rows * n_vectors * 2; i++) {
        s[i] = vf_all(0.0f);
    }
    for (int t = 0; t < n_tokens; t++, values += stride) {
        for (int v = 0; v < n_vectors; v++) {
            for (int half = 0; half < 2; half++) {
                vf value = vwords_float(values[v], half);
                for (int r = 0; r < n_rows; r++) {
                    vf *to = &s[(r * n_vectors + v) * 2 + half];
                    *to = vf_fma(vf_all(weights[r * KVB_TILE_TOKENS + t]), value, *to);
                }
            }
        }
    }
}

/* Of the n_vectors from vector `first` of a row on, onto sums in the order of coordinates. */
INLINE void add_float_sums(vf *s, int n_rows, int first, int n_vectors, vf worth, int dim, float *sums,
                           size_t sums_stride) {
    for (int r = 0; r < n_rows; r++) {
        for (int v = 0; v < n_vectors; v++) {
            vf *x = &s[(r * n_vectors + v) * 2];
            int at = (first + v) / 2 * LUT_CODES + (first + v) % 2 * 8;
            float *to = sums + (size_t)r * sums_stride + at;
            vwords_reorder(x);
            if (at < dim) {
                vf_store(to, vf_fma(x[0], worth, vf_load(to)));
            }
            if (at + VSUMS_APART < dim) {
                vf_store(to + VSUMS_APART, vf_fma(x[1], worth, vf_load(to + VSUMS_APART)));
            }
        }
    }
}

INLINE void add_floats(const float *weights, int n_rows, const kvb_packed_run *run, const void *words, int dim,
                       float *sums, size_t sums_stride) {
    const int n_vectors = n_rows == 1 ? 4 : n_rows == 2 ? 2 : 1;
    const vf worth = vf_all(run->tables->fixed_unit * VWORDS_WORTH);
    size_t stride = KVB_FIXED_DIM(run->tables->head_dim) / block_words;
    int all = 2 * n_blocks(dim);
    for (int first = 0; first < all; first += n_vectors) {
        vf s[most_sums];
        fetch_share(run, first / n_vectors, (all + n_vectors - 1) / n_vectors);
        add_float_block(weights, n_rows, (const vwords *)words + first, stride, run->n_rows, n_vectors, s);
        add_float_sums(s, n_rows, first, n_vectors, worth, dim, sums, sums_stride);
    }
}

/* Weights times scales; 0 where the weight is 0, whatever the scale. */
static void scale_weights(const float *weights, int n_rows, const float *scales, float *out) {
    for (int i = 0; i < n_rows * KVB_TILE_TOKENS; i += lanes) {
        vf weight = vf_load(weights + i);
        vf_store(out + i, vf_unless_zero(weight, vf_mul(weight, vf_load(scales + i % KVB_TILE_TOKENS))));
    }
}

void KVB_STEP(add_packed_floats)(const kvb_packed_run *values, int dim, const float *weights, int n_rows, void *scratch,
                                 float *sums, size_t sums_stride) {
    _Alignas(64) float scaled[rows_at_once * KVB_TILE_TOKENS];
    float scales[KVB_TILE_TOKENS];
    const void *words = read_words(values, dim, scratch);
    read_scales(values, scales);
    for (; n_rows > 0; n_rows -= rows_at_once) {
        scale_weights(weights, n_rows < rows_at_once ? n_rows : rows_at_once, scales, scaled);
        switch (n_rows) {
        case 1:
            add_floats(scaled, 1, values, words, dim, sums, sums_stride);
            break;
        case 2:
            add_floats(scaled, 2, values, words, dim, sums, sums_stride);
            break;
        case 3:
            add_floats(scaled, 3, values, words, dim, sums, sums_stride);
            break;
        default:
            add_floats(scaled, rows_at_once, values, words, dim, sums, sums_stride);
        }
        weights += rows_at_once * KVB_TILE_TOKENS;
        sums += rows_at_once * sums_stride;
    }
}
