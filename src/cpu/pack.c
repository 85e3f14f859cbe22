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

void KVB_STEP(pack)(const kvb_codec_tables *tables, const uint8_t *codes, uint8_t *const planes[KVB_MAX_PLANES]) {
    int n = tables->head_dim;
    switch (tables->bits) {
    case 1:
        pack_plane(codes, n, 0, 1, planes[0]);
        break;
    case 2:
        pack_plane(codes, n, 0, 2, planes[0]);
        break;
    case 3:
        pack_plane(codes, n, 0, 2, planes[0]);
        pack_plane(codes, n, 2, 1, planes[1]);
        break;
    case 4:
        pack_plane(codes, n, 0, 4, planes[0]);
        break;
    case 5:
        pack_plane(codes, n, 0, 4, planes[0]);
        pack_plane(codes, n, 4, 1, planes[1]);
        break;
    case 6:
        pack_plane(codes, n, 0, 4, planes[0]);
        pack_plane(codes, n, 4, 2, planes[1]);
        break;
    case 7:
        pack_plane(codes, n, 0, 4, planes[0]);
        pack_plane(codes, n, 4, 2, planes[1]);
        pack_plane(codes, n, 6, 1, planes[2]);
        break;
    default:
        memcpy(planes[0], codes, (size_t)n);
    }
}

void KVB_STEP(unpack)(const kvb_codec_tables *tables, const uint8_t *const planes[KVB_MAX_PLANES], uint8_t *codes) {
    int n = tables->head_dim;
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
