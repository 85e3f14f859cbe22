/* Limits and offsets of pages. */
#ifndef KVB_PAGE_H
#define KVB_PAGE_H

#include "kvbits/kvbits.h"

#define KVB_MAX_KV_HEADS 1024
#define KVB_MIN_PAGE_TOKENS 16
#define KVB_MAX_PAGE_TOKENS 1024
#define KVB_BLOCK_ALIGNMENT 64
#define KVB_MAX_EXACT_TOKENS 65536 /* first ones, and last ones, of a layer */

/* Bytes of one head's keys or values, the gap to the next block included. The largest is 1024 * (576 + 4) bytes, or
 * 1024 * 576 * 2: no size_t is too small. */
size_t kvb_page_block_bytes(size_t row_bytes, int page_tokens);
/* KVB_ERROR_ARGUMENT for keys whose prefixes are not values. */
kvb_status kvb_latent_codec_check(const kvb_codec_spec *k, kvb_error *error);
/* Bytes from the start of a page to kvb_page_block. */
size_t kvb_page_block_offset(const kvb_layer_format *format, int head, int side);

#endif
