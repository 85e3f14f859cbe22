/* Descriptions of codecs and layers as bytes: docs/format.md, section 6 and, in section 9, CODC and LAYR. */
#ifndef KVB_FILE_CODEC_H
#define KVB_FILE_CODEC_H

#include "file_read.h"

enum {
    KVB_FILE_MAX_PLANES = 3, /* of whole rows: files hold no codes of half a bit */
    KVB_FILE_MAX_DESCRIPTION = 24 + 8 * KVB_FILE_MAX_PLANES + 4 * KVB_MAX_LEVELS
};

/* Writes the description of a legal spec with centroids; returns its bytes. */
size_t kvb_file_describe(const kvb_codec_spec *spec, uint8_t description[KVB_FILE_MAX_DESCRIPTION]);
/* Reads one of `bytes` bytes or fewer at *at, which moves behind it; `offset` is that of *at in the file. The spec's
 * centroids point into it (aligned to 4 bytes). */
kvb_status kvb_file_parse_description(const kvb_file_reader *reader, const uint8_t **at, size_t bytes, uint64_t offset,
                                      kvb_codec_spec *spec, kvb_error *error);
/* Have they equal descriptions? */
int kvb_file_same_codec(const kvb_codec_spec *a, const kvb_codec_spec *b);

/* A layer's 32 bytes; `k` and `v` are the places of its codecs, KVB_FILE_NONE where there is none. */
void kvb_file_put_layer(uint8_t **at, const kvb_layer_spec *layer, uint32_t k, uint32_t v);
kvb_status kvb_file_parse_layer(const kvb_file_reader *reader, const uint8_t *bytes, uint64_t offset, int page_tokens,
                                const kvb_codec_spec *codecs, uint32_t n_codecs, uint32_t *n_named,
                                kvb_layer_spec *layer, kvb_error *error);

#endif
