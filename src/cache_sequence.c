/* Sequences: opening, committing, truncating, forking, freeing, and what attention sees of them. */
#include "cache.h"

kvb_status kvb_cache_check(const kvb_cache *cache, int sequence, int layer, kvb_error *error) {
    if (!cache) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cache is NULL");
    }
    if (sequence < 0 || sequence >= cache->spec.max_sequences || !cache->sequences[sequence].is_open) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "sequence %d is not open; max_sequences is %d", sequence,
                             cache->spec.max_sequences);
    }
    if (layer < 0 || layer >= cache->spec.n_layers) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "layer %d is not from 0 to %d", layer,
                             cache->spec.n_layers - 1);
    }
    return KVB_OK;
}

/* ---- Opening and closing ---- */

static kvb_status find_closed(const kvb_cache *cache, int *sequence, kvb_error *error) {
    for (int i = 0; i < cache->spec.max_sequences; i++) {
        if (!cache->sequences[i].is_open) {
            *sequence = i;
            return KVB_OK;
        }
    }
    return kvb_error_set(error, KVB_ERROR_MEMORY, "all %d sequences of the cache are open", cache->spec.max_sequences);
}

kvb_status kvb_cache_open_sequence(kvb_cache *cache, int *sequence, kvb_error *error) {
    if (!cache || !sequence) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is NULL; cache and sequence are needed",
                             cache ? "sequence" : "cache");
    }
    kvb_status status = find_closed(cache, sequence, error);
    if (!status) {
        cache->sequences[*sequence] = (kvb_cache_sequence){.is_open = 1};
    }
    return status;
}

void kvb_cache_free_sequence(kvb_cache *cache, int sequence) {
    if (kvb_cache_check(cache, sequence, 0, NULL)) {
        return;
    }
    for (int i = 0; i < cache->spec.n_layers; i++) {
        kvb_part_cut(cache, &cache->layers[i], kvb_cache_part_of(cache, sequence, i), 0);
    }
    cache->sequences[sequence].is_open = 0;
}

int64_t kvb_cache_n_tokens(const kvb_cache *cache, int sequence) {
    return kvb_cache_check(cache, sequence, 0, NULL) ? -1 : cache->sequences[sequence].n_tokens;
}

/* ---- Growing ---- */

kvb_status kvb_cache_reserve(kvb_cache *cache, int sequence, int64_t n_tokens, kvb_error *error) {
    kvb_status status = kvb_cache_check(cache, sequence, 0, error);
    if (status) {
        return status;
    }
    kvb_pool_plan(&cache->pool);
    for (int i = 0; i < cache->spec.n_layers; i++) {
        const kvb_cache_part *part = kvb_cache_part_of(cache, sequence, i);
        int64_t left = cache->spec.max_tokens - part->n_tokens;
        if (n_tokens < 0 || n_tokens > left) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "n_tokens %lld is not from 0 to the %lld that layer %d has left of max_tokens %lld",
                                 (long long)n_tokens, (long long)left, i, (long long)cache->spec.max_tokens);
        }
        kvb_part_want(cache, &cache->layers[i], part, part->n_tokens + n_tokens);
    }
    if ((status = kvb_pool_check(&cache->pool, error))) {
        return status;
    }
    for (int i = 0; i < cache->spec.n_layers; i++) {
        kvb_cache_part *part = kvb_cache_part_of(cache, sequence, i);
        kvb_part_take(cache, &cache->layers[i], part, part->n_tokens + n_tokens);
    }
    return KVB_OK;
}

kvb_status kvb_cache_commit(kvb_cache *cache, int sequence, kvb_error *error) {
    kvb_status status = kvb_cache_check(cache, sequence, 0, error);
    if (status) {
        return status;
    }
    int64_t n_tokens = kvb_cache_part_of(cache, sequence, 0)->n_tokens;
    for (int i = 1; i < cache->spec.n_layers; i++) {
        int64_t n = kvb_cache_part_of(cache, sequence, i)->n_tokens;
        if (n != n_tokens) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "layer %d has %lld tokens and layer 0 has %lld; a commit needs the same in all layers",
                                 i, (long long)n, (long long)n_tokens);
        }
    }
    cache->sequences[sequence].n_tokens = n_tokens;
    for (int i = 0; i < cache->spec.n_layers; i++) {
        kvb_part_slide(cache, &cache->layers[i], kvb_cache_part_of(cache, sequence, i), n_tokens);
    }
    return KVB_OK;
}

/* ---- Truncating and forking ---- */

static kvb_status check_truncation(const kvb_cache *cache, int sequence, int64_t n_tokens, kvb_error *error) {
    int64_t most = 0;
    for (int i = 0; i < cache->spec.n_layers; i++) {
        int64_t n = kvb_cache_part_of(cache, sequence, i)->n_tokens;
        most = n > most ? n : most;
    }
    if (n_tokens < 0 || n_tokens > most) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "n_tokens %lld is not from 0 to the %lld that were appended",
                             (long long)n_tokens, (long long)most);
    }
    for (int i = 0; i < cache->spec.n_layers; i++) {
        const kvb_cache_layer *layer = &cache->layers[i];
        int64_t shortest = kvb_part_shortest(cache, layer, kvb_cache_part_of(cache, sequence, i));
        if (n_tokens < shortest && n_tokens > layer->spec.exact_first) {
            return kvb_error_set(
                error, KVB_ERROR_ARGUMENT,
                "n_tokens %lld: the window of layer %d has given back tokens that are seen from there; "
                "%lld and more can be kept, or up to %d",
                (long long)n_tokens, i, (long long)shortest, layer->spec.exact_first);
        }
    }
    return KVB_OK;
}

kvb_status kvb_cache_truncate(kvb_cache *cache, int sequence, int64_t n_tokens, kvb_error *error) {
    kvb_status status;
    if ((status = kvb_cache_check(cache, sequence, 0, error)) ||
        (status = check_truncation(cache, sequence, n_tokens, error))) {
        return status;
    }
    for (int i = 0; i < cache->spec.n_layers; i++) {
        kvb_part_cut(cache, &cache->layers[i], kvb_cache_part_of(cache, sequence, i), n_tokens);
    }
    kvb_cache_sequence *s = &cache->sequences[sequence];
    s->n_tokens = n_tokens < s->n_tokens ? n_tokens : s->n_tokens;
    return KVB_OK;
}

kvb_status kvb_cache_fork(kvb_cache *cache, int sequence, int *copy, kvb_error *error) {
    kvb_status status = kvb_cache_check(cache, sequence, 0, error);
    if (status) {
        return status;
    }
    if (!copy) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "copy is NULL");
    }
    int64_t n_tokens = cache->sequences[sequence].n_tokens;
    kvb_pool_plan(&cache->pool);
    for (int i = 0; i < cache->spec.n_layers && n_tokens > 0; i++) {
        if (cache->layers[i].exact.bytes > 0) {
            kvb_pool_want(&cache->pool, cache->layers[i].exact_class, 1);
        }
    }
    int made = -1;
    if ((status = find_closed(cache, &made, error)) || (status = kvb_pool_check(&cache->pool, error))) {
        return status;
    }
    for (int i = 0; i < cache->spec.n_layers; i++) {
        kvb_part_fork(cache, &cache->layers[i], kvb_cache_part_of(cache, sequence, i), n_tokens,
                      kvb_cache_part_of(cache, made, i));
    }
    cache->sequences[made] = (kvb_cache_sequence){.is_open = 1, .n_tokens = n_tokens};
    *copy = made;
    return KVB_OK;
}

/* ---- Reading ---- */

kvb_status kvb_cache_view(const kvb_cache *cache, int sequence, int layer_index, kvb_kv_view *view, kvb_error *error) {
    kvb_status status = kvb_cache_check(cache, sequence, layer_index, error);
    if (status) {
        return status;
    }
    if (!view) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "view is NULL");
    }
    const kvb_cache_layer *layer = &cache->layers[layer_index];
    const kvb_cache_part *part = kvb_cache_part_of(cache, sequence, layer_index);
    int exact_first = layer->spec.exact_first;
    *view = (kvb_kv_view){.format = &layer->format,
                          .pages = (const void *const *)part->pages,
                          .n_tokens = part->n_tokens,
                          .exact_first = part->n_tokens < exact_first ? (int)part->n_tokens : exact_first,
                          .exact_last = (int)(part->n_tokens - part->packed_end),
                          .exact_last_slots = layer->spec.exact_last,
                          .window = layer->spec.window,
                          .k_mean = layer->spec.k_mean};
    if (part->exact) {
        int has_values = !layer->spec.v_prefix_of_k;
        view->exact_first_k = part->exact + layer->exact.first[0];
        view->exact_first_v = has_values ? part->exact + layer->exact.first[1] : NULL;
        view->exact_last_k = part->exact + layer->exact.last[0];
        view->exact_last_v = has_values ? part->exact + layer->exact.last[1] : NULL;
    }
    return KVB_OK;
}

/* ---- For files ---- */

kvb_status kvb_cache_check_committed(const kvb_cache *cache, int sequence, kvb_error *error) {
    int64_t committed = cache->sequences[sequence].n_tokens;
    for (int layer = 0; layer < cache->spec.n_layers; layer++) {
        int64_t n = kvb_cache_part_of(cache, sequence, layer)->n_tokens;
        if (n != committed) {
            return kvb_error_set(
                error, KVB_ERROR_ARGUMENT,
                "sequence %d has %lld tokens in layer %d, and %lld are committed; commit or truncate it "
                "before saving",
                sequence, (long long)n, layer, (long long)committed);
        }
    }
    return KVB_OK;
}

kvb_status kvb_cache_restore(kvb_cache *cache, int sequence, kvb_error *error) {
    kvb_pool_plan(&cache->pool);
    for (int i = 0; i < cache->spec.n_layers; i++) {
        kvb_part_want_restored(cache, &cache->layers[i], kvb_cache_part_of(cache, sequence, i));
    }
    kvb_status status = kvb_pool_check(&cache->pool, error);
    for (int i = 0; i < cache->spec.n_layers; i++) {
        kvb_cache_part *part = kvb_cache_part_of(cache, sequence, i);
        if (status) {
            kvb_part_forget(cache, &cache->layers[i], part);
        } else {
            kvb_part_take_restored(cache, &cache->layers[i], part);
        }
    }
    if (!status) {
        int64_t n_tokens = kvb_cache_part_of(cache, sequence, 0)->n_tokens;
        cache->sequences[sequence] = (kvb_cache_sequence){.is_open = 1, .n_tokens = n_tokens};
    }
    return status;
}
