/* The section of one sequence: what lies where. */
#include "file_index.h"

#include <inttypes.h>

kvb_status kvb_file_expect(kvb_file_reader *reader, uint32_t type, uint32_t sequence, uint32_t layer, uint64_t bytes,
                           kvb_error *error) {
    uint64_t start = reader->offset;
    kvb_status status = kvb_file_read_head(reader, error);
    if (status) {
        return status;
    }
    const kvb_file_head *head = &reader->head;
    if (head->type != type || head->sequence != sequence || head->layer != layer) {
        kvb_file_head wanted = {.type = type, .sequence = sequence, .layer = layer};
        char text[64];
        kvb_file_head_text(&wanted, text, sizeof text);
        return kvb_file_fault(reader, start, error, "%s has its place here", text);
    }
    if (bytes != UINT64_MAX && head->bytes != bytes) {
        return kvb_file_fault(reader, start, error, "%" PRIu64 " bytes of content; there must be %" PRIu64, head->bytes,
                              bytes);
    }
    return KVB_OK;
}

kvb_status kvb_file_read_content(kvb_file_reader *reader, const kvb_allocator *allocator, uint8_t **content,
                                 size_t *bytes, kvb_error *error) {
    *bytes = 0;
    *content = NULL;
    if (reader->head.bytes == 0) {
        return kvb_file_read_crc(reader, KVB_OK, error);
    }
    if (reader->head.bytes > SIZE_MAX ||
        !(*content = allocator->allocate(allocator->context, (size_t)reader->head.bytes, KVB_BLOCK_ALIGNMENT))) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "no memory for the %" PRIu64 " bytes of a section",
                             reader->head.bytes);
    }
    *bytes = (size_t)reader->head.bytes;
    kvb_status status = kvb_file_read(reader, *content, *bytes, error);
    return kvb_file_read_crc(reader, status, error);
}

/* ---- Parts ---- */

static kvb_status parse_part(const kvb_file_reader *reader, const kvb_file_index *index, const kvb_file_tokens *tokens,
                             int layer, const uint8_t **at, uint64_t offset, kvb_file_part *part, kvb_error *error) {
    const kvb_layer_spec *spec = &index->layers[layer];
    int64_t n = tokens->n_tokens, first = n < spec->exact_first ? n : spec->exact_first;
    uint64_t packed_end = kvb_file_get(at, 8), released = kvb_file_get(at, 8);
    uint32_t n_entries = (uint32_t)kvb_file_get(at, 4), zero = (uint32_t)kvb_file_get(at, 4);
    if (packed_end < (uint64_t)first || packed_end > (uint64_t)n ||
        (uint64_t)n - packed_end > (uint64_t)spec->exact_last) {
        return kvb_file_fault(reader, offset, error,
                              "layer %d: packed_end %" PRIu64 " of %" PRId64 " tokens; legal are %" PRId64
                              " to %" PRId64 ", and at most %d tokens behind it",
                              layer, packed_end, n, first, n, spec->exact_last);
    }
    uint64_t most = (uint64_t)kvb_layer_released(spec, index->spec.page_tokens, (int64_t)packed_end, n);
    if (released > most) {
        return kvb_file_fault(reader, offset, error,
                              "layer %d: %" PRIu64 " pages are released; with window %d at most %" PRIu64 " may be",
                              layer, released, spec->window, most);
    }
    part->packed_end = (int64_t)packed_end;
    part->released = (int64_t)released;
    part->pages =
        kvb_layer_pages(spec, index->spec.page_tokens, part->released * index->spec.page_tokens, part->packed_end);
    part->first_entry = 0;
    if (n_entries != (uint64_t)(part->pages.end - part->pages.begin) || zero != 0) {
        return kvb_file_fault(reader, offset, error,
                              "layer %d: a table of %" PRIu32 " pages, reserved %" PRIu32 "; there must be %" PRId64
                              ", and 0",
                              layer, n_entries, zero, part->pages.end - part->pages.begin);
    }
    return KVB_OK;
}

/* ---- Tables ---- */

/* Rows of a page below `end`. */
static uint16_t rows_below(int64_t end, int64_t page, int page_tokens) {
    int64_t rows = end - page * page_tokens;
    return (uint16_t)(rows < page_tokens ? rows : page_tokens);
}

static kvb_status share(const kvb_file_reader *reader, kvb_file_index *index, uint32_t ordinal, int layer, int64_t page,
                        uint32_t owner, uint64_t offset, kvb_error *error) {
    if (owner < ordinal) {
        const kvb_file_part *from = kvb_file_part_of(index, owner, layer);
        if (page >= from->pages.begin && page < from->pages.end && kvb_file_holds(index, owner, layer, page)) {
            uint16_t rows =
                rows_below(kvb_file_part_of(index, ordinal, layer)->packed_end, page, index->spec.page_tokens);
            uint16_t *used = &index->sequences[owner].rows[from->first_entry + (size_t)(page - from->pages.begin)];
            *used = rows > *used ? rows : *used;
            return KVB_OK;
        }
    }
    return kvb_file_fault(reader, offset, error,
                          "layer %d: page %" PRId64 " is said to be held by sequence %" PRIu32
                          ", which does not hold it",
                          layer, page, owner);
}

static kvb_status parse_tables(const kvb_file_reader *reader, kvb_file_index *index, uint32_t ordinal, uint64_t offset,
                               kvb_error *error) {
    kvb_file_tokens *tokens = &index->sequences[ordinal];
    for (int layer = 0; layer < index->spec.n_layers; layer++) {
        const kvb_file_part *part = kvb_file_part_of(index, ordinal, layer);
        for (int64_t page = part->pages.begin; page < part->pages.end; page++) {
            size_t entry = part->first_entry + (size_t)(page - part->pages.begin);
            uint32_t owner = tokens->owners[entry];
            kvb_status status;
            tokens->rows[entry] = owner == ordinal ? rows_below(part->packed_end, page, index->spec.page_tokens) : 0;
            if (owner != ordinal &&
                (status = share(reader, index, ordinal, layer, page, owner, offset + 4 * (uint64_t)entry, error))) {
                return status;
            }
        }
    }
    return KVB_OK;
}

/* ---- The section ---- */

static kvb_status parse_tokens(const kvb_file_reader *reader, const kvb_file_index *index, uint32_t ordinal,
                               uint64_t offset, const uint8_t **at, kvb_error *error) {
    kvb_file_tokens *tokens = &index->sequences[ordinal];
    uint64_t n_tokens = kvb_file_get(at, 8);
    uint32_t number = (uint32_t)kvb_file_get(at, 4), zero = (uint32_t)kvb_file_get(at, 4);
    int64_t before = ordinal > 0 ? tokens[-1].number : -1;
    if (n_tokens > (uint64_t)index->spec.max_tokens) {
        return kvb_file_fault(reader, offset, error, "%" PRIu64 " tokens; the cache has at most %" PRId64, n_tokens,
                              index->spec.max_tokens);
    }
    if (number >= (uint32_t)index->spec.max_sequences || (int64_t)number <= before || zero != 0) {
        return kvb_file_fault(reader, offset, error,
                              "number %" PRIu32 ", reserved %" PRIu32 "; legal are %" PRId64 " to %d, and 0", number,
                              zero, before + 1, index->spec.max_sequences - 1);
    }
    tokens->n_tokens = (int64_t)n_tokens;
    tokens->number = (int)number;
    return KVB_OK;
}

/* The parts say how long the content must be. */
static kvb_status parse_parts(const kvb_file_reader *reader, kvb_file_index *index, uint32_t ordinal, uint64_t offset,
                              const uint8_t **at, kvb_error *error) {
    kvb_file_tokens *tokens = &index->sequences[ordinal];
    kvb_file_part *parts = &index->parts[(size_t)ordinal * (size_t)index->spec.n_layers];
    size_t head = KVB_FILE_SEQUENCE_BYTES + KVB_FILE_PART_BYTES * (size_t)index->spec.n_layers;
    uint64_t n_entries = 0;
    for (int layer = 0; layer < index->spec.n_layers; layer++) {
        uint64_t place = offset + KVB_FILE_SEQUENCE_BYTES + KVB_FILE_PART_BYTES * (uint64_t)layer;
        kvb_status status = parse_part(reader, index, tokens, layer, at, place, &parts[layer], error);
        if (status) {
            return status;
        }
        parts[layer].first_entry = (size_t)n_entries;
        n_entries += (uint64_t)(parts[layer].pages.end - parts[layer].pages.begin); /* each below 2^32, 1024 of them */
    }
    uint64_t bytes = head + (4 * n_entries + 7) / 8 * 8;
    if (bytes != tokens->content_bytes) {
        return kvb_file_fault(reader, offset, error, "%zu bytes of content; %" PRIu64 " pages make them %" PRIu64,
                              tokens->content_bytes, n_entries, bytes);
    }
    tokens->owners = (const uint32_t *)(const void *)(tokens->content + head);
    tokens->n_entries = (size_t)n_entries;
    for (size_t i = head + 4 * tokens->n_entries; i < tokens->content_bytes; i++) {
        if (tokens->content[i] != 0) {
            return kvb_file_fault(reader, offset + i, error, "byte %02x behind the tables; it must be 0",
                                  tokens->content[i]);
        }
    }
    return KVB_OK;
}

kvb_status kvb_file_read_sequence(kvb_file_reader *reader, kvb_file_index *index, uint32_t ordinal, kvb_error *error) {
    kvb_file_tokens *tokens = &index->sequences[ordinal];
    kvb_status status;
    if ((status = kvb_file_expect(reader, KVB_FILE_SEQUENCE, ordinal, KVB_FILE_NONE, UINT64_MAX, error))) {
        return status;
    }
    uint64_t offset = reader->offset;
    if ((status = kvb_file_read_content(reader, &index->allocator, &tokens->content, &tokens->content_bytes, error))) {
        return status;
    }
    size_t least = KVB_FILE_SEQUENCE_BYTES + KVB_FILE_PART_BYTES * (size_t)index->spec.n_layers;
    if (tokens->content_bytes < least) {
        return kvb_file_fault(reader, offset, error, "%zu bytes of content; %d layers take %zu and more",
                              tokens->content_bytes, index->spec.n_layers, least);
    }
    const uint8_t *at = tokens->content;
    if ((status = parse_tokens(reader, index, ordinal, offset, &at, error)) ||
        (status = parse_parts(reader, index, ordinal, offset, &at, error))) {
        return status;
    }
    if (tokens->n_entries == 0) {
        return KVB_OK;
    }
    size_t bytes = tokens->n_entries * sizeof *tokens->rows;
    tokens->rows = index->allocator.allocate(index->allocator.context, bytes, KVB_BLOCK_ALIGNMENT);
    if (!tokens->rows) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "no memory for the tables of %zu pages", tokens->n_entries);
    }
    return parse_tables(reader, index, ordinal, offset + least, error);
}
