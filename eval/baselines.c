#include "baselines.h"

#include <math.h>
#include <stddef.h>

/* ---- Blocks of ggml ---------------------------------------------------------------------------------------------- */

static float through_half(float value) {
    return kvb_f16_to_f32(kvb_f32_to_f16(value));
}

/* A stored scale of 0 gives zeros whatever the codes are; the codes themselves would come from a division by 0. */
static void clear(float *x, int n) {
    for (int i = 0; i < n; i++) {
        x[i] = 0;
    }
}

/* d comes from the signed value of largest magnitude, so that it is the one that gets the code 0 (-8 d). */
static void round_trip_q4_0(float *x, int n) {
    float largest = 0;
    for (int i = 0; i < n; i++) {
        if (fabsf(x[i]) > fabsf(largest)) {
            largest = x[i];
        }
    }
    const float d = largest / -8, stored = through_half(d);
    if (stored == 0) {
        clear(x, n);
        return;
    }
    const float inverse = 1 / d;
    for (int i = 0; i < n; i++) {
        const int code = (int)(x[i] * inverse + 8.5f);
        x[i] = (float)((code < 15 ? code : 15) - 8) * stored;
    }
}

static void round_trip_q8_0(float *x, int n) {
    float largest = 0;
    for (int i = 0; i < n; i++) {
        largest = fmaxf(largest, fabsf(x[i]));
    }
    const float d = largest / 127, stored = through_half(d);
    if (stored == 0) {
        clear(x, n);
        return;
    }
    const float inverse = 1 / d;
    for (int i = 0; i < n; i++) {
        x[i] = roundf(x[i] * inverse) * stored;
    }
}

/* ---- Groups with a zero point ------------------------------------------------------------------------------------ */

/* Scale (max - min) / 15 and zero point min, both binary16; codes are taken with the stored two. */
static void round_trip_int4(float *x, int n) {
    float low = x[0], high = x[0];
    for (int i = 1; i < n; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    const float scale = through_half((high - low) / 15), zero = through_half(low);
    for (int i = 0; i < n; i++) {
        const float code = scale > 0 ? rintf((x[i] - zero) / scale) : 0;
        x[i] = fminf(fmaxf(code, 0), 15) * scale + zero;
    }
}

/* ---- FP8 --------------------------------------------------------------------------------------------------------- */

uint8_t kvb_f32_to_e4m3(float value) {
    const uint8_t sign = signbit(value) ? 0x80 : 0;
    const float magnitude = fabsf(value);
    if (isnan(value)) {
        return sign | 0x7f;
    }
    if (magnitude >= 448) {
        return sign | 0x7e;
    }
    /* Below 2^-6 the step stays 2^-9. A mantissa that rounds up to 16 carries into the exponent by itself. */
    int exponent = magnitude < 0x1p-6f ? -6 : ilogbf(magnitude);
    const int steps = (int)rintf(ldexpf(magnitude, 3 - exponent));
    return (uint8_t)(sign | (((exponent + 6) << 3) + steps));
}

float kvb_e4m3_to_f32(uint8_t code) {
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    float magnitude;
    if ((code & 0x7f) == 0x7f) {
        magnitude = NAN;
    } else if (exponent == 0) {
        magnitude = ldexpf((float)mantissa, -9);
    } else {
        magnitude = ldexpf((float)(8 + mantissa), exponent - 10);
    }
    return code & 0x80 ? -magnitude : magnitude;
}

static void round_trip_fp8(float *x, int n) {
    for (int i = 0; i < n; i++) {
        x[i] = kvb_e4m3_to_f32(kvb_f32_to_e4m3(x[i]));
    }
}

/* ---- The table --------------------------------------------------------------------------------------------------- */

static const struct baseline {
    kvb_scheme_kind kind;
    const char *name;
    int bits;       /* per value */
    int block_bits; /* per block; 0: no blocks */
    void (*round_trip)(float *x, int n);
} baselines[] = {
    {KVB_SCHEME_Q4_0, "q4_0", 4, 16, round_trip_q4_0},
    {KVB_SCHEME_Q8_0, "q8_0", 8, 16, round_trip_q8_0},
    {KVB_SCHEME_FP8_E4M3, "fp8", 8, 0, round_trip_fp8},
    {KVB_SCHEME_INT4_G32, "int4", 4, 32, round_trip_int4},
};

static const struct baseline *find(kvb_scheme_kind kind) {
    for (size_t i = 0; i < sizeof baselines / sizeof *baselines; i++) {
        if (baselines[i].kind == kind) {
            return &baselines[i];
        }
    }
    return NULL;
}

int kvb_baseline_known(kvb_scheme_kind kind) {
    return find(kind) != NULL;
}

const char *kvb_baseline_name(kvb_scheme_kind kind) {
    const struct baseline *baseline = find(kind);
    return baseline ? baseline->name : NULL;
}

double kvb_baseline_bits(kvb_scheme_kind kind, int n) {
    const struct baseline *baseline = find(kind);
    if (!baseline || n < 1) {
        return 0;
    }
    const int blocks = (n - 1) / KVB_BASELINE_BLOCK + 1;
    return baseline->bits + (double)blocks * baseline->block_bits / n;
}

void kvb_baseline_round_trip(kvb_scheme_kind kind, float *row, int n) {
    const struct baseline *baseline = find(kind);
    for (int i = 0; baseline && i < n; i += KVB_BASELINE_BLOCK) {
        baseline->round_trip(row + i, n - i < KVB_BASELINE_BLOCK ? n - i : KVB_BASELINE_BLOCK);
    }
}
