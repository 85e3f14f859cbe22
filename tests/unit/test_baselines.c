/* The formats of other engines against blocks worked out by hand, and every FP8 code. */
#include "baselines.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* The first n of a block of 32, the rest zeros, against what they must read back as. */
static void expect_block(kvb_scheme_kind kind, const float *values, const float *expected, int n) {
    float block[32] = {0};
    memcpy(block, values, (size_t)n * sizeof *block);
    kvb_baseline_round_trip(kind, block, 32);
    for (int i = 0; i < n; i++) {
        if (block[i] != expected[i]) {
            fail_msg("kind %d: %.9g reads back as %.9g, not %.9g", (int)kind, values[i], block[i], expected[i]);
        }
    }
}

/* ---- Blocks by hand ---------------------------------------------------------------------------------------------- */

static void q4_0_reads_back_the_blocks_worked_out_by_hand(void **state) {
    (void)state;
    /* d = -8 / -8 = 1: code = trunc(x + 8.5), at most 15. The first of two equal magnitudes decides the sign. */
    const float a[] = {-8, 8, 7.4f, 0.5f, 0.49f, -0.5f, -0.51f, -7.5f, -7.51f};
    const float a_back[] = {-8, 7, 7, 1, 0, 0, -1, -7, -8};
    expect_block(KVB_SCHEME_Q4_0, a, a_back, 9);
    /* d = 4 / -8 = -0.5. */
    const float b[] = {4, -4, 1, -1.25f, 0.25f, -0.25f};
    const float b_back[] = {4, -3.5f, 1, -1.5f, 0.0f, -0.5f};
    expect_block(KVB_SCHEME_Q4_0, b, b_back, 6);
    /* The codes come from d, the values from d in binary16: 0.1 is stored as 0.0999755859375. */
    const float c[] = {-0.8f, 0.3f};
    const float c_back[] = {-0.7998046875f, 0.2999267578125f};
    expect_block(KVB_SCHEME_Q4_0, c, c_back, 2);
}

static void q8_0_reads_back_the_blocks_worked_out_by_hand(void **state) {
    (void)state;
    /* d = 1; halves go away from zero. */
    const float a[] = {127, -127, 2.5f, -2.5f, 0.5f, 0.49f, -3.2f};
    const float a_back[] = {127, -127, 3, -3, 1, 0, -3};
    expect_block(KVB_SCHEME_Q8_0, a, a_back, 7);
    const float b[] = {-12.7f, 0.3f};
    const float b_back[] = {-12.6968994140625f, 0.2999267578125f};
    expect_block(KVB_SCHEME_Q8_0, b, b_back, 2);
}

static void int4_reads_back_the_groups_worked_out_by_hand(void **state) {
    (void)state;
    /* Scale (12 - -3) / 15 = 1, zero point -3; ties go to the even code. */
    const float a[] = {-3, 12, 0.5f, -0.5f, 1.5f, 11.6f, 11.4f};
    const float a_back[] = {-3, 12, 1, -1, 1, 12, 11};
    expect_block(KVB_SCHEME_INT4_G32, a, a_back, 7);
    /* Zeros fill the group: 0 to 0.3, scale 0.02 = 0.0200042724609375 in binary16. */
    const float b[] = {0.3f, 0.1f};
    const float b_back[] = {0.3000640869140625f, 0.1000213623046875f};
    expect_block(KVB_SCHEME_INT4_G32, b, b_back, 2);
}

static void an_int4_group_of_equal_values_keeps_its_zero_point(void **state) {
    (void)state;
    float row[32];
    for (int i = 0; i < 32; i++) {
        row[i] = 100.03f; /* binary16 has steps of 1/16 here */
    }
    kvb_baseline_round_trip(KVB_SCHEME_INT4_G32, row, 32);
    for (int i = 0; i < 32; i++) {
        assert_true(row[i] == 100.0f);
    }
}

/* ---- FP8 --------------------------------------------------------------------------------------------------------- */

static void all_256_fp8_codes_survive_a_round_trip(void **state) {
    (void)state;
    for (int code = 0; code < 256; code++) {
        const float value = kvb_e4m3_to_f32((uint8_t)code);
        assert_int_equal(kvb_f32_to_e4m3(value), code);
        assert_int_equal(isnan(value) != 0, (code & 0x7f) == 0x7f);
        if (code > 0 && code < 0x7f) {
            assert_true(value > kvb_e4m3_to_f32((uint8_t)(code - 1)));
            assert_true(kvb_e4m3_to_f32((uint8_t)(code | 0x80)) == -value);
        }
    }
    assert_true(kvb_e4m3_to_f32(0x38) == 1.0f);
    assert_true(kvb_e4m3_to_f32(0x7e) == 448.0f);
    assert_true(kvb_e4m3_to_f32(0x01) == 0x1p-9f);
    assert_true(kvb_e4m3_to_f32(0x08) == 0x1p-6f);
}

static void fp8_rounds_midpoints_to_the_even_code(void **state) {
    (void)state;
    for (int code = 0; code < 0x7e; code++) {
        const float low = kvb_e4m3_to_f32((uint8_t)code), high = kvb_e4m3_to_f32((uint8_t)(code + 1));
        const float middle = (low + high) / 2;
        assert_int_equal(kvb_f32_to_e4m3(middle), code % 2 ? code + 1 : code);
        assert_int_equal(kvb_f32_to_e4m3(nextafterf(middle, 0)), code);
        assert_int_equal(kvb_f32_to_e4m3(nextafterf(middle, high)), code + 1);
        assert_int_equal(kvb_f32_to_e4m3(-middle), 0x80 | (code % 2 ? code + 1 : code));
    }
}

static void fp8_saturates_instead_of_becoming_nan(void **state) {
    (void)state;
    const float large[] = {448, 449, 464, 480, 1e9f, INFINITY};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        assert_int_equal(kvb_f32_to_e4m3(large[i]), 0x7e);
        assert_int_equal(kvb_f32_to_e4m3(-large[i]), 0xfe);
    }
    assert_int_equal(kvb_f32_to_e4m3(1e-30f), 0);
    assert_int_equal(kvb_f32_to_e4m3(-0.0f), 0x80);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(q4_0_reads_back_the_blocks_worked_out_by_hand),
        cmocka_unit_test(q8_0_reads_back_the_blocks_worked_out_by_hand),
        cmocka_unit_test(int4_reads_back_the_groups_worked_out_by_hand),
        cmocka_unit_test(an_int4_group_of_equal_values_keeps_its_zero_point),
        cmocka_unit_test(all_256_fp8_codes_survive_a_round_trip),
        cmocka_unit_test(fp8_rounds_midpoints_to_the_even_code),
        cmocka_unit_test(fp8_saturates_instead_of_becoming_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
