/* Memory with a page before and a page behind that no one may touch: an access beyond it ends the test. */
#ifndef KVB_TESTS_GUARD_H
#define KVB_TESTS_GUARD_H

#include <stddef.h>

/* `bytes` that end right before the guard, as far as `alignment` (a power of two) lets them. NULL when mmap fails. */
void *guard_allocate_high(size_t bytes, size_t alignment);
/* `bytes` that begin right behind the guard. */
void *guard_allocate_low(size_t bytes);
void guard_release_high(void *pointer, size_t bytes);
void guard_release_low(void *pointer, size_t bytes);

#endif
