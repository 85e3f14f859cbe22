/* The ggml peer, in parts: inside bench/peers/ only. */
#ifndef KVBITS_BENCH_PEERS_GGML_PEER_H
#define KVBITS_BENCH_PEERS_GGML_PEER_H

#include "peers/peers.h"

#include <ggml-cpu.h>
#include <ggml.h>

typedef struct kvb_ggml_type {
    const char *name;
    enum ggml_type type;
} kvb_ggml_type;

/* The i-th type of cache that is measured, NULL past the last. */
const kvb_ggml_type *kvb_ggml_type_at(int i);
/* head_dim values to a row of the type, as ggml writes its cache. */
void kvb_ggml_store_row(enum ggml_type type, const float *values, void *row, int head_dim);

/* Bytes from one token, and from one KV head, to the next. */
typedef struct kvb_ggml_strides {
    size_t token, head;
} kvb_ggml_strides;

/* The relative L2 error of a FLASH_ATTN_EXT that was computed, against double precision on the rows that it read. */
KVB_CHECKED kvb_status kvb_ggml_attention_error(const struct ggml_tensor *result, const kvb_ggml_strides *strides,
                                                double *relative, kvb_error *error);
/* Is it attention on rows that lie like this? */
KVB_CHECKED kvb_status kvb_ggml_check_attention(const struct ggml_tensor *result, const kvb_ggml_strides *strides,
                                                kvb_error *error);

kvb_status kvb_ggml_add_attention(kvb_bench_suite *suite, kvb_error *error);
kvb_status kvb_ggml_add_rows(kvb_bench_suite *suite, kvb_error *error);

#endif
