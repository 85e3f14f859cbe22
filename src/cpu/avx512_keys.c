/* Queries and packed keys in fixed point, AVX-512: products of 16-bit centroids and 16-bit queries, summed in 32 bits.
 * No sum overflows: a query is scaled so that the integers that meet in a lane, times the largest centroid, stay below
 * 2^31, over a span of some 256 coordinates, and spans in floats. */
#if defined(__x86_64__)
#ifndef KVB_ISA
#define KVB_ISA avx512
#endif
#include "cpu/avx512_codes.h"
#include "cpu/avx512_tokens.h"

#include <math.h>

/* Of integers times centroids; leaves room for the roundings of the integers. */
static const float largest_sum = 0x1p31f * 0.99f;

/* ---- Queries ---- */

INLINE __m512 load_some(const float *from, int n) {
    return _mm512_maskz_loadu_ps((__mmask16)(n >= 16 ? 0xffff : (1 << n) - 1), from);
}

/* Vectors whose products are summed as integers, some 256 coordinates: so few that the 16 bits of a query are what
 * limits its precision, and not these sums. */
INLINE int span_of(int kind) {
    return widest_plane(kind) == 8 ? 4 : widest_plane(kind) == 4 ? 2 : 1;
}

/* The lane in which the code of a byte of a vector is summed. */
INLINE int lane_of(int kind, int byte) {
    return is_by_bytes(kind) ? byte / 16 * 4 + byte % 8 / 2 : byte / 4;
}

/* Magnitudes of a query by the bytes of a vector, all fields together; the largest of them. */
INLINE __m512 measure_vector(const float *q, int dim, int stride, int vector, float bytes[vector_bytes]) {
    __m512 largest = _mm512_setzero_ps();
    for (int i = 0; i < vector_bytes; i += 16) {
        __m512 sums = _mm512_setzero_ps();
        int byte = vector * vector_bytes + i;
        for (int first = 0; first < dim && byte < stride; first += stride) {
            __m512 x = _mm512_abs_ps(load_some(q + first + byte, stride - byte));
            largest = _mm512_max_ps(x, largest);
            sums = _mm512_add_ps(sums, x);
        }
        _mm512_storeu_ps(bytes + i, sums);
    }
    return largest;
}

/* Magnitudes of a query: the largest, and the largest sum of those that a lane meets in a span; returns that of all. */
INLINE float measure_query(int kind, const code_rows *rows, const float *q, int dim, float *most, float *fullest) {
    __m512 largest = _mm512_setzero_ps();
    float lanes[16] = {0.0f}, all = 0.0f;
    *fullest = 0.0f;
    for (int v = 0; v < rows->n_vectors; v++) {
        float bytes[vector_bytes];
        largest = _mm512_max_ps(largest, measure_vector(q, dim, rows->stride, v, bytes));
        for (int byte = 0; byte < vector_bytes; byte++) {
            lanes[lane_of(kind, byte)] += bytes[byte];
        }
        if ((v + 1) % span_of(kind) == 0 || v + 1 == rows->n_vectors) {
            for (int l = 0; l < 16; l++) {
                *fullest = lanes[l] > *fullest ? lanes[l] : *fullest;
                all += lanes[l];
                lanes[l] = 0.0f;
            }
        }
    }
    *most = _mm512_reduce_max_ps(largest);
    return all;
}

static void round_query(const float *q, int dim, float raise, float scale, int16_t *out) {
    for (int i = 0; i < dim; i += 16) {
        __m512 x = _mm512_mul_ps(load_some(q + i, dim - i), _mm512_set1_ps(raise));
        __m512i words = _mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(scale)));
        _mm256_storeu_si256((__m256i *)(out + i), _mm512_cvtsepi32_epi16(words));
    }
}

/* Moves integers to where the codes of their coordinates will be. */
INLINE void order_query(const code_rows *rows, int kind, int dim, const int16_t *from, int16_t *out) {
    for (int v = 0; v < rows->n_vectors; v++) {
        for (int part = 0; part < n_parts(kind); part++) {
            for (int k = 0; k < n_outputs(kind); k++) {
                for (int x = 0; x < vector_words; x++) {
                    int byte = byte_of(kind, rows->joined, v, k, x);
                    int at = byte + field_of(kind, part, k) * rows->stride;
                    *out++ = (int16_t)(byte < rows->stride && at < dim ? from[at] : 0);
                }
            }
        }
    }
}

INLINE void fix_query(const kvb_codec_tables *keys, const code_rows *rows, int kind, const float *q, int16_t *fixed,
                      float *factor) {
    int16_t rounded[KVB_MAX_HEAD_DIM];
    float most, fullest, all = measure_query(kind, rows, q, keys->head_dim, &most, &fullest);
    /* Very small queries are raised first, lest their scale overflows. */
    float raise = most < 0x1p-90f ? 0x1p60f : 1.0f;
    float scale = fminf((float)INT16_MAX / (most * raise), largest_sum / keys->fixed_most / (fullest * raise));
    *factor = keys->fixed_unit / scale * raise;
    if (all == 0.0f || !isfinite(all)) {
        *factor = all == 0.0f ? 0.0f : NAN;
        scale = 0.0f;
    }
    round_query(q, keys->head_dim, raise, scale, rounded);
    order_query(rows, kind, keys->head_dim, rounded, fixed);
}

INLINE void fix_rows(const kvb_codec_tables *keys, int kind, const float *q, int n_rows, int16_t *fixed,
                     float *factors) {
    code_rows rows;
    const kvb_packed_run none = {.tables = keys};
    open_rows(&rows, kind, &none, NULL);
    for (int r = 0; r < n_rows; r++) {
        fix_query(keys, &rows, kind, q + (size_t)r * (size_t)keys->head_dim, fixed, &factors[r]);
        fixed += KVB_ORDERED_DIM(keys->head_dim);
    }
}

/* ---- Dots ---- */

/* Integers to floats, before lanes meet: then each lane has 31 bits of its own. */
INLINE void close_span(__m512i s[2][rows_at_once], int n_rows, __m512 *sums) {
    UNROLL
    for (int r = 0; r < n_rows; r++) {
        UNROLL
        for (int i = 0; i < 2; i++) {
            __m512 *to = &sums[r * block_tokens + i];
            *to = _mm512_add_ps(*to, _mm512_cvtepi32_ps(s[i][r]));
            s[i][r] = _mm512_setzero_si512();
        }
    }
}

/* Lane sums of n_rows queries with the tokens of two vectors, which start at the given rows; n_rows is a constant. Two
 * at a time, as sums wait for themselves. */
INLINE void dot_codes(const lut *l, int kind, const code_rows *rows, const int row[2], const int16_t *q,
                      size_t q_stride, int n_rows, __m512 *sums) {
    __m512i s[2][rows_at_once];
    UNROLL
    for (int r = 0; r < n_rows; r++) {
        s[0][r] = s[1][r] = _mm512_setzero_si512();
        sums[r * block_tokens] = sums[r * block_tokens + 1] = _mm512_setzero_ps();
    }
    for (int v = 0; v < rows->n_vectors; v++) {
        int reader = row[0] * rows->n_vectors + 2 * v * rows->joined;
        fetch_next(rows, kind, row[0], v, reader);
        fetch_next(rows, kind, row[1], v, reader + rows->joined);
        UNROLL
        for (int part = 0; part < n_parts(kind); part++) {
            const int16_t *at = q + v * words_per_vector(kind) + part * n_outputs(kind) * vector_words;
            __m512i c[2][16];
            lut_read(l, kind, read_part(rows, kind, row[0], v, part), 0, n_outputs(kind), c[0]);
            lut_read(l, kind, read_part(rows, kind, row[1], v, part), 0, n_outputs(kind), c[1]);
            UNROLL
            for (int k = 0; k < n_outputs(kind); k++) {
                UNROLL
                for (int r = 0; r < n_rows; r++) {
                    __m512i query = _mm512_load_si512(at + (size_t)r * q_stride + k * vector_words);
                    s[0][r] = _mm512_dpwssd_epi32(s[0][r], c[0][k], query);
                    s[1][r] = _mm512_dpwssd_epi32(s[1][r], c[1][k], query);
                }
            }
        }
        if ((v + 1) % span_of(kind) == 0 && v + 1 < rows->n_vectors) {
            close_span(s, n_rows, sums);
        }
    }
    close_span(s, n_rows, sums);
}

INLINE void dot_few(const kvb_packed_run *run, int kind, const code_rows *rows, const int16_t *q, const float *factors,
                    int n_rows, float *dots) {
    lut l = lut_open(run->tables, kind);
    size_t stride = KVB_ORDERED_DIM(run->tables->head_dim);
    __m512 scales[KVB_TILE_TOKENS / block_tokens];
    read_scales(run, scales);
    for (int first = 0; first < run->n_rows; first += block_tokens) {
        __m512 sums[rows_at_once * block_tokens];
        for (int i = 0; i * rows->joined < block_tokens; i += 2) {
            int row[2] = {first + i * rows->joined, first + (i + 1) * rows->joined};
            row[0] = row[0] < run->n_rows ? row[0] : first;
            row[1] = row[1] < run->n_rows ? row[1] : first;
            dot_codes(&l, kind, rows, row, q, stride, n_rows, sums + i);
        }
        for (int r = 0; r < n_rows; r++) {
            const __m512 *s = sums + r * block_tokens;
            __m512 all = rows->joined == 1   ? add_lanes(1, s)
                         : rows->joined == 2 ? add_lanes(2, s)
                         : rows->joined == 4 ? add_lanes(4, s)
                                             : add_lanes(8, s);
            __m512 worth = _mm512_mul_ps(_mm512_set1_ps(factors[r]), scales[first / block_tokens]);
            _mm512_storeu_ps(dots + r * KVB_TILE_TOKENS + first, _mm512_mul_ps(all, worth));
        }
    }
}

INLINE void dot_rows_of(const kvb_packed_run *run, int kind, const int16_t *q, const float *factors, int n_rows,
                        uint8_t *codes, float *dots) {
    code_rows rows;
    open_rows(&rows, kind, run, codes);
    for (; n_rows > 0; n_rows -= rows_at_once) {
        switch (n_rows) {
        case 1:
            dot_few(run, kind, &rows, q, factors, 1, dots);
            break;
        case 2:
            dot_few(run, kind, &rows, q, factors, 2, dots);
            break;
        case 3:
            dot_few(run, kind, &rows, q, factors, 3, dots);
            break;
        default:
            dot_few(run, kind, &rows, q, factors, rows_at_once, dots);
        }
        q += rows_at_once * KVB_ORDERED_DIM(run->tables->head_dim);
        factors += rows_at_once;
        dots += rows_at_once * KVB_TILE_TOKENS;
    }
}

/* ---- By width ---- */

#define KIND(kind)                                                                                                     \
    static void fix_##kind(const kvb_codec_tables *keys, const float *q, int n_rows, int16_t *fixed, float *factors) { \
        fix_rows(keys, kind, q, n_rows, fixed, factors);                                                               \
    }                                                                                                                  \
    static void dot_##kind(const kvb_packed_run *run, const int16_t *q, const float *factors, int n_rows,              \
                           uint8_t *codes, float *dots) {                                                              \
        dot_rows_of(run, kind, q, factors, n_rows, codes, dots);                                                       \
    }
EACH_KIND(KIND)
#undef KIND

void KVB_STEP(fix_queries)(const kvb_codec_tables *keys, const float *q, int n_rows, int16_t *fixed, float *factors) {
    if (n_rows > KVB_FEW_ROWS) {
        kvb_avx512_fix_queries_many(keys, q, n_rows, fixed, factors);
        return;
    }
    switch (row_kind(keys)) {
#define KIND(kind)                                                                                                     \
    case kind:                                                                                                         \
        fix_##kind(keys, q, n_rows, fixed, factors);                                                                   \
        break;
        EACH_KIND(KIND)
#undef KIND
    default:
        OTHERWISE(kvb_avx512_fix_queries(keys, q, n_rows, fixed, factors));
    }
}

void KVB_STEP(dot_packed)(const kvb_packed_run *keys, const int16_t *q, const float *factors, int n_rows, void *scratch,
                          float *dots) {
    if (n_rows > KVB_FEW_ROWS) {
        kvb_avx512_dot_packed_many(keys, q, factors, n_rows, scratch, dots);
        return;
    }
    switch (row_kind(keys->tables)) {
#define KIND(kind)                                                                                                     \
    case kind:                                                                                                         \
        unpack_rows(keys, kind, scratch);                                                                              \
        dot_##kind(keys, q, factors, n_rows, scratch, dots);                                                           \
        break;
        EACH_KIND(KIND)
#undef KIND
    default:
        OTHERWISE(kvb_avx512_dot_packed(keys, q, factors, n_rows, scratch, dots));
    }
}
#endif
