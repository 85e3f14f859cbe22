/* What is saved, and how long its sections are. */
#ifndef KVB_FILE_SOURCE_H
#define KVB_FILE_SOURCE_H

#include "cache.h"
#include "file_write.h"

/* All open sequences of a cache, or one. An ordinal is a sequence's place among those that are saved. */
typedef struct kvb_file_source {
    const kvb_cache *cache;
    int only; /* -1: all */
    uint32_t n_sequences;
    kvb_file_writer *writer;
} kvb_file_source;

int kvb_source_saves(const kvb_file_source *from, int sequence);
/* The pages that hold tokens of a part. */
kvb_page_range kvb_source_pages(const kvb_file_source *from, int sequence, int layer);
/* Pages that the window has given back. A cut can leave a part with more of them than its length explains: pages that
 * never were, as all their tokens were exact first ones; those do not count. */
int64_t kvb_source_released(const kvb_file_source *from, int sequence, int layer);
/* The ordinal of the sequence that holds a page in the file: the first that has it. */
uint32_t kvb_source_owner(const kvb_file_source *from, int sequence, uint32_t ordinal, int layer, int64_t page);
/* Where the tokens of a page end, for the one of those who share it that has the most. */
int64_t kvb_source_end(const kvb_file_source *from, int sequence, int layer, int64_t page);

/* Bytes of the content of a sequence's sections. */
uint64_t kvb_source_sequence_bytes(const kvb_file_source *from, int sequence);
uint64_t kvb_source_exact_bytes(const kvb_file_source *from, int sequence, int layer);
uint64_t kvb_source_page_bytes(const kvb_file_source *from, int sequence, uint32_t ordinal, int layer);

#endif
