/* Codes to planes and back, in the strided order of layout.h. Widths and shifts are constants in each instance, so that
 * compilers make byte vectors of the loops. */
#include "cpu/ops.h"
#include "cpu/step.h"

#include <string.h>

#ifndef KVB_OWN_PLANES /* the file that includes this one brings its own loops */
static inline void pack_plane(const uint8_t *restrict codes, int head_dim, int shift, int width,
                              uint8_t *restrict plane) {
    int stride = kvb_layout_plane_bytes(head_dim, width);
    const uint8_t mask = (uint8_t)((1 << width) - 1);
    for (int j = 0; j < stride; j++) {
        uint8_t byte = 0;
        for (int field = 0; field < 8 / width; field++) {
            uint8_t bits = (uint8_t)(codes[j + field * stride] >> shift) & mask;
            byte |= (uint8_t)(bits << (field * width));
        }
        plane[j] = byte;
    }
}

/* `shift` 0 is the first plane: it sets the codes, the others add their bits. */
static inline void unpack_plane(const uint8_t *restrict plane, int head_dim, int shift, int width,
                                uint8_t *restrict codes) {
    int stride = kvb_layout_plane_bytes(head_dim, width);
    const uint8_t mask = (uint8_t)((1 << width) - 1);
    for (int field = 0; field < 8 / width; field++) {
        uint8_t *out = codes + field * stride;
        for (int j = 0; j < stride; j++) {
            uint8_t bits = (uint8_t)(plane[j] >> (field * width)) & mask;
            out[j] = shift ? (uint8_t)(out[j] | bits << shift) : bits;
        }
    }
}

#endif

/* Bits `from` and above, `bits` of them, of every code, into the planes of such a code: 1 to 6. Seven need a third
 * plane, which a path's places never have: kept apart, so that no instance names a plane that is not there. */
static inline __attribute__((always_inline)) void pack_planes(const uint8_t *codes, int n, int from, int bits,
                                                              uint8_t *const *planes) {
    switch (bits) {
    case 1:
        pack_plane(codes, n, from, 1, planes[0]);
        break;
    case 2:
        pack_plane(codes, n, from, 2, planes[0]);
        break;
    case 3:
        pack_plane(codes, n, from, 2, planes[0]);
        pack_plane(codes, n, from + 2, 1, planes[1]);
        break;
    case 4:
        pack_plane(codes, n, from, 4, planes[0]);
        break;
    case 5:
        pack_plane(codes, n, from, 4, planes[0]);
        pack_plane(codes, n, from + 4, 1, planes[1]);
        break;
    default:
        pack_plane(codes, n, from, 4, planes[0]);
        pack_plane(codes, n, from + 4, 2, planes[1]);
    }
}

void KVB_STEP(pack)(const kvb_codec_tables *tables, const uint8_t *codes, uint8_t *const planes[KVB_MAX_PLANES]) {
    int n = tables->head_dim;
    if (tables->bits == 8) {
        memcpy(planes[0], codes, (size_t)n);
    } else if (tables->bits == 7) {
        pack_planes(codes, n, 0, 6, planes);
        pack_plane(codes, n, 6, 1, planes[2]);
    } else {
        pack_planes(codes, n, 0, tables->bits, planes);
    }
}

/* A level's number is 4 * its place in its subset + the subset: only the place is stored. */
void KVB_STEP(pack_path)(const kvb_codec_tables *tables, const uint8_t *codes, const uint8_t *path,
                         uint8_t *const planes[KVB_MAX_PLANES]) {
    int n = tables->head_dim;
    pack_plane(path, n, 0, 1, planes[0]);
    pack_planes(codes, n, 2, tables->bits - 2, planes + 1);
}

enum { most_stride = KVB_MAX_HEAD_DIM / 8 };

/* One bit of every coordinate's subset: the inputs of the coordinates before it that `taps` names. `path` has
 * KVB_MAX_TRELLIS_MEMORY bytes before its first. taps is a constant. */
static inline __attribute__((always_inline)) void trace_bit(const uint8_t *restrict path, int stride, uint32_t taps,
                                                            uint8_t *restrict plane) {
    for (int j = 0; j < stride; j++) {
        uint8_t bits = 0;
        for (int lag = 0; lag <= KVB_MAX_TRELLIS_MEMORY; lag++) {
            bits ^= taps >> lag & 1 ? path[j - lag] : 0;
        }
        plane[j] = bits;
    }
}

/* Subsets from the plane of inputs: a coordinate before is a byte before, and before the first byte comes the last
 * one, a field further up; before the first coordinate come zeros. */
static void trace_path(const kvb_codec_tables *tables, const uint8_t *plane, uint8_t subset[2][most_stride]) {
    enum { before = KVB_MAX_TRELLIS_MEMORY };
    int stride = kvb_layout_plane_bytes(tables->head_dim, 1);
    uint8_t bytes[before + most_stride], *path = bytes + before;
    memcpy(path, plane, (size_t)stride);
    for (int lag = 1; lag <= before; lag++) {
        bytes[before - lag] = (uint8_t)(bytes[before - lag + stride] << 1);
    }
#define TRACE(states, memory, taps0, taps1)                                                                            \
    if (tables->trellis_states == (states)) {                                                                          \
        trace_bit(path, stride, taps0, subset[0]);                                                                     \
        trace_bit(path, stride, taps1, subset[1]);                                                                     \
    }
    KVB_EACH_TRELLIS(TRACE)
#undef TRACE
}

static void unpack_path(const kvb_codec_tables *tables, const uint8_t *const planes[KVB_MAX_PLANES], uint8_t *codes) {
    int n = tables->head_dim;
    uint8_t subset[2][most_stride];
    trace_path(tables, planes[0], subset);
    unpack_plane(subset[0], n, 0, 1, codes);
    unpack_plane(subset[1], n, 1, 1, codes);
    switch (tables->bits - 2) {
    case 1:
        unpack_plane(planes[1], n, 2, 1, codes);
        break;
    case 2:
        unpack_plane(planes[1], n, 2, 2, codes);
        break;
    case 3:
        unpack_plane(planes[1], n, 2, 2, codes);
        unpack_plane(planes[2], n, 4, 1, codes);
        break;
    case 4:
        unpack_plane(planes[1], n, 2, 4, codes);
        break;
    default:
        unpack_plane(planes[1], n, 2, 4, codes);
        unpack_plane(planes[2], n, 6, 1, codes);
    }
}

void KVB_STEP(unpack)(const kvb_codec_tables *tables, const uint8_t *const planes[KVB_MAX_PLANES], uint8_t *codes) {
    int n = tables->head_dim;
    if (tables->trellis_states) {
        unpack_path(tables, planes, codes);
        return;
    }
    switch (tables->bits) {
    case 1:
        unpack_plane(planes[0], n, 0, 1, codes);
        break;
    case 2:
        unpack_plane(planes[0], n, 0, 2, codes);
        break;
    case 3:
        unpack_plane(planes[0], n, 0, 2, codes);
        unpack_plane(planes[1], n, 2, 1, codes);
        break;
    case 4:
        unpack_plane(planes[0], n, 0, 4, codes);
        break;
    case 5:
        unpack_plane(planes[0], n, 0, 4, codes);
        unpack_plane(planes[1], n, 4, 1, codes);
        break;
    case 6:
        unpack_plane(planes[0], n, 0, 4, codes);
        unpack_plane(planes[1], n, 4, 2, codes);
        break;
    case 7:
        unpack_plane(planes[0], n, 0, 4, codes);
        unpack_plane(planes[1], n, 4, 2, codes);
        unpack_plane(planes[2], n, 6, 1, codes);
        break;
    default:
        memcpy(codes, planes[0], (size_t)n);
    }
}
