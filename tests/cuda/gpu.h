/* A GPU for a test, or its absence: without one a test is skipped, which ctest shows as such, unless KVB_REQUIRE names
 * "cuda". Device memory is poisoned before it is used. */
#ifndef KVB_TESTS_GPU_H
#define KVB_TESTS_GPU_H

#include "check.h"
#include "kvbits/cuda.h"
#include "oracle.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GPU(call) assert_string_equal(cudaGetErrorString(call), cudaGetErrorString(cudaSuccess))

static inline void need_gpu(void) {
    kvb_cuda_device device;
    kvb_error error = {""};
    if (kvb_cuda_device_get(0, &device, &error) != KVB_OK || device.major < 8) {
        const char *required = getenv("KVB_REQUIRE");
        if (required && strstr(required, "cuda")) {
            fail_msg("KVB_REQUIRE names cuda: %s", error.text);
        }
        printf("not tested: no GPU of compute capability 8.0 (%s)\n", error.text);
        skip();
    }
}

/* Do layers that have a tuned kernel get it here? If not, the general one serves them, within its own bound. */
static inline int gpu_has_tuned(void) {
#ifdef KVB_CUDA_NO_TUNED
    return 0;
#else
    kvb_cuda_device device;
    kvb_error error = {""};
    return kvb_cuda_device_get(0, &device, &error) == KVB_OK && device.major >= 9;
#endif
}
static inline double gpu_bound(double bound) {
    return gpu_has_tuned() || bound < 1e-5 ? bound : 1e-5;
}

/* Do kernels for prompts serve what they should? They are Hopper's, and measured with 132 multiprocessors. */
static inline int gpu_has_prompts(void) {
    kvb_cuda_device device;
    kvb_error error = {""};
    return gpu_has_tuned() && kvb_cuda_device_get(0, &device, &error) == KVB_OK && device.major == 9 &&
           device.minor == 0 && device.multiprocessors >= 114;
}

/* KVB_CUDA_CASES, such as "p0 p15 c3": only these of a test's tables; without it all. */
static inline int gpu_wants(char table, size_t i) {
    const char *cases = getenv("KVB_CUDA_CASES");
    char name[32];
    const size_t length = (size_t)snprintf(name, sizeof name, "%c%zu", table, i);
    for (const char *at = cases; at && (at = strstr(at, name)); at += length) {
        if ((at == cases || at[-1] == ' ') && (at[length] == 0 || at[length] == ' ')) {
            return 1;
        }
    }
    return !cases;
}

/* KVB_CUDA_FEW=1: fewer and shorter cases, for sanitizers that take a thousand times longer. */
static inline int gpu_few(void) {
    const char *few = getenv("KVB_CUDA_FEW");
    return few && *few && *few != '0';
}

/* From the host; there when it returns, also for streams that do not wait for the default one. cudaMemcpy alone may
 * return when a small copy is on its way. */
static inline void gpu_write(void *to, const void *from, size_t bytes) {
    GPU(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice));
    GPU(cudaDeviceSynchronize());
}
/* Device memory full of NaNs. */
static inline void *gpu_allocate(size_t bytes) {
    void *p = NULL;
    GPU(cudaMalloc(&p, bytes));
    GPU(cudaMemset(p, 0xff, bytes));
    GPU(cudaDeviceSynchronize());
    return p;
}
static inline void *gpu_copy(const void *from, size_t bytes) {
    void *p = gpu_allocate(bytes);
    gpu_write(p, from, bytes);
    return p;
}
static inline void gpu_read(void *to, const void *from, size_t bytes) {
    GPU(cudaDeviceSynchronize());
    GPU(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost));
}
static inline void *host_allocate(size_t bytes) {
    void *p = calloc(1, bytes);
    assert_non_null(p);
    return p;
}

/* Bytes of rows, which become what they were rounded to. */
static inline void *typed(float *rows, size_t n, kvb_dtype dtype) {
    uint8_t *bytes = host_allocate(n * kvb_dtype_bytes(dtype));
    for (size_t i = 0; i < n; i++) {
        if (dtype == KVB_F32) {
            memcpy(bytes + 4 * i, &rows[i], 4);
        } else {
            uint16_t half = dtype == KVB_F16 ? kvb_f32_to_f16(rows[i]) : kvb_f32_to_bf16(rows[i]);
            memcpy(bytes + 2 * i, &half, 2);
            rows[i] = dtype == KVB_F16 ? kvb_f16_to_f32(half) : kvb_bf16_to_f32(half);
        }
    }
    return bytes;
}
static inline void *gpu_typed(float *rows, size_t n, kvb_dtype dtype) {
    void *bytes = typed(rows, n, dtype), *device = gpu_copy(bytes, n * kvb_dtype_bytes(dtype));
    free(bytes);
    return device;
}

static inline float *normal_rows(size_t n, oracle_random *random) {
    float *x = host_allocate(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = oracle_normal(random);
    }
    return x;
}

/* A batch of sequences in scattered pages, with room for `most` tokens each. */
typedef struct gpu_batch {
    kvb_cuda_pages pages;
    int32_t *table; /* on the host */
    size_t n_pages;
} gpu_batch;

static inline gpu_batch gpu_batch_make(const kvb_cuda_layer *layer, int n_sequences, int most) {
    gpu_batch b = {.pages = {.n_sequences = n_sequences}};
    b.pages.table_stride = (size_t)(most + KVB_CUDA_PAGE_TOKENS - 1) / KVB_CUDA_PAGE_TOKENS;
    b.n_pages = b.pages.table_stride * (size_t)n_sequences;
    b.table = host_allocate(b.n_pages * sizeof *b.table);
    for (size_t i = 0; i < b.n_pages; i++) { /* a permutation: the step is odd and no multiple of a small prime */
        b.table[i] = (int32_t)((i * 1000003 + 7) % b.n_pages);
    }
    for (size_t i = 0; i < b.n_pages; i++) { /* unless n_pages is a multiple of it */
        for (size_t j = i + 1; j < b.n_pages; j++) {
            assert_int_not_equal(b.table[i], b.table[j]);
        }
    }
    b.pages.table = gpu_copy(b.table, b.n_pages * sizeof *b.table);
    b.pages.pool = gpu_allocate(b.n_pages * kvb_cuda_layer_page_bytes(layer));
    int32_t *lengths = host_allocate((size_t)n_sequences * sizeof *lengths);
    b.pages.lengths = gpu_copy(lengths, (size_t)n_sequences * sizeof *lengths);
    free(lengths);
    return b;
}
static inline void gpu_batch_free(gpu_batch *b) {
    GPU(cudaFree(b->pages.pool));
    GPU(cudaFree((void *)b->pages.table));
    GPU(cudaFree(b->pages.lengths));
    free(b->table);
}

static inline kvb_cuda_layer *gpu_layer_of(kvb_cuda_layer_spec spec) {
    kvb_cuda_layer *layer;
    kvb_error error = {""};
    if (kvb_cuda_layer_create(&spec, NULL, &layer, &error) != KVB_OK) {
        fail_msg("%s", error.text);
    }
    return layer;
}
static inline kvb_cuda_layer *gpu_layer(const kvb_codec *k, const kvb_codec *v, int n_kv_heads, int n_q_heads) {
    return gpu_layer_of(
        (kvb_cuda_layer_spec){.k_codec = k, .v_codec = v, .n_kv_heads = n_kv_heads, .n_q_heads = n_q_heads});
}
/* Values are the first v_dim coordinates of the keys. */
static inline kvb_cuda_layer *gpu_latent_layer(const kvb_codec *k, int v_dim, int n_kv_heads, int n_q_heads) {
    return gpu_layer_of((kvb_cuda_layer_spec){
        .k_codec = k, .n_kv_heads = n_kv_heads, .n_q_heads = n_q_heads, .v_dim = v_dim, .v_prefix_of_k = 1});
}

#endif
