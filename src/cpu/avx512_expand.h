/* Codes to centroids in AVX-512, 64 at a time, and the sums behind the scale: up to 5 bits by look-ups of floats, wider
 * ones, where the codebook is exact in fixed point, by look-ups of bytes (VBMI). Codes lie in buffers of
 * KVB_MAX_HEAD_DIM, so that whole vectors of them may go on behind a row. */
#ifndef KVB_CPU_AVX512_EXPAND_H
#define KVB_CPU_AVX512_EXPAND_H

#include "cpu/vec_avx512.h"
#include "jobs.h"

#define INLINE static inline __attribute__((always_inline))

enum { n_bytes = 64, n_vectors = n_bytes / VEC_FLOATS };
_Static_assert(KVB_MAX_HEAD_DIM % n_bytes == 0, "the widest row is whole vectors of codes");

/* Lanes of the vector of floats at `at` that belong to a row of n. */
INLINE __mmask16 lanes_at(int n, int at) {
    int left = n - at;
    return left >= VEC_FLOATS ? 0xffff : left <= 0 ? 0 : (__mmask16)((1 << left) - 1);
}

/* 0 behind the row. */
INLINE vf load_at(const float *row, int n, int at) {
    return at + VEC_FLOATS <= n ? vf_load(row + at) : _mm512_maskz_loadu_ps(lanes_at(n, at), row + at);
}

INLINE void store_at(float *row, int n, int at, vf x) {
    if (at + VEC_FLOATS <= n) {
        vf_store(row + at, x);
    } else {
        _mm512_mask_storeu_ps(row + at, lanes_at(n, at), x);
    }
}

/* What a width needs of these. */
typedef struct centroids {
    vf floats[2];
    vi low[4], high[4]; /* bytes of fixed-point centroids */
    vf unit;
} centroids;

INLINE centroids open_centroids(const kvb_codec_tables *tables, int bits) {
    centroids c;
    if (bits <= 5) {
        c.floats[0] = vf_load(tables->centroids);
        c.floats[1] = vf_load(tables->centroids + VEC_FLOATS);
        return c;
    }
    for (int i = 0; i < (bits == 8 ? 4 : 2); i++) {
        c.low[i] = _mm512_loadu_si512(tables->fixed_bytes[0] + i * n_bytes);
        c.high[i] = _mm512_loadu_si512(tables->fixed_bytes[1] + i * n_bytes);
    }
    c.unit = vf_all(tables->fixed_unit * 0x1p-16f);
    return c;
}

#ifdef __AVX512VBMI__
INLINE vi look_up_fixed(const vi *bytes, vi codes, int bits) {
    vi found = _mm512_permutex2var_epi8(bytes[0], codes, bytes[1]);
    if (bits < 8) {
        return found;
    }
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), found,
                                  _mm512_permutex2var_epi8(bytes[2], codes, bytes[3]));
}

INLINE void read_fixed(const centroids *c, const uint8_t *codes, int bits, vf out[n_vectors]) {
    /* Unpacking works within 128 bits: these four codes of each vector go to the same ones. */
    const vi order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    vi all = _mm512_permutexvar_epi32(order, _mm512_loadu_si512(codes)), zero = vi_zero();
    vi low = look_up_fixed(c->low, all, bits), high = look_up_fixed(c->high, all, bits);
    vi first = _mm512_unpacklo_epi8(low, high), second = _mm512_unpackhi_epi8(low, high);
    out[0] = _mm512_cvtepi32_ps(_mm512_unpacklo_epi16(zero, first)); /* 2^16 times the word */
    out[1] = _mm512_cvtepi32_ps(_mm512_unpackhi_epi16(zero, first));
    out[2] = _mm512_cvtepi32_ps(_mm512_unpacklo_epi16(zero, second));
    out[3] = _mm512_cvtepi32_ps(_mm512_unpackhi_epi16(zero, second));
    for (int v = 0; v < n_vectors; v++) {
        out[v] = vf_mul(out[v], c->unit);
    }
}
#else
INLINE void read_fixed(const centroids *c, const uint8_t *codes, int bits, vf out[n_vectors]) {
    (void)c, (void)codes, (void)bits, (void)out; /* no width comes here */
}
#endif

INLINE void read_centroids(const centroids *c, const uint8_t *codes, int bits, vf out[n_vectors]) {
    if (bits > 5) {
        read_fixed(c, codes, bits, out);
        return;
    }
    for (int v = 0; v < n_vectors; v++) {
        vi index = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(codes + v * VEC_FLOATS)));
        out[v] = bits < 5 ? _mm512_permutexvar_ps(index, c->floats[0])
                          : _mm512_permutex2var_ps(c->floats[0], index, c->floats[1]);
    }
}

INLINE void expand_codes(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out, int bits) {
    centroids c = open_centroids(tables, bits);
    vf factor = vf_all(scale);
    int n = tables->head_dim;
    for (int i = 0; i < n; i += n_bytes) {
        vf x[n_vectors];
        read_centroids(&c, codes + i, bits, x);
        for (int v = 0; v < n_vectors && i + v * VEC_FLOATS < n; v++) {
            store_at(out, n, i + v * VEC_FLOATS, vf_mul(x[v], factor));
        }
    }
}

INLINE void project_codes(const kvb_codec_tables *tables, const float *row, const uint8_t *codes, float *row_c,
                          float *c_c, int bits) {
    centroids c = open_centroids(tables, bits);
    vf rows = vf_all(0.0f), squares = vf_all(0.0f);
    int n = tables->head_dim;
    for (int i = 0; i < n; i += n_bytes) {
        vf x[n_vectors];
        read_centroids(&c, codes + i, bits, x);
        for (int v = 0; v < n_vectors && i + v * VEC_FLOATS < n; v++) {
            int at = i + v * VEC_FLOATS;
            vf y = at + VEC_FLOATS <= n ? x[v] : _mm512_maskz_mov_ps(lanes_at(n, at), x[v]);
            rows = vf_add(rows, vf_mul(load_at(row, n, at), y));
            squares = vf_add(squares, vf_mul(y, y));
        }
    }
    *row_c = vf_fold(&rows);
    *c_c = vf_fold(&squares);
}

#endif
