/* What stands behind the opaque codec. */
#ifndef KVB_CODEC_H
#define KVB_CODEC_H

#include "codec_tables.h"
#include "kernels.h"

struct kvb_codec {
    kvb_codec_tables tables;
    kvb_codec_spec spec;
    const kvb_backend *backend;
    kvb_allocator allocator;
    kvb_codec_tables more[]; /* straightened, of a trellis code; of half a bit the two parts instead */
};

/* Bytes of the object. */
size_t kvb_codec_object_bytes(const kvb_codec_spec *spec);

/* What kvb_codec_create checks of a spec. */
kvb_status kvb_codec_spec_check(const kvb_codec_spec *spec, kvb_error *error);
/* The spec's, or the library's; NULL without either. */
const float *kvb_codec_spec_centroids(const kvb_codec_spec *spec);
/* Of a spec with half a bit: the code of the first half of the coordinates, or of the second; of another the spec
 * itself. */
kvb_codec_spec kvb_codec_spec_part(const kvb_codec_spec *spec, int part);
/* The widths of its planes; their number. */
int kvb_codec_spec_planes(const kvb_codec_spec *spec, int widths[KVB_MAX_PLANES]);
/* Bytes of a row, scale included. */
size_t kvb_codec_spec_row_bytes(const kvb_codec_spec *spec);

#endif
