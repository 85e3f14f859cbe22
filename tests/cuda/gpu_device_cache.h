/* A kvb_cuda_cache beside a kvb_cache: the same operations and rows for both. Attention is compared with double
 * precision on what the CPU's view shows, and everything else by the bytes of the files that both are saved as. */
#ifndef KVB_TESTS_GPU_DEVICE_CACHE_H
#define KVB_TESTS_GPU_DEVICE_CACHE_H

#include "cache_device.h"
#include "cache_model.h"
#include "gpu.h"
#include "oracle_attend.h"

#include <math.h>
#include <unistd.h>

enum { n_sequences = 5, most_tokens = 420, most_layers = 12, most_rows = 400, group = 3 };

typedef struct pair {
    kvb_cuda_cache *device;
    kvb_cache *cpu;
    kvb_layer_spec layers[most_layers];
    kvb_cache_spec spec; /* of the CPU's cache, which has room for everything */
    size_t budget;       /* of the device's */
    int most_asked;      /* queries of a sequence in a step: its last new tokens */
    int is_split;        /* queries are in halves */
    oracle_random random;
    int is_open[n_sequences];
    cudaStream_t stream;
    int at_once; /* so many layers get the step's rows in one call, the others in another; 0: each in its own */
    /* Of a step: rows of every layer, queries of every layer, results. */
    kvb_dtype dtype;
    void *rows[most_layers][2], *on_device[most_layers][2];
    float *q[most_layers], *q_on_device[most_layers], *out[most_layers], *lse[most_layers];
    int32_t *q_begin_on_device;
    int q_begin[n_sequences + 1];
    void *scratch;
    size_t scratch_bytes;
    double worst; /* error of attention over its bound */
} pair;

static inline int below(pair *p, int n) {
    return (int)(oracle_next(&p->random) % (uint64_t)n);
}
static inline int dim_of(const pair *p, int layer, int side) {
    return side ? p->layers[layer].v.head_dim : p->layers[layer].k.head_dim;
}
static inline int heads_of(const pair *p, int layer) {
    return p->layers[layer].n_kv_heads * group;
}

/* ---- Creation ---- */

static inline void create_device(pair *p, kvb_cuda_cache **out) {
    int q_heads[most_layers];
    kvb_error error;
    for (int i = 0; i < p->spec.n_layers; i++) {
        q_heads[i] = heads_of(p, i);
    }
    kvb_cache_spec of = p->spec;
    of.budget = p->budget;
    const kvb_cuda_cache_spec spec = {.cache = &of, .n_q_heads = q_heads};
    assert_ok(kvb_cuda_cache_create(&spec, NULL, out, &error), error);
    /* NaN where nothing was written. */
    GPU(cudaMemset((*out)->books->pool.arena, 0xff, p->budget));
    if ((*out)->exact) {
        GPU(cudaMemset((*out)->exact, 0xff, (*out)->exact_bytes));
    }
    GPU(cudaDeviceSynchronize());
}

static inline pair *create_pair_of(const kvb_layer_spec *layers, int n_layers, size_t budget, int asked,
                                   uint64_t seed) {
    pair *p = host_allocate(sizeof *p);
    kvb_error error;
    memcpy(p->layers, layers, (size_t)n_layers * sizeof *layers);
    p->most_asked = asked;
    p->is_split = 1;
    p->spec = (kvb_cache_spec){.layers = p->layers,
                               .n_layers = n_layers,
                               .page_tokens = KVB_CUDA_PAGE_TOKENS,
                               .max_sequences = n_sequences,
                               .max_tokens = most_tokens,
                               .budget = (size_t)32 << 20};
    p->budget = budget;
    p->random.state = seed;
    create_device(p, &p->device);
    assert_ok(kvb_cache_create(&p->spec, NULL, NULL, &p->cpu, &error), error);
    GPU(cudaStreamCreateWithFlags(&p->stream, cudaStreamNonBlocking));
    for (int i = 0; i < n_layers; i++) {
        const size_t values_asked = (size_t)(n_sequences * asked * heads_of(p, i));
        for (int side = 0; side < 2; side++) {
            const size_t values = (size_t)(most_rows * p->layers[i].n_kv_heads * dim_of(p, i, side));
            p->rows[i][side] = host_allocate(values * sizeof(float));
            p->on_device[i][side] = gpu_allocate(values * sizeof(float));
        }
        p->q[i] = host_allocate(values_asked * (size_t)dim_of(p, i, 0) * sizeof(float));
        p->q_on_device[i] = gpu_allocate(values_asked * (size_t)dim_of(p, i, 0) * sizeof(float));
        p->out[i] = gpu_allocate(values_asked * (size_t)dim_of(p, i, 1) * sizeof(float));
        p->lse[i] = gpu_allocate(values_asked * sizeof(float));
    }
    p->q_begin_on_device = gpu_allocate(sizeof p->q_begin);
    p->scratch_bytes = kvb_cuda_cache_scratch_bytes(p->device, n_sequences, asked);
    assert_true(p->scratch_bytes > 0);
    p->scratch = gpu_allocate(p->scratch_bytes);
    return p;
}

static inline pair *create_pair(const int *kinds, int n_layers, size_t budget, uint64_t seed) {
    kvb_layer_spec layers[most_layers];
    for (int i = 0; i < n_layers; i++) {
        layers[i] = cache_model_layer(kinds[i]);
    }
    return create_pair_of(layers, n_layers, budget, 2, seed);
}

static inline void destroy_pair(pair *p) {
    for (int i = 0; i < p->spec.n_layers; i++) {
        for (int side = 0; side < 2; side++) {
            free(p->rows[i][side]);
            GPU(cudaFree(p->on_device[i][side]));
        }
        free(p->q[i]);
        GPU(cudaFree(p->q_on_device[i]));
        GPU(cudaFree(p->out[i]));
        GPU(cudaFree(p->lse[i]));
    }
    GPU(cudaFree(p->q_begin_on_device));
    GPU(cudaFree(p->scratch));
    GPU(cudaStreamDestroy(p->stream));
    kvb_cuda_cache_destroy(p->device);
    kvb_cache_destroy(p->cpu);
    free(p);
}

/* ---- Rows and queries ---- */

static inline void draw(pair *p, float *values, size_t n) {
    for (size_t i = 0; i < n; i++) {
        values[i] = (float)(4.0 * oracle_uniform(&p->random) - 2.0);
    }
}

/* n_rows new rows, and queries of the last ones of each sequence, for all layers. */
static inline void draw_step(pair *p, const int *n_new, int n, int n_rows) {
    p->dtype = (kvb_dtype)below(p, 3);
    p->at_once = below(p, p->spec.n_layers + 1);
    for (int i = 0; i < n; i++) {
        p->q_begin[i + 1] = p->q_begin[i] + (n_new[i] < p->most_asked ? n_new[i] : p->most_asked);
    }
    gpu_write(p->q_begin_on_device, p->q_begin, sizeof p->q_begin);
    for (int layer = 0; layer < p->spec.n_layers; layer++) {
        for (int side = 0; side < 2; side++) {
            const size_t values = (size_t)(n_rows * p->layers[layer].n_kv_heads * dim_of(p, layer, side));
            float *rows = host_allocate((values + 1) * sizeof *rows);
            draw(p, rows, values);
            void *bytes = typed(rows, values, p->dtype);
            memcpy(p->rows[layer][side], bytes, values * kvb_dtype_bytes(p->dtype));
            gpu_write(p->on_device[layer][side], bytes, values * kvb_dtype_bytes(p->dtype));
            free(bytes);
            free(rows);
        }
        const size_t asked = (size_t)(p->q_begin[n] * heads_of(p, layer));
        draw(p, p->q[layer], asked * (size_t)dim_of(p, layer, 0));
        gpu_write(p->q_on_device[layer], p->q[layer], asked * (size_t)dim_of(p, layer, 0) * sizeof(float));
        GPU(cudaMemset(p->out[layer], 0xff, asked * (size_t)dim_of(p, layer, 1) * sizeof(float)));
        GPU(cudaMemset(p->lse[layer], 0xff, asked * sizeof(float)));
    }
    GPU(cudaDeviceSynchronize());
}

static inline kvb_cuda_queries queries_of(const pair *p, int layer) {
    return (kvb_cuda_queries){.q = p->q_on_device[layer],
                              .out = p->out[layer],
                              .lse = p->lse[layer],
                              .q_dtype = KVB_F32,
                              .out_dtype = KVB_F32,
                              .q_begin = p->q_begin_on_device,
                              .most_queries = p->most_asked,
                              .scale = 1.0f / sqrtf((float)dim_of(p, layer, 0)),
                              .split_queries = p->is_split};
}

/* New rows of layers first .. end - 1, in one call. */
static inline void append_layers(const pair *p, kvb_cuda_cache *cache, int first, int end) {
    const void *k[most_layers], *v[most_layers];
    kvb_error error;
    for (int i = first; i < end; i++) {
        k[i - first] = p->on_device[i][0];
        v[i - first] = p->layers[i].v_prefix_of_k ? NULL : p->on_device[i][1];
    }
    if (first < end) {
        assert_ok(kvb_cuda_cache_append_layers(cache, first, end - first, k, v, p->dtype, p->stream, &error), error);
    }
}

/* What a model does behind begin, eagerly or into a graph. */
static inline void queue_layers(const pair *p, kvb_cuda_cache *cache) {
    kvb_error error;
    const kvb_cuda_queries any = queries_of(p, 0);
    assert_ok(kvb_cuda_cache_plan(cache, &any, p->scratch, p->scratch_bytes, p->stream, &error), error);
    if (p->at_once > 0) {
        append_layers(p, cache, 0, p->at_once);
        append_layers(p, cache, p->at_once, p->spec.n_layers);
    }
    for (int layer = 0; layer < p->spec.n_layers; layer++) {
        const kvb_cuda_queries queries = queries_of(p, layer);
        const void *v = p->layers[layer].v_prefix_of_k ? NULL : p->on_device[layer][1];
        if (p->at_once == 0) {
            assert_ok(kvb_cuda_cache_append(cache, layer, p->on_device[layer][0], v, p->dtype, p->stream, &error),
                      error);
        }
        assert_ok(kvb_cuda_cache_attend(cache, layer, &queries, p->scratch, p->scratch_bytes, p->stream, &error),
                  error);
    }
}

/* ---- The CPU's side of a step ---- */

static inline void cpu_append(pair *p, const int *sequences, const int *n_new, int n) {
    kvb_error error;
    for (int layer = 0; layer < p->spec.n_layers; layer++) {
        size_t row = 0;
        for (int i = 0; i < n; i++) {
            const size_t head = (size_t)p->layers[layer].n_kv_heads * kvb_dtype_bytes(p->dtype);
            const kvb_kv_rows rows = {.k = (uint8_t *)p->rows[layer][0] + row * head * (size_t)dim_of(p, layer, 0),
                                      .v = (uint8_t *)p->rows[layer][1] + row * head * (size_t)dim_of(p, layer, 1),
                                      .dtype = p->dtype,
                                      .n_tokens = n_new[i]};
            if (sequences[i] >= 0) {
                assert_ok(kvb_cache_append(p->cpu, sequences[i], layer, &rows, &error), error);
            }
            row += (size_t)n_new[i];
        }
    }
}

static inline void cpu_commit(pair *p, const int *sequences, int n) {
    kvb_error error;
    for (int i = 0; i < n; i++) {
        if (sequences[i] >= 0) {
            assert_ok(kvb_cache_commit(p->cpu, sequences[i], &error), error);
        }
    }
}

/* ---- Comparisons ---- */

static inline void check_layer(pair *p, int layer, const int *sequences, int n) {
    const size_t heads = (size_t)heads_of(p, layer), v_dim = (size_t)dim_of(p, layer, 1),
                 k_dim = (size_t)dim_of(p, layer, 0), rows = (size_t)p->q_begin[n] * heads;
    float *out = host_allocate((rows + 1) * v_dim * sizeof *out), *lse = host_allocate((rows + 1) * sizeof *lse);
    double *expected = host_allocate((rows + 1) * v_dim * sizeof *expected),
           *expected_lse = host_allocate((rows + 1) * sizeof *expected_lse), difference = 0, norm = 0;
    gpu_read(out, p->out[layer], rows * v_dim * sizeof *out);
    gpu_read(lse, p->lse[layer], rows * sizeof *lse);
    for (int i = 0; i < n; i++) {
        const int n_q = p->q_begin[i + 1] - p->q_begin[i];
        const size_t first = (size_t)p->q_begin[i] * heads;
        kvb_kv_view view;
        kvb_error error;
        if (n_q == 0) {
            continue;
        }
        assert_ok(kvb_cache_view(p->cpu, sequences[i], layer, &view, &error), error);
        const kvb_attend_item item = {.kv = &view,
                                      .n_q = n_q,
                                      .n_heads = (int)heads,
                                      .q = p->q[layer] + first * k_dim,
                                      .q_dtype = KVB_F32,
                                      .q_token_stride = heads * k_dim,
                                      .q_head_stride = k_dim,
                                      .scale = 1.0f / sqrtf((float)k_dim)};
        oracle_attend(&item, expected + first * v_dim, expected_lse + first);
    }
    const int is_tuned = kvb_cuda_layer_is_tuned(kvb_cuda_cache_layer_at(p->device, layer));
    const double bound = is_tuned ? (p->is_split ? 3e-4 : 5e-4) : 1e-5; /* docs/cuda.md, "Exactness" */
    for (size_t i = 0; i < rows; i++) {
        if (!(fabs((double)lse[i] - expected_lse[i]) <= (is_tuned ? 5e-3 : 1e-4) * fmax(1.0, fabs(expected_lse[i])))) {
            fail_msg("layer %d, row %d: log-sum-exp %g, not %g", layer, (int)i, (double)lse[i], expected_lse[i]);
        }
    }
    for (size_t i = 0; i < rows * v_dim; i++) {
        difference += pow((double)out[i] - expected[i], 2);
        norm += pow(expected[i], 2);
    }
    const double error = norm > 0 ? sqrt(difference / norm) : sqrt(difference);
    if (!(error <= bound)) {
        fail_msg("layer %d: error %g is above %g", layer, error, bound);
    }
    p->worst = fmax(p->worst, error / bound);
    free(out);
    free(lse);
    free(expected);
    free(expected_lse);
}

static inline void check_attention(pair *p, const int *sequences, int n) {
    GPU(cudaStreamSynchronize(p->stream));
    for (int layer = 0; layer < p->spec.n_layers; layer++) {
        check_layer(p, layer, sequences, n);
    }
}

static inline uint8_t *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *bytes = (size_t)ftell(file);
    rewind(file);
    uint8_t *content = host_allocate(*bytes + 1);
    assert_int_equal(fread(content, 1, *bytes, file), *bytes);
    assert_int_equal(fclose(file), 0);
    return content;
}

/* Both caches as files, which stay: the same bytes. */
static inline void check_files(pair *p, const char *device_path, const char *cpu_path) {
    kvb_cache *host;
    kvb_error error;
    size_t a_bytes, b_bytes;
    assert_ok(kvb_cache_create(&p->spec, NULL, NULL, &host, &error), error);
    assert_ok(kvb_cuda_cache_download(p->device, host, p->stream, &error), error);
    assert_ok(kvb_cache_save(host, device_path, &error), error);
    assert_ok(kvb_cache_save(p->cpu, cpu_path, &error), error);
    uint8_t *a = read_file(device_path, &a_bytes), *b = read_file(cpu_path, &b_bytes);
    assert_int_equal(a_bytes, b_bytes);
    for (size_t i = 0; i < a_bytes; i++) {
        if (a[i] != b[i]) {
            fail_msg("byte %zu of %zu of the files differs", i, a_bytes);
        }
    }
    free(a);
    free(b);
    kvb_cache_destroy(host);
}

#endif
