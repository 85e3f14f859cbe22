#include "memory.h"

#include <stdlib.h>

static void *allocate_default(void *context, size_t bytes, size_t alignment) {
    (void)context;
    size_t padded;
    /* aligned_alloc wants a multiple of the alignment. */
    if (!kvb_size_add(bytes, alignment - 1, &padded)) {
        return NULL;
    }
    return aligned_alloc(alignment, padded / alignment * alignment);
}

static void release_default(void *context, void *pointer, size_t bytes) {
    (void)context;
    (void)bytes;
    free(pointer);
}

kvb_allocator kvb_allocator_resolve(const kvb_allocator *allocator) {
    return allocator ? *allocator : (kvb_allocator){allocate_default, release_default, NULL};
}

kvb_status kvb_allocator_check(const kvb_allocator *allocator, kvb_error *error) {
    if (allocator && (!allocator->allocate || !allocator->release)) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "the allocator lacks %s; it needs allocate and release",
                             allocator->allocate ? "release" : "allocate");
    }
    return KVB_OK;
}

int kvb_size_add(size_t a, size_t b, size_t *out) {
    if (a > SIZE_MAX - b) {
        return 0;
    }
    *out = a + b;
    return 1;
}

int kvb_size_multiply(size_t a, size_t b, size_t *out) {
    if (b != 0 && a > SIZE_MAX / b) {
        return 0;
    }
    *out = a * b;
    return 1;
}
