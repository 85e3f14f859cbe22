/* Many queries times packed keys: lanes are tokens, so that no sum crosses lanes. Keys lie as pairs of coordinates of
 * 32 tokens, and a query's pair meets them all; 32-bit sums over a span of coordinates, and spans in floats. */
#if defined(__x86_64__)
#include "cpu/avx512_prefill.h"

#include <math.h>

/* Pairs whose products are summed as integers: so few that the bits of a query's integers suffer little. */
enum { span = 4, groups = 2 };

/* ---- Queries: blocks of rows, pair after pair, in a pair row after row ---- */

/* A row's largest magnitude, the largest sum of magnitudes in a span, and the sum of all. */
static float measure_query(const float *q, int dim, float *most, float *fullest) {
    __m512 largest = _mm512_setzero_ps();
    float all = 0.0f;
    *fullest = 0.0f;
    for (int first = 0; first < dim; first += 2 * span) {
        __m512 sum = _mm512_setzero_ps();
        for (int i = first; i < first + 2 * span && i < dim; i += lanes) {
            __mmask16 mask = dim - i < lanes ? (__mmask16)((1 << (dim - i)) - 1) : (__mmask16)-1;
            __m512 x = _mm512_abs_ps(_mm512_maskz_loadu_ps(mask, q + i));
            largest = _mm512_max_ps(x, largest);
            sum = _mm512_add_ps(sum, x);
        }
        float of_span = _mm512_reduce_add_ps(sum);
        *fullest = of_span > *fullest ? of_span : *fullest;
        all += of_span;
    }
    *most = _mm512_reduce_max_ps(largest);
    return all;
}

/* Pairs of a row go `step` pairs apart. Look-ups of keys give coordinates 4i and 4i + 2, then 4i + 1 and 4i + 3. */
static void fix_query(const kvb_codec_tables *keys, const float *q, int16_t *out, size_t step, float *factor) {
    float most, fullest, all = measure_query(q, keys->head_dim, &most, &fullest);
    /* Very small queries are raised first, lest their scale overflows. */
    float raise = most < 0x1p-90f ? 0x1p60f : 1.0f;
    float scale = fminf((float)INT16_MAX / (most * raise), largest_sum / keys->fixed_most / (fullest * raise));
    *factor = keys->fixed_unit / scale * raise;
    if (all == 0.0f || !isfinite(all)) {
        *factor = all == 0.0f ? 0.0f : NAN;
        scale = 0.0f;
        raise = 0.0f;
    }
    for (int i = 0; i < keys->head_dim; i += 4) {
        __m128i x =
            _mm_cvtps_epi32(_mm_mul_ps(_mm_mul_ps(_mm_loadu_ps(q + i), _mm_set1_ps(raise)), _mm_set1_ps(scale)));
        x = _mm_shufflelo_epi16(_mm_packs_epi32(x, x), 0xd8);
        int64_t both = _mm_cvtsi128_si64(x);
        memcpy(out + (size_t)i * step, &both, 4);
        both >>= 32;
        memcpy(out + (size_t)(i + 2) * step, &both, 4);
    }
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
            fix_query(keys, q, fixed + 2 * r, (size_t)n, factors++);
            q += dim;
        }
        fixed += (size_t)n * KVB_FIXED_DIM(dim);
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

/* Adds n pairs; all counts but n are constants. */
INLINE void dot_span(const int16_t *q, int n_rows, const __m512i *k, int n_groups, int n, __m512 *sums, int is_first) {
    __m512i s[row_block][groups];
    for (int r = 0; r < n_rows; r++) {
        for (int g = 0; g < n_groups; g++) {
            s[r][g] = _mm512_setzero_si512();
        }
    }
    for (int p = 0; p < n; p++, q += 2 * n_rows, k += groups) {
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
        for (int g = 0; g < n_groups; g++) {
            __m512 sum = _mm512_cvtepi32_ps(s[r][g]);
            sums[r * groups + g] = is_first ? sum : _mm512_add_ps(sums[r * groups + g], sum);
        }
    }
}

INLINE void dot_block(const int16_t *q, const float *factors, int n_rows, const __m512i *k, int n_groups, int n_pairs,
                      const __m512 *scales, float *dots) {
    __m512 sums[row_block * groups];
    int p = n_pairs < span ? n_pairs : span;
    dot_span(q, n_rows, k, n_groups, p, sums, 1);
    for (; p + span <= n_pairs; p += span) {
        dot_span(q + (size_t)p * 2 * (size_t)n_rows, n_rows, k + (size_t)p * groups, n_groups, span, sums, 0);
    }
    if (p < n_pairs) {
        dot_span(q + (size_t)p * 2 * (size_t)n_rows, n_rows, k + (size_t)p * groups, n_groups, n_pairs - p, sums, 0);
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
            dot_block(q, factors, 1, k, n_groups, dim / 2, scales, dots);
            break;
        case 2:
            dot_block(q, factors, 2, k, n_groups, dim / 2, scales, dots);
            break;
        case 4:
            dot_block(q, factors, 4, k, n_groups, dim / 2, scales, dots);
            break;
        default:
            dot_block(q, factors, row_block, k, n_groups, dim / 2, scales, dots);
        }
        q += (size_t)n * KVB_FIXED_DIM(dim);
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
