/* binary16 and bfloat16 conversions, over all 65536 patterns. */
#include "check.h"
#include "oracle.h"

#include <math.h>
#include <string.h>

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Sign, exponent and mantissa as the standard defines them. */
static double half_value(unsigned pattern) {
    int exponent = pattern >> 10 & 31, mantissa = pattern & 1023;
    double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    if (exponent == 31) {
        magnitude = mantissa ? NAN : INFINITY;
    }
    return pattern & 0x8000 ? -magnitude : magnitude;
}

static void every_half_widens_to_its_value(void **state) {
    (void)state;
    for (unsigned pattern = 0; pattern < 65536; pattern++) {
        float value = kvb_f16_to_f32((uint16_t)pattern);
        double expected = half_value(pattern);
        if (isnan(expected)) {
            assert_true(isnan(value) && (bits_of(value) & 0x00400000u)); /* quiet */
        } else {
            assert_int_equal(bits_of(value), bits_of((float)expected));
        }
    }
}

static void every_half_survives_both_ways(void **state) {
    (void)state;
    for (unsigned pattern = 0; pattern < 65536; pattern++) {
        unsigned back = kvb_f32_to_f16(kvb_f16_to_f32((uint16_t)pattern));
        unsigned quiet = isnan(half_value(pattern)) ? 0x200 : 0;
        assert_int_equal(back, pattern | quiet);
    }
}

/* Around every boundary between two halves: just below, the tie, just above. */
static void narrowing_rounds_to_nearest_even(void **state) {
    (void)state;
    for (unsigned pattern = 0; pattern < 0x7c00; pattern++) {
        double upper = pattern == 0x7bff ? 65536.0 : half_value(pattern + 1);
        float tie = (float)(0.5 * (half_value(pattern) + upper));
        unsigned even = pattern + (pattern & 1);
        for (unsigned sign = 0; sign <= 0x8000; sign += 0x8000) {
            float s = sign ? -1.0f : 1.0f;
            assert_int_equal(kvb_f32_to_f16(s * tie), even | sign);
            assert_int_equal(kvb_f32_to_f16(s * nextafterf(tie, 0.0f)), pattern | sign);
            assert_int_equal(kvb_f32_to_f16(s * nextafterf(tie, 1e9f)), (pattern + 1) | sign);
        }
    }
}

static void narrowing_agrees_with_definition_on_random_floats(void **state) {
    (void)state;
    oracle_random random = {1};
    for (int i = 0; i < 1000000; i++) {
        float value = float_of((uint32_t)oracle_next(&random));
        if (!isnan(value)) {
            double expected = oracle_round_half(value);
            assert_true(half_value(kvb_f32_to_f16(value)) == expected);
        } else {
            assert_true(isnan(half_value(kvb_f32_to_f16(value))));
        }
    }
}

static void narrowing_overflows_to_infinity(void **state) {
    (void)state;
    assert_int_equal(kvb_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(kvb_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(kvb_f32_to_f16(-INFINITY), 0xfc00);
}

#ifdef __FLT16_MANT_DIG__
static void halves_agree_with_the_compiler(void **state) {
    (void)state;
    for (unsigned pattern = 0; pattern < 65536; pattern++) {
        uint16_t bits = (uint16_t)pattern;
        _Float16 half;
        memcpy(&half, &bits, sizeof half);
        float value = kvb_f16_to_f32(bits);
        assert_true(isnan(value) ? isnan((float)half) : bits_of(value) == bits_of((float)half));
    }
    oracle_random random = {2};
    for (int i = 0; i < 1000000; i++) {
        float value = float_of((uint32_t)oracle_next(&random));
        _Float16 half = (_Float16)value;
        uint16_t bits;
        memcpy(&bits, &half, sizeof bits);
        assert_true(isnan(value) || kvb_f32_to_f16(value) == bits);
    }
}
#endif

static void every_bfloat_is_the_upper_half_of_a_float(void **state) {
    (void)state;
    for (uint32_t pattern = 0; pattern < 65536; pattern++) {
        float value = kvb_bf16_to_f32((uint16_t)pattern);
        int is_nan = (pattern & 0x7fff) > 0x7f80;
        assert_int_equal(bits_of(value), pattern << 16 | (is_nan ? 0x00400000u : 0));
        assert_int_equal(kvb_f32_to_bf16(value), pattern | (is_nan ? 0x40u : 0));
    }
}

static void bfloat_narrowing_rounds_to_nearest_even(void **state) {
    (void)state;
    for (uint32_t pattern = 0; pattern < 65536; pattern++) {
        if ((pattern & 0x7fff) >= 0x7f80) {
            continue;
        }
        uint32_t low = pattern << 16;
        assert_int_equal(kvb_f32_to_bf16(float_of(low | 0x7fff)), pattern);
        assert_int_equal(kvb_f32_to_bf16(float_of(low | 0x8000)), pattern + (pattern & 1));
        assert_int_equal(kvb_f32_to_bf16(float_of(low | 0x8001)), pattern + 1);
    }
    assert_true(isnan(kvb_bf16_to_f32(kvb_f32_to_bf16(float_of(0x7f800001)))));
}

static void dtypes_have_their_sizes(void **state) {
    (void)state;
    assert_int_equal(kvb_dtype_bytes(KVB_F32), 4);
    assert_int_equal(kvb_dtype_bytes(KVB_F16), 2);
    assert_int_equal(kvb_dtype_bytes(KVB_BF16), 2);
    assert_int_equal(kvb_dtype_bytes((kvb_dtype)3), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_widens_to_its_value),
        cmocka_unit_test(every_half_survives_both_ways),
        cmocka_unit_test(narrowing_rounds_to_nearest_even),
        cmocka_unit_test(narrowing_agrees_with_definition_on_random_floats),
        cmocka_unit_test(narrowing_overflows_to_infinity),
#ifdef __FLT16_MANT_DIG__
        cmocka_unit_test(halves_agree_with_the_compiler),
#endif
        cmocka_unit_test(every_bfloat_is_the_upper_half_of_a_float),
        cmocka_unit_test(bfloat_narrowing_rounds_to_nearest_even),
        cmocka_unit_test(dtypes_have_their_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
