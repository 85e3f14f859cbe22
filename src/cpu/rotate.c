/* y = (H_m x H_2^k) D x / sqrt(d): D flips signs, H_2^k is Walsh-Hadamard, H_m one of the Paley matrices. Butterflies
 * run h = 1, 2, 4, ... over contiguous runs, then the order-m sums in index order; both only add and subtract, so that
 * every backend rounds alike, and the one multiply comes last, where no compiler can fuse it into a sum. The inverse is
 * the same with the transpose of H_m, and the signs last. */
#include "cpu/mix.h"
#include "cpu/ops.h"
#include "cpu/step.h"
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

void KVB_STEP(rotate)(const kvb_codec_tables *tables, float *row) {
    if (tables->rotation == KVB_ROTATION_NONE) {
        return;
    }
    if (tables->rotation == KVB_ROTATION_SIGNED) {
        flip_signs(tables->sign_masks, row, tables->head_dim);
    }
    transform(tables, tables->mix[0], row);
}

void KVB_STEP(unrotate)(const kvb_codec_tables *tables, float *row) {
    if (tables->rotation == KVB_ROTATION_NONE) {
        return;
    }
    transform(tables, tables->mix[1], row);
    if (tables->rotation == KVB_ROTATION_SIGNED) {
        flip_signs(tables->sign_masks, row, tables->head_dim);
    }
}
