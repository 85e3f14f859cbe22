/* What stands behind the opaque cache.
 *
 *     kvb_cache -> layers[layer]                    how a layer keeps tokens: formats, sizes; constant
 *               -> sequences[sequence]              is it open, how many tokens are committed
 *               -> parts[sequence * n_layers + layer]   the tokens of one sequence in one layer: its table of pages
 *               -> pool                             the arena, from which pages and exact blocks come
 *
 * The tokens of a part:   [0, exact_first)          raw, in its exact block's first arrays; never in pages
 *                         [exact_first, packed_end) in pages
 *                         [packed_end, n_tokens)    raw, in its exact block's rings: token t in slot t % exact_last
 *
 * so that packed_end == n_tokens while n_tokens <= exact_first, and n_tokens - packed_end <= exact_last always. */
#ifndef KVB_CACHE_H
#define KVB_CACHE_H

#include "codec.h"
#include "page.h"

#define KVB_MAX_EXACT_TOKENS 65536

/* ---- cache_pool.c: blocks of a few sizes, counted references ---- */

/* Blocks of one size. What is given back serves its own class again. */
typedef struct kvb_pool_class {
    size_t bytes; /* a multiple of KVB_BLOCK_ALIGNMENT */
    void *free;   /* the first bytes of a free block point to the next one */
    size_t n_free;
    size_t n_wanted; /* of the plan that is being made */
} kvb_pool_class;

typedef struct kvb_pool {
    uint8_t *arena;
    size_t budget;        /* bytes of the arena */
    size_t carved;        /* bytes that have become blocks */
    size_t n_used;        /* blocks in use; at 0 the arena becomes one piece again */
    size_t smallest;      /* bytes of the smallest class: no two blocks begin in the same stretch of so many */
    uint32_t *references; /* of the block that begins in stretch i */
    kvb_pool_class *classes;
    int n_classes;
} kvb_pool;

/* ---- cache.c ---- */

/* Where the raw rows of a part lie in its exact block, [token][kv head][dim] each. */
typedef struct kvb_exact_layout {
    size_t first[2]; /* by side: 0 keys, 1 values */
    size_t last[2];
    size_t bytes; /* of the block; 0 where the layer has no exact tokens */
} kvb_exact_layout;

typedef struct kvb_cache_layer {
    kvb_layer_spec spec; /* centroids point into the codecs */
    kvb_layer_format format;
    kvb_exact_layout exact;
    size_t page_bytes;
    int page_class, exact_class; /* exact_class -1 where the layer has no exact tokens */
} kvb_cache_layer;

typedef struct kvb_cache_part {
    int64_t n_tokens;   /* appended, committed or not */
    int64_t packed_end; /* see above */
    int64_t released;   /* pages 0 .. released-1 are behind the window and given back; packed_end is not before them */
    int64_t n_pages;    /* table entries from here on are NULL; those behind the page of packed_end-1 are reserved */
    void **pages;       /* one entry for each page that max_tokens tokens may have; NULL where nothing lies */
    uint8_t *exact;     /* NULL while n_tokens is 0 */
} kvb_cache_part;

typedef struct kvb_cache_sequence {
    int is_open;
    int64_t n_tokens; /* committed */
} kvb_cache_sequence;

struct kvb_cache {
    kvb_cache_spec spec; /* `layers` is the cache's own array, as in layers[].spec */
    kvb_layer_spec *layer_specs;
    kvb_cache_layer *layers;
    kvb_cache_sequence *sequences;
    kvb_cache_part *parts;
    kvb_codec **codecs; /* one for each distinct spec */
    int n_codecs;
    kvb_pool pool;
    size_t page_bytes, exact_bytes; /* in use; a shared page counts once */
    size_t bookkeeping;             /* bytes of the block that holds this struct and its arrays */
    kvb_encode_stats stats;
    const kvb_backend *backend;
    kvb_allocator allocator;
};

static inline kvb_cache_part *kvb_cache_part_of(const kvb_cache *cache, int sequence, int layer) {
    return &cache->parts[(size_t)sequence * (size_t)cache->spec.n_layers + (size_t)layer];
}

/* ---- For files: caches as they were saved (the caller has checked the numbers) ---- */

/* Opens `sequence`, which is not open, with these tokens in each layer (parts[layer]: n_tokens all the same, which is
 * committed; packed_end, released) and pages and exact blocks for them, whose bytes are then the caller's to fill.
 * KVB_ERROR_MEMORY when the arena lacks them; then nothing has changed. */
kvb_status kvb_cache_restore(kvb_cache *cache, int sequence, const kvb_cache_part *parts, kvb_error *error);
/* Lets `sequence` share page `page` of `from`, giving back its own. */
void kvb_cache_restore_shared(kvb_cache *cache, int sequence, int layer, int64_t page, int from);
/* Table indices of the pages that hold tokens of a part: [first, end). */
void kvb_cache_part_pages(const kvb_cache *cache, int sequence, int layer, int64_t *first, int64_t *end);

#endif
