/* Packed rows of a trellis code as rows of a scalar code of one bit more, which the kernels of attention read: subsets
 * are worked out of the plane of inputs eight coordinates a byte, and planes of one and two bits are woven into wider
 * ones as they lie, so that it costs a few operations for 128 coordinates. The plane of w bits holds in byte j, bits
 * k w and above, coordinate j + k d w / 8 (layout.h): two planes of w bits become one of 2 w, whose lower half has the
 * even fields and whose upper half the odd ones.
 *
 *     bits 2     one plane of 4 bits: subset, place, 0        bits 5     places of 4 bits as they lie, subsets
 *     bits 3     one plane of 4 bits: subset, place           bits 6     the same, and the places' highest bit
 *     bits 4     the same, and the places' highest bit        (codec_straight.c: straight_level)
 *
 * An instruction set may have rows of 4 to 6 bits as a byte for each coordinate instead (weaves_bytes). */
#include "cpu/attend.h"
#include "cpu/weave.h"

#include <string.h>

/* Shifts are of words: the bits that cross a byte are masked. */
typedef uint16_t words __attribute__((vector_size(16)));

enum {
    step = sizeof(words),
    margin = KVB_MAX_TRELLIS_MEMORY, /* before a row of inputs */
    most_steps = (KVB_MAX_HEAD_DIM / 8 + step - 1) / step,
    rows_asked_for = 4 /* at a time, beside the work on as many */
};

static inline words load(const uint8_t *from) {
    words x;
    memcpy(&x, from, sizeof x);
    return x;
}

static inline void store(uint8_t *to, words x) {
    memcpy(to, &x, sizeof x);
}

static inline words all(int byte) {
    uint16_t word = (uint16_t)(byte | byte << 8);
    return (words){word, word, word, word, word, word, word, word};
}

/* ---- Inputs ---- */

/* The rows' inputs, `apart` bytes apart, with those before the first byte: the last bytes, a field further up. */
static inline __attribute__((always_inline)) void copy_rows(const uint8_t *plane, int n_rows, size_t stride,
                                                            size_t apart, uint8_t *out) {
    for (int row = 0; row < n_rows; row++, plane += stride, out += apart) {
        uint64_t last;
        memcpy(out + margin, plane, stride);
        memcpy(&last, plane + stride - 8, sizeof last);
        last = last << 1 & UINT64_C(0xfefefefefefefefe);
        memcpy(out, &last, sizeof last);
    }
}

/* With the commonest strides as constants. */
static void copy_inputs(const uint8_t *plane, int n_rows, size_t stride, size_t apart, uint8_t *out) {
    switch (stride) {
    case 8:
        copy_rows(plane, n_rows, 8, apart, out);
        break;
    case 16:
        copy_rows(plane, n_rows, 16, apart, out);
        break;
    case 32:
        copy_rows(plane, n_rows, 32, apart, out);
        break;
    default:
        copy_rows(plane, n_rows, stride, apart, out);
    }
}

/* A bit of the subsets; taps is a constant. */
static inline __attribute__((always_inline)) words trace(const uint8_t *path, uint32_t taps) {
    words bits = all(0);
    for (int lag = 0; lag <= KVB_MAX_TRELLIS_MEMORY; lag++) {
        if (taps >> lag & 1) {
            bits ^= load(path - lag);
        }
    }
    return bits;
}

/* ---- Weaving ---- */

/* Of planes of one bit, the low and the high one of a plane of two: its lower half and its upper half. */
static inline words weave_bits(words low, words high, int half) {
    return half == 0 ? (low & all(0x55)) | (high & all(0x55)) << 1 : (low >> 1 & all(0x55)) | (high & all(0xaa));
}

/* The same of planes of two bits. */
static inline words weave_pairs(words low, words high, int half) {
    return half == 0 ? (low & all(0x33)) | (high & all(0x33)) << 2 : (low >> 2 & all(0x33)) | (high & all(0xcc));
}

/* One row; places of fewer than 16 bytes behind it may be read. What a step writes behind its part is written again by
 * the next, so that parts come in rising order. All but w and part's bytes are constants where compilers are to know
 * them. */
static inline __attribute__((always_inline)) void weave_row(const kvb_weft *w, uint32_t taps0, uint32_t taps1,
                                                            size_t stride, int place_width) {
    words subsets[2][most_steps];
    for (size_t i = 0, at = 0; at < stride; i++, at += step) {
        words low = trace(w->inputs + at, taps0), high = trace(w->inputs + at, taps1);
        subsets[0][i] = weave_bits(low, high, 0);
        subsets[1][i] = weave_bits(low, high, 1);
    }
    for (int part = 0; part < (place_width ? 4 : 2); part++) {
        uint8_t *out = w->out + (size_t)part * stride;
        int half = part % 2;
        for (size_t i = 0, at = 0; at < stride; i++, at += step) {
            words woven = subsets[half][i];
            if (place_width == 2) {
                woven = weave_pairs(woven, load(w->places + (size_t)half * stride + at), part / 2);
            } else if (place_width == 1) {
                woven = weave_pairs(woven, weave_bits(load(w->places + at), all(0), half), part / 2);
            }
            store(out + at, woven);
        }
    }
}

static inline __attribute__((always_inline)) void weave_rows(kvb_weft w, size_t inputs_apart, uint32_t taps0,
                                                             uint32_t taps1, size_t stride, int place_width) {
    for (int row = 0, n_rows = w.run->n_rows; row < n_rows; row++) {
        if (row % rows_asked_for == 0) {
            int n = n_rows - row < rows_asked_for ? n_rows - row : rows_asked_for;
            for (size_t at = 0; at < (size_t)n * stride; at += 64) {
                kvb_ask_for_inputs(&w, (size_t)row * stride + at);
            }
        }
        weave_row(&w, taps0, taps1, stride, place_width);
        w.inputs += inputs_apart;
        w.places += place_width ? stride * (size_t)place_width : 0;
        w.out += stride * (place_width ? 4 : 2);
    }
}

/* Head dims 64 and 128 are functions of their own; 256 gains nothing by it. */
#define WEAVE_AT(width, bytes, taps0, taps1)                                                                           \
    if (w.place_width == (width) && w.stride == (bytes)) {                                                             \
        weave_rows(w, inputs_apart, taps0, taps1, bytes, width);                                                       \
        return;                                                                                                        \
    }
#define WEAVE(states, memory, taps0, taps1)                                                                            \
    static void weave_##states(kvb_weft w, size_t inputs_apart) {                                                      \
        for (int width = 0; width <= 2; width++) {                                                                     \
            WEAVE_AT(width, 8, taps0, taps1)                                                                           \
            WEAVE_AT(width, 16, taps0, taps1)                                                                          \
            if (w.place_width == width) {                                                                              \
                weave_rows(w, inputs_apart, taps0, taps1, w.stride, width);                                            \
            }                                                                                                          \
        }                                                                                                              \
    }
KVB_EACH_TRELLIS(WEAVE)
#undef WEAVE
#undef WEAVE_AT

static void weave(int states, kvb_weft w, size_t inputs_apart) {
#define CALL(n, memory, taps0, taps1)                                                                                  \
    if (states == (n)) {                                                                                               \
        weave_##n(w, inputs_apart);                                                                                    \
    }
    KVB_EACH_TRELLIS(CALL)
#undef CALL
}

static size_t plane_bytes(const kvb_packed_run *run, int plane) {
    return (size_t)kvb_layout_plane_bytes(run->tables->head_dim, run->tables->plane_widths[plane]);
}

static const uint8_t *plane_of(const kvb_packed_run *run, int plane) {
    return run->packed.planes[plane] + run->first_row * plane_bytes(run, plane);
}

/* Whole vectors are written and read there, which is slow across cache lines. */
static uint8_t *align(uint8_t *p) {
    return p + (64 - (uintptr_t)p % 64) % 64;
}

/* Any instruction set's way, on copies that may be read beyond their ends. */
static void weave_copies(kvb_weft w, uint8_t *scratch) {
    int n = w.run->n_rows;
    size_t apart = margin + w.stride + 8, bytes = (size_t)n * w.stride * (size_t)w.place_width;
    uint8_t *places = scratch + (size_t)n * apart + step;
    copy_inputs(w.inputs, n, w.stride, apart, scratch);
    w.inputs = scratch + margin;
    if (w.place_width) {
        memcpy(places, w.places, bytes);
        w.places = places;
    }
    weave(w.run->tables->trellis_states, w, apart);
}

/* Rows as a byte for each coordinate; the places are what the kernel asks for. */
static kvb_packed_run make_bytes(const kvb_packed_run *run, uint8_t *scratch, const kvb_cpu_ops *ops) {
    const kvb_codec_tables *tables = run->tables;
    kvb_weft w = {.run = run, .inputs = plane_of(run, 0), .places = plane_of(run, 1), .stride = plane_bytes(run, 0)};
    w.tops = tables->n_planes > 2 ? plane_of(run, 2) : NULL;
    w.place_width = tables->plane_widths[1];
    w.byte_bits = tables->bytes->byte_bits;
    w.out = align(scratch);
    ops->weave(&w);
    kvb_packed_run bytes = {.tables = tables->bytes, .n_rows = run->n_rows, .next_width = w.place_width};
    bytes.next[0] = run->next[1];
    bytes.packed.planes[0] = w.out;
    bytes.packed.scales = (uint8_t *)run->packed.scales + run->first_row * kvb_dtype_bytes(tables->scale_dtype);
    return bytes;
}

kvb_packed_run kvb_straighten(const kvb_packed_run *run, uint8_t *scratch, const kvb_cpu_ops *ops) {
    const kvb_codec_tables *tables = run->tables;
    if (kvb_straight_tables(tables, ops) == tables->bytes) {
        return make_bytes(run, scratch, ops);
    }
    int place_bits = tables->bits - 2, is_woven = place_bits <= 3;
    kvb_weft w = {.run = run, .inputs = plane_of(run, 0), .stride = plane_bytes(run, 0)};
    w.place_width = is_woven ? tables->plane_widths[1] : 0;
    w.places = is_woven ? plane_of(run, 1) : NULL;
    size_t n = (size_t)run->n_rows, copied = n * (margin + w.stride + 8) + step;
    w.out = align(scratch + copied + (is_woven ? n * plane_bytes(run, 1) + step : 0));
    if (!ops->weave || !ops->weave(&w)) {
        weave_copies(w, scratch);
    }
    const uint8_t *last = tables->n_planes > 2 ? plane_of(run, 2) : NULL;
    kvb_packed_run straight = {.tables = tables->straight, .n_rows = run->n_rows};
    straight.next[0] = run->next[1]; /* of the places; inputs are asked for in weaving */
    straight.next_width = is_woven ? w.place_width : 0;
    straight.next[is_woven ? 1 : 2] = tables->n_planes > 2 ? run->next[2] : NULL;
    straight.packed.planes[is_woven ? 0 : 1] = w.out;
    straight.packed.planes[is_woven ? 1 : 0] = (uint8_t *)(is_woven ? last : plane_of(run, 1));
    straight.packed.planes[2] = (uint8_t *)(is_woven ? NULL : last);
    straight.packed.scales = (uint8_t *)run->packed.scales + run->first_row * kvb_dtype_bytes(tables->scale_dtype);
    return straight;
}
