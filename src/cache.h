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

#define KVB_DEFAULT_PAGE_TOKENS 64

/* ---- cache_pool.c: blocks of a few sizes, counted references ---- */

/* Blocks of one size. What is given back serves its own class again. */
typedef struct kvb_pool_class {
    size_t bytes; /* a multiple of KVB_BLOCK_ALIGNMENT */
    size_t free;  /* one more than where a free block begins; 0: there is none */
    size_t n_free;
    size_t n_wanted; /* of the plan that is being made */
} kvb_pool_class;

typedef struct kvb_pool {
    uint8_t *arena;  /* whose bytes the pool neither reads nor writes: they may be a device's */
    size_t budget;   /* bytes of the arena */
    size_t carved;   /* bytes that have become blocks */
    size_t n_used;   /* blocks in use; at 0 the arena becomes one piece again */
    size_t smallest; /* bytes of the smallest class: no two blocks begin in the same stretch of so many */
    size_t *entries; /* of the block that begins in stretch i: its references, or, of a free one, its class's next */
    kvb_pool_class *classes;
    int n_classes;
} kvb_pool;

/* The class of blocks of so many bytes, -1 when there is none. */
int kvb_pool_class_of(const kvb_pool *pool, size_t bytes);
/* Begins a plan of what will be taken; adds n blocks to it; KVB_ERROR_MEMORY when they cannot all be had. */
void kvb_pool_plan(kvb_pool *pool);
void kvb_pool_want(kvb_pool *pool, int class_index, size_t n);
kvb_status kvb_pool_check(const kvb_pool *pool, kvb_error *error);
/* A block, with one reference: it was in a plan that passed the check. */
void *kvb_pool_take(kvb_pool *pool, int class_index);
void kvb_pool_share(kvb_pool *pool, void *block);
int kvb_pool_is_shared(const kvb_pool *pool, const void *block);
/* Gives one reference back; 1 when it was the last. */
int kvb_pool_give(kvb_pool *pool, int class_index, void *block);

/* ---- cache_cost.c: what a layer takes, from its spec alone ---- */

/* Where the raw rows of a part lie in its exact block, [token][kv head][dim] each. */
typedef struct kvb_exact_layout {
    size_t first[2]; /* by side: 0 keys, 1 values */
    size_t last[2];
    size_t bytes; /* of the block; 0 where the layer has no exact tokens */
} kvb_exact_layout;

/* Table entries [begin, end). */
typedef struct kvb_page_range {
    int64_t begin, end;
} kvb_page_range;

static inline int kvb_layer_side_is_dense(const kvb_codec_spec *spec) {
    return spec->bits == KVB_DENSE_BITS;
}

static inline int kvb_layer_sides(const kvb_layer_spec *spec) {
    return spec->v_prefix_of_k ? 1 : 2;
}

/* Floats of the mean keys of a layer, and of all layers of a cache. */
static inline size_t kvb_layer_mean_values(const kvb_layer_spec *spec) {
    return spec->k_mean ? (size_t)spec->n_kv_heads * (size_t)spec->k.head_dim : 0;
}

size_t kvb_cache_mean_values(const kvb_cache_spec *spec);

/* Everything but what kvb_layer_sizes_of finds too large. */
kvb_status kvb_layer_spec_check(const kvb_layer_spec *spec, int page_tokens, kvb_error *error);
/* Its format, still without codecs. */
kvb_layer_format kvb_layer_format_of(const kvb_layer_spec *spec, int page_tokens);
kvb_status kvb_layer_sizes_of(const kvb_layer_spec *spec, int page_tokens, size_t *page, kvb_exact_layout *exact,
                              kvb_error *error);
/* packed_end of a part whose n_tokens becomes this. */
int64_t kvb_layer_packed_end(const kvb_layer_spec *spec, int64_t packed_end, int64_t n_tokens);
/* How many pages no query at position n_tokens or later sees. */
int64_t kvb_layer_released(const kvb_layer_spec *spec, int page_tokens, int64_t packed_end, int64_t n_tokens);
/* The pages that tokens [begin, packed_end) of a part lie in, without the exact first ones. */
kvb_page_range kvb_layer_pages(const kvb_layer_spec *spec, int page_tokens, int64_t begin, int64_t packed_end);

/* ---- cache.c ---- */

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
    uint8_t *exact;     /* may be NULL while n_tokens is 0 */
} kvb_cache_part;

/* Where a cache's pages lie: in the host's memory, or in a device's (src/cuda), whose pages are pointers that only
 * these functions follow. `sizes` is kvb_layer_sizes_of, or what a page of the layer takes there; without exact bytes
 * no exact blocks are kept. `place` (NULL: nobody asks) hears of each table entry that gets a page. */
typedef struct kvb_cache_home {
    kvb_status (*sizes)(const kvb_layer_spec *spec, int page_tokens, size_t *page, kvb_exact_layout *exact,
                        kvb_error *error);
    void *(*allocate)(void *context, size_t bytes); /* the arena, aligned to KVB_BLOCK_ALIGNMENT; NULL: no memory */
    void (*release)(void *context, void *arena, size_t bytes);
    void (*copy)(void *context, void *to, const void *from, size_t bytes);
    void (*place)(void *context, const kvb_cache_part *part, int64_t page);
    void *context;
} kvb_cache_home;

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
    kvb_cache_home home;
};

/* kvb_cache_create with a home (NULL: the host's memory by the allocator). */
kvb_status kvb_cache_create_in(const kvb_cache_spec *spec, const kvb_cache_home *home, const kvb_backend *backend,
                               const kvb_allocator *allocator, kvb_cache **out, kvb_error *error);

static inline kvb_cache_part *kvb_cache_part_of(const kvb_cache *cache, int sequence, int layer) {
    return &cache->parts[(size_t)sequence * (size_t)cache->spec.n_layers + (size_t)layer];
}

/* A legal sequence and layer, or a sentence. */
kvb_status kvb_cache_check(const kvb_cache *cache, int sequence, int layer, kvb_error *error);

/* ---- cache_part.c: the pages of a part ---- */

/* Adds to the pool's plan what a part needs to hold n_tokens tokens; takes it, and copies a shared page that will be
 * written. Nothing else of the part changes. */
void kvb_part_want(kvb_cache *cache, const kvb_cache_layer *layer, const kvb_cache_part *part, int64_t n_tokens);
void kvb_part_take(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part, int64_t n_tokens);
/* The part has n_tokens tokens, whose memory was taken. */
void kvb_part_grow(const kvb_cache_layer *layer, kvb_cache_part *part, int64_t n_tokens);
/* Forgets all tokens from n_tokens on, and reserved pages. */
void kvb_part_cut(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part, int64_t n_tokens);
/* Gives back what no query at position n_tokens or later sees. */
void kvb_part_slide(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part, int64_t n_tokens);
/* The fewest tokens above exact_first that the part can be cut to. */
int64_t kvb_part_shortest(const kvb_cache *cache, const kvb_cache_layer *layer, const kvb_cache_part *part);
/* Makes `copy`, which is empty, hold the first n_tokens tokens of `part`; an exact block for it is in the plan. */
void kvb_part_fork(kvb_cache *cache, const kvb_cache_layer *layer, const kvb_cache_part *part, int64_t n_tokens,
                   kvb_cache_part *copy);

/* The same for the part of a saved cache, of which n_tokens, packed_end and released are set, and the table entries of
 * those pages that it shares. The bytes of the others, and of its exact block, are still undefined then. */
void kvb_part_want_restored(kvb_cache *cache, const kvb_cache_layer *layer, const kvb_cache_part *part);
void kvb_part_take_restored(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part);
/* Takes back what was set for them. */
void kvb_part_forget(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part);

/* ---- cache_write.c: rows into pages and exact blocks ---- */

/* Adds tokens that were checked to a part that holds the memory for them. */
void kvb_part_write(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part, const kvb_kv_rows *rows);

/* ---- For files: caches as they were saved (the caller has checked the numbers) ---- */

/* KVB_ERROR_ARGUMENT when a layer has tokens that are not committed. */
kvb_status kvb_cache_check_committed(const kvb_cache *cache, int sequence, kvb_error *error);
/* Opens `sequence`, which is not open and whose parts the caller has set as kvb_part_take_restored wants them; n_tokens
 * are the same in all, and committed then. The bytes are then the caller's to fill. KVB_ERROR_MEMORY when the arena
 * lacks pages; then nothing has changed, and the parts are empty again. */
kvb_status kvb_cache_restore(kvb_cache *cache, int sequence, kvb_error *error);

#endif
