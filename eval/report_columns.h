/* The tables of a report, described once for Markdown and HTML: which array, which columns, how each is written. */
#ifndef KVBITS_EVAL_REPORT_COLUMNS_H
#define KVBITS_EVAL_REPORT_COLUMNS_H

#include "view.h"

typedef enum kvb_column_kind {
    KVB_COLUMN_END = 0,
    KVB_COLUMN_TEXT,
    KVB_COLUMN_SIZE,
    KVB_COLUMN_WIDTH,    /* a bit width; null is "none" */
    KVB_COLUMN_ERROR,    /* an NRMSE, as many decimals as the report shows */
    KVB_COLUMN_BITS,     /* stored bits, 3 decimals */
    KVB_COLUMN_GENERAL,  /* 4 significant digits */
    KVB_COLUMN_PAIR,     /* k and v of the row */
    KVB_COLUMN_CHEAPEST, /* the row's cheapest_pair */
    KVB_COLUMN_PASS_0,   /* passes the first threshold? */
    KVB_COLUMN_PASS_1
} kvb_column_kind;

typedef struct kvb_column {
    const char *heading;
    const char *key;
    kvb_column_kind kind;
    const char *interval; /* prefix of the keys ..._low and ..._high of its 95 % interval, or NULL */
} kvb_column;

typedef struct kvb_section {
    const char *title;
    const char *note;  /* one or two sentences that say what the figures are */
    const char *array; /* the rows' key */
    const kvb_column *columns;
} kvb_section;

/* kvb_section_...: one for each table. Rows come from the document or, for the first group, from a layer of a trace. */
extern const kvb_section kvb_section_pairs, kvb_section_attribution, kvb_section_redraws, kvb_section_logits,
    kvb_section_needed;
extern const kvb_section kvb_section_round_trip, kvb_section_attention, kvb_section_worst, kvb_section_comparisons;

/* The columns that at least one row of `owner` fills, in order; returns their number, 0 when there are no rows or no
 * figures. A section's own key column decides: attribution without K-only figures is no section. */
int kvb_section_columns(const kvb_section *section, const json_t *owner, const kvb_column *out[12]);
/* A heading, with the threshold's figure for the pass columns. */
void kvb_column_heading(const kvb_column *column, const json_t *document, kvb_writer *out);
/* The plain text of a cell, without its interval. */
void kvb_column_cell(const kvb_column *column, const json_t *document, const json_t *row, int decimals,
                     kvb_writer *out);
/* The bounds of a cell's interval; 0 when the row has none. */
int kvb_column_interval(const kvb_column *column, const json_t *row, double *low, double *high);

#endif
