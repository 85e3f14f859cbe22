/* The values of a .kvb file: exact tokens and pages, into a cache or only checked. */
#include "file_index.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "file_page.h"
#include "half.h"

enum { CHUNK = 4096 };

/* ---- Values ---- */

static float value_at(const uint8_t *data, size_t i, kvb_piece_kind kind) {
    float value;
    uint16_t half;
    if (kind == KVB_PIECE_F32) {
        memcpy(&value, data + i * sizeof value, sizeof value);
        return value;
    }
    memcpy(&half, data + i * sizeof half, sizeof half);
    return kind == KVB_PIECE_F16 ? kvb_half_to_float(half) : kvb_bfloat_to_float(half);
}

/* Dense and exact values up to 2^58, as everything that is encoded; scales up to the largest float. */
static kvb_status check_values(const kvb_file_reader *reader, const uint8_t *data, size_t bytes, kvb_piece_kind kind,
                               uint64_t offset, kvb_error *error) {
    size_t width = kind == KVB_PIECE_F32 ? sizeof(float) : sizeof(uint16_t);
    for (size_t i = 0; kind != KVB_PIECE_CODES && i < bytes / width; i++) {
        float value = fabsf(value_at(data, i, kind));
        if (!(value <= (kind == KVB_PIECE_BF16 ? KVB_MAX_ABS : 0x1.fffffep127f))) {
            return kvb_file_fault(reader, offset + i * width, error,
                                  "a value or scale of %g; they are finite, and values up to 2^58 in size",
                                  (double)value);
        }
    }
    return KVB_OK;
}

/* Rows to *to, which moves behind them, or, when it is NULL, to nowhere. */
static kvb_status read_values(kvb_file_reader *reader, uint8_t **to, size_t bytes, kvb_piece_kind kind,
                              kvb_error *error) {
    uint8_t chunk[CHUNK];
    while (bytes > 0) {
        size_t n = *to || bytes < sizeof chunk ? bytes : sizeof chunk;
        uint8_t *data = *to ? *to : chunk;
        uint64_t offset = reader->offset;
        kvb_status status;
        if ((status = kvb_file_read(reader, data, n, error)) ||
            (status = check_values(reader, data, n, kind, offset, error))) {
            return status;
        }
        *to = *to ? *to + n : NULL;
        bytes -= n;
    }
    return KVB_OK;
}

static kvb_status read_zeros(kvb_file_reader *reader, uint8_t **to, size_t bytes, kvb_error *error) {
    uint8_t chunk[512];
    while (bytes > 0) {
        size_t n = bytes < sizeof chunk ? bytes : sizeof chunk;
        uint64_t offset = reader->offset;
        kvb_status status = kvb_file_read(reader, chunk, n, error);
        if (status) {
            return status;
        }
        for (size_t i = 0; i < n; i++) {
            if (chunk[i] != 0) {
                return kvb_file_fault(reader, offset + i, error, "byte %02x where no row lies; it must be 0", chunk[i]);
            }
        }
        if (*to) {
            memset(*to, 0, n);
            *to += n;
        }
        bytes -= n;
    }
    return KVB_OK;
}

/* ---- Pages ---- */

/* Rows `first` to `end` - 1 of a page are used. */
static kvb_status read_page(kvb_file_reader *reader, const kvb_layer_spec *layer, int page_tokens, size_t first,
                            size_t end, uint8_t *page, kvb_error *error) {
    for (int head = 0; head < layer->n_kv_heads; head++) {
        for (int side = 0; side < kvb_layer_sides(layer); side++) {
            kvb_file_piece pieces[KVB_FILE_MAX_PIECES];
            size_t block_bytes, done = 0;
            int n = kvb_file_pieces(layer, side, page_tokens, pieces, &block_bytes);
            for (int i = 0; i < n; i++) {
                size_t start = pieces[i].offset + first * pieces[i].row_bytes;
                size_t bytes = (end - first) * pieces[i].row_bytes;
                kvb_status status;
                if ((status = read_zeros(reader, &page, start - done, error)) ||
                    (status = read_values(reader, &page, bytes, pieces[i].kind, error))) {
                    return status;
                }
                done = start + bytes;
            }
            kvb_status status = read_zeros(reader, &page, block_bytes - done, error);
            if (status) {
                return status;
            }
        }
    }
    return KVB_OK;
}

static kvb_status read_held_pages(kvb_file_reader *reader, const kvb_file_index *index, uint32_t ordinal, int layer,
                                  const kvb_cache_part *into, kvb_error *error) {
    const kvb_layer_spec *spec = &index->layers[layer];
    const kvb_file_part *part = kvb_file_part_of(index, ordinal, layer);
    for (int64_t page = part->pages.begin; page < part->pages.end; page++) {
        if (!kvb_file_holds(index, ordinal, layer, page)) {
            continue;
        }
        size_t end = index->sequences[ordinal].rows[part->first_entry + (size_t)(page - part->pages.begin)];
        int64_t before = spec->exact_first - page * index->spec.page_tokens;
        kvb_status status = read_page(reader, spec, index->spec.page_tokens, before > 0 ? (size_t)before : 0, end,
                                      into ? into->pages[page] : NULL, error);
        if (status) {
            return status;
        }
    }
    return KVB_OK;
}

static kvb_status read_pages(kvb_file_reader *reader, const kvb_file_index *index, uint32_t ordinal, int layer,
                             const kvb_cache_part *into, kvb_error *error) {
    size_t page_bytes, held = kvb_file_count_held(index, ordinal, layer);
    kvb_exact_layout exact;
    kvb_status status;
    if ((status = kvb_layer_sizes_of(&index->layers[layer], index->spec.page_tokens, &page_bytes, &exact, error)) ||
        (status = kvb_file_expect(reader, KVB_FILE_PAGES, ordinal, (uint32_t)layer, kvb_file_product(held, page_bytes),
                                  error))) {
        return status;
    }
    return kvb_file_read_crc(reader, read_held_pages(reader, index, ordinal, layer, into, error), error);
}

/* ---- Exact tokens ---- */

/* Tokens first to end - 1 of one side, token t to slot t % slots of the ring at `ring`, or nowhere. */
static kvb_status read_tokens(kvb_file_reader *reader, const kvb_layer_spec *layer, int side, int64_t first,
                              int64_t end, uint8_t *ring, int64_t slots, kvb_error *error) {
    size_t token_bytes = kvb_file_token_bytes(layer, side);
    kvb_piece_kind kind = layer->dense == KVB_F16 ? KVB_PIECE_F16 : KVB_PIECE_BF16;
    for (int64_t token = first; token < end; token++) {
        uint8_t *to = ring ? ring + (size_t)(token % slots) * token_bytes : NULL;
        kvb_status status = read_values(reader, &to, token_bytes, kind, error);
        if (status) {
            return status;
        }
    }
    return KVB_OK;
}

/* Those at the front, then those at the end, keys before values. */
static kvb_status read_both_ends(kvb_file_reader *reader, const kvb_layer_spec *spec, const kvb_exact_layout *exact,
                                 int64_t n_tokens, int64_t packed_end, uint8_t *block, kvb_error *error) {
    for (int i = 0; i < 2 * kvb_layer_sides(spec); i++) {
        int side = i % kvb_layer_sides(spec), is_last = i / kvb_layer_sides(spec);
        int64_t first = is_last ? packed_end : 0, end = is_last ? n_tokens : kvb_file_n_first(spec, n_tokens);
        uint8_t *ring = block ? block + (is_last ? exact->last[side] : exact->first[side]) : NULL;
        kvb_status status =
            read_tokens(reader, spec, side, first, end, ring, is_last ? spec->exact_last : spec->exact_first, error);
        if (status) {
            return status;
        }
    }
    return KVB_OK;
}

static kvb_status read_exact(kvb_file_reader *reader, const kvb_file_index *index, uint32_t ordinal, int layer,
                             const kvb_cache_part *into, kvb_error *error) {
    const kvb_layer_spec *spec = &index->layers[layer];
    int64_t n_tokens = index->sequences[ordinal].n_tokens, n_first = kvb_file_n_first(spec, n_tokens);
    int64_t packed_end = kvb_file_part_of(index, ordinal, layer)->packed_end;
    uint64_t bytes = 0;
    size_t page_bytes;
    kvb_exact_layout exact;
    for (int side = 0; side < kvb_layer_sides(spec); side++) {
        bytes += (uint64_t)(n_first + n_tokens - packed_end) * kvb_file_token_bytes(spec, side); /* below 2^41 */
    }
    kvb_status status;
    if ((status = kvb_layer_sizes_of(spec, index->spec.page_tokens, &page_bytes, &exact, error)) ||
        (status = kvb_file_expect(reader, KVB_FILE_EXACT, ordinal, (uint32_t)layer, bytes, error))) {
        return status;
    }
    status = read_both_ends(reader, spec, &exact, n_tokens, packed_end, into ? into->exact : NULL, error);
    return kvb_file_read_crc(reader, status, error);
}

/* ---- All sequences ---- */

static kvb_status read_end(kvb_file_reader *reader, const kvb_file_index *index, kvb_error *error) {
    kvb_status status;
    if ((status = kvb_file_expect(reader, KVB_FILE_END, KVB_FILE_NONE, KVB_FILE_NONE, 0, error)) ||
        (status = kvb_file_read_crc(reader, KVB_OK, error))) {
        return status;
    }
    if (reader->offset != reader->size || reader->section != index->header.n_sections) {
        return kvb_file_fault(reader, reader->offset, error,
                              "the end after %zu sections; the header says %" PRIu32 " sections and %" PRIu64 " bytes",
                              reader->section, index->header.n_sections, index->header.bytes);
    }
    return KVB_OK;
}

kvb_status kvb_file_read_rows(kvb_file_reader *reader, const kvb_file_index *index, const kvb_file_sink *sink,
                              kvb_error *error) {
    for (uint32_t i = 0; i < index->header.n_sequences; i++) {
        for (int layer = 0; layer < index->spec.n_layers; layer++) {
            const kvb_cache_part *into = NULL;
            if (sink->cache) {
                int number = sink->number < 0 ? index->sequences[i].number : sink->number;
                into = kvb_cache_part_of(sink->cache, number, layer);
            }
            kvb_status status;
            if ((status = read_exact(reader, index, i, layer, into, error)) ||
                (status = read_pages(reader, index, i, layer, into, error))) {
                return status;
            }
        }
    }
    return read_end(reader, index, error);
}
