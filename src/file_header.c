/* The header of a .kvb file, against the file and the limits. */
#include <inttypes.h>
#include <string.h>

#include "file_index.h"

kvb_load_limits kvb_load_limits_resolve(const kvb_load_limits *limits) {
    kvb_load_limits all = limits ? *limits : (kvb_load_limits){.file_bytes = 0};
    all.file_bytes = all.file_bytes ? all.file_bytes : UINT64_C(1) << 40;
    all.budget = all.budget ? all.budget : UINT64_C(1) << 36;
    all.tables = all.tables ? all.tables : UINT64_C(1) << 30;
    all.layers = all.layers ? all.layers : KVB_MAX_LAYERS;
    all.sequences = all.sequences ? all.sequences : KVB_MAX_SEQUENCES;
    all.tokens = all.tokens ? all.tokens : KVB_MAX_TOKENS;
    return all;
}

kvb_status kvb_file_exceeds(const kvb_file_reader *reader, const char *what, uint64_t value, uint64_t limit,
                            kvb_error *error) {
    return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%.200s: %s %" PRIu64 ", and the limit for loading is %" PRIu64,
                         reader->path, what, value, limit);
}

/* Of the header, still unchecked. */
typedef struct numbers {
    uint64_t page_tokens, max_sequences, max_tokens, budget;
} numbers;

static kvb_status parse_header(kvb_file_reader *reader, kvb_file_index *index, numbers *n, kvb_error *error) {
    uint8_t bytes[KVB_FILE_HEADER_BYTES];
    kvb_status status = kvb_file_read(reader, bytes, sizeof bytes, error);
    if (status) {
        return status;
    }
    if (memcmp(bytes, KVB_FILE_MAGIC, 8) != 0) {
        return kvb_file_fault(reader, 0, error, "the first 8 bytes are not those of a .kvb file");
    }
    const uint8_t *at = bytes + 8;
    kvb_file_header *header = &index->header;
    header->version = (int)kvb_file_get(&at, 2);
    if (header->version != KVB_FILE_VERSION) {
        return kvb_file_fault(reader, 8, error, "version %d; this library knows version %d", header->version,
                              KVB_FILE_VERSION);
    }
    uint32_t zero = (uint32_t)kvb_file_get(&at, 2);
    header->n_sections = (uint32_t)kvb_file_get(&at, 4);
    header->bytes = kvb_file_get(&at, 8);
    header->n_layers = (uint32_t)kvb_file_get(&at, 4);
    header->n_sequences = (uint32_t)kvb_file_get(&at, 4);
    n->page_tokens = kvb_file_get(&at, 4);
    n->max_sequences = kvb_file_get(&at, 4);
    n->max_tokens = kvb_file_get(&at, 8);
    n->budget = kvb_file_get(&at, 8);
    zero |= (uint32_t)kvb_file_get(&at, 4);
    uint32_t stored = (uint32_t)kvb_file_get(&at, 4);
    uint32_t computed = kvb_crc32c(&reader->tables, 0, bytes, sizeof bytes - 4);
    if ((status = kvb_file_check_crc(reader, computed, stored, 0, "the header", error))) {
        return status;
    }
    return zero == 0 ? KVB_OK : kvb_file_fault(reader, 8, error, "reserved bytes of the header are not 0");
}

/* Bytes and sections of a file of so many layers and sequences, without any tokens. */
static kvb_status check_size(const kvb_file_reader *reader, const kvb_file_index *index, kvb_error *error) {
    const kvb_file_header *header = &index->header;
    uint64_t layers = header->n_layers, sequences = header->n_sequences;
    uint64_t sections = 3 + sequences * (1 + 2 * layers); /* at most 2^32 * 2^12 */
    if (header->bytes != reader->size) {
        return kvb_file_fault(reader, 16, error, "the header says %" PRIu64 " bytes, and the file has %" PRIu64,
                              header->bytes, reader->size);
    }
    if (header->n_sections < sections) {
        return kvb_file_fault(reader, 12, error,
                              "%" PRIu32 " sections; %" PRIu64 " layers and %" PRIu64 " sequences take %" PRIu64,
                              header->n_sections, layers, sequences, sections);
    }
    uint64_t least = KVB_FILE_HEADER_BYTES + kvb_file_section_bytes(0) * (uint64_t)header->n_sections +
                     KVB_FILE_LAYER_BYTES * layers +
                     sequences * (KVB_FILE_SEQUENCE_BYTES + KVB_FILE_PART_BYTES * layers);
    if (least > reader->size) {
        return kvb_file_fault(reader, 12, error,
                              "%" PRIu32 " sections take %" PRIu64 " bytes and more, and the file has %" PRIu64,
                              header->n_sections, least, reader->size);
    }
    return KVB_OK;
}

static int is_page_tokens(uint64_t n) {
    return n >= KVB_MIN_PAGE_TOKENS && n <= KVB_MAX_PAGE_TOKENS && (n & (n - 1)) == 0;
}

static kvb_status check_numbers(const kvb_file_reader *reader, kvb_file_index *index, const numbers *n,
                                kvb_error *error) {
    const kvb_file_header *header = &index->header;
    if (header->n_layers < 1 || header->n_layers > KVB_MAX_LAYERS) {
        return kvb_file_fault(reader, 24, error, "%" PRIu32 " layers; there are 1 to %d", header->n_layers,
                              KVB_MAX_LAYERS);
    }
    if (n->max_sequences < 1 || n->max_sequences > KVB_MAX_SEQUENCES || header->n_sequences > n->max_sequences) {
        return kvb_file_fault(reader, 28, error, "%" PRIu32 " sequences of at most %" PRIu64 ", which is from 1 to %d",
                              header->n_sequences, n->max_sequences, KVB_MAX_SEQUENCES);
    }
    if (!is_page_tokens(n->page_tokens)) {
        return kvb_file_fault(reader, 32, error, "page_tokens %" PRIu64 " is not a power of two from %d to %d",
                              n->page_tokens, KVB_MIN_PAGE_TOKENS, KVB_MAX_PAGE_TOKENS);
    }
    if (n->max_tokens < 1 || n->max_tokens > (uint64_t)KVB_MAX_TOKENS) {
        return kvb_file_fault(reader, 40, error, "max_tokens %" PRIu64 " is not from 1 to 2^40", n->max_tokens);
    }
    if (n->budget < KVB_BLOCK_ALIGNMENT) {
        return kvb_file_fault(reader, 48, error, "a budget of %" PRIu64 " bytes; it is %d and more", n->budget,
                              KVB_BLOCK_ALIGNMENT);
    }
    if (n->budget > SIZE_MAX) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "a budget of %" PRIu64 " bytes does not fit the address space",
                             n->budget);
    }
    index->spec = (kvb_cache_spec){.n_layers = (int)header->n_layers,
                                   .page_tokens = (int)n->page_tokens,
                                   .max_sequences = (int)n->max_sequences,
                                   .max_tokens = (int64_t)n->max_tokens,
                                   .budget = (size_t)n->budget};
    return KVB_OK;
}

static kvb_status check_limits(const kvb_file_reader *reader, const kvb_file_index *index,
                               const kvb_load_limits *limits, kvb_error *error) {
    const kvb_cache_spec *spec = &index->spec;
    if (spec->n_layers > limits->layers) {
        return kvb_file_exceeds(reader, "layers:", (uint64_t)spec->n_layers, (uint64_t)limits->layers, error);
    }
    if (spec->max_sequences > limits->sequences) {
        return kvb_file_exceeds(reader, "max_sequences", (uint64_t)spec->max_sequences, (uint64_t)limits->sequences,
                                error);
    }
    if (spec->max_tokens > limits->tokens) {
        return kvb_file_exceeds(reader, "max_tokens", (uint64_t)spec->max_tokens, (uint64_t)limits->tokens, error);
    }
    if (spec->budget > limits->budget) {
        return kvb_file_exceeds(reader, "budget", spec->budget, limits->budget, error);
    }
    return KVB_OK;
}

kvb_status kvb_file_read_header(kvb_file_reader *reader, kvb_file_index *index, const kvb_load_limits *limits,
                                kvb_error *error) {
    numbers n = {0};
    kvb_status status;
    if (limits->layers < 0 || limits->sequences < 0 || limits->tokens < 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "a limit for loading is negative; 0 is the default");
    }
    if (reader->size > limits->file_bytes) {
        return kvb_file_exceeds(reader, "bytes of the file:", reader->size, limits->file_bytes, error);
    }
    if ((status = parse_header(reader, index, &n, error)) || (status = check_numbers(reader, index, &n, error)) ||
        (status = check_size(reader, index, error))) {
        return status;
    }
    if (reader->visitor && reader->visitor->header) {
        reader->visitor->header(reader->visitor->context, &index->header);
    }
    return check_limits(reader, index, limits, error);
}
