/* Packed rows as blocks of LUT_CODES codes: what keys and values in fixed point have in common. Comes after the verbs
 * of an instruction set, fixed_avx2.h or its like. */
#ifndef KVB_CPU_FIXED_CODES_H
#define KVB_CPU_FIXED_CODES_H

#include "cpu/ops.h"
#include "half.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { lanes = VEC_FLOATS, rows_at_once = 4 };

/* Of integers times centroids; leaves room for the roundings of the integers. */
static const float largest_sum = 0x1p31f * 0.99f;

INLINE int narrowest_plane(int bits) {
    return bits & 1 ? 1 : bits & 2 ? 2 : bits & 4 ? 4 : 8;
}

/* 1 when every LUT_CODES coordinates in a row lie in as many bytes in a row of each plane. */
INLINE int is_direct(int dim, int bits) {
    return dim * narrowest_plane(bits) / 8 % LUT_CODES == 0;
}

/* Blocks of a row, in the order in which they are read: direct ones field by field of the same bytes. */
INLINE int n_blocks(int dim) {
    return (dim + LUT_CODES - 1) / LUT_CODES;
}

INLINE int fields(int bits) {
    return 8 / narrowest_plane(bits);
}

/* The first coordinate of a block. */
INLINE int block_at(int dim, int bits, int block) {
    int n = fields(bits);
    return is_direct(dim, bits) ? block % n * (dim / n) + block / n * LUT_CODES : block * LUT_CODES;
}

/* The codes of a block straight from the planes of a row (layout.h); field = block % fields. */
INLINE vcodes read_codes(const uint8_t *const *planes, int dim, int bits, int field, int block) {
    int narrowest = narrowest_plane(bits), stride = dim * narrowest / 8, at = block / fields(bits) * LUT_CODES;
    int shift = 0, plane = 0;
    vcodes codes = vcodes_zero();
    for (int width = 8; width > 0; width /= 2) {
        if (bits == 8 ? width != 8 : width == 8 || !(bits & width)) {
            continue;
        }
        int times = width / narrowest, down = field / times * width;
        vcodes part = vcodes_load(planes[plane] + field % times * stride + at);
        part = vcodes_shift(part, down, width, shift);
        codes = plane ? vcodes_or(codes, part) : part;
        shift += width;
        plane++;
    }
    return codes;
}

/* Codes of a row, a byte each. */
static inline void unpack_row(const kvb_packed_run *run, int row, uint8_t *codes) {
    const uint8_t *planes[KVB_MAX_PLANES];
    for (int p = 0; p < run->tables->n_planes; p++) {
        size_t bytes = (size_t)kvb_layout_plane_bytes(run->tables->head_dim, run->tables->plane_widths[p]);
        planes[p] = run->packed.planes[p] + (run->first_row + (size_t)row) * bytes;
    }
    vcodes_unpack(run->tables, planes, codes);
}

/* Where the planes of a row lie. Codes that are not direct are unpacked into `codes` first, as a plane of whole bytes.
 */
INLINE void open_row(const kvb_packed_run *run, int bits, int row, uint8_t *codes,
                     const uint8_t *planes[KVB_MAX_PLANES]) {
    int dim = run->tables->head_dim, plane = 0;
    if (!is_direct(dim, bits)) {
        unpack_row(run, row, codes);
        planes[0] = codes;
        return;
    }
    for (int width = 8; width > 0; width /= 2) {
        if (bits == 8 ? width == 8 : width < 8 && (bits & width)) {
            planes[plane] = run->packed.planes[plane] + (run->first_row + (size_t)row) * (size_t)(dim * width / 8);
            plane++;
        }
    }
}

INLINE vcodes read_block(const uint8_t *const *planes, int dim, int bits, int field, int block, int direct) {
    return direct ? read_codes(planes, dim, bits, field, block) : vcodes_load(planes[0] + block * LUT_CODES);
}

/* The run's scales, 0 behind the last. */
static inline void read_scales(const kvb_packed_run *run, float scales[KVB_TILE_TOKENS]) {
    int n = run->n_rows, t = 0;
    if (run->tables->scale_dtype == KVB_F32) {
        memcpy(scales, (const float *)run->packed.scales + run->first_row, (size_t)n * sizeof *scales);
        t = n;
    } else {
        const uint16_t *halves = (const uint16_t *)run->packed.scales + run->first_row;
        for (; t + lanes <= n; t += lanes) {
            vf_store(scales + t, vf_load_halves(halves + t));
        }
        for (; t < n; t++) {
            scales[t] = kvb_half_to_float(halves[t]);
        }
    }
    for (; t < KVB_TILE_TOKENS; t++) {
        scales[t] = 0.0f;
    }
}

#endif
