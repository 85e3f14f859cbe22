/* The caller's parallel-for with its defaults, and what its bodies do when one of them fails. */
#ifndef KVB_EVAL_PARALLEL_H
#define KVB_EVAL_PARALLEL_H

#include <stdatomic.h>

#include "kvbits/eval.h"

/* NULL is one worker. */
static inline int kvb_workers(const kvb_parallel *parallel) {
    return parallel ? parallel->workers : 1;
}

static inline void kvb_for_each(const kvb_parallel *parallel, size_t n,
                                void (*body)(void *argument, size_t index, int worker), void *argument) {
    if (parallel)
        parallel->run(parallel->context, n, body, argument);
    else
        for (size_t i = 0; i < n; i++)
            body(argument, i, 0);
}

/* The first failure among parallel bodies; the others go unreported. Starts zeroed. */
typedef struct kvb_failure {
    atomic_int noted;
    kvb_status status;
    kvb_error error;
} kvb_failure;

static inline void kvb_failure_note(kvb_failure *failure, kvb_status status, const kvb_error *error) {
    if (status != KVB_OK && atomic_exchange(&failure->noted, 1) == 0) {
        failure->status = status;
        failure->error = *error;
    }
}

/* After the parallel-for has returned. */
static inline kvb_status kvb_failure_result(const kvb_failure *failure, kvb_error *error) {
    return failure->noted ? kvb_error_set(error, failure->status, "%s", failure->error.text) : KVB_OK;
}

#endif
