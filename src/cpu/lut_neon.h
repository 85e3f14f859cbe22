/* Codes to fixed-point centroids, 16 at a time, by look-ups of bytes: one table for the low bytes and one for the high
 * ones, in up to eight registers each. */
#ifndef KVB_CPU_LUT_NEON_H
#define KVB_CPU_LUT_NEON_H

#include "cpu/each_width.h"
#include "cpu/vec_neon.h"
#include "jobs.h"

#define LUT_CODES 16 /* codes of a look-up: two vectors of 8 centroids each */

typedef uint8x16_t vcodes;
typedef int16x8_t vwords;

static inline vcodes vcodes_load(const uint8_t *from) {
    return vld1q_u8(from);
}

/* Entries 64 i to 64 i + 63, as many as the width needs. All 256 are too many for the registers, but the upper half
 * says all of an odd codebook. */
typedef struct lut {
    uint8x16x4_t low[4], high[4];
    int is_odd;
} lut;

/* lut_read serves every codebook. */
static inline int lut_is_possible(const kvb_codec_tables *tables) {
    (void)tables;
    return 1;
}

/* 1 when the tables take up few registers. */
static inline int lut_leaves_room(const kvb_codec_tables *tables) {
    return tables->bits <= 4;
}

static inline __attribute__((always_inline)) lut lut_open(const kvb_codec_tables *tables, int bits) {
    lut l = {.is_odd = tables->fixed_is_odd};
    for (int i = 0; i == 0 || 16 * i < 1 << bits; i++) {
        l.low[i / 4].val[i % 4] = vld1q_u8(tables->fixed_bytes[0] + 16 * i);
        l.high[i / 4].val[i % 4] = vld1q_u8(tables->fixed_bytes[1] + 16 * i);
    }
    return l;
}

/* One byte of each of 16 entries, from the first `n` of a table. */
static inline __attribute__((always_inline)) uint8x16_t lut_bytes(const uint8x16x4_t *table, int n, uint8x16_t index) {
    if (n <= 16) {
        return vqtbl1q_u8(table[0].val[0], index);
    }
    if (n == 32) {
        return vqtbl2q_u8((uint8x16x2_t){{table[0].val[0], table[0].val[1]}}, index);
    }
    uint8x16_t found = vqtbl4q_u8(table[0], index); /* 0 for an index behind the table, where TBX changes nothing */
    for (int i = 1; i < n / 64; i++) {
        index = vsubq_u8(index, vdupq_n_u8(64));
        found = vqtbx4q_u8(found, table[i], index);
    }
    return found;
}

/* 16 codes in order: first = c0 .. c7, second = c8 .. c15. */
static inline __attribute__((always_inline)) void lut_read(const lut *l, int bits, vcodes codes, vwords *first,
                                                           vwords *second) {
    if (bits < 8 || !l->is_odd) {
        uint8x16_t low = lut_bytes(l->low, 1 << bits, codes), high = lut_bytes(l->high, 1 << bits, codes);
        *first = vreinterpretq_s16_u8(vzip1q_u8(low, high));
        *second = vreinterpretq_s16_u8(vzip2q_u8(low, high));
        return;
    }
    /* The lower half is the upper one from its end, negated. */
    uint8x16_t is_lower = vcltq_u8(codes, vdupq_n_u8(128));
    uint8x16_t index = vandq_u8(veorq_u8(codes, is_lower), vdupq_n_u8(127));
    uint8x16_t low = lut_bytes(l->low + 2, 128, index), high = lut_bytes(l->high + 2, 128, index);
    vwords minus = vreinterpretq_s16_u8(vzip1q_u8(is_lower, is_lower));
    *first = vsubq_s16(veorq_s16(vreinterpretq_s16_u8(vzip1q_u8(low, high)), minus), minus);
    minus = vreinterpretq_s16_u8(vzip2q_u8(is_lower, is_lower));
    *second = vsubq_s16(veorq_s16(vreinterpretq_s16_u8(vzip2q_u8(low, high)), minus), minus);
}

/* Four vectors of four floats, in the order of codes. */
static inline __attribute__((always_inline)) void lut_floats(vwords first, vwords second, vf out[4]) {
    out[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(first)));
    out[1] = vcvtq_f32_s32(vmovl_high_s16(first));
    out[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(second)));
    out[3] = vcvtq_f32_s32(vmovl_high_s16(second));
}

#endif
