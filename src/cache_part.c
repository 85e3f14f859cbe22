/* The pages of one sequence in one layer: which it needs, taking, sharing and giving them back. */
#include "cache.h"

static void *take_page(kvb_cache *cache, const kvb_cache_layer *layer) {
    cache->page_bytes += layer->page_bytes;
    return kvb_pool_take(&cache->pool, layer->page_class);
}

static void give_page(kvb_cache *cache, const kvb_cache_layer *layer, void *page) {
    if (page && kvb_pool_give(&cache->pool, layer->page_class, page)) {
        cache->page_bytes -= layer->page_bytes;
    }
}

static void take_exact(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part) {
    cache->exact_bytes += layer->exact.bytes;
    part->exact = kvb_pool_take(&cache->pool, layer->exact_class);
}

static void give_exact(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part) {
    if (part->exact) {
        cache->exact_bytes -= layer->exact.bytes;
        (void)kvb_pool_give(&cache->pool, layer->exact_class, part->exact);
        part->exact = NULL;
    }
}

static void set_page(kvb_cache *cache, kvb_cache_part *part, int64_t i, void *page) {
    part->pages[i] = page;
    if (cache->home.place) {
        cache->home.place(cache->home.context, part, i);
    }
}

/* The pages that are written when the part grows to n_tokens. */
static kvb_page_range written_pages(const kvb_cache *cache, const kvb_cache_layer *layer, const kvb_cache_part *part,
                                    int64_t n_tokens) {
    return kvb_layer_pages(&layer->spec, cache->spec.page_tokens, part->packed_end,
                           kvb_layer_packed_end(&layer->spec, part->packed_end, n_tokens));
}

static int needs_exact(const kvb_cache_layer *layer, const kvb_cache_part *part, int64_t n_tokens) {
    return layer->exact.bytes > 0 && !part->exact && n_tokens > 0;
}

void kvb_part_want(kvb_cache *cache, const kvb_cache_layer *layer, const kvb_cache_part *part, int64_t n_tokens) {
    kvb_page_range pages = written_pages(cache, layer, part, n_tokens);
    size_t n = 0;
    for (int64_t i = pages.begin; i < pages.end; i++) {
        n += !part->pages[i] || kvb_pool_is_shared(&cache->pool, part->pages[i]);
    }
    kvb_pool_want(&cache->pool, layer->page_class, n);
    if (needs_exact(layer, part, n_tokens)) {
        kvb_pool_want(&cache->pool, layer->exact_class, 1);
    }
}

void kvb_part_take(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part, int64_t n_tokens) {
    kvb_page_range pages = written_pages(cache, layer, part, n_tokens);
    for (int64_t i = pages.begin; i < pages.end; i++) {
        void *old = part->pages[i];
        if (!old) {
            set_page(cache, part, i, take_page(cache, layer));
        } else if (kvb_pool_is_shared(&cache->pool, old)) {
            set_page(cache, part, i, take_page(cache, layer));
            cache->home.copy(cache->home.context, part->pages[i], old, layer->page_bytes);
            give_page(cache, layer, old);
        }
    }
    part->n_pages = pages.end > part->n_pages ? pages.end : part->n_pages;
    if (needs_exact(layer, part, n_tokens)) {
        take_exact(cache, layer, part);
    }
}

void kvb_part_grow(const kvb_cache_layer *layer, kvb_cache_part *part, int64_t n_tokens) {
    part->packed_end = kvb_layer_packed_end(&layer->spec, part->packed_end, n_tokens);
    part->n_tokens = n_tokens;
}

/* Gives table entries [begin, end) back. */
static void give_pages(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part, int64_t begin,
                       int64_t end) {
    for (int64_t i = begin; i < end; i++) {
        give_page(cache, layer, part->pages[i]);
        part->pages[i] = NULL;
    }
}

void kvb_part_cut(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part, int64_t n_tokens) {
    int page_tokens = cache->spec.page_tokens;
    part->n_tokens = n_tokens < part->n_tokens ? n_tokens : part->n_tokens;
    part->packed_end = part->packed_end < n_tokens ? part->packed_end : n_tokens;
    /* Cut into the exact first tokens, a page that was given back begins anew. */
    part->released = part->released < n_tokens / page_tokens ? part->released : n_tokens / page_tokens;
    int64_t end = kvb_layer_pages(&layer->spec, page_tokens, 0, part->packed_end).end;
    give_pages(cache, layer, part, end, part->n_pages);
    part->n_pages = end < part->n_pages ? end : part->n_pages;
    if (part->n_tokens == 0) {
        give_exact(cache, layer, part);
    }
}

void kvb_part_slide(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part, int64_t n_tokens) {
    int64_t end = kvb_layer_released(&layer->spec, cache->spec.page_tokens, part->packed_end, n_tokens);
    if (end > part->released) {
        give_pages(cache, layer, part, part->released, end < part->n_pages ? end : part->n_pages);
        part->released = end;
    }
}

int64_t kvb_part_shortest(const kvb_cache *cache, const kvb_cache_layer *layer, const kvb_cache_part *part) {
    int64_t gone = part->released * cache->spec.page_tokens;
    return gone > layer->spec.exact_first ? gone + layer->spec.window - 1 : 0;
}

void kvb_part_fork(kvb_cache *cache, const kvb_cache_layer *layer, const kvb_cache_part *part, int64_t n_tokens,
                   kvb_cache_part *copy) {
    copy->n_tokens = n_tokens;
    copy->packed_end = part->packed_end < n_tokens ? part->packed_end : n_tokens;
    copy->released = part->released;
    copy->n_pages = kvb_layer_pages(&layer->spec, cache->spec.page_tokens, 0, copy->packed_end).end;
    for (int64_t i = part->released; i < copy->n_pages; i++) {
        if (part->pages[i]) { /* not where all tokens are exact first ones */
            kvb_pool_share(&cache->pool, part->pages[i]);
            set_page(cache, copy, i, part->pages[i]);
        }
    }
    if (needs_exact(layer, copy, n_tokens)) {
        take_exact(cache, layer, copy);
        cache->home.copy(cache->home.context, copy->exact, part->exact, layer->exact.bytes);
    }
}

/* ---- As they were saved ---- */

static kvb_page_range held_pages(const kvb_cache *cache, const kvb_cache_layer *layer, const kvb_cache_part *part) {
    int page_tokens = cache->spec.page_tokens;
    return kvb_layer_pages(&layer->spec, page_tokens, part->released * page_tokens, part->packed_end);
}

void kvb_part_want_restored(kvb_cache *cache, const kvb_cache_layer *layer, const kvb_cache_part *part) {
    kvb_page_range pages = held_pages(cache, layer, part);
    size_t n = 0;
    for (int64_t i = pages.begin; i < pages.end; i++) {
        n += !part->pages[i];
    }
    kvb_pool_want(&cache->pool, layer->page_class, n);
    if (needs_exact(layer, part, part->n_tokens)) {
        kvb_pool_want(&cache->pool, layer->exact_class, 1);
    }
}

void kvb_part_take_restored(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part) {
    kvb_page_range pages = held_pages(cache, layer, part);
    for (int64_t i = pages.begin; i < pages.end; i++) {
        if (part->pages[i]) {
            kvb_pool_share(&cache->pool, part->pages[i]);
        }
        set_page(cache, part, i, part->pages[i] ? part->pages[i] : take_page(cache, layer));
    }
    part->n_pages = pages.end;
    if (needs_exact(layer, part, part->n_tokens)) {
        take_exact(cache, layer, part);
    }
}

void kvb_part_forget(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part) {
    kvb_page_range pages = held_pages(cache, layer, part);
    for (int64_t i = pages.begin; i < pages.end; i++) {
        part->pages[i] = NULL;
    }
    part->n_tokens = part->packed_end = part->released = 0;
}
