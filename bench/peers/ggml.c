/* ggml as a peer: what this file names is all of it that is used, through its public headers. */
#include "ggml_peer.h"

#include <stdio.h>

static const kvb_ggml_type types[] = {
    {"f16", GGML_TYPE_F16}, {"q8_0", GGML_TYPE_Q8_0}, {"q5_1", GGML_TYPE_Q5_1}, {"q4_0", GGML_TYPE_Q4_0}};

const kvb_ggml_type *kvb_ggml_type_at(int i) {
    return i < 0 || i >= (int)(sizeof types / sizeof types[0]) ? NULL : &types[i];
}

void kvb_ggml_store_row(enum ggml_type type, const float *values, void *row, int head_dim) {
    ggml_get_type_traits_cpu(type)->from_float(values, row, head_dim);
}

static void describe(char *out, size_t bytes) {
    snprintf(out, bytes, "ggml %s (%s)", ggml_version(), ggml_commit());
}

static kvb_status add(kvb_bench_suite *suite, kvb_error *error) {
    ggml_cpu_init(); /* its tables of halves */
    kvb_status status = kvb_ggml_add_rows(suite, error);
    return status == KVB_OK ? kvb_ggml_add_attention(suite, error) : status;
}

const kvb_bench_peer kvb_bench_ggml = {.describe = describe, .add = add};
