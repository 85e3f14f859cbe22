/* A decode loop: a prompt in chunks, then token by token, then a fork that goes on differently.
 *     cc decode_loop.c $(pkg-config --cflags --libs kvbits) -lm && ./a.out saved.kvb && kvbits inspect saved.kvb
 * From a clone, where nothing is installed but `make ab` has run:
 *     cc -Iinclude examples/decode_loop.c build/src/libkvbits.a -lm && ./a.out */
#include <kvbits/kvbits.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { LAYERS = 4, HEADS = 8, KV_HEADS = 2, HEAD_DIM = 128, CHUNK = 128, PROMPT = 300, STEPS = 40 };

static kvb_error error;
static void must(kvb_status status) {
    if (status != KVB_OK)
        exit((fprintf(stderr, "%s: %s\n", kvb_status_name(status), error.text), 1));
}

/* In place of a model: its projections of one layer, [token][head][dim], keys and queries after RoPE. */
static void project(float *out, int layer, int first, int n, int heads, double pitch) {
    for (int i = 0; i < n * heads * HEAD_DIM; i++)
        out[i] = (float)(2.0 * sin(pitch * (1.0 + layer) * (first * heads * HEAD_DIM + i)));
}

static float q[CHUNK * HEADS * HEAD_DIM], k[CHUNK * KV_HEADS * HEAD_DIM], v[CHUNK * KV_HEADS * HEAD_DIM];
static float out[CHUNK * HEADS * HEAD_DIM];
static void *scratch;
static size_t scratch_bytes;

static void attend(const kvb_cache *cache, int sequence, int layer, int n) {
    kvb_kv_view view;
    must(kvb_cache_view(cache, sequence, layer, &view, &error));
    kvb_attend_item item = {.kv = &view,
                            .n_q = n, /* the last n tokens ask: causal within the chunk */
                            .n_heads = HEADS,
                            .q = q,
                            .q_token_stride = HEADS * HEAD_DIM,
                            .q_head_stride = HEAD_DIM,
                            .out = out,
                            .out_token_stride = HEADS * HEAD_DIM,
                            .out_head_stride = HEAD_DIM,
                            .scale = 1.0f / sqrtf(HEAD_DIM)};
    size_t needed = kvb_attend_scratch_bytes(NULL, &item, 1, NULL);
    if (needed > scratch_bytes) /* does not grow with the length: soon it is large enough for ever */
        scratch = realloc(scratch, scratch_bytes = needed);
    must(kvb_attend(NULL, &item, 1, scratch, scratch_bytes, NULL, &error));
}

/* n tokens through all layers. On a failure in the middle, kvb_cache_truncate would take back what was appended. */
static void forward(kvb_cache *cache, int sequence, int n, double pitch) {
    int first = (int)kvb_cache_n_tokens(cache, sequence);
    for (int layer = 0; layer < LAYERS; layer++) {
        project(q, layer, first, n, HEADS, 0.37 * pitch);
        project(k, layer, first, n, KV_HEADS, 0.53 * pitch);
        project(v, layer, first, n, KV_HEADS, 0.71 * pitch);
        kvb_kv_rows rows = {.k = k, .v = v, .dtype = KVB_F32, .n_tokens = n};
        must(kvb_cache_append(cache, sequence, layer, &rows, &error));
        attend(cache, sequence, layer, n); /* your model goes on with `out` */
    }
    must(kvb_cache_commit(cache, sequence, &error));
}

int main(int argc, char **argv) {
    kvb_layer_spec layers[LAYERS];
    for (int i = 0; i < LAYERS; i++) {
        layers[i] = kvb_layer_spec_default(KV_HEADS, HEAD_DIM, 6, 4);
        layers[i].exact_first = 4; /* attention sinks stay exact */
        layers[i].exact_last = 32;
        layers[i].window = i % 2 ? 128 : 0;
    }
    layers[0].k.bits = KVB_DENSE_BITS; /* a layer that cannot bear packed keys */
    kvb_cache_spec spec = {
        .layers = layers, .n_layers = LAYERS, .max_sequences = 2, .max_tokens = 4096, .budget = 4 << 20};
    kvb_cache *cache;
    must(kvb_cache_create(&spec, NULL, NULL, &cache, &error));

    int sequence, fork;
    must(kvb_cache_open_sequence(cache, &sequence, &error));
    for (int done = 0, n; done < PROMPT; done += n)
        forward(cache, sequence, n = PROMPT - done < CHUNK ? PROMPT - done : CHUNK, 1.0);
    must(kvb_cache_fork(cache, sequence, &fork, &error)); /* shares all pages until one of the two writes */
    for (int step = 0; step < STEPS; step++) {
        forward(cache, sequence, 1, 1.0);
        forward(cache, fork, 1, 1.1);
    }
    kvb_cache_usage usage = kvb_cache_bytes(cache);
    printf("2 sequences of %lld tokens: %zu bytes of pages and %zu of exact tokens; as halves %zu\n",
           (long long)kvb_cache_n_tokens(cache, fork), usage.pages, usage.exact,
           sizeof(short) * 2 * LAYERS * 2 * (PROMPT + STEPS) * KV_HEADS * HEAD_DIM);
    if (argc > 1) /* both sequences with their formats, in a file that any backend and python/kvb_reader.py read */
        must(kvb_cache_save(cache, argv[1], &error));
    kvb_cache_free_sequence(cache, fork);
    kvb_cache_destroy(cache);
    free(scratch);
    return 0;
}
