/* What a .kvb file says about itself: everything but the tokens' values. */
#ifndef KVB_FILE_INDEX_H
#define KVB_FILE_INDEX_H

#include "cache.h"
#include "file_read.h"

/* One sequence in one layer. */
typedef struct kvb_file_part {
    int64_t packed_end, released;
    kvb_page_range pages; /* those that its table lists */
    size_t first_entry;   /* in the tables of its sequence */
} kvb_file_part;

/* Tables of all layers of a sequence, one behind the other; an entry is one page. */
typedef struct kvb_file_tokens {
    int number; /* in the cache */
    int64_t n_tokens;
    uint8_t *content; /* of its section */
    size_t content_bytes;
    const uint32_t *owners; /* of each page: the sequence of the file that holds it; inside content */
    uint16_t *rows;         /* of each page that it holds itself: used rows, counted from the page's first row */
    size_t n_entries;
} kvb_file_tokens;

typedef struct kvb_file_index {
    kvb_allocator allocator;
    kvb_file_header header;
    kvb_cache_spec spec;
    kvb_layer_spec *layers;
    kvb_codec_spec *codecs;
    uint32_t n_codecs;
    uint8_t *codec_content; /* of the section, where the centroids are */
    size_t codec_bytes;
    uint8_t *is_centered;  /* [layer] */
    uint8_t *mean_content; /* of the section of mean keys, in which the layers' k_mean are; NULL without one */
    size_t mean_bytes;
    kvb_file_tokens *sequences;
    kvb_file_part *parts; /* [sequence][layer] */
} kvb_file_index;

/* Reads header, codecs, layers, mean keys and sequences, checks all of it, and that the file has room for all pages and
 * exact tokens and the budget too. On failure nothing is left to be freed. */
kvb_status kvb_file_index_read(kvb_file_reader *reader, const kvb_load_limits *limits, const kvb_allocator *allocator,
                               kvb_file_index *index, kvb_error *error);
void kvb_file_index_free(kvb_file_index *index);

static inline const kvb_file_part *kvb_file_part_of(const kvb_file_index *index, uint32_t sequence, int layer) {
    return &index->parts[(size_t)sequence * (size_t)index->spec.n_layers + (size_t)layer];
}

/* Does the sequence hold this page itself? */
static inline int kvb_file_holds(const kvb_file_index *index, uint32_t sequence, int layer, int64_t page) {
    const kvb_file_part *part = kvb_file_part_of(index, sequence, layer);
    return index->sequences[sequence].owners[part->first_entry + (size_t)(page - part->pages.begin)] == sequence;
}

/* Pages of a part that it holds itself. */
size_t kvb_file_count_held(const kvb_file_index *index, uint32_t sequence, int layer);

/* ---- file_header.c ---- */

/* The limits with their defaults filled in. */
kvb_load_limits kvb_load_limits_resolve(const kvb_load_limits *limits);
/* "PATH: WHAT VALUE, and the limit for loading is LIMIT" */
kvb_status kvb_file_exceeds(const kvb_file_reader *reader, const char *what, uint64_t value, uint64_t limit,
                            kvb_error *error);
/* Reads the header into index->header and index->spec, whose layers are still to come. */
kvb_status kvb_file_read_header(kvb_file_reader *reader, kvb_file_index *index, const kvb_load_limits *limits,
                                kvb_error *error);

/* ---- file_sequence.c ---- */

/* Reads the section of sequence `ordinal` into the index. */
kvb_status kvb_file_read_sequence(kvb_file_reader *reader, kvb_file_index *index, uint32_t ordinal, kvb_error *error);
/* The next section must be this one and have so much content (UINT64_MAX: any). */
kvb_status kvb_file_expect(kvb_file_reader *reader, uint32_t type, uint32_t sequence, uint32_t layer, uint64_t bytes,
                           kvb_error *error);
/* Allocates the section's content, reads it and checks its CRC. *content is NULL without content. */
kvb_status kvb_file_read_content(kvb_file_reader *reader, const kvb_allocator *allocator, uint8_t **content,
                                 size_t *bytes, kvb_error *error);

/* ---- file_rows.c ---- */

/* Where the values go: both may be NULL, and the values are then only checked. */
typedef struct kvb_file_sink {
    kvb_cache *cache; /* its sequences are open and have their pages */
    int number;       /* -1: sequences have the numbers that the file says; else this one */
} kvb_file_sink;

/* Reads exact tokens and pages of all sequences, and the end. */
kvb_status kvb_file_read_rows(kvb_file_reader *reader, const kvb_file_index *index, const kvb_file_sink *sink,
                              kvb_error *error);

#endif
