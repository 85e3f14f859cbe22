/* What uploads and downloads share: two caches of equal books. */
#ifndef KVB_CUDA_CACHE_MIRROR_H
#define KVB_CUDA_CACHE_MIRROR_H

#include "cache.h"

/* Opens the sequences of `from` in `to`, which has none: equal numbers, lengths and shared pages, whose bytes are the
 * caller's to fill. `host` is the one of both that is no device's. After a refusal `to` has none still. */
kvb_status kvb_mirror_books(kvb_cache *to, const kvb_cache *from, const kvb_cache *host, kvb_error *error);
void kvb_mirror_empty(kvb_cache *cache);
/* The pages that a sequence holds in a layer, and which sequence has one first: itself, or one that shares it. */
kvb_page_range kvb_mirror_pages(const kvb_cache *from, int sequence, int layer);
int kvb_mirror_owner(const kvb_cache *from, int sequence, int layer, int64_t page);

#endif
