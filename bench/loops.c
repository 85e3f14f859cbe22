#include "loops.h"

extern const kvb_bench_loops kvb_bench_loops_generic;
#if defined(__x86_64__)
extern const kvb_bench_loops kvb_bench_loops_avx2, kvb_bench_loops_avx512;
#elif defined(__aarch64__)
extern const kvb_bench_loops kvb_bench_loops_neon;
#endif

/* __builtin_cpu_supports also asks the operating system (XGETBV) whether it saves the registers. */
const kvb_bench_loops *kvb_bench_loops_best(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f"))
        return &kvb_bench_loops_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &kvb_bench_loops_avx2;
#elif defined(__aarch64__)
    return &kvb_bench_loops_neon;
#endif
    return &kvb_bench_loops_generic;
}
