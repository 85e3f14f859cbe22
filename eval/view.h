/* Reading a result document for the reports: absent, null and mistyped entries all read as "not there". */
#ifndef KVBITS_EVAL_VIEW_H
#define KVBITS_EVAL_VIEW_H

#include "result.h"
#include "writer.h"

enum { KVB_VIEW_NAME = 72 }; /* holds "k/v" of two names of 31 characters */

/* NaN, -1, NULL, NULL, NULL when not there; an empty array or object is not there. */
double kvb_view_real(const json_t *object, const char *key);
long kvb_view_size(const json_t *object, const char *key);
const char *kvb_view_string(const json_t *object, const char *key);
json_t *kvb_view_array(const json_t *object, const char *key);
json_t *kvb_view_object(const json_t *object, const char *key);

int kvb_view_is_trace(const json_t *document);
/* The thresholds of the verdict, in the document's order; returns how many there are, at most 2. */
int kvb_view_thresholds(const json_t *document, double thresholds[2]);
/* The verdict at the i-th threshold, NULL when not there. */
const char *kvb_view_verdict(const json_t *document, int i);
/* The bits of "bit_width_<b>_sufficient", 0 for "all_bit_widths_fail_...", -1 for anything else. */
int kvb_view_verdict_bits(const char *verdict);
/* "6 bits are enough" and so on, for the reader of a report. */
void kvb_view_verdict_words(kvb_writer *out, const char *verdict);
/* The entry of "needed" for a threshold, NULL when not there. */
const json_t *kvb_view_needed(const json_t *owner, double threshold);

/* The bits of a kvbits code's name ("1" to "8", "1.5" to "7.5"), 0 for another scheme. */
double kvb_view_code_bits(const char *name);
/* "k/v" of a cell; a baseline used for both is just its name. */
void kvb_view_pair(const json_t *cell, char name[KVB_VIEW_NAME]);
/* 1 when K and V of the cell are stored alike. */
int kvb_view_symmetric(const json_t *cell);
/* Does the worst pair pass the i-th threshold? By `passes`, or by its error where that is not there. */
int kvb_view_passes(const json_t *document, const json_t *worst, int i);
/* The cell of "pair_cells" with these names, the first of several, NULL when not there. */
const json_t *kvb_view_find_pair(const json_t *owner, const char *k, const char *v);

/* One side alone, the other kept exact: the largest mean over kv_lens or layers, for each name on that side. */
typedef struct kvb_view_side {
    const char *name; /* points into the document */
    double bits, mean, low, high;
} kvb_view_side;

/* Fills at most `limit` entries for side 'k' or 'v' in rising order of stored bits; returns their number. */
int kvb_view_sides(const json_t *document, char side, kvb_view_side *out, int limit);

/* One line that says what was measured: data, shape, lengths, trials. */
void kvb_view_subject(kvb_writer *out, const json_t *document);
/* Any value of the configuration as text. */
void kvb_view_value(kvb_writer *out, const json_t *value);
/* A schema key as words: "scale_kind" becomes "scale kind". */
void kvb_view_words(kvb_writer *out, const char *key);

#endif
