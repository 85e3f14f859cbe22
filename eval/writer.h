/* A growing text. Errors are remembered, so that a report checks once, at the end. */
#ifndef KVBITS_EVAL_WRITER_H
#define KVBITS_EVAL_WRITER_H

#include "kvbits/eval.h"

typedef struct kvb_writer {
    char *data; /* NUL-terminated once anything was added */
    size_t size, capacity;
    int failed;
} kvb_writer;

void kvb_writer_bytes(kvb_writer *out, const char *bytes, size_t size);
void kvb_writer_add(kvb_writer *out, const char *text);
/* printf without conversions of doubles, which would follow the locale: see kvb_fixed. */
void kvb_writer_format(kvb_writer *out, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
/* Text from a document, harmless where it goes: control characters become spaces everywhere. */
void kvb_writer_plain(kvb_writer *out, const char *text);    /* a terminal or a plain file */
void kvb_writer_html(kvb_writer *out, const char *text);     /* HTML text or a quoted attribute */
void kvb_writer_markdown(kvb_writer *out, const char *text); /* Markdown, inside a table cell too */
/* Hands the text over (released with kvb_text_free) and empties the writer. */
KVB_CHECKED kvb_status kvb_writer_take(kvb_writer *out, char **text, kvb_error *error);
void kvb_writer_free(kvb_writer *out);

/* A number as text, with a point in every locale; NaN, the absent number, as a dash. */
typedef struct kvb_number {
    char text[48];
} kvb_number;

kvb_number kvb_fixed(double value, int decimals);
/* As %.<digits>g. */
kvb_number kvb_general(double value, int digits);
/* kvb_fixed, but two significant digits where that would leave no figure of a small value. */
kvb_number kvb_figure(double value, int decimals);

#endif
