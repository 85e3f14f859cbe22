/* The rotation of every head_dim: its matrix, its inverse, its norm, its exact roundings. */
#include "check.h"
#include "oracle.h"

#include <math.h>
#include <string.h>

static const uint64_t seed = 0x1234567;

static kvb_codec *create(int head_dim, kvb_rotation rotation) {
    kvb_codec_spec spec = kvb_codec_spec_default(head_dim, 4);
    float levels[16];
    oracle_uniform_levels(4, 0.3, levels);
    spec.rotation = rotation;
    spec.sign_seed = seed;
    spec.centroids = levels;
    return create_codec(&spec);
}

/* Rotates unit impulses: the columns of the matrix, all of one magnitude. Bit j of row i: the entry is negative. */
static void read_matrix(const kvb_codec *codec, int d, int inverse, uint64_t negative[][KVB_MAX_HEAD_DIM / 64]) {
    float magnitude = (float)(1.0 / sqrt((double)d));
    memset(negative, 0, (size_t)d * sizeof *negative);
    for (int j = 0; j < d; j++) {
        float row[KVB_MAX_HEAD_DIM] = {0};
        row[j] = 1.0f;
        if (inverse) {
            kvb_unrotate(codec, row, (size_t)d, 1);
        } else {
            kvb_rotate(codec, row, (size_t)d, 1);
        }
        for (int i = 0; i < d; i++) {
            assert_true(fabsf(row[i]) == magnitude);
            negative[i][j / 64] |= (uint64_t)(row[i] < 0.0f) << (j % 64);
        }
    }
}

static void matrix_is_orthogonal_in_integers(void **state) {
    (void)state;
    static uint64_t negative[KVB_MAX_HEAD_DIM][KVB_MAX_HEAD_DIM / 64];
    for (const int *d = oracle_rotated_dims; *d; d++) {
        kvb_codec *codec = create(*d, KVB_ROTATION_HADAMARD);
        read_matrix(codec, *d, 0, negative);
        for (int i = 0; i < *d; i++) {
            for (int j = 0; j < *d; j++) {
                int product = *d;
                for (int w = 0; w < KVB_MAX_HEAD_DIM / 64; w++) {
                    product -= 2 * __builtin_popcountll(negative[i][w] ^ negative[j][w]);
                }
                assert_int_equal(product, i == j ? *d : 0);
            }
        }
        kvb_codec_destroy(codec);
    }
}

static void matrix_is_the_specified_one_and_the_inverse_its_transpose(void **state) {
    (void)state;
    static uint64_t forward[KVB_MAX_HEAD_DIM][KVB_MAX_HEAD_DIM / 64], back[KVB_MAX_HEAD_DIM][KVB_MAX_HEAD_DIM / 64];
    for (const int *d = oracle_rotated_dims; *d; d++) {
        for (int rotation = KVB_ROTATION_HADAMARD; rotation <= KVB_ROTATION_SIGNED; rotation++) {
            kvb_codec *codec = create(*d, (kvb_rotation)rotation);
            read_matrix(codec, *d, 0, forward);
            read_matrix(codec, *d, 1, back);
            for (int i = 0; i < *d; i++) {
                for (int j = 0; j < *d; j++) {
                    int sign = rotation == KVB_ROTATION_SIGNED ? oracle_sign(seed, j) : 1;
                    int is_negative = oracle_hadamard(*d, i, j) * sign < 0;
                    assert_int_equal(forward[i][j / 64] >> (j % 64) & 1, is_negative);
                    assert_int_equal(back[j][i / 64] >> (i % 64) & 1, is_negative);
                }
            }
            kvb_codec_destroy(codec);
        }
    }
}

static void rotation_keeps_the_norm_and_the_inverse_undoes_it(void **state) {
    (void)state;
    oracle_random random = {4};
    for (const int *d = oracle_rotated_dims; *d; d++) {
        kvb_codec *codec = create(*d, KVB_ROTATION_SIGNED);
        float x[KVB_MAX_HEAD_DIM], y[KVB_MAX_HEAD_DIM];
        double before = 0.0, after = 0.0, error = 0.0;
        for (int i = 0; i < *d; i++) {
            x[i] = y[i] = oracle_normal(&random);
        }
        kvb_rotate(codec, y, (size_t)*d, 1);
        for (int i = 0; i < *d; i++) {
            before += (double)x[i] * x[i];
            after += (double)y[i] * y[i];
        }
        kvb_unrotate(codec, y, (size_t)*d, 1);
        for (int i = 0; i < *d; i++) {
            error += ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
        }
        assert_true(fabs(after / before - 1.0) < 1e-6);
        assert_true(sqrt(error / before) < 1e-6);
        kvb_codec_destroy(codec);
    }
}

static void every_rounding_is_the_specified_one(void **state) {
    (void)state;
    oracle_random random = {5};
    for (const int *d = oracle_rotated_dims; *d; d++) {
        for (int rotation = KVB_ROTATION_NONE; rotation <= KVB_ROTATION_SIGNED; rotation++) {
            kvb_codec *codec = create(*d, (kvb_rotation)rotation);
            const kvb_codec_spec *spec = kvb_codec_get_spec(codec);
            float x[KVB_MAX_HEAD_DIM], y[KVB_MAX_HEAD_DIM];
            for (int i = 0; i < *d; i++) {
                x[i] = y[i] = oracle_normal(&random);
            }
            oracle_rotate_exact(spec, x);
            kvb_rotate(codec, y, (size_t)*d, 1);
            assert_memory_equal(x, y, (size_t)*d * sizeof *x);
            oracle_unrotate_exact(spec, x);
            kvb_unrotate(codec, y, (size_t)*d, 1);
            assert_memory_equal(x, y, (size_t)*d * sizeof *x);
            kvb_codec_destroy(codec);
        }
    }
}

static void rotation_agrees_with_double_precision(void **state) {
    (void)state;
    oracle_random random = {6};
    static const int dims[] = {32, 48, 72, 112, 256, 320, 576};
    for (size_t k = 0; k < sizeof dims / sizeof dims[0]; k++) {
        kvb_codec *codec = create(dims[k], KVB_ROTATION_SIGNED);
        float x[KVB_MAX_HEAD_DIM];
        double expected[KVB_MAX_HEAD_DIM], back[KVB_MAX_HEAD_DIM];
        for (int i = 0; i < dims[k]; i++) {
            x[i] = oracle_normal(&random);
        }
        oracle_rotate(kvb_codec_get_spec(codec), x, expected);
        oracle_unrotate(kvb_codec_get_spec(codec), expected, back);
        for (int i = 0; i < dims[k]; i++) {
            assert_true(fabs(back[i] - x[i]) < 1e-12);
        }
        kvb_rotate(codec, x, (size_t)dims[k], 1);
        for (int i = 0; i < dims[k]; i++) {
            assert_true(fabs(x[i] - expected[i]) < 4e-6);
        }
        kvb_codec_destroy(codec);
    }
}

static void rotation_respects_the_stride_and_none_is_the_identity(void **state) {
    (void)state;
    enum { d = 40, stride = 43, rows = 3 };
    for (int rotation = KVB_ROTATION_NONE; rotation <= KVB_ROTATION_SIGNED; rotation++) {
        kvb_codec *codec = create(d, (kvb_rotation)rotation);
        float all[rows * stride], one[d];
        for (int i = 0; i < rows * stride; i++) {
            all[i] = (float)(i * i % 17);
        }
        kvb_rotate(codec, all, stride, rows);
        for (int row = 0; row < rows; row++) {
            for (int i = 0; i < d; i++) {
                one[i] = (float)((row * stride + i) * (row * stride + i) % 17);
            }
            oracle_rotate_exact(kvb_codec_get_spec(codec), one);
            assert_memory_equal(one, all + row * stride, sizeof one);
            for (int i = row * stride + d; i < (row + 1) * stride; i++) {
                assert_true(all[i] == (float)(i * i % 17));
            }
        }
        kvb_codec_destroy(codec);
    }
}

static void supported_head_dims_are_exactly_the_specified_ones(void **state) {
    (void)state;
    const int *next = oracle_rotated_dims;
    for (int d = -16; d <= 1200; d++) {
        int is_rotated = d == *next;
        next += is_rotated && *next;
        assert_int_equal(kvb_head_dim_supported(d, KVB_ROTATION_HADAMARD), is_rotated && d != 0);
        assert_int_equal(kvb_head_dim_supported(d, KVB_ROTATION_SIGNED), is_rotated && d != 0);
        assert_int_equal(kvb_head_dim_supported(d, KVB_ROTATION_NONE), d >= 8 && d <= 576 && d % 8 == 0);
        assert_int_equal(kvb_head_dim_supported(d, (kvb_rotation)3), 0);
    }
    assert_int_equal(*next, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrix_is_orthogonal_in_integers),
        cmocka_unit_test(matrix_is_the_specified_one_and_the_inverse_its_transpose),
        cmocka_unit_test(rotation_keeps_the_norm_and_the_inverse_undoes_it),
        cmocka_unit_test(every_rounding_is_the_specified_one),
        cmocka_unit_test(rotation_agrees_with_double_precision),
        cmocka_unit_test(rotation_respects_the_stride_and_none_is_the_identity),
        cmocka_unit_test(supported_head_dims_are_exactly_the_specified_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
