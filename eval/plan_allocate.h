/* Bytes to widths: one option for each group (a side of a layer), at the least total damage within a budget. */
#ifndef KVBITS_EVAL_PLAN_ALLOCATE_H
#define KVBITS_EVAL_PLAN_ALLOCATE_H

#include "kvbits/eval.h"

typedef struct kvb_plan_option {
    int64_t bytes; /* 0 and more */
    double damage; /* finite */
} kvb_plan_option;

/* options: [n_groups][n_options], n_options 1 to 255. chosen[group] gets the option. Exact; of equal damage the fewest
 * bytes. KVB_ERROR_ARGUMENT when the cheapest options exceed the budget, KVB_ERROR_MEMORY. */
KVB_CHECKED kvb_status kvb_plan_allocate(const kvb_plan_option *options, int n_groups, int n_options, int64_t budget,
                                         int *chosen);

#endif
