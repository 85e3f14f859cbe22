/* Pages of one layer, more than any cache holds: every call reads the next ones, so that all come from memory. */
#ifndef KVBITS_BENCH_ARENA_H
#define KVBITS_BENCH_ARENA_H

#include "suite.h"

enum { KVB_BENCH_PAGE_TOKENS = 64 };

typedef struct kvb_bench_arena {
    kvb_layer_format format;
    size_t page_bytes, n_pages;
    const void **pages; /* twice n_pages: a window may begin anywhere */
    size_t cursor;
    double *last; /* by page: bytes that the whole run had read when the page was used last; -1 before */
} kvb_bench_arena;

/* Gaussian rows, encoded once for a few pages and copied to all others. bits KVB_BENCH_DENSE: halves. The suite
 * releases it. */
KVB_CHECKED kvb_status kvb_bench_arena_create(kvb_bench_suite *suite, const kvb_backend *backend,
                                              const kvb_bench_shape *shape, kvb_bench_pair bits, size_t tokens,
                                              kvb_bench_arena **out, kvb_error *error);
/* 64 rows into the block of a page, halves where codec is NULL. */
KVB_CHECKED kvb_status kvb_bench_fill_block(const kvb_codec *codec, const float *rows, int dim, void *block,
                                            kvb_error *error);
/* After `windows` windows of n pages each from `first` on. */
void kvb_bench_arena_account(kvb_bench_arena *arena, size_t first, size_t n, double *touched, double *reuse);

/* The default codec of so many bits, of the config's trellis where that takes them; and its name. */
kvb_codec_spec kvb_bench_codec_spec(const kvb_bench_config *config, int head_dim, double bits);
void kvb_bench_codec_name(const kvb_bench_config *config, double bits, char *out, size_t bytes);
/* The same of a scalar code. */
void kvb_bench_width_name(double bits, char *out, size_t bytes);

/* Bytes of one token of one KV head, keys and values, scales included. */
double kvb_bench_token_bytes(const kvb_layer_format *format);

/* n Gaussian values times `factor`, of a seed. */
void kvb_bench_normals(uint64_t seed, float factor, float *out, size_t n);

#endif
