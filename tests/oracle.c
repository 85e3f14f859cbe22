#include "oracle.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

/* ---- Data ---- */

uint64_t oracle_next(oracle_random *random) {
    random->state += 0x9e3779b97f4a7c15u;
    uint64_t z = random->state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double oracle_uniform(oracle_random *random) {
    return ((double)(oracle_next(random) >> 11) + 0.5) * 0x1p-53;
}

float oracle_normal(oracle_random *random) {
    double radius = sqrt(-2.0 * log(oracle_uniform(random)));
    return (float)(radius * cos(2.0 * acos(-1.0) * oracle_uniform(random)));
}

/* ---- Definitions ---- */

const int oracle_rotated_dims[] = {32,  40,  48,  56,  64,  72,  80,  96,  112, 128, 144,
                                   160, 192, 224, 256, 288, 320, 384, 448, 512, 576, 0};

static void split_dim(int head_dim, int *order, int *run) {
    static const int orders[] = {36, 28, 20, 12};
    for (int k = 0; k < 4; k++) {
        int n = head_dim / orders[k];
        if (head_dim % orders[k] == 0 && (n & (n - 1)) == 0) {
            *order = orders[k];
            *run = n;
            return;
        }
    }
    *order = 1;
    *run = head_dim;
}

/* Quadratic character by Euler's criterion: t^((q-1)/2) mod q. */
static int character(int t, int q) {
    int base = (t % q + q) % q, power = 1;
    for (int i = 0; i < (q - 1) / 2; i++) {
        power = power * base % q;
    }
    return power == q - 1 ? -1 : power;
}

static int conference(int i, int j, int q) {
    if (i == 0 && j == 0) {
        return 0;
    }
    return i == 0 || j == 0 ? 1 : character(j - i, q);
}

static int paley(int m, int i, int j) {
    if (m == 12 || m == 20) {
        if (i == 0 || j == 0) {
            return 1;
        }
        return i == j ? -1 : character(j - i, m - 1);
    }
    int p = m / 2, a = i % p, b = j % p;
    int identity = a == b;
    int entry;
    if (i < p && j < p) {
        entry = conference(a, b, p - 1) + identity;
    } else if (i >= p && j >= p) {
        entry = -conference(a, b, p - 1) - identity;
    } else {
        entry = conference(a, b, p - 1) - identity;
    }
    if (i == p) {
        entry = -entry;
    }
    return j == p ? -entry : entry;
}

int oracle_hadamard(int head_dim, int row, int column) {
    int m, n;
    split_dim(head_dim, &m, &n);
    int entry = m > 1 ? paley(m, row / n, column / n) : 1;
    for (int common = (row % n) & (column % n); common; common &= common - 1) {
        entry = -entry;
    }
    return entry;
}

int oracle_sign(uint64_t seed, int i) {
    oracle_random random = {seed};
    uint64_t word = 0;
    for (int w = 0; w <= i / 64; w++) {
        word = oracle_next(&random);
    }
    return word >> (i % 64) & 1 ? -1 : 1;
}

double oracle_round_half(double value) {
    if (value == 0.0 || isnan(value)) {
        return value;
    }
    int exponent;
    frexp(value, &exponent);
    double quantum = ldexp(1.0, exponent - 11 > -24 ? exponent - 11 : -24);
    double rounded = nearbyint(value / quantum) * quantum;
    return fabs(rounded) >= 65536.0 ? copysign(INFINITY, value) : rounded;
}

void oracle_uniform_levels(int bits, double step, float *levels) {
    int n = 1 << bits;
    for (int i = 0; i < n; i++) {
        levels[i] = (float)(step * (i - 0.5 * (n - 1)));
    }
}

/* ---- Double precision ---- */

void oracle_rotate(const kvb_codec_spec *spec, const float *x, double *y) {
    int d = spec->head_dim;
    for (int i = 0; i < d; i++) {
        y[i] = x[i];
    }
    if (spec->rotation == KVB_ROTATION_NONE) {
        return;
    }
    for (int i = 0; i < d; i++) {
        double sum = 0.0;
        for (int j = 0; j < d; j++) {
            int sign = spec->rotation == KVB_ROTATION_SIGNED ? oracle_sign(spec->sign_seed, j) : 1;
            sum += oracle_hadamard(d, i, j) * sign * (double)x[j];
        }
        y[i] = sum / sqrt(d);
    }
}

void oracle_unrotate(const kvb_codec_spec *spec, const double *y, double *x) {
    int d = spec->head_dim;
    if (spec->rotation == KVB_ROTATION_NONE) {
        memcpy(x, y, (size_t)d * sizeof *x);
        return;
    }
    for (int j = 0; j < d; j++) {
        double sum = 0.0;
        for (int i = 0; i < d; i++) {
            sum += oracle_hadamard(d, i, j) * y[i];
        }
        x[j] = sum / sqrt(d) * (spec->rotation == KVB_ROTATION_SIGNED ? oracle_sign(spec->sign_seed, j) : 1);
    }
}

double oracle_encode(const kvb_codec_spec *spec, const float *x, uint8_t *codes, double *scale) {
    int d = spec->head_dim, levels = 1 << spec->bits;
    double y[KVB_MAX_HEAD_DIM], sum = 0.0, nearest = INFINITY;
    oracle_rotate(spec, x, y);
    for (int i = 0; i < d; i++) {
        sum += y[i] * y[i];
    }
    double norm_scale = sqrt(sum / d), xc = 0.0, cc = 0.0;
    for (int i = 0; i < d; i++) {
        codes[i] = 0;
        for (int k = 0; k + 1 < levels; k++) {
            double midpoint = 0.5 * ((double)spec->centroids[k] + spec->centroids[k + 1]);
            codes[i] += y[i] / norm_scale > midpoint;
            nearest = fmin(nearest, fabs(y[i] / norm_scale - midpoint));
        }
        xc += y[i] * spec->centroids[codes[i]];
        cc += (double)spec->centroids[codes[i]] * spec->centroids[codes[i]];
    }
    *scale = spec->scale == KVB_SCALE_NORM ? norm_scale : xc / cc;
    return nearest;
}

/* ---- Float, operation by operation ---- */

static void transform_exact(int d, int transposed, float *x) {
    int m, n;
    split_dim(d, &m, &n);
    float y[KVB_MAX_HEAD_DIM];
    for (int h = 1; h < n; h *= 2) {
        for (int i = 0; i < d; i++) {
            int c = i % n;
            y[i] = c / h % 2 == 0 ? x[i] + x[i + h] : x[i - h] - x[i];
        }
        memcpy(x, y, (size_t)d * sizeof *x);
    }
    float factor = (float)(1.0 / sqrt((double)d));
    for (int i = 0; i < d; i++) {
        int a = i / n, c = i % n;
        y[i] = x[c];
        for (int j = 1; j < m; j++) {
            int entry = transposed ? paley(m, j, a) : paley(m, a, j);
            y[i] = entry > 0 ? y[i] + x[j * n + c] : y[i] - x[j * n + c];
        }
    }
    for (int i = 0; i < d; i++) {
        x[i] = (m > 1 ? y[i] : x[i]) * factor;
    }
}

static void apply_signs(const kvb_codec_spec *spec, float *x) {
    for (int i = 0; spec->rotation == KVB_ROTATION_SIGNED && i < spec->head_dim; i++) {
        x[i] = oracle_sign(spec->sign_seed, i) < 0 ? -x[i] : x[i];
    }
}

void oracle_rotate_exact(const kvb_codec_spec *spec, float *x) {
    if (spec->rotation != KVB_ROTATION_NONE) {
        apply_signs(spec, x);
        transform_exact(spec->head_dim, 0, x);
    }
}

void oracle_unrotate_exact(const kvb_codec_spec *spec, float *x) {
    if (spec->rotation != KVB_ROTATION_NONE) {
        transform_exact(spec->head_dim, 1, x);
        apply_signs(spec, x);
    }
}

static float sum_exact(const float *a, const float *b, int d) {
    float lane[16] = {0};
    for (int i = 0; i < d; i++) {
        float product = a[i] * b[i];
        lane[i % 16] = lane[i % 16] + product;
    }
    float eight[8], four[4];
    for (int l = 0; l < 8; l++) {
        eight[l] = lane[l] + lane[l + 8];
    }
    for (int l = 0; l < 4; l++) {
        four[l] = eight[l] + eight[l + 4];
    }
    float even = four[0] + four[2], odd = four[1] + four[3];
    return even + odd;
}

static float round_scale_exact(kvb_dtype dtype, float scale, int *saturated) {
    float most = dtype == KVB_F16 ? 65504.0f : FLT_MAX;
    if (scale > most || scale < -most) {
        *saturated = 1;
        return scale > 0 ? most : -most;
    }
    return dtype == KVB_F16 ? (float)oracle_round_half(scale) : scale;
}

static void count_midpoints(const kvb_codec_spec *spec, const float *y, float r, uint8_t *codes) {
    for (int i = 0; i < spec->head_dim; i++) {
        float value = y[i] * r;
        codes[i] = 0;
        for (int k = 0; k + 1 < 1 << spec->bits; k++) {
            float sum = spec->centroids[k] + spec->centroids[k + 1];
            codes[i] += value > 0.5f * sum;
        }
    }
}

/* Lags of the inputs in z0 and z1, up to the first 99. */
static const struct {
    int states, z0[6], z1[6];
} subset_lags[] = {{8, {2, 99}, {0, 1, 3, 99}},
                   {16, {2, 99}, {0, 1, 4, 99}},
                   {64, {2, 4, 99}, {0, 1, 6, 99}},
                   {256, {1, 4, 5, 6, 7, 99}, {0, 2, 3, 6, 8, 99}}};

int oracle_subset(int states, const uint8_t *inputs, int i) {
    int row = 0, subset = 0;
    while (subset_lags[row].states != states) {
        row++;
    }
    for (const int *lag = subset_lags[row].z0; *lag < 99; lag++) {
        subset ^= i >= *lag ? inputs[i - *lag] : 0;
    }
    for (const int *lag = subset_lags[row].z1; *lag < 99; lag++) {
        subset ^= i >= *lag ? inputs[i - *lag] << 1 : 0;
    }
    return subset;
}

/* Viterbi's algorithm with whole histories: each state keeps all its levels. */
typedef struct survivor {
    float cost;
    uint8_t codes[KVB_MAX_HEAD_DIM];
} survivor;

/* The subset of the way into state t from the lower state (0) or the upper one (1). */
static int way_subset(int states, int t, int way) {
    uint8_t history[9] = {0}; /* the inputs that the state remembers, then this one */
    int from = t / 2 + way * (states / 2);
    for (int lag = 1; 1 << (lag - 1) < states; lag++) {
        history[8 - lag] = (uint8_t)(from >> (lag - 1) & 1);
    }
    history[8] = (uint8_t)(t % 2);
    return oracle_subset(states, history, 8);
}

static void find_path_exact(const kvb_codec_spec *spec, const float *y, float r, uint8_t *codes) {
    static survivor tables[2][256];
    int states = spec->trellis_states, levels = 2 << spec->bits, d = spec->head_dim, subsets[256][2];
    survivor *before = tables[0], *after = tables[1];
    for (int s = 0; s < states; s++) {
        before[s].cost = s == 0 ? 0.0f : INFINITY;
        subsets[s][0] = way_subset(states, s, 0);
        subsets[s][1] = way_subset(states, s, 1);
    }
    for (int i = 0; i < d; i++) {
        float value = y[i] * r;
        int first = 0;
        for (int k = 0; k + 4 < levels; k++) {
            float sum = spec->centroids[k] + spec->centroids[k + 4];
            first += value > 0.5f * sum;
        }
        for (int t = 0; t < states; t++) {
            int code[2];
            float cost[2];
            for (int way = 0; way < 2; way++) {
                code[way] = first;
                while (code[way] % 4 != subsets[t][way]) {
                    code[way]++;
                }
                float error = value - spec->centroids[code[way]], square = error * error;
                cost[way] = before[t / 2 + way * (states / 2)].cost + square;
            }
            int taken = cost[1] < cost[0];
            memcpy(after[t].codes, before[t / 2 + taken * (states / 2)].codes, (size_t)i);
            after[t].codes[i] = (uint8_t)code[taken];
            after[t].cost = cost[taken];
        }
        survivor *other = before;
        before = after;
        after = other;
    }
    int best = 0;
    for (int s = 1; s < states; s++) {
        best = before[s].cost < before[best].cost ? s : best;
    }
    memcpy(codes, before[best].codes, (size_t)d);
}

kvb_codec_spec oracle_half(const kvb_codec_spec *spec, int half) {
    int first_levels = (spec->trellis_states ? 4 : 2) << spec->bits;
    kvb_codec_spec s = *spec;
    s.head_dim = spec->head_dim / 2;
    s.half_bit = 0;
    s.rotation = KVB_ROTATION_NONE;
    s.bits = half == 0 ? spec->bits + 1 : spec->bits;
    s.centroids = half == 0 ? spec->centroids : spec->centroids + first_levels;
    return s;
}

static void choose_exact(const kvb_codec_spec *spec, const float *y, float r, uint8_t *codes) {
    if (spec->half_bit) {
        for (int half = 0; half < 2; half++) {
            kvb_codec_spec s = oracle_half(spec, half);
            choose_exact(&s, y + half * s.head_dim, r, codes + half * s.head_dim);
        }
        return;
    }
    if (spec->trellis_states) {
        find_path_exact(spec, y, r, codes);
    } else {
        count_midpoints(spec, y, r, codes);
    }
}

void oracle_levels(const kvb_codec_spec *spec, const uint8_t *codes, float *c) {
    for (int i = 0; i < spec->head_dim; i++) {
        int is_second = spec->half_bit && i >= spec->head_dim / 2;
        c[i] = (is_second ? oracle_half(spec, 1).centroids : spec->centroids)[codes[i]];
    }
}

static float least_squares_exact(const kvb_codec_spec *spec, const float *y, const uint8_t *codes, float *gain) {
    float c[KVB_MAX_HEAD_DIM];
    oracle_levels(spec, codes, c);
    float xc = sum_exact(y, c, spec->head_dim), cc = sum_exact(c, c, spec->head_dim);
    float scale = cc > 0.0f ? xc / cc : 0.0f;
    *gain = scale * xc;
    return scale;
}

static float search_exact(const kvb_codec_spec *spec, const float *y, float r, uint8_t *codes) {
    static const int parts[] = {32, 31, 33, 30, 34, 29, 35, 28, 36};
    float most = 0.0f, best = 0.0f;
    for (int k = 0; k < 9; k++) {
        uint8_t tried[KVB_MAX_HEAD_DIM];
        float gain;
        choose_exact(spec, y, r * ((float)parts[k] / 32.0f), tried);
        float scale = least_squares_exact(spec, y, tried, &gain);
        if (k == 0 || gain > most) {
            most = gain;
            best = scale;
            memcpy(codes, tried, (size_t)spec->head_dim);
        }
    }
    return best;
}

void oracle_encode_exact(const kvb_codec_spec *spec, const float *x, uint8_t *codes, float *scale, int *saturated) {
    int d = spec->head_dim, ignored = 0;
    float y[KVB_MAX_HEAD_DIM], gain;
    saturated = saturated ? saturated : &ignored;
    memcpy(y, x, (size_t)d * sizeof *y);
    oracle_rotate_exact(spec, y);
    memset(codes, 0, (size_t)d);
    float sum = sum_exact(y, y, d);
    *scale = isfinite(sum) ? 0.0f : NAN;
    if (sum == 0.0f || !isfinite(sum)) {
        return;
    }
    float root = sqrtf(sum), s = root / (float)sqrt((double)d);
    if (spec->scale == KVB_SCALE_NORM) {
        s = round_scale_exact(spec->scale_dtype, s, saturated);
    }
    if (s != 0.0f && spec->scale == KVB_SCALE_SEARCH) {
        s = round_scale_exact(spec->scale_dtype, search_exact(spec, y, 1.0f / s, codes), saturated);
    } else if (s != 0.0f) {
        choose_exact(spec, y, 1.0f / s, codes);
        if (spec->scale == KVB_SCALE_LSQ) {
            s = round_scale_exact(spec->scale_dtype, least_squares_exact(spec, y, codes, &gain), saturated);
        }
    }
    if (s == 0.0f) {
        s = 0.0f;
        memset(codes, 0, (size_t)d);
    }
    *scale = s == 0.0f ? 0.0f : s;
}

static uint8_t *pack_planes(const char *planes, int head_dim, const uint8_t *codes, int low_bit, uint8_t *bytes) {
    for (const char *plane = planes; *plane; plane++) {
        int width = *plane - '0', stride = head_dim * width / 8;
        for (int i = 0; i < head_dim; i++) {
            int field = codes[i] >> low_bit & ((1 << width) - 1);
            bytes[i % stride] |= (uint8_t)(field << (i / stride * width));
        }
        bytes += stride;
        low_bit += width;
    }
    return bytes;
}

static const char *const plane_widths[] = {"", "1", "2", "21", "4", "41", "42", "421", "8"};

void oracle_pack(int bits, int head_dim, const uint8_t *codes, uint8_t *bytes) {
    memset(bytes, 0, (size_t)(bits * head_dim / 8));
    uint8_t *end = pack_planes(plane_widths[bits], head_dim, codes, 0, bytes);
    assert(end == bytes + bits * head_dim / 8);
    (void)end;
}

/* Of the two inputs one leads to the level's subset: the others differ in z1, and no input changes z0. */
void oracle_pack_trellis(const kvb_codec_spec *spec, const uint8_t *codes, uint8_t *bytes) {
    uint8_t inputs[KVB_MAX_HEAD_DIM];
    memset(bytes, 0, (size_t)(spec->bits * spec->head_dim / 8));
    for (int i = 0; i < spec->head_dim; i++) {
        inputs[i] = 0;
        inputs[i] = oracle_subset(spec->trellis_states, inputs, i) != codes[i] % 4;
        assert(oracle_subset(spec->trellis_states, inputs, i) == codes[i] % 4);
    }
    bytes = pack_planes("1", spec->head_dim, inputs, 0, bytes);
    (void)pack_planes(plane_widths[spec->bits - 1], spec->head_dim, codes, 2, bytes);
}
