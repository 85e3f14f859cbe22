#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void kvb_bench_print(kvb_bench_text *text, const char *format, ...) {
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (written < 0 || (size_t)written >= sizeof line)
        text->failed = 1;
    if (text->failed)
        return;
    if (text->length + (size_t)written + 1 > text->room) {
        size_t room = 2 * text->room + sizeof line;
        char *data = realloc(text->data, room);
        if (!data) {
            text->failed = 1;
            return;
        }
        text->data = data;
        text->room = room;
    }
    for (int i = 0; i <= written; i++)
        text->data[text->length + (size_t)i] = line[i];
    text->length += (size_t)written;
}

kvb_status kvb_bench_text_take(kvb_bench_text *text, char **out, kvb_error *error) {
    *out = NULL;
    if (text->failed || !text->data) {
        free(text->data);
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the report");
    }
    *out = text->data;
    return KVB_OK;
}

void kvb_bench_text_drop(kvb_bench_text *text) {
    free(text->data);
    *text = (kvb_bench_text){0};
}

void kvb_bench_row_subject(const kvb_bench_row *row, char *out, size_t bytes) {
    char format[24] = "";
    if (row->k[0])
        snprintf(format, sizeof format, row->v[0] ? "%s/%s" : "%s", row->k, row->v);
    snprintf(out, bytes, "%s%s%s%s%s%s%s", format, format[0] ? " " : "", row->backend ? row->backend : row->by,
             row->precision ? " " : "", row->precision ? row->precision : "",
             row->layout && row->backend == NULL ? " " : "", row->layout && row->backend == NULL ? row->layout : "");
}

double kvb_bench_row_value(const kvb_bench_row *row, double ns) {
    return row->rate ? 1.0 / ns : ns;
}
