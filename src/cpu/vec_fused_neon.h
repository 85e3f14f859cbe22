/* More verbs of Advanced SIMD, for attention alone: fused, rounded freely. */
#ifndef KVB_CPU_VEC_FUSED_NEON_H
#define KVB_CPU_VEC_FUSED_NEON_H

#include "cpu/vec_neon.h"

/* a * b + c */
static inline vf vf_fma(vf a, vf b, vf c) {
    return vfmaq_f32(c, a, b);
}

/* The larger; b where either is NaN. FMAX and FMAXNM would say otherwise. */
static inline vf vf_max(vf a, vf b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

static inline vf vf_min(vf a, vf b) {
    return vbslq_f32(vcltq_f32(a, b), a, b);
}

static inline vf vf_divide(vf a, vf b) {
    return vdivq_f32(a, b);
}

static inline vf vf_abs(vf x) {
    return vabsq_f32(x);
}

static inline vf vf_copy_sign(vf magnitude, vf sign) {
    return vbslq_f32(vdupq_n_u32(0x80000000u), sign, magnitude);
}

/* a < b ? yes : no; `no` where either is NaN. */
static inline vf vf_if_less(vf a, vf b, vf yes, vf no) {
    return vbslq_f32(vcltq_f32(a, b), yes, no);
}

/* Lane i: bit i of `bits` ? yes : no. */
static inline vf vf_if_bit(uint32_t bits, vf yes, vf no) {
    const uint32x4_t each = vmovl_u16(vcreate_u16(0x0008000400020001u));
    return vbslq_f32(vtstq_u32(vdupq_n_u32(bits), each), yes, no);
}

static inline vf vf_round(vf x) {
    return vrndnq_f32(x);
}

/* 2^n for whole n from -126 to 127. */
static inline vf vf_power_of_two(vf n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}

static inline float vf_sum(vf x) {
    return vaddvq_f32(x);
}

static inline float vf_largest(vf x) {
    return vmaxnmvq_f32(x);
}

/* out[i] = sum of the lanes of x[i], for VEC_FLOATS vectors. */
static inline void vf_store_sums(float *out, const vf x[VEC_FLOATS]) {
    vf_store(out, vpaddq_f32(vpaddq_f32(x[0], x[1]), vpaddq_f32(x[2], x[3])));
}

#endif
