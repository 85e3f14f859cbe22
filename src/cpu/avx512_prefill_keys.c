/* Many queries times packed keys: lanes are tokens, so that no sum crosses lanes. Keys lie as pairs of coordinates of
 * 32 tokens, and a query's pair meets them all; products are summed as integers over a span of coordinates, and spans
 * in floats, as each has its own scale. */
#if defined(__x86_64__)
#include "cpu/avx512_prefill.h"

#include <math.h>

/* Pairs of a span: so few that the sums, which must stay below 2^31, cost its integers no bits, and that its largest
 * value is seldom far above the others. With one scale for the row, peaked softmax would miss the error's bound. */
enum { span = 4, groups = 2 };

/* ---- Queries: blocks of rows, in it span after span: pair after pair, of each row after row, then the row's scales */

INLINE size_t query_words(int dim) {
    return (size_t)dim + (size_t)dim / (2 * span) * 2;
}

/* Pairs of a row go `step` words apart. Look-ups of keys give coordinates 4i and 4i + 2, then 4i + 1 and 4i + 3. */
static void fix_span(const kvb_codec_tables *keys, const float *q, int16_t *out, size_t step) {
    __m256 x = _mm256_loadu_ps(q), magnitudes = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
    float most = _mm512_reduce_max_ps(_mm512_zextps256_ps512(magnitudes));
    float sum = _mm512_reduce_add_ps(_mm512_zextps256_ps512(magnitudes));
    /* Very small queries are raised first, lest their scale overflows. */
    float raise = most < 0x1p-90f ? 0x1p60f : 1.0f;
    float scale = fminf((float)INT16_MAX / (most * raise), largest_sum / keys->fixed_most / (sum * raise));
    float factor = raise / scale;
    if (sum == 0.0f || !isfinite(sum)) {
        scale = factor = 0.0f;
    }
    x = _mm256_mul_ps(_mm256_mul_ps(x, _mm256_set1_ps(raise)), _mm256_set1_ps(scale));
    __m256i words = _mm256_cvtps_epi32(x);
    __m128i low = _mm256_castsi256_si128(words), high = _mm256_extracti128_si256(words, 1);
    __m128i pairs = _mm_shufflehi_epi16(_mm_shufflelo_epi16(_mm_packs_epi32(low, high), 0xd8), 0xd8);
    int32_t each[span];
    _mm_storeu_si128((__m128i *)each, pairs);
    for (int p = 0; p < span; p++) {
        memcpy(out + (size_t)p * step, &each[p], sizeof each[p]);
    }
    memcpy(out + span * step, &factor, sizeof factor);
}

static void fix_query(const kvb_codec_tables *keys, const float *q, int16_t *out, size_t step, float *factor) {
    float sum = 0.0f;
    for (int i = 0; i < keys->head_dim; i += 2 * span) {
        fix_span(keys, q + i, out, step);
        out += (span + 1) * step;
    }
    for (int i = 0; i < keys->head_dim; i++) {
        sum += q[i] * 0.0f;
    }
    *factor = keys->fixed_unit + sum; /* NaN where a value is NaN or Inf */
}

/* Rows of the next block: row_block, and what is left in powers of two. */
INLINE int next_block(int n_rows) {
    return n_rows >= row_block ? row_block : n_rows >= 4 ? 4 : n_rows >= 2 ? 2 : 1;
}

void kvb_avx512_fix_queries_many(const kvb_codec_tables *keys, const float *q, int n_rows, int16_t *fixed,
                                 float *factors) {
    size_t dim = (size_t)keys->head_dim;
    for (int n; n_rows > 0; n_rows -= n) {
        n = next_block(n_rows);
        for (int r = 0; r < n; r++) {
            fix_query(keys, q, fixed + 2 * r, 2 * (size_t)n, factors++);
            q += dim;
        }
        fixed += (size_t)n * query_words((int)dim);
    }
}

/* ---- Keys: pair after pair, 32 tokens each ---- */

/* Column i of four: bytes 4i .. 4i + 3 of the chunk, of 16 tokens. */
INLINE void read_columns(const uint8_t *const *rows, int at, __m512i columns[4]) {
    __m512i a[4], b[4];
    for (int i = 0; i < 4; i++) {
        a[i] = read_rows(rows + i, 4, at);
    }
    for (int i = 0; i < 2; i++) {
        b[i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        b[2 + i] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        columns[2 * i] = _mm512_unpacklo_epi64(b[2 * i], b[2 * i + 1]);
        columns[2 * i + 1] = _mm512_unpackhi_epi64(b[2 * i], b[2 * i + 1]);
    }
}

INLINE void fix_keys(const code_source *source, const kvb_codec_tables *tables, int bits, int n_groups, __m512i *out) {
    word_table table = open_table(tables, bits);
    int narrowest = narrowest_plane(bits);
    for (int group = 0; group < n_groups; group++) {
        for (int at = 0; at < source->stride; at += chunk) {
            __m512i chunks[most_chunks][4];
            int n = 0;
            for (int width = 8, plane = 0; width > 0; width /= 2) {
                for (int i = 0; has_plane(bits, width) && i < width / narrowest; i++) {
                    read_columns(source->rows[plane] + group * lanes, i * source->stride + at, chunks[n++]);
                }
                plane += has_plane(bits, width);
            }
            for (int field = 0; field < 8 / narrowest; field++) {
                __m512i *to = out + (field * source->stride + at) / 2 * groups + group;
                for (int column = 0; column < 4; column++, to += 2 * groups) {
                    __m512i codes = combine(&chunks[0][column], 4, bits, field);
                    to[0] = look_up(&table, bits, codes);
                    to[groups] = look_up(&table, bits, _mm512_srli_epi16(codes, 8));
                }
            }
        }
    }
}

static void read_keys(const kvb_packed_run *run, __m512i *out, uint8_t *codes) {
    code_source source;
    open_source(&source, run, codes);
    int n_groups = run->n_rows > lanes ? 2 : 1;
#define FIX(bits) fix_keys(&source, run->tables, bits, n_groups, out)
    EACH_WIDTH(source_bits(run->tables), FIX)
#undef FIX
}

/* ---- Products ---- */

/* Adds a span; counts are constants. */
INLINE void dot_span(const int16_t *q, int n_rows, const __m512i *k, int n_groups, __m512 *sums) {
    __m512i s[row_block][groups];
    for (int r = 0; r < n_rows; r++) {
        for (int g = 0; g < n_groups; g++) {
            s[r][g] = _mm512_setzero_si512();
        }
    }
    for (int p = 0; p < span; p++, q += 2 * n_rows, k += groups) {
        for (int r = 0; r < n_rows; r++) {
            int32_t both;
            memcpy(&both, q + 2 * r, sizeof both);
            __m512i pair = _mm512_set1_epi32(both);
            for (int g = 0; g < n_groups; g++) {
                s[r][g] = _mm512_dpwssd_epi32(s[r][g], pair, k[g]);
            }
        }
    }
    for (int r = 0; r < n_rows; r++) {
        float factor;
        memcpy(&factor, q + 2 * r, sizeof factor);
        for (int g = 0; g < n_groups; g++) {
            __m512 *sum = &sums[r * groups + g];
            *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s[r][g]), _mm512_set1_ps(factor), *sum);
        }
    }
}

INLINE void dot_block(const int16_t *q, const float *factors, int n_rows, const __m512i *k, int n_groups, int dim,
                      const __m512 *scales, float *dots) {
    __m512 sums[row_block * groups];
    for (int i = 0; i < n_rows * groups; i++) {
        sums[i] = _mm512_setzero_ps();
    }
    for (int i = 0; i < dim; i += 2 * span) {
        dot_span(q, n_rows, k, n_groups, sums);
        q += (span + 1) * 2 * n_rows;
        k += span * groups;
    }
    for (int r = 0; r < n_rows; r++) {
        for (int g = 0; g < n_groups; g++) {
            __m512 worth = _mm512_mul_ps(_mm512_set1_ps(factors[r]), scales[g]);
            _mm512_storeu_ps(dots + r * KVB_TILE_TOKENS + g * lanes, _mm512_mul_ps(sums[r * groups + g], worth));
        }
    }
}

INLINE void dot_tile(const int16_t *q, const float *factors, int n_rows, const __m512i *k, int n_groups, int dim,
                     const __m512 *scales, float *dots) {
    for (int n; n_rows > 0; n_rows -= n) {
        n = next_block(n_rows);
        switch (n) {
        case 1:
            dot_block(q, factors, 1, k, n_groups, dim, scales, dots);
            break;
        case 2:
            dot_block(q, factors, 2, k, n_groups, dim, scales, dots);
            break;
        case 4:
            dot_block(q, factors, 4, k, n_groups, dim, scales, dots);
            break;
        default:
            dot_block(q, factors, row_block, k, n_groups, dim, scales, dots);
        }
        q += (size_t)n * query_words(dim);
        factors += n;
        dots += (size_t)n * KVB_TILE_TOKENS;
    }
}

void kvb_avx512_dot_packed_many(const kvb_packed_run *keys, const int16_t *q, const float *factors, int n_rows,
                                void *scratch, float *dots) {
    int dim = keys->tables->head_dim;
    uint8_t *codes = (uint8_t *)scratch + KVB_TILE_TOKENS * KVB_FIXED_DIM(dim) * sizeof(int16_t);
    __m512 scales[2];
    read_tile_scales(keys, scales);
    read_keys(keys, scratch, codes);
    if (keys->n_rows > lanes) {
        dot_tile(q, factors, n_rows, scratch, 2, dim, scales, dots);
    } else {
        dot_tile(q, factors, n_rows, scratch, 1, dim, scales, dots);
    }
}
#endif
