/* A decode loop on the GPU: prompts, then one step captured as a CUDA graph and replayed as the caches grow.
 *     cc decode_loop_cuda.c -lkvbits-cuda -lkvbits -lcudart_static -ldl -lrt -lpthread -lstdc++ -lm
 * Ends with 77 where there is no GPU. */
#include <kvbits/cuda.h>

#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SEQUENCES = 4, HEADS = 8, KV_HEADS = 2, HEAD_DIM = 128, PROMPT = 300, STEPS = 40, LAYERS = 2 };
enum { PAGES = (PROMPT + STEPS + KVB_CUDA_PAGE_TOKENS - 1) / KVB_CUDA_PAGE_TOKENS }; /* of a sequence */

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
static int32_t *starts(int rows) { /* as many new rows for every sequence */
    int32_t begin[SEQUENCES + 1];
    for (int s = 0; s <= SEQUENCES; s++)
        begin[s] = s * rows;
    return device(begin, sizeof begin);
}

int main(void) {
    kvb_cuda_device gpu;
    if (kvb_cuda_device_get(0, &gpu, &error) != KVB_OK || gpu.major < 9)
        return fprintf(stderr, "not run: no GPU of compute capability 9.0 (%s)\n", error.text), 77;

    kvb_codec_spec k_spec = kvb_codec_spec_default(HEAD_DIM, 6), v_spec = kvb_codec_spec_default(HEAD_DIM, 4);
    kvb_codec *k_codec, *v_codec;
    must(kvb_codec_create(&k_spec, NULL, NULL, &k_codec, &error));
    must(kvb_codec_create(&v_spec, NULL, NULL, &v_codec, &error));
    kvb_cuda_layer_spec spec = {.k_codec = k_codec, .v_codec = v_codec, .n_kv_heads = KV_HEADS, .n_q_heads = HEADS};
    kvb_cuda_layer *layer; /* both layers have one format */
    must(kvb_cuda_layer_create(&spec, NULL, &layer, &error));

    /* A pool and a table for each layer; lengths are all layers'. Here page i of a sequence is simply its i-th. */
    int32_t table[SEQUENCES * PAGES];
    for (int i = 0; i < SEQUENCES * PAGES; i++)
        table[i] = i;
    kvb_cuda_pages pages[LAYERS];
    int32_t *lengths = device(NULL, SEQUENCES * sizeof *lengths), *on_device = device(table, sizeof table);
    for (int l = 0; l < LAYERS; l++)
        pages[l] = (kvb_cuda_pages){.pool = device(NULL, SEQUENCES * PAGES * kvb_cuda_layer_page_bytes(layer)),
                                    .table = on_device,
                                    .table_stride = PAGES,
                                    .lengths = lengths,
                                    .n_sequences = SEQUENCES};

    cudaStream_t stream;
    cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    const float *k = project(SEQUENCES * PROMPT, KV_HEADS, 0.53), *v = project(SEQUENCES * PROMPT, KV_HEADS, 0.71);
    kvb_cuda_rows prompt = {.dtype = KVB_F32, .row_begin = starts(PROMPT), .most_rows = PROMPT};
    for (int l = 0; l < LAYERS; l++) {
        prompt.k = k + (size_t)l * SEQUENCES * PROMPT * KV_HEADS * HEAD_DIM;
        prompt.v = v + (size_t)l * SEQUENCES * PROMPT * KV_HEADS * HEAD_DIM;
        must(kvb_cuda_append(layer, &pages[l], &prompt, stream, &error));
    }
    must(kvb_cuda_advance(&pages[0], &prompt, stream, &error));

    /* One step: append to every layer, count, share the work out once, attend in every layer. */
    const float *q = project(SEQUENCES, HEADS, 0.37);
    float *out = device(NULL, sizeof(float) * SEQUENCES * HEADS * HEAD_DIM);
    kvb_cuda_rows one = {.k = k, .v = v, .dtype = KVB_F32, .row_begin = starts(1), .most_rows = 1};
    kvb_cuda_queries ask = {.q = q,
                            .out = out,
                            .q_dtype = KVB_F32,
                            .out_dtype = KVB_F32,
                            .most_queries = 1,
                            .scale = 1.0f / sqrtf(HEAD_DIM)};
    size_t bytes = kvb_cuda_scratch_bytes(layer, SEQUENCES, 1);
    void *scratch = device(NULL, bytes); /* zeros, as its first use wants */
    cudaGraph_t graph;
    cudaGraphExec_t step;
    cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    for (int l = 0; l < LAYERS; l++)
        must(kvb_cuda_append(layer, &pages[l], &one, stream, &error));
    must(kvb_cuda_advance(&pages[0], &one, stream, &error));
    must(kvb_cuda_attend_plan(layer, &pages[0], &ask, scratch, bytes, stream, &error));
    for (int l = 0; l < LAYERS; l++)
        must(kvb_cuda_attend(layer, &pages[l], &ask, scratch, bytes, stream,
                             &error)); /* your model goes on with `out` */
    cuda(cudaStreamEndCapture(stream, &graph));
    cuda(cudaGraphInstantiate(&step, graph, 0));
    for (int i = 0; i < STEPS; i++)
        cuda(cudaGraphLaunch(step, stream));

    float first[HEAD_DIM];
    cuda(cudaStreamSynchronize(stream));
    cuda(cudaMemcpy(first, out, sizeof first, cudaMemcpyDeviceToHost));
    printf("%s: %d sequences of %d tokens, %zu bytes a page; out[0] is %g\n", gpu.name, SEQUENCES, PROMPT + STEPS,
           kvb_cuda_layer_page_bytes(layer), (double)first[0]);
    return isfinite(first[0]) ? 0 : 1;
}
