/* Goals: rows, or quotients of two rows, and limits for them. Inside bench/ only. */
#ifndef KVBITS_BENCH_GOALS_H
#define KVBITS_BENCH_GOALS_H

#include "bench.h"

#include <jansson.h>

typedef struct kvb_bench_goal {
    const char *name, *unit;  /* unit NULL for quotients */
    const json_t *row, *over; /* selectors; over NULL: no quotient */
    double limit;
    int at_least;
} kvb_bench_goal;

struct kvb_bench_goals {
    json_t *document; /* what the texts and selectors below belong to */
    kvb_bench_goal *goals;
    size_t n;
};

/* Does the selector mean this row? Fields that it leaves out have the defaults of docs/benchmarking.md; `backend` is
 * the one that stands for them all. */
int kvb_bench_selects(const json_t *selector, const kvb_bench_row *row, const char *backend);

#endif
