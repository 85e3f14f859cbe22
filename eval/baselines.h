/* Storage formats of other engines, simulated bit by bit: what a row reads back as. docs/evaluation.md names their
 * sources. */
#ifndef KVBITS_EVAL_BASELINES_H
#define KVBITS_EVAL_BASELINES_H

#include "kvbits/eval.h"

#define KVB_BASELINE_BLOCK 32 /* values that share a scale; a row's last block may be shorter */

/* 1 for a kind that kvb_baseline_round_trip knows. */
int kvb_baseline_known(kvb_scheme_kind kind);
/* "q4_0"; NULL for a kind that is no baseline. */
const char *kvb_baseline_name(kvb_scheme_kind kind);
/* Stored bits per value of a row of n values, scales included, shorter last block included. */
double kvb_baseline_bits(kvb_scheme_kind kind, int n);

/* Replaces the n finite values of a row by what reading them back gives. They come out as NaN or Inf when a block's
 * scale or zero point does not fit binary16, as in the engines themselves. */
void kvb_baseline_round_trip(kvb_scheme_kind kind, float *row, int n);

/* FP8 E4M3FN: 4 exponent bits (bias 7), 3 mantissa bits, no Inf, NaN at 0x7f and 0xff, largest value 448. */
uint8_t kvb_f32_to_e4m3(float value); /* to nearest even, saturating */
float kvb_e4m3_to_f32(uint8_t code);

#endif
