/* What the bodies of a parallel-for do when one of them fails. */
#ifndef KVB_EVAL_PARALLEL_H
#define KVB_EVAL_PARALLEL_H

#include <stdatomic.h>

#include "kvbits/eval.h"

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
