/* Packed rows in floats, AVX-512, up to 5 bits: the low bits of a lane are a code, which a permutation of the centroids
 * looks up as it is multiplied; a shift brings the next code there. Wider codes take AVX2's way.
 *
 * Output k of a vector (avx512_codes.h) has in lane x the code of byte 4x + k / per_byte of the vector, its field
 * n_parts * (k % per_byte) + part. So a field's 64 coordinates are four outputs, every fourth coordinate each. */
#if defined(__x86_64__)
#define KVB_ISA avx512
#include "cpu/avx512_codes.h"
#include "cpu/avx512_tokens.h"

#include "cpu/avx2_attend.h"

enum { float_lanes = 16, most_ordered = 1024 /* KVB_ORDERED_DIM of the widest row */, most_sums = 24 };

/* Of a byte, and of a vector. */
INLINE int per_byte(int kind) {
    return 8 / code_step(kind);
}

INLINE int n_floats(int kind) {
    return 4 * per_byte(kind);
}

/* ---- Every fourth coordinate ---- */

/* 128-bit part i of x[j] and part j of x[i] change places. */
INLINE void turn_quarters(__m512 x[4]) {
    __m512 a = _mm512_shuffle_f32x4(x[0], x[1], 0x88), b = _mm512_shuffle_f32x4(x[2], x[3], 0x88);
    __m512 c = _mm512_shuffle_f32x4(x[0], x[1], 0xdd), d = _mm512_shuffle_f32x4(x[2], x[3], 0xdd);
    x[0] = _mm512_shuffle_f32x4(a, b, 0x88);
    x[1] = _mm512_shuffle_f32x4(c, d, 0x88);
    x[2] = _mm512_shuffle_f32x4(a, b, 0xdd);
    x[3] = _mm512_shuffle_f32x4(c, d, 0xdd);
}

/* In each 128 bits, lane i of x[j] and lane j of x[i] change places. */
INLINE void turn_lanes(__m512 x[4]) {
    __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(x[0], x[1])), b = _mm512_castps_pd(_mm512_unpacklo_ps(x[2], x[3]));
    __m512d c = _mm512_castps_pd(_mm512_unpackhi_ps(x[0], x[1])), d = _mm512_castps_pd(_mm512_unpackhi_ps(x[2], x[3]));
    x[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
    x[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    x[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
    x[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
}

/* Floats of a field at vector `vector`; 0 behind the field. Of rows that are joined, again for each. */
INLINE void read_field(const code_rows *rows, const float *field, int vector, __m512 x[4]) {
    float padded[vector_bytes] = {0.0f};
    int n = rows->stride - vector * vector_bytes;
    n = n < vector_bytes ? n : vector_bytes;
    for (int i = 0; i < rows->joined; i++) {
        memcpy(padded + i * rows->stride, field + vector * vector_bytes, (size_t)n * sizeof *padded);
    }
    for (int i = 0; i < 4; i++) {
        x[i] = _mm512_loadu_ps(padded + i * float_lanes);
    }
}

INLINE void order_query(const code_rows *rows, int kind, const float *q, float *out) {
    for (int v = 0; v < rows->n_vectors; v++) {
        for (int part = 0; part < n_parts(kind); part++, out += n_floats(kind) * float_lanes) {
            for (int k = 0; k < per_byte(kind); k++) {
                __m512 x[4];
                read_field(rows, q + (n_parts(kind) * k + part) * rows->stride, v, x);
                turn_quarters(x);
                turn_lanes(x);
                for (int b = 0; b < 4; b++) {
                    _mm512_store_ps(out + (b * per_byte(kind) + k) * float_lanes, x[b]);
                }
            }
        }
    }
}

/* ---- Looking centroids up ---- */

typedef struct float_lut {
    __m512 t[2];
} float_lut;

INLINE float_lut open_floats(const kvb_codec_tables *tables) {
    float repeated[2 * float_lanes];
    for (int i = 0; i < 2 * float_lanes; i++) {
        repeated[i] = tables->centroids[i & (tables->levels - 1)];
    }
    return (float_lut){{_mm512_loadu_ps(repeated), _mm512_loadu_ps(repeated + float_lanes)}};
}

/* Output k of a part. */
INLINE __m512 read_floats(const float_lut *l, int kind, __m512i part, int k) {
    __m512i codes = k ? _mm512_srli_epi32(part, (unsigned)(k * code_step(kind))) : part;
    return code_bits(kind) == 5 ? _mm512_permutex2var_ps(l->t[0], codes, l->t[1])
                                : _mm512_permutexvar_ps(codes, l->t[0]);
}

/* ---- Keys ---- */

/* Lane sums of n_rows queries with the tokens of two vectors, which start at the given rows; n_rows is a constant. */
INLINE void dot_codes(const float_lut *l, int kind, const code_rows *rows, const int row[2], const float *q, int n_rows,
                      __m512 *sums) {
    const int apart = n_rows > 2 ? 1 : 2; /* sums of a row, as a sum waits for itself */
    __m512 s[2][2][rows_at_once];
    UNROLL
    for (int r = 0; r < n_rows; r++) {
        s[0][0][r] = s[0][1][r] = s[1][0][r] = s[1][1][r] = _mm512_setzero_ps();
    }
    for (int v = 0; v < rows->n_vectors; v++) {
        int reader = row[0] * rows->n_vectors + 2 * v * rows->joined;
        fetch_next(rows, kind, row[0], v, reader);
        fetch_next(rows, kind, row[1], v, reader + rows->joined);
        UNROLL
        for (int part = 0; part < n_parts(kind); part++, q += n_floats(kind) * float_lanes) {
            __m512i codes[2] = {read_part(rows, kind, row[0], v, part), read_part(rows, kind, row[1], v, part)};
            UNROLL
            for (int k = 0; k < n_floats(kind); k++) {
                __m512 a = read_floats(l, kind, codes[0], k), b = read_floats(l, kind, codes[1], k);
                UNROLL
                for (int r = 0; r < n_rows; r++) {
                    __m512 query = _mm512_load_ps(q + r * most_ordered + k * float_lanes);
                    s[0][k % apart][r] = _mm512_fmadd_ps(a, query, s[0][k % apart][r]);
                    s[1][k % apart][r] = _mm512_fmadd_ps(b, query, s[1][k % apart][r]);
                }
            }
        }
    }
    UNROLL
    for (int r = 0; r < n_rows; r++) {
        UNROLL
        for (int i = 0; i < 2; i++) {
            sums[r * block_tokens + i] = _mm512_add_ps(s[i][0][r], s[i][1][r]);
        }
    }
}

INLINE void dot_few(const kvb_packed_run *run, int kind, const code_rows *rows, const float *q, int n_rows,
                    float *dots) {
    float_lut l = open_floats(run->tables);
    __m512 scales[KVB_TILE_TOKENS / block_tokens];
    read_scales(run, scales);
    for (int first = 0; first < run->n_rows; first += block_tokens) {
        __m512 sums[rows_at_once * block_tokens];
        for (int i = 0; i * rows->joined < block_tokens; i += 2) {
            int row[2] = {first + i * rows->joined, first + (i + 1) * rows->joined};
            row[0] = row[0] < run->n_rows ? row[0] : first;
            row[1] = row[1] < run->n_rows ? row[1] : first;
            dot_codes(&l, kind, rows, row, q, n_rows, sums + i);
        }
        for (int r = 0; r < n_rows; r++) {
            const __m512 *s = sums + r * block_tokens;
            __m512 all = rows->joined == 1   ? add_lanes(1, s)
                         : rows->joined == 2 ? add_lanes(2, s)
                         : rows->joined == 4 ? add_lanes(4, s)
                                             : add_lanes(8, s);
            _mm512_storeu_ps(dots + r * KVB_TILE_TOKENS + first, _mm512_mul_ps(all, scales[first / block_tokens]));
        }
    }
}

INLINE void dot_rows_of(const kvb_packed_run *run, int kind, const float *q, int n_rows, uint8_t *codes, float *dots) {
    _Alignas(64) float ordered[rows_at_once * most_ordered];
    code_rows rows;
    open_rows(&rows, kind, run, codes);
    for (; n_rows > 0; n_rows -= rows_at_once) {
        for (int r = 0; r < n_rows && r < rows_at_once; r++) {
            order_query(&rows, kind, q + (size_t)r * (size_t)run->tables->head_dim, ordered + r * most_ordered);
        }
        switch (n_rows) {
        case 1:
            dot_few(run, kind, &rows, ordered, 1, dots);
            break;
        case 2:
            dot_few(run, kind, &rows, ordered, 2, dots);
            break;
        case 3:
            dot_few(run, kind, &rows, ordered, 3, dots);
            break;
        default:
            dot_few(run, kind, &rows, ordered, rows_at_once, dots);
        }
        q += rows_at_once * run->tables->head_dim;
        dots += rows_at_once * KVB_TILE_TOKENS;
    }
}

/* ---- Values ---- */

/* The weights that meet each group of joined tokens, lane by lane. */
INLINE __m512 spread_weights(const float *weights, int joined, int first) {
    if (joined == 1) {
        return _mm512_set1_ps(weights[first]);
    }
    __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    __m512i token = _mm512_srli_epi32(lane, joined == 2 ? 3 : joined == 4 ? 2 : 1);
    token = _mm512_add_epi32(token, _mm512_set1_epi32(first));
    return _mm512_permutex2var_ps(_mm512_loadu_ps(weights), token, _mm512_loadu_ps(weights + float_lanes));
}

/* n outputs of one part of one vector from `first` on, over all tokens; counts are constants. */
INLINE void add_part(const float_lut *l, int kind, const code_rows *rows, int vector, int part, int first, int n,
                     const float *weights, int n_rows, float out[rows_at_once][32 * float_lanes]) {
    __m512 s[most_sums];
    UNROLL
    for (int i = 0; i < n * n_rows; i++) {
        s[i] = _mm512_setzero_ps();
    }
    for (int row = 0; row < rows->n_rows; row += rows->joined) {
        __m512i codes = read_part(rows, kind, row, vector, part);
        __m512 weight[rows_at_once];
        if (part == 0 && first == 0) {
            fetch_next(rows, kind, row, vector, vector * rows->n_rows + row);
        }
        UNROLL
        for (int r = 0; r < n_rows; r++) {
            weight[r] = spread_weights(weights + r * KVB_TILE_TOKENS, rows->joined, row);
        }
        UNROLL
        for (int k = 0; k < n; k++) {
            __m512 value = read_floats(l, kind, codes, first + k);
            UNROLL
            for (int r = 0; r < n_rows; r++) {
                s[k * n_rows + r] = _mm512_fmadd_ps(value, weight[r], s[k * n_rows + r]);
            }
        }
    }
    UNROLL
    for (int k = 0; k < n; k++) {
        UNROLL
        for (int r = 0; r < n_rows; r++) {
            _mm512_store_ps(out[r] + (first + k) * float_lanes, s[k * n_rows + r]);
        }
    }
}

/* The sum over joined rows, in the lanes of each. */
INLINE __m512 fold_joined(__m512 x, int joined) {
    x = joined >= 2 ? _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0x4e)) : x;
    x = joined >= 4 ? _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0xb1)) : x;
    return joined == 8 ? _mm512_add_ps(x, _mm512_permute_ps(x, 0x4e)) : x;
}

/* Onto the sums of a field's coordinates at vector `vector`: n of them. */
INLINE void add_field(const float *outputs, int kind, int joined, int n, float *sums) {
    __m512 x[4];
    for (int b = 0; b < 4; b++) {
        x[b] = fold_joined(_mm512_load_ps(outputs + b * per_byte(kind) * float_lanes), joined);
    }
    turn_lanes(x);
    turn_quarters(x);
    for (int i = 0; i < 4 && i * float_lanes < n; i++) {
        __mmask16 mask = (__mmask16)byte_mask(n - i * float_lanes);
        float *to = sums + i * float_lanes;
        _mm512_mask_storeu_ps(to, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), x[i]));
    }
}

INLINE void add_few(const kvb_packed_run *run, int kind, const code_rows *rows, int dim, const float *weights,
                    int n_rows, float *sums, size_t stride) {
    float_lut l = open_floats(run->tables);
    int step = n_floats(kind);
    while (step * n_rows > most_sums) {
        step /= 2;
    }
    for (int v = 0; v < rows->n_vectors; v++) {
        UNROLL
        for (int part = 0; part < n_parts(kind); part++) {
            _Alignas(64) float outputs[rows_at_once][32 * float_lanes];
            UNROLL
            for (int k = 0; k < n_floats(kind); k += step) {
                add_part(&l, kind, rows, v, part, k, step, weights, n_rows, outputs);
            }
            for (int k = 0; k < per_byte(kind); k++) {
                int at = (n_parts(kind) * k + part) * rows->stride + v * vector_bytes;
                int n = rows->stride - v * vector_bytes;
                n = n < vector_bytes ? n : vector_bytes;
                n = dim - at < n ? dim - at : n;
                for (int r = 0; r < n_rows; r++) {
                    add_field(outputs[r] + k * float_lanes, kind, rows->joined, n, sums + (size_t)r * stride + at);
                }
            }
        }
    }
}

/* Weights times scales; 0 where the weight is 0, whatever the scale. */
INLINE void scale_weights(const float *weights, const __m512 *scales, float *out) {
    for (int i = 0; i < KVB_TILE_TOKENS / float_lanes; i++) {
        __m512 weight = _mm512_loadu_ps(weights + i * float_lanes);
        __mmask16 counts = _mm512_cmp_ps_mask(weight, _mm512_setzero_ps(), _CMP_NEQ_UQ);
        _mm512_storeu_ps(out + i * float_lanes, _mm512_maskz_mul_ps(counts, weight, scales[i]));
    }
}

INLINE void add_rows_of(const kvb_packed_run *run, int kind, int dim, const float *weights, int n_rows, uint8_t *codes,
                        float *sums, size_t stride) {
    float scaled[rows_at_once * KVB_TILE_TOKENS];
    code_rows rows;
    __m512 scales[2];
    open_rows(&rows, kind, run, codes);
    read_scales(run, scales);
    for (; n_rows > 0; n_rows -= rows_at_once) {
        for (int r = 0; r < n_rows && r < rows_at_once; r++) {
            scale_weights(weights + r * KVB_TILE_TOKENS, scales, scaled + r * KVB_TILE_TOKENS);
        }
        switch (n_rows) {
        case 1:
            add_few(run, kind, &rows, dim, scaled, 1, sums, stride);
            break;
        case 2:
            add_few(run, kind, &rows, dim, scaled, 2, sums, stride);
            break;
        case 3:
            add_few(run, kind, &rows, dim, scaled, 3, sums, stride);
            break;
        default:
            add_few(run, kind, &rows, dim, scaled, rows_at_once, sums, stride);
        }
        weights += rows_at_once * KVB_TILE_TOKENS;
        sums += rows_at_once * stride;
    }
}

/* ---- By width ---- */

#define EACH_FLOAT_KIND(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(15)
#define KIND(kind)                                                                                                     \
    static void dot_##kind(const kvb_packed_run *run, const float *q, int n_rows, uint8_t *codes, float *dots) {       \
        dot_rows_of(run, kind, q, n_rows, codes, dots);                                                                \
    }                                                                                                                  \
    static void add_##kind(const kvb_packed_run *run, int dim, const float *weights, int n_rows, uint8_t *codes,       \
                           float *sums, size_t stride) {                                                               \
        add_rows_of(run, kind, dim, weights, n_rows, codes, sums, stride);                                             \
    }
EACH_FLOAT_KIND(KIND)
#undef KIND

/* Bits of eight rows in a vector spend more on lanes than they gain. */
static int float_kind(const kvb_codec_tables *tables) {
    return tables->bits == 1 && tables->head_dim <= 64 ? 0 : row_kind(tables);
}

void kvb_avx512_dot_packed_floats(const kvb_packed_run *keys, const float *q, int n_rows, void *scratch, float *dots) {
    switch (float_kind(keys->tables)) {
#define KIND(kind)                                                                                                     \
    case kind:                                                                                                         \
        unpack_rows(keys, kind, scratch);                                                                              \
        dot_##kind(keys, q, n_rows, scratch, dots);                                                                    \
        break;
        EACH_FLOAT_KIND(KIND)
#undef KIND
    default:
        kvb_avx2_dot_packed_floats(keys, q, n_rows, scratch, dots);
    }
}

void kvb_avx512_add_packed_floats(const kvb_packed_run *values, int dim, const float *weights, int n_rows,
                                  void *scratch, float *sums, size_t sums_stride) {
    switch (float_kind(values->tables)) {
#define KIND(kind)                                                                                                     \
    case kind:                                                                                                         \
        unpack_rows(values, kind, scratch);                                                                            \
        add_##kind(values, dim, weights, n_rows, scratch, sums, sums_stride);                                          \
        break;
        EACH_FLOAT_KIND(KIND)
#undef KIND
    default:
        kvb_avx2_add_packed_floats(values, dim, weights, n_rows, scratch, sums, sums_stride);
    }
}
#endif
