/* Times kvb_cuda_append beside a copy that moves as many bytes: median and quartiles of 25 by events, the L2 filled
 * with foreign lines before each. After `make cuda`:
 *     cc -std=c11 -O2 -I include -I src -I tests -I tests/cuda -I CUDA/include dev/cuda/time_encode.c \
 *        build-cuda/tests/libkvb-oracle.a build-cuda/src/cuda/libkvbits-cuda.a build-cuda/src/libkvbits.a \
 *        CUDA/lib64/libcudart_static.a -lcmocka -lstdc++ -lpthread -ldl -lrt -lm -o time_encode
 * with CUDA the toolkit's folder (/usr/local/cuda). */
#include "gpu.h"

static int by_time(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static void time_append(int dim, int bits, int states, int n_sequences, int n, kvb_scale_kind scale) {
    enum { heads = 8, runs = 25, flush = 256 << 20 };
    kvb_codec_spec spec = kvb_codec_spec_default(dim, bits);
    kvb_codec *codec;
    kvb_error error;
    spec.scale = scale;
    spec.trellis_states = states;
    assert_int_equal(kvb_codec_create(&spec, NULL, NULL, &codec, &error), KVB_OK);
    kvb_cuda_layer *layer = gpu_layer(codec, codec, heads, heads);
    gpu_batch batch = gpu_batch_make(layer, n_sequences, n);
    const size_t values = (size_t)n_sequences * (size_t)n * heads * (size_t)dim;
    oracle_random random = {.state = 5};
    float *x = normal_rows(values, &random);
    void *k = gpu_typed(x, values, KVB_BF16), *v = gpu_typed(x, values, KVB_BF16);
    int32_t begin[65];
    for (int s = 0; s <= n_sequences; s++) {
        begin[s] = s * n;
    }
    kvb_cuda_rows rows = {
        .k = k, .v = v, .dtype = KVB_BF16, .row_begin = gpu_copy(begin, sizeof begin), .most_rows = n};
    const size_t moved =
        4 * values + 2 * (values / (size_t)dim) * ((size_t)dim * (size_t)bits / 8 + 2); /* read and written */
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
                assert_int_equal(kvb_cuda_append(layer, &batch.pages, &rows, NULL, &error), KVB_OK);
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
    printf("dim %3d %d/%d states %d scale %d, %2d x %4d tokens x %d heads, bfloat: %7.1f us (%.1f-%.1f); copy of %.1f "
           "MB moved "
           "%6.1f us (%.1f-%.1f)\n",
           dim, bits, bits, states, (int)scale, n_sequences, n, heads, us[0][12], us[0][6], us[0][18],
           (double)moved / 1e6, us[1][12], us[1][6], us[1][18]);
    fflush(stdout);
    GPU(cudaFree(foreign));
    GPU(cudaFree(from));
    GPU(cudaFree(to));
    free(x);
}

static void times(void **state) {
    (void)state;
    static const int widths[] = {4, 8, 2, 6, 3, 5, 7, 1};
    for (int i = 0; i < 8; i++) {
        time_append(128, widths[i], 0, 1, 8192, KVB_SCALE_LSQ);
    }
    time_append(128, 4, 0, 1, 8192, KVB_SCALE_SEARCH);
    time_append(64, 4, 0, 1, 8192, KVB_SCALE_LSQ);
    time_append(256, 4, 0, 1, 8192, KVB_SCALE_LSQ);
    time_append(128, 4, 0, 1, 1, KVB_SCALE_LSQ);
    time_append(128, 8, 0, 1, 1, KVB_SCALE_LSQ);
    time_append(128, 4, 0, 16, 1, KVB_SCALE_LSQ);
    for (int bits = 2; bits <= 4; bits++) {
        time_append(128, bits, 16, 1, 8192, KVB_SCALE_LSQ);
    }
    time_append(128, 3, 8, 1, 8192, KVB_SCALE_LSQ);
    time_append(128, 3, 64, 1, 8192, KVB_SCALE_LSQ);
    time_append(128, 3, 256, 1, 8192, KVB_SCALE_LSQ);
    time_append(128, 3, 16, 1, 1, KVB_SCALE_LSQ);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(times)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
