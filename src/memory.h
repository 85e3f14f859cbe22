/* Checked size arithmetic and the default allocator. */
#ifndef KVB_MEMORY_H
#define KVB_MEMORY_H

#include "kvbits/kvbits.h"

/* The caller's allocator, or malloc/free for NULL. */
kvb_allocator kvb_allocator_resolve(const kvb_allocator *allocator);
/* KVB_ERROR_ARGUMENT for one that lacks a function. */
kvb_status kvb_allocator_check(const kvb_allocator *allocator, kvb_error *error);

/* 1 and the result in *out when it fits size_t, else 0 and *out unchanged. */
int kvb_size_add(size_t a, size_t b, size_t *out);
int kvb_size_multiply(size_t a, size_t b, size_t *out);

#endif
