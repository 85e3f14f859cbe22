/* The bucket table against counting midpoints one by one, for tables that make it hard. */
#include "check.h"
#include "codec_tables.h"
#include "cpu/ops.h"
#include "oracle.h"

#include <float.h>
#include <math.h>
#include <string.h>

static kvb_codec_tables tables;

static void fill(int bits, const float *levels) {
    kvb_codec_spec spec = kvb_codec_spec_default(KVB_MIN_HEAD_DIM, bits);
    spec.rotation = KVB_ROTATION_NONE;
    spec.centroids = levels;
    kvb_codec_tables_fill(&tables, &spec);
}

static void check_value(const float *levels, float value) {
    float row[KVB_MIN_HEAD_DIM] = {0};
    uint8_t codes[KVB_MIN_HEAD_DIM];
    row[3] = value;
    kvb_scalar_quantize_by_buckets(&tables, row, 1.0f, codes);
    int expected = 0;
    for (int k = 0; k + 1 < tables.levels; k++) {
        expected += value > 0.5f * (levels[k] + levels[k + 1]);
    }
    if (codes[3] != expected) {
        fail_msg("%d bits: %.9g got code %d, not %d", tables.bits, (double)value, codes[3], expected);
    }
}

static void check_around(const float *levels, float value) {
    check_value(levels, value);
    check_value(levels, nextafterf(value, -INFINITY));
    check_value(levels, nextafterf(value, INFINITY));
}

static void check_table(int bits, const float *levels) {
    static const float extremes[] = {0.0f, FLT_MIN, 0x1p-149f, 1.0f, KVB_MAX_ABS, 0x1p64f, FLT_MAX, INFINITY};
    int n = 1 << bits;
    fill(bits, levels);
    for (int k = 0; k < n; k++) {
        check_around(levels, levels[k]);
        if (k + 1 < n) {
            check_around(levels, 0.5f * (levels[k] + levels[k + 1]));
        }
    }
    for (size_t k = 0; k < sizeof extremes / sizeof extremes[0]; k++) {
        check_value(levels, extremes[k]);
        check_value(levels, -extremes[k]);
    }
    oracle_random random = {7};
    for (int k = 0; k < 2000; k++) {
        double spread = (double)levels[n - 1] - levels[0];
        check_value(levels, (float)(levels[0] + spread * (1.4 * oracle_uniform(&random) - 0.2)));
    }
}

static void library_tables_are_counted_exactly(void **state) {
    (void)state;
    for (int bits = 1; bits <= 8; bits++) {
        check_table(bits, kvb_codebook(bits));
        assert_true(tables.most_in_bucket <= 1); /* the fast path */
    }
}

static void uniform_tables_are_counted_exactly(void **state) {
    (void)state;
    float levels[KVB_MAX_LEVELS];
    for (int bits = 1; bits <= 8; bits++) {
        oracle_uniform_levels(bits, 0.25, levels);
        check_table(bits, levels);
    }
}

static void neighboring_floats_are_counted_exactly(void **state) {
    (void)state;
    static const float starts[] = {1.0f, -1.0f, 0.0f, 0x1p57f, 3.9999f};
    float levels[KVB_MAX_LEVELS];
    for (size_t k = 0; k < sizeof starts / sizeof starts[0]; k++) {
        for (int bits = 1; bits <= 8; bits++) {
            levels[0] = starts[k];
            for (int i = 1; i < 1 << bits; i++) {
                levels[i] = nextafterf(levels[i - 1], INFINITY);
            }
            check_table(bits, levels);
        }
    }
}

static void huge_ranges_are_counted_exactly(void **state) {
    (void)state;
    float levels[KVB_MAX_LEVELS];
    for (int bits = 1; bits <= 8; bits++) {
        int n = 1 << bits;
        for (int i = 0; i < n; i++) { /* -2^58 ... -2^-69, 2^-69 ... 2^58 at 8 bits */
            levels[i] = i < n / 2 ? -ldexpf(1.0f, 58 - i) : ldexpf(1.0f, 59 - n + i);
        }
        check_table(bits, levels);
    }
}

static void clustered_tables_are_counted_exactly(void **state) {
    (void)state;
    float levels[KVB_MAX_LEVELS];
    for (int bits = 2; bits <= 8; bits++) { /* all but one level inside a millionth of the range */
        for (int i = 0; i < 1 << bits; i++) {
            levels[i] = 1.0f + (float)i * 0x1p-20f;
        }
        levels[(1 << bits) - 1] = 100.0f;
        check_table(bits, levels);
        assert_true(bits < 4 || tables.most_in_bucket > 1); /* the loop */
    }
}

static void random_tables_are_counted_exactly(void **state) {
    (void)state;
    oracle_random random = {8};
    float levels[KVB_MAX_LEVELS];
    for (int round = 0; round < 100; round++) {
        int bits = 1 + round % 8;
        levels[0] = oracle_normal(&random);
        for (int i = 1; i < 1 << bits; i++) {
            float gap = (float)exp(6.0 * oracle_normal(&random));
            float next = levels[i - 1] + gap;
            levels[i] = next > levels[i - 1] ? next : nextafterf(levels[i - 1], INFINITY);
        }
        check_table(bits, levels);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(library_tables_are_counted_exactly),     cmocka_unit_test(uniform_tables_are_counted_exactly),
        cmocka_unit_test(neighboring_floats_are_counted_exactly), cmocka_unit_test(huge_ranges_are_counted_exactly),
        cmocka_unit_test(clustered_tables_are_counted_exactly),   cmocka_unit_test(random_tables_are_counted_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
