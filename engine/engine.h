/* A language model that runs, with kvbits able to stand in for its attention: all that the rest of the program knows of
 * llama.cpp. Without llama.cpp kvb_engine_open says how to get it, and nothing else can be called.
 *
 * One sequence at a time, from position 0; the engine computes on the CPU in floats, flash attention off. At every
 * attention node a hook sees queries, the new keys and values as the cache got them (after rotary embedding), and the
 * engine's own result, which it may replace. What the engine computes there is checked against what kvb_attend can
 * compute, node by node and mask by mask: anything else ends the run with a sentence. */
#ifndef KVBITS_ENGINE_ENGINE_H
#define KVBITS_ENGINE_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "kvbits/kvbits.h"

typedef struct kvb_engine kvb_engine;

typedef struct kvb_engine_info {
    char software[64];                /* "llama.cpp", with its version where it tells one */
    char architecture[32];            /* as the file spells it: "llama" */
    char name[128];                   /* general.name, may be empty */
    char license[64];                 /* general.license, may be empty */
    int n_layers, n_vocab, n_context; /* n_context: what the model was trained for */
    int weights_expanded;             /* they were quantized, and run as floats */
} kvb_engine_info;

typedef struct kvb_engine_options {
    int context; /* longest sequence that kvb_engine_run will get; 0: as long as the model was trained for */
    int threads; /* at least 1 */
    /* Run quantized weights as they are, by the engine's integer products: fast, but these round activations to 8 bits,
     * so that the least change anywhere flips roundings everywhere, a KL divergence of some 1e-3 that has nothing to do
     * with the cache. Otherwise the weights are expanded to floats first, in a file of 4 bytes per weight in $TMPDIR
     * (or /tmp) that is gone before this call returns. */
    int weights_as_stored;
} kvb_engine_options;

/* Loads a GGUF file. The sentence for an architecture that kvbits does not know lists those that it does
 * (KVB_ERROR_UNSUPPORTED, as without llama.cpp). */
KVB_CHECKED kvb_status kvb_engine_open(const char *path, const kvb_engine_options *options, kvb_engine **out,
                                       kvb_error *error);
void kvb_engine_close(kvb_engine *engine); /* NULL is legal */
const kvb_engine_info *kvb_engine_get_info(const kvb_engine *engine);
/* KVB_OK when this build has llama.cpp; else KVB_ERROR_UNSUPPORTED, and how to get it. */
KVB_CHECKED kvb_status kvb_engine_available(kvb_error *error);

/* Tokens of a text, without any that the tokenizer would add; released with free(). `first` gets the token that the
 * model wants before every text, -1 when none. */
KVB_CHECKED kvb_status kvb_engine_tokenize(const kvb_engine *engine, const char *text, size_t bytes, int32_t **tokens,
                                           int *n, int32_t *first, kvb_error *error);

/* ---- Caches ---- */

/* The engine's own cache types, from 0; NULL past the last. The first is "f32", flash attention off: the reference, and
 * the only one with a hook. All others run with flash attention, without which the engine takes no quantized values. */
const char *kvb_engine_cache_name(int cache);
/* Stored bits per value. */
double kvb_engine_cache_bits(int cache);

/* ---- Running ---- */

/* One layer's attention for a batch of tokens. Rows lie densely, [token][head][dim]. */
typedef struct kvb_engine_attention {
    int layer, n_tokens;
    int64_t position; /* of the first token: all before it were seen in earlier calls */
    int n_heads, n_kv_heads, k_dim, v_dim;
    const float *q;       /* [n_tokens][n_heads][k_dim] */
    const float *k, *v;   /* [n_tokens][n_kv_heads][...]: these tokens' rows */
    float scale, softcap; /* as in kvb_attend_item */
    int window;           /* as in kvb_kv_view; 0 while no token is old enough to show one */
    float *out;           /* [n_tokens][n_heads][v_dim]: the engine's result; what it holds afterwards goes on */
} kvb_engine_attention;

typedef struct kvb_engine_hook {
    void *context;
    kvb_status (*attention)(void *context, const kvb_engine_attention *attention, kvb_error *error);
} kvb_engine_hook;

/* Called with the logits of each batch, [n_tokens][n_vocab], in order. */
typedef struct kvb_engine_sink {
    void *context;
    kvb_status (*logits)(void *context, int64_t position, int n_tokens, const float *logits, kvb_error *error);
    int from; /* first position whose logits are wanted: no others are computed */
} kvb_engine_sink;

/* Runs the tokens as a new sequence. hook (cache 0 only) and sink may be NULL. The first error, of the engine, of hook
 * or of sink, ends it. */
KVB_CHECKED kvb_status kvb_engine_run(kvb_engine *engine, int cache, const int32_t *tokens, int n,
                                      const kvb_engine_hook *hook, const kvb_engine_sink *sink, kvb_error *error);

#endif
