/* What tests compare with: docs/format.md restated as naively as it can be said, sharing no code with src/. */
#ifndef KVB_TESTS_ORACLE_H
#define KVB_TESTS_ORACLE_H

#include "kvbits/kvbits.h"

/* ---- Data ---- */

typedef struct oracle_random {
    uint64_t state;
} oracle_random;

uint64_t oracle_next(oracle_random *random);
double oracle_uniform(oracle_random *random); /* in (0, 1) */
float oracle_normal(oracle_random *random);

/* ---- Definitions ---- */

/* The head_dims that can be rotated, 0 at the end. */
extern const int oracle_rotated_dims[];
/* +1 or -1: entry of the unscaled d x d Hadamard matrix. */
int oracle_hadamard(int head_dim, int row, int column);
/* +1 or -1 for coordinate i. */
int oracle_sign(uint64_t seed, int i);
/* Nearest binary16 value, ties to even; Inf from 65520 on. */
double oracle_round_half(double value);
/* 2^bits levels k - (2^bits - 1)/2, times `step`. */
void oracle_uniform_levels(int bits, double step, float *levels);

/* ---- In double precision, from the definitions: exact up to 1e-13 or so ---- */

void oracle_rotate(const kvb_codec_spec *spec, const float *x, double *y);
void oracle_unrotate(const kvb_codec_spec *spec, const double *y, double *x);
/* Of scalar codes: codes and scale without any rounding to float; returns the distance of the scaled value that lies
 * nearest to a midpoint. */
double oracle_encode(const kvb_codec_spec *spec, const float *x, uint8_t *codes, double *scale);

/* ---- In float, operation by operation: equal to the last bit ---- */

void oracle_rotate_exact(const kvb_codec_spec *spec, float *x);
void oracle_unrotate_exact(const kvb_codec_spec *spec, float *x);
/* `saturated` (may be NULL) is set to 1 when the scale is. */
void oracle_encode_exact(const kvb_codec_spec *spec, const float *x, uint8_t *codes, float *scale, int *saturated);

/* One row of all planes, one after another: bits * head_dim / 8 bytes. */
void oracle_pack(int bits, int head_dim, const uint8_t *codes, uint8_t *bytes);
/* Of half a bit: the code of the first half of the coordinates, or of the second; levels from their numbers. */
kvb_codec_spec oracle_half(const kvb_codec_spec *spec, int half);
void oracle_levels(const kvb_codec_spec *spec, const uint8_t *codes, float *c);
/* The same of a trellis code from the numbers of its levels. */
void oracle_pack_trellis(const kvb_codec_spec *spec, const uint8_t *codes, uint8_t *bytes);

/* The subset that the inputs up to u[i] lead to; inputs before u[0] are 0. */
int oracle_subset(int states, const uint8_t *inputs, int i);

#endif
