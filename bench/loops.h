/* The loops that find a machine's ceilings, for each instruction set; the widest that runs here is chosen. */
#ifndef KVBITS_BENCH_LOOPS_H
#define KVBITS_BENCH_LOOPS_H

#include <stddef.h>

typedef struct kvb_bench_loops {
    const char *name;
    /* `bytes` is a multiple of 1024, pointers of 64. The result is there to be used, so that nothing is left out. */
    unsigned long long (*read)(const void *from, size_t bytes);
    unsigned long long (*read_far)(const void *from, size_t bytes); /* from beyond the caches of a core */
    void (*copy)(void *to, const void *from, size_t bytes);
    float (*multiply_add)(size_t rounds);
    double slots_per_round; /* of multiply_add: values times multiply-adds */
} kvb_bench_loops;

const kvb_bench_loops *kvb_bench_loops_best(void);

#endif
