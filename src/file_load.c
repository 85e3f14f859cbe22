/* Loading: the index first, then memory for what it says, then the values. */
#include <inttypes.h>

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
        kvb_status status = kvb_layer_compare(i, "the file", &theirs->layers[i], &ours->layers[i], error);
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
