/* What a runtime that pretends to be a GPU (pretended_runtime.c) saw of launches. */
#ifndef KVB_TESTS_PRETENDED_RUNTIME_H
#define KVB_TESTS_PRETENDED_RUNTIME_H

#include "attend_job.h"

#include <cuda_runtime_api.h>

typedef struct pretended_launch {
    int n; /* launches so far */
    /* Of the last one: may it start while the work before it runs? Only attention does, and its job says how many
     * newest tokens it waits for. */
    int is_early, early_tokens;
} pretended_launch;

extern pretended_launch pretended_last;

#endif
