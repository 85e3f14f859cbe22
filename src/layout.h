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

KVB_STATIC_ASSERT(sizeof(float) == 4 && sizeof(uint16_t) == 2, "scales are 4 or 2 bytes");
KVB_STATIC_ASSERT(KVB_MAX_LEVELS == 1 << KVB_MAX_BITS, "one level per code");
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

/* Bytes of one row of a plane: also the distance S between the coordinates that share a byte. */
KVB_LAYOUT_FUNCTION int kvb_layout_plane_bytes(int head_dim, int width) {
    return head_dim * width / 8;
}

/* Bytes of one row of all planes; without the scale. */
KVB_LAYOUT_FUNCTION int kvb_layout_code_bytes(int head_dim, int bits) {
    return head_dim * bits / 8;
}

#endif
