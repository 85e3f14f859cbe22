/* Weighted sums of packed values in fixed point, AVX-512: weights times scales become 16-bit integers, scaled so that
 * their sum over the tile times the largest centroid stays below 2^31; products are summed over pairs of tokens in 32
 * bits, and tiles in floats. Values are looked up as they are multiplied; nothing but sums is stored. */
#if defined(__x86_64__)
#ifndef KVB_ISA
#define KVB_ISA avx512
#endif
#include "cpu/avx512_codes.h"

#include <math.h>

enum { n_pairs = KVB_TILE_TOKENS / 2, sum_lanes = 16, most_sums = 24 };

static const float largest_sum = 0x1p31f * 0.99f;

/* ---- Weights ---- */

/* Weights times scales as integers, and what one is worth; all 0 where no weight counts. */
INLINE void fix_weights(const float *weights, const __m512 *scales, const kvb_codec_tables *tables, int16_t *fixed,
                        float *worth) {
    __m512 products[2], zero = _mm512_setzero_ps();
    for (int i = 0; i < 2; i++) {
        __m512 weight = _mm512_loadu_ps(weights + i * sum_lanes);
        products[i] = _mm512_maskz_mul_ps(_mm512_cmp_ps_mask(weight, zero, _CMP_NEQ_UQ), weight, scales[i]);
    }
    __m512 low = _mm512_abs_ps(products[0]), high = _mm512_abs_ps(products[1]);
    float largest = _mm512_reduce_max_ps(_mm512_max_ps(low, high)),
          sum = _mm512_reduce_add_ps(_mm512_add_ps(low, high));
    /* Very small weights are raised first, lest their factor overflows. */
    float raise = largest < 0x1p-90f ? 0x1p60f : 1.0f;
    float factor = fminf((float)INT16_MAX / (largest * raise), largest_sum / tables->fixed_most / (sum * raise));
    *worth = tables->fixed_unit / factor / raise;
    if (sum == 0.0f || !isfinite(sum)) {
        *worth = sum == 0.0f ? 0.0f : NAN;
        factor = 0.0f;
    }
    for (int i = 0; i < 2; i++) {
        __m512 x = _mm512_mul_ps(_mm512_mul_ps(products[i], _mm512_set1_ps(raise)), _mm512_set1_ps(factor));
        _mm256_store_si256((__m256i *)(fixed + i * sum_lanes), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(x)));
    }
}

/* The pairs of weights that meet each group of joined tokens, a vector per group. */
INLINE void spread_weights(const int16_t *fixed, int joined, __m512i *out) {
    __m512i pairs = _mm512_load_si512(fixed);
    __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    __m512i index = _mm512_srli_epi32(lane, joined == 4 ? 3 : 2);
    for (int g = 0; g * joined < KVB_TILE_TOKENS; g++) {
        out[g] = _mm512_permutexvar_epi32(_mm512_add_epi32(index, _mm512_set1_epi32(g * joined / 2)), pairs);
    }
}

typedef struct weight_rows {
    _Alignas(64) int16_t fixed[rows_at_once][KVB_TILE_TOKENS];
    __m512i spread[rows_at_once][KVB_TILE_TOKENS / 4]; /* of 4 and 8 joined tokens */
    float worth[rows_at_once];
} weight_rows;

/* ---- Sums ---- */

/* Words of both tokens of each pair beside each other, for rows that are joined. */
INLINE __m512i pair_joined(int kind, int joined, __m512i part) {
#ifdef KVB_VBMI
    if (is_by_bytes(kind)) {
        __m512i index = _mm512_unpacklo_epi8(_mm512_set_epi64(0, 0x1f1e1d1c1b1a1918, 0, 0x1716151413121110, 0,
                                                              0x0f0e0d0c0b0a0908, 0, 0x0706050403020100),
                                             _mm512_set_epi64(0, 0x3f3e3d3c3b3a3938, 0, 0x3736353433323130, 0,
                                                              0x2f2e2d2c2b2a2928, 0, 0x2726252423222120));
        return _mm512_permutexvar_epi8(index, part);
    }
#endif
    (void)kind;
    int words = vector_words / joined; /* of a row */
    __m512i lane = _mm512_srli_epi16(iota_words(), 1);
    int shift = joined == 2 ? 4 : joined == 4 ? 3 : 2;
    __m512i pair = _mm512_srli_epi16(lane, (unsigned)shift);
    __m512i within = _mm512_and_si512(lane, _mm512_set1_epi16((short)(words - 1)));
    __m512i token =
        _mm512_add_epi16(_mm512_add_epi16(pair, pair), _mm512_and_si512(iota_words(), _mm512_set1_epi16(1)));
    __m512i index = _mm512_add_epi16(_mm512_slli_epi16(token, (unsigned)shift), within);
    return _mm512_permutexvar_epi16(index, part);
}

INLINE __m512i pair_half(int kind, __m512i even, __m512i odd, int half) {
    if (is_by_bytes(kind)) {
        return half ? _mm512_unpackhi_epi8(even, odd) : _mm512_unpacklo_epi8(even, odd);
    }
    return half ? _mm512_unpackhi_epi16(even, odd) : _mm512_unpacklo_epi16(even, odd);
}

/* Some outputs of one part of one vector: `halves` from first_half on, n outputs from first_output on. Output k of half
 * h of row r goes to sums[r * stride + (h * n_outputs + k) * sum_lanes]. All counts are constants but those of `rows`.
 */
INLINE void add_part(const lut *l, int kind, const code_rows *rows, int vector, int part, int is_joined, int first_half,
                     int halves, int first_output, int n, const weight_rows *weights, int n_rows, float *sums,
                     size_t stride) {
    __m512i s[most_sums];
    UNROLL
    for (int i = 0; i < halves * n * n_rows; i++) {
        s[i] = _mm512_setzero_si512();
    }
    int step = is_joined ? rows->joined : 2;
    for (int row = 0, group = 0; row < rows->n_rows; row += step, group++) {
        __m512i even = read_part(rows, kind, row, vector, part), odd = even;
        if (part == 0 && first_half == 0 && first_output == 0) {
            fetch_next(rows, kind, row, vector, vector * rows->n_rows + row);
            if (!is_joined) {
                fetch_next(rows, kind, row + 1, vector, vector * rows->n_rows + row + 1);
            }
        }
        if (!is_joined) {
            odd = read_part(rows, kind, row + 1 < rows->n_rows ? row + 1 : row, vector, part);
        }
        __m512i weight[rows_at_once];
        UNROLL
        for (int r = 0; r < n_rows; r++) {
            if (is_joined && rows->joined > 2) {
                weight[r] = weights->spread[r][group];
            } else {
                int32_t both;
                memcpy(&both, &weights->fixed[r][2 * group], sizeof both);
                weight[r] = _mm512_set1_epi32(both);
            }
        }
        UNROLL
        for (int h = 0; h < halves; h++) {
            __m512i pair =
                is_joined ? pair_joined(kind, rows->joined, even) : pair_half(kind, even, odd, first_half + h);
            __m512i c[16];
            lut_read(l, kind, pair, first_output, n, c);
            UNROLL
            for (int k = 0; k < n; k++) {
                UNROLL
                for (int r = 0; r < n_rows; r++) {
                    __m512i *to = &s[(h * n + k) * n_rows + r];
                    *to = _mm512_dpwssd_epi32(*to, c[k], weight[r]);
                }
            }
        }
    }
    UNROLL
    for (int h = 0; h < halves; h++) {
        UNROLL
        for (int k = 0; k < n; k++) {
            UNROLL
            for (int r = 0; r < n_rows; r++) {
                float *to =
                    sums + (size_t)r * stride + ((first_half + h) * n_outputs(kind) + first_output + k) * sum_lanes;
                __m512 x = _mm512_cvtepi32_ps(s[(h * n + k) * n_rows + r]);
                _mm512_storeu_ps(to, _mm512_fmadd_ps(x, _mm512_set1_ps(weights->worth[r]), _mm512_loadu_ps(to)));
            }
        }
    }
}

/* Halves and outputs at a time, so that the sums stay in registers. */
INLINE int halves_at_once(int kind, int halves, int n_rows) {
    return halves * n_outputs(kind) * n_rows <= most_sums ? halves : 1;
}

INLINE int outputs_at_once(int kind, int n_rows) {
    int n = n_outputs(kind);
    while (n * n_rows > most_sums) {
        n /= 2;
    }
    return n;
}

INLINE void add_few(const kvb_packed_run *run, int kind, const code_rows *rows, int is_joined,
                    const weight_rows *weights, int n_rows, float *sums, size_t stride) {
    lut l = lut_open(run->tables, kind);
    int halves = is_joined ? 1 : 2, h_step = halves_at_once(kind, halves, n_rows),
        k_step = outputs_at_once(kind, n_rows);
    for (int v = 0; v < rows->n_vectors; v++) {
        UNROLL
        for (int part = 0; part < n_parts(kind); part++) {
            UNROLL
            for (int h = 0; h < halves; h += h_step) {
                UNROLL
                for (int k = 0; k < n_outputs(kind); k += k_step) {
                    add_part(&l, kind, rows, v, part, is_joined, h, h_step, k, k_step, weights, n_rows, sums, stride);
                }
            }
            sums += halves * n_outputs(kind) * sum_lanes;
        }
    }
}

INLINE void add_some(const kvb_packed_run *run, int kind, const code_rows *rows, const __m512 *scales,
                     const float *weights, int n_rows, float *sums, size_t stride) {
    weight_rows fixed;
    for (int r = 0; r < n_rows; r++) {
        fix_weights(weights + r * KVB_TILE_TOKENS, scales, run->tables, fixed.fixed[r], &fixed.worth[r]);
        if (rows->joined > 2) {
            spread_weights(fixed.fixed[r], rows->joined, fixed.spread[r]);
        }
    }
    if (rows->joined > 1) {
        add_few(run, kind, rows, 1, &fixed, n_rows, sums, stride);
    } else {
        add_few(run, kind, rows, 0, &fixed, n_rows, sums, stride);
    }
}

INLINE void add_rows_of(const kvb_packed_run *run, int kind, const float *weights, int n_rows, uint8_t *codes,
                        float *sums, size_t stride) {
    code_rows rows;
    __m512 scales[2];
    open_rows(&rows, kind, run, codes);
    read_scales(run, scales);
    for (; n_rows > 0; n_rows -= rows_at_once) {
        switch (n_rows) {
        case 1:
            add_some(run, kind, &rows, scales, weights, 1, sums, stride);
            break;
        case 2:
            add_some(run, kind, &rows, scales, weights, 2, sums, stride);
            break;
        case 3:
            add_some(run, kind, &rows, scales, weights, 3, sums, stride);
            break;
        default:
            add_some(run, kind, &rows, scales, weights, rows_at_once, sums, stride);
        }
        weights += rows_at_once * KVB_TILE_TOKENS;
        sums += rows_at_once * stride;
    }
}

/* ---- Sums in the order of coordinates ---- */

/* Four neighboring words of a row: sums at `from`, of all tokens in a vector. */
INLINE __m128 four_sums(const float *from, int joined) {
    __m128 sum = _mm_loadu_ps(from);
    for (int i = 1; i < joined / 2; i++) {
        sum = _mm_add_ps(sum, _mm_loadu_ps(from + i * 2 * sum_lanes / joined));
    }
    return sum;
}

/* The 16 coordinates of a field whose bytes begin at `byte`, a multiple of 16. */
INLINE void order_sums(int kind, const code_rows *rows, const float *sums, int field, int byte, float out[16]) {
    int joined = rows->joined, n = n_outputs(kind), halves = joined > 1 ? 1 : 2;
    int parts = n_parts(kind), part = field % parts, in_part = field / parts, word = byte % vector_bytes / 2;
    const float *at = sums + (byte / vector_bytes * parts + part) * halves * n * sum_lanes;
    if (is_by_bytes(kind)) {
        int lane = joined > 1 ? byte / 2 : byte % vector_bytes / 4;
        int far = joined > 1 ? 4 : 2 * sum_lanes; /* to the next 8 bytes */
        for (int i = 0; i < 4; i++) {
            _mm_storeu_ps(out + 4 * i, _mm_loadu_ps(at + lane + i / 2 * far + i % 2 * sum_lanes));
        }
        return;
    }
    for (int i = 0; i < 2; i++) { /* 8 bytes, 4 words */
        int lane = joined > 1 ? word + 4 * i : word / 2, half = joined > 1 ? 0 : i;
        const float *low = at + (half * n + in_part) * sum_lanes + lane, *high = low + n / 2 * sum_lanes;
        if (joined == 8 && i == 1) {
            break; /* rows of 8 bytes */
        }
        __m128 a = four_sums(low, joined), b = four_sums(high, joined);
        _mm_storeu_ps(out + 8 * i, _mm_unpacklo_ps(a, b));
        _mm_storeu_ps(out + 8 * i + 4, _mm_unpackhi_ps(a, b));
    }
}

INLINE void finish_rows(const kvb_codec_tables *values, int kind, int dim, const float *sums, int n_rows, float *out,
                        size_t stride) {
    code_rows rows;
    const kvb_packed_run none = {.tables = values};
    open_rows(&rows, kind, &none, NULL);
    for (int r = 0; r < n_rows; r++) {
        for (int field = 0; field < 8 / widest_plane(kind); field++) {
            int first = field * rows.stride;
            for (int byte = 0; byte < rows.stride && first + byte < dim; byte += 16) {
                float ordered[16];
                order_sums(kind, &rows, sums, field, byte, ordered);
                int n = rows.stride - byte < 16 ? rows.stride - byte : 16;
                n = dim - first - byte < n ? dim - first - byte : n;
                float *to = out + first + byte;
                __mmask16 mask = (__mmask16)((1 << n) - 1);
                __m512 sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), _mm512_loadu_ps(ordered));
                _mm512_mask_storeu_ps(to, mask, sum);
            }
        }
        sums += KVB_ORDERED_DIM(values->head_dim);
        out += stride;
    }
}

/* ---- By width ---- */

#define KIND(kind)                                                                                                     \
    static void add_##kind(const kvb_packed_run *run, const float *weights, int n_rows, uint8_t *codes, float *sums,   \
                           size_t stride) {                                                                            \
        add_rows_of(run, kind, weights, n_rows, codes, sums, stride);                                                  \
    }                                                                                                                  \
    static void finish_##kind(const kvb_codec_tables *values, int dim, const float *sums, int n_rows, float *out,      \
                              size_t stride) {                                                                         \
        finish_rows(values, kind, dim, sums, n_rows, out, stride);                                                     \
    }
EACH_KIND(KIND)
#undef KIND

void KVB_STEP(add_ordered)(const kvb_packed_run *values, const float *weights, int n_rows, void *scratch, float *sums) {
    switch (row_kind(values->tables)) {
#define KIND(kind)                                                                                                     \
    case kind:                                                                                                         \
        unpack_rows(values, kind, scratch);                                                                            \
        add_##kind(values, weights, n_rows, scratch, sums, KVB_ORDERED_DIM(values->tables->head_dim));                 \
        break;
        EACH_KIND(KIND)
#undef KIND
    default:
        OTHERWISE(kvb_avx512_add_ordered(values, weights, n_rows, scratch, sums));
    }
}

void KVB_STEP(finish_ordered)(const kvb_codec_tables *values, int dim, const float *ordered, int n_rows, float *sums,
                              size_t sums_stride) {
    switch (row_kind(values)) {
#define KIND(kind)                                                                                                     \
    case kind:                                                                                                         \
        finish_##kind(values, dim, ordered, n_rows, sums, sums_stride);                                                \
        break;
        EACH_KIND(KIND)
#undef KIND
    default:
        OTHERWISE(kvb_avx512_finish_ordered(values, dim, ordered, n_rows, sums, sums_stride));
    }
}
#endif
