/* Trellis rows become scalar ones, AVX-512: verbs of vec_weave.h. */
#if defined(__x86_64__)
#include "cpu/avx512_attend.h"
#include "cpu/weave.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 9")

enum { vector_bytes = 64, vector_words = vector_bytes / 8 /* of 64 bits */ };

typedef __m512i wv;

INLINE wv bytes(int value) {
    return _mm512_set1_epi8((char)value);
}

/* ---- Words of 64 bits of two vectors, in blocks of one, two or four ---- */

typedef struct wv_orders {
    int block;
    wv even, odd; /* blocks of two vectors in turn */
    wv ones[2];   /* from two vectors, a block of each in turn */
    wv pairs[2];  /* the same, with blocks twice as large */
} wv_orders;

INLINE wv blocks_of(int block, int parity) {
    uint64_t words[vector_words];
    for (int i = 0; i < vector_words; i++) {
        words[i] = (uint64_t)((2 * (i / block) + parity) * block + i % block);
    }
    return _mm512_loadu_si512(words);
}

INLINE wv blocks_in_turn(int block, int half) {
    uint64_t words[vector_words];
    for (int i = 0; i < vector_words; i++) {
        int at = half * vector_words + i, nth = at / block;
        words[i] = (uint64_t)(nth / 2 * block + at % block + nth % 2 * vector_words);
    }
    return _mm512_loadu_si512(words);
}

INLINE wv_orders wv_open_orders(int stride, int byte_bits) {
    int block = stride / 8;
    (void)byte_bits;
    return (wv_orders){.block = block,
                       .even = blocks_of(block, 0),
                       .odd = blocks_of(block, 1),
                       .ones = {blocks_in_turn(block, 0), blocks_in_turn(block, 1)},
                       .pairs = {blocks_in_turn(2 * block, 0), blocks_in_turn(2 * block, 1)}};
}

/* Blocks of a whole vector stay where they are. */
INLINE void take_turns(wv a, wv b, int block, const wv order[2], wv out[2]) {
    out[0] = block == vector_words ? a : _mm512_permutex2var_epi64(a, order[0], b);
    out[1] = block == vector_words ? b : _mm512_permutex2var_epi64(a, order[1], b);
}

INLINE void wv_order_two(const wv in[2], const wv_orders *o, wv out[4]) {
    take_turns(in[0], in[1], o->block, o->ones, out);
}

INLINE void wv_order_four(wv x[4], const wv_orders *o) {
    wv lower[2], upper[2];
    take_turns(x[0], x[1], o->block, o->ones, lower);
    take_turns(x[2], x[3], o->block, o->ones, upper);
    take_turns(lower[0], upper[0], 2 * o->block, o->pairs, x);
    take_turns(lower[1], upper[1], 2 * o->block, o->pairs, x + 2);
}

/* ---- Bits ---- */

INLINE wv wv_zero(void) {
    return _mm512_setzero_si512();
}

INLINE wv wv_load(const uint8_t *from) {
    return _mm512_loadu_si512(from);
}

INLINE wv wv_xor(wv a, wv b) {
    return _mm512_xor_si512(a, b);
}

INLINE wv wv_and(const wv_orders *o, wv x, int mask) {
    (void)o;
    return _mm512_and_si512(x, bytes(mask));
}

INLINE wv wv_shift_right(wv x, int n) {
    return _mm512_srli_epi16(x, (unsigned)n);
}

/* yes where the bits of mask are set, no elsewhere */
INLINE wv choose(int mask, wv yes, wv no) {
    return _mm512_ternarylogic_epi32(bytes(mask), yes, no, 0xca);
}

INLINE void wv_weave(const wv_orders *o, wv low, wv high, int width, wv out[2]) {
    int mask = width == 1 ? 0x55 : 0x33;
    (void)o;
    out[0] = choose(mask, low, _mm512_slli_epi16(high, (unsigned)width));
    out[1] = choose(mask, wv_shift_right(low, width), high);
}

INLINE void wv_read_halves(const uint8_t *places, const wv_orders *o, wv out[2]) {
    wv a = wv_load(places), b = wv_load(places + vector_bytes);
    out[0] = _mm512_permutex2var_epi64(a, o->even, b);
    out[1] = _mm512_permutex2var_epi64(a, o->odd, b);
}

/* ---- Inputs before ---- */

/* Each row's last bytes, a field further up, stand before its first: here beside the lanes that they come before. */
INLINE wv wv_before(wv path, int stride) {
    wv carried = _mm512_add_epi8(path, path);
    if (stride < 32) {
        return carried;
    }
    wv mixed = _mm512_mask_blend_epi64(0xcc, path, carried);
    return _mm512_shuffle_i64x2(mixed, mixed, 0xb1);
}

/* What came `lag` bytes before: of rows of 16 bytes and more, a constant; of rows of 8 bytes. */
#define WV_BYTES_BEFORE(path, before, lag) _mm512_alignr_epi8(path, before, 16 - (lag))

INLINE wv wv_words_before(wv path, wv before, int lag) {
    return _mm512_or_si512(_mm512_slli_epi64(path, 8 * (unsigned)lag),
                           _mm512_srli_epi64(before, 64 - 8 * (unsigned)lag));
}

/* ---- A tile ---- */

/* What the loop of vec_weave.h does with a vector's rows. */
INLINE void wv_take(const kvb_weft *w, const wv_orders *o, size_t row, const wv *woven, int n, int byte_bits) {
    uint8_t *out = w->out + row * (size_t)(o->block * 8 * n);
    (void)byte_bits; /* 0: none are woven */
    for (int i = 0; i < n; i++) {
        _mm512_storeu_si512(out + i * vector_bytes, woven[i]);
    }
}

#include "cpu/vec_weave.h"

INLINE void weave_by_form(const kvb_weft *w, int stride, uint32_t taps0, uint32_t taps1) {
    switch (w->place_width) {
    case 0:
        weave_tile(w, stride, 0, 0, taps0, taps1);
        break;
    case 1:
        weave_tile(w, stride, 1, 0, taps0, taps1);
        break;
    default:
        weave_tile(w, stride, 2, 0, taps0, taps1);
    }
}

WEAVE_EACH

/* 0 for head dims other than 64, 128 and 256: nothing is done. */
int kvb_avx512_weave(const kvb_weft *w) {
    return weave_any(w);
}
#endif
