/* Loading: the index first, then memory for what it says, then the values. */
#include <inttypes.h>
#include <string.h>

#include "cache.h"
#include "file_codec.h"
#include "file_index.h"
#include "file_load.h"

/* ---- Sequences ---- */

/* Takes memory for sequence `ordinal` of the file as sequence `number` of the cache. Pages that the file has once are
 * once in the cache. */
static kvb_status restore(kvb_cache *cache, const kvb_file_index *index, uint32_t ordinal, int number,
                          kvb_error *error) {
    const kvb_file_tokens *tokens = &index->sequences[ordinal];
    for (int layer = 0; layer < index->spec.n_layers; layer++) {
        const kvb_file_part *from = kvb_file_part_of(index, ordinal, layer);
        kvb_cache_part *part = kvb_cache_part_of(cache, number, layer);
        part->n_tokens = tokens->n_tokens;
        part->packed_end = from->packed_end;
        part->released = from->released;
        for (int64_t page = from->pages.begin; page < from->pages.end; page++) {
            uint32_t owner = tokens->owners[from->first_entry + (size_t)(page - from->pages.begin)];
            if (owner != ordinal) {
                part->pages[page] = kvb_cache_part_of(cache, index->sequences[owner].number, layer)->pages[page];
            }
        }
    }
    return kvb_cache_restore(cache, number, error);
}

kvb_status kvb_cache_load_from(kvb_file_reader *reader, const kvb_load_limits *limits, const kvb_backend *backend,
                               const kvb_allocator *allocator, kvb_cache **out, kvb_error *error) {
    kvb_file_index index;
    kvb_cache *cache = NULL;
    kvb_status status = kvb_file_index_read(reader, limits, allocator, &index, error);
    if (status) {
        return status;
    }
    status = kvb_cache_create(&index.spec, backend, allocator, &cache, error);
    for (uint32_t i = 0; i < index.header.n_sequences && status == KVB_OK; i++) {
        status = restore(cache, &index, i, index.sequences[i].number, error);
    }
    if (status == KVB_OK) {
        kvb_file_sink sink = {.cache = cache, .number = -1};
        status = kvb_file_read_rows(reader, &index, &sink, error);
    }
    kvb_file_index_free(&index);
    if (status) {
        kvb_cache_destroy(cache);
        return status;
    }
    *out = cache;
    return KVB_OK;
}

kvb_status kvb_cache_load(const char *path, const kvb_load_limits *limits, const kvb_backend *backend,
                          const kvb_allocator *allocator, kvb_cache **out, kvb_error *error) {
    if (!path || !out) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is NULL; path and out are needed", path ? "out" : "path");
    }
    kvb_file_reader reader;
    *out = NULL;
    kvb_status status = kvb_file_read_open(&reader, path, error);
    if (status == KVB_OK) {
        status = kvb_cache_load_from(&reader, limits, backend, allocator, out, error);
        kvb_file_read_close(&reader);
    }
    return status;
}

/* ---- One sequence into a cache ---- */

static kvb_status differs(int layer, const char *what, int64_t file, int64_t cache, kvb_error *error) {
    return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                         "layer %d of the file has %s %" PRId64 ", and that of the cache %" PRId64
                         "; only equal layers can be loaded",
                         layer, what, file, cache);
}

static int same_side(const kvb_codec_spec *a, const kvb_codec_spec *b) {
    if (kvb_layer_side_is_dense(a) || kvb_layer_side_is_dense(b)) {
        return a->bits == b->bits && a->head_dim == b->head_dim;
    }
    return kvb_file_same_codec(a, b);
}

static kvb_status compare_side(int layer, const char *side, const kvb_codec_spec *file, const kvb_codec_spec *cache,
                               kvb_error *error) {
    if (same_side(file, cache)) {
        return KVB_OK;
    }
    return kvb_error_set(
        error, KVB_ERROR_ARGUMENT,
        "layer %d of the file has other %s: head_dim %d, %g bits, rotation %d, scale %d of type %d, %d states, and "
        "that of the cache %d, %g, %d, %d, %d, %d; only equal layers, of equal signs and centroids, can be "
        "loaded",
        layer, side, file->head_dim, file->bits + 0.5 * file->half_bit, (int)file->rotation, (int)file->scale,
        (int)file->scale_dtype, file->trellis_states, cache->head_dim, cache->bits + 0.5 * cache->half_bit,
        (int)cache->rotation, (int)cache->scale, (int)cache->scale_dtype, cache->trellis_states);
}

static kvb_status compare_layer(int i, const kvb_layer_spec *file, const kvb_layer_spec *cache, kvb_error *error) {
    const struct {
        const char *what;
        int file, cache;
    } numbers[] = {
        {"n_kv_heads", file->n_kv_heads, cache->n_kv_heads},
        {"v_prefix_of_k", file->v_prefix_of_k != 0, cache->v_prefix_of_k != 0},
        {"head_dim of values", file->v.head_dim, cache->v.head_dim},
        {"dense", (int)file->dense, (int)cache->dense},
        {"window", file->window, cache->window},
        {"exact_first", file->exact_first, cache->exact_first},
        {"exact_last", file->exact_last, cache->exact_last},
        {"k_mean", file->k_mean != NULL, cache->k_mean != NULL},
    };
    for (size_t n = 0; n < sizeof numbers / sizeof numbers[0]; n++) {
        if (numbers[n].file != numbers[n].cache) {
            return differs(i, numbers[n].what, numbers[n].file, numbers[n].cache, error);
        }
    }
    if (file->k_mean && kvb_layer_mean_values(file) == kvb_layer_mean_values(cache) &&
        memcmp(file->k_mean, cache->k_mean, kvb_layer_mean_values(file) * sizeof *file->k_mean) != 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "layer %d of the file has another k_mean than that of the cache; only equal layers can be "
                             "loaded",
                             i);
    }
    kvb_status status = compare_side(i, "keys", &file->k, &cache->k, error);
    return status || file->v_prefix_of_k ? status : compare_side(i, "values", &file->v, &cache->v, error);
}

static kvb_status compare(const kvb_cache *cache, const kvb_file_index *index, kvb_error *error) {
    const kvb_cache_spec *ours = &cache->spec, *theirs = &index->spec;
    if (index->header.n_sequences != 1) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "the file has %" PRIu32 " sequences; a file of one sequence can be loaded into a cache",
                             index->header.n_sequences);
    }
    if (theirs->n_layers != ours->n_layers || theirs->page_tokens != ours->page_tokens) {
        return kvb_error_set(
            error, KVB_ERROR_ARGUMENT,
            "the file has %d layers in pages of %d tokens, and the cache %d in pages of %d; they must be "
            "equal",
            theirs->n_layers, theirs->page_tokens, ours->n_layers, ours->page_tokens);
    }
    if (index->sequences[0].n_tokens > ours->max_tokens) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "the file has %" PRId64 " tokens, and max_tokens is %" PRId64,
                             index->sequences[0].n_tokens, ours->max_tokens);
    }
    for (int i = 0; i < ours->n_layers; i++) {
        kvb_status status = compare_layer(i, &theirs->layers[i], &ours->layers[i], error);
        if (status) {
            return status;
        }
    }
    return KVB_OK;
}

static kvb_status load_sequence(kvb_cache *cache, kvb_file_reader *reader, const kvb_load_limits *limits, int *sequence,
                                kvb_error *error) {
    kvb_file_index index;
    kvb_status status = kvb_file_index_read(reader, limits, &cache->allocator, &index, error);
    if (status) {
        return status;
    }
    int made = -1;
    if (!(status = compare(cache, &index, error)) && !(status = kvb_cache_open_sequence(cache, &made, error)) &&
        !(status = restore(cache, &index, 0, made, error))) {
        kvb_file_sink sink = {.cache = cache, .number = made};
        status = kvb_file_read_rows(reader, &index, &sink, error);
    }
    kvb_file_index_free(&index);
    if (!status) {
        *sequence = made;
    } else if (made >= 0) {
        kvb_cache_free_sequence(cache, made);
    }
    return status;
}

kvb_status kvb_cache_load_sequence(kvb_cache *cache, const char *path, const kvb_load_limits *limits, int *sequence,
                                   kvb_error *error) {
    if (!cache || !path || !sequence) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is NULL; cache, path and sequence are needed",
                             !cache  ? "cache"
                             : !path ? "path"
                                     : "sequence");
    }
    kvb_file_reader reader;
    kvb_status status = kvb_file_read_open(&reader, path, error);
    if (status == KVB_OK) {
        status = load_sequence(cache, &reader, limits, sequence, error);
        kvb_file_read_close(&reader);
    }
    return status;
}

/* ---- Looking only ---- */

kvb_status kvb_file_inspect_from(kvb_file_reader *reader, const kvb_load_limits *limits, const kvb_allocator *allocator,
                                 const kvb_file_visitor *visitor, kvb_error *error) {
    kvb_file_index index;
    reader->visitor = visitor;
    kvb_status status = kvb_file_index_read(reader, limits, allocator, &index, error);
    if (status == KVB_OK) {
        kvb_file_sink nowhere = {.cache = NULL};
        status = kvb_file_read_rows(reader, &index, &nowhere, error);
        kvb_file_index_free(&index);
    }
    return status;
}

kvb_status kvb_file_inspect(const char *path, const kvb_load_limits *limits, const kvb_allocator *allocator,
                            const kvb_file_visitor *visitor, kvb_error *error) {
    if (!path) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "path is NULL");
    }
    kvb_file_reader reader;
    kvb_status status = kvb_file_read_open(&reader, path, error);
    if (status == KVB_OK) {
        status = kvb_file_inspect_from(&reader, limits, allocator, visitor, error);
        kvb_file_read_close(&reader);
    }
    return status;
}
