/* Running tokens, a batch at a time. */
#include <string.h>

#include "inside.h"

static kvb_status make_context(kvb_engine *engine, int cache, kvb_error *error) {
    struct llama_context_params parameters = llama_context_default_params();
    if (engine->contexts[cache])
        return KVB_OK;
    parameters.n_ctx = (uint32_t)engine->context;
    parameters.n_batch = parameters.n_ubatch = KVB_ENGINE_BATCH;
    parameters.n_seq_max = 1;
    parameters.n_threads = parameters.n_threads_batch = engine->threads;
    parameters.type_k = parameters.type_v = kvb_engine_cache_type(cache);
    parameters.flash_attn_type = cache == 0 ? LLAMA_FLASH_ATTN_TYPE_DISABLED : LLAMA_FLASH_ATTN_TYPE_ENABLED;
    parameters.offload_kqv = parameters.op_offload = false;
    parameters.swa_full = true; /* token t lies in cell t in layers with a window, too */
    parameters.cb_eval = kvb_graph_callback;
    parameters.cb_eval_user_data = &engine->graph;
    engine->contexts[cache] = llama_init_from_model(engine->model, parameters);
    if (!engine->contexts[cache])
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                             "llama.cpp makes no context of %d tokens with a %s cache for this model", engine->context,
                             kvb_engine_cache_name(cache));
    return KVB_OK;
}

static void fill_batch(struct llama_batch *batch, const int32_t *tokens, int position, int n, int from) {
    batch->n_tokens = n;
    for (int i = 0; i < n; i++) {
        batch->token[i] = tokens[i];
        batch->pos[i] = position + i;
        batch->n_seq_id[i] = 1;
        batch->seq_id[i][0] = 0;
        batch->logits[i] = position + i >= from;
    }
}

static kvb_status run_batch(kvb_engine *engine, struct llama_context *context, const int32_t *tokens, int position,
                            int n, int from, kvb_error *error) {
    kvb_graph *g = &engine->graph;
    fill_batch(&engine->batch, tokens, position, n, from);
    g->n_tokens = n;
    g->position = position;
    g->n_layers = engine->info.n_layers;
    g->kq = g->soft_max = NULL;
    g->seen = 0;
    const int result = llama_decode(context, engine->batch);
    if (g->status != KVB_OK)
        return kvb_error_set(error, g->status, "%s", g->error.text);
    if (result != 0)
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED, "llama.cpp failed with code %d on tokens %d to %d", result,
                             position, position + n - 1);
    if (g->hook && g->seen != g->n_layers)
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                             "kvbits found the attention of %d layers in the graph; the model has %d", g->seen,
                             g->n_layers);
    return KVB_OK;
}

kvb_status kvb_engine_run(kvb_engine *engine, int cache, const int32_t *tokens, int n, const kvb_engine_hook *hook,
                          const kvb_engine_sink *sink, kvb_error *error) {
    if (n < 1 || n > engine->context)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "a run of %d tokens; legal: 1 to %d", n, engine->context);
    if (!kvb_engine_cache_name(cache) || (hook && cache != 0))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cache %d; legal: 0 to %d, with a hook only 0", cache,
                             KVB_ENGINE_CACHES - 1);
    for (int i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= engine->info.n_vocab)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "token %d is %d; legal: 0 to %d", i, (int)tokens[i],
                                 engine->info.n_vocab - 1);
    kvb_status status = make_context(engine, cache, error);
    if (status != KVB_OK)
        return status;
    struct llama_context *context = engine->contexts[cache];
    const int from = sink ? sink->from : n;
    llama_memory_clear(llama_get_memory(context), true);
    engine->graph.hook = hook;
    engine->graph.status = KVB_OK;
    for (int at = 0; at < n && status == KVB_OK; at += KVB_ENGINE_BATCH) {
        const int size = n - at < KVB_ENGINE_BATCH ? n - at : KVB_ENGINE_BATCH;
        const int wanted = from > at ? from : at; /* the first of the batch */
        status = run_batch(engine, context, tokens + at, at, size, from, error);
        if (status == KVB_OK && sink && wanted < at + size)
            status = sink->logits(sink->context, wanted, at + size - wanted, llama_get_logits(context), error);
    }
    engine->graph.hook = NULL;
    return status;
}
