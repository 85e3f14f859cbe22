/* The verbs, written once over vd (VEC_DOUBLES doubles), vu (as many uint64_t) and vf (VEC_FLOATS floats).
 *
 * The including file defines VEC_TABLE, VEC_NAME, VEC_DOUBLES, VEC_FLOATS and, over these types, vd_log, vd_sincos,
 * vd_sqrt, vf_exp. The types are the compiler's vectors, so + - * / are lane-wise. A set that has faster ways for
 * rotate and xor_3, to_double or store_pairs defines them and VEC_BITS, VEC_TO_DOUBLE or VEC_STORE_PAIRS. */
#include <string.h>

#include "vec.h"

enum { GROUPS = KVB_STREAM_LANES / VEC_DOUBLES, PAIR_BLOCK = 32 };

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

#ifndef VEC_BITS
static inline vu rotate(vu x, int left) {
    return (x << left) | (x >> (64 - left));
}

static inline vu xor_3(vu a, vu b, vu c) {
    return a ^ b ^ c;
}
#endif

/* xoshiro256**'s step, its chain of exclusive ors written out. */
static inline void advance(generator *g) {
    vu s0 = g->s0, s1 = g->s1, s2 = g->s2, s3 = g->s3;
    g->s0 = xor_3(s0, s1, s3);
    g->s1 = xor_3(s1, s2, s0);
    g->s2 = xor_3(s2, s0, s1 << 17);
    g->s3 = rotate(s3 ^ s1, 45);
}

/* The output of the state before `advance`; multiplications by 5 and 9 as shifts, which every set has. */
static inline vu output(const generator *g) {
    vu r = rotate((g->s1 << 2) + g->s1, 7);
    return (r << 3) + r;
}

#ifndef VEC_TO_DOUBLE
/* (double)x for x < 2^53, exact: the halves ride in the mantissas of 2^84 and 2^52. */
static inline vd to_double(vu x) {
    vu high = (x >> 32) | UINT64_C(0x4530000000000000);
    vu low = (x & UINT64_C(0xffffffff)) | UINT64_C(0x4330000000000000);
    vd h, l;
    memcpy(&h, &high, sizeof h);
    memcpy(&l, &low, sizeof l);
    return (h - (0x1p84 + 0x1p52)) + l;
}
#endif

/* The top bit of a lane says that x, below 2^53, is zero there: redraws are gathered by OR, without branches. */
static inline vu is_zero(vu x) {
    return x - 1;
}

static inline unsigned top_bits(vu x) {
    unsigned mask = 0;
    for (int i = 0; i < VEC_DOUBLES; i++)
        mask |= (unsigned)(x[i] >> 63) << i;
    return mask;
}

#ifndef VEC_STORE_PAIRS
/* Row of lane l: cosine and sine of pair 0, of pair 1, ... */
static inline void store_pairs(const vd *cosines, const vd *sines, size_t pairs, float *const *out, size_t at) {
    for (int l = 0; l < VEC_DOUBLES; l++) {
        for (size_t p = 0; p < pairs; p++) {
            out[l][at + 2 * p] = (float)cosines[p][l];
            out[l][at + 2 * p + 1] = (float)sines[p][l];
        }
    }
}
#endif

/* One step after another over a block of pairs: what waits for a logarithm and its root is then not in the way of the
 * next pair. */
static unsigned normals_group(generator *g, size_t n, float *const *out) {
    vu redraw = (vu){0};
    vd radii[PAIR_BLOCK], angles[PAIR_BLOCK], cosines[PAIR_BLOCK], sines[PAIR_BLOCK];
    size_t pairs = (n + 1) / 2;
    for (size_t first = 0; first < pairs; first += PAIR_BLOCK) {
        size_t count = pairs - first < PAIR_BLOCK ? pairs - first : PAIR_BLOCK;
        for (size_t p = 0; p < count; p++) {
            vu u1 = output(g) >> 11;
            advance(g);
            vu u2 = output(g) >> 11;
            advance(g);
            redraw |= is_zero(u1);
            radii[p] = to_double(u1) * 0x1p-53;
            angles[p] = to_double(u2) * (0x1p-53 * 6.283185307179586477);
        }
        for (size_t p = 0; p < count; p++)
            radii[p] = vd_log(radii[p]) * -2.0;
        for (size_t p = 0; p < count; p++)
            radii[p] = vd_sqrt(radii[p]);
        for (size_t p = 0; p < count; p++) {
            vd_sincos(angles[p], &sines[p], &cosines[p]);
            cosines[p] *= radii[p];
            sines[p] *= radii[p];
        }
        size_t whole = 2 * (first + count) <= n ? count : count - 1;
        store_pairs(cosines, sines, whole, out, 2 * first);
        for (int l = 0; whole < count && l < VEC_DOUBLES; l++) /* an odd n drops the last sine */
            out[l][n - 1] = (float)cosines[whole][l];
    }
    return top_bits(redraw);
}

static unsigned normals(kvb_lanes *lanes, size_t n, float *const *out) {
    unsigned mask = 0;
    for (int group = 0; group < GROUPS; group++) {
        generator g = load_generator(lanes, group);
        mask |= normals_group(&g, n, out + group * VEC_DOUBLES) << (group * VEC_DOUBLES);
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
        mask |= top_bits(redraw[group]) << (group * VEC_DOUBLES);
    }
    return mask;
}

static void divide(float *row, size_t d, float divisor) {
    for (size_t j = 0; j < d; j++)
        row[j] = row[j] / divisor;
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

const kvb_vec VEC_TABLE = {VEC_NAME, normals, skip_normals, divide, exps};
