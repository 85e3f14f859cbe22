/* In place of llama/ when llama.cpp was not found. */
#include "engine.h"

kvb_status kvb_engine_available(kvb_error *error) {
    return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                         "this kvbits was built without llama.cpp, which runs the model: install it (docs/eval.md says "
                         "how), then build kvbits again with -DKVB_LLAMA=ON and -DCMAKE_PREFIX_PATH=ITS_PREFIX");
}

kvb_status kvb_engine_open(const char *path, const kvb_engine_options *options, kvb_engine **out, kvb_error *error) {
    (void)path, (void)options;
    *out = NULL;
    return kvb_engine_available(error);
}

void kvb_engine_close(kvb_engine *engine) {
    (void)engine;
}

const kvb_engine_info *kvb_engine_get_info(const kvb_engine *engine) {
    (void)engine;
    return NULL;
}

kvb_status kvb_engine_tokenize(const kvb_engine *engine, const char *text, size_t bytes, int32_t **tokens, int *n,
                               int32_t *first, kvb_error *error) {
    (void)engine, (void)text, (void)bytes, (void)first;
    *tokens = NULL;
    *n = 0;
    return kvb_engine_available(error);
}

const char *kvb_engine_cache_name(int cache) {
    (void)cache;
    return NULL;
}

double kvb_engine_cache_bits(int cache) {
    (void)cache;
    return 0;
}

kvb_status kvb_engine_run(kvb_engine *engine, int cache, const int32_t *tokens, int n, const kvb_engine_hook *hook,
                          const kvb_engine_sink *sink, kvb_error *error) {
    (void)engine, (void)cache, (void)tokens, (void)n, (void)hook, (void)sink;
    return kvb_engine_available(error);
}
