#include "kvbits/kvbits.h"

int kvb_parallel_workers(const kvb_parallel *parallel) {
    return parallel ? parallel->workers : 1;
}

void kvb_parallel_for(const kvb_parallel *parallel, size_t n, void (*body)(void *argument, size_t index, int worker),
                      void *argument) {
    if (parallel) {
        parallel->run(parallel->context, n, body, argument);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        body(argument, i, 0);
    }
}
