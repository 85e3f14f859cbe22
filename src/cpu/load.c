/* Input values: as floats, and whether they are legal. */
#include "cpu/ops.h"
#include "cpu/step.h"
#include "half.h"

#include <string.h>

void KVB_STEP(load)(const void *values, kvb_dtype dtype, int n, float *out) {
    if (dtype == KVB_F32) {
        memcpy(out, values, (size_t)n * sizeof *out);
        return;
    }
    const uint16_t *halves = values;
    if (dtype == KVB_F16) {
        for (int i = 0; i < n; i++) {
            out[i] = kvb_half_to_float(halves[i]);
        }
    } else {
        for (int i = 0; i < n; i++) {
            out[i] = kvb_bfloat_to_float(halves[i]);
        }
    }
}

/* Patterns without the sign rise with the magnitude, Inf and NaN above all finite ones: one integer comparison each. */
int KVB_STEP(is_legal)(const void *values, kvb_dtype dtype, int n) {
    if (dtype == KVB_F32) {
        const int32_t limit = 0x5c800000; /* 2^58 */
        const float *floats = values;
        int32_t illegal = 0;
        for (int i = 0; i < n; i++) {
            illegal |= (int32_t)(kvb_bits_of(floats[i]) & 0x7fffffffu) > limit;
        }
        return !illegal;
    }
    const int16_t limit = dtype == KVB_F16 ? 0x7bff : 0x5c80; /* 65504; 2^58 */
    const uint16_t *halves = values;
    int16_t illegal = 0;
    for (int i = 0; i < n; i++) {
        illegal |= (int16_t)(halves[i] & 0x7fffu) > limit;
    }
    return !illegal;
}
