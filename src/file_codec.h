/* Descriptions of codecs and layers as bytes: docs/format.md, section 6 and, in section 9, CODC and LAYR. */
#ifndef KVB_FILE_CODEC_H
#define KVB_FILE_CODEC_H

#include "file_read.h"
#include "jobs.h"

enum {
    KVB_FILE_DESCRIPTION_BYTES = 24, /* before the planes */
    KVB_FILE_PLANE_BYTES = 8,
    KVB_FILE_MAX_DESCRIPTION =
        KVB_FILE_DESCRIPTION_BYTES + KVB_FILE_PLANE_BYTES * KVB_MAX_PLANES + 4 * KVB_MAX_ALL_LEVELS
};

/* A plane of a code, as its description says it. */
typedef struct kvb_file_plane {
    int width;
    int low_bit;  /* of the level's number */
    int role;     /* 0: bits of the number, 1: the path through a trellis */
    int first, n; /* the coordinates that it covers */
} kvb_file_plane;

/* The planes of a spec; their number. */
int kvb_file_planes(const kvb_codec_spec *spec, kvb_file_plane planes[KVB_MAX_PLANES]);

/* Writes the description of a legal spec with centroids; returns its bytes. */
size_t kvb_file_describe(const kvb_codec_spec *spec, uint8_t description[KVB_FILE_MAX_DESCRIPTION]);
/* Reads one of `bytes` bytes or fewer at *at, which moves behind it; `offset` is that of *at in the file. The spec's
 * centroids point into it (aligned to 4 bytes). */
kvb_status kvb_file_parse_description(const kvb_file_reader *reader, const uint8_t **at, size_t bytes, uint64_t offset,
                                      kvb_codec_spec *spec, kvb_error *error);
/* Have they equal descriptions? */
int kvb_file_same_codec(const kvb_codec_spec *a, const kvb_codec_spec *b);

/* A layer's 32 bytes; `k` and `v` are the places of its codecs, KVB_FILE_NONE where there is none. *is_centered: its
 * keys are stored less their mean, which is not read here. */
void kvb_file_put_layer(uint8_t **at, const kvb_layer_spec *layer, uint32_t k, uint32_t v);
kvb_status kvb_file_parse_layer(const kvb_file_reader *reader, const uint8_t *bytes, uint64_t offset, int page_tokens,
                                const kvb_codec_spec *codecs, uint32_t n_codecs, uint32_t *n_named,
                                kvb_layer_spec *layer, int *is_centered, kvb_error *error);

/* KVB_ERROR_ARGUMENT names the first difference between a layer of "the file", or whose it is, and that of the cache.
 */
kvb_status kvb_layer_compare(int layer, const char *whose, const kvb_layer_spec *theirs, const kvb_layer_spec *ours,
                             kvb_error *error);

#endif
