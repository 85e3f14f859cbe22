/* A call opens a job, works on it as worker 0, closes it and waits for those that joined. A worker that wakes up too
 * late finds the job closed and goes back to sleep: a call never waits for a thread that has done nothing. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "threads.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* About 10 us: longer than the gap between two calls of an experiment, shorter than a sleep and a wake-up. */
enum { SPINS = 400 };

typedef void body_function(void *argument, size_t index, int worker);

typedef struct thread {
    struct kvb_threads *pool;
    pthread_t id;
    int worker;
} thread;

struct kvb_threads {
    int workers; /* the caller included */
    int spins;
    thread *threads; /* workers - 1 */

    pthread_mutex_t mutex; /* guards everything below but `next` */
    pthread_cond_t opened, left;
    atomic_uint calls; /* jobs opened so far; also read without the mutex, to spin */
    atomic_int inside; /* threads at work, likewise */
    int open, stop;

    body_function *body;
    void *argument;
    size_t n;
    atomic_size_t next;
};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

int kvb_threads_available(void) {
    /* The mask must be as large as the kernel's, which may know more processors than a cpu_set_t holds. */
    for (int size = 1024; size <= 1 << 20; size *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)size);
        if (!set)
            break;
        int failed = sched_getaffinity(0, CPU_ALLOC_SIZE((size_t)size), set);
        int too_small = failed && errno == EINVAL;
        int count = failed ? 1 : CPU_COUNT_S(CPU_ALLOC_SIZE((size_t)size), set);
        CPU_FREE(set);
        if (!too_small)
            return count < 1 ? 1 : count > KVB_MAX_THREADS ? KVB_MAX_THREADS : count;
    }
    return 1;
}

static void work(kvb_threads *pool, int worker) {
    for (;;) {
        size_t index = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (index >= pool->n)
            return;
        pool->body(pool->argument, index, worker);
    }
}

static void *thread_main(void *argument) {
    const thread *self = argument;
    kvb_threads *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        for (int i = 0; i < pool->spins && atomic_load_explicit(&pool->calls, memory_order_relaxed) == seen; i++)
            relax();
        pthread_mutex_lock(&pool->mutex);
        while (atomic_load(&pool->calls) == seen && !pool->stop)
            pthread_cond_wait(&pool->opened, &pool->mutex);
        int stop = pool->stop;
        int join = !stop && pool->open;
        seen = atomic_load(&pool->calls);
        if (join)
            atomic_fetch_add(&pool->inside, 1);
        pthread_mutex_unlock(&pool->mutex);
        if (stop)
            return NULL;
        if (!join)
            continue;
        work(pool, self->worker);
        pthread_mutex_lock(&pool->mutex);
        if (atomic_fetch_sub(&pool->inside, 1) == 1)
            pthread_cond_signal(&pool->left);
        pthread_mutex_unlock(&pool->mutex);
    }
}

static void run(void *context, size_t n, body_function *body, void *argument) {
    kvb_threads *pool = context;
    if (pool->workers == 1 || n <= 1) {
        for (size_t i = 0; i < n; i++)
            body(argument, i, 0);
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->body = body;
    pool->argument = argument;
    pool->n = n;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    pool->open = 1;
    atomic_fetch_add(&pool->calls, 1);
    pthread_cond_broadcast(&pool->opened);
    pthread_mutex_unlock(&pool->mutex);

    work(pool, 0);

    pthread_mutex_lock(&pool->mutex);
    pool->open = 0; /* from here on `inside` only falls */
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < pool->spins && atomic_load(&pool->inside) != 0; i++)
        relax();
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load(&pool->inside) != 0)
        pthread_cond_wait(&pool->left, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

/* Stops the first `started` threads and releases everything. */
static void release(kvb_threads *pool, int started) {
    pthread_mutex_lock(&pool->mutex);
    pool->stop = 1;
    pthread_cond_broadcast(&pool->opened);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < started; i++)
        pthread_join(pool->threads[i].id, NULL);
    pthread_cond_destroy(&pool->left);
    pthread_cond_destroy(&pool->opened);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->threads);
    free(pool);
}

kvb_status kvb_threads_create(int workers, kvb_threads **out, kvb_error *error) {
    if (workers < 0 || workers > KVB_MAX_THREADS)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "threads must be 1 to %d, or 0 for one per processor, not %d",
                             KVB_MAX_THREADS, workers);
    int available = kvb_threads_available();
    if (workers == 0)
        workers = available;
    kvb_threads *pool = calloc(1, sizeof *pool);
    thread *threads = calloc((size_t)workers, sizeof *threads);
    if (!pool || !threads) {
        free(pool);
        free(threads);
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a pool of %d threads", workers);
    }
    pool->workers = workers;
    pool->threads = threads;
    pool->spins = workers <= available ? SPINS : 0; /* spinning would keep the processor from who has work */
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->opened, NULL);
    pthread_cond_init(&pool->left, NULL);
    for (int i = 0; i + 1 < workers; i++) {
        threads[i] = (thread){.pool = pool, .worker = i + 1};
        int failure = pthread_create(&threads[i].id, NULL, thread_main, &threads[i]);
        if (failure) {
            release(pool, i);
            return kvb_error_set(error, KVB_ERROR_MEMORY, "thread %d of %d could not be started: %s", i + 1, workers,
                                 strerror(failure));
        }
    }
    *out = pool;
    return KVB_OK;
}

void kvb_threads_destroy(kvb_threads *threads) {
    if (threads)
        release(threads, threads->workers - 1);
}

kvb_parallel kvb_threads_parallel(kvb_threads *threads) {
    return (kvb_parallel){.run = run, .workers = threads->workers, .context = threads};
}
