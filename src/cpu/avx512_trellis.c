/* Trellis rows become scalar ones (attend_trellis.c), AVX-512: rows of 8, 16 and 32 bytes of inputs lie several to a
 * vector, and what came some coordinates before is a shift within each row, so that nothing is copied first. */
#if defined(__x86_64__)
#include "cpu/weave.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 9")

enum { vector_bytes = 64, vector_words = vector_bytes / 8 /* of 64 bits */ };

/* ---- Words of 64 bits of two vectors, in blocks of one, two or four ---- */

typedef struct weave_orders {
    __m512i even, odd; /* blocks of two vectors in turn */
    __m512i ones[2];   /* from two vectors, a block of each in turn */
    __m512i pairs[2];  /* the same, with blocks twice as large */
    __mmask64 whole;   /* bytes of a vector's rows */
} weave_orders;

INLINE __m512i blocks_of(int block, int parity) {
    uint64_t words[vector_words];
    for (int i = 0; i < vector_words; i++) {
        words[i] = (uint64_t)((2 * (i / block) + parity) * block + i % block);
    }
    return _mm512_loadu_si512(words);
}

INLINE __m512i blocks_in_turn(int block, int half) {
    uint64_t words[vector_words];
    for (int i = 0; i < vector_words; i++) {
        int at = half * vector_words + i, nth = at / block;
        words[i] = (uint64_t)(nth / 2 * block + at % block + nth % 2 * vector_words);
    }
    return _mm512_loadu_si512(words);
}

/* Blocks of a whole vector stay where they are. */
INLINE void take_turns(__m512i a, __m512i b, int block, const __m512i order[2], __m512i out[2]) {
    out[0] = block == vector_words ? a : _mm512_permutex2var_epi64(a, order[0], b);
    out[1] = block == vector_words ? b : _mm512_permutex2var_epi64(a, order[1], b);
}

/* ---- Subsets ---- */

INLINE __m512i bytes(int value) {
    return _mm512_set1_epi8((char)value);
}

/* Each row's last bytes, a field further up, stand before its first: here beside the lanes that they come before. */
INLINE __m512i lane_before(__m512i path, int stride) {
    __m512i carried = _mm512_and_si512(_mm512_slli_epi16(path, 1), bytes(0xfe));
    if (stride < 32) {
        return carried;
    }
    __m512i mixed = _mm512_mask_blend_epi64(0xcc, path, carried);
    return _mm512_shuffle_i64x2(mixed, mixed, 0xb1);
}

/* Inputs of `lag` coordinates before; a constant. */
INLINE __m512i inputs_before(__m512i path, __m512i before, int stride, int lag) {
    if (stride == 8) {
        return _mm512_or_si512(_mm512_slli_epi64(path, 8 * (unsigned)lag),
                               _mm512_srli_epi64(before, 64 - 8 * (unsigned)lag));
    }
#define LAG(n)                                                                                                         \
    case n:                                                                                                            \
        return _mm512_alignr_epi8(path, before, 16 - (n))
    switch (lag) {
        LAG(1);
        LAG(2);
        LAG(3);
        LAG(4);
        LAG(5);
        LAG(6);
        LAG(7);
        LAG(8);
    default:
        return path;
    }
#undef LAG
}

INLINE __m512i trace(__m512i path, __m512i before, int stride, uint32_t taps) {
    __m512i bits = _mm512_setzero_si512();
    UNROLL
    for (int lag = 0; lag <= KVB_MAX_TRELLIS_MEMORY; lag++) {
        if (taps >> lag & 1) {
            bits = _mm512_xor_si512(bits, lag ? inputs_before(path, before, stride, lag) : path);
        }
    }
    return bits;
}

/* ---- Weaving, as attend_trellis.c has it ---- */

/* yes where the bits of mask are set, no elsewhere */
INLINE __m512i choose(int mask, __m512i yes, __m512i no) {
    return _mm512_ternarylogic_epi32(bytes(mask), yes, no, 0xca);
}

INLINE __m512i weave_halves(__m512i low, __m512i high, int width, int half) {
    int mask = width == 1 ? 0x55 : 0x33;
    return half == 0 ? choose(mask, low, _mm512_slli_epi16(high, (unsigned)width))
                     : choose(mask, _mm512_srli_epi16(low, (unsigned)width), high);
}

/* Halves of the places of a vector's rows, as planes of two bits. */
INLINE void read_places(const uint8_t *places, size_t n_bytes, int width, const weave_orders *o, __m512i out[2]) {
    if (width == 1) {
        __mmask64 mask = n_bytes < vector_bytes ? ((__mmask64)1 << n_bytes) - 1 : o->whole;
        __m512i one = _mm512_maskz_loadu_epi8(mask, places);
        out[0] = _mm512_and_si512(one, bytes(0x55));
        out[1] = _mm512_and_si512(_mm512_srli_epi16(one, 1), bytes(0x55));
        return;
    }
    size_t all = 2 * n_bytes, behind = all > vector_bytes ? all - vector_bytes : 0;
    __mmask64 first = all < vector_bytes ? ((__mmask64)1 << all) - 1 : o->whole;
    __mmask64 second = behind < vector_bytes ? ((__mmask64)1 << behind) - 1 : o->whole;
    __m512i a = _mm512_maskz_loadu_epi8(first, places), b = _mm512_maskz_loadu_epi8(second, places + vector_bytes);
    out[0] = _mm512_permutex2var_epi64(a, o->even, b);
    out[1] = _mm512_permutex2var_epi64(a, o->odd, b);
}

INLINE void store_rows(uint8_t *to, const __m512i *vectors, int n_vectors, size_t n_bytes) {
    for (int i = 0; i < n_vectors; i++) {
        size_t left = n_bytes > (size_t)i * vector_bytes ? n_bytes - (size_t)i * vector_bytes : 0;
        if (left >= vector_bytes) {
            _mm512_storeu_si512(to + i * vector_bytes, vectors[i]);
        } else {
            _mm512_mask_storeu_epi8(to + i * vector_bytes, ((__mmask64)1 << left) - 1, vectors[i]);
        }
    }
}

/* Rows of one vector, n_bytes of inputs; all but those are constants. */
INLINE void weave_vector(const kvb_weft *w, size_t row, size_t n_bytes, int stride, int place_width, uint32_t taps0,
                         uint32_t taps1, const weave_orders *o) {
    int block = stride / 8;
    size_t at = row * (size_t)stride;
    __mmask64 mask = n_bytes < vector_bytes ? ((__mmask64)1 << n_bytes) - 1 : o->whole;
    __m512i path = _mm512_maskz_loadu_epi8(mask, w->inputs + at), before = lane_before(path, stride);
    __m512i low = trace(path, before, stride, taps0), high = trace(path, before, stride, taps1);
    __m512i subsets[2] = {weave_halves(low, high, 1, 0), weave_halves(low, high, 1, 1)}, woven[4];
    if (place_width == 0) {
        take_turns(subsets[0], subsets[1], block, o->ones, woven);
        store_rows(w->out + 2 * at, woven, 2, 2 * n_bytes);
        return;
    }
    __m512i places[2], upper[2], lower[2];
    read_places(w->places + at * (size_t)place_width, n_bytes, place_width, o, places);
    take_turns(weave_halves(subsets[0], places[0], 2, 0), weave_halves(subsets[1], places[1], 2, 0), block, o->ones,
               lower);
    take_turns(weave_halves(subsets[0], places[0], 2, 1), weave_halves(subsets[1], places[1], 2, 1), block, o->ones,
               upper);
    take_turns(lower[0], upper[0], 2 * block, o->pairs, woven);
    take_turns(lower[1], upper[1], 2 * block, o->pairs, woven + 2);
    store_rows(w->out + 4 * at, woven, 4, 4 * n_bytes);
}

INLINE void weave_tile(const kvb_weft *w, int stride, int place_width, uint32_t taps0, uint32_t taps1) {
    int block = stride / 8, rows = vector_bytes / stride, n_rows = w->run->n_rows;
    weave_orders o = {.even = blocks_of(block, 0),
                      .odd = blocks_of(block, 1),
                      .ones = {blocks_in_turn(block, 0), blocks_in_turn(block, 1)},
                      .pairs = {blocks_in_turn(2 * block, 0), blocks_in_turn(2 * block, 1)},
                      .whole = UINT64_MAX};
    for (int row = 0; row < n_rows; row += rows) {
        int n = n_rows - row < rows ? n_rows - row : rows;
        kvb_ask_for_inputs(w, row, n);
        weave_vector(w, (size_t)row, (size_t)n * (size_t)stride, stride, place_width, taps0, taps1, &o);
    }
}

INLINE int weave_by_width(const kvb_weft *w, int stride, uint32_t taps0, uint32_t taps1) {
    switch (w->place_width) {
    case 0:
        weave_tile(w, stride, 0, taps0, taps1);
        break;
    case 1:
        weave_tile(w, stride, 1, taps0, taps1);
        break;
    default:
        weave_tile(w, stride, 2, taps0, taps1);
    }
    return 1;
}

/* 0 for head dims other than 64, 128 and 256: nothing is done. */
int kvb_avx512_weave(const kvb_weft *w) {
#define STATES(states, memory, taps0, taps1)                                                                           \
    if (w->run->tables->trellis_states == (states)) {                                                                  \
        return w->stride == 8    ? weave_by_width(w, 8, taps0, taps1)                                                  \
               : w->stride == 16 ? weave_by_width(w, 16, taps0, taps1)                                                 \
               : w->stride == 32 ? weave_by_width(w, 32, taps0, taps1)                                                 \
                                 : 0;                                                                                  \
    }
    KVB_EACH_TRELLIS(STATES)
#undef STATES
    return 0;
}
#endif
