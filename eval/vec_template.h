/* The verbs, written once over vd (VEC_DOUBLES doubles), vu (as many uint64_t) and vf (VEC_FLOATS floats).
 *
 * The including file defines VEC_TABLE, VEC_NAME, VEC_DOUBLES, VEC_FLOATS and, over these types, vd_log, vd_sincos,
 * vd_sqrt, vf_exp. The types are the compiler's vectors, so + - * / are lane-wise. */
#include <string.h>

#include "vec.h"

enum { GROUPS = KVB_STREAM_LANES / VEC_DOUBLES, SUMS = 16 / VEC_FLOATS, PAIR_BLOCK = 32 };

static inline vu load_u(const uint64_t *p) {
    vu v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline vf load_f(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store_f(float *p, vf v) {
    memcpy(p, &v, sizeof v);
}

static inline vf splat_f(float x) {
    vf v;
    for (int i = 0; i < VEC_FLOATS; i++)
        v[i] = x;
    return v;
}

typedef struct generator {
    vu s0, s1, s2, s3;
} generator;

static inline generator load_generator(const kvb_lanes *lanes, int group) {
    int l = group * VEC_DOUBLES;
    return (generator){load_u(&lanes->s[0][l]), load_u(&lanes->s[1][l]), load_u(&lanes->s[2][l]),
                       load_u(&lanes->s[3][l])};
}

static inline void store_generator(kvb_lanes *lanes, int group, const generator *g) {
    int l = group * VEC_DOUBLES;
    memcpy(&lanes->s[0][l], &g->s0, sizeof g->s0);
    memcpy(&lanes->s[1][l], &g->s1, sizeof g->s1);
    memcpy(&lanes->s[2][l], &g->s2, sizeof g->s2);
    memcpy(&lanes->s[3][l], &g->s3, sizeof g->s3);
}

static inline void advance(generator *g) {
    vu t = g->s1 << 17;
    g->s2 ^= g->s0;
    g->s3 ^= g->s1;
    g->s1 ^= g->s2;
    g->s0 ^= g->s3;
    g->s2 ^= t;
    g->s3 = (g->s3 << 45) | (g->s3 >> 19);
}

/* The output of the state before `advance`; multiplications by 5 and 9 as shifts, which every set has. */
static inline vu output(const generator *g) {
    vu r = (g->s1 << 2) + g->s1;
    r = (r << 7) | (r >> 57);
    return (r << 3) + r;
}

/* (double)x for x < 2^53, exact: the halves ride in the mantissas of 2^84 and 2^52. */
static inline vd to_double(vu x) {
    vu high = (x >> 32) | UINT64_C(0x4530000000000000);
    vu low = (x & UINT64_C(0xffffffff)) | UINT64_C(0x4330000000000000);
    vd h, l;
    memcpy(&h, &high, sizeof h);
    memcpy(&l, &low, sizeof l);
    return (h - (0x1p84 + 0x1p52)) + l;
}

static inline unsigned zero_lanes(vu x) {
    unsigned mask = 0;
    for (int i = 0; i < VEC_DOUBLES; i++)
        mask |= (unsigned)(x[i] == 0) << i;
    return mask;
}

/* All ones in the lanes where x is zero: redraws are gathered by OR, without branches. */
static inline vu is_zero(vu x) {
    return (vu)(x == (vu){0});
}

static unsigned normals_group(generator *g, size_t pairs, size_t n, float *const *out) {
    vu u1[PAIR_BLOCK], u2[PAIR_BLOCK], redraw = (vu){0};
    vd radius[PAIR_BLOCK];
    float values[PAIR_BLOCK][VEC_DOUBLES][2]; /* cosine and sine side by side, as a row wants them */
    for (size_t first = 0; first < pairs; first += PAIR_BLOCK) {
        size_t count = pairs - first < PAIR_BLOCK ? pairs - first : PAIR_BLOCK;
        for (size_t p = 0; p < count; p++) {
            u1[p] = output(g) >> 11;
            advance(g);
            u2[p] = output(g) >> 11;
            advance(g);
            redraw |= is_zero(u1[p]);
        }
        for (size_t p = 0; p < count; p++) /* a loop of its own: a pair's sine does not wait for its square root */
            radius[p] = vd_sqrt(vd_log(to_double(u1[p]) * 0x1p-53) * -2.0);
        for (size_t p = 0; p < count; p++) {
            vd sine, cosine;
            vd_sincos(to_double(u2[p]) * 0x1p-53 * 6.283185307179586477, &sine, &cosine);
            cosine *= radius[p];
            sine *= radius[p];
            for (int l = 0; l < VEC_DOUBLES; l++) {
                values[p][l][0] = (float)cosine[l];
                values[p][l][1] = (float)sine[l];
            }
        }
        for (int l = 0; l < VEC_DOUBLES; l++) {
            float *row = out[l] + 2 * first;
            size_t whole = 2 * (first + count) <= n ? count : count - 1; /* an odd n drops the last sine */
            for (size_t p = 0; p < whole; p++)
                memcpy(row + 2 * p, values[p][l], sizeof values[p][l]);
            if (whole < count)
                row[2 * whole] = values[whole][l][0];
        }
    }
    return zero_lanes(~redraw);
}

static unsigned normals(kvb_lanes *lanes, size_t n, float *const *out) {
    unsigned mask = 0;
    for (int group = 0; group < GROUPS; group++) {
        generator g = load_generator(lanes, group);
        mask |= normals_group(&g, (n + 1) / 2, n, out + group * VEC_DOUBLES) << (group * VEC_DOUBLES);
        store_generator(lanes, group, &g);
    }
    return mask;
}

static unsigned skip_normals(kvb_lanes *lanes, size_t n) {
    generator g[GROUPS];
    vu redraw[GROUPS];
    for (int group = 0; group < GROUPS; group++) {
        g[group] = load_generator(lanes, group);
        redraw[group] = (vu){0};
    }
    for (size_t p = 0; p < (n + 1) / 2; p++) {
        for (int group = 0; group < GROUPS; group++) {
            redraw[group] |= is_zero(output(&g[group]) >> 11);
            advance(&g[group]);
            advance(&g[group]);
        }
    }
    unsigned mask = 0;
    for (int group = 0; group < GROUPS; group++) {
        store_generator(lanes, group, &g[group]);
        mask |= zero_lanes(~redraw[group]) << (group * VEC_DOUBLES);
    }
    return mask;
}

/* Lanes l + l+8, then +4, +2, +1: whole vectors first, then inside the last one. */
static inline float sum_lanes(const vf sums[SUMS]) {
    vf acc[SUMS];
    float lane[VEC_FLOATS];
    for (int i = 0; i < SUMS; i++)
        acc[i] = sums[i];
    for (int half = SUMS / 2; half >= 1; half /= 2)
        for (int i = 0; i < half; i++)
            acc[i] += acc[i + half];
    store_f(lane, acc[0]);
    for (int half = VEC_FLOATS / 2; half >= 1; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

/* The last 8 values of a row whose length is an odd multiple of 8, with zeros behind them. */
static inline void pad_8(const float *p, float padded[16]) {
    memcpy(padded, p, 8 * sizeof *p);
    memset(padded + 8, 0, 8 * sizeof *p);
}

static inline void dot_16(const float *a, const float *b, vf acc[SUMS]) {
    for (int i = 0; i < SUMS; i++)
        acc[i] += load_f(a + i * VEC_FLOATS) * load_f(b + i * VEC_FLOATS);
}

static inline float dot(const float *a, const float *b, size_t d) {
    vf acc[SUMS];
    size_t j = 0;
    for (int i = 0; i < SUMS; i++)
        acc[i] = splat_f(0.0f);
    for (; j + 16 <= d; j += 16)
        dot_16(a + j, b + j, acc);
    if (j < d) {
        float last_a[16], last_b[16];
        pad_8(a + j, last_a);
        pad_8(b + j, last_b);
        dot_16(last_a, last_b, acc);
    }
    return sum_lanes(acc);
}

static void dots(const float *rows, size_t n_rows, const float *q, size_t d, float *out, size_t out_stride) {
    for (size_t r = 0; r < n_rows; r++)
        out[r * out_stride] = dot(rows + r * d, q, d);
}

static void rms_normalize(float *row, size_t d, float eps) {
    float divisor = __builtin_sqrtf(dot(row, row, d) / (float)d + eps);
    for (size_t j = 0; j < d; j++)
        row[j] = row[j] / divisor;
}

static void add_scaled(float *acc, const float *row, float weight, size_t d) {
    for (size_t j = 0; j < d; j++)
        acc[j] += weight * row[j];
}

static void exps(const float *scores, size_t n, float max, float *weights) {
    size_t i = 0;
    for (; i + VEC_FLOATS <= n; i += VEC_FLOATS)
        store_f(weights + i, vf_exp(load_f(scores + i) - splat_f(max)));
    if (i < n) {
        float padded[VEC_FLOATS] = {0};
        memcpy(padded, scores + i, (n - i) * sizeof *scores);
        store_f(padded, vf_exp(load_f(padded) - splat_f(max)));
        memcpy(weights + i, padded, (n - i) * sizeof *scores);
    }
}

static void distance(const float *a, const float *b, size_t d, float *difference, float *norm) {
    float apart[KVB_VEC_MAX_ROW];
    for (size_t j = 0; j < d; j++)
        apart[j] = a[j] - b[j];
    *difference = dot(apart, apart, d);
    *norm = dot(a, a, d);
}

const kvb_vec VEC_TABLE = {VEC_NAME, normals, skip_normals, dots, rms_normalize, add_scaled, exps, distance};
