/* The command's parallel-for: every index once, legal worker numbers, nothing left running when a call returns. */
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include "threads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { MOST = 3000 };

typedef struct job {
    int workers;
    atomic_int illegal_worker;
    atomic_int inside[KVB_MAX_THREADS]; /* how many bodies run as this worker right now */
    atomic_int two_at_once;
    int plain[MOST]; /* not atomic: the pool must order these writes before its return */
} job;

static void count(void *argument, size_t index, int worker) {
    job *job = argument;
    if (worker < 0 || worker >= job->workers)
        atomic_store(&job->illegal_worker, 1);
    else {
        if (atomic_fetch_add(&job->inside[worker], 1) != 0)
            atomic_store(&job->two_at_once, 1);
        job->plain[index]++;
        atomic_fetch_sub(&job->inside[worker], 1);
    }
}

static void check_pool(int workers, const size_t *lengths, size_t n_lengths) {
    kvb_threads *pool = NULL;
    assert_int_equal(kvb_threads_create(workers, &pool, NULL), KVB_OK);
    kvb_parallel parallel = kvb_threads_parallel(pool);
    assert_int_equal(parallel.workers, workers);
    job *job = calloc(1, sizeof *job);
    job->workers = workers;
    for (size_t i = 0; i < n_lengths; i++) {
        memset(job->plain, 0, sizeof job->plain);
        parallel.run(parallel.context, lengths[i], count, job);
        for (size_t k = 0; k < MOST; k++)
            assert_int_equal(job->plain[k], k < lengths[i]);
    }
    assert_int_equal(atomic_load(&job->illegal_worker), 0);
    assert_int_equal(atomic_load(&job->two_at_once), 0);
    free(job);
    kvb_threads_destroy(pool);
}

static void every_index_runs_exactly_once_for_any_length_and_pool(void **state) {
    (void)state;
    const size_t lengths[] = {0, 1, 2, 3, 7, 64, MOST, 1, 0, 5};
    for (int workers = 1; workers <= 9; workers++)
        check_pool(workers, lengths, sizeof lengths / sizeof lengths[0]);
}

static void thousands_of_short_calls_neither_hang_nor_lose_an_index(void **state) {
    (void)state;
    static size_t lengths[4000];
    for (size_t i = 0; i < 4000; i++)
        lengths[i] = 1 + i * 7 % 13;
    check_pool(2, lengths, 4000);
    check_pool(7, lengths, 1000); /* more threads than processors */
}

static void calls_after_a_pause_wake_sleeping_threads(void **state) {
    (void)state;
    kvb_threads *pool = NULL;
    assert_int_equal(kvb_threads_create(4, &pool, NULL), KVB_OK);
    kvb_parallel parallel = kvb_threads_parallel(pool);
    job *job = calloc(1, sizeof *job);
    job->workers = 4;
    for (int round = 1; round <= 20; round++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        parallel.run(parallel.context, 100, count, job);
        assert_int_equal(job->plain[99], round);
    }
    free(job);
    kvb_threads_destroy(pool);
}

typedef struct meeting {
    atomic_int arrived;
    int expected;
} meeting;

/* Returns only when all have arrived: it hangs unless they run at the same time. */
static void meet(void *argument, size_t index, int worker) {
    (void)index;
    (void)worker;
    meeting *meeting = argument;
    atomic_fetch_add(&meeting->arrived, 1);
    while (atomic_load(&meeting->arrived) < meeting->expected)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void all_workers_run_at_the_same_time(void **state) {
    (void)state;
    kvb_threads *pool = NULL;
    assert_int_equal(kvb_threads_create(5, &pool, NULL), KVB_OK);
    kvb_parallel parallel = kvb_threads_parallel(pool);
    meeting meeting = {.expected = 5};
    parallel.run(parallel.context, 5, meet, &meeting);
    assert_int_equal(atomic_load(&meeting.arrived), 5);
    kvb_threads_destroy(pool);
}

/* Both begin before either goes on; worker 0 returns at once, the other one long after. */
typedef struct late {
    atomic_int arrived, done;
} late;

static void be_late(void *argument, size_t index, int worker) {
    (void)index;
    late *late = argument;
    atomic_fetch_add(&late->arrived, 1);
    while (atomic_load(&late->arrived) < 2)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    if (worker != 0)
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    atomic_fetch_add(&late->done, 1);
}

static void a_call_returns_only_when_every_body_has(void **state) {
    (void)state;
    kvb_threads *pool = NULL;
    assert_int_equal(kvb_threads_create(2, &pool, NULL), KVB_OK);
    kvb_parallel parallel = kvb_threads_parallel(pool);
    static late late;
    parallel.run(parallel.context, 2, be_late, &late);
    assert_int_equal(atomic_load(&late.done), 2);
    kvb_threads_destroy(pool);
}

static void idle_pools_are_destroyed_at_once(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        kvb_threads *pool = NULL;
        assert_int_equal(kvb_threads_create(1 + i % 4, &pool, NULL), KVB_OK);
        kvb_threads_destroy(pool);
    }
    kvb_threads_destroy(NULL);
}

static void zero_workers_means_one_per_processor(void **state) {
    (void)state;
    kvb_threads *pool = NULL;
    assert_in_range(kvb_threads_available(), 1, KVB_MAX_THREADS);
    assert_int_equal(kvb_threads_create(0, &pool, NULL), KVB_OK);
    assert_int_equal(kvb_threads_parallel(pool).workers, kvb_threads_available());
    kvb_threads_destroy(pool);
}

static void illegal_numbers_of_workers_are_refused_by_name(void **state) {
    (void)state;
    const int illegal[] = {-1, KVB_MAX_THREADS + 1};
    for (int i = 0; i < 2; i++) {
        kvb_threads *pool = NULL;
        kvb_error error = {""};
        assert_int_equal(kvb_threads_create(illegal[i], &pool, &error), KVB_ERROR_ARGUMENT);
        assert_null(pool);
        assert_non_null(strstr(error.text, "1 to 1024"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_runs_exactly_once_for_any_length_and_pool),
        cmocka_unit_test(thousands_of_short_calls_neither_hang_nor_lose_an_index),
        cmocka_unit_test(calls_after_a_pause_wake_sleeping_threads),
        cmocka_unit_test(all_workers_run_at_the_same_time),
        cmocka_unit_test(a_call_returns_only_when_every_body_has),
        cmocka_unit_test(idle_pools_are_destroyed_at_once),
        cmocka_unit_test(zero_workers_means_one_per_processor),
        cmocka_unit_test(illegal_numbers_of_workers_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
