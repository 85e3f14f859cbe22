#include "half.h"

#include "kvbits/kvbits.h"

size_t kvb_dtype_bytes(kvb_dtype dtype) {
    switch (dtype) {
    case KVB_F32:
        return 4;
    case KVB_F16:
    case KVB_BF16:
        return 2;
    }
    return 0;
}

float kvb_f16_to_f32(uint16_t half) {
    return kvb_half_to_float(half);
}

uint16_t kvb_f32_to_f16(float value) {
    return kvb_float_to_half(value);
}

float kvb_bf16_to_f32(uint16_t bfloat) {
    return kvb_bfloat_to_float(bfloat);
}

uint16_t kvb_f32_to_bf16(float value) {
    return kvb_float_to_bfloat(value);
}
