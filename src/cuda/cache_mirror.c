/* The books of one cache made those of another: the step between a cache of the host and one of a device. Plain C. */
#include "cache_mirror.h"

#include "file_codec.h"

static kvb_status check_layers(const kvb_cache *to, const kvb_cache *from, const kvb_cache *host, kvb_error *error) {
    const kvb_cache_spec *theirs = &host->spec, *ours = host == to ? &from->spec : &to->spec;
    if (theirs->n_layers != ours->n_layers || theirs->page_tokens != ours->page_tokens) {
        return kvb_error_set(
            error, KVB_ERROR_ARGUMENT,
            "the host's cache has %d layers in pages of %d tokens, and the device's %d in pages of %d; "
            "they must be equal",
            theirs->n_layers, theirs->page_tokens, ours->n_layers, ours->page_tokens);
    }
    for (int i = 0; i < ours->n_layers; i++) {
        kvb_status status = kvb_layer_compare(i, "the host's cache", &theirs->layers[i], &ours->layers[i], error);
        if (status != KVB_OK) {
            return status;
        }
    }
    return KVB_OK;
}

static kvb_status check_sequences(const kvb_cache *to, const kvb_cache *from, kvb_error *error) {
    for (int i = 0; i < to->spec.max_sequences; i++) {
        if (to->sequences[i].is_open) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "sequence %d of the cache that is filled is open; none may be", i);
        }
    }
    for (int i = 0; i < from->spec.max_sequences; i++) {
        if (!from->sequences[i].is_open) {
            continue;
        }
        if (i >= to->spec.max_sequences || from->sequences[i].n_tokens > to->spec.max_tokens) {
            return kvb_error_set(
                error, KVB_ERROR_ARGUMENT,
                "sequence %d has %lld tokens; the cache that is filled has room for %d sequences of up "
                "to %lld",
                i, (long long)from->sequences[i].n_tokens, to->spec.max_sequences, (long long)to->spec.max_tokens);
        }
        kvb_status status = kvb_cache_check_committed(from, i, error);
        if (status != KVB_OK) {
            return status;
        }
    }
    return KVB_OK;
}

kvb_page_range kvb_mirror_pages(const kvb_cache *from, int sequence, int layer) {
    const kvb_cache_part *part = kvb_cache_part_of(from, sequence, layer);
    const int page_tokens = from->spec.page_tokens;
    return kvb_layer_pages(&from->layer_specs[layer], page_tokens, part->released * page_tokens, part->packed_end);
}

int kvb_mirror_owner(const kvb_cache *from, int sequence, int layer, int64_t page) {
    const void *held = kvb_cache_part_of(from, sequence, layer)->pages[page];
    int owner = 0;
    if (!kvb_pool_is_shared(&from->pool, held)) {
        return sequence;
    }
    while (owner < sequence &&
           (!from->sequences[owner].is_open || kvb_cache_part_of(from, owner, layer)->pages[page] != held)) {
        owner++;
    }
    return owner;
}

static kvb_status open_as(kvb_cache *to, const kvb_cache *from, int sequence, kvb_error *error) {
    for (int layer = 0; layer < from->spec.n_layers; layer++) {
        const kvb_cache_part *part = kvb_cache_part_of(from, sequence, layer);
        kvb_cache_part *made = kvb_cache_part_of(to, sequence, layer);
        const kvb_page_range pages = kvb_mirror_pages(from, sequence, layer);
        made->n_tokens = part->n_tokens;
        made->packed_end = part->packed_end;
        made->released = part->released;
        for (int64_t i = pages.begin; i < pages.end; i++) {
            const int owner = kvb_mirror_owner(from, sequence, layer, i);
            made->pages[i] = owner == sequence ? NULL : kvb_cache_part_of(to, owner, layer)->pages[i];
        }
    }
    return kvb_cache_restore(to, sequence, error);
}

void kvb_mirror_empty(kvb_cache *cache) {
    for (int i = 0; i < cache->spec.max_sequences; i++) {
        kvb_cache_free_sequence(cache, i);
    }
}

kvb_status kvb_mirror_books(kvb_cache *to, const kvb_cache *from, const kvb_cache *host, kvb_error *error) {
    kvb_status status;
    if ((status = check_layers(to, from, host, error)) || (status = check_sequences(to, from, error))) {
        return status;
    }
    for (int i = 0; i < from->spec.max_sequences && status == KVB_OK; i++) {
        if (from->sequences[i].is_open) {
            status = open_as(to, from, i, error);
        }
    }
    if (status != KVB_OK) {
        kvb_mirror_empty(to);
    }
    return status;
}
