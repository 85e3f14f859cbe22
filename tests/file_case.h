/* Small caches with something of everything that a .kvb file can hold, and their rows read back: for tests of files, in
 * C and (through kvb_case) in Python. */
#ifndef KVB_TESTS_FILE_CASE_H
#define KVB_TESTS_FILE_CASE_H

#include "kvbits/kvbits.h"

enum { FILE_CASES = 9 };

extern const char *const file_case_names[FILE_CASES];

/* The cache of a case, with its sequences; NULL and a sentence when something is wrong with the library. The same bytes
 * on every machine for the same `seed`. */
kvb_cache *file_case_make(int which, uint64_t seed, const kvb_allocator *allocator, kvb_error *error);

/* Adds `n` tokens of pseudorandom values to every layer and commits them; values depend on seed, layer and position
 * only. */
kvb_status file_case_grow(kvb_cache *cache, int sequence, int n, uint64_t seed, kvb_error *error);

/* Calls `row` with every key and value that the sequence holds, decoded and the mean key added: layer by layer, token
 * by token, head by head, keys first. Tokens whose pages were given back are left out. */
kvb_status file_case_rows(const kvb_cache *cache, int sequence, void (*row)(void *context, const float *values, int n),
                          void *context, kvb_error *error);

#endif
