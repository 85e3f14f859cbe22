/* Vector verbs of Advanced SIMD (AArch64): four floats. The bit-exact steps use these alone; none of them fuses or
 * reorders a rounding. */
#ifndef KVB_CPU_VEC_NEON_H
#define KVB_CPU_VEC_NEON_H

#include <arm_neon.h>
#include <string.h>

#define VEC_FLOATS 4

typedef float32x4_t vf;
typedef uint32x4_t vi;

static inline vf vf_load(const float *from) {
    return vld1q_f32(from);
}

static inline void vf_store(float *to, vf x) {
    vst1q_f32(to, x);
}

static inline vf vf_all(float x) {
    return vdupq_n_f32(x);
}

static inline vf vf_add(vf a, vf b) {
    return vaddq_f32(a, b);
}

static inline vf vf_sub(vf a, vf b) {
    return vsubq_f32(a, b);
}

static inline vf vf_mul(vf a, vf b) {
    return vmulq_f32(a, b);
}

/* Flips the bits that `masks` holds. */
static inline vf vf_flip(vf x, const uint32_t *masks) {
    return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x), vld1q_u32(masks)));
}

/* All butterflies inside a vector: distances 1 and, above a run of 2, 2. With b the partner of a, lanes become a + b
 * and b + (-a), which is b - a to the bit. */
static inline vf vf_butterflies(vf x, int run) {
    const uint32x4_t s = vreinterpretq_u32_u64(vdupq_n_u64((uint64_t)1 << 63));
    const uint32x4_t s2 = vreinterpretq_u32_u64(vcombine_u64(vcreate_u64(0), vcreate_u64(0x8000000080000000u)));
    vf negated = vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x), s));
    x = vaddq_f32(vrev64q_f32(x), negated);
    if (run > 2) {
        negated = vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x), s2));
        x = vaddq_f32(vextq_f32(x, x, 2), negated);
    }
    return x;
}

/* Folds the 16 lanes of the fixed summation tree by halves. */
static inline float vf_fold(const vf lanes[4]) {
    float32x4_t four = vaddq_f32(vaddq_f32(lanes[0], lanes[2]), vaddq_f32(lanes[1], lanes[3]));
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

/* ---- Search in a sorted tree of floats ---- */

static inline vi vi_zero(void) {
    return vdupq_n_u32(0);
}

/* Bytes of the floats of so many registers. */
static inline uint8x16_t vec_bytes(const float *from) {
    return vreinterpretq_u8_f32(vld1q_f32(from));
}

static inline uint8x16x4_t vec_bytes_of16(const float *from) {
    return (uint8x16x4_t){{vec_bytes(from), vec_bytes(from + 4), vec_bytes(from + 8), vec_bytes(from + 12)}};
}

/* The bytes of float `at`: 4 at, 4 at + 1, 4 at + 2, 4 at + 3. */
static inline uint8x16_t vi_byte_indices(vi at) {
    return vreinterpretq_u8_u32(vmlaq_n_u32(vdupq_n_u32(0x03020100), at, 0x04040404));
}

/* A level of the tree with at most 8, 16, 32 entries, in so many registers. */
static inline vf vf_pick8(const float *level, vi at) {
    uint8x16x2_t table = {{vec_bytes(level), vec_bytes(level + 4)}};
    return vreinterpretq_f32_u8(vqtbl2q_u8(table, vi_byte_indices(at)));
}

static inline vf vf_pick16(const float *level, vi at) {
    return vreinterpretq_f32_u8(vqtbl4q_u8(vec_bytes_of16(level), vi_byte_indices(at)));
}

static inline vf vf_pick32(const float *level, vi at) {
    uint8x16_t bytes = vi_byte_indices(at); /* an index behind a table finds 0 by TBL, and leaves a byte by TBX */
    uint8x16_t low = vqtbl4q_u8(vec_bytes_of16(level), bytes);
    return vreinterpretq_f32_u8(vqtbx4q_u8(low, vec_bytes_of16(level + 16), vsubq_u8(bytes, vdupq_n_u8(64))));
}

/* 2 * at + (x > level): the mask of a comparison is -1. */
static inline vi vi_descend(vi at, vf x, vf level) {
    return vsubq_u32(vaddq_u32(at, at), vcgtq_f32(x, level));
}

/* Values 0 .. 255 as bytes. */
static inline void vi_store_bytes(uint8_t *to, vi x) {
    uint16x4_t words = vmovn_u32(x);
    uint32_t four = vget_lane_u32(vreinterpret_u32_u8(vmovn_u16(vcombine_u16(words, words))), 0);
    memcpy(to, &four, sizeof four);
}

#endif
