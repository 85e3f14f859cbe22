#include "report_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void append(kvb_table *table, kvb_writer *text) {
    char *cell = NULL;
    if (kvb_writer_take(text, &cell, NULL) != KVB_OK) {
        table->failed = 1;
        return;
    }
    if (table->size == table->capacity) {
        size_t capacity = table->capacity == 0 ? 64 : table->capacity * 2;
        char **cells = realloc(table->cells, capacity * sizeof *cells);
        if (cells == NULL) {
            table->failed = 1;
            kvb_text_free(cell);
            return;
        }
        table->cells = cells;
        table->capacity = capacity;
    }
    table->cells[table->size++] = cell;
}

void kvb_table_begin(kvb_table *table, const char *headings) {
    *table = (kvb_table){0};
    for (const char *p = headings; table->columns < KVB_TABLE_COLUMNS; p++) {
        size_t length = strcspn(p, "|");
        int words = *p == '<';
        kvb_writer text = {0};
        kvb_writer_bytes(&text, p + words, length - (size_t)words);
        table->text_columns |= (unsigned)words << table->columns;
        table->columns++;
        append(table, &text);
        p += length;
        if (*p == 0) {
            break;
        }
    }
}

void kvb_table_cell(kvb_table *table, const char *text) {
    kvb_writer escaped = {0};
    kvb_writer_markdown(&escaped, text);
    append(table, &escaped);
}

void kvb_table_size(kvb_table *table, long value) {
    char text[24];
    snprintf(text, sizeof text, "%ld", value);
    kvb_table_cell(table, value < 0 ? "\u2013" : text);
}

void kvb_table_real(kvb_table *table, double value, int decimals) {
    kvb_table_cell(table, kvb_fixed(value, decimals).text);
}

void kvb_table_interval(kvb_table *table, double low, double high, int decimals) {
    char text[112];
    snprintf(text, sizeof text, "[%s, %s]", kvb_fixed(low, decimals).text, kvb_fixed(high, decimals).text);
    kvb_table_cell(table, isfinite(low) && isfinite(high) ? text : "\u2013");
}

/* Characters, not bytes: continuation bytes of UTF-8 take no column. */
static size_t width_of(const char *text) {
    size_t width = 0;
    for (; *text != 0; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static void write_row(const kvb_table *table, size_t row, const size_t *widths, kvb_writer *out) {
    for (int c = 0; c < table->columns; c++) {
        const char *text = table->cells[row * (size_t)table->columns + (size_t)c];
        int padding = (int)(widths[c] - width_of(text));
        if (table->text_columns >> c & 1) {
            kvb_writer_format(out, "| %s%*s ", text, padding, "");
        } else {
            kvb_writer_format(out, "| %*s%s ", padding, "", text);
        }
    }
    kvb_writer_add(out, "|\n");
}

static void write_rule(const kvb_table *table, const size_t *widths, kvb_writer *out) {
    for (int c = 0; c < table->columns; c++) {
        kvb_writer_add(out, "|");
        for (size_t i = 0; i < widths[c] + 1; i++) {
            kvb_writer_add(out, "-");
        }
        kvb_writer_add(out, table->text_columns >> c & 1 ? "-" : ":");
    }
    kvb_writer_add(out, "|\n");
}

void kvb_table_end(kvb_table *table, kvb_writer *out) {
    size_t widths[KVB_TABLE_COLUMNS] = {0};
    size_t rows = table->size / (size_t)table->columns;
    if (table->failed || table->size % (size_t)table->columns != 0) {
        out->failed = 1;
        rows = 0;
    }
    for (size_t i = 0; i < rows * (size_t)table->columns; i++) {
        size_t width = width_of(table->cells[i]);
        size_t *column = &widths[i % (size_t)table->columns];
        *column = width > *column ? width : *column;
    }
    for (size_t row = 0; row < rows; row++) {
        write_row(table, row, widths, out);
        if (row == 0) {
            write_rule(table, widths, out);
        }
    }
    kvb_writer_add(out, "\n");
    for (size_t i = 0; i < table->size; i++) {
        kvb_text_free(table->cells[i]);
    }
    free(table->cells);
    *table = (kvb_table){0};
}
