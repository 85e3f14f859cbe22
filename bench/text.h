/* A text that grows; lack of memory is remembered and told at the end. */
#ifndef KVBITS_BENCH_TEXT_H
#define KVBITS_BENCH_TEXT_H

#include "bench.h"

#include <stddef.h>

typedef struct kvb_bench_text {
    char *data;
    size_t length, room;
    int failed;
} kvb_bench_text;

void kvb_bench_print(kvb_bench_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Hands the text over, to be released with free; on failure there is none. */
KVB_CHECKED kvb_status kvb_bench_text_take(kvb_bench_text *text, char **out, kvb_error *error);

/* The table of a GPU, for a result that has one. */
void kvb_bench_print_gpu(kvb_bench_text *text, const kvb_bench_result *result);

void kvb_bench_text_drop(kvb_bench_text *text);

/* "4/4 pages avx512 fast": what made a row, without work, shape and length. */
void kvb_bench_row_subject(const kvb_bench_row *row, char *out, size_t bytes);
/* The value that people read: ns per unit, or the rate; and what stands at the quartiles, the lower first. */
double kvb_bench_row_value(const kvb_bench_row *row, double ns);

#endif
