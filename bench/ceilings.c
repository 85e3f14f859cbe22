/* The machine's ceilings: reading and copying at each level of memory, and f32 multiply-adds, on every number of
 * threads; and from them the floors of everything else. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "loops.h"
#include "suite.h"

typedef struct ceiling {
    const kvb_bench_loops *loops;
    unsigned long long (*read)(const void *from, size_t bytes);
    const kvb_parallel *parallel;
    uint8_t *memory;     /* caches: `bytes` for each worker; DRAM: all of it, in slices of `bytes` per thread */
    size_t bytes, total; /* bytes: of one worker's piece; total: of DRAM */
    size_t cursor;
    size_t repeats;
    int copies;
    volatile unsigned long long sink;
} ceiling;

/* About a millisecond a call: waking a thread up is no matter beside it. */
enum { CALL_BYTES = 64 << 20, SLICE_BYTES = 16 << 20, ROUNDS = 1 << 18 };

static void read_piece(void *argument, size_t index, int worker) {
    ceiling *c = argument;
    /* In a cache the piece belongs to the worker, whose core holds it; in DRAM to the index. */
    uint8_t *piece = c->memory + (c->total ? c->cursor + index * c->bytes : (size_t)worker * c->bytes);
    unsigned long long sum = 0;
    for (size_t i = 0; i < c->repeats; i++)
        if (c->copies)
            c->loops->copy(piece + c->bytes / 2, piece, c->bytes / 2);
        else
            sum ^= c->read(piece, c->bytes);
    if (sum == 1) /* never, but the compiler does not know */
        c->sink = sum;
}

static kvb_status run_memory(void *context, size_t calls, kvb_error *error) {
    ceiling *c = context;
    const int workers = kvb_parallel_workers(c->parallel);
    (void)error;
    for (size_t call = 0; call < calls; call++) {
        kvb_parallel_for(c->parallel, (size_t)workers, read_piece, c);
        if (c->total) {
            c->cursor += c->bytes * (size_t)workers;
            if (c->cursor + c->bytes * (size_t)workers > c->total)
                c->cursor = 0;
        }
    }
    return KVB_OK;
}

static void account_memory(void *context, size_t calls, double *touched, double *reuse) {
    const ceiling *c = context;
    (void)reuse;
    *touched += (double)calls * (double)c->bytes * kvb_parallel_workers(c->parallel);
}

static void multiply_add_piece(void *argument, size_t index, int worker) {
    ceiling *c = argument;
    (void)index;
    (void)worker;
    if (c->loops->multiply_add(ROUNDS) == -1.0f)
        c->sink = 1;
}

static kvb_status run_multiply_add(void *context, size_t calls, kvb_error *error) {
    ceiling *c = context;
    (void)error;
    for (size_t call = 0; call < calls; call++)
        kvb_parallel_for(c->parallel, (size_t)kvb_parallel_workers(c->parallel), multiply_add_piece, c);
    return KVB_OK;
}

static size_t piece_bytes(const kvb_bench_machine *machine, int level, int workers) {
    if (level == KVB_LEVEL_DRAM)
        return SLICE_BYTES;
    if (level == KVB_LEVEL_L3) {
        size_t least = 2 * machine->caches[1], share = machine->caches[2] / 4 / (size_t)workers;
        return (share > least ? share : least) / 4096 * 4096;
    }
    return machine->caches[level] / 2 / 4096 * 4096;
}

static kvb_status add_memory(kvb_bench_suite *suite, uint8_t *dram, size_t dram_bytes, int level, int copies,
                             const kvb_parallel *parallel, kvb_error *error) {
    const int workers = kvb_parallel_workers(parallel);
    ceiling *c = NULL;
    kvb_status status = kvb_bench_allocate(suite, sizeof *c, (void **)&c, error);
    if (status != KVB_OK)
        return status;
    *c = (ceiling){.loops = kvb_bench_loops_best(), .parallel = parallel, .copies = copies, .repeats = 1};
    c->read = level >= KVB_LEVEL_DRAM ? c->loops->read_far : c->loops->read;
    c->bytes = piece_bytes(suite->machine, level, workers);
    if (level == KVB_LEVEL_DRAM) {
        c->memory = dram;
        c->total = dram_bytes;
        if (c->bytes * (size_t)workers > dram_bytes)
            c->bytes = dram_bytes / (size_t)workers / 4096 * 4096;
    } else {
        c->repeats = 1 + CALL_BYTES / c->bytes;
        status = kvb_bench_allocate(suite, c->bytes * (size_t)workers, (void **)&c->memory, error);
    }
    kvb_bench_kernel kernel = {.run = run_memory,
                               .account = account_memory,
                               .context = c,
                               .units = (double)c->bytes * (double)c->repeats * workers,
                               .warm_up = level != KVB_LEVEL_DRAM};
    kernel.row = (kvb_bench_row){.work = copies ? "copy" : "read",
                                 .by = "kvbits",
                                 .temperature = kvb_bench_level_name(level),
                                 .level = level,
                                 .threads = workers,
                                 .unit = "GB/s",
                                 .rate = 1};
    return status == KVB_OK ? kvb_bench_add(suite, &kernel, error) : status;
}

static kvb_status add_multiply_add(kvb_bench_suite *suite, const kvb_parallel *parallel, kvb_error *error) {
    ceiling *c = NULL;
    kvb_status status = kvb_bench_allocate(suite, sizeof *c, (void **)&c, error);
    if (status != KVB_OK)
        return status;
    const int workers = kvb_parallel_workers(parallel);
    *c = (ceiling){.loops = kvb_bench_loops_best(), .parallel = parallel};
    kvb_bench_kernel kernel = {
        .run = run_multiply_add, .context = c, .units = 2.0 * c->loops->slots_per_round * ROUNDS * workers};
    kernel.row = (kvb_bench_row){
        .work = "fma", .by = "kvbits", .threads = workers, .unit = "GFLOP/s", .rate = 1, .backend = c->loops->name};
    return kvb_bench_add(suite, &kernel, error);
}

kvb_status kvb_bench_add_ceilings(kvb_bench_suite *suite, kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    size_t bytes = config->memory / 4096 * 4096;
    uint8_t *dram = NULL;
    kvb_status status = kvb_bench_allocate(suite, bytes, (void **)&dram, error);
    for (int t = 0; t < config->n_parallels && status == KVB_OK; t++) {
        for (int level = 0; level < KVB_LEVELS && status == KVB_OK; level++)
            for (int copies = 0; copies < 2 && status == KVB_OK; copies++)
                status = add_memory(suite, dram, bytes, level, copies, &config->parallels[t], error);
        if (status == KVB_OK)
            status = add_multiply_add(suite, &config->parallels[t], error);
    }
    return status;
}

static double ceiling_of(const kvb_bench_suite *suite, const char *work, int level, int threads) {
    for (size_t i = 0; i < suite->n; i++) {
        const kvb_bench_row *row = &suite->kernels[i].row;
        if (strcmp(row->work, work) == 0 && row->threads == threads &&
            (row->temperature == NULL || row->level == level))
            return row->median;
    }
    return 0.0;
}

void kvb_bench_floors(kvb_bench_suite *suite) {
    for (size_t i = 0; i < suite->n; i++) {
        kvb_bench_row *row = &suite->kernels[i].row;
        row->floor_bytes = row->bytes * ceiling_of(suite, row->copies ? "copy" : "read", row->level, row->threads);
        row->floor_slots = row->slots * 2.0 * ceiling_of(suite, row->threads ? "fma" : "mma", 0, row->threads);
        row->floor = fmax(row->floor_bytes, row->floor_slots);
    }
}
