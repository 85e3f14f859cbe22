/* Attention on packed rows in fixed point, AVX2. Rows become 16-bit centroids by look-ups of bytes; products of pairs
 * are summed in 32 bits within a tile of tokens, and tiles in floats.
 *
 * No sum overflows: a query is scaled so that within each span of coordinates the integers of each lane times the
 * largest centroid stay below 2^31, weights so that their sum over the tile does. */
#if defined(__x86_64__)
#include "cpu/avx2_attend.h"
#include "cpu/lut_avx2.h"
#include "cpu/vec_fused_avx2.h"
#include "half.h"

#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { lanes = 8, rows_at_once = 4, tokens_at_once = 2, pairs = KVB_TILE_TOKENS / 2 };

/* Coordinates whose products are summed as integers: so few that 16 bits are the limit of a query's precision, and not
 * these sums. */
enum { span = 128 };

/* Leaves room for the roundings of up to 576 integers. */
static const float largest_sum = 0x1p31f * 0.99f;

/* ---- Queries ---- */

/* Where lut_read puts coordinate i of 32: as words, c0-c7 c16-c23, c8-c15 c24-c31. */
static int word_of(int i) {
    return (i & 7) | (i & 16) >> 1 | (i & 8) << 1;
}

/* The lane that coordinate i is summed in: two words of 16 bits. */
static int lane_of(int i) {
    return word_of(i % LUT_CODES) % 16 / 2;
}

static void fix_query(const kvb_codec_tables *keys, const float *q, int16_t *fixed, float *factor) {
    float most = 0.0f, sums[(KVB_MAX_HEAD_DIM + span - 1) / span * lanes] = {0}, any = 0.0f;
    for (int i = 0; i < keys->head_dim; i++) {
        float value = fabsf(q[i]);
        most = value > most ? value : most;
        sums[i / span * lanes + lane_of(i)] += value;
        any += value;
    }
    memset(fixed, 0, KVB_FIXED_DIM(keys->head_dim) * sizeof *fixed);
    if (!isfinite(any) || most == 0.0f) {
        *factor = isfinite(any) ? 0.0f : NAN;
        return;
    }
    float fullest = 0.0f;
    for (size_t l = 0; l < sizeof sums / sizeof sums[0]; l++) {
        fullest = sums[l] > fullest ? sums[l] : fullest;
    }
    double scale = fmin(INT16_MAX / (double)most, (double)largest_sum / keys->fixed_most / (double)fullest);
    for (int i = 0; i < keys->head_dim; i++) {
        fixed[i / LUT_CODES * LUT_CODES + word_of(i % LUT_CODES)] = (int16_t)lrint((double)q[i] * scale);
    }
    *factor = (float)((double)keys->fixed_unit / scale);
}

void kvb_avx2_fix_queries(const kvb_codec_tables *keys, const float *q, int n_rows, int16_t *fixed, float *factors) {
    for (int r = 0; r < n_rows; r++) {
        fix_query(keys, q + (size_t)r * (size_t)keys->head_dim, fixed + (size_t)r * KVB_FIXED_DIM(keys->head_dim),
                  &factors[r]);
    }
}

/* ---- Codes ---- */

INLINE int narrowest_plane(int bits) {
    return bits & 1 ? 1 : bits & 2 ? 2 : bits & 4 ? 4 : 8;
}

/* 1 when every 32 coordinates in a row lie in 32 bytes in a row of each plane. */
INLINE int is_direct(int dim, int bits) {
    return dim * narrowest_plane(bits) / 8 % LUT_CODES == 0;
}

/* 32 codes at coordinate field * s + at, where s = dim * narrowest / 8, straight from the planes (layout.h). */
INLINE __m256i read_codes(const uint8_t *const *planes, int bits, int s, int field, int at) {
    int narrowest = narrowest_plane(bits), shift = 0, plane = 0;
    __m256i codes = _mm256_setzero_si256();
    for (int width = 8; width > 0; width /= 2) {
        if (bits == 8 ? width != 8 : width == 8 || !(bits & width)) {
            continue;
        }
        int times = width / narrowest;
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(planes[plane] + field % times * s + at));
        int down = field / times * width;
        bytes = down ? _mm256_srli_epi16(bytes, down) : bytes;
        bytes = width < 8 ? _mm256_and_si256(bytes, _mm256_set1_epi8((char)((1 << width) - 1))) : bytes;
        bytes = shift ? _mm256_slli_epi16(bytes, shift) : bytes;
        codes = plane ? _mm256_or_si256(codes, bytes) : bytes;
        shift += width;
        plane++;
    }
    return codes;
}

static void row_planes(const kvb_packed_run *run, int row, const uint8_t *planes[KVB_MAX_PLANES]) {
    for (int p = 0; p < run->tables->n_planes; p++) {
        size_t bytes = (size_t)kvb_layout_plane_bytes(run->tables->head_dim, run->tables->plane_widths[p]);
        planes[p] = run->packed.planes[p] + (run->first_row + (size_t)row) * bytes;
    }
}

/* Codes of a row, a byte each, for what is_direct refuses. */
static const uint8_t *unpack_row(const kvb_packed_run *run, int row, uint8_t *codes) {
    const uint8_t *planes[KVB_MAX_PLANES];
    row_planes(run, row, planes);
    kvb_avx2_unpack(run->tables, planes, codes);
    return codes;
}

/* ---- Keys ---- */

INLINE void fix_key(const lut *l, int bits, __m256i codes, int16_t *out) {
    __m256i first, second;
    lut_read(l, bits, codes, &first, &second);
    _mm256_store_si256((__m256i *)out, first);
    _mm256_store_si256((__m256i *)(out + 16), second);
}

/* Rows of KVB_FIXED_DIM words; behind the last coordinate lies anything, which the query's zeros meet. */
INLINE void fix_keys(const kvb_packed_run *run, int bits, int16_t *out, uint8_t *codes) {
    const kvb_codec_tables *tables = run->tables;
    int dim = tables->head_dim, narrowest = narrowest_plane(bits), s = dim * narrowest / 8;
    lut l = lut_open(tables, bits);
    for (int row = 0; row < run->n_rows; row++, out += KVB_FIXED_DIM(dim)) {
        if (is_direct(dim, bits)) {
            const uint8_t *planes[KVB_MAX_PLANES];
            row_planes(run, row, planes);
            for (int at = 0; at < s; at += LUT_CODES) {
                for (int field = 0; field < 8 / narrowest; field++) {
                    fix_key(&l, bits, read_codes(planes, bits, s, field, at), out + field * s + at);
                }
            }
        } else {
            unpack_row(run, row, codes);
            for (int at = 0; at < dim; at += LUT_CODES) {
                fix_key(&l, bits, _mm256_loadu_si256((const __m256i *)(codes + at)), out + at);
            }
        }
    }
}

/* Codebooks without symmetry: word by word. */
static void fix_keys_slowly(const kvb_packed_run *run, int16_t *out, uint8_t *codes) {
    int dim = run->tables->head_dim;
    for (int row = 0; row < run->n_rows; row++, out += KVB_FIXED_DIM(dim)) {
        unpack_row(run, row, codes);
        for (int i = 0; i < dim; i++) {
            out[i / LUT_CODES * LUT_CODES + word_of(i % LUT_CODES)] = run->tables->fixed[codes[i]];
        }
    }
}

/* Adds the lane sums over n vectors of n_rows x n_tokens dots; counts are constants. */
INLINE void dot_span(const int16_t *q, int n_rows, const int16_t *k, int n_tokens, size_t stride, int n, vf *sums) {
    __m256i s[rows_at_once][tokens_at_once];
    for (int r = 0; r < n_rows; r++) {
        for (int t = 0; t < n_tokens; t++) {
            s[r][t] = _mm256_setzero_si256();
        }
    }
    for (int i = 0; i < n; i++) {
        __m256i keys[tokens_at_once];
        for (int t = 0; t < n_tokens; t++) {
            keys[t] = _mm256_load_si256((const __m256i *)(k + (size_t)t * stride) + i);
        }
        for (int r = 0; r < n_rows; r++) {
            __m256i query = _mm256_load_si256((const __m256i *)(q + (size_t)r * stride) + i);
            for (int t = 0; t < n_tokens; t++) {
                s[r][t] = _mm256_add_epi32(s[r][t], _mm256_madd_epi16(query, keys[t]));
            }
        }
    }
    for (int r = 0; r < n_rows; r++) {
        for (int t = 0; t < n_tokens; t++) {
            sums[r * lanes + t] = vf_add(sums[r * lanes + t], _mm256_cvtepi32_ps(s[r][t]));
        }
    }
}

/* Lane sums of n_rows x n_tokens dots of `dim` words, a multiple of LUT_CODES. */
INLINE void dot_block(const int16_t *q, int n_rows, const int16_t *k, int n_tokens, size_t dim, vf *sums) {
    size_t i = 0, stride = KVB_FIXED_DIM(dim);
    for (int r = 0; r < n_rows; r++) {
        for (int t = 0; t < n_tokens; t++) {
            sums[r * lanes + t] = vf_all(0.0f);
        }
    }
    for (; i + span <= dim; i += span) {
        dot_span(q + i, n_rows, k + i, n_tokens, stride, span / 16, sums);
    }
    if (i < dim) {
        dot_span(q + i, n_rows, k + i, n_tokens, stride, (int)(dim - i) / 16, sums);
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
        for (int r = 0; r < n_rows; r++) {
            float *out = dots + r * KVB_TILE_TOKENS + first;
            vf_store_sums(out, sums[r]);
            vf_store(out, vf_mul(vf_load(out), vf_mul(vf_all(factors[r]), vf_load(scales + first))));
        }
    }
}

/* The run's scales, 0 behind the last. */
static void read_scales(const kvb_packed_run *run, float scales[KVB_TILE_TOKENS]) {
    int n = run->n_rows, t = 0;
    if (run->tables->scale_dtype == KVB_F32) {
        memcpy(scales, (const float *)run->packed.scales + run->first_row, (size_t)n * sizeof *scales);
        t = n;
    } else {
        const uint16_t *halves = (const uint16_t *)run->packed.scales + run->first_row;
        for (; t + 8 <= n; t += 8) {
            vf_store(scales + t, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(halves + t))));
        }
        for (; t < n; t++) {
            scales[t] = kvb_half_to_float(halves[t]);
        }
    }
    for (; t < KVB_TILE_TOKENS; t++) {
        scales[t] = 0.0f;
    }
}

static void read_keys(const kvb_packed_run *run, int16_t *out, uint8_t *codes) {
    const kvb_codec_tables *tables = run->tables;
    if (!lut_is_possible(tables)) {
        fix_keys_slowly(run, out, codes);
        return;
    }
#define FIX(bits) fix_keys(run, bits, out, codes)
    LUT_EACH_WIDTH(FIX)
#undef FIX
}

void kvb_avx2_dot_packed(const kvb_packed_run *keys, const int16_t *q, const float *factors, int n_rows, void *scratch,
                         float *dots) {
    size_t dim = ((size_t)keys->tables->head_dim + LUT_CODES - 1) / LUT_CODES * LUT_CODES;
    int16_t *fixed = scratch;
    read_keys(keys, fixed, (uint8_t *)(fixed + KVB_TILE_TOKENS * KVB_FIXED_DIM(dim)));
    float scales[KVB_TILE_TOKENS];
    read_scales(keys, scales);
    int n = keys->n_rows;
    for (; n_rows >= rows_at_once; n_rows -= rows_at_once) {
        dot_tile(q, factors, rows_at_once, fixed, n, dim, scales, dots);
        q += rows_at_once * KVB_FIXED_DIM(dim);
        factors += rows_at_once;
        dots += rows_at_once * KVB_TILE_TOKENS;
    }
    switch (n_rows) {
    case 1:
        dot_tile(q, factors, 1, fixed, n, dim, scales, dots);
        break;
    case 2:
        dot_tile(q, factors, 2, fixed, n, dim, scales, dots);
        break;
    case 3:
        dot_tile(q, factors, 3, fixed, n, dim, scales, dots);
        break;
    default:
        break;
    }
}

/* ---- Values ---- */

/* Words of rows t and t + 1 lie beside each other, for sums over pairs of tokens: vector 4b + k of pair p is at
 * (4b + k) * pairs + p, and holds of the 32 coordinates of block b, for k = 0 .. 3:
 *     c0-c3 c16-c19,  c4-c7 c20-c23,  c8-c11 c24-c27,  c12-c15 c28-c31. */
INLINE void fix_pair(const lut *l, int bits, __m256i even, __m256i odd, int block, int pair, __m256i *out) {
    __m256i *at = out + (size_t)block * 4 * pairs + pair;
    __m256i first, second;
    lut_read(l, bits, _mm256_unpacklo_epi8(even, odd), &first, &second);
    at[0] = first;
    at[pairs] = second;
    lut_read(l, bits, _mm256_unpackhi_epi8(even, odd), &first, &second);
    at[2 * pairs] = first;
    at[3 * pairs] = second;
}

INLINE void fix_values(const kvb_packed_run *run, int dim, int bits, __m256i *out, uint8_t *codes) {
    const kvb_codec_tables *tables = run->tables;
    int narrowest = narrowest_plane(bits), s = tables->head_dim * narrowest / 8;
    lut l = lut_open(tables, bits);
    for (int row = 0; row < run->n_rows; row += 2) {
        int next = row + 1 < run->n_rows ? row + 1 : row; /* its weight is 0 then */
        if (is_direct(tables->head_dim, bits)) {
            const uint8_t *even[KVB_MAX_PLANES], *odd[KVB_MAX_PLANES];
            row_planes(run, row, even);
            row_planes(run, next, odd);
            for (int at = 0; at < s; at += LUT_CODES) {
                for (int field = 0; field < 8 / narrowest; field++) {
                    fix_pair(&l, bits, read_codes(even, bits, s, field, at), read_codes(odd, bits, s, field, at),
                             (field * s + at) / LUT_CODES, row / 2, out);
                }
            }
        } else {
            const uint8_t *even = unpack_row(run, row, codes), *odd = unpack_row(run, next, codes + KVB_MAX_HEAD_DIM);
            for (int at = 0; at < dim; at += LUT_CODES) {
                fix_pair(&l, bits, _mm256_loadu_si256((const __m256i *)(even + at)),
                         _mm256_loadu_si256((const __m256i *)(odd + at)), at / LUT_CODES, row / 2, out);
            }
        }
    }
}

static void fix_values_slowly(const kvb_packed_run *run, int dim, int16_t *out, uint8_t *codes) {
    for (int row = 0; row < run->n_rows + run->n_rows % 2; row++) {
        unpack_row(run, row < run->n_rows ? row : row - 1, codes);
        for (int i = 0; i < dim; i++) {
            int in_block = i % LUT_CODES, vector = i / LUT_CODES * 4 + in_block % 16 / 4;
            int word = (in_block / 16 * 4 + in_block % 4) * 2 + row % 2;
            out[(vector * pairs + row / 2) * 16 + word] = run->tables->fixed[codes[i]];
        }
    }
}

static void read_values(const kvb_packed_run *run, int dim, void *out, uint8_t *codes) {
    const kvb_codec_tables *tables = run->tables;
    if (!lut_is_possible(tables)) {
        fix_values_slowly(run, dim, out, codes);
        return;
    }
#define FIX(bits) fix_values(run, dim, bits, out, codes)
    LUT_EACH_WIDTH(FIX)
#undef FIX
}

/* Weights times scales as integers, and what one is worth; returns 0 when all are 0. */
static int fix_weights(const float *weights, const float *scales, const kvb_codec_tables *tables, int16_t *fixed,
                       float *worth) {
    vf products[KVB_TILE_TOKENS / lanes], most = vf_all(0.0f), all = vf_all(0.0f), zero = vf_all(0.0f);
    for (int i = 0; i < KVB_TILE_TOKENS / lanes; i++) {
        vf weight = vf_load(weights + i * lanes), product = vf_mul(weight, vf_load(scales + i * lanes));
        product = _mm256_and_ps(product, _mm256_cmp_ps(weight, zero, _CMP_NEQ_UQ));
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
    __m256i words[2];
    for (int i = 0; i < 2; i++) {
        __m256i low = _mm256_cvtps_epi32(vf_mul(vf_mul(products[2 * i], vf_all(raise)), vf_all(factor)));
        __m256i high = _mm256_cvtps_epi32(vf_mul(vf_mul(products[2 * i + 1], vf_all(raise)), vf_all(factor)));
        words[i] = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
        _mm256_store_si256((__m256i *)(fixed + 16 * i), words[i]);
    }
    return 1;
}

/* Two neighboring vectors of a block, for n_rows rows of weights; counts are constants. The sums of 16 coordinates lie
 * at sums[0] and sums[16]; `has_high`: the latter too. */
INLINE void add_block(const int16_t *weights, const float *worth, int n_rows, const __m256i *values, int n_pairs,
                      float *sums, size_t sums_stride, int has_high) {
    __m256i s[rows_at_once][2];
    for (int r = 0; r < n_rows; r++) {
        s[r][0] = s[r][1] = _mm256_setzero_si256();
    }
    for (int p = 0; p < n_pairs; p++) {
        __m256i first = values[p], second = values[pairs + p];
        for (int r = 0; r < n_rows; r++) {
            int32_t both;
            memcpy(&both, weights + r * KVB_TILE_TOKENS + 2 * p, sizeof both);
            __m256i pair = _mm256_set1_epi32(both);
            s[r][0] = _mm256_add_epi32(s[r][0], _mm256_madd_epi16(pair, first));
            s[r][1] = _mm256_add_epi32(s[r][1], _mm256_madd_epi16(pair, second));
        }
    }
    for (int r = 0; r < n_rows; r++) {
        float *to = sums + (size_t)r * sums_stride;
        vf unit = vf_all(worth[r]);
        vf low = _mm256_cvtepi32_ps(_mm256_permute2x128_si256(s[r][0], s[r][1], 0x20));
        vf_store(to, vf_fma(low, unit, vf_load(to)));
        if (has_high) {
            vf high = _mm256_cvtepi32_ps(_mm256_permute2x128_si256(s[r][0], s[r][1], 0x31));
            vf_store(to + 16, vf_fma(high, unit, vf_load(to + 16)));
        }
    }
}

INLINE void add_tile(const int16_t *weights, const float *worth, int n_rows, const __m256i *values, int n_pairs,
                     int dim, float *sums, size_t sums_stride) {
    for (int block = 0; block < dim; block += LUT_CODES) {
        for (int half = 0; half < 2 && block + 8 * half < dim; half++) {
            add_block(weights, worth, n_rows, values + (size_t)(block / LUT_CODES * 4 + 2 * half) * pairs, n_pairs,
                      sums + block + 8 * half, sums_stride, block + 8 * half + 16 < dim);
        }
    }
}

/* Up to rows_at_once rows; those without any weight come with weights 0. */
static void add_rows(const float *weights, const float *scales, const kvb_packed_run *run, int n_rows,
                     const __m256i *values, int dim, float *sums, size_t sums_stride) {
    _Alignas(32) int16_t fixed[rows_at_once * KVB_TILE_TOKENS];
    float worth[rows_at_once];
    for (int r = 0; r < n_rows; r++) {
        if (!fix_weights(weights + r * KVB_TILE_TOKENS, scales, run->tables, fixed + r * KVB_TILE_TOKENS, &worth[r])) {
            memset(fixed + r * KVB_TILE_TOKENS, 0, KVB_TILE_TOKENS * sizeof *fixed);
            worth[r] = 0.0f;
        }
    }
    int n_pairs = (run->n_rows + 1) / 2;
    switch (n_rows) {
    case 1:
        add_tile(fixed, worth, 1, values, n_pairs, dim, sums, sums_stride);
        break;
    case 2:
        add_tile(fixed, worth, 2, values, n_pairs, dim, sums, sums_stride);
        break;
    case 3:
        add_tile(fixed, worth, 3, values, n_pairs, dim, sums, sums_stride);
        break;
    default:
        add_tile(fixed, worth, 4, values, n_pairs, dim, sums, sums_stride);
    }
}

void kvb_avx2_add_packed(const kvb_packed_run *values, int dim, const float *weights, int n_rows, void *scratch,
                         float *sums, size_t sums_stride) {
    __m256i *fixed = scratch;
    uint8_t *codes = (uint8_t *)scratch + KVB_TILE_TOKENS * KVB_FIXED_DIM(values->tables->head_dim) * sizeof(int16_t);
    read_values(values, dim, fixed, codes);
    float scales[KVB_TILE_TOKENS];
    read_scales(values, scales);
    for (int r = 0; r < n_rows; r += rows_at_once) {
        int n = n_rows - r < rows_at_once ? n_rows - r : rows_at_once;
        add_rows(weights + r * KVB_TILE_TOKENS, scales, values, n, fixed, dim, sums + (size_t)r * sums_stride,
                 sums_stride);
    }
}
#endif
