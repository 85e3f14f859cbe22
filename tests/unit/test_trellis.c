/* Trellis codes: the encoder finds the best path, and those of docs/format.md among equals; the library's tables are as
 * good as they say; a row can be read from any coordinate. */
#include "check.h"
#include "oracle.h"
#include "row_kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int all_states[] = {8, 16, 64, 256};

static kvb_codec *open_trellis(int head_dim, int bits, int states, const float *centroids) {
    kvb_codec_spec spec = kvb_codec_spec_default(head_dim, bits);
    spec.rotation = KVB_ROTATION_NONE;
    spec.scale = KVB_SCALE_NORM;
    spec.scale_dtype = KVB_F32;
    spec.trellis_states = states;
    spec.centroids = centroids;
    return create_codec(&spec);
}

static float encode_row(const kvb_codec *codec, const float *x, uint8_t *codes) {
    int d = kvb_codec_get_spec(codec)->head_dim;
    float block[KVB_MAX_HEAD_DIM], scale;
    kvb_packed packed = kvb_packed_view(codec, block, 1);
    kvb_error error;
    assert_ok(kvb_encode(codec, x, KVB_F32, (size_t)d, 1, &packed, 0, NULL, &error), error);
    kvb_packed_row_codes(codec, &packed, 0, codes, &scale);
    return scale;
}

/* The cost of levels, summed as the encoder does. */
static float cost_of(const kvb_codec *codec, const float *x, float scale, const uint8_t *codes) {
    const kvb_codec_spec *spec = kvb_codec_get_spec(codec);
    float r = 1.0f / scale, cost = 0.0f;
    for (int i = 0; i < spec->head_dim; i++) {
        float error = x[i] * r - spec->centroids[codes[i]], square = error * error;
        cost += square;
    }
    return cost;
}

/* The least cost of all paths with, in each subset, the nearest of all its levels. */
static float search_all(const kvb_codec *codec, const float *x, float scale, int *n_best) {
    const kvb_codec_spec *spec = kvb_codec_get_spec(codec);
    int d = spec->head_dim, levels = kvb_codec_spec_levels(spec);
    float nearest[KVB_MAX_HEAD_DIM][4], r = 1.0f / scale, best = INFINITY;
    for (int i = 0; i < d; i++) {
        for (int subset = 0; subset < 4; subset++) {
            nearest[i][subset] = INFINITY;
            for (int level = subset; level < levels; level += 4) {
                float error = x[i] * r - spec->centroids[level];
                nearest[i][subset] = fminf(nearest[i][subset], error * error);
            }
        }
    }
    for (int path = 0; path < 1 << d; path++) {
        uint8_t inputs[16];
        float cost = 0.0f;
        for (int i = 0; i < d; i++) {
            inputs[i] = (uint8_t)(path >> i & 1);
            cost += nearest[i][oracle_subset(spec->trellis_states, inputs, i)];
        }
        *n_best = cost < best ? 1 : *n_best + (cost == best);
        best = cost < best ? cost : best;
    }
    return best;
}

static void the_path_is_the_best_of_all(void **state) {
    (void)state;
    oracle_random random = {41};
    for (int trial = 0; trial < 240; trial++) {
        int d = trial % 20 == 0 ? 16 : 8, bits = KVB_MIN_TRELLIS_BITS + trial % 5, states = all_states[trial / 5 % 4];
        kvb_codec *codec = open_trellis(d, bits, states, NULL);
        uint8_t codes[16];
        float x[16];
        int n_best = 0;
        fill_row(trial % 3 == 2 ? 1 : 0, d, &random, x);
        float scale = encode_row(codec, x, codes);
        float best = search_all(codec, x, scale, &n_best);
        assert_true(cost_of(codec, x, scale, codes) == best);
        assert_int_equal(n_best, 1);
        kvb_codec_destroy(codec);
    }
}

/* Rows whose ways cost the same: of the best paths the one is taken whose inputs, read from the last backwards, are 0
 * first where they differ by the final state, and else come from the lower state. */
static void among_equals_the_lower_state_is_taken(void **state) {
    (void)state;
    static const float levels[8] = {-7, -5, -3, -1, 1, 3, 5, 7};
    int with_ties = 0;
    oracle_random random = {42};
    for (int trial = 0; trial < 400; trial++) {
        kvb_codec *codec = open_trellis(8, 2, all_states[trial % 2], levels);
        const kvb_codec_spec *spec = kvb_codec_get_spec(codec);
        float x[8], scale, expected_scale;
        uint8_t codes[8], expected[8];
        int n_best = 0;
        for (int i = 0; i < 8; i++) {
            x[i] = (float)(oracle_next(&random) % 2 ? 1 : -1) * (trial % 4 < 2 ? 1.0f : (float)(i % 2 * 2));
        }
        scale = encode_row(codec, x, codes);
        oracle_encode_exact(spec, x, expected, &expected_scale, NULL);
        assert_memory_equal(codes, expected, sizeof codes);
        float best = search_all(codec, x, scale, &n_best);
        assert_true(cost_of(codec, x, scale, codes) == best);
        with_ties += n_best > 1;
        kvb_codec_destroy(codec);
    }
    assert_true(with_ties > 100);
}

/* The levels of every coordinate from the planes of bytes alone, beginning at it. */
static void a_row_is_read_from_any_coordinate(void **state) {
    (void)state;
    oracle_random random = {43};
    for (int trial = 0; trial < 60; trial++) {
        int d = 8 * (1 + trial % 20), bits = KVB_MIN_TRELLIS_BITS + trial % 5, states = all_states[trial % 4];
        kvb_codec *codec = open_trellis(d, bits, states, NULL);
        float x[160], block[160], scale;
        uint8_t codes[160], inputs[160];
        fill_row(0, d, &random, x);
        kvb_packed packed = kvb_packed_view(codec, block, 1);
        kvb_error error;
        assert_ok(kvb_encode(codec, x, KVB_F32, (size_t)d, 1, &packed, 0, NULL, &error), error);
        kvb_packed_row_codes(codec, &packed, 0, codes, &scale);
        for (int i = 0; i < d; i++) {
            int first = i >= 8 ? i - 8 : 0;
            for (int j = first; j <= i; j++) {
                inputs[j - first] = packed.planes[0][j % (d / 8)] >> (j / (d / 8)) & 1;
            }
            assert_int_equal(codes[i] % 4, oracle_subset(states, inputs, i - first));
        }
        kvb_codec_destroy(codec);
    }
}

/* docs/math.md, "Trellis codes": the mean squared error on Gaussian rows, with lsq scales in binary16. */
static double measure(int states, int bits, kvb_scale_kind scale, int n_rows) {
    enum { d = 256 };
    kvb_codec_spec spec = kvb_codec_spec_default(d, bits);
    spec.rotation = KVB_ROTATION_NONE;
    spec.scale = scale;
    spec.trellis_states = states;
    kvb_codec *codec;
    kvb_error error;
    assert_ok(kvb_codec_create(&spec, NULL, NULL, &codec, &error), error);
    oracle_random random = {44};
    double sum = 0.0, squares = 0.0;
    for (int r = 0; r < n_rows; r++) {
        float x[d], out[d], block[d];
        kvb_packed packed = kvb_packed_view(codec, block, 1);
        fill_row(0, d, &random, x);
        assert_ok(kvb_encode(codec, x, KVB_F32, d, 1, &packed, 0, NULL, &error), error);
        assert_ok(kvb_decode(codec, &packed, 0, 1, KVB_DOMAIN_INPUT, out, d, &error), error);
        for (int i = 0; i < d; i++) {
            sum += ((double)out[i] - x[i]) * ((double)out[i] - x[i]);
            squares += (double)x[i] * x[i];
        }
    }
    kvb_codec_destroy(codec);
    return sum / squares;
}

static void the_tables_reach_the_errors_that_they_promise(void **state) {
    (void)state;
    static const double most[] = {.0845, .0235, .0063, .00165, .00042};
    for (int bits = KVB_MIN_TRELLIS_BITS; bits <= KVB_MAX_TRELLIS_BITS; bits++) {
        double before = measure(0, bits, KVB_SCALE_LSQ, 400), at_16 = 0.0;
        for (int s = 0; s < 4; s++) {
            double error = measure(all_states[s], bits, KVB_SCALE_LSQ, s < 2 ? 400 : 100);
            assert_true(error < (s < 2 ? 1.0 : 1.02) * before); /* more states, less error */
            before = error;
            at_16 = all_states[s] == 16 ? error : at_16;
        }
        assert_true(at_16 <= most[bits - KVB_MIN_TRELLIS_BITS]);
        assert_true(measure(16, bits, KVB_SCALE_SEARCH, 400) < at_16);
        assert_true(measure(0, bits, KVB_SCALE_SEARCH, 400) < measure(0, bits, KVB_SCALE_LSQ, 400));
    }
}

static void tables_are_odd_and_exact_in_binary16(void **state) {
    (void)state;
    for (int s = 0; s < 4; s++) {
        for (int bits = KVB_MIN_TRELLIS_BITS; bits <= KVB_MAX_TRELLIS_BITS; bits++) {
            const float *levels = kvb_trellis_codebook(all_states[s], bits);
            int n = 2 << bits;
            for (int i = 0; i < n; i++) {
                assert_true(levels[i] == -levels[n - 1 - i]);
                assert_true(kvb_f16_to_f32(kvb_f32_to_f16(levels[i])) == levels[i]);
                assert_true(levels[i] * 4096.0f == rintf(levels[i] * 4096.0f));
            }
        }
    }
    assert_null(kvb_trellis_codebook(16, 1));
    assert_null(kvb_trellis_codebook(16, 7));
    assert_null(kvb_trellis_codebook(32, 4));
}

static void planes_and_bytes_are_those_of_scalar_codes(void **state) {
    (void)state;
    static const int expected[5][4] = {{2, 1, 1, 0}, {2, 1, 2, 0}, {3, 1, 2, 1}, {2, 1, 4, 0}, {3, 1, 4, 1}};
    for (int bits = 1; bits <= KVB_MAX_BITS; bits++) {
        int widths[KVB_MAX_PLANES] = {0}, n = kvb_trellis_plane_widths(bits, widths);
        if (bits < KVB_MIN_TRELLIS_BITS || bits > KVB_MAX_TRELLIS_BITS) {
            assert_int_equal(n, 0);
            continue;
        }
        const int *row = expected[bits - KVB_MIN_TRELLIS_BITS];
        assert_int_equal(n, row[0]);
        for (int p = 0; p < n; p++) {
            assert_int_equal(widths[p], row[1 + p]);
        }
        kvb_codec *codec = open_trellis(72, bits, 8, NULL);
        assert_int_equal(kvb_codec_block_bytes(codec, 3), 3 * (4 + 9 * bits));
        kvb_codec_destroy(codec);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_path_is_the_best_of_all),
        cmocka_unit_test(among_equals_the_lower_state_is_taken),
        cmocka_unit_test(a_row_is_read_from_any_coordinate),
        cmocka_unit_test(the_tables_reach_the_errors_that_they_promise),
        cmocka_unit_test(tables_are_odd_and_exact_in_binary16),
        cmocka_unit_test(planes_and_bytes_are_those_of_scalar_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
