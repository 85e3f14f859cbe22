/* The arena of a cache: blocks of a few sizes, with counted references. */
#include "cache.h"
#include "memory.h"

int kvb_pool_class_of(const kvb_pool *pool, size_t bytes) {
    for (int i = 0; i < pool->n_classes; i++) {
        if (pool->classes[i].bytes == bytes) {
            return i;
        }
    }
    return -1;
}

static size_t place_of(const kvb_pool *pool, const void *block) {
    return (size_t)((const uint8_t *)block - pool->arena);
}

static size_t *entry_of(const kvb_pool *pool, const void *block) {
    return &pool->entries[place_of(pool, block) / pool->smallest];
}

/* ---- Plans ---- */

void kvb_pool_plan(kvb_pool *pool) {
    for (int i = 0; i < pool->n_classes; i++) {
        pool->classes[i].n_wanted = 0;
    }
}

void kvb_pool_want(kvb_pool *pool, int class_index, size_t n) {
    size_t *wanted = &pool->classes[class_index].n_wanted;
    *wanted = kvb_size_add(*wanted, n, wanted) ? *wanted : SIZE_MAX;
}

kvb_status kvb_pool_check(const kvb_pool *pool, kvb_error *error) {
    size_t needed = 0, uncarved = pool->budget - pool->carved;
    for (int i = 0; i < pool->n_classes; i++) {
        const kvb_pool_class *class = &pool->classes[i];
        size_t bytes, n = class->n_wanted > class->n_free ? class->n_wanted - class->n_free : 0;
        if (!kvb_size_multiply(n, class->bytes, &bytes) || !kvb_size_add(needed, bytes, &needed)) {
            needed = SIZE_MAX;
        }
    }
    if (needed > uncarved) {
        return kvb_error_set(
            error, KVB_ERROR_MEMORY,
            "the cache is full: %zu more bytes are needed, and %zu of its budget of %zu can serve them", needed,
            uncarved, pool->budget);
    }
    return KVB_OK;
}

/* ---- Blocks ---- */

void *kvb_pool_take(kvb_pool *pool, int class_index) {
    kvb_pool_class *class = &pool->classes[class_index];
    uint8_t *block = pool->arena + pool->carved;
    if (class->free > 0) {
        block = pool->arena + (class->free - 1);
        class->free = *entry_of(pool, block);
        class->n_free--;
    } else {
        pool->carved += class->bytes;
    }
    *entry_of(pool, block) = 1;
    pool->n_used++;
    return block;
}

void kvb_pool_share(kvb_pool *pool, void *block) {
    ++*entry_of(pool, block);
}

int kvb_pool_is_shared(const kvb_pool *pool, const void *block) {
    return *entry_of(pool, block) > 1;
}

/* With nothing in use there is no fragmentation either. */
static void begin_anew(kvb_pool *pool) {
    pool->carved = 0;
    for (int i = 0; i < pool->n_classes; i++) {
        pool->classes[i].free = 0;
        pool->classes[i].n_free = 0;
    }
}

int kvb_pool_give(kvb_pool *pool, int class_index, void *block) {
    if (--*entry_of(pool, block) > 0) {
        return 0;
    }
    kvb_pool_class *class = &pool->classes[class_index];
    *entry_of(pool, block) = class->free;
    class->free = place_of(pool, block) + 1;
    class->n_free++;
    if (--pool->n_used == 0) {
        begin_anew(pool);
    }
    return 1;
}
