/* What stands behind kvb_cuda_cache.
 *
 *     books     a kvb_cache whose home is the device: parts, tables of device pointers, the pool. Exact tokens have no
 *               blocks there; each sequence has a row of every layer's arrays
 *     numbers   on the device, one array of int32: the batch, lengths, tables; changed by kvb_cuda_update alone, and
 *               lengths by advance
 *     step      what begin began; nothing else changes the books until commit
 *
 * cache_books.c asks no device but through `queue`, so that it is tested where there is none. */
#ifndef KVB_CUDA_CACHE_DEVICE_H
#define KVB_CUDA_CACHE_DEVICE_H

#include "cache.h"
#include "cache_kernels.h"
#include "kvbits/cuda_cache.h"

#define KVB_CUDA_POOL_UNIT 128 /* bytes: tables count the pool in these */
#define KVB_CUDA_MAX_SEQUENCES 32767
#define KVB_CUDA_MAX_CACHE_TOKENS (1 << 30)
#define KVB_CUDA_MAX_BUDGET ((uint64_t)KVB_CUDA_POOL_UNIT << 31)

/* What reaches the device, in the order of the stream. */
typedef struct kvb_cuda_queue {
    kvb_status (*update)(int32_t *numbers, const kvb_cuda_update *update, void *stream, kvb_error *error);
    kvb_status (*copy)(void *to, const void *from, size_t bytes, void *stream, kvb_error *error);
    /* `what` may queue now: the device is the current one, and the stream is not capturing. */
    kvb_status (*check)(const kvb_cuda_cache *cache, const char *what, void *stream, kvb_error *error);
} kvb_cuda_queue;

/* Arrays of a layer's exact tokens, by side: first ones, then rings. */
enum { KVB_CUDA_FIRST = 0, KVB_CUDA_LAST = 2, KVB_CUDA_EXACT = 4 };
typedef struct kvb_cuda_cache_layer {
    kvb_cuda_layer *layer;
    int n_q_heads;
    int kind;                           /* layers of one kind share plans of attention */
    int has_plan;                       /* the step's plan queued one for its kind */
    size_t exact_at[KVB_CUDA_EXACT];    /* in `exact` */
    size_t exact_bytes[KVB_CUDA_EXACT]; /* of one sequence */
} kvb_cuda_cache_layer;

typedef struct kvb_cuda_step {
    int n_sequences; /* 0: none has begun */
    int n_steps, most_rows;
    int *sequences, *n_new; /* [max_sequences] */
} kvb_cuda_step;

/* Of a sequence: it is in the step; its packed_ends on the device are another's, or of before a truncation. */
enum { KVB_CUDA_IN_STEP = 1, KVB_CUDA_IS_STALE = 2 };

struct kvb_cuda_cache {
    kvb_cache *books;
    kvb_allocator allocator;
    size_t bytes; /* of this struct and its arrays */
    int device;
    kvb_cuda_queue queue;
    kvb_cuda_cache_layer *layers;
    int n_kinds;
    int32_t *numbers;
    kvb_cuda_numbers at;
    size_t table_stride;
    uint8_t *exact; /* on the device; or NULL */
    size_t exact_bytes;
    kvb_cuda_step step;
    uint8_t *marks; /* [max_sequences] */
    /* The plans in the caller's scratch. */
    int planned_sequences, planned_queries;
    /* What was queued last wrote new rows or results alone: attention may start before it is done. */
    int only_rows_last;
    /* What a call gathers before it is queued; the first failure. */
    kvb_cuda_update update;
    void *stream;
    kvb_status status;
    kvb_error failure;
};

/* A cache without layers, numbers and exact tokens on the device: at.n and exact_bytes are set, for the caller to
 * allocate. `memory` gives the arena: allocate and release count; their context is the cache, of which the device is
 * set, and whose status and failure say why there is none. */
kvb_status kvb_cuda_books_create(const kvb_cuda_cache_spec *spec, const kvb_cuda_queue *queue,
                                 const kvb_cache_home *memory, const kvb_allocator *allocator, kvb_cuda_cache **out,
                                 kvb_error *error);
void kvb_cuda_books_destroy(kvb_cuda_cache *cache);
/* No step has begun. */
kvb_status kvb_cuda_books_between(const kvb_cuda_cache *cache, kvb_error *error);
/* A step has begun, and there is such a layer. */
kvb_status kvb_cuda_books_in_step(const kvb_cuda_cache *cache, int layer, kvb_error *error);
/* Gathering for `stream`, and its end: queues what is left; the first failure. */
void kvb_cuda_books_gather(kvb_cuda_cache *cache, void *stream);
kvb_status kvb_cuda_books_settle(kvb_cuda_cache *cache, kvb_error *error);
void kvb_cuda_books_put(kvb_cuda_cache *cache, size_t at, int32_t value);

static inline size_t kvb_cuda_table_at(const kvb_cuda_cache *cache, int sequence, int layer) {
    return cache->at.tables +
           ((size_t)layer * (size_t)cache->books->spec.max_sequences + (size_t)sequence) * cache->table_stride;
}

static inline size_t kvb_cuda_packed_ends_at(const kvb_cuda_cache *cache, int layer) {
    return cache->at.packed_ends + (size_t)layer * ((size_t)cache->books->spec.max_sequences + 1);
}

/* All sequences of a layer, row by row; lengths are those behind the step. */
kvb_cuda_pages kvb_cuda_cache_pages(const kvb_cuda_cache *cache, int layer);
/* Those of the step's batch. */
kvb_cuda_pages kvb_cuda_cache_batch(const kvb_cuda_cache *cache, int layer);

#endif
