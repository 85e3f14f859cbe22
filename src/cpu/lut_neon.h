/* Codes to fixed-point centroids, 16 at a time, by look-ups of bytes: one table for the low bytes and one for the high
 * ones, in up to eight registers each. */
#ifndef KVB_CPU_LUT_NEON_H
#define KVB_CPU_LUT_NEON_H

#include "cpu/vec_neon.h"
#include "jobs.h"

#define LUT_CODES 16 /* codes of a look-up: two vectors of 8 centroids each */

typedef struct lut {
    uint8x16x4_t low[4], high[4]; /* as much as the width needs */
} lut;

/* 256 entries are too many for the registers; of an odd codebook its upper half says it all. `bits` 9 stands for 8 and
 * a codebook that is not odd, here and below. */
static inline __attribute__((always_inline)) lut lut_open(const kvb_codec_tables *tables, int bits) {
    lut l;
    int first = bits == 8 ? 128 : 0, n = bits == 9 ? 256 : bits == 8 ? 128 : 1 << bits;
    for (int i = 0; 16 * i < n || i == 0; i++) {
        l.low[i / 4].val[i % 4] = vld1q_u8(tables->fixed_bytes[0] + first + 16 * i);
        l.high[i / 4].val[i % 4] = vld1q_u8(tables->fixed_bytes[1] + first + 16 * i);
    }
    return l;
}

/* One byte of each of 16 entries; `index` below the table's end. */
static inline __attribute__((always_inline)) uint8x16_t lut_bytes(const uint8x16x4_t *table, int bits,
                                                                  uint8x16_t index) {
    if (bits <= 4) {
        return vqtbl1q_u8(table[0].val[0], index);
    }
    if (bits == 5) {
        return vqtbl2q_u8((uint8x16x2_t){{table[0].val[0], table[0].val[1]}}, index);
    }
    uint8x16_t found = vqtbl4q_u8(table[0], index); /* 0 behind the table's 64 bytes; TBX leaves those as they are */
    int n = bits == 6 ? 1 : bits == 9 ? 4 : 2;
    for (int i = 1; i < n; i++) {
        index = vsubq_u8(index, vdupq_n_u8(64));
        found = vqtbx4q_u8(found, table[i], index);
    }
    return found;
}

/* 16 codes in order: first = c0 .. c7, second = c8 .. c15. */
static inline __attribute__((always_inline)) void lut_read(const lut *l, int bits, uint8x16_t codes, int16x8_t *first,
                                                           int16x8_t *second) {
    /* The lower half of an odd codebook is the upper one from its end, negated. */
    uint8x16_t is_lower = vcltq_u8(codes, vdupq_n_u8(128));
    uint8x16_t index = bits == 8 ? vandq_u8(veorq_u8(codes, is_lower), vdupq_n_u8(127)) : codes;
    uint8x16_t low = lut_bytes(l->low, bits, index), high = lut_bytes(l->high, bits, index);
    *first = vreinterpretq_s16_u8(vzip1q_u8(low, high));
    *second = vreinterpretq_s16_u8(vzip2q_u8(low, high));
    if (bits == 8) {
        int16x8_t signs = vreinterpretq_s16_u8(vzip1q_u8(is_lower, is_lower));
        *first = vsubq_s16(veorq_s16(*first, signs), signs);
        signs = vreinterpretq_s16_u8(vzip2q_u8(is_lower, is_lower));
        *second = vsubq_s16(veorq_s16(*second, signs), signs);
    }
}

/* Four vectors of four floats, in the order of codes. */
static inline __attribute__((always_inline)) void lut_floats(int16x8_t first, int16x8_t second, vf out[4]) {
    out[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(first)));
    out[1] = vcvtq_f32_s32(vmovl_high_s16(first));
    out[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(second)));
    out[3] = vcvtq_f32_s32(vmovl_high_s16(second));
}

/* Runs DO(bits) with the constant that tables->bits is, or 9. */
#define LUT_EACH_WIDTH(DO)                                                                                             \
    switch (tables->bits + (tables->bits == 8 && !tables->fixed_is_odd)) {                                             \
    case 1:                                                                                                            \
        DO(1);                                                                                                         \
        break;                                                                                                         \
    case 2:                                                                                                            \
        DO(2);                                                                                                         \
        break;                                                                                                         \
    case 3:                                                                                                            \
        DO(3);                                                                                                         \
        break;                                                                                                         \
    case 4:                                                                                                            \
        DO(4);                                                                                                         \
        break;                                                                                                         \
    case 5:                                                                                                            \
        DO(5);                                                                                                         \
        break;                                                                                                         \
    case 6:                                                                                                            \
        DO(6);                                                                                                         \
        break;                                                                                                         \
    case 7:                                                                                                            \
        DO(7);                                                                                                         \
        break;                                                                                                         \
    case 8:                                                                                                            \
        DO(8);                                                                                                         \
        break;                                                                                                         \
    default:                                                                                                           \
        DO(9);                                                                                                         \
    }

#endif
