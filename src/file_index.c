/* The index of a .kvb file: codecs, layers, mean keys, sequences, and what all of it adds up to. */
#include "file_index.h"

#include <inttypes.h>
#include <string.h>

#include "file_codec.h"
#include "file_page.h"
#include "memory.h"

static void *allocate(const kvb_file_index *index, size_t n, size_t bytes, kvb_status *status, kvb_error *error) {
    size_t all;
    void *block = NULL;
    if (*status == KVB_OK && n > 0) {
        if (kvb_size_multiply(n, bytes, &all)) {
            block = index->allocator.allocate(index->allocator.context, all, KVB_BLOCK_ALIGNMENT);
        }
        if (!block) {
            *status = kvb_error_set(error, KVB_ERROR_MEMORY, "no memory for a file's index of %zu entries of %zu bytes",
                                    n, bytes);
        }
    }
    return block;
}

static void release(const kvb_file_index *index, void *block, size_t bytes) {
    if (block) {
        index->allocator.release(index->allocator.context, block, bytes);
    }
}

void kvb_file_index_free(kvb_file_index *index) {
    uint32_t n_sequences = index->sequences ? index->header.n_sequences : 0;
    for (uint32_t i = 0; i < n_sequences; i++) {
        kvb_file_tokens *tokens = &index->sequences[i];
        release(index, tokens->content, tokens->content_bytes);
        release(index, tokens->rows, tokens->n_entries * sizeof *tokens->rows);
    }
    size_t n_layers = index->header.n_layers;
    release(index, index->parts, n_sequences * n_layers * sizeof *index->parts);
    release(index, index->sequences, n_sequences * sizeof *index->sequences);
    release(index, index->is_centered, n_layers * sizeof *index->is_centered);
    release(index, index->mean_content, index->mean_bytes);
    release(index, index->layers, n_layers * sizeof *index->layers);
    release(index, index->codecs, index->n_codecs * sizeof *index->codecs);
    release(index, index->codec_content, index->codec_bytes);
}

/* The content of a section of `size` bytes, any where it is UINT64_MAX, and the offset where it begins. */
static kvb_status read_content(kvb_file_reader *reader, const kvb_file_index *index, uint32_t type, uint64_t size,
                               uint8_t **content, size_t *bytes, uint64_t *offset, kvb_error *error) {
    kvb_status status = kvb_file_expect(reader, type, KVB_FILE_NONE, KVB_FILE_NONE, size, error);
    *offset = reader->offset;
    return status ? status : kvb_file_read_content(reader, &index->allocator, content, bytes, error);
}

/* ---- Codecs and layers ---- */

static kvb_status parse_codecs(const kvb_file_reader *reader, kvb_file_index *index, uint64_t offset,
                               kvb_error *error) {
    const uint8_t *content = index->codec_content, *at = content;
    kvb_status status = KVB_OK;
    if (index->codec_bytes < 8) {
        return kvb_file_fault(reader, offset, error, "%zu bytes of content; 8 and more are needed", index->codec_bytes);
    }
    uint32_t n = (uint32_t)kvb_file_get(&at, 4), zero = (uint32_t)kvb_file_get(&at, 4);
    if (n > 2 * index->header.n_layers || n > index->codec_bytes / 40 || zero != 0) {
        return kvb_file_fault(reader, offset, error,
                              "%" PRIu32 " codecs, reserved %" PRIu32 ", in %zu bytes for %" PRIu32 " layers", n, zero,
                              index->codec_bytes, index->header.n_layers);
    }
    index->codecs = allocate(index, n, sizeof *index->codecs, &status, error);
    index->n_codecs = index->codecs ? n : 0;
    for (uint32_t i = 0; i < index->n_codecs && status == KVB_OK; i++) {
        uint64_t place = offset + (uint64_t)(at - content);
        status = kvb_file_parse_description(reader, &at, index->codec_bytes - (size_t)(at - content), place,
                                            &index->codecs[i], error);
        for (uint32_t j = 0; j < i && status == KVB_OK; j++) {
            if (kvb_file_same_codec(&index->codecs[i], &index->codecs[j])) {
                status = kvb_file_fault(reader, place, error, "codec %" PRIu32 " is codec %" PRIu32 " again", i, j);
            }
        }
    }
    if (status == KVB_OK && at != content + index->codec_bytes) {
        status = kvb_file_fault(reader, offset + (uint64_t)(at - content), error, "%zu bytes behind the last codec",
                                index->codec_bytes - (size_t)(at - content));
    }
    return status;
}

static kvb_status read_codecs(kvb_file_reader *reader, kvb_file_index *index, kvb_error *error) {
    uint64_t offset;
    kvb_status status = read_content(reader, index, KVB_FILE_CODECS, UINT64_MAX, &index->codec_content,
                                     &index->codec_bytes, &offset, error);
    return status ? status : parse_codecs(reader, index, offset, error);
}

static kvb_status parse_layers(kvb_file_reader *reader, kvb_file_index *index, kvb_error *error) {
    uint32_t n_named = 0;
    kvb_status status = KVB_OK;
    index->layers = allocate(index, index->header.n_layers, sizeof *index->layers, &status, error);
    index->is_centered = allocate(index, index->header.n_layers, sizeof *index->is_centered, &status, error);
    for (int i = 0; i < index->spec.n_layers && status == KVB_OK; i++) {
        uint8_t bytes[KVB_FILE_LAYER_BYTES];
        uint64_t offset = reader->offset;
        int is_centered = 0;
        status = kvb_file_read(reader, bytes, sizeof bytes, error);
        if (status == KVB_OK) {
            status = kvb_file_parse_layer(reader, bytes, offset, index->spec.page_tokens, index->codecs,
                                          index->n_codecs, &n_named, &index->layers[i], &is_centered, error);
        }
        index->is_centered[i] = (uint8_t)is_centered;
    }
    if (status == KVB_OK && n_named != index->n_codecs) {
        status =
            kvb_file_fault(reader, reader->offset, error, "%" PRIu32 " codecs, of which no layer names number %" PRIu32,
                           index->n_codecs, n_named);
    }
    index->spec.layers = index->layers;
    return status;
}

static kvb_status read_layers(kvb_file_reader *reader, kvb_file_index *index, kvb_error *error) {
    kvb_status status = kvb_file_expect(reader, KVB_FILE_LAYERS, KVB_FILE_NONE, KVB_FILE_NONE,
                                        KVB_FILE_LAYER_BYTES * (uint64_t)index->header.n_layers, error);
    return status ? status : kvb_file_read_crc(reader, parse_layers(reader, index, error), error);
}

/* ---- Mean keys ---- */

static size_t mean_values(const kvb_file_index *index, int layer) {
    const kvb_layer_spec *spec = &index->layers[layer];
    return index->is_centered[layer] ? (size_t)spec->n_kv_heads * (size_t)spec->k.head_dim : 0;
}

static uint64_t mean_bytes(const kvb_file_index *index) {
    uint64_t bytes = 0;
    for (int i = 0; i < index->spec.n_layers; i++) {
        bytes += sizeof(float) * (uint64_t)mean_values(index, i); /* below 2^22, of 1024 layers */
    }
    return bytes;
}

static kvb_status parse_means(const kvb_file_reader *reader, const kvb_file_index *index, uint64_t offset,
                              kvb_error *error) {
    const uint8_t *at = index->mean_content;
    for (int i = 0; i < index->spec.n_layers; i++) {
        kvb_error reason;
        if (index->is_centered[i]) {
            index->layers[i].k_mean = (const float *)(const void *)at;
            if (kvb_layer_spec_check(&index->layers[i], index->spec.page_tokens, &reason)) {
                return kvb_file_fault(reader, offset + (uint64_t)(at - index->mean_content), error, "layer %d: %.300s",
                                      i, reason.text);
            }
            at += sizeof(float) * mean_values(index, i);
        }
    }
    return KVB_OK;
}

/* There is a section where there are centered layers. */
static kvb_status read_means(kvb_file_reader *reader, kvb_file_index *index, kvb_error *error) {
    uint64_t offset, bytes = mean_bytes(index);
    if (bytes == 0) {
        return KVB_OK;
    }
    kvb_status status =
        read_content(reader, index, KVB_FILE_MEANS, bytes, &index->mean_content, &index->mean_bytes, &offset, error);
    return status ? status : parse_means(reader, index, offset, error);
}

/* ---- Sizes ---- */

/* What a cache of this spec takes outside of its budget: mean keys, tables of pages, counts of references to blocks. */
static kvb_status check_tables(const kvb_file_reader *reader, const kvb_file_index *index,
                               const kvb_load_limits *limits, kvb_error *error) {
    const kvb_cache_spec *spec = &index->spec;
    size_t page_bytes, smallest = SIZE_MAX;
    kvb_exact_layout exact;
    for (int i = 0; i < spec->n_layers; i++) {
        kvb_status status = kvb_layer_sizes_of(&spec->layers[i], spec->page_tokens, &page_bytes, &exact, error);
        if (status) {
            return status;
        }
        smallest = page_bytes < smallest ? page_bytes : smallest;
        smallest = exact.bytes > 0 && exact.bytes < smallest ? exact.bytes : smallest;
    }
    uint64_t pages = ((uint64_t)spec->max_tokens - 1) / (uint64_t)spec->page_tokens + 1;
    uint64_t part = kvb_file_sum(kvb_file_product(pages, sizeof(void *)), sizeof(kvb_cache_part));
    uint64_t bytes = kvb_file_product(part, (uint64_t)spec->n_layers * (uint64_t)spec->max_sequences);
    bytes = kvb_file_sum(bytes, sizeof(kvb_cache_sequence) * (uint64_t)spec->max_sequences);
    bytes = kvb_file_sum(bytes, kvb_file_product(spec->budget / smallest, sizeof(size_t)));
    bytes = kvb_file_sum(bytes, mean_bytes(index));
    return bytes > limits->tables ? kvb_file_exceeds(reader, "bytes of tables:", bytes, limits->tables, error) : KVB_OK;
}

/* ---- Sums ---- */

size_t kvb_file_count_held(const kvb_file_index *index, uint32_t sequence, int layer) {
    const kvb_file_part *part = kvb_file_part_of(index, sequence, layer);
    size_t n = 0;
    for (int64_t page = part->pages.begin; page < part->pages.end; page++) {
        n += (size_t)kvb_file_holds(index, sequence, layer, page);
    }
    return n;
}

static kvb_status add_sequence(const kvb_file_index *index, uint32_t ordinal, kvb_file_sequence *sum, uint64_t *file,
                               kvb_error *error) {
    const kvb_file_tokens *tokens = &index->sequences[ordinal];
    *sum = (kvb_file_sequence){.number = tokens->number, .n_tokens = tokens->n_tokens};
    for (int layer = 0; layer < index->spec.n_layers; layer++) {
        const kvb_layer_spec *spec = &index->layers[layer];
        const kvb_file_part *part = kvb_file_part_of(index, ordinal, layer);
        size_t page_bytes, held = kvb_file_count_held(index, ordinal, layer);
        kvb_exact_layout exact;
        kvb_status status = kvb_layer_sizes_of(spec, index->spec.page_tokens, &page_bytes, &exact, error);
        if (status) {
            return status;
        }
        sum->pages += (int64_t)held;
        sum->shared_pages += part->pages.end - part->pages.begin - (int64_t)held;
        sum->page_bytes = kvb_file_sum(sum->page_bytes, kvb_file_product(held, page_bytes));
        sum->exact_bytes = kvb_file_sum(sum->exact_bytes, tokens->n_tokens > 0 ? exact.bytes : 0);
        *file = kvb_file_sum(*file, kvb_file_product(held, page_bytes));
        int64_t n_exact = kvb_file_n_first(spec, tokens->n_tokens) + tokens->n_tokens - part->packed_end;
        for (int side = 0; side < kvb_layer_sides(spec); side++) {
            *file = kvb_file_sum(*file, kvb_file_product((uint64_t)n_exact, kvb_file_token_bytes(spec, side)));
        }
        *file = kvb_file_sum(*file, 2 * kvb_file_section_bytes(0));
    }
    return KVB_OK;
}

/* Before anything is made for them: is there room for all tokens, in the file and in the budget? */
static kvb_status check_sums(const kvb_file_reader *reader, const kvb_file_index *index, kvb_error *error) {
    uint64_t file = kvb_file_section_bytes(0), arena = 0;
    for (uint32_t i = 0; i < index->header.n_sequences; i++) {
        kvb_file_sequence sum;
        kvb_status status = add_sequence(index, i, &sum, &file, error);
        if (status) {
            return status;
        }
        arena = kvb_file_sum(arena, kvb_file_sum(sum.page_bytes, sum.exact_bytes));
        if (reader->visitor && reader->visitor->sequence) {
            reader->visitor->sequence(reader->visitor->context, &sum);
        }
    }
    if (file > reader->size - reader->offset) {
        return kvb_file_fault(reader, reader->offset, error,
                              "exact tokens and pages take %" PRIu64 " bytes from here on, and %" PRIu64 " are left",
                              file, reader->size - reader->offset);
    }
    if (arena > index->spec.budget) {
        return kvb_file_fault(reader, reader->offset, error,
                              "pages and exact tokens take %" PRIu64 " bytes of the budget, which is %zu", arena,
                              index->spec.budget);
    }
    return KVB_OK;
}

/* ---- All of it ---- */

static kvb_status read_all(kvb_file_reader *reader, kvb_file_index *index, const kvb_load_limits *limits,
                           kvb_error *error) {
    kvb_status status;
    if ((status = kvb_file_read_header(reader, index, limits, error)) || (status = read_codecs(reader, index, error)) ||
        (status = read_layers(reader, index, error)) || (status = check_tables(reader, index, limits, error)) ||
        (status = read_means(reader, index, error))) {
        return status;
    }
    if (reader->visitor && reader->visitor->spec) {
        reader->visitor->spec(reader->visitor->context, &index->spec);
    }
    /* check_size found the file long enough for these. */
    size_t n = index->header.n_sequences;
    index->sequences = allocate(index, n, sizeof *index->sequences, &status, error);
    if (index->sequences) {
        memset(index->sequences, 0, n * sizeof *index->sequences);
    }
    index->parts = allocate(index, n * index->header.n_layers, sizeof *index->parts, &status, error);
    for (uint32_t i = 0; i < n && status == KVB_OK; i++) {
        status = kvb_file_read_sequence(reader, index, i, error);
    }
    return status ? status : check_sums(reader, index, error);
}

kvb_status kvb_file_index_read(kvb_file_reader *reader, const kvb_load_limits *limits, const kvb_allocator *allocator,
                               kvb_file_index *index, kvb_error *error) {
    kvb_load_limits resolved = kvb_load_limits_resolve(limits);
    *index = (kvb_file_index){.allocator = kvb_allocator_resolve(allocator)};
    kvb_status status = kvb_allocator_check(allocator, error);
    status = status ? status : read_all(reader, index, &resolved, error);
    if (status) {
        kvb_file_index_free(index);
    }
    return status;
}
