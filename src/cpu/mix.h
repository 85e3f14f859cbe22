/* The order-m half of the rotation, for head dims that are no power of two: plain C that compilers vectorize. */
#ifndef KVB_CPU_MIX_H
#define KVB_CPU_MIX_H

#include "layout.h"

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
static inline void mix_in_place(const uint8_t *mix, int m, int run, float *row) {
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

#endif
