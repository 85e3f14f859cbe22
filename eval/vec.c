#include "vec.h"

#include <string.h>

extern const kvb_vec kvb_vec_generic;
#if defined(__x86_64__)
extern const kvb_vec kvb_vec_sse2, kvb_vec_avx2, kvb_vec_avx512;
#elif defined(__aarch64__)
extern const kvb_vec kvb_vec_neon;
#endif

/* Widest first. __builtin_cpu_supports also asks the operating system (XGETBV) whether it saves the registers. */
static size_t list(const kvb_vec *found[4]) {
    size_t n = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        found[n++] = &kvb_vec_avx512;
    if (__builtin_cpu_supports("avx2"))
        found[n++] = &kvb_vec_avx2;
    found[n++] = &kvb_vec_sse2;
#elif defined(__aarch64__)
    found[n++] = &kvb_vec_neon;
#endif
    found[n++] = &kvb_vec_generic;
    return n;
}

const kvb_vec *kvb_vec_best(void) {
    const kvb_vec *found[4];
    list(found);
    return found[0];
}

const kvb_vec *kvb_vec_named(const char *name) {
    const kvb_vec *found[4];
    size_t n = list(found);
    for (size_t i = 0; i < n; i++)
        if (strcmp(found[i]->name, name) == 0)
            return found[i];
    return NULL;
}
