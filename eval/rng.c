#include "rng.h"

#include <math.h>
#include <sleef.h>
#include <string.h>

kvb_rng kvb_rng_seed(uint64_t seed) {
    kvb_rng rng;
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += UINT64_C(0x9E3779B97F4A7C15);
        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        rng.s[i] = z ^ (z >> 31);
    }
    return rng;
}

static uint64_t rotate_left(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

uint64_t kvb_rng_next(kvb_rng *rng) {
    uint64_t *s = rng->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double kvb_rng_uniform(kvb_rng *rng) {
    return (double)(kvb_rng_next(rng) >> 11) * 0x1p-53;
}

void kvb_rng_normals(kvb_rng *rng, float *out, size_t n) {
    for (size_t i = 0; i < n; i += 2) {
        double u1, u2;
        do {
            u1 = kvb_rng_uniform(rng);
            u2 = kvb_rng_uniform(rng);
        } while (u1 <= 1e-30);
        double radius = sqrt(Sleef_cinz_logd1_u35purec(u1) * -2.0);
        Sleef_double_2 angle = Sleef_cinz_sincosd1_u35purec(u2 * 6.283185307179586477); /* x: sine, y: cosine */
        out[i] = (float)(angle.y * radius);
        if (i + 1 < n)
            out[i + 1] = (float)(angle.x * radius);
    }
}

/* A square bit matrix by columns: column i is the image of state bit i. */
typedef struct matrix {
    kvb_rng column[256];
} matrix;

static kvb_rng multiply_vector(const matrix *m, kvb_rng v) {
    kvb_rng sum = {{0, 0, 0, 0}};
    for (int i = 0; i < 256; i++) {
        uint64_t pick = -(v.s[i / 64] >> (i % 64) & 1);
        for (int w = 0; w < 4; w++)
            sum.s[w] ^= m->column[i].s[w] & pick;
    }
    return sum;
}

/* product = a * b */
static void multiply(const matrix *a, const matrix *b, matrix *product) {
    for (int i = 0; i < 256; i++)
        product->column[i] = multiply_vector(a, b->column[i]);
}

static void unit(int i, kvb_rng *v) {
    memset(v, 0, sizeof *v);
    v->s[i / 64] = UINT64_C(1) << (i % 64);
}

/* Calls use(context, power) with the matrices of 2^k steps for the bits k set in `steps`; all of them commute. */
static void for_each_power(uint64_t steps, void (*use)(void *context, const matrix *power), void *context) {
    matrix power, square;
    for (int i = 0; i < 256; i++) {
        unit(i, &power.column[i]);
        (void)kvb_rng_next(&power.column[i]);
    }
    for (; steps; steps >>= 1) {
        if (steps & 1)
            use(context, &power);
        if (steps > 1) {
            multiply(&power, &power, &square);
            power = square;
        }
    }
}

static void use_on_vector(void *context, const matrix *power) {
    kvb_rng *v = context;
    *v = multiply_vector(power, *v);
}

static void use_on_matrix(void *context, const matrix *power) {
    matrix *total = context, product;
    multiply(power, total, &product);
    *total = product;
}

void kvb_rng_jump(kvb_rng *rng, uint64_t n) {
    for_each_power(n, use_on_vector, rng);
}

void kvb_jump_make(kvb_jump *jump, uint64_t steps) {
    matrix total;
    for (int i = 0; i < 256; i++)
        unit(i, &total.column[i]);
    for_each_power(steps, use_on_matrix, &total);
    for (int i = 0; i < 64; i++) {
        for (int value = 0; value < 16; value++) {
            kvb_rng v = {{0, 0, 0, 0}};
            v.s[i / 16] = (uint64_t)value << (i % 16 * 4);
            kvb_rng image = multiply_vector(&total, v);
            memcpy(jump->nibble[i][value], image.s, sizeof image.s);
        }
    }
}

kvb_rng kvb_jump_apply(const kvb_jump *jump, kvb_rng rng) {
    kvb_rng sum = {{0, 0, 0, 0}};
    for (int i = 0; i < 64; i++) {
        const uint64_t *image = jump->nibble[i][rng.s[i / 16] >> (i % 16 * 4) & 15];
        for (int w = 0; w < 4; w++)
            sum.s[w] ^= image[w];
    }
    return sum;
}
