/* Trellis rows become scalar ones, AVX2: verbs of vec_weave.h, and rows of a byte for each coordinate, of which
 * look-ups of attention take their indices as they are (lut_avx2.h). */
#if defined(__x86_64__)
#include "cpu/avx2_attend.h"
#include "cpu/keep.h"
#include "cpu/weave.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 9")

enum { vector_bytes = 32 };

typedef __m256i wv;
/* Constants of a tile, which compilers are to keep: they make such anew for each use. */
typedef struct wv_orders {
    int stride;
    wv masks[4]; /* bytes 0x55, 0x33, 0x0f, 0x88 */
    wv up[4];    /* bits_up to bit 3 */
    wv table;    /* open_nibbles */
} wv_orders;

INLINE wv mask_of(const wv_orders *o, int byte) {
    return o->masks[byte == 0x55 ? 0 : byte == 0x33 ? 1 : byte == 0x0f ? 2 : 3];
}

INLINE wv wv_zero(void) {
    return _mm256_setzero_si256();
}

INLINE wv wv_xor(wv a, wv b) {
    return _mm256_xor_si256(a, b);
}

INLINE wv wv_shift_right(wv x, int n) {
    return _mm256_srli_epi16(x, n);
}

INLINE wv wv_and(const wv_orders *o, wv x, int mask) {
    return _mm256_and_si256(x, mask_of(o, mask));
}

/* The upper fields of `low` change places with the lower ones of `high`. */
INLINE void wv_weave(const wv_orders *o, wv low, wv high, int width, wv out[2]) {
    int mask = width == 1 ? 0x55 : width == 2 ? 0x33 : 0x0f;
    wv change = wv_and(o, _mm256_xor_si256(_mm256_srli_epi16(low, width), high), mask);
    out[0] = _mm256_xor_si256(low, _mm256_slli_epi16(change, width));
    out[1] = _mm256_xor_si256(high, change);
}

INLINE wv wv_load(const uint8_t *from) {
    return _mm256_loadu_si256((const __m256i *)from);
}

INLINE void wv_store(uint8_t *to, wv x) {
    _mm256_storeu_si256((__m256i *)to, x);
}

/* ---- Constants ---- */

/* What nibbles become in a byte. Of 5 bits they are places, whose highest bit is the sign, of 6 bits a subset and,
 * above it, the sign; a sign inverts the bits of the index. */
INLINE wv open_nibbles(int byte_bits) {
    uint8_t out[16];
    for (int i = 0; i < 16; i++) {
        int is_upper = byte_bits == 5 ? i >> 3 : i >> 2 & 1, index = byte_bits == 5 ? i & 7 : (i & 3) << 6;
        int inverted = byte_bits == 5 ? 0x8f : 0xcf;
        out[i] = (uint8_t)((is_upper ? index ^ inverted : index) | is_upper << 5);
    }
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)out));
}

/* What brings bits of a plane of one bit to bit 3: vector `at` of a row has its chunks from at * 32 / stride on, chunk
 * k in bits k. */
INLINE wv open_up(int at, int stride) {
    int first = at * vector_bytes;
    return _mm256_setr_epi64x(3 - first / stride, 3 - (first + 8) / stride, 3 - (first + 16) / stride,
                              3 - (first + 24) / stride);
}

INLINE wv_orders wv_open_orders(int stride, int byte_bits) {
    static const char masks[4] = {0x55, 0x33, 0x0f, (char)0x88};
    wv_orders o = {.stride = stride};
    for (int i = 0; i < 4; i++) {
        o.masks[i] = _mm256_set1_epi8(masks[i]);
        KEEP(o.masks[i]);
    }
    for (int at = 0; at < stride / 8 && (byte_bits == 4 || byte_bits == 5); at++) {
        o.up[at] = open_up(at, stride);
        KEEP(o.up[at]);
    }
    if (byte_bits > 4) {
        o.table = open_nibbles(byte_bits);
        KEEP(o.table);
    }
    return o;
}

/* ---- Rows of several vectors, in turn ---- */

INLINE wv lower_lanes(wv a, wv b) {
    return _mm256_permute2x128_si256(a, b, 0x20);
}

INLINE wv upper_lanes(wv a, wv b) {
    return _mm256_permute2x128_si256(a, b, 0x31);
}

INLINE void wv_order_two(const wv in[2], const wv_orders *o, wv out[4]) {
    wv a = o->stride == 8 ? _mm256_unpacklo_epi64(in[0], in[1]) : in[0];
    wv b = o->stride == 8 ? _mm256_unpackhi_epi64(in[0], in[1]) : in[1];
    out[0] = o->stride == 32 ? a : lower_lanes(a, b);
    out[1] = o->stride == 32 ? b : upper_lanes(a, b);
}

INLINE void wv_order_four(wv x[4], const wv_orders *o) {
    if (o->stride == 32) {
        return;
    }
    wv a = x[0], b = x[1], c = x[2], d = x[3];
    if (o->stride == 8) {
        a = _mm256_unpacklo_epi64(x[0], x[1]), b = _mm256_unpacklo_epi64(x[2], x[3]);
        c = _mm256_unpackhi_epi64(x[0], x[1]), d = _mm256_unpackhi_epi64(x[2], x[3]);
        x[0] = lower_lanes(a, b), x[2] = upper_lanes(a, b);
        x[1] = lower_lanes(c, d), x[3] = upper_lanes(c, d);
        return;
    }
    x[0] = lower_lanes(a, b), x[2] = upper_lanes(a, b);
    x[1] = lower_lanes(c, d), x[3] = upper_lanes(c, d);
}

INLINE void wv_read_halves(const uint8_t *places, const wv_orders *o, wv out[2]) {
    wv a = wv_load(places), b = wv_load(places + vector_bytes);
    if (o->stride == 8) {
        out[0] = _mm256_permute4x64_epi64(_mm256_unpacklo_epi64(a, b), 0xd8);
        out[1] = _mm256_permute4x64_epi64(_mm256_unpackhi_epi64(a, b), 0xd8);
        return;
    }
    out[0] = o->stride == 32 ? a : lower_lanes(a, b);
    out[1] = o->stride == 32 ? b : upper_lanes(a, b);
}

/* ---- Inputs before ---- */

/* Each row's last bytes, a field further up, stand before its first: here beside the lanes that they come before. */
INLINE wv wv_before(wv path, int stride) {
    wv carried = _mm256_add_epi8(path, path);
    return stride < 32 ? carried : _mm256_permute2x128_si256(path, carried, 0x03);
}

/* What came `lag` bytes before: of rows of 16 bytes and more, a constant; of rows of 8 bytes. */
#define WV_BYTES_BEFORE(path, before, lag) _mm256_alignr_epi8(path, before, 16 - (lag))

INLINE wv wv_words_before(wv path, wv before, int lag) {
    return _mm256_or_si256(_mm256_slli_epi64(path, 8 * lag), _mm256_srli_epi64(before, 64 - 8 * lag));
}

/* ---- A byte for each coordinate: codec_straight.c says of what bits ---- */

/* A row's plane of one bit, once for each of its chunks that a vector of bytes has. */
INLINE wv repeat(const uint8_t *plane, int stride) {
    uint64_t eight;
    switch (stride) {
    case 8:
        memcpy(&eight, plane, sizeof eight);
        return _mm256_set1_epi64x((long long)eight);
    case 16:
        return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)plane));
    default:
        return _mm256_loadu_si256((const __m256i *)plane);
    }
}

/* The same of woven row `row` of a vector's: first or second half of what wv_order_two gives of it. */
INLINE wv repeat_woven(const wv *woven, int row, int half, int stride) {
    if (stride == 32) {
        return woven[half];
    }
    if (stride == 16) {
        return half ? _mm256_permute4x64_epi64(woven[row], 0xee) : _mm256_permute4x64_epi64(woven[row], 0x44);
    }
    wv x = woven[row / 2];
    switch (row % 2 * 2 + half) {
    case 0:
        return _mm256_permute4x64_epi64(x, 0x00);
    case 1:
        return _mm256_permute4x64_epi64(x, 0x55);
    case 2:
        return _mm256_permute4x64_epi64(x, 0xaa);
    default:
        return _mm256_permute4x64_epi64(x, 0xff);
    }
}

INLINE wv nibbles(const wv_orders *o, wv x, int half) {
    return wv_and(o, half ? wv_shift_right(x, 4) : x, 0x0f);
}

/* Vector `at` of a row's nibbles: those of its lower halves and those of its upper ones, which are 4 * stride
 * coordinates apart, as bytes. Of 4 bits the highest bits of places come from bits 3 and 7, and their neighbors are not
 * read. */
INLINE void make_bytes(const wv_orders *o, wv woven, wv places, wv tops, int at, int byte_bits, wv out[2]) {
    if (byte_bits == 4) {
        wv_weave(o, woven, _mm256_sllv_epi64(tops, o->up[at]), 4, out);
    }
    for (int half = 0; half < 2 && byte_bits == 6; half++) {
        out[half] = wv_xor(_mm256_shuffle_epi8(o->table, nibbles(o, woven, half)), nibbles(o, places, half));
    }
}

/* The same of 5 bits; `subsets` of each half of the row. */
INLINE void make_bytes_of_5(const wv_orders *o, const wv subsets[2], wv places, int at, wv out[2]) {
    for (int half = 0; half < 2; half++) {
        wv index = wv_and(o, _mm256_sllv_epi64(subsets[half], o->up[at]), 0x88);
        out[half] = wv_xor(_mm256_shuffle_epi8(o->table, nibbles(o, places, half)), index);
    }
}

/* Vector v of nibbles, of a vector's rows from `first` on, which have stride / 8 each. */
INLINE void take_bytes(const kvb_weft *w, const wv_orders *o, size_t first, int v, const wv *woven, int byte_bits) {
    int stride = o->stride, per_row = stride / 8, nth = v / per_row, at = v % per_row;
    size_t row = first + (size_t)nth, nibbles_at = (row * (size_t)per_row + (size_t)at) * vector_bytes;
    wv bytes[2], places = wv_zero();
    if (byte_bits > 4) {
        places = wv_load(w->places + nibbles_at);
    }
    if (byte_bits == 5) {
        wv subsets[2] = {repeat_woven(woven, nth, 0, stride), repeat_woven(woven, nth, 1, stride)};
        make_bytes_of_5(o, subsets, places, at, bytes);
    } else {
        wv tops = byte_bits == 4 ? repeat(w->tops + row * (size_t)stride, stride) : wv_zero();
        make_bytes(o, woven[v], places, tops, at, byte_bits, bytes);
    }
    uint8_t *out = w->out + nibbles_at + row * (size_t)per_row * vector_bytes;
    wv_store(out, bytes[0]);
    wv_store(out + per_row * vector_bytes, bytes[1]);
}

/* What the loop of vec_weave.h does with a vector's rows. */
INLINE void wv_take(const kvb_weft *w, const wv_orders *o, size_t row, const wv *woven, int n, int byte_bits) {
    UNROLL
    for (int v = 0; v < 4 && byte_bits; v++) {
        take_bytes(w, o, row, v, woven, byte_bits);
    }
    for (int i = 0; i < n && !byte_bits; i++) {
        wv_store(w->out + row * (size_t)(o->stride * n) + i * vector_bytes, woven[i]);
    }
}

#include "cpu/vec_weave.h"

INLINE void weave_by_form(const kvb_weft *w, int stride, uint32_t taps0, uint32_t taps1) {
    switch (w->byte_bits) {
    case 4:
        weave_tile(w, stride, 2, 4, taps0, taps1);
        break;
    case 5:
        weave_tile(w, stride, 0, 5, taps0, taps1);
        break;
    case 6:
        weave_tile(w, stride, 1, 6, taps0, taps1);
        break;
    default:
        if (w->place_width == 1) {
            weave_tile(w, stride, 1, 0, taps0, taps1);
        } else {
            weave_tile(w, stride, 2, 0, taps0, taps1);
        }
    }
}

WEAVE_EACH

/* 0 for head dims other than 64, 128 and 256, and for subsets by themselves: nothing is done. */
int kvb_avx2_weave(const kvb_weft *w) {
    return w->place_width ? weave_any(w) : 0;
}
#endif
