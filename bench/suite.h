/* Kernels to be measured, and the rounds that measure them: inside bench/ only. */
#ifndef KVBITS_BENCH_SUITE_H
#define KVBITS_BENCH_SUITE_H

#include "bench.h"

enum { KVB_LEVEL_L1, KVB_LEVEL_L2, KVB_LEVEL_L3, KVB_LEVEL_DRAM, KVB_LEVELS };

typedef struct kvb_bench_kernel {
    kvb_bench_row row;
    kvb_status (*run)(void *context, size_t calls, kvb_error *error);
    /* In place of run: one call, and its ns by a clock of its own. */
    kvb_status (*time)(void *context, double *ns, kvb_error *error);
    /* Of cold kernels, after each turn: adds the bytes read to *touched, lowers *reuse. NULL: reads nothing to speak
     * of. */
    void (*account)(void *context, size_t calls, double *touched, double *reuse);
    void *context;
    const void *group; /* kernels of one group are spread over a round: those that read the same pages */
    double units;      /* per call */
    size_t most_calls; /* of one turn; 0: any number */
    int warm_up;       /* one call before each turn that is not timed */
    double *samples;
    double spent, cpu; /* ns of wall time, and of processor time over all threads */
    int failed;
} kvb_bench_kernel;

typedef struct kvb_bench_suite {
    const kvb_bench_config *config;
    kvb_bench_machine *machine;
    kvb_bench_gpu *gpu; /* whose backend the rows name */
    kvb_bench_kernel *kernels;
    size_t n, room;
    void **owned; /* with what releases them */
    void (**release)(void *);
    size_t n_owned, owned_room;
    double touched;
    double left; /* bytes of memory that may still be asked for */
} kvb_bench_suite;

/* The suite releases `object` when it goes, also when this call fails for want of memory. */
KVB_CHECKED kvb_status kvb_bench_own(kvb_bench_suite *suite, void *object, void (*release)(void *), kvb_error *error);
/* Zeroed memory that lives as long as the suite, aligned to 64 bytes. */
KVB_CHECKED kvb_status kvb_bench_allocate(kvb_bench_suite *suite, size_t bytes, void **out, kvb_error *error);
KVB_CHECKED kvb_status kvb_bench_add(kvb_bench_suite *suite, const kvb_bench_kernel *kernel, kvb_error *error);

/* Is this row to be measured? What is not need not be prepared. */
int kvb_bench_wanted(const kvb_bench_suite *suite, const kvb_bench_row *row);

/* Each adds its kernels. */
kvb_status kvb_bench_add_ceilings(kvb_bench_suite *suite, kvb_error *error);
kvb_status kvb_bench_add_rows(kvb_bench_suite *suite, kvb_error *error);
kvb_status kvb_bench_add_appends(kvb_bench_suite *suite, kvb_error *error);
kvb_status kvb_bench_add_attention(kvb_bench_suite *suite, kvb_error *error);
/* All of a GPU, ceilings included. */
kvb_status kvb_bench_add_gpu(kvb_bench_suite *suite, kvb_error *error);

/* All rounds; then the rows have their figures, floors included. */
KVB_CHECKED kvb_status kvb_bench_measure(kvb_bench_suite *suite, const kvb_progress *progress, kvb_error *error);
void kvb_bench_suite_free(kvb_bench_suite *suite);

/* Of the sources that this was built from; "unknown" where they were no checkout (commit.cmake). */
extern const char kvb_bench_commit[];
void kvb_bench_machine_read(kvb_bench_machine *machine);
void kvb_bench_floors(kvb_bench_suite *suite);
/* Operations of encoding a row, rotation included. */
double kvb_bench_encode_slots(double dim, double bits);
double kvb_bench_now(void); /* ns of a clock that never goes back */
/* The cache level that holds `bytes`, with room to spare. */
int kvb_bench_level_of(const kvb_bench_machine *machine, size_t bytes);
const char *kvb_bench_level_name(int level);

#endif
