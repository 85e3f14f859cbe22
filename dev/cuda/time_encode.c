/* Times kvb_cuda_append beside a copy that moves as many bytes: median and quartiles of 25 by events, the L2 filled
 * with foreign lines before each. After `make cuda`:
 *     cc -std=c11 -O2 -I include -I src -I tests -I tests/cuda -I CUDA/include dev/cuda/time_encode.c \
 *        build-cuda/tests/libkvb-oracle.a build-cuda/src/cuda/libkvbits-cuda.a build-cuda/src/libkvbits.a \
 *        CUDA/lib64/libcudart_static.a -lcmocka -lstdc++ -lpthread -ldl -lrt -lm -o time_encode
 * with CUDA the toolkit's folder (/usr/local/cuda). `time_encode goals` times those cases alone that have a goal. */
#include "gpu.h"

#ifdef KVB_LAYER_BY_LAYER /* before there was kvb_cuda_append_layers */
#define APPEND(layers, pages, rows, n)                                                                                 \
    for (int i = 0; i < (n); i++) {                                                                                    \
        assert_int_equal(kvb_cuda_append((layers)[i], &(pages)[i], &(rows)[i], NULL, &error), KVB_OK);                 \
    }
#else
#define APPEND(layers, pages, rows, n)                                                                                 \
    assert_int_equal(kvb_cuda_append_layers(layers, pages, rows, n, NULL, &error), KVB_OK)
#endif

static int by_time(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

enum { heads = 8, runs = 25, flush = 256 << 20, most_layers = 32 };

static kvb_codec *codec_of(int dim, int bits, int states, kvb_scale_kind scale) {
    kvb_codec_spec spec = kvb_codec_spec_default(dim, bits);
    kvb_codec *codec;
    kvb_error error;
    spec.scale = scale;
    spec.trellis_states = states;
    assert_int_equal(kvb_codec_create(&spec, NULL, NULL, &codec, &error), KVB_OK);
    return codec;
}

/* An append to each of `n_layers`, all in one call: as many launches as kvb_cuda_append_layers makes. */
static void time_append(int dim, int bits, int states, int n_layers, int n_sequences, int n, kvb_scale_kind scale) {
    kvb_codec *codec = codec_of(dim, bits, states, scale);
    kvb_error error;
    kvb_cuda_layer *layer = gpu_layer(codec, codec, heads, heads);
    const kvb_cuda_layer *layers[most_layers];
    kvb_cuda_pages pages[most_layers];
    kvb_cuda_rows rows[most_layers];
    const size_t values = (size_t)n_sequences * (size_t)n * heads * (size_t)dim;
    oracle_random random = {.state = 5};
    float *x = normal_rows(values, &random);
    int32_t begin[65];
    for (int s = 0; s <= n_sequences; s++) {
        begin[s] = s * n;
    }
    for (int i = 0; i < n_layers; i++) {
        layers[i] = layer;
        pages[i] = gpu_batch_make(layer, n_sequences, n).pages;
        rows[i] = (kvb_cuda_rows){.k = gpu_typed(x, values, KVB_BF16),
                                  .v = gpu_typed(x, values, KVB_BF16),
                                  .dtype = KVB_BF16,
                                  .row_begin = gpu_copy(begin, sizeof begin),
                                  .most_rows = n};
    }
    const size_t moved =
        (size_t)n_layers *
        (4 * values + 2 * (values / (size_t)dim) * ((size_t)dim * (size_t)bits / 8 + 2)); /* read and written */
    uint8_t *foreign = gpu_allocate(flush), *from = gpu_allocate(moved / 2), *to = gpu_allocate(moved / 2);
    cudaEvent_t a, b;
    GPU(cudaEventCreate(&a));
    GPU(cudaEventCreate(&b));
    float us[2][runs];
    for (int r = -2; r < runs; r++) {
        for (int copy = 0; copy < 2; copy++) {
            GPU(cudaMemsetAsync(foreign, r, flush, NULL));
            GPU(cudaEventRecord(a, NULL));
            if (copy) {
                GPU(cudaMemcpyAsync(to, from, moved / 2, cudaMemcpyDeviceToDevice, NULL));
            } else {
                APPEND(layers, pages, rows, n_layers);
            }
            GPU(cudaEventRecord(b, NULL));
            GPU(cudaEventSynchronize(b));
            float ms;
            GPU(cudaEventElapsedTime(&ms, a, b));
            us[copy][r < 0 ? 0 : r] = ms * 1000.0f;
        }
    }
    for (int copy = 0; copy < 2; copy++) {
        qsort(us[copy], runs, sizeof(float), by_time);
    }
    printf("dim %3d %d/%d states %d scale %d, %2d layers x %2d x %4d tokens x %d heads, bfloat: %7.1f us (%.1f-%.1f); "
           "copy of %.1f MB moved %6.1f us (%.1f-%.1f)\n",
           dim, bits, bits, states, (int)scale, n_layers, n_sequences, n, heads, us[0][12], us[0][6], us[0][18],
           (double)moved / 1e6, us[1][12], us[1][6], us[1][18]);
    fflush(stdout);
    GPU(cudaFree(foreign));
    GPU(cudaFree(from));
    GPU(cudaFree(to));
    free(x);
}

static void goals(void **state) {
    (void)state;
    for (int bits = 4; bits <= 8; bits += 4) {
        time_append(128, bits, 0, 1, 1, 8192, KVB_SCALE_LSQ);
        time_append(128, bits, 0, 1, 1, 1, KVB_SCALE_LSQ);
        time_append(128, bits, 0, 32, 1, 1, KVB_SCALE_LSQ);
    }
}

static void times(void **state) {
    (void)state;
    static const int widths[] = {4, 8, 2, 6, 3, 5, 7, 1};
    for (int i = 0; i < 8; i++) {
        time_append(128, widths[i], 0, 1, 1, 8192, KVB_SCALE_LSQ);
    }
    time_append(128, 4, 0, 1, 1, 8192, KVB_SCALE_SEARCH);
    time_append(64, 4, 0, 1, 1, 8192, KVB_SCALE_LSQ);
    time_append(256, 4, 0, 1, 1, 8192, KVB_SCALE_LSQ);
    time_append(128, 4, 0, 1, 1, 1, KVB_SCALE_LSQ);
    time_append(128, 8, 0, 1, 1, 1, KVB_SCALE_LSQ);
    time_append(128, 4, 0, 1, 16, 1, KVB_SCALE_LSQ);
    time_append(128, 4, 0, 32, 1, 1, KVB_SCALE_LSQ);
    time_append(128, 8, 0, 32, 1, 1, KVB_SCALE_LSQ);
    time_append(128, 4, 0, 32, 16, 1, KVB_SCALE_LSQ);
    for (int bits = 2; bits <= 4; bits++) {
        time_append(128, bits, 16, 1, 1, 8192, KVB_SCALE_LSQ);
    }
    time_append(128, 3, 8, 1, 1, 8192, KVB_SCALE_LSQ);
    time_append(128, 3, 64, 1, 1, 8192, KVB_SCALE_LSQ);
    time_append(128, 3, 256, 1, 1, 8192, KVB_SCALE_LSQ);
    time_append(128, 3, 16, 1, 1, 1, KVB_SCALE_LSQ);
}

int main(int argc, char **argv) {
    const struct CMUnitTest all[] = {cmocka_unit_test(times)}, few[] = {cmocka_unit_test(goals)};
    return argc > 1 && strcmp(argv[1], "goals") == 0 ? cmocka_run_group_tests(few, NULL, NULL)
                                                     : cmocka_run_group_tests(all, NULL, NULL);
}
