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
};

#endif
