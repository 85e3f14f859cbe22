/* A decode loop on the GPU: prompts, then one step captured as a CUDA graph and replayed as the cache grows.
 *     cc decode_loop_cuda.c -lkvbits-cuda -lkvbits -lcudart_static -ldl -lrt -lpthread -lstdc++ -lm
 * Ends with 77 where there is no GPU. */
#include <kvbits/cuda_cache.h>

#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SEQUENCES = 4, HEADS = 8, KV_HEADS = 2, HEAD_DIM = 128, PROMPT = 300, STEPS = 40, LAYERS = 2 };

static kvb_error error;
static void must(kvb_status status) {
    if (status != KVB_OK)
        exit((fprintf(stderr, "%s: %s\n", kvb_status_name(status), error.text), 1));
}
static void cuda(cudaError_t code) {
    if (code != cudaSuccess)
        exit((fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(code)), 1));
}
static void *device(const void *from, size_t bytes) { /* NULL: zeros */
    void *p;
    cuda(cudaMalloc(&p, bytes));
    cuda(from ? cudaMemcpy(p, from, bytes, cudaMemcpyHostToDevice) : cudaMemset(p, 0, bytes));
    cuda(cudaDeviceSynchronize()); /* a stream of one's own does not wait for the default one */
    return p;
}
/* In place of a model: a projection of every layer, [layer][row][head][dim], keys and queries after RoPE. */
static float *project(int rows, int heads, double pitch) {
    size_t n = (size_t)LAYERS * (size_t)rows * (size_t)heads * HEAD_DIM;
    float *x = malloc(n * sizeof *x), *on_device;
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(2.0 * sin(pitch * (double)i));
    on_device = device(x, n * sizeof *x);
    free(x);
    return on_device;
}

int main(void) {
    kvb_cuda_device gpu;
    if (kvb_cuda_device_get(0, &gpu, &error) != KVB_OK || gpu.major < 8)
        return fprintf(stderr, "not run: no GPU of compute capability 8.0 (%s)\n", error.text), 77;

    kvb_layer_spec layers[LAYERS];
    int q_heads[LAYERS], sequences[SEQUENCES], prompt[SEQUENCES], one[SEQUENCES];
    for (int l = 0; l < LAYERS; l++) {
        layers[l] = kvb_layer_spec_default(KV_HEADS, HEAD_DIM, 6, 4); /* layers may differ, and have windows */
        q_heads[l] = HEADS;
    }
    kvb_cache_spec spec = {.layers = layers,
                           .n_layers = LAYERS,
                           .max_sequences = SEQUENCES,
                           .max_tokens = PROMPT + STEPS,
                           .budget = 8 << 20};
    kvb_cuda_cache_spec cuda_spec = {.cache = &spec, .n_q_heads = q_heads};
    kvb_cuda_cache *cache;
    must(kvb_cuda_cache_create(&cuda_spec, NULL, &cache, &error));
    for (int s = 0; s < SEQUENCES; s++) {
        must(kvb_cuda_cache_open_sequence(cache, &sequences[s], &error));
        prompt[s] = PROMPT;
        one[s] = 1;
    }

    cudaStream_t stream;
    cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    const float *k = project(SEQUENCES * PROMPT, KV_HEADS, 0.53), *v = project(SEQUENCES * PROMPT, KV_HEADS, 0.71);
    must(kvb_cuda_cache_begin(cache, sequences, prompt, SEQUENCES, 1, stream, &error));
    for (int l = 0; l < LAYERS; l++) {
        size_t at = (size_t)l * SEQUENCES * PROMPT * KV_HEADS * HEAD_DIM;
        must(kvb_cuda_cache_append(cache, l, k + at, v + at, KVB_F32, stream, &error));
    }
    must(kvb_cuda_cache_commit(cache, 1, &error));

    /* One step, captured: share the work out once, then append and attend in each layer. */
    float *out = device(NULL, sizeof(float) * SEQUENCES * HEADS * HEAD_DIM);
    kvb_cuda_queries ask = {.q = project(SEQUENCES, HEADS, 0.37),
                            .out = out,
                            .q_dtype = KVB_F32,
                            .out_dtype = KVB_F32,
                            .scale = 1.0f / sqrtf(HEAD_DIM),
                            .starts_early = 1}; /* while appends end; q_begin NULL: each new token is a query */
    size_t bytes = kvb_cuda_cache_scratch_bytes(cache, SEQUENCES, 1);
    void *scratch = device(NULL, bytes);
    cudaGraph_t graph;
    cudaGraphExec_t step;
    must(kvb_cuda_cache_begin(cache, sequences, one, SEQUENCES, 1, stream, &error));
    cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    must(kvb_cuda_cache_plan(cache, &ask, scratch, bytes, stream, &error));
    for (int l = 0; l < LAYERS; l++) {
        must(kvb_cuda_cache_append(cache, l, k, v, KVB_F32, stream, &error));
        must(kvb_cuda_cache_attend(cache, l, &ask, scratch, bytes, stream, &error)); /* your model goes on with `out` */
    }
    cuda(cudaStreamEndCapture(stream, &graph));
    cuda(cudaGraphInstantiate(&step, graph, 0));
    for (int i = 0; i < STEPS; i++) {
        if (i > 0)
            must(kvb_cuda_cache_begin(cache, sequences, one, SEQUENCES, 1, stream, &error));
        cuda(cudaGraphLaunch(step, stream));
        must(kvb_cuda_cache_commit(cache, 1, &error));
    }

    /* To the host: kvb_cache_save(host, "decode.kvb", &error) would write it, kvb_cuda_cache_upload brings it back. */
    kvb_cache *host;
    must(kvb_cache_create(kvb_cuda_cache_get_spec(cache), NULL, NULL, &host, &error));
    must(kvb_cuda_cache_download(cache, host, stream, &error)); /* waits for the stream */
    float first[HEAD_DIM];
    cuda(cudaMemcpy(first, out, sizeof first, cudaMemcpyDeviceToHost));
    printf("%s: %d sequences of %lld tokens, %zu bytes of pages; out[0] is %g\n", gpu.name, SEQUENCES,
           (long long)kvb_cache_n_tokens(host, sequences[0]), kvb_cuda_cache_bytes(cache).pages, (double)first[0]);
    kvb_cache_destroy(host);
    kvb_cuda_cache_destroy(cache);
    return isfinite(first[0]) ? 0 : 1;
}
