/* y = (H_m x H_2^k) D x / sqrt(d): D flips signs, H_2^k is Walsh-Hadamard, H_m one of the Paley matrices. Butterflies
 * run h = 1, 2, 4, ... over contiguous runs, then the order-m sums in index order; both only add and subtract, so that
 * every backend rounds alike, and the one multiply comes last, where no compiler can fuse it into a sum. The inverse is
 * the same with the transpose of H_m, and the signs last. */
#include "cpu/ops.h"
#include "half.h"

static void flip_signs(const uint32_t *masks, float *row, int n) {
    for (int i = 0; i < n; i++) {
        row[i] = kvb_float_of(kvb_bits_of(row[i]) ^ masks[i]);
    }
}

/* Stages h and 2h in one pass over memory: the same sums as one after the other. */
static inline void butterfly_pair(float *row, int n, int h) {
    for (int start = 0; start < n; start += 4 * h) {
        float *a = row + start, *b = a + h, *c = b + h, *d = c + h;
        for (int i = 0; i < h; i++) {
            float ab = a[i] + b[i], a_b = a[i] - b[i];
            float cd = c[i] + d[i], c_d = c[i] - d[i];
            a[i] = ab + cd;
            b[i] = a_b + c_d;
            c[i] = ab - cd;
            d[i] = a_b - c_d;
        }
    }
}

static inline void butterfly(float *row, int n, int h) {
    for (int start = 0; start < n; start += 2 * h) {
        float *a = row + start, *b = a + h;
        for (int i = 0; i < h; i++) {
            float sum = a[i] + b[i];
            b[i] = a[i] - b[i];
            a[i] = sum;
        }
    }
}

/* All stages of the transform of length `run`, over each of the n / run runs. Constant distances spare the compiler its
 * checks for overlap. */
static void walsh_hadamard(float *row, int n, int run) {
    if (run >= 4) {
        butterfly_pair(row, n, 1);
    }
    if (run >= 16) {
        butterfly_pair(row, n, 4);
    }
    if (run >= 64) {
        butterfly_pair(row, n, 16);
    }
    if (run >= 256) {
        butterfly_pair(row, n, 64);
    }
    switch (run) { /* odd powers of two have one stage left */
    case 2:
        butterfly(row, n, 1);
        break;
    case 8:
        butterfly(row, n, 4);
        break;
    case 32:
        butterfly(row, n, 16);
        break;
    case 128:
        butterfly(row, n, 64);
        break;
    case 512:
        butterfly(row, n, 256);
        break;
    default:
        break;
    }
}

/* Sums of the order-m transform over [m][run]; `signed_rows` is [2m][run], the rows and their negations. Three terms
 * join the first, then four at a time, in index order: every supported m is a multiple of four, and every first column
 * is +1. Row after row instead of sum after sum, because neighboring sums do not wait for each other. */
static inline void mix_rows(const uint8_t *mix, int m, int run, const float *restrict signed_rows,
                            float *restrict out) {
    for (int row = 0; row < m; row++) {
        const uint8_t *sources = mix + row * m;
        const float *b = signed_rows + sources[1] * run, *c = signed_rows + sources[2] * run;
        const float *d = signed_rows + sources[3] * run;
        for (int i = 0; i < run; i++) {
            out[row * run + i] = signed_rows[i] + b[i] + c[i] + d[i];
        }
    }
    for (int j = 4; j < m; j += 4) {
        for (int row = 0; row < m; row++) {
            const uint8_t *sources = mix + row * m + j;
            const float *a = signed_rows + sources[0] * run, *b = signed_rows + sources[1] * run;
            const float *c = signed_rows + sources[2] * run, *d = signed_rows + sources[3] * run;
            float *sums = out + row * run;
            for (int i = 0; i < run; i++) {
                sums[i] = sums[i] + a[i] + b[i] + c[i] + d[i];
            }
        }
    }
}

/* The order-m transform; a constant run lets the compiler unroll the innermost loops. */
static void mix_in_place(const uint8_t *mix, int m, int run, float *row) {
    float signed_rows[2 * KVB_MAX_HEAD_DIM];
    int n = m * run;
    for (int i = 0; i < n; i++) {
        signed_rows[i] = row[i];
        signed_rows[n + i] = -row[i];
    }
    switch (run) {
    case 2:
        mix_rows(mix, m, 2, signed_rows, row);
        break;
    case 4:
        mix_rows(mix, m, 4, signed_rows, row);
        break;
    case 8:
        mix_rows(mix, m, 8, signed_rows, row);
        break;
    case 16:
        mix_rows(mix, m, 16, signed_rows, row);
        break;
    default:
        mix_rows(mix, m, 32, signed_rows, row);
    }
}

static void transform(const kvb_codec_tables *tables, const uint8_t *mix, float *row) {
    int n = tables->head_dim;
    walsh_hadamard(row, n, tables->run);
    if (tables->hadamard_order > 1) {
        mix_in_place(mix, tables->hadamard_order, tables->run, row);
    }
    for (int i = 0; i < n; i++) {
        row[i] *= tables->inverse_sqrt_dim;
    }
}

void kvb_scalar_rotate(const kvb_codec_tables *tables, float *row) {
    if (tables->rotation == KVB_ROTATION_NONE) {
        return;
    }
    if (tables->rotation == KVB_ROTATION_SIGNED) {
        flip_signs(tables->sign_masks, row, tables->head_dim);
    }
    transform(tables, tables->mix[0], row);
}

void kvb_scalar_unrotate(const kvb_codec_tables *tables, float *row) {
    if (tables->rotation == KVB_ROTATION_NONE) {
        return;
    }
    transform(tables, tables->mix[1], row);
    if (tables->rotation == KVB_ROTATION_SIGNED) {
        flip_signs(tables->sign_masks, row, tables->head_dim);
    }
}
