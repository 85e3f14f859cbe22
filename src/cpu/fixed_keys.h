/* Queries and packed keys in fixed point. Keys become 16-bit centroids by look-ups of bytes; products of pairs
 * are summed in 32 bits over a span of blocks, and spans in floats. No sum overflows: a query is scaled so that the
 * integers that meet in a lane, times the largest centroid, stay below 2^31. */
#include "cpu/fixed_codes.h"
#include "cpu/step.h"

#include <math.h>

/* Blocks whose products are summed as integers: so few that 16 bits are the limit of a query's precision, and not these
 * sums. */
enum { span = 4, tokens_at_once = 2 };

/* ---- Queries ---- */

/* The largest magnitude of a padded query, and the largest sum that a lane may meet in a span; the sum of all. */
static float measure_query(const kvb_codec_tables *keys, const float *q, float *most, float *fullest) {
    int dim = keys->head_dim, n = n_blocks(dim);
    vf largest = vf_all(0.0f), lane_most = vf_all(0.0f), all = vf_all(0.0f);
    for (int first = 0; first < n; first += span) {
        vf sums = vf_all(0.0f);
        for (int block = first; block < first + span && block < n; block++) {
            const float *at = q + block * LUT_CODES;
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
            x[i] = vf_load(q + block * LUT_CODES + i * lanes);
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

/* ---- Dots ---- */

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
        KEEP_ORDER;
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
        dot_span(q + i, n_rows, k + i, n_tokens, stride, span_words / block_words, sums);
    }
    if (i < dim) {
        dot_span(q + i, n_rows, k + i, n_tokens, stride, (int)(dim - i) / block_words, sums);
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

/* All tokens in steps of `lanes`: dots behind the last token are of whatever lies there. */
INLINE void dot_tile(const int16_t *q, const float *factors, int n_rows, const int16_t *k, int n_tokens, size_t dim,
                     const float *scales, const kvb_packed_run *fetched, float *dots) {
    for (int first = 0; first < n_tokens; first += lanes) {
        vf sums[rows_at_once][lanes];
        fetch_share(fetched, first / lanes, KVB_TILE_TOKENS / lanes);
        for (int t = 0; t < lanes; t += tokens_at_once) {
            dot_block(q, n_rows, k + (size_t)(first + t) * KVB_FIXED_DIM(dim), tokens_at_once, dim, &sums[0][t]);
        }
        store_dots(&sums[0][0], factors, n_rows, scales + first, dots + first);
    }
}

/* ---- A few rows: look up and multiply at once ---- */

/* Lane sums of one key with n_rows queries; n_rows is a constant. */
INLINE void dot_codes(const lut *l, int bits, block_kind kind, const block_parts *blocks, int n, size_t row,
                      const int16_t *q, size_t stride, int n_rows, vf *sums) {
    /* Whole bytes of a trellis code follow each other. */
    const uint8_t *bytes = bits > 8 ? blocks[0][0].at[0] + row * blocks[0][0].stride : NULL;
    for (int r = 0; r < n_rows; r++) {
        sums[r * lanes] = vf_all(0.0f);
    }
    for (int first = 0; first < n; first += span) {
        vsums s[rows_at_once];
        for (int r = 0; r < n_rows; r++) {
            s[r] = vsums_zero();
        }
        for (int block = first; block < first + span && block < n; block++) {
            vwords low, high;
            KEEP_ORDER;
            vcodes codes =
                bits > 8 ? vcodes_load(bytes + block * LUT_CODES) : read_codes(blocks[block], bits, row, kind);
            lut_read(l, bits, codes, &low, &high);
            for (int r = 0; r < n_rows; r++) {
                const vwords *at = (const vwords *)(q + (size_t)r * stride + block * LUT_CODES);
                s[r] = vsums_add_block(s[r], low, at[0], high, at[1]);
            }
        }
        for (int r = 0; r < n_rows; r++) {
            sums[r * lanes] = vf_add(sums[r * lanes], vsums_floats(s[r]));
        }
    }
}

INLINE void dot_few_rows(const kvb_packed_run *run, int bits, block_kind kind, const uint8_t *codes, const int16_t *q,
                         const float *factors, int n_rows, const float *scales, float *dots) {
    lut l = lut_open(run->tables, bits);
    int dim = run->tables->head_dim;
    block_parts blocks[KVB_MAX_HEAD_DIM / LUT_CODES];
    plane_walk walks[KVB_MAX_PLANES];
    open_walks(run, bits, kind, codes, walks);
    for (int block = 0; block < n_blocks(dim); block++) {
        for (int p = 0; p < n_parts(bits, kind); p++) {
            next_block(&walks[p], dim, block, kind, &blocks[block][p]);
        }
    }
    for (int first = 0; first < run->n_rows; first += lanes) {
        vf sums[rows_at_once * lanes];
        fetch_share(run, first / lanes, KVB_TILE_TOKENS / lanes);
        for (int t = 0; t < lanes; t++) {
            int row = first + t < run->n_rows ? first + t : run->n_rows - 1;
            dot_codes(&l, bits, kind, blocks, n_blocks(dim), (size_t)row, q, KVB_FIXED_DIM(dim), n_rows, &sums[t]);
        }
        store_dots(sums, factors, n_rows, scales + first, dots + first);
    }
}

/* Where tables leave room for the sums. */
#define DOT(bits, kind, n_rows)                                                                                        \
    static void dot_##bits##_##kind##_##n_rows(const kvb_packed_run *run, const uint8_t *codes, const int16_t *q,      \
                                               const float *factors, const float *scales, float *dots) {               \
        dot_few_rows(run, bits, kind, codes, q, factors, n_rows, scales, dots);                                        \
    }
#define DOT_KIND(bits, kind) DOT(bits, kind, 1) DOT(bits, kind, 2) DOT(bits, kind, 3) DOT(bits, kind, 4)
#define DOT_BITS(bits) DOT_KIND(bits, WHOLE) DOT_KIND(bits, IN_PIECES) DOT_KIND(bits, AS_BYTES)
DOT_BITS(1)
DOT_BITS(2)
DOT_BITS(3)
DOT_BITS(4)

#define OF_KIND(bits, kind)                                                                                            \
    { dot_##bits##_##kind##_1, dot_##bits##_##kind##_2, dot_##bits##_##kind##_3, dot_##bits##_##kind##_4 }
#define OF_BITS(bits)                                                                                                  \
    { OF_KIND(bits, WHOLE), OF_KIND(bits, IN_PIECES), OF_KIND(bits, AS_BYTES) }
typedef void few_dots(const kvb_packed_run *run, const uint8_t *codes, const int16_t *q, const float *factors,
                      const float *scales, float *dots);
static few_dots *const dots_of_few[4][3][rows_at_once] = {OF_BITS(1), OF_BITS(2), OF_BITS(3), OF_BITS(4)};

#ifdef LUT_BYTE_CODES
DOT_KIND(12, WHOLE)
DOT_KIND(13, WHOLE)
static few_dots *const dots_of_bytes[2][rows_at_once] = {OF_KIND(12, WHOLE), OF_KIND(13, WHOLE)};
#else
static few_dots *const dots_of_bytes[2][rows_at_once];
#endif

static void dot_few(const kvb_packed_run *run, const int16_t *q, const float *factors, int n_rows, const float *scales,
                    uint8_t *codes, float *dots) {
    block_kind kind = prepare_rows(run, codes);
    int bits = run->tables->bits, byte_bits = run->tables->byte_bits;
    few_dots *dot = byte_bits ? dots_of_bytes[byte_bits - 4][n_rows - 1] : dots_of_few[bits - 1][kind][n_rows - 1];
    dot(run, codes, q, factors, scales, dots);
}

void KVB_STEP(dot_packed)(const kvb_packed_run *keys, const int16_t *q, const float *factors, int n_rows, void *scratch,
                          float *dots) {
    size_t dim = (size_t)n_blocks(keys->tables->head_dim) * LUT_CODES, stride = KVB_FIXED_DIM(dim);
    float scales[KVB_TILE_TOKENS];
    read_scales(keys, scales);
    if (n_rows <= rows_at_once && lut_leaves_room(keys->tables)) {
        dot_few(keys, q, factors, n_rows, scales, codes_of(keys, scratch), dots);
        return;
    }
    const int16_t *words = read_words(keys, keys->tables->head_dim, scratch);
    const kvb_packed_run *fetched = keys;
    for (; n_rows > 0; n_rows -= rows_at_once, fetched = NULL) {
        switch (n_rows) {
        case 1:
            dot_tile(q, factors, 1, words, keys->n_rows, dim, scales, fetched, dots);
            break;
        case 2:
            dot_tile(q, factors, 2, words, keys->n_rows, dim, scales, fetched, dots);
            break;
        case 3:
            dot_tile(q, factors, 3, words, keys->n_rows, dim, scales, fetched, dots);
            break;
        default:
            dot_tile(q, factors, rows_at_once, words, keys->n_rows, dim, scales, fetched, dots);
        }
        q += rows_at_once * stride;
        factors += rows_at_once;
        dots += rows_at_once * KVB_TILE_TOKENS;
    }
}
