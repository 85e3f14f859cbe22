#include "file_source.h"

#include "file_format.h"
#include "file_page.h"

int kvb_source_saves(const kvb_file_source *from, int sequence) {
    return from->only < 0 ? from->cache->sequences[sequence].is_open : sequence == from->only;
}

kvb_page_range kvb_source_pages(const kvb_file_source *from, int sequence, int layer) {
    const kvb_cache *cache = from->cache;
    const kvb_cache_part *part = kvb_cache_part_of(cache, sequence, layer);
    return kvb_layer_pages(&cache->layers[layer].spec, cache->spec.page_tokens,
                           part->released * cache->spec.page_tokens, part->packed_end);
}

int64_t kvb_source_released(const kvb_file_source *from, int sequence, int layer) {
    const kvb_cache *cache = from->cache;
    const kvb_cache_part *part = kvb_cache_part_of(cache, sequence, layer);
    int64_t most =
        kvb_layer_released(&cache->layers[layer].spec, cache->spec.page_tokens, part->packed_end, part->n_tokens);
    return part->released < most ? part->released : most;
}

/* Has `sequence` the same page at this place? Shared pages always lie at equal places. */
static int has_page(const kvb_file_source *from, int sequence, int layer, int64_t page, const void *block) {
    if (!kvb_source_saves(from, sequence)) {
        return 0;
    }
    kvb_page_range pages = kvb_source_pages(from, sequence, layer);
    return page >= pages.begin && page < pages.end &&
           kvb_cache_part_of(from->cache, sequence, layer)->pages[page] == block;
}

uint32_t kvb_source_owner(const kvb_file_source *from, int sequence, uint32_t ordinal, int layer, int64_t page) {
    const void *block = kvb_cache_part_of(from->cache, sequence, layer)->pages[page];
    uint32_t place = 0;
    if (kvb_pool_is_shared(&from->cache->pool, block)) {
        for (int other = 0; other < sequence; other++) {
            if (has_page(from, other, layer, page, block)) {
                return place;
            }
            place += (uint32_t)kvb_source_saves(from, other);
        }
    }
    return ordinal;
}

int64_t kvb_source_end(const kvb_file_source *from, int sequence, int layer, int64_t page) {
    const kvb_cache *cache = from->cache;
    const void *block = kvb_cache_part_of(cache, sequence, layer)->pages[page];
    int64_t end = kvb_cache_part_of(cache, sequence, layer)->packed_end;
    if (kvb_pool_is_shared(&cache->pool, block)) {
        for (int other = sequence + 1; other < cache->spec.max_sequences; other++) {
            int64_t other_end = kvb_cache_part_of(cache, other, layer)->packed_end;
            if (other_end > end && has_page(from, other, layer, page, block)) {
                end = other_end;
            }
        }
    }
    int64_t page_end = (page + 1) * cache->spec.page_tokens;
    return end < page_end ? end : page_end;
}

uint64_t kvb_source_exact_bytes(const kvb_file_source *from, int sequence, int layer) {
    const kvb_layer_spec *spec = &from->cache->layers[layer].spec;
    const kvb_cache_part *part = kvb_cache_part_of(from->cache, sequence, layer);
    uint64_t n = (uint64_t)(kvb_file_n_first(spec, part->n_tokens) + part->n_tokens - part->packed_end), bytes = 0;
    for (int side = 0; side < kvb_layer_sides(spec); side++) {
        bytes += n * kvb_file_token_bytes(spec, side);
    }
    return bytes;
}

uint64_t kvb_source_page_bytes(const kvb_file_source *from, int sequence, uint32_t ordinal, int layer) {
    kvb_page_range pages = kvb_source_pages(from, sequence, layer);
    uint64_t n = 0;
    for (int64_t page = pages.begin; page < pages.end; page++) {
        n += kvb_source_owner(from, sequence, ordinal, layer, page) == ordinal;
    }
    return n * from->cache->layers[layer].page_bytes;
}

uint64_t kvb_source_sequence_bytes(const kvb_file_source *from, int sequence) {
    int n_layers = from->cache->spec.n_layers;
    uint64_t n_entries = 0;
    for (int layer = 0; layer < n_layers; layer++) {
        kvb_page_range pages = kvb_source_pages(from, sequence, layer);
        n_entries += (uint64_t)(pages.end - pages.begin);
    }
    return KVB_FILE_SEQUENCE_BYTES + KVB_FILE_PART_BYTES * (uint64_t)n_layers + (4 * n_entries + 7) / 8 * 8;
}
