/* Products of a few query rows with rows of halves, and weighted sums of them: widened in registers, on their way. */
#include "cpu/keep.h"

#ifdef VEC_HALVES
enum { line_halves = 64 / sizeof(uint16_t) /* of a cache line */ };

/* Up to eight vectors of sums in flight, as a sum waits for itself. */
static inline int tokens_with(int n_rows) {
    return n_rows <= 2 ? 4 : 2;
}

/* `dtype` is a constant. */
static inline __attribute__((always_inline)) vf load_half(const uint8_t *row, kvb_dtype dtype, int i) {
    const uint16_t *from = (const uint16_t *)row + i;
    return dtype == KVB_F16 ? vf_load_halves(from) : vf_load_bfloats(from);
}

/* Asks for n coordinates of the rows that come next, a line at a time, so that no load waits behind many: those from
 * `at` on where rows lie without gaps. `at` rises by n from one asking to the next, in whatever order this run is read,
 * since memory serves rising addresses best. With gaps it is coordinates i to i + n - 1 of row t. Lines come to the
 * second cache: two tiles of long rows are as large as the first. */
static inline __attribute__((always_inline)) void fetch_halves(const kvb_half_run *run, int at, int t, int i, int n) {
    const char *from = (const char *)(run->next ? run->next : run->rows);
    from += run->stride == (size_t)run->dim * sizeof(uint16_t) ? (size_t)at * sizeof(uint16_t)
                                                               : (size_t)t * run->stride + (size_t)i * sizeof(uint16_t);
    for (int k = 0; k < n; k += line_halves) {
        _mm_prefetch(from + (size_t)k * sizeof(uint16_t), _MM_HINT_T1);
    }
}

/* Lane sums of n_rows rows with n_tokens keys; counts are constants. */
static inline __attribute__((always_inline)) void dot_half_block(const float *q, int n_rows, const kvb_half_run *keys,
                                                                 kvb_dtype dtype, const uint8_t *const *k, int token,
                                                                 int n_tokens, int is_first, vf *sums) {
    vf s[rows_at_once][rows_at_once];
    for (int r = 0; r < n_rows; r++) {
        for (int t = 0; t < n_tokens; t++) {
            s[r][t] = vf_all(0.0f);
        }
    }
    for (int first = 0; first < keys->dim; first += line_halves) {
        int end = first + line_halves < keys->dim ? first + line_halves : keys->dim;
        for (int t = 0; is_first && t < n_tokens; t++) {
            int at = token * keys->dim + first * n_tokens + t * line_halves;
            fetch_halves(keys, at, token + t, first, line_halves);
        }
        for (int i = first; i < end; i += VEC_FLOATS) {
            vf query[rows_at_once];
            KEEP_ORDER;
            for (int r = 0; r < n_rows; r++) {
                query[r] = vf_load(q + r * keys->dim + i);
                KEEP(query[r]);
            }
            for (int t = 0; t < n_tokens; t++) {
                vf key = load_half(k[t], dtype, i);
                for (int r = 0; r < n_rows; r++) {
                    s[r][t] = vf_fma(query[r], key, s[r][t]);
                }
            }
        }
    }
    for (int r = 0; r < n_rows; r++) {
        for (int t = 0; t < n_tokens; t++) {
            sums[r * VEC_FLOATS + t] = s[r][t];
        }
    }
}

/* Tokens beyond the last are repeats of it. */
static inline __attribute__((always_inline)) void dot_half_tile(const float *q, int n_rows, const kvb_half_run *keys,
                                                                kvb_dtype dtype, int is_first, float *dots) {
    const int n_tokens = tokens_with(n_rows);
    for (int first = 0; first < keys->n_rows; first += VEC_FLOATS) {
        vf sums[rows_at_once][VEC_FLOATS];
        for (int t = 0; t < VEC_FLOATS; t += n_tokens) {
            const uint8_t *k[rows_at_once];
            for (int j = 0; j < n_tokens; j++) {
                int token = first + t + j < keys->n_rows ? first + t + j : keys->n_rows - 1;
                k[j] = keys->rows + (size_t)token * keys->stride;
            }
            dot_half_block(q, n_rows, keys, dtype, k, first + t, n_tokens, is_first, &sums[0][t]);
        }
        for (int r = 0; r < n_rows; r++) {
            vf_store_sums(dots + r * KVB_TILE_TOKENS + first, sums[r]);
        }
    }
}

static inline __attribute__((always_inline)) void dot_halves_of(const float *q, int n_rows, const kvb_half_run *keys,
                                                                kvb_dtype dtype, float *dots) {
    for (int is_first = 1; n_rows > 0; n_rows -= rows_at_once, is_first = 0) {
        switch (n_rows) {
        case 1:
            dot_half_tile(q, 1, keys, dtype, is_first, dots);
            break;
        case 2:
            dot_half_tile(q, 2, keys, dtype, is_first, dots);
            break;
        case 3:
            dot_half_tile(q, 3, keys, dtype, is_first, dots);
            break;
        default:
            dot_half_tile(q, rows_at_once, keys, dtype, is_first, dots);
        }
        q += rows_at_once * keys->dim;
        dots += rows_at_once * KVB_TILE_TOKENS;
    }
}

void KVB_STEP(dot_halves)(const float *q, int n_rows, const kvb_half_run *keys, float *dots) {
#ifdef VEC_NARROWER
    if (keys->dim % VEC_FLOATS != 0) {
        KVB_PASTE(VEC_NARROWER, dot_halves)(q, n_rows, keys, dots);
        return;
    }
#endif
    if (keys->dtype == KVB_F16) {
        dot_halves_of(q, n_rows, keys, KVB_F16, dots);
    } else {
        dot_halves_of(q, n_rows, keys, KVB_BF16, dots);
    }
}

/* n_rows x n_vectors sums over all tokens, from coordinate i on; counts are constants. */
static inline __attribute__((always_inline)) void add_half_block(const float *weights, int n_rows,
                                                                 const kvb_half_run *values, kvb_dtype dtype, int i,
                                                                 int n_vectors, int is_first, float *sums,
                                                                 size_t sums_stride) {
    vf s[rows_at_once][rows_at_once];
    for (int r = 0; r < n_rows; r++) {
        for (int v = 0; v < n_vectors; v++) {
            s[r][v] = vf_load(sums + (size_t)r * sums_stride + i + v * VEC_FLOATS);
        }
    }
    for (int t = 0; t < values->n_rows; t++) {
        const uint8_t *row = values->rows + (size_t)t * values->stride;
        vf value[rows_at_once];
        if (is_first) {
            int n = n_vectors * VEC_FLOATS;
            fetch_halves(values, i * values->n_rows + t * n, t, i, n);
        }
        for (int v = 0; v < n_vectors; v++) {
            value[v] = load_half(row, dtype, i + v * VEC_FLOATS);
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
            vf_store(sums + (size_t)r * sums_stride + i + v * VEC_FLOATS, s[r][v]);
        }
    }
}

static inline __attribute__((always_inline)) void add_half_tile(const float *weights, int n_rows,
                                                                const kvb_half_run *values, kvb_dtype dtype,
                                                                int is_first, float *sums, size_t sums_stride) {
    const int most = VEC_FLOATS == 16 || n_rows <= 2 ? 4 : 2; /* sums stay in registers */
    int i = 0;
    for (; i + most * VEC_FLOATS <= values->dim; i += most * VEC_FLOATS) {
        add_half_block(weights, n_rows, values, dtype, i, most, is_first, sums, sums_stride);
    }
    for (; i + VEC_FLOATS <= values->dim; i += VEC_FLOATS) {
        add_half_block(weights, n_rows, values, dtype, i, 1, is_first, sums, sums_stride);
    }
}

static inline __attribute__((always_inline)) void add_halves_of(const float *weights, int n_rows,
                                                                const kvb_half_run *values, kvb_dtype dtype,
                                                                float *sums, size_t sums_stride) {
    for (int is_first = 1; n_rows > 0; n_rows -= rows_at_once, is_first = 0) {
        switch (n_rows) {
        case 1:
            add_half_tile(weights, 1, values, dtype, is_first, sums, sums_stride);
            break;
        case 2:
            add_half_tile(weights, 2, values, dtype, is_first, sums, sums_stride);
            break;
        case 3:
            add_half_tile(weights, 3, values, dtype, is_first, sums, sums_stride);
            break;
        default:
            add_half_tile(weights, rows_at_once, values, dtype, is_first, sums, sums_stride);
        }
        weights += rows_at_once * KVB_TILE_TOKENS;
        sums += rows_at_once * sums_stride;
    }
}

void KVB_STEP(add_halves)(const float *weights, int n_rows, const kvb_half_run *values, float *sums,
                          size_t sums_stride) {
#ifdef VEC_NARROWER
    if (values->dim % VEC_FLOATS != 0) {
        KVB_PASTE(VEC_NARROWER, add_halves)(weights, n_rows, values, sums, sums_stride);
        return;
    }
#endif
    if (values->dtype == KVB_F16) {
        add_halves_of(weights, n_rows, values, KVB_F16, sums, sums_stride);
    } else {
        add_halves_of(weights, n_rows, values, KVB_BF16, sums, sums_stride);
    }
}
#endif
