/* Many rows of weights times packed values: lanes are coordinates. Values lie as pairs of tokens; weights times scales
 * become 16-bit integers, so small that their sum over the tile times the largest centroid stays below 2^31. */
#if defined(__x86_64__)
#include "cpu/avx512_prefill.h"

#include <math.h>

enum { pairs = KVB_TILE_TOKENS / 2, block_vectors = 2 };

/* Tokens 4i .. 4i + 3 lie in pairs pair_of(i) and the one behind, in the order in which packing weights to words leaves
 * them. */
INLINE int pair_of(int four) {
    return 4 * (four % 4) + 2 * (four / 4);
}

/* Bytes of four tokens, together for each of 16 coordinates: of tokens 0, 2, 1, 3. */
INLINE __m512i read_coordinates(const uint8_t *const *rows, int at) {
    const __m512i quarters = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15));
    return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(quarters, read_rows(rows, 1, at)), bytes);
}

/* Vector p of coordinates 16b .. 16b + 15 is at b * pairs + p. */
INLINE void fix_values(const code_source *source, const kvb_codec_tables *tables, int bits, int n_fours, int dim,
                       __m512i *out) {
    word_table table = open_table(tables, bits);
    int narrowest = narrowest_plane(bits);
    for (int four = 0; four < n_fours; four++) {
        for (int at = 0; at < source->stride; at += chunk) {
            __m512i chunks[most_chunks];
            int n = 0;
            for (int width = 8, plane = 0; width > 0; width /= 2) {
                for (int i = 0; has_plane(bits, width) && i < width / narrowest; i++) {
                    chunks[n++] = read_coordinates(source->rows[plane] + four * 4, i * source->stride + at);
                }
                plane += has_plane(bits, width);
            }
            for (int field = 0; field < 8 / narrowest; field++) {
                int coordinate = field * source->stride + at;
                __m512i *to = out + coordinate / lanes * pairs + pair_of(four);
                if (coordinate < dim) {
                    __m512i codes = combine(chunks, 1, bits, field);
                    to[0] = look_up(&table, bits, codes);
                    to[1] = look_up(&table, bits, _mm512_srli_epi16(codes, 8));
                }
            }
        }
    }
}

static void read_values(const kvb_packed_run *run, int dim, __m512i *out, uint8_t *codes) {
    code_source source;
    open_source(&source, run, codes);
    int n_fours = run->n_rows > lanes ? 8 : 4;
#define FIX(bits) fix_values(&source, run->tables, bits, n_fours, dim, out)
    EACH_WIDTH(source_bits(run->tables), FIX)
#undef FIX
}

/* Weights times scales of weight_rows rows as integers, and what one is worth; 0 where all weights are 0. */
static void fix_weights(const float *weights, int n_rows, const __m512 *scales, const kvb_codec_tables *tables,
                        int16_t *fixed, float *worths) {
    __m512 products[weight_rows][2], most[weight_rows], all[weight_rows], zero = _mm512_setzero_ps();
    for (int r = 0; r < weight_rows; r++) {
        for (int i = 0; i < 2; i++) {
            __m512 weight = r < n_rows ? _mm512_loadu_ps(weights + r * KVB_TILE_TOKENS + i * lanes) : zero;
            __mmask16 counts = _mm512_cmp_ps_mask(weight, zero, _CMP_NEQ_UQ);
            products[r][i] = _mm512_maskz_mul_ps(counts, weight, scales[i]);
        }
        __m512 a = _mm512_abs_ps(products[r][0]), b = _mm512_abs_ps(products[r][1]);
        most[r] = _mm512_max_ps(a, b);
        all[r] = _mm512_add_ps(a, b);
    }
    __m512 largest = lane_maxima(most), sum = lane_sums(all), one = _mm512_set1_ps(1.0f);
    /* Very small weights are raised first, lest their factor overflows. */
    __mmask16 is_small = _mm512_cmp_ps_mask(largest, _mm512_set1_ps(0x1p-90f), _CMP_LT_OQ);
    __m512 raise = _mm512_mask_blend_ps(is_small, one, _mm512_set1_ps(0x1p60f));
    __m512 by_word = _mm512_div_ps(_mm512_set1_ps((float)INT16_MAX), _mm512_mul_ps(largest, raise));
    __m512 by_sum = _mm512_div_ps(_mm512_set1_ps(largest_sum / tables->fixed_most), _mm512_mul_ps(sum, raise));
    __m512 factor = _mm512_min_ps(by_word, by_sum);
    __m512 worth = _mm512_div_ps(_mm512_div_ps(_mm512_set1_ps(tables->fixed_unit), factor), one);
    worth = _mm512_mul_ps(worth, raise);
    __mmask16 is_empty = _mm512_cmp_ps_mask(sum, zero, _CMP_EQ_OQ);
    __mmask16 is_odd = _mm512_cmp_ps_mask(sum, _mm512_set1_ps(INFINITY), _CMP_NLT_UQ);
    factor = _mm512_mask_mov_ps(factor, is_empty | is_odd, zero);
    worth = _mm512_mask_mov_ps(worth, is_empty, zero);
    _mm512_storeu_ps(worths, _mm512_mask_mov_ps(worth, is_odd, _mm512_set1_ps(NAN)));
    float raises[weight_rows], factors[weight_rows];
    _mm512_storeu_ps(raises, raise);
    _mm512_storeu_ps(factors, factor);
    for (int r = 0; r < weight_rows; r++) {
        __m512 by = _mm512_set1_ps(factors[r]), up = _mm512_set1_ps(raises[r]);
        __m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_mul_ps(products[r][0], up), by));
        __m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_mul_ps(products[r][1], up), by));
        _mm512_store_si512(fixed + r * KVB_TILE_TOKENS, _mm512_packs_epi32(low, high));
    }
}

/* n_vectors vectors of coordinates, the last by `mask`; all counts are constants. */
INLINE void add_block(const int16_t *weights, const float *worths, int n_rows, const __m512i *values, int n_vectors,
                      int is_half, float *sums, size_t stride, __mmask16 mask) {
    __m512i s[row_block][block_vectors];
    for (int r = 0; r < n_rows; r++) {
        for (int v = 0; v < n_vectors; v++) {
            s[r][v] = _mm512_setzero_si512();
            _mm_prefetch((const char *)(sums + (size_t)r * stride + v * lanes), _MM_HINT_T0);
        }
    }
#pragma GCC unroll 16
    for (int p = 0; p < pairs; p += is_half && p % 2 == 1 ? 3 : 1) {
        for (int r = 0; r < n_rows; r++) {
            int32_t both;
            memcpy(&both, weights + r * KVB_TILE_TOKENS + 2 * p, sizeof both);
            __m512i pair = _mm512_set1_epi32(both);
            for (int v = 0; v < n_vectors; v++) {
                s[r][v] = _mm512_dpwssd_epi32(s[r][v], pair, values[v * pairs + p]);
            }
        }
    }
    for (int r = 0; r < n_rows; r++) {
        __m512 worth = _mm512_set1_ps(worths[r]);
        for (int v = 0; v < n_vectors; v++) {
            float *to = sums + (size_t)r * stride + v * lanes;
            __m512 sum = _mm512_cvtepi32_ps(s[r][v]);
            if (v + 1 < n_vectors || mask == (__mmask16)-1) {
                _mm512_storeu_ps(to, _mm512_fmadd_ps(sum, worth, _mm512_loadu_ps(to)));
            } else {
                _mm512_mask_storeu_ps(to, mask, _mm512_fmadd_ps(sum, worth, _mm512_maskz_loadu_ps(mask, to)));
            }
        }
    }
}

INLINE void add_rows(const int16_t *weights, const float *worths, int n_rows, const __m512i *values, int is_half,
                     int dim, float *sums, size_t stride) {
    enum { step = block_vectors * lanes };
    const __mmask16 all = (__mmask16)-1;
    int i = 0;
    for (; i + step <= dim; i += step, values += block_vectors * pairs) {
        add_block(weights, worths, n_rows, values, block_vectors, is_half, sums + i, stride, all);
    }
    for (; i < dim; i += lanes, values += pairs) {
        __mmask16 mask = dim - i < lanes ? (__mmask16)((1 << (dim - i)) - 1) : all;
        add_block(weights, worths, n_rows, values, 1, is_half, sums + i, stride, mask);
    }
}

/* Up to weight_rows rows; those that fill up the last block have no weight and no sums. */
INLINE void add_tile(const int16_t *weights, const float *worths, int n_rows, const __m512i *values, int is_half,
                     int dim, float *sums, size_t stride) {
    int r = 0;
    for (; r + row_block <= n_rows; r += row_block) {
        add_rows(weights + r * KVB_TILE_TOKENS, worths + r, row_block, values, is_half, dim, sums + (size_t)r * stride,
                 stride);
    }
    for (; r + 4 <= n_rows; r += 4) {
        add_rows(weights + r * KVB_TILE_TOKENS, worths + r, 4, values, is_half, dim, sums + (size_t)r * stride, stride);
    }
    for (; r < n_rows; r++) {
        add_rows(weights + r * KVB_TILE_TOKENS, worths + r, 1, values, is_half, dim, sums + (size_t)r * stride, stride);
    }
}

void kvb_avx512_add_packed_many(const kvb_packed_run *values, int dim, const float *weights, int n_rows, void *scratch,
                                float *sums, size_t sums_stride) {
    __m512i *fixed = scratch;
    uint8_t *codes = (uint8_t *)scratch + KVB_TILE_TOKENS * KVB_FIXED_DIM(values->tables->head_dim) * sizeof(int16_t);
    __m512 scales[2];
    read_tile_scales(values, scales);
    read_values(values, dim, fixed, codes);
    for (int r = 0; r < n_rows; r += weight_rows) {
        _Alignas(64) int16_t words_of[weight_rows * KVB_TILE_TOKENS];
        float worths[weight_rows];
        int n = n_rows - r < weight_rows ? n_rows - r : weight_rows;
        fix_weights(weights + (size_t)r * KVB_TILE_TOKENS, n, scales, values->tables, words_of, worths);
        float *to = sums + (size_t)r * sums_stride;
        if (values->n_rows > lanes) {
            add_tile(words_of, worths, n, fixed, 0, dim, to, sums_stride);
        } else {
            add_tile(words_of, worths, n, fixed, 1, dim, to, sums_stride);
        }
    }
}
#endif
