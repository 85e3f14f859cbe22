/* A Markdown table whose columns line up in plain text as well. */
#ifndef KVBITS_EVAL_REPORT_TABLE_H
#define KVBITS_EVAL_REPORT_TABLE_H

#include "writer.h"

enum { KVB_TABLE_COLUMNS = 16 };

typedef struct kvb_table {
    char **cells;
    size_t size, capacity;
    int columns;
    unsigned text_columns; /* bit i: column i holds words and is aligned left */
    int failed;
} kvb_table;

/* Starts a table from its headings, separated by '|'; those that begin with '<' are aligned left. */
void kvb_table_begin(kvb_table *table, const char *headings);
/* Appends the next cell, row by row. The text is escaped. */
void kvb_table_cell(kvb_table *table, const char *text);
void kvb_table_size(kvb_table *table, long value); /* a dash below 0 */
void kvb_table_real(kvb_table *table, double value, int decimals);
/* "[low, high]", or a dash. */
void kvb_table_interval(kvb_table *table, double low, double high, int decimals);
/* Writes the table with an empty line after it, and releases it. */
void kvb_table_end(kvb_table *table, kvb_writer *out);

#endif
