/* Limits and offsets of pages. */
#ifndef KVB_PAGE_H
#define KVB_PAGE_H

#include "kvbits/kvbits.h"

#define KVB_MAX_KV_HEADS 1024
#define KVB_MIN_PAGE_TOKENS 16
#define KVB_MAX_PAGE_TOKENS 1024
#define KVB_BLOCK_ALIGNMENT 64

/* Bytes from the start of a page to kvb_page_block. */
size_t kvb_page_block_offset(const kvb_layer_format *format, int head, int side);

#endif
