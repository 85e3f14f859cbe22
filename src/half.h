/* binary16 and bfloat16, inline: one definition for the public functions and for every kernel. Conversions are masks
 * without branches so that compilers vectorize the loops around them, and widening has no subnormal operands, so that
 * it does not depend on the processor's flush-to-zero mode. A NaN becomes a quiet NaN. */
#ifndef KVB_HALF_H
#define KVB_HALF_H

#include <stdint.h>
#include <string.h>

#define KVB_F16_MAX 65504.0f
#define KVB_F16_NAN 0x7e00u
#define KVB_F32_NAN 0x7fc00000u

static inline uint32_t kvb_bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float kvb_float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float kvb_half_to_float(uint16_t half) {
    const uint32_t infinity = 0x7c00u << 13;
    uint32_t magnitude = (half & 0x7fffu) << 13;
    uint32_t exponent = magnitude & infinity;
    uint32_t is_special = 0u - (exponent == infinity), is_nan = 0u - (magnitude > infinity);
    uint32_t is_subnormal = 0u - (exponent == 0);
    uint32_t normal = magnitude + ((127u - 15u) << 23);
    uint32_t special = normal + (((128u - 16u) << 23) & is_special) + (0x00400000u & is_nan & ~magnitude);
    /* 2^-14 (1 + m) - 2^-14 = m 2^-14: exact, and renormalizes the subnormal half. */
    uint32_t subnormal = kvb_bits_of(kvb_float_of(normal + (1u << 23)) - 0x1p-14f);
    uint32_t result = (special & ~is_subnormal) | (subnormal & is_subnormal);
    return kvb_float_of(result | (uint32_t)(half & 0x8000u) << 16);
}

static inline uint16_t kvb_float_to_half(float value) {
    uint32_t bits = kvb_bits_of(value);
    int32_t magnitude = (int32_t)(bits & 0x7fffffffu);
    uint32_t is_nan = 0u - (magnitude > 0x7f800000), is_subnormal = 0u - (magnitude < 0x38800000);
    uint32_t is_large = 0u - (magnitude >= 0x477ff000); /* 65520 is halfway to 2^16 and rounds to the even side, Inf */
    uint32_t m = (uint32_t)magnitude;
    uint32_t nan = 0x7e00u | ((m >> 13) & 0x3ffu);
    /* Below 2^-14 the addition rounds at the last bit of a subnormal half. */
    uint32_t subnormal = kvb_bits_of(kvb_float_of(m & is_subnormal) + 0.5f) - 0x3f000000u;
    uint32_t normal = (m - ((127u - 15u) << 23) + 0xfffu + ((m >> 13) & 1u)) >> 13;
    uint32_t half = (normal & ~(is_large | is_subnormal)) | (subnormal & is_subnormal) | (0x7c00u & is_large);
    return (uint16_t)(half | (nan & is_nan) | ((bits >> 16) & 0x8000u));
}

static inline float kvb_bfloat_to_float(uint16_t bfloat) {
    uint32_t bits = (uint32_t)bfloat << 16;
    return kvb_float_of(bits | ((bits & 0x7fffffffu) > 0x7f800000u ? 0x00400000u : 0u));
}

static inline uint16_t kvb_float_to_bfloat(float value) {
    uint32_t bits = kvb_bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(bits >> 16 | 0x40u);
    }
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#endif
