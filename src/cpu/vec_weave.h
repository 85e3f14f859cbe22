/* Trellis rows become scalar ones (attend_trellis.c), in vectors: rows of 8, 16 and 32 bytes of inputs lie several to a
 * vector, or one, and what came some coordinates before is a shift within each row, so that nothing is copied first.
 *
 * Comes after the verbs of an instruction set: wv, a vector of vector_bytes; wv_open_orders, the constants of a tile,
 * of which the others get a pointer; wv_and with a byte, wv_shift_right of words of 16 bits; wv_weave, planes of so
 * many bits to one of twice as many, its lower and its upper half; wv_before, and WV_BYTES_BEFORE and wv_words_before,
 * what inputs_before asks for; wv_read_halves, the halves of a vector's rows of a plane of two bits; wv_order_two and
 * wv_order_four, from a vector for each part of the rows to rows that follow each other; wv_take, what becomes of them.
 * Before WEAVE_EACH comes weave_by_form. */
#ifndef KVB_CPU_VEC_WEAVE_H
#define KVB_CPU_VEC_WEAVE_H

#include "cpu/weave.h"

#include <string.h>

/* ---- Subsets ---- */

/* Inputs of `lag` coordinates before; a constant, which instructions want as one even where nothing is optimized. */
INLINE wv inputs_before(wv path, wv before, int stride, int lag) {
    if (stride == 8) {
        return wv_words_before(path, before, lag);
    }
#define LAG(n)                                                                                                         \
    case n:                                                                                                            \
        return WV_BYTES_BEFORE(path, before, n)
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

INLINE wv trace(wv path, wv before, int stride, uint32_t taps) {
    wv bits = wv_zero();
    UNROLL
    for (int lag = 0; lag <= KVB_MAX_TRELLIS_MEMORY; lag++) {
        if (taps >> lag & 1) {
            bits = wv_xor(bits, lag ? inputs_before(path, before, stride, lag) : path);
        }
    }
    return bits;
}

/* ---- Weaving, as attend_trellis.c has it ---- */

/* Halves of the places of a vector's rows, as planes of two bits. */
INLINE void read_places(const uint8_t *places, int width, const wv_orders *o, wv out[2]) {
    if (width == 1) {
        wv one = wv_load(places);
        out[0] = wv_and(o, one, 0x55);
        out[1] = wv_and(o, wv_shift_right(one, 1), 0x55);
        return;
    }
    wv_read_halves(places, o, out);
}

/* What to weave of a tile; all but w's are constants. Of bytes of 6 bits the places' highest bit is woven, of 5 bits
 * none. */
typedef struct weave_plan {
    const kvb_weft *w;
    int stride, place_width, byte_bits;
    uint32_t taps[2];
} weave_plan;

/* Subsets of the rows of one vector, from `row` on: planes of halves of bits 0 to 3 and 4 to 7, or of even and odd
 * ones.
 */
INLINE void read_subsets(const weave_plan *p, size_t row, const wv_orders *o, wv subsets[2]) {
    wv path = wv_load(p->w->inputs + row * (size_t)p->stride), before = wv_before(path, p->stride);
    wv low = trace(path, before, p->stride, p->taps[0]), high = trace(path, before, p->stride, p->taps[1]);
    wv_weave(o, low, high, p->byte_bits == 5 ? 4 : 1, subsets);
}

INLINE void weave_vector(const weave_plan *p, size_t row, const wv subsets[2], const wv_orders *o) {
    const kvb_weft *w = p->w;
    wv places[2], woven[4];
    if (p->place_width == 0) {
        wv_order_two(subsets, o, woven);
        wv_take(w, o, row, woven, 2, p->byte_bits);
        return;
    }
    size_t at = row * (size_t)(p->stride * p->place_width);
    read_places((p->byte_bits == 6 ? w->tops : w->places) + at, p->place_width, o, places);
    for (int half = 0; half < 2; half++) {
        wv both[2];
        wv_weave(o, subsets[half], places[half], 2, both);
        woven[half] = both[0];
        woven[half + 2] = both[1];
    }
    wv_order_four(woven, o);
    wv_take(w, o, row, woven, 4, p->byte_bits);
}

/* n_rows rows, as many as a vector has or more: the last vector may have rows of the one before again. */
INLINE void weave_rows(const weave_plan *p, size_t n_rows, const wv_orders *o) {
    size_t rows = (size_t)(vector_bytes / p->stride);
    for (size_t row = 0; row < n_rows; row += rows) {
        size_t at = rows == 1 || row + rows <= n_rows ? row : n_rows - rows;
        wv subsets[2];
        if (row * (size_t)p->stride % 64 == 0) {
            kvb_ask_for_inputs(p->w, row * (size_t)p->stride);
        }
        read_subsets(p, at, o, subsets);
        weave_vector(p, at, subsets, o);
    }
}

/* A tile's rows; all but w are constants. Fewer than a vector has come from copies, as nothing behind them may be read.
 */
INLINE void weave_tile(const kvb_weft *w, int stride, int place_width, int byte_bits, uint32_t taps0, uint32_t taps1) {
    size_t n_rows = (size_t)w->run->n_rows, rows = (size_t)(vector_bytes / stride), bytes = n_rows * (size_t)stride;
    wv_orders o = wv_open_orders(stride, byte_bits);
    kvb_weft copy = *w; /* which no store of bytes can change */
    weave_plan plan = {&copy, stride, place_width, byte_bits, {taps0, taps1}};
    if (n_rows >= rows) {
        weave_rows(&plan, n_rows, &o);
        return;
    }
    uint8_t copies[6][vector_bytes] = {{0}}; /* inputs, tops, places of up to four bits */
    copy.inputs = memcpy(copies[0], w->inputs, bytes);
    copy.tops = w->tops ? memcpy(copies[1], w->tops, bytes) : NULL;
    copy.places = w->places ? memcpy(copies[2], w->places, bytes * (size_t)w->place_width) : NULL;
    weave_rows(&plan, rows, &o);
}

/* ---- Each trellis, each head dim: an instruction set has weave_by_form, of constants but for w ---- */

#define WEAVE_STRIDE(states, taps0, taps1, stride)                                                                     \
    static void weave_##states##_##stride(const kvb_weft *w) {                                                         \
        weave_by_form(w, stride, taps0, taps1);                                                                        \
    }
#define WEAVE_STATES(states, memory, taps0, taps1)                                                                     \
    WEAVE_STRIDE(states, taps0, taps1, 8)                                                                              \
    WEAVE_STRIDE(states, taps0, taps1, 16)                                                                             \
    WEAVE_STRIDE(states, taps0, taps1, 32)
#define WEAVE_ROW(states, memory, taps0, taps1)                                                                        \
    {states, {weave_##states##_8, weave_##states##_16, weave_##states##_32}},

/* Defines weave_any: 0 for head dims other than 64, 128 and 256, and then nothing is done. */
#define WEAVE_EACH                                                                                                     \
    KVB_EACH_TRELLIS(WEAVE_STATES)                                                                                     \
    static int weave_any(const kvb_weft *w) {                                                                          \
        static const struct {                                                                                          \
            int states;                                                                                                \
            void (*by_stride[3])(const kvb_weft *w);                                                                   \
        } all[] = {KVB_EACH_TRELLIS(WEAVE_ROW)};                                                                       \
        int nth = w->stride == 8 ? 0 : w->stride == 16 ? 1 : w->stride == 32 ? 2 : -1;                                 \
        for (size_t i = 0; nth >= 0 && i < sizeof all / sizeof all[0]; i++) {                                          \
            if (all[i].states == w->run->tables->trellis_states) {                                                     \
                all[i].by_stride[nth](w);                                                                              \
                return 1;                                                                                              \
            }                                                                                                          \
        }                                                                                                              \
        return 0;                                                                                                      \
    }

#endif
