/* Saving: one section after another, straight from the cache's memory (docs/format.md, section 9). */
#include "file_codec.h"
#include "file_page.h"
#include "file_source.h"

static uint64_t codec_bytes(const kvb_cache *cache) {
    uint8_t description[KVB_FILE_MAX_DESCRIPTION];
    uint64_t bytes = 8;
    for (int i = 0; i < cache->n_codecs; i++) {
        bytes += kvb_file_describe(kvb_codec_get_spec(cache->codecs[i]), description);
    }
    return bytes;
}

static uint64_t mean_bytes(const kvb_cache *cache) {
    return sizeof(float) * (uint64_t)kvb_cache_mean_values(&cache->spec);
}

static uint64_t file_bytes(const kvb_file_source *from) {
    const kvb_cache *cache = from->cache;
    uint64_t bytes = KVB_FILE_HEADER_BYTES + kvb_file_section_bytes(codec_bytes(cache)) +
                     kvb_file_section_bytes(KVB_FILE_LAYER_BYTES * (uint64_t)cache->spec.n_layers) +
                     (mean_bytes(cache) ? kvb_file_section_bytes(mean_bytes(cache)) : 0) + kvb_file_section_bytes(0);
    uint32_t ordinal = 0;
    for (int sequence = 0; sequence < cache->spec.max_sequences; sequence++) {
        if (!kvb_source_saves(from, sequence)) {
            continue;
        }
        bytes += kvb_file_section_bytes(kvb_source_sequence_bytes(from, sequence));
        for (int layer = 0; layer < cache->spec.n_layers; layer++) {
            bytes += kvb_file_section_bytes(kvb_source_exact_bytes(from, sequence, layer));
            bytes += kvb_file_section_bytes(kvb_source_page_bytes(from, sequence, ordinal, layer));
        }
        ordinal++;
    }
    return bytes;
}

/* ---- Sections ---- */

static void put_crc(kvb_file_writer *writer) {
    uint8_t bytes[KVB_FILE_CRC_BYTES], *at = bytes;
    kvb_file_put(&at, writer->crc, sizeof bytes);
    kvb_file_write(writer, bytes, sizeof bytes);
}

static void begin_section(kvb_file_writer *writer, uint32_t type, uint32_t sequence, uint32_t layer, uint64_t content) {
    uint8_t bytes[KVB_FILE_HEAD_BYTES], *at = bytes;
    kvb_file_put(&at, type, 4);
    kvb_file_put(&at, 0, 4);
    kvb_file_put(&at, sequence, 4);
    kvb_file_put(&at, layer, 4);
    kvb_file_put(&at, content, 8);
    kvb_file_put(&at, 0, 4);
    writer->crc = 0;
    kvb_file_write(writer, bytes, (size_t)(at - bytes));
    put_crc(writer);
    writer->crc = 0;
}

static void write_header(const kvb_file_source *from) {
    const kvb_cache_spec *spec = &from->cache->spec;
    uint8_t bytes[KVB_FILE_HEADER_BYTES], *at = bytes;
    uint32_t sections = 3 + (mean_bytes(from->cache) > 0) + from->n_sequences * (1 + 2 * (uint32_t)spec->n_layers);
    for (int i = 0; i < 8; i++) {
        kvb_file_put(&at, (uint8_t)KVB_FILE_MAGIC[i], 1);
    }
    kvb_file_put(&at, KVB_FILE_VERSION, 4);
    kvb_file_put(&at, sections, 4);
    kvb_file_put(&at, file_bytes(from), 8);
    kvb_file_put(&at, (uint64_t)spec->n_layers, 4);
    kvb_file_put(&at, from->n_sequences, 4);
    kvb_file_put(&at, (uint64_t)spec->page_tokens, 4);
    kvb_file_put(&at, (uint64_t)spec->max_sequences, 4);
    kvb_file_put(&at, (uint64_t)spec->max_tokens, 8);
    kvb_file_put(&at, spec->budget, 8);
    kvb_file_put(&at, 0, 4);
    kvb_file_write(from->writer, bytes, (size_t)(at - bytes));
    put_crc(from->writer);
}

static void write_codecs(const kvb_file_source *from) {
    uint8_t description[KVB_FILE_MAX_DESCRIPTION], *at = description;
    begin_section(from->writer, KVB_FILE_CODECS, KVB_FILE_NONE, KVB_FILE_NONE, codec_bytes(from->cache));
    kvb_file_put(&at, (uint64_t)from->cache->n_codecs, 8);
    kvb_file_write(from->writer, description, 8);
    for (int i = 0; i < from->cache->n_codecs; i++) {
        size_t bytes = kvb_file_describe(kvb_codec_get_spec(from->cache->codecs[i]), description);
        kvb_file_write(from->writer, description, bytes);
    }
    put_crc(from->writer);
}

static uint32_t place_of(const kvb_cache *cache, const kvb_codec *codec) {
    for (int i = 0; i < cache->n_codecs; i++) {
        if (cache->codecs[i] == codec) {
            return (uint32_t)i;
        }
    }
    return KVB_FILE_NONE;
}

static void write_layers(const kvb_file_source *from) {
    const kvb_cache *cache = from->cache;
    begin_section(from->writer, KVB_FILE_LAYERS, KVB_FILE_NONE, KVB_FILE_NONE,
                  KVB_FILE_LAYER_BYTES * (uint64_t)cache->spec.n_layers);
    for (int i = 0; i < cache->spec.n_layers; i++) {
        const kvb_layer_format *format = &cache->layers[i].format;
        uint8_t bytes[KVB_FILE_LAYER_BYTES], *at = bytes;
        kvb_file_put_layer(&at, &cache->layers[i].spec, place_of(cache, format->k_codec),
                           place_of(cache, format->v_codec));
        kvb_file_write(from->writer, bytes, sizeof bytes);
    }
    put_crc(from->writer);
}

static void write_means(const kvb_file_source *from) {
    const kvb_cache_spec *spec = &from->cache->spec;
    begin_section(from->writer, KVB_FILE_MEANS, KVB_FILE_NONE, KVB_FILE_NONE, mean_bytes(from->cache));
    for (int i = 0; i < spec->n_layers; i++) {
        kvb_file_write(from->writer, spec->layers[i].k_mean, sizeof(float) * kvb_layer_mean_values(&spec->layers[i]));
    }
    put_crc(from->writer);
}

static void write_sequence(const kvb_file_source *from, int sequence, uint32_t ordinal) {
    const kvb_cache *cache = from->cache;
    uint64_t bytes = kvb_source_sequence_bytes(from, sequence), n_entries = 0;
    uint8_t record[KVB_FILE_PART_BYTES], *at = record;
    begin_section(from->writer, KVB_FILE_SEQUENCE, ordinal, KVB_FILE_NONE, bytes);
    kvb_file_put(&at, (uint64_t)cache->sequences[sequence].n_tokens, 8);
    kvb_file_put(&at, from->only < 0 ? (uint64_t)sequence : 0, 8);
    kvb_file_write(from->writer, record, KVB_FILE_SEQUENCE_BYTES);
    for (int layer = 0; layer < cache->spec.n_layers; layer++) {
        const kvb_cache_part *part = kvb_cache_part_of(cache, sequence, layer);
        kvb_page_range pages = kvb_source_pages(from, sequence, layer);
        at = record;
        kvb_file_put(&at, (uint64_t)part->packed_end, 8);
        kvb_file_put(&at, (uint64_t)kvb_source_released(from, sequence, layer), 8);
        kvb_file_put(&at, (uint64_t)(pages.end - pages.begin), 8);
        kvb_file_write(from->writer, record, sizeof record);
    }
    for (int layer = 0; layer < cache->spec.n_layers; layer++) {
        kvb_page_range pages = kvb_source_pages(from, sequence, layer);
        n_entries += (uint64_t)(pages.end - pages.begin);
        for (int64_t page = pages.begin; page < pages.end; page++) {
            at = record;
            kvb_file_put(&at, kvb_source_owner(from, sequence, ordinal, layer, page), 4);
            kvb_file_write(from->writer, record, 4);
        }
    }
    kvb_file_write_zeros(from->writer, n_entries % 2 * 4);
    put_crc(from->writer);
}

/* ---- Values ---- */

static void write_tokens(const kvb_file_source *from, int layer, int side, int64_t first, int64_t end,
                         const uint8_t *ring, int64_t slots) {
    size_t token_bytes = kvb_file_token_bytes(&from->cache->layers[layer].spec, side);
    for (int64_t token = first; token < end; token++) {
        kvb_file_write(from->writer, ring + (size_t)(token % slots) * token_bytes, token_bytes);
    }
}

static void write_exact(const kvb_file_source *from, int sequence, uint32_t ordinal, int layer) {
    const kvb_cache_layer *how = &from->cache->layers[layer];
    const kvb_cache_part *part = kvb_cache_part_of(from->cache, sequence, layer);
    begin_section(from->writer, KVB_FILE_EXACT, ordinal, (uint32_t)layer,
                  kvb_source_exact_bytes(from, sequence, layer));
    if (part->exact) {
        for (int side = 0; side < kvb_layer_sides(&how->spec); side++) {
            write_tokens(from, layer, side, 0, kvb_file_n_first(&how->spec, part->n_tokens),
                         part->exact + how->exact.first[side], how->spec.exact_first);
        }
        for (int side = 0; side < kvb_layer_sides(&how->spec); side++) {
            write_tokens(from, layer, side, part->packed_end, part->n_tokens, part->exact + how->exact.last[side],
                         how->spec.exact_last);
        }
    }
    put_crc(from->writer);
}

/* Only its rows first to end - 1: what else lies in the page's memory was there before, and means nothing. */
static void write_page(kvb_file_writer *writer, const kvb_layer_spec *layer, int page_tokens, size_t first, size_t end,
                       const uint8_t *page) {
    for (int head = 0; head < layer->n_kv_heads; head++) {
        for (int side = 0; side < kvb_layer_sides(layer); side++) {
            kvb_file_piece pieces[KVB_FILE_MAX_PIECES];
            size_t block_bytes, done = 0;
            int n = kvb_file_pieces(layer, side, page_tokens, pieces, &block_bytes);
            for (int i = 0; i < n; i++) {
                size_t start = pieces[i].offset + first * pieces[i].row_bytes;
                size_t bytes = (end - first) * pieces[i].row_bytes;
                kvb_file_write_zeros(writer, start - done);
                kvb_file_write(writer, page + start, bytes);
                done = start + bytes;
            }
            kvb_file_write_zeros(writer, block_bytes - done);
            page += block_bytes;
        }
    }
}

static void write_pages(const kvb_file_source *from, int sequence, uint32_t ordinal, int layer) {
    const kvb_layer_spec *spec = &from->cache->layers[layer].spec;
    int page_tokens = from->cache->spec.page_tokens;
    kvb_page_range pages = kvb_source_pages(from, sequence, layer);
    begin_section(from->writer, KVB_FILE_PAGES, ordinal, (uint32_t)layer,
                  kvb_source_page_bytes(from, sequence, ordinal, layer));
    for (int64_t page = pages.begin; page < pages.end; page++) {
        if (kvb_source_owner(from, sequence, ordinal, layer, page) == ordinal) {
            int64_t start = page * page_tokens, before = spec->exact_first - start;
            write_page(from->writer, spec, page_tokens, before > 0 ? (size_t)before : 0,
                       (size_t)(kvb_source_end(from, sequence, layer, page) - start),
                       kvb_cache_part_of(from->cache, sequence, layer)->pages[page]);
        }
    }
    put_crc(from->writer);
}

/* ---- The file ---- */

static void write_all(const kvb_file_source *from) {
    const kvb_cache *cache = from->cache;
    uint32_t ordinal = 0;
    write_header(from);
    write_codecs(from);
    write_layers(from);
    if (mean_bytes(cache) > 0) {
        write_means(from);
    }
    for (int sequence = 0; sequence < cache->spec.max_sequences; sequence++) {
        if (kvb_source_saves(from, sequence)) {
            write_sequence(from, sequence, ordinal++);
        }
    }
    ordinal = 0;
    for (int sequence = 0; sequence < cache->spec.max_sequences; sequence++) {
        if (!kvb_source_saves(from, sequence)) {
            continue;
        }
        for (int layer = 0; layer < cache->spec.n_layers; layer++) {
            write_exact(from, sequence, ordinal, layer);
            write_pages(from, sequence, ordinal, layer);
        }
        ordinal++;
    }
    begin_section(from->writer, KVB_FILE_END, KVB_FILE_NONE, KVB_FILE_NONE, 0);
    put_crc(from->writer);
}

static kvb_status save(const kvb_cache *cache, int only, const char *path, kvb_error *error) {
    kvb_file_writer writer;
    kvb_file_source from = {.cache = cache, .only = only, .writer = &writer};
    for (int sequence = 0; sequence < cache->spec.max_sequences; sequence++) {
        if (kvb_source_saves(&from, sequence)) {
            kvb_status status = kvb_cache_check_committed(cache, sequence, error);
            if (status) {
                return status;
            }
            from.n_sequences++;
        }
    }
    kvb_status status = kvb_file_write_begin(&writer, path, error);
    if (status) {
        return status;
    }
    write_all(&from);
    return kvb_file_write_end(&writer, KVB_OK, error);
}

static kvb_status check_arguments(const kvb_cache *cache, const char *path, kvb_error *error) {
    if (!cache || !path) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is NULL; cache and path are needed",
                             cache ? "path" : "cache");
    }
    return KVB_OK;
}

kvb_status kvb_cache_save(const kvb_cache *cache, const char *path, kvb_error *error) {
    kvb_status status = check_arguments(cache, path, error);
    return status ? status : save(cache, -1, path, error);
}

kvb_status kvb_cache_save_sequence(const kvb_cache *cache, int sequence, const char *path, kvb_error *error) {
    kvb_status status;
    if ((status = check_arguments(cache, path, error)) || (status = kvb_cache_check(cache, sequence, 0, error))) {
        return status;
    }
    return save(cache, sequence, path, error);
}
