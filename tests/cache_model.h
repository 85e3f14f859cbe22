/* A cache beside the simplest thing that says the same: plain rows of every token of every sequence, sharing nothing.
 * Every operation is done to both; cache_model_check then compares each byte that a view shows, and all accounting.
 *
 * What the model restates, token by token: a token is encoded when exact_last newer ones have come; a page is given
 * back at a commit when all its tokens are encoded (or exact first ones) and none is seen from there on. */
#ifndef KVB_TESTS_CACHE_MODEL_H
#define KVB_TESTS_CACHE_MODEL_H

#include "backends.h"
#include "oracle.h"

enum { model_tokens = 420, model_pages = model_tokens / 16 + 1, model_sequences = 5, model_layers = 12 };

typedef struct model_token {
    uint16_t *half[2];  /* by side: [kv head][dim], rounded to `dense` */
    uint8_t *packed[2]; /* [kv head]: what a page holds of the row: a block of one row, or halves */
    int is_encoded, is_lost;
} model_token;

typedef struct model_part {
    int n_tokens, has_exact;
    int pages[model_pages]; /* a number for each page that is held, 0 for none; shared pages have the same one */
    model_token tokens[model_tokens];
} model_part;

typedef struct model_sequence {
    int is_open, n_tokens; /* committed */
    model_part *parts;
} model_sequence;

typedef struct cache_model {
    kvb_cache *cache;
    kvb_cache_spec spec;
    kvb_codec *codecs[model_layers][2]; /* scalar ones, NULL for dense */
    size_t page_bytes[model_layers], exact_bytes[model_layers];
    oracle_random random;
    model_sequence sequences[model_sequences];
    int last_page; /* number given */
    size_t bookkeeping;
    void **memory; /* rows of tokens, freed at the end */
    size_t n_memory;
} cache_model;

/* Layers of every kind, for specs: packed, K and V of different dims, windows, exact tokens, latent, dense, bfloat. */
extern const int cache_model_n_layers;
kvb_layer_spec cache_model_layer(int i);

void cache_model_create(cache_model *m, const kvb_cache_spec *spec, const kvb_backend *backend,
                        const kvb_allocator *allocator, uint64_t seed);
void cache_model_destroy(cache_model *m);

/* What the cache returns; a refusal must have changed nothing that a check sees. Rows are drawn at random, with NaN
 * between them. */
kvb_status cache_model_open(cache_model *m, int *sequence);
kvb_status cache_model_append(cache_model *m, int sequence, int layer, int n_tokens);
kvb_status cache_model_reserve(cache_model *m, int sequence, int n_tokens);
kvb_status cache_model_commit(cache_model *m, int sequence);
kvb_status cache_model_truncate(cache_model *m, int sequence, int n_tokens);
kvb_status cache_model_fork(cache_model *m, int sequence, int *copy);
void cache_model_free(cache_model *m, int sequence);

/* Bytes that the model says are in use: pages, exact tokens. */
void cache_model_usage(const cache_model *m, size_t *pages, size_t *exact);
/* Fails where the cache differs from the model. */
void cache_model_check(const cache_model *m);
/* n_q queries at the end of a view, against the oracle. */
void cache_model_attend(cache_model *m, int sequence, int layer, int n_q);

#endif
