/* Packing codes into planes and back: every width, every code, every coordinate. */
#include "check.h"
#include "cpu/ops.h"
#include "oracle.h"

#include <string.h>

enum { guard = 16 };

/* Tables as far as packing reads them. */
static kvb_codec_tables tables_for(int bits, int head_dim) {
    static kvb_codec_tables tables;
    tables.bits = bits;
    tables.head_dim = head_dim;
    tables.n_planes = kvb_layout_planes(bits, tables.plane_widths);
    return tables;
}

static void place(const kvb_codec_tables *tables, uint8_t *bytes, uint8_t *planes[KVB_MAX_PLANES]) {
    for (int p = 0; p < tables->n_planes; p++) {
        planes[p] = bytes;
        bytes += kvb_layout_plane_bytes(tables->head_dim, tables->plane_widths[p]);
    }
}

static void check_round_trip(int bits, int head_dim, const uint8_t *codes) {
    static kvb_codec_tables tables;
    tables = tables_for(bits, head_dim);
    int bytes = bits * head_dim / 8;
    uint8_t packed[KVB_MAX_HEAD_DIM + guard], expected[KVB_MAX_HEAD_DIM], back[KVB_MAX_HEAD_DIM + guard];
    uint8_t *planes[KVB_MAX_PLANES];
    memset(packed, 0xa5, sizeof packed);
    memset(back, 0xa5, sizeof back);
    place(&tables, packed, planes);
    kvb_scalar_pack(&tables, codes, planes);
    oracle_pack(bits, head_dim, codes, expected);
    assert_memory_equal(packed, expected, (size_t)bytes);
    kvb_scalar_unpack(&tables, (const uint8_t *const *)planes, back);
    assert_memory_equal(back, codes, (size_t)head_dim);
    for (int i = 0; i < guard; i++) {
        assert_int_equal(packed[bytes + i], 0xa5);
        assert_int_equal(back[head_dim + i], 0xa5);
    }
}

static void every_code_at_every_coordinate_returns(void **state) {
    (void)state;
    static const int dims[] = {8, 16, 72, 128, 264};
    for (int bits = 1; bits <= 8; bits++) {
        for (size_t k = 0; k < sizeof dims / sizeof dims[0]; k++) {
            for (int i = 0; i < dims[k]; i++) {
                for (int code = 0; code < 1 << bits; code++) {
                    uint8_t codes[KVB_MAX_HEAD_DIM] = {0};
                    codes[i] = (uint8_t)code;
                    check_round_trip(bits, dims[k], codes);
                }
            }
        }
    }
}

static void random_rows_of_every_length_return(void **state) {
    (void)state;
    oracle_random random = {3};
    for (int bits = 1; bits <= 8; bits++) {
        for (int d = KVB_MIN_HEAD_DIM; d <= KVB_MAX_HEAD_DIM; d += 8) {
            uint8_t codes[KVB_MAX_HEAD_DIM];
            for (int i = 0; i < d; i++) {
                codes[i] = (uint8_t)(oracle_next(&random) & ((1u << bits) - 1));
            }
            check_round_trip(bits, d, codes);
        }
    }
}

static void widths_are_dense_and_low_bits_first(void **state) {
    (void)state;
    static const int expected[9][3] = {{0}, {1}, {2}, {2, 1}, {4}, {4, 1}, {4, 2}, {4, 2, 1}, {8}};
    for (int bits = 1; bits <= 8; bits++) {
        int widths[KVB_MAX_PLANES] = {0}, sum = 0;
        int n = kvb_plane_widths(bits, widths);
        for (int p = 0; p < (int)(sizeof expected[0] / sizeof expected[0][0]); p++) {
            assert_int_equal(widths[p], expected[bits][p]);
            sum += widths[p];
        }
        assert_int_equal(sum, bits);
        assert_true(n >= 1 && n <= KVB_MAX_PLANES && widths[n - 1] > 0);
    }
    int widths[KVB_MAX_PLANES];
    assert_int_equal(kvb_plane_widths(0, widths), 0);
    assert_int_equal(kvb_plane_widths(9, widths), 0);
    assert_int_equal(kvb_plane_widths(-1, widths), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_at_every_coordinate_returns),
        cmocka_unit_test(random_rows_of_every_length_return),
        cmocka_unit_test(widths_are_dense_and_low_bits_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
