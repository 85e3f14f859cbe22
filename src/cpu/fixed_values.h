/* Weighted sums of packed values in fixed point: weights times scales become 16-bit integers, scaled so that
 * their sum over the tile times the largest centroid stays below 2^31; products are summed over pairs of tokens, and
 * tiles in floats. */
#define WORDS_IN_PAIRS
#include "cpu/fixed_codes.h"
#include "cpu/step.h"

#include <math.h>

/* Weights times scales as integers, and what one is worth; returns 0 when all are 0. */
static int fix_weights(const float *weights, const float *scales, const kvb_codec_tables *tables, int16_t *fixed,
                       float *worth) {
    vf products[KVB_TILE_TOKENS / lanes], most = vf_all(0.0f), all = vf_all(0.0f);
    for (int i = 0; i < KVB_TILE_TOKENS / lanes; i++) {
        vf weight = vf_load(weights + i * lanes), product = vf_mul(weight, vf_load(scales + i * lanes));
        product = vf_unless_zero(weight, product);
        products[i] = product;
        most = vf_max(vf_abs(product), most);
        all = vf_add(all, vf_abs(product));
    }
    float largest = vf_largest(most), sum = vf_sum(all);
    if (sum == 0.0f) {
        return 0;
    }
    /* Very small weights are raised first, lest their factor overflows. */
    float raise = largest < 0x1p-90f ? 0x1p60f : 1.0f;
    float factor = fminf((float)INT16_MAX / (largest * raise), largest_sum / tables->fixed_most / (sum * raise));
    *worth = tables->fixed_unit / factor / raise;
    if (!isfinite(sum)) {
        *worth = NAN;
        factor = 0.0f;
    }
    for (int i = 0; i < KVB_TILE_TOKENS / lanes; i += 2) {
        vf low = vf_mul(vf_mul(products[i], vf_all(raise)), vf_all(factor));
        vf high = vf_mul(vf_mul(products[i + 1], vf_all(raise)), vf_all(factor));
        vwords_round_two(fixed + i * lanes, low, high);
    }
    return 1;
}

/* Half a block: two vectors of words, for n_rows rows of weights; counts are constants. Its sums lie at sums[0] and
 * sums[VSUMS_APART]; `has_high`: the latter too. */
INLINE void add_block(const int16_t *weights, const float *worth, int n_rows, const vwords *values, int n_pairs,
                      float *sums, size_t sums_stride, int has_high) {
    vsums s[rows_at_once][2];
    for (int r = 0; r < n_rows; r++) {
        s[r][0] = s[r][1] = vsums_zero();
    }
    for (int p = 0; p < n_pairs; p++) {
        vwords first = values[p], second = values[run_pairs + p];
        for (int r = 0; r < n_rows; r++) {
            vsums_add_pair(s[r], weights + r * KVB_TILE_TOKENS + 2 * p, first, second);
        }
    }
    for (int r = 0; r < n_rows; r++) {
        float *to = sums + (size_t)r * sums_stride;
        vf unit = vf_all(worth[r]);
        vf_store(to, vf_fma(vsums_low(s[r]), unit, vf_load(to)));
        if (has_high) {
            vf_store(to + VSUMS_APART, vf_fma(vsums_high(s[r]), unit, vf_load(to + VSUMS_APART)));
        }
    }
}

INLINE void add_tile(const int16_t *weights, const float *worth, int n_rows, const vwords *values, int n_pairs, int dim,
                     const kvb_packed_run *fetched, float *sums, size_t sums_stride) {
    for (int block = 0; block < dim; block += LUT_CODES) {
        fetch_share(fetched, block / LUT_CODES, n_blocks(dim));
        for (int half = 0; half < 2 && block + 8 * half < dim; half++) {
            add_block(weights, worth, n_rows, values + (size_t)(block / LUT_CODES * 4 + 2 * half) * run_pairs, n_pairs,
                      sums + block + 8 * half, sums_stride, block + 8 * half + VSUMS_APART < dim);
        }
    }
}

/* Up to rows_at_once rows; those without any weight come with weights 0. */
static void add_rows(const float *weights, const float *scales, const kvb_codec_tables *tables, int n_rows,
                     const vwords *values, int n_pairs, int dim, const kvb_packed_run *fetched, float *sums,
                     size_t sums_stride) {
    _Alignas(32) int16_t fixed[rows_at_once * KVB_TILE_TOKENS];
    float worth[rows_at_once];
    for (int r = 0; r < n_rows; r++) {
        if (!fix_weights(weights + r * KVB_TILE_TOKENS, scales, tables, fixed + r * KVB_TILE_TOKENS, &worth[r])) {
            memset(fixed + r * KVB_TILE_TOKENS, 0, KVB_TILE_TOKENS * sizeof *fixed);
            worth[r] = 0.0f;
        }
    }
    switch (n_rows) {
    case 1:
        add_tile(fixed, worth, 1, values, n_pairs, dim, fetched, sums, sums_stride);
        break;
    case 2:
        add_tile(fixed, worth, 2, values, n_pairs, dim, fetched, sums, sums_stride);
        break;
    case 3:
        add_tile(fixed, worth, 3, values, n_pairs, dim, fetched, sums, sums_stride);
        break;
    default:
        add_tile(fixed, worth, 4, values, n_pairs, dim, fetched, sums, sums_stride);
    }
}

void KVB_STEP(add_packed)(const kvb_packed_run *values, int dim, const float *weights, int n_rows, void *scratch,
                          float *sums, size_t sums_stride) {
    const vwords *words = read_words(values, dim, scratch);
    float scales[KVB_TILE_TOKENS];
    read_scales(values, scales);
    for (int r = 0; r < n_rows; r += rows_at_once) {
        int n = n_rows - r < rows_at_once ? n_rows - r : rows_at_once;
        add_rows(weights + r * KVB_TILE_TOKENS, scales, values->tables, n, words, (values->n_rows + 1) / 2, dim,
                 r == 0 ? values : NULL, sums + (size_t)r * sums_stride, sums_stride);
    }
}
