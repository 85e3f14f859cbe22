/* Option values: the whole text must be the value, and the sentence names option, value and what is legal. */
#ifndef KVBITS_CLI_PARSE_H
#define KVBITS_CLI_PARSE_H

#include "kvbits/eval.h"

KVB_CHECKED kvb_status kvb_parse_int(const char *option, const char *text, int *out, kvb_error *error);
/* One from `least` to `most`. */
KVB_CHECKED kvb_status kvb_parse_count(const char *option, const char *text, int64_t least, int64_t most, int64_t *out,
                                       kvb_error *error);
KVB_CHECKED kvb_status kvb_parse_int_from(const char *option, const char *text, int least, int most, int *out,
                                          kvb_error *error);
/* A width of rows: 1 to 8 bits, or KVB_DENSE_BITS; half 1: half a bit more, up to 7.5. */
typedef struct kvb_width {
    int bits, half;
} kvb_width;

static inline double kvb_width_bits(kvb_width width) {
    return width.bits + 0.5 * width.half;
}

/* "4" or "4.5" at *text, which moves behind it; 0 for what is no width. */
int kvb_scan_width(const char **text, kvb_width *out);
KVB_CHECKED kvb_status kvb_parse_width(const char *option, const char *text, kvb_width *out, kvb_error *error);
/* The states of a trellis code that this library has, or 0: scalar codes. */
KVB_CHECKED kvb_status kvb_parse_states(const char *option, const char *text, int *out, kvb_error *error);
KVB_CHECKED kvb_status kvb_parse_real(const char *option, const char *text, double *out, kvb_error *error);
/* Decimal or 0x hexadecimal, up to 2^64 - 1. */
KVB_CHECKED kvb_status kvb_parse_seed(const char *option, const char *text, uint64_t *out, kvb_error *error);
/* "4,5,6": 1 to `most` numbers. */
KVB_CHECKED kvb_status kvb_parse_ints(const char *option, const char *text, int *out, int most, int *n,
                                      kvb_error *error);
/* "7/5,6/4.5": halves[i] has 1 on the sides of pair i that have half a bit more. Any numbers are taken. */
KVB_CHECKED kvb_status kvb_parse_pairs(const char *option, const char *text, kvb_pair *out, kvb_pair *halves, int most,
                                       int *n, kvb_error *error);
/* The place of `text` in "a|b|c". */
KVB_CHECKED kvb_status kvb_parse_choice(const char *option, const char *text, const char *legal, int *out,
                                        kvb_error *error);

#endif
