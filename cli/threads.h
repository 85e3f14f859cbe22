/* The command's parallel-for: a pool of threads that sleeps between calls. */
#ifndef KVBITS_CLI_THREADS_H
#define KVBITS_CLI_THREADS_H

#include "kvbits/kvbits.h"

#define KVB_MAX_THREADS 1024

typedef struct kvb_threads kvb_threads;

/* Processors that this process may run on (its affinity mask), at least 1, at most KVB_MAX_THREADS. */
int kvb_threads_available(void);

/* A pool of `workers` workers, 1..KVB_MAX_THREADS, the calling thread among them; 0: kvb_threads_available(). */
KVB_CHECKED kvb_status kvb_threads_create(int workers, kvb_threads **out, kvb_error *error);
void kvb_threads_destroy(kvb_threads *threads); /* NULL is legal */

/* The pool as the libraries take it. One call at a time, and none from inside a body. */
kvb_parallel kvb_threads_parallel(kvb_threads *threads);

#endif
