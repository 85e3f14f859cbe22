/* How much packed rows of N(0,1) lose, against the exact figure for a row that is stored with its own norm: then each
 * coordinate of x * sqrt(d) / |x| follows the law of a random unit vector's, with density ~ (1 - t^2/d)^((d-3)/2). */
#include "check.h"
#include "oracle.h"

#include <math.h>
#include <stdlib.h>

enum { n_values = 1 << 19 };

/* Mean squared error of a table under that law, by the midpoint rule. */
static double expected_mse(int d, const float *levels, int n) {
    enum { steps = 200000 };
    double limit = sqrt(d) < 9.0 ? sqrt(d) : 9.0, mass = 0.0, error = 0.0;
    int code = 0;
    for (int k = 0; k < steps; k++) {
        double t = limit * (2.0 * (k + 0.5) / steps - 1.0);
        while (code + 1 < n && t > 0.5 * ((double)levels[code] + levels[code + 1])) {
            code++;
        }
        double weight = pow(1.0 - t * t / d, 0.5 * (d - 3));
        mass += weight;
        error += weight * (t - levels[code]) * (t - levels[code]);
    }
    return error / mass;
}

typedef struct loss {
    double mean, standard_error; /* over rows, of |x - y|^2 / |x|^2 */
} loss;

static loss measure(const kvb_codec_spec *spec, const float *rows) {
    size_t d = (size_t)spec->head_dim, n_rows = n_values / d;
    kvb_codec *codec = create_codec(spec);
    void *block = malloc(kvb_codec_block_bytes(codec, n_rows));
    float *decoded = malloc(n_rows * d * sizeof *decoded);
    kvb_packed packed = kvb_packed_view(codec, block, n_rows);
    kvb_error error;
    assert_ok(kvb_encode(codec, rows, KVB_F32, d, n_rows, &packed, 0, NULL, &error), error);
    assert_ok(kvb_decode(codec, &packed, 0, n_rows, KVB_DOMAIN_INPUT, decoded, d, &error), error);
    double sum = 0.0, squares = 0.0;
    for (size_t row = 0; row < n_rows; row++) {
        double noise = 0.0, signal = 0.0;
        for (size_t i = row * d; i < (row + 1) * d; i++) {
            noise += ((double)rows[i] - decoded[i]) * ((double)rows[i] - decoded[i]);
            signal += (double)rows[i] * rows[i];
        }
        sum += noise / signal;
        squares += noise / signal * (noise / signal);
    }
    free(block);
    free(decoded);
    kvb_codec_destroy(codec);
    double n = (double)n_rows, mean = sum / n;
    return (loss){mean, sqrt((squares / n - mean * mean) / n)};
}

static void check_theory(const kvb_codec_spec *spec, const float *rows, double expected) {
    loss measured = measure(spec, rows);
    assert_true(measured.standard_error < 0.03 * expected); /* rare clipped values dominate at 8 bits */
    if (!(fabs(measured.mean - expected) < 4.5 * measured.standard_error)) {
        fail_msg("%d bits, head_dim %d, rotation %d: %.4f dB, expected %.4f", spec->bits, spec->head_dim,
                 (int)spec->rotation, -10.0 * log10(measured.mean), -10.0 * log10(expected));
    }
}

static void check_width(int d, int bits, const float *rows) {
    double expected = expected_mse(d, kvb_codebook(bits), 1 << bits);
    kvb_codec_spec spec = kvb_codec_spec_default(d, bits);
    spec.scale = KVB_SCALE_NORM;
    spec.scale_dtype = KVB_F32;
    check_theory(&spec, rows, expected);
    spec.rotation = KVB_ROTATION_NONE; /* the law is isotropic */
    check_theory(&spec, rows, expected);
    double norm = measure(&spec, rows).mean;
    spec.scale = KVB_SCALE_LSQ; /* can only gain on the same codes, and never more than a few percent from 2 bits on */
    double lsq = measure(&spec, rows).mean;
    assert_true(lsq <= norm && (bits == 1 || lsq > 0.85 * norm));
    spec.scale_dtype = KVB_F16; /* moves a scale by up to 2^-12: an error of up to 2^-24 of the energy */
    assert_true(fabs(measure(&spec, rows).mean - lsq) < 0x1p-24);
}

static void packed_rows_lose_what_theory_says(void **state) {
    (void)state;
    static const int dims[] = {64, 72, 128, 256};
    oracle_random random = {30};
    float *rows = malloc(n_values * sizeof *rows);
    for (size_t k = 0; k < sizeof dims / sizeof dims[0]; k++) {
        for (int i = 0; i < n_values; i++) {
            rows[i] = oracle_normal(&random);
        }
        for (int bits = 1; bits <= 8; bits++) {
            check_width(dims[k], bits, rows);
        }
    }
    free(rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(packed_rows_lose_what_theory_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
