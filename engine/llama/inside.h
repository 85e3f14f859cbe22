/* The inside of an engine made of llama.cpp. */
#ifndef KVBITS_ENGINE_LLAMA_INSIDE_H
#define KVBITS_ENGINE_LLAMA_INSIDE_H

#include <ggml.h>
#include <llama.h>

#include "engine.h"

enum { KVB_ENGINE_CACHES = 8 };

/* What the callback gathers of one layer between its two nodes, and the first error. */
typedef struct kvb_graph {
    const kvb_engine_hook *hook; /* NULL: no node is asked for */
    int n_layers;
    int n_tokens; /* of the batch */
    int64_t position;
    const struct ggml_tensor *kq, *soft_max; /* the layer's, seen on the way to its output */
    kvb_engine_attention attention;
    float *rows[3]; /* q, k, v */
    size_t capacity[3];
    int seen; /* layers of this batch that the hook saw */
    kvb_status status;
    kvb_error error;
} kvb_graph;

struct kvb_engine {
    kvb_engine_info info;
    int context, threads;
    struct llama_model *model;
    struct llama_context *contexts[KVB_ENGINE_CACHES]; /* made when first used */
    struct llama_batch batch;
    kvb_graph graph;
};

/* Tokens that one call of the engine computes. */
#define KVB_ENGINE_BATCH 512

/* The scheduler's callback; user_data is the kvb_graph. */
bool kvb_graph_callback(struct ggml_tensor *t, bool ask, void *user_data);

enum ggml_type kvb_engine_cache_type(int cache);

#endif
