/* Queries and packed keys in fixed point. Keys become 16-bit centroids by look-ups of bytes; products of pairs
 * are summed in 32 bits over a span of blocks, and spans in floats. No sum overflows: a query is scaled so that the
 * integers that meet in a lane, times the largest centroid, stay below 2^31. */
#include "cpu/fixed_codes.h"
#include "cpu/step.h"

#include <math.h>

/* Blocks whose products are summed as integers: so few that 16 bits are the limit of a query's precision, and not these
 * sums. */
enum { span = 4, tokens_at_once = 2, words = LUT_CODES / 2 };

/* ---- Queries ---- */

/* The largest magnitude of a padded query, and the largest sum that a lane may meet in a span; the sum of all. */
static float measure_query(const kvb_codec_tables *keys, const float *q, float *most, float *fullest) {
    int dim = keys->head_dim, n = n_blocks(dim);
    vf largest = vf_all(0.0f), lane_most = vf_all(0.0f), all = vf_all(0.0f);
    for (int first = 0; first < n; first += span) {
        vf sums = vf_all(0.0f);
        for (int block = first; block < first + span && block < n; block++) {
            const float *at = q + block_at(dim, keys->bits, block);
            for (int i = 0; i < LUT_CODES; i += lanes) {
                largest = vf_max(vf_abs(vf_load(at + i)), largest);
            }
            sums = vf_add(sums, vf_lane_sums(at));
        }
        lane_most = vf_max(sums, lane_most);
        all = vf_add(all, sums);
    }
    *most = vf_largest(largest);
    *fullest = vf_largest(lane_most);
    return vf_sum(all);
}

static void fix_query(const kvb_codec_tables *keys, const float *q, int16_t *fixed, float *factor) {
    float most, fullest, all = measure_query(keys, q, &most, &fullest);
    /* Very small queries are raised first, lest their scale overflows. */
    float raise = most < 0x1p-90f ? 0x1p60f : 1.0f;
    float scale = fminf((float)INT16_MAX / (most * raise), largest_sum / keys->fixed_most / (fullest * raise));
    *factor = keys->fixed_unit / scale * raise;
    if (all == 0.0f || !isfinite(all)) {
        *factor = all == 0.0f ? 0.0f : NAN;
        scale = 0.0f;
    }
    vf scales = vf_all(scale), raises = vf_all(raise);
    for (int block = 0; block < n_blocks(keys->head_dim); block++) {
        vf x[4];
        for (int i = 0; i < 4; i++) {
            x[i] = vf_load(q + block_at(keys->head_dim, keys->bits, block) + i * lanes);
            x[i] = vf_mul(vf_mul(x[i], raises), scales);
        }
        vwords_round(fixed + block * LUT_CODES, x);
    }
}

void KVB_STEP(fix_queries)(const kvb_codec_tables *keys, const float *q, int n_rows, int16_t *fixed, float *factors) {
    size_t dim = (size_t)keys->head_dim;
    float padded[KVB_MAX_HEAD_DIM];
    memset(padded, 0, sizeof padded);
    for (int r = 0; r < n_rows; r++) {
        memcpy(padded, q + (size_t)r * dim, dim * sizeof *q);
        fix_query(keys, padded, fixed + (size_t)r * KVB_FIXED_DIM(dim), &factors[r]);
    }
}

/* ---- Few rows: look up and multiply at once ---- */

/* Lane sums of one key with n_rows queries; n_rows is a constant. */
INLINE void dot_codes(const lut *l, int bits, const uint8_t *const *planes, int dim, const int16_t *q, int n_rows,
                      vf *sums) {
    int n = n_blocks(dim), direct = is_direct(dim, bits), step = fields(bits) > span ? fields(bits) : span;
    size_t stride = KVB_FIXED_DIM(dim);
    vsums s[rows_at_once];
    for (int r = 0; r < n_rows; r++) {
        sums[r * lanes] = vf_all(0.0f);
        s[r] = vsums_zero();
    }
    for (int first = 0; first < n; first += step) {
#pragma GCC unroll 8
        for (int k = 0; k < step; k++) {
            vwords low, high;
            if (first + k >= n) {
                break;
            }
            lut_read(l, bits, read_block(planes, dim, bits, k % fields(bits), first + k, direct), &low, &high);
            for (int r = 0; r < n_rows; r++) {
                const vwords *at = (const vwords *)(q + (size_t)r * stride + (first + k) * LUT_CODES);
                s[r] = vsums_add_block(s[r], low, at[0], high, at[1]);
            }
            if (k % span == span - 1) {
                for (int r = 0; r < n_rows; r++) {
                    sums[r * lanes] = vf_add(sums[r * lanes], vsums_floats(s[r]));
                    s[r] = vsums_zero();
                }
            }
        }
    }
    for (int r = 0; r < n_rows && n % span != 0; r++) {
        sums[r * lanes] = vf_add(sums[r * lanes], vsums_floats(s[r]));
    }
}

/* Sums of lanes, of `lanes` tokens for each row, times what they are worth. */
INLINE void store_dots(const vf *sums, const float *factors, int n_rows, const float *scales, float *dots) {
    for (int r = 0; r < n_rows; r++) {
        float *out = dots + r * KVB_TILE_TOKENS;
        vf_store_sums(out, sums + r * lanes);
        vf_store(out, vf_mul(vf_load(out), vf_mul(vf_all(factors[r]), vf_load(scales))));
    }
}

INLINE void dot_few(const kvb_packed_run *run, int bits, const int16_t *q, const float *factors, int n_rows,
                    const float *scales, uint8_t *codes, float *dots) {
    lut l = lut_open(run->tables, bits);
    vf sums[rows_at_once * lanes];
    for (int first = 0; first < run->n_rows; first += lanes) {
        for (int t = 0; t < lanes; t++) {
            const uint8_t *planes[KVB_MAX_PLANES];
            int token = first + t < run->n_rows ? first + t : run->n_rows - 1;
            open_row(run, bits, token, codes, planes);
            dot_codes(&l, bits, planes, run->tables->head_dim, q, n_rows, &sums[t]);
        }
        store_dots(sums, factors, n_rows, scales + first, dots + first);
    }
}

/* ---- Many rows: look up once, then multiply ---- */

/* Rows of KVB_FIXED_DIM words in the order of blocks; behind the last coordinate lies anything, which the query's zeros
 * meet. */
INLINE void fix_keys(const kvb_packed_run *run, int bits, int16_t *out, uint8_t *codes) {
    int dim = run->tables->head_dim, n = n_blocks(dim), step = fields(bits), direct = is_direct(dim, bits);
    lut l = lut_open(run->tables, bits);
    for (int row = 0; row < run->n_rows; row++, out += KVB_FIXED_DIM(dim)) {
        const uint8_t *planes[KVB_MAX_PLANES];
        open_row(run, bits, row, codes, planes);
        for (int first = 0; first < n; first += step) {
            for (int field = 0; field < step && first + field < n; field++) {
                vwords *to = (vwords *)(out + (first + field) * LUT_CODES);
                lut_read(&l, bits, read_block(planes, dim, bits, field, first + field, direct), to, to + 1);
            }
        }
    }
}

/* Codebooks that lut_read does not serve: word by word. */
static void fix_keys_slowly(const kvb_packed_run *run, int16_t *out, uint8_t *codes) {
    const kvb_codec_tables *tables = run->tables;
    int dim = tables->head_dim;
    for (int row = 0; row < run->n_rows; row++, out += KVB_FIXED_DIM(dim)) {
        unpack_row(run, row, codes);
        for (int block = 0; block < n_blocks(dim); block++) {
            const uint8_t *from = codes + block_at(dim, tables->bits, block);
            for (int i = 0; i < LUT_CODES; i++) {
                out[block * LUT_CODES + lut_word(i)] = tables->fixed[from[i]];
            }
        }
    }
}

/* Adds the lane sums over n vectors of n_rows x n_tokens dots; counts are constants. */
INLINE void dot_span(const int16_t *q, int n_rows, const int16_t *k, int n_tokens, size_t stride, int n, vf *sums) {
    vsums s[rows_at_once][tokens_at_once];
    for (int r = 0; r < n_rows; r++) {
        for (int t = 0; t < n_tokens; t++) {
            s[r][t] = vsums_zero();
        }
    }
    for (int i = 0; i < n; i++) {
        vwords keys[tokens_at_once];
        for (int t = 0; t < n_tokens; t++) {
            keys[t] = ((const vwords *)(k + (size_t)t * stride))[i];
        }
        for (int r = 0; r < n_rows; r++) {
            vwords query = ((const vwords *)(q + (size_t)r * stride))[i];
            for (int t = 0; t < n_tokens; t++) {
                s[r][t] = vsums_add(s[r][t], query, keys[t]);
            }
        }
    }
    for (int r = 0; r < n_rows; r++) {
        for (int t = 0; t < n_tokens; t++) {
            sums[r * lanes + t] = vf_add(sums[r * lanes + t], vsums_floats(s[r][t]));
        }
    }
}

/* Lane sums of n_rows x n_tokens dots of `dim` words, a multiple of LUT_CODES. */
INLINE void dot_block(const int16_t *q, int n_rows, const int16_t *k, int n_tokens, size_t dim, vf *sums) {
    enum { span_words = span * LUT_CODES };
    size_t i = 0, stride = KVB_FIXED_DIM(dim);
    for (int r = 0; r < n_rows; r++) {
        for (int t = 0; t < n_tokens; t++) {
            sums[r * lanes + t] = vf_all(0.0f);
        }
    }
    for (; i + span_words <= dim; i += span_words) {
        dot_span(q + i, n_rows, k + i, n_tokens, stride, span_words / words, sums);
    }
    if (i < dim) {
        dot_span(q + i, n_rows, k + i, n_tokens, stride, (int)(dim - i) / words, sums);
    }
}

/* All tokens in steps of `lanes`: dots behind the last token are of whatever lies there. */
INLINE void dot_tile(const int16_t *q, const float *factors, int n_rows, const int16_t *k, int n_tokens, size_t dim,
                     const float *scales, float *dots) {
    for (int first = 0; first < n_tokens; first += lanes) {
        vf sums[rows_at_once][lanes];
        for (int t = 0; t < lanes; t += tokens_at_once) {
            dot_block(q, n_rows, k + (size_t)(first + t) * KVB_FIXED_DIM(dim), tokens_at_once, dim, &sums[0][t]);
        }
        store_dots(&sums[0][0], factors, n_rows, scales + first, dots + first);
    }
}

INLINE void read_keys(const kvb_packed_run *run, int16_t *out, uint8_t *codes) {
    const kvb_codec_tables *tables = run->tables;
    if (!lut_is_possible(tables)) {
        fix_keys_slowly(run, out, codes);
        return;
    }
#define FIX(bits) fix_keys(run, bits, out, codes)
    LUT_EACH_WIDTH(FIX)
#undef FIX
}

static void dot_many(const kvb_packed_run *run, const int16_t *q, const float *factors, int n_rows, const float *scales,
                     void *scratch, uint8_t *codes, float *dots) {
    size_t dim = (size_t)n_blocks(run->tables->head_dim) * LUT_CODES, stride = KVB_FIXED_DIM(dim);
    int16_t *fixed = scratch;
    read_keys(run, fixed, codes);
    for (; n_rows > 0; n_rows -= rows_at_once) {
        switch (n_rows) {
        case 1:
            dot_tile(q, factors, 1, fixed, run->n_rows, dim, scales, dots);
            break;
        case 2:
            dot_tile(q, factors, 2, fixed, run->n_rows, dim, scales, dots);
            break;
        case 3:
            dot_tile(q, factors, 3, fixed, run->n_rows, dim, scales, dots);
            break;
        default:
            dot_tile(q, factors, rows_at_once, fixed, run->n_rows, dim, scales, dots);
        }
        q += rows_at_once * stride;
        factors += rows_at_once;
        dots += rows_at_once * KVB_TILE_TOKENS;
    }
}

/* n_rows is a constant. */
INLINE void dot_few_of(const kvb_packed_run *run, const int16_t *q, const float *factors, int n_rows,
                       const float *scales, uint8_t *codes, float *dots) {
    const kvb_codec_tables *tables = run->tables;
#define DOT(bits) dot_few(run, bits, q, factors, n_rows, scales, codes, dots)
    LUT_EACH_WIDTH(DOT)
#undef DOT
}

void KVB_STEP(dot_packed)(const kvb_packed_run *keys, const int16_t *q, const float *factors, int n_rows, void *scratch,
                          float *dots) {
    uint8_t *codes = (uint8_t *)scratch + KVB_TILE_TOKENS * KVB_FIXED_DIM(keys->tables->head_dim) * sizeof(int16_t);
    float scales[KVB_TILE_TOKENS];
    read_scales(keys, scales);
    switch (lut_is_possible(keys->tables) ? n_rows : 0) {
    case 1:
        dot_few_of(keys, q, factors, 1, scales, codes, dots);
        break;
    case 2:
        dot_few_of(keys, q, factors, 2, scales, codes, dots);
        break;
    case 3:
        dot_few_of(keys, q, factors, 3, scales, codes, dots);
        break;
    case 4:
        dot_few_of(keys, q, factors, 4, scales, codes, dots);
        break;
    default:
        dot_many(keys, q, factors, n_rows, scales, scratch, codes, dots);
    }
}
