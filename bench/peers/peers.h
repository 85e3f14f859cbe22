/* Other implementations of attention on a quantized cache, measured beside ours when they were found at configure
 * time. */
#ifndef KVBITS_BENCH_PEERS_PEERS_H
#define KVBITS_BENCH_PEERS_PEERS_H

#include "suite.h"

typedef struct kvb_bench_peer {
    void (*describe)(char *out, size_t bytes);                   /* "name version" */
    kvb_status (*add)(kvb_bench_suite *suite, kvb_error *error); /* its kernels */
} kvb_bench_peer;

/* The i-th peer of this build, NULL past the last. */
const kvb_bench_peer *kvb_bench_peer_at(int i);

/* Shared with kvbits' own kernels, so that all are counted alike: units, bytes and operations of an attention row. */
void kvb_bench_attention_units(kvb_bench_kernel *kernel, const kvb_bench_shape *shape, int n_q, double token_bytes);
/* Tokens that an arena must hold. */
size_t kvb_bench_arena_tokens(const kvb_bench_config *config, double bytes_per_token);

#endif
