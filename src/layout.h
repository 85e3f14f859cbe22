/* Where the bits of a packed row lie (docs/format.md, "Planes"): the one statement of it, for C and for CUDA.
 *
 * A b-bit code is cut into planes of 8, 4, 2 and 1 bits, low bits first. A row of a plane of width w is S = d*w/8
 * bytes, and byte j holds coordinates j, j+S, j+2S, ... in rising bit position, so that packing and unpacking are byte
 * loops over contiguous memory. */
#ifndef KVB_LAYOUT_H
#define KVB_LAYOUT_H

#include "kvbits/kvbits.h"

#if defined(__CUDACC__)
#define KVB_LAYOUT_FUNCTION static inline __host__ __device__
#define KVB_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define KVB_LAYOUT_FUNCTION static inline
#define KVB_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packed rows are little-endian, and kvbits does not swap bytes: a little-endian machine is needed"
#endif

#define KVB_SUM_LANES 16 /* of the fixed summation tree */
#define KVB_MAX_HADAMARD_ORDER 36
#define KVB_MIN_ROTATED_DIM 32

/* Ungerboeck's trellises for amplitudes as shift registers (docs/format.md, section 3): states, bits of the state, and
 * the taps of bits 0 and 1 of a subset's number, in octal as they are printed; bit k is the input of k coordinates
 * before. */
#define KVB_MAX_TRELLIS_STATES 256
#define KVB_MAX_TRELLIS_MEMORY 8
#define KVB_EACH_TRELLIS(DO) DO(8, 3, 04, 013) DO(16, 4, 04, 023) DO(64, 6, 024, 0103) DO(256, 8, 0362, 0515)

KVB_STATIC_ASSERT(sizeof(float) == 4 && sizeof(uint16_t) == 2, "scales are 4 or 2 bytes");
KVB_STATIC_ASSERT(KVB_MAX_LEVELS == 1 << KVB_MAX_BITS, "one level per code");
KVB_STATIC_ASSERT(2 << KVB_MAX_TRELLIS_BITS <= KVB_MAX_LEVELS, "a trellis code has two levels per code");
KVB_STATIC_ASSERT(KVB_MAX_LEVELS <= 256, "a code fits a byte");
KVB_STATIC_ASSERT(KVB_MIN_HEAD_DIM % 8 == 0 && KVB_MAX_HEAD_DIM % 8 == 0, "a row of a one-bit plane is whole bytes");

/* The planes of a code of `bits` bits, low bits first; their number, 0 for illegal bits. */
KVB_LAYOUT_FUNCTION int kvb_layout_planes(int bits, int widths[KVB_MAX_PLANES]) {
    int n = 0;
    if (bits < 1 || bits > KVB_MAX_BITS) {
        return 0;
    }
    if (bits == 8) {
        widths[n++] = 8;
        return n;
    }
    if (bits & 4) {
        widths[n++] = 4;
    }
    if (bits & 2) {
        widths[n++] = 2;
    }
    if (bits & 1) {
        widths[n++] = 1;
    }
    return n;
}

/* The planes of a trellis code: the state's bit, then those of the level's place in its subset (docs/format.md). */
KVB_LAYOUT_FUNCTION int kvb_layout_trellis_planes(int bits, int widths[KVB_MAX_PLANES]) {
    int low[KVB_MAX_PLANES] = {0};
    if (bits < KVB_MIN_TRELLIS_BITS || bits > KVB_MAX_TRELLIS_BITS) {
        return 0;
    }
    int n = kvb_layout_planes(bits - 1, low);
    widths[0] = 1;
    for (int p = 0; p + 1 < KVB_MAX_PLANES; p++) {
        widths[p + 1] = low[p];
    }
    return n + 1;
}

/* Bytes of one row of a plane: also the distance S between the coordinates that share a byte. */
KVB_LAYOUT_FUNCTION int kvb_layout_plane_bytes(int head_dim, int width) {
    return head_dim * width / 8;
}

/* Bytes of one row of all planes; without the scale. */
KVB_LAYOUT_FUNCTION int kvb_layout_code_bytes(int head_dim, int bits) {
    return head_dim * bits / 8;
}

#endif
