/* Verbs of Advanced SIMD for attention in fixed point: vectors of codes, of 16-bit words and of 32-bit sums. A block of
 * LUT_CODES codes is two vectors of words and four of floats, all in the order of coordinates. */
#ifndef KVB_CPU_FIXED_NEON_H
#define KVB_CPU_FIXED_NEON_H

#include "cpu/lut_neon.h"
#include "cpu/ops.h"
#include "cpu/vec_fused_neon.h"

typedef int32x4_t vsums;

/* ---- Codes ---- */

static inline vcodes vcodes_zero(void) {
    return vdupq_n_u8(0);
}

static inline vcodes vcodes_or(vcodes a, vcodes b) {
    return vorrq_u8(a, b);
}

/* Of each byte the `width` bits from `down` on, at bit `up`: constants, for which compilers find immediate shifts. */
static inline __attribute__((always_inline)) vcodes vcodes_shift(vcodes bytes, int down, int width, int up) {
    bytes = down ? vshlq_u8(bytes, vdupq_n_s8((int8_t)-down)) : bytes;
    bytes = down + width < 8 ? vandq_u8(bytes, vdupq_n_u8((uint8_t)((1 << width) - 1))) : bytes;
    return up ? vshlq_u8(bytes, vdupq_n_s8((int8_t)up)) : bytes;
}

/* Each eight bytes by a number of bits of their own; what crosses from byte to byte is up to the caller. */
static inline vcodes vcodes_shifts(const uint8_t down[2]) {
    return vreinterpretq_u8_s64(vcombine_s64(vcreate_s64((uint64_t)-down[0]), vcreate_s64((uint64_t)-down[1])));
}

static inline vcodes vcodes_down(vcodes bytes, vcodes shifts) {
    return vreinterpretq_u8_u64(vshlq_u64(vreinterpretq_u64_u8(bytes), vreinterpretq_s64_u8(shifts)));
}

static inline vcodes vcodes_load_twice(const uint8_t *from) {
    uint8x8_t once = vld1_u8(from);
    return vcombine_u8(once, once);
}

static inline vcodes vcodes_load_pieces(const uint8_t *const from[2], size_t at) {
    return vcombine_u8(vld1_u8(from[0] + at), vld1_u8(from[1] + at));
}

static inline void vcodes_unpack(const kvb_codec_tables *tables, const uint8_t *const planes[KVB_MAX_PLANES],
                                 uint8_t *codes) {
    kvb_scalar_unpack(tables, planes, codes);
}

/* Where lut_read puts code i of a block. */
static inline int lut_word(int i) {
    return i;
}

/* ---- Floats ---- */

static inline vf vf_load_halves(const uint16_t *from) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
}

/* x where the weight is not 0, else 0, whatever x is. */
static inline vf vf_unless_zero(vf weight, vf x) {
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), vceqzq_f32(weight)));
}

/* Sums of the magnitudes of a block of a query that meet in a lane of vsums_add_block, in some order of lanes. */
static inline vf vf_lane_sums(const float *q) {
    vf low = vf_add(vf_abs(vf_load(q)), vf_abs(vf_load(q + 4)));
    return vf_add(low, vf_add(vf_abs(vf_load(q + 8)), vf_abs(vf_load(q + 12))));
}

/* ---- Words ---- */

/* Two vectors to integers, in their order. */
static inline void vwords_round_two(int16_t *out, vf low, vf high) {
    vst1q_s16(out, vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(low)), vcvtnq_s32_f32(high)));
}

/* A block of a query to integers, ordered as lut_read orders its words. */
static inline void vwords_round(int16_t *out, const vf x[4]) {
    vwords_round_two(out, x[0], x[1]);
    vwords_round_two(out + 8, x[2], x[3]);
}

/* A block of two rows of values: c0-c7 of both, then c8-c15 of both. */
static inline __attribute__((always_inline)) void vwords_read_pair(const lut *l, int bits, vcodes even, vcodes odd,
                                                                   vwords *out, int step) {
    lut_read(l, bits, even, &out[0], &out[2 * step]);
    lut_read(l, bits, odd, &out[step], &out[3 * step]);
}

/* Which of those vectors holds coordinate i of a block, and at which word. */
static inline int lut_pair_word(int i, int is_odd, int *word) {
    *word = i % 8;
    return i / 8 * 2 + is_odd;
}

/* The words of the lower or upper half as floats. */
#define VWORDS_WORTH 1.0f

static inline vf vwords_float(vwords x, int is_upper) {
    return vcvtq_f32_s32(is_upper ? vmovl_high_s16(x) : vmovl_s16(vget_low_s16(x)));
}

/* Half a block of floats, from the order of coordinates to that of vwords_float(lut_read) and back: the same. */
static inline void vwords_order(vf x[2]) {
    (void)x;
}

static inline void vwords_reorder(vf x[2]) {
    (void)x;
}

/* ---- Sums ---- */

static inline vsums vsums_zero(void) {
    return vdupq_n_s32(0);
}

static inline vsums vsums_add(vsums s, vwords a, vwords b) {
    return vmlal_high_s16(vmlal_s16(s, vget_low_s16(a), vget_low_s16(b)), a, b);
}

/* Both vectors of words of a block. */
static inline vsums vsums_add_block(vsums s, vwords a, vwords b, vwords c, vwords d) {
    return vsums_add(vsums_add(s, a, b), c, d);
}

static inline vf vsums_floats(vsums s) {
    return vcvtq_f32_s32(s);
}

/* Half a block of two rows of values, two vectors of vwords_read_pair, times two weights. */
static inline void vsums_add_pair(vsums s[2], const int16_t *weights, vwords first, vwords second) {
    vwords even = vld1q_dup_s16(weights), odd = vld1q_dup_s16(weights + 1);
    s[0] = vmlal_s16(s[0], vget_low_s16(first), vget_low_s16(even));
    s[1] = vmlal_high_s16(s[1], first, even);
    s[0] = vmlal_s16(s[0], vget_low_s16(second), vget_low_s16(odd));
    s[1] = vmlal_high_s16(s[1], second, odd);
}

/* The sums of half a block in the order of coordinates: those of four, and VSUMS_APART behind them of four more. */
#define VSUMS_APART 4

static inline vf vsums_low(const vsums s[2]) {
    return vsums_floats(s[0]);
}

static inline vf vsums_high(const vsums s[2]) {
    return vsums_floats(s[1]);
}

#endif
