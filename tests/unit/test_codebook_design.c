/* The optimum and its mean squared error, against closed forms in long double, brute force and sampling. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvbits/eval.h"

static const kvb_law normal = {0};

static void optimum(int sphere_dim, int levels, double *c) {
    double residual;
    kvb_error error;
    assert_ok(kvb_codebook_optimum((kvb_law){sphere_dim}, levels, c, &residual, &error), error);
    assert_true(residual >= 0.0 && residual < 1e-12);
}

static long double upper_tail(long double x) {
    return 0.5L * erfcl(x / sqrtl(2.0L));
}

static long double density(long double x) {
    return isinf(x) ? 0.0L : expl(-0.5L * x * x) / sqrtl(2.0L * acosl(-1.0L));
}

static long double mass(long double low, long double high) {
    return low >= 0.0L ? upper_tail(low) - upper_tail(high) : upper_tail(-high) - upper_tail(-low);
}

static long double edge(const double *c, int levels, int i) {
    return i == 0 ? -INFINITY : i == levels ? INFINITY : 0.5L * ((long double)c[i - 1] + c[i]);
}

/* Integral of (x - c)^2 under N(0,1), cell by cell. */
static double closed_form_mse(const double *c, int levels) {
    long double sum = 0.0L;
    for (int i = 0; i < levels; i++) {
        long double low = edge(c, levels, i), high = edge(c, levels, i + 1), m = mass(low, high);
        long double first = density(low) - density(high);
        long double second = m + (isinf(low) ? 0.0L : low * density(low)) - (isinf(high) ? 0.0L : high * density(high));
        sum += second - 2.0L * c[i] * first + (long double)c[i] * c[i] * m;
    }
    return (double)sum;
}

static void normal_optimum_is_stationary_to_1e_12(void **state) {
    (void)state;
    for (int bits = 1; bits <= 8; bits++) {
        const int levels = 1 << bits;
        double c[KVB_MAX_LEVELS];
        optimum(0, levels, c);
        for (int i = 0; i < levels; i++) {
            long double low = edge(c, levels, i), high = edge(c, levels, i + 1);
            assert_true(fabsl((density(low) - density(high)) / mass(low, high) - c[i]) < 1e-12L);
            assert_true(i == 0 || c[i] > c[i - 1]);
            assert_true(c[i] == -c[levels - 1 - i]);
        }
    }
}

static void normal_optimum_has_the_published_errors(void **state) {
    (void)state;
    const double published[] = {.3633802,   .1174818,   .03454776,  .009501008,
                                .002504668, .000644240, .000163478, .0000411851};
    for (int bits = 1; bits <= 8; bits++) {
        double c[KVB_MAX_LEVELS];
        optimum(0, 1 << bits, c);
        assert_true(fabs(kvb_codebook_mse(normal, c, 1 << bits) / published[bits - 1] - 1.0) < 2e-6);
    }
}

static void normal_mse_agrees_with_the_closed_form(void **state) {
    (void)state;
    double c[KVB_MAX_LEVELS];
    for (int bits = 1; bits <= 8; bits++) {
        optimum(0, 1 << bits, c);
        assert_true(fabs(kvb_codebook_mse(normal, c, 1 << bits) / closed_form_mse(c, 1 << bits) - 1.0) < 1e-11);
    }
    const double lopsided[] = {-7.5, -0.31, -0.3, 1.9, 2.5}, one_sided[] = {2.0, 3.0}, one[] = {0.25};
    assert_true(fabs(kvb_codebook_mse(normal, lopsided, 5) / closed_form_mse(lopsided, 5) - 1.0) < 1e-12);
    assert_true(fabs(kvb_codebook_mse(normal, one_sided, 2) / closed_form_mse(one_sided, 2) - 1.0) < 1e-12);
    assert_true(fabs(kvb_codebook_mse(normal, one, 1) - 1.0625) < 1e-14);
}

static void odd_level_counts_have_a_centroid_at_zero(void **state) {
    (void)state;
    double c[KVB_MAX_LEVELS];
    for (int levels = 3; levels <= 255; levels += 28) {
        optimum(0, levels, c);
        assert_true(c[levels / 2] == 0.0);
        for (int i = 0; i < levels; i++) {
            long double low = edge(c, levels, i), high = edge(c, levels, i + 1);
            assert_true(fabsl((density(low) - density(high)) / mass(low, high) - c[i]) < 1e-12L);
        }
    }
}

/* d = 3: the coordinate is uniform on [-sqrt 3, sqrt 3]. */
static void sphere_in_three_dimensions_gives_the_uniform_quantizer(void **state) {
    (void)state;
    const int counts[] = {2, 5, 16, 64, 256};
    for (size_t k = 0; k < 5; k++) {
        const int n = counts[k];
        double c[KVB_MAX_LEVELS];
        optimum(3, n, c);
        for (int i = 0; i < n; i++)
            assert_true(fabs(c[i] - sqrt(3.0) * (2 * i + 1 - n) / n) < 1e-12);
        assert_true(fabs(kvb_codebook_mse((kvb_law){3}, c, n) * n * n - 1.0) < 1e-10);
    }
}

/* d = 2: x = sqrt(2) sin t with t uniform; the density has poles at its edges. */
static void sphere_in_two_dimensions_is_stationary_under_the_arcsine_law(void **state) {
    (void)state;
    for (int bits = 1; bits <= 8; bits++) {
        const int n = 1 << bits;
        double c[KVB_MAX_LEVELS];
        optimum(2, n, c);
        for (int i = 0; i < n; i++) {
            long double low = i ? edge(c, n, i) : -sqrtl(2.0L), high = i + 1 < n ? edge(c, n, i + 1) : sqrtl(2.0L);
            long double a = asinl(low / sqrtl(2.0L)), b = asinl(high / sqrtl(2.0L));
            assert_true(fabsl(sqrtl(2.0L) * (cosl(a) - cosl(b)) / (b - a) - c[i]) < 1e-12L);
        }
    }
}

/* Conditional mean by Simpson's rule on the density in x, which shares nothing with the library's quadrature. */
static double simpson_mean(int d, double low, double high) {
    enum { STEPS = 4000 };
    const double edge_of_law = sqrt(d), a = fmax(low, fmax(-edge_of_law, -12.0)),
                 b = fmin(high, fmin(edge_of_law, 12.0));
    double weight = 0.0, first = 0.0;
    for (int k = 0; k <= STEPS; k++) {
        double x = a + (b - a) * k / STEPS, f = pow(fmax(0.0, 1.0 - x * x / d), 0.5 * (d - 3));
        f *= k == 0 || k == STEPS ? 1.0 : k % 2 ? 4.0 : 2.0;
        weight += f;
        first += f * x;
    }
    return first / weight;
}

static void sphere_optimum_is_stationary_for_every_head_dim(void **state) {
    (void)state;
    const int dims[] = {8, 32, 64, 72, 80, 96, 112, 128, 192, 256, 320, 512, 576};
    for (size_t k = 0; k < sizeof dims / sizeof dims[0]; k++)
        for (int bits = 1; bits <= 8; bits += 1 + (k > 0)) {
            const int n = 1 << bits;
            double c[KVB_MAX_LEVELS];
            optimum(dims[k], n, c);
            for (int i = 0; i < n; i++) {
                double mean = simpson_mean(dims[k], (double)edge(c, n, i), (double)edge(c, n, i + 1));
                /* d = 8: the density's half-integer power at the edge slows Simpson's rule down. */
                assert_true(fabs(mean - c[i]) < (dims[k] == 8 ? 1e-7 : 1e-10));
            }
        }
}

static void sphere_law_tends_to_the_normal(void **state) {
    (void)state;
    double previous = INFINITY, exact[16], c[16];
    optimum(0, 16, exact);
    for (int d = 8; d <= 1 << 20; d *= 8) {
        double distance = 0.0;
        optimum(d, 16, c);
        for (int i = 0; i < 16; i++)
            distance = fmax(distance, fabs(c[i] - exact[i]));
        assert_true(distance < previous / 6.0); /* as 1/d in the end */
        previous = distance;
    }
    assert_true(previous < 1e-4);
}

static uint64_t random_state = 1;

static double uniform(void) {
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return ((double)((z ^ z >> 31) >> 11) + 0.5) * 0x1p-53;
}

static double gaussian(void) {
    double r = sqrt(-2.0 * log(uniform()));
    return r * cos(2.0 * acos(-1.0) * uniform());
}

static double squared_error(const double *c, int levels, double x) {
    int low = 0, high = levels - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (x > 0.5 * (c[middle] + c[middle + 1]))
            low = middle + 1;
        else
            high = middle;
    }
    return (x - c[low]) * (x - c[low]);
}

/* The library's own tables, 2-7 bits: what the design promises its users. */
static void sqnr_is_right_by_integral_and_by_sampling(void **state) {
    (void)state;
    const double expected[] = {9.30, 14.62, 20.22, 26.01, 31.91, 37.87};
    enum { SAMPLES = 1 << 20 };
    double *samples = malloc(SAMPLES * sizeof *samples);
    for (int i = 0; i < SAMPLES; i++) /* radii one from each of as many equal shares: the tails get their due */
        samples[i] = sqrt(-2.0 * log((i + uniform()) / SAMPLES)) * cos(2.0 * acos(-1.0) * uniform());
    for (int bits = 2; bits <= 7; bits++) {
        double c[128], sum = 0.0;
        for (int i = 0; i < 1 << bits; i++)
            c[i] = kvb_codebook(bits)[i];
        assert_true(fabs(kvb_decibel(1.0 / kvb_codebook_mse(normal, c, 1 << bits)) - expected[bits - 2]) < 0.02);
        for (int i = 0; i < SAMPLES; i++)
            sum += squared_error(c, 1 << bits, samples[i]);
        assert_true(fabs(kvb_decibel(SAMPLES / sum) - expected[bits - 2]) < 0.02);
    }
    free(samples);
}

static void sphere_mse_agrees_with_random_unit_vectors(void **state) {
    (void)state;
    enum { DIM = 64, VECTORS = 8192 };
    double c[16], sum = 0.0;
    optimum(DIM, 16, c);
    for (int v = 0; v < VECTORS; v++) {
        double x[DIM], square = 0.0;
        for (int i = 0; i < DIM; i++) {
            x[i] = gaussian();
            square += x[i] * x[i];
        }
        for (int i = 0; i < DIM; i++)
            sum += squared_error(c, 16, x[i] * sqrt(DIM / square));
    }
    assert_true(fabs(sum / (DIM * VECTORS) / kvb_codebook_mse((kvb_law){DIM}, c, 16) - 1.0) < 0.01);
}

static void decibels_are_those_of_the_logarithm(void **state) {
    (void)state;
    assert_true(kvb_decibel(1.0) == 0.0);
    assert_true(fabs(kvb_decibel(1000.0) - 30.0) < 1e-13);
    assert_true(fabs(kvb_decibel(0.5) - 10.0 * log10(0.5)) < 1e-14);
}

static void illegal_arguments_are_named(void **state) {
    (void)state;
    double c[KVB_MAX_LEVELS];
    kvb_error error;
    const int dims[] = {1, -1, (1 << 20) + 1}, counts[] = {1, 257, -4};
    for (int i = 0; i < 3; i++) {
        char named[32];
        assert_int_equal(kvb_codebook_optimum((kvb_law){dims[i]}, 16, c, NULL, &error), KVB_ERROR_ARGUMENT);
        snprintf(named, sizeof named, "dimension %d ", dims[i]);
        assert_non_null(strstr(error.text, named));
        assert_int_equal(kvb_codebook_optimum(normal, counts[i], c, NULL, &error), KVB_ERROR_ARGUMENT);
        snprintf(named, sizeof named, "%d levels", counts[i]);
        assert_non_null(strstr(error.text, named));
        assert_true(isnan(kvb_codebook_mse((kvb_law){dims[i]}, c, 16)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normal_optimum_is_stationary_to_1e_12),
        cmocka_unit_test(normal_optimum_has_the_published_errors),
        cmocka_unit_test(normal_mse_agrees_with_the_closed_form),
        cmocka_unit_test(odd_level_counts_have_a_centroid_at_zero),
        cmocka_unit_test(sphere_in_three_dimensions_gives_the_uniform_quantizer),
        cmocka_unit_test(sphere_in_two_dimensions_is_stationary_under_the_arcsine_law),
        cmocka_unit_test(sphere_optimum_is_stationary_for_every_head_dim),
        cmocka_unit_test(sphere_law_tends_to_the_normal),
        cmocka_unit_test(sqnr_is_right_by_integral_and_by_sampling),
        cmocka_unit_test(sphere_mse_agrees_with_random_unit_vectors),
        cmocka_unit_test(decibels_are_those_of_the_logarithm),
        cmocka_unit_test(illegal_arguments_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
