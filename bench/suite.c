/* The rounds: each kernel has one turn a round, so that whatever drifts (clock, neighbors) hits all alike. */
#define _POSIX_C_SOURCE 200809L
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LEAST_SAMPLES = 3 };
/* After a turn of several threads: other libraries' workers spin on for a while before they sleep. */
static const long rest_ns = 2000000;

static kvb_status no_memory(size_t bytes, kvb_error *error) {
    return kvb_error_set(error, KVB_ERROR_MEMORY,
                         "out of memory for %zu bytes more; shorter --kv-len, fewer --shapes, fewer --bits need less",
                         bytes);
}

kvb_status kvb_bench_own(kvb_bench_suite *suite, void *object, void (*release)(void *), kvb_error *error) {
    if (suite->n_owned == suite->owned_room) {
        size_t room = suite->owned_room ? 2 * suite->owned_room : 64;
        void **owned = realloc(suite->owned, room * sizeof *owned);
        if (owned)
            suite->owned = owned;
        void (**releases)(void *) = owned ? realloc(suite->release, room * sizeof *releases) : NULL;
        if (!releases) {
            release(object);
            return no_memory(room * sizeof *owned, error);
        }
        suite->release = releases;
        suite->owned_room = room;
    }
    suite->owned[suite->n_owned] = object;
    suite->release[suite->n_owned++] = release;
    return KVB_OK;
}

kvb_status kvb_bench_allocate(kvb_bench_suite *suite, size_t bytes, void **out, kvb_error *error) {
    const size_t room = (bytes + 64) / 64 * 64;
    suite->left -= (double)room;
    *out = room < bytes || suite->left < 0.0 ? NULL : aligned_alloc(64, room);
    if (!*out)
        return no_memory(bytes, error);
    memset(*out, 0, room);
    return kvb_bench_own(suite, *out, free, error);
}

int kvb_bench_wanted(const kvb_bench_suite *suite, const kvb_bench_row *row) {
    const kvb_bench_config *config = suite->config;
    return !config->only_goals || kvb_bench_goals_want(config->only_goals, row, kvb_backend_name(config->backends[0]));
}

kvb_status kvb_bench_add(kvb_bench_suite *suite, const kvb_bench_kernel *kernel, kvb_error *error) {
    if (suite->n == suite->room) {
        size_t room = suite->room ? 2 * suite->room : 64;
        kvb_bench_kernel *kernels = realloc(suite->kernels, room * sizeof *kernels);
        if (!kernels)
            return no_memory(room * sizeof *kernels, error);
        suite->kernels = kernels;
        suite->room = room;
    }
    suite->kernels[suite->n] = *kernel;
    suite->kernels[suite->n].row.reuse = INFINITY;
    suite->kernels[suite->n].samples = malloc((size_t)suite->config->rounds * sizeof(double));
    if (!suite->kernels[suite->n].samples)
        return no_memory((size_t)suite->config->rounds * sizeof(double), error);
    suite->n++;
    return KVB_OK;
}

void kvb_bench_suite_free(kvb_bench_suite *suite) {
    for (size_t i = 0; i < suite->n; i++)
        free(suite->kernels[i].samples);
    while (suite->n_owned > 0) {
        suite->n_owned--;
        suite->release[suite->n_owned](suite->owned[suite->n_owned]);
    }
    free(suite->owned);
    free(suite->release);
    free(suite->kernels);
    *suite = (kvb_bench_suite){0};
}

static double cpu_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static kvb_status turn(kvb_bench_suite *suite, kvb_bench_kernel *kernel, size_t calls, double *ns, kvb_error *error) {
    if (kernel->time) {
        const kvb_status timed = kernel->time(kernel->context, ns, error);
        kernel->spent += *ns;
        return timed;
    }
    kvb_status status = kernel->warm_up ? kernel->run(kernel->context, 1, error) : KVB_OK;
    const double cpu = cpu_now(), start = kvb_bench_now();
    if (status == KVB_OK)
        status = kernel->run(kernel->context, calls, error);
    *ns = kvb_bench_now() - start;
    kernel->cpu += cpu_now() - cpu;
    kernel->spent += *ns;
    if (kernel->account)
        kernel->account(kernel->context, calls, &suite->touched, &kernel->row.reuse);
    if (kernel->row.threads > 1)
        nanosleep(&(struct timespec){.tv_nsec = rest_ns}, NULL);
    return status;
}

/* One call to make everything present, one to see how long it takes, and from that the calls of a turn. */
static kvb_status prepare(kvb_bench_suite *suite, kvb_bench_kernel *kernel, kvb_error *error) {
    double ns = 0.0;
    const double wanted = suite->config->seconds * 1e9 / suite->config->rounds;
    kvb_status status = turn(suite, kernel, 1, &ns, error);
    if (status == KVB_OK && ns < wanted)
        status = turn(suite, kernel, 1, &ns, error);
    kernel->row.calls = 1;
    while (status == KVB_OK && !kernel->time && ns < wanted / 2) {
        double more = fmin(wanted / fmax(ns, 1.0), 100.0) * (double)kernel->row.calls;
        size_t calls = (size_t)more;
        if (kernel->most_calls && calls > kernel->most_calls)
            calls = kernel->most_calls;
        if (calls <= kernel->row.calls)
            break;
        kernel->row.calls = calls;
        status = turn(suite, kernel, calls, &ns, error);
    }
    kernel->row.reuse = INFINITY;
    kernel->spent = kernel->cpu = 0.0;
    return status;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int n, double share) {
    const double place = share * (n - 1);
    const int low = (int)place;
    return low + 1 < n ? sorted[low] + (place - low) * (sorted[low + 1] - sorted[low]) : sorted[n - 1];
}

static void summarize(kvb_bench_kernel *kernel) {
    kvb_bench_row *row = &kernel->row;
    qsort(kernel->samples, (size_t)row->samples, sizeof(double), compare);
    row->median = quantile(kernel->samples, row->samples, 0.5);
    row->low_quartile = quantile(kernel->samples, row->samples, 0.25);
    row->high_quartile = quantile(kernel->samples, row->samples, 0.75);
    row->least = kernel->samples[0];
    row->most = kernel->samples[row->samples - 1];
    /* The processor's clock is read outside of the wall's, which shows where turns take less than a microsecond. */
    row->cpu_share = row->threads ? fmin(1.0, kernel->cpu / (kernel->spent * row->threads)) : 0.0;
    if (row->reuse == INFINITY)
        row->reuse = 0.0;
}

typedef struct place {
    double share; /* of the round */
    size_t index;
} place;

static int compare_places(const void *a, const void *b) {
    const place *x = a, *y = b;
    return x->share != y->share ? (x->share > y->share) - (x->share < y->share)
                                : (x->index > y->index) - (x->index < y->index);
}

/* The order of a round: each group evenly spread over it, so that nobody finds in a cache what a neighbor has just
 * read. */
static place *order_of(const kvb_bench_suite *suite) {
    place *places = malloc((suite->n + 1) * sizeof *places);
    for (size_t i = 0; places && i < suite->n; i++) {
        size_t before = 0, all = 0;
        for (size_t j = 0; j < suite->n; j++)
            if (suite->kernels[j].group == suite->kernels[i].group) {
                before += j < i;
                all++;
            }
        places[i] = (place){.share = ((double)before + 0.5) / (double)all, .index = i};
    }
    if (places)
        qsort(places, suite->n, sizeof *places, compare_places);
    return places;
}

/* One round; round -1 prepares. */
static kvb_status measure_round(kvb_bench_suite *suite, int round, const place *order, const kvb_progress *progress,
                                kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    const double steps = (double)(config->rounds + 1) * (double)suite->n;
    for (size_t i = 0; i < suite->n; i++) {
        kvb_bench_kernel *kernel = &suite->kernels[order[i].index];
        double ns = 0.0;
        if (progress && progress->report)
            progress->report(progress->context, kernel->row.work,
                             ((double)(round + 1) * (double)suite->n + (double)i) / steps);
        if (round >= LEAST_SAMPLES && kernel->spent > 1.2e9 * config->seconds)
            continue; /* slow ones have had their time */
        kvb_status status =
            round < 0 ? prepare(suite, kernel, error) : turn(suite, kernel, kernel->row.calls, &ns, error);
        if (status != KVB_OK)
            return status;
        if (round < 0)
            continue;
        kernel->samples[kernel->row.samples++] = ns / ((double)kernel->row.calls * kernel->units);
    }
    return KVB_OK;
}

kvb_status kvb_bench_measure(kvb_bench_suite *suite, const kvb_progress *progress, kvb_error *error) {
    kvb_status status = KVB_OK;
    place *order = order_of(suite);
    if (!order)
        return no_memory((suite->n + 1) * sizeof *order, error);
    for (int round = -1; round < suite->config->rounds && status == KVB_OK; round++)
        status = measure_round(suite, round, order, progress, error);
    free(order);
    if (status != KVB_OK)
        return status;
    for (size_t i = 0; i < suite->n; i++)
        summarize(&suite->kernels[i]);
    kvb_bench_floors(suite);
    return KVB_OK;
}
