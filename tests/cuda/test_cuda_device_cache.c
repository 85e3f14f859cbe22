/* The cache on the GPU beside the CPU's: random operations, graphs, files, rows as values, merging. */
#include "gpu_device_cache.h"

#include <limits.h>

static const char device_path[] = "test_cuda_device_cache_gpu.kvb", cpu_path[] = "test_cuda_device_cache_cpu.kvb";
static kvb_error error;

static void remove_files(void) {
    (void)unlink(device_path);
    (void)unlink(cpu_path);
}

/* ---- Random operations ---- */

static void open_both(pair *p) {
    int a, b;
    if (!kvb_cuda_cache_open_sequence(p->device, &a, NULL)) {
        assert_ok(kvb_cache_open_sequence(p->cpu, &b, &error), error);
        assert_int_equal(a, b);
        p->is_open[a] = 1;
    }
}

/* 1: the pool is full. */
static int step_both(pair *p, int most_new) {
    int sequences[n_sequences], n_new[n_sequences], n = 0, n_rows = 0;
    const int begin = below(p, n_sequences);
    for (int i = 0; i < n_sequences; i++) {
        const int s = (begin + i) % n_sequences;
        if (p->is_open[s] && below(p, 4)) {
            const int left = most_tokens - (int)kvb_cuda_cache_n_tokens(p->device, s), drawn = below(p, most_new + 1);
            sequences[n] = s;
            n_new[n] = drawn < left ? drawn : left;
            n_rows += n_new[n++];
        } else if (below(p, 4) == 0) {
            sequences[n] = -1;
            n_new[n++] = 0;
        }
    }
    if (n == 0) {
        return 0;
    }
    draw_step(p, n_new, n, n_rows);
    const kvb_status status = kvb_cuda_cache_begin(p->device, sequences, n_new, n, 1, p->stream, &error);
    if (status == KVB_ERROR_MEMORY) {
        return 1;
    }
    assert_ok(status, error);
    queue_layers(p, p->device);
    cpu_append(p, sequences, n_new, n);
    check_attention(p, sequences, n);
    assert_ok(kvb_cuda_cache_commit(p->device, 1, &error), error);
    cpu_commit(p, sequences, n);
    return 0;
}

static void truncate_both(pair *p, int s) {
    const int n = (int)kvb_cuda_cache_n_tokens(p->device, s), back = below(p, below(p, 2) ? 12 : 150);
    const int64_t to = back < n ? n - back : 0;
    assert_int_equal(kvb_cuda_cache_truncate(p->device, s, to, NULL), kvb_cache_truncate(p->cpu, s, to, NULL));
}

static void fork_both(pair *p, int s) {
    int a, b;
    const kvb_status status = kvb_cuda_cache_fork(p->device, s, &a, p->stream, NULL);
    assert_int_equal(status, kvb_cache_fork(p->cpu, s, &b, NULL));
    if (status == KVB_OK) {
        assert_int_equal(a, b);
        p->is_open[a] = 1;
    }
}

static int operate(pair *p) {
    static const int sizes[] = {1, 1, 2, 5, 17, 60};
    const int s = below(p, n_sequences), what = below(p, 16);
    if (what < 10) {
        return step_both(p, sizes[below(p, 6)]);
    }
    if (what == 10) {
        open_both(p);
    } else if (p->is_open[s] && what < 12) {
        truncate_both(p, s);
    } else if (p->is_open[s] && what < 15) {
        fork_both(p, s);
    } else if (p->is_open[s]) {
        assert_ok(kvb_cuda_cache_free_sequence(p->device, s, &error), error);
        kvb_cache_free_sequence(p->cpu, s);
        p->is_open[s] = 0;
    }
    return 0;
}

static int run_random(const char *name, const int *kinds, int n_layers, size_t budget, int n, uint64_t seed) {
    pair *p = create_pair(kinds, n_layers, budget, seed);
    int n_refused = 0;
    n = gpu_few() ? n / 4 : n;
    for (int i = 0; i < n; i++) {
        n_refused += operate(p);
        if (i % 8 == 7 || i == n - 1) {
            check_files(p, device_path, cpu_path);
        }
    }
    print_message("%s: %d operations, %d refused, error %.2f of the bound\n", name, n, n_refused, p->worst);
    destroy_pair(p);
    remove_files();
    return n_refused;
}

static const int all[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
static const int windows[] = {1, 5, 7, 8, 9, 10};
static const int exact[] = {3, 4, 6, 11};
static const int half_bits[] = {12, 0, 13};

static void random_operations_do_what_the_cpu_does(void **state) {
    (void)state;
    need_gpu();
    assert_int_equal(run_random("all kinds", all, 12, (size_t)32 << 20, 120, 1), 0);
    assert_int_equal(run_random("windows", windows, 6, (size_t)32 << 20, 120, 2), 0);
    assert_int_equal(run_random("exact tokens", exact, 4, (size_t)32 << 20, 120, 3), 0);
    assert_int_equal(run_random("half bits", half_bits, 3, (size_t)32 << 20, 120, 6), 0);
}

/* Pages go from hand to hand, so that a page that is given back too early, or is not copied, shows. */
static void a_small_pool_is_used_again_and_again(void **state) {
    (void)state;
    need_gpu();
    assert_true(run_random("windows, small pool", windows, 6, 150000, 160, 4) > 0 || gpu_few());
    assert_true(run_random("exact tokens, small pool", exact, 4, 160000, 160, 5) > 0 || gpu_few());
}

/* ---- Graphs ---- */

static void nothing_for_books_is_captured(pair *p) {
    cudaGraph_t graph;
    int s = 0, n_new = 1;
    GPU(cudaStreamBeginCapture(p->stream, cudaStreamCaptureModeGlobal));
    assert_int_equal(kvb_cuda_cache_begin(p->device, &s, &n_new, 1, 1, p->stream, &error), KVB_ERROR_ARGUMENT);
    assert_non_null(strstr(error.text, "kvb_cuda_cache_begin: the stream is capturing"));
    assert_int_equal(kvb_cuda_cache_reserve(p->device, s, 1, p->stream, &error), KVB_ERROR_ARGUMENT);
    assert_int_equal(kvb_cuda_cache_fork(p->device, s, &s, p->stream, &error), KVB_ERROR_ARGUMENT);
    GPU(cudaStreamEndCapture(p->stream, &graph));
    GPU(cudaGraphDestroy(graph));
}

static cudaGraphExec_t capture(pair *p, int advances) {
    cudaGraph_t graph;
    cudaGraphExec_t step;
    GPU(cudaStreamBeginCapture(p->stream, cudaStreamCaptureModeGlobal));
    queue_layers(p, p->device);
    if (advances) {
        assert_ok(kvb_cuda_cache_advance(p->device, p->stream, &error), error);
    }
    GPU(cudaStreamEndCapture(p->stream, &graph));
    GPU(cudaGraphInstantiate(&step, graph, 0));
    GPU(cudaGraphDestroy(graph));
    return step;
}

static void a_graph_serves_every_step(void **state) {
    (void)state;
    need_gpu();
    static const int kinds[] = {0, 1, 3, 4};
    static const int batches[][3] = {{0, 1, 2}, {2, -1, 0}, {1, 3, 2}, {-1, 3, -1}, {2, 0, 1}};
    pair *p = create_pair(kinds, 4, (size_t)16 << 20, 9);
    const int prompts[] = {70, 3, 129, 64}, all_of_them[] = {0, 1, 2, 3};
    for (int i = 0; i < 4; i++) {
        open_both(p);
    }
    draw_step(p, prompts, 4, 70 + 3 + 129 + 64);
    assert_ok(kvb_cuda_cache_begin(p->device, all_of_them, prompts, 4, 1, p->stream, &error), error);
    queue_layers(p, p->device);
    cpu_append(p, all_of_them, prompts, 4);
    assert_ok(kvb_cuda_cache_commit(p->device, 1, &error), error);
    cpu_commit(p, all_of_them, 4);
    nothing_for_books_is_captured(p);
    cudaGraphExec_t graph = NULL;
    for (int i = 0; i < 60; i++) { /* begin and commit by the host, the rest replayed */
        const int *batch = batches[i % 5];
        int n_new[3], n_rows = 0;
        for (int j = 0; j < 3; j++) {
            n_new[j] = batch[j] < 0 ? 0 : i == 0 ? 2 : 1 + below(p, 2);
            n_rows += n_new[j];
        }
        const kvb_dtype dtype = p->dtype;
        draw_step(p, n_new, 3, n_rows);
        while (graph && p->dtype != dtype) { /* of the rows: the graph has it */
            draw_step(p, n_new, 3, n_rows);
        }
        assert_ok(kvb_cuda_cache_begin(p->device, batch, n_new, 3, 1, p->stream, &error), error);
        graph = graph ? graph : capture(p, 0);
        GPU(cudaGraphLaunch(graph, p->stream));
        cpu_append(p, batch, n_new, 3);
        check_attention(p, batch, 3);
        assert_ok(kvb_cuda_cache_commit(p->device, 1, &error), error);
        cpu_commit(p, batch, 3);
    }
    check_files(p, device_path, cpu_path);
    GPU(cudaGraphExecDestroy(graph));
    /* 40 steps without the host, of 50 that were begun; each appends the same rows. */
    const int n_new[] = {1, 1, 1};
    draw_step(p, n_new, 3, 3);
    assert_ok(kvb_cuda_cache_begin(p->device, batches[0], n_new, 3, 50, p->stream, &error), error);
    graph = capture(p, 1);
    for (int i = 0; i < 40; i++) {
        GPU(cudaGraphLaunch(graph, p->stream));
        cpu_append(p, batches[0], n_new, 3);
        if (i < 39) {
            cpu_commit(p, batches[0], 3);
        }
    }
    check_attention(p, batches[0], 3);
    assert_ok(kvb_cuda_cache_commit(p->device, 40, &error), error);
    cpu_commit(p, batches[0], 3);
    check_files(p, device_path, cpu_path);
    GPU(cudaGraphExecDestroy(graph));
    print_message("graphs: error %.2f of the bound\n", p->worst);
    destroy_pair(p);
    remove_files();
}

/* ---- Files ---- */

static float *results_of(pair *p, kvb_cuda_cache *cache, const int *sequences, const int *n_new, int n, int layer) {
    const size_t bytes = (size_t)(p->q_begin[n] * heads_of(p, layer) * dim_of(p, layer, 1)) * sizeof(float);
    float *out = host_allocate(bytes);
    if (layer == 0) {
        for (int i = 0; i < p->spec.n_layers; i++) {
            GPU(cudaMemset(p->out[i], 0xff,
                           (size_t)(p->q_begin[n] * heads_of(p, i) * dim_of(p, i, 1)) * sizeof(float)));
        }
        GPU(cudaDeviceSynchronize());
        assert_ok(kvb_cuda_cache_begin(cache, sequences, n_new, n, 1, p->stream, &error), error);
        queue_layers(p, cache);
        assert_ok(kvb_cuda_cache_commit(cache, 1, &error), error);
    }
    GPU(cudaStreamSynchronize(p->stream));
    gpu_read(out, p->out[layer], bytes);
    return out;
}

static void load_and_go_on(const int *kinds, int n_layers, uint64_t seed) {
    pair *p = create_pair(kinds, n_layers, (size_t)32 << 20, seed);
    for (int i = 0; i < (gpu_few() ? 20 : 60); i++) {
        (void)operate(p);
    }
    for (int i = 0; i < 3; i++) {
        open_both(p);
    }
    (void)step_both(p, 50);
    check_files(p, device_path, cpu_path);
    kvb_cache *loaded;
    kvb_cuda_cache *uploaded;
    assert_ok(kvb_cache_load(device_path, NULL, NULL, NULL, &loaded, &error), error);
    create_device(p, &uploaded);
    assert_ok(kvb_cuda_cache_upload(uploaded, loaded, p->stream, &error), error);
    int sequences[n_sequences], n_new[n_sequences], n = 0;
    for (int s = 0; s < n_sequences; s++) {
        const int64_t length = kvb_cuda_cache_n_tokens(p->device, s);
        assert_int_equal(kvb_cuda_cache_n_tokens(uploaded, s), length);
        if (length >= 0 && length + 2 <= most_tokens) {
            sequences[n] = s;
            n_new[n++] = 2;
        }
    }
    assert_true(n > 0);
    draw_step(p, n_new, n, 2 * n);
    float *out[most_layers];
    for (int layer = 0; layer < n_layers; layer++) {
        out[layer] = results_of(p, p->device, sequences, n_new, n, layer);
    }
    for (int layer = 0; layer < n_layers; layer++) {
        float *again = results_of(p, uploaded, sequences, n_new, n, layer);
        assert_memory_equal(again, out[layer],
                            (size_t)(p->q_begin[n] * heads_of(p, layer) * dim_of(p, layer, 1)) * sizeof(float));
        free(again);
        free(out[layer]);
    }
    /* And is saved as the same bytes. */
    kvb_cuda_cache *first = p->device;
    cpu_append(p, sequences, n_new, n);
    cpu_commit(p, sequences, n);
    check_files(p, device_path, cpu_path);
    p->device = uploaded;
    check_files(p, device_path, cpu_path);
    kvb_cache_destroy(loaded);
    kvb_cuda_cache_destroy(first);
    destroy_pair(p);
    remove_files();
}

static void a_loaded_cache_goes_on_to_the_bit(void **state) {
    (void)state;
    need_gpu();
    load_and_go_on(all, 12, 21);
    load_and_go_on(half_bits, 3, 22);
}

/* ---- Rows as values ---- */

static float rounded(float x, kvb_dtype dtype) {
    return dtype == KVB_F32   ? x
           : dtype == KVB_F16 ? kvb_f16_to_f32(kvb_f32_to_f16(x))
                              : kvb_bf16_to_f32(kvb_f32_to_bf16(x));
}

/* Of the CPU's cache. */
static void decode_on_cpu(const pair *p, int sequence, int layer, int side, int token, int head, float *row) {
    const kvb_layer_spec *spec = &p->layers[layer];
    const kvb_cache_part *part = kvb_cache_part_of(p->cpu, sequence, layer);
    side = spec->v_prefix_of_k ? 0 : side; /* values are prefixes of the keys' rows */
    const int dim = dim_of(p, layer, side);
    const uint16_t *halves = NULL;
    kvb_kv_view view;
    assert_ok(kvb_cache_view(p->cpu, sequence, layer, &view, &error), error);
    const kvb_codec *codec = side ? view.format->v_codec : view.format->k_codec;
    if (token < spec->exact_first) {
        halves = (const uint16_t *)(side ? view.exact_first_v : view.exact_first_k) +
                 (token * spec->n_kv_heads + head) * dim;
    } else if (token >= part->packed_end) {
        halves = (const uint16_t *)(side ? view.exact_last_v : view.exact_last_k) +
                 (token % spec->exact_last * spec->n_kv_heads + head) * dim;
    } else {
        const void *block = kvb_page_block(view.format, view.pages[token / KVB_CUDA_PAGE_TOKENS], head, side);
        if (codec) {
            const kvb_packed packed = kvb_packed_view(codec, (void *)(uintptr_t)block, KVB_CUDA_PAGE_TOKENS);
            assert_ok(kvb_decode(codec, &packed, (size_t)token % KVB_CUDA_PAGE_TOKENS, 1, KVB_DOMAIN_INPUT, row,
                                 (size_t)dim, &error),
                      error);
            for (int i = 0; i < dim && spec->k_mean && side == 0; i++) {
                row[i] += spec->k_mean[head * dim + i];
            }
            return;
        }
        halves = (const uint16_t *)block + token % KVB_CUDA_PAGE_TOKENS * dim;
    }
    for (int i = 0; i < dim; i++) {
        row[i] = spec->dense == KVB_F16 ? kvb_f16_to_f32(halves[i]) : kvb_bf16_to_f32(halves[i]);
    }
}

static void check_decoded(pair *p, int sequence, int layer, int side, int first, int n, kvb_dtype dtype) {
    const int heads = p->layers[layer].n_kv_heads, dim = dim_of(p, layer, side);
    const size_t values = (size_t)(n * heads * dim);
    void *device = gpu_allocate(values * kvb_dtype_bytes(dtype)), *got = host_allocate(values * kvb_dtype_bytes(dtype));
    assert_ok(kvb_cuda_cache_decode(p->device, layer, side ? KVB_CUDA_V : KVB_CUDA_K, sequence, first, n, device, dtype,
                                    p->stream, &error),
              error);
    GPU(cudaStreamSynchronize(p->stream));
    gpu_read(got, device, values * kvb_dtype_bytes(dtype));
    for (int t = 0; t < n; t++) {
        for (int head = 0; head < heads; head++) {
            float row[KVB_MAX_HEAD_DIM];
            decode_on_cpu(p, sequence, layer, side, first + t, head, row);
            for (int i = 0; i < dim; i++) {
                const size_t at = (size_t)((t * heads + head) * dim + i);
                const float x = dtype == KVB_F32   ? ((float *)got)[at]
                                : dtype == KVB_F16 ? kvb_f16_to_f32(((uint16_t *)got)[at])
                                                   : kvb_bf16_to_f32(((uint16_t *)got)[at]);
                if (x != rounded(row[i], dtype)) {
                    fail_msg("layer %d, side %d, token %d, head %d, coordinate %d: %.9g, not %.9g", layer, side,
                             first + t, head, i, (double)x, (double)rounded(row[i], dtype));
                }
            }
        }
    }
    free(got);
    GPU(cudaFree(device));
}

static void rows_are_those_that_the_cpu_decodes(void **state) {
    (void)state;
    need_gpu();
    enum { n_layers = 11 };
    static const int kinds[n_layers] = {0, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13};
    pair *p = create_pair(kinds, n_layers, (size_t)32 << 20, 31);
    for (int i = 0; i < 2; i++) {
        open_both(p);
    }
    for (int i = 0; i < 8; i++) {
        (void)step_both(p, 60);
    }
    for (int s = 0; s < 2; s++) {
        const int n = (int)kvb_cuda_cache_n_tokens(p->device, s);
        for (int layer = 0; layer < n_layers; layer++) {
            const int gone =
                (int)kvb_cache_part_of(p->cpu, s, layer)->released * KVB_CUDA_PAGE_TOKENS; /* behind a window */
            for (int side = 0; side < 2 && gone < n; side++) {
                check_decoded(p, s, layer, side, gone, n - gone, (kvb_dtype)below(p, 3));
                const int first = gone + below(p, n - gone);
                check_decoded(p, s, layer, side, first, 1 + below(p, n - first), KVB_F32);
            }
            if (gone > 0) {
                assert_int_equal(kvb_cuda_cache_decode(p->device, layer, KVB_CUDA_K, s, gone - 1, 1, p->out[0], KVB_F32,
                                                       p->stream, &error),
                                 gone - 1 < p->layers[layer].exact_first ? KVB_OK : KVB_ERROR_ARGUMENT);
            }
        }
    }
    destroy_pair(p);
}

/* Codes that no layer above has: trellises of all states, every order of Hadamard matrices, searched float scales. */
static void rows_of_every_code(void **state) {
    (void)state;
    need_gpu();
    static const struct {
        int dim, bits, states, half_bit;
    } codes[] = {{64, 2, 8, 0},  {128, 3, 16, 0}, {96, 4, 64, 0}, {256, 6, 256, 0}, {80, 5, 0, 0},    {144, 7, 0, 0},
                 {576, 1, 0, 0}, {112, 8, 0, 0},  {72, 3, 8, 0},  {320, 2, 0, 0},   {512, 5, 16, 0},  {128, 1, 0, 1},
                 {80, 4, 0, 1},  {576, 7, 0, 1},  {96, 2, 64, 1}, {48, 3, 8, 1},    {512, 5, 256, 1}, {32, 4, 16, 1}};
    enum { n = 100, heads = 2 };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        kvb_codec_spec spec = kvb_codec_spec_default(codes[i].dim, codes[i].bits);
        spec.trellis_states = codes[i].states;
        spec.half_bit = codes[i].half_bit;
        spec.scale_dtype = i % 2 ? KVB_F32 : KVB_F16;
        kvb_codec *codec = create_codec(&spec);
        kvb_cuda_layer *layer = gpu_layer(codec, codec, heads, heads);
        gpu_batch batch = gpu_batch_make(layer, 1, n);
        oracle_random random = {i + 1};
        const size_t values = (size_t)(n * heads * codes[i].dim);
        float *rows = normal_rows(values, &random);
        const int32_t begin[] = {0, n};
        const kvb_cuda_rows appended = {.k = gpu_copy(rows, values * sizeof *rows),
                                        .v = gpu_copy(rows, values * sizeof *rows),
                                        .dtype = KVB_F32,
                                        .row_begin = gpu_copy(begin, sizeof begin),
                                        .most_rows = n};
        float *out = gpu_allocate(values * sizeof *out), *got = host_allocate(values * sizeof *got);
        void *block = host_allocate(kvb_codec_block_bytes(codec, n * heads));
        kvb_packed packed = kvb_packed_view(codec, block, n * heads);
        float *expected = host_allocate(values * sizeof *expected);
        assert_ok(kvb_encode(codec, rows, KVB_F32, (size_t)codes[i].dim, n * heads, &packed, 0, NULL, &error), error);
        assert_ok(kvb_decode(codec, &packed, 0, n * heads, KVB_DOMAIN_INPUT, expected, (size_t)codes[i].dim, &error),
                  error);
        assert_ok(kvb_cuda_append(layer, &batch.pages, &appended, NULL, &error), error);
        assert_ok(kvb_cuda_advance(&batch.pages, &appended, NULL, &error), error);
        for (int side = 0; side < 2; side++) {
            GPU(cudaMemset(out, 0xff, values * sizeof *out));
            assert_ok(kvb_cuda_decode(layer, &batch.pages, side ? KVB_CUDA_V : KVB_CUDA_K, 0, 0, n, out, KVB_F32, NULL,
                                      &error),
                      error);
            gpu_read(got, out, values * sizeof *got);
            for (size_t j = 0; j < values; j++) {
                if (got[j] != expected[j]) {
                    fail_msg("%d bits and %d halves, %d states, head_dim %d, side %d: value %zu is %.9g, not %.9g",
                             codes[i].bits, codes[i].half_bit, codes[i].states, codes[i].dim, side, j, (double)got[j],
                             (double)expected[j]);
                }
            }
        }
        GPU(cudaFree((void *)(uintptr_t)appended.k));
        GPU(cudaFree((void *)(uintptr_t)appended.v));
        GPU(cudaFree((void *)(uintptr_t)appended.row_begin));
        GPU(cudaFree(out));
        free(got);
        free(block);
        free(expected);
        free(rows);
        gpu_batch_free(&batch);
        kvb_cuda_layer_destroy(layer);
        kvb_codec_destroy(codec);
    }
}

/* ---- Merging ---- */

static void merging_is_the_softmax_states(void **state) {
    (void)state;
    need_gpu();
    enum { n = 300, dim = 97 };
    oracle_random random = {5};
    for (int dtype = 0; dtype < 3; dtype++) {
        float *out[2], *lse[2];
        void *device[2], *device_lse[2];
        for (int i = 0; i < 2; i++) {
            out[i] = normal_rows(n * dim, &random);
            lse[i] = normal_rows(n, &random);
            for (int row = 0; row < n; row++) {
                lse[i][row] = row % 7 == i || row % 7 == 2 ? -INFINITY : 20 * lse[i][row];
                for (int j = 0; j < dim && row % 7 == i; j++) { /* what an empty state holds is 0 */
                    out[i][row * dim + j] = 0.0f;
                }
            }
            device[i] = gpu_typed(out[i], n * dim, (kvb_dtype)dtype);
            device_lse[i] = gpu_copy(lse[i], n * sizeof(float));
        }
        const size_t bytes = n * dim * kvb_dtype_bytes((kvb_dtype)dtype);
        void *first = host_allocate(bytes), *got = host_allocate(bytes);
        float *got_lse = host_allocate(n * sizeof *got_lse);
        gpu_read(first, device[0], bytes);
        assert_ok(
            kvb_cuda_merge(device[0], device_lse[0], device[1], device_lse[1], (kvb_dtype)dtype, n, dim, NULL, &error),
            error);
        gpu_read(got, device[0], bytes);
        gpu_read(got_lse, device_lse[0], n * sizeof *got_lse);
        for (int row = 0; row < n; row++) {
            if (lse[1][row] == -INFINITY) { /* no bit changes */
                const size_t of_row = bytes / n;
                assert_memory_equal((uint8_t *)got + row * of_row, (uint8_t *)first + row * of_row, of_row);
                assert_true(got_lse[row] == lse[0][row]);
                continue;
            }
            kvb_softmax_state a = {lse[0][row], lse[0][row] == -INFINITY ? 0.0f : 1.0f, out[0] + row * dim};
            const kvb_softmax_state b = {lse[1][row], 1.0f, out[1] + row * dim};
            kvb_softmax_merge(&a, &b, dim);
            const float expected_lse = kvb_softmax_finish(&a, -INFINITY, a.accumulator, dim);
            assert_true(fabsf(got_lse[row] - expected_lse) <= 1e-6f * fmaxf(1.0f, fabsf(expected_lse)));
            for (int j = 0; j < dim; j++) {
                const size_t at = (size_t)(row * dim + j);
                const float x = dtype == KVB_F32   ? ((float *)got)[at]
                                : dtype == KVB_F16 ? kvb_f16_to_f32(((uint16_t *)got)[at])
                                                   : kvb_bf16_to_f32(((uint16_t *)got)[at]);
                const float unit = dtype == KVB_F32 ? 2e-6f : dtype == KVB_F16 ? 6e-4f : 5e-3f;
                assert_true(fabsf(x - a.accumulator[j]) <= unit * fmaxf(1.0f, fabsf(a.accumulator[j])));
            }
        }
        for (int i = 0; i < 2; i++) {
            free(out[i]);
            free(lse[i]);
            GPU(cudaFree(device[i]));
            GPU(cudaFree(device_lse[i]));
        }
        free(first);
        free(got);
        free(got_lse);
    }
}

/* ---- Memory ---- */

static void what_the_device_cannot_hold(void **state) {
    (void)state;
    need_gpu();
    if (gpu_few()) {
        return; /* sanitizers count the refusal as an error */
    }
    const kvb_layer_spec layer = cache_model_layer(0);
    const kvb_cache_spec spec = {
        .layers = &layer, .n_layers = 1, .max_sequences = 1, .max_tokens = 64, .budget = (size_t)1 << 38};
    const int q_heads = 2;
    const kvb_cuda_cache_spec of = {.cache = &spec, .n_q_heads = &q_heads};
    kvb_cuda_cache *cache;
    assert_int_equal(kvb_cuda_cache_create(&of, NULL, &cache, &error), KVB_ERROR_MEMORY);
    assert_string_equal(error.text, "cuda cache, pages: the device has not enough memory left");
    assert_null(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_do_what_the_cpu_does),
        cmocka_unit_test(a_small_pool_is_used_again_and_again),
        cmocka_unit_test(a_graph_serves_every_step),
        cmocka_unit_test(a_loaded_cache_goes_on_to_the_bit),
        cmocka_unit_test(rows_are_those_that_the_cpu_decodes),
        cmocka_unit_test(rows_of_every_code),
        cmocka_unit_test(merging_is_the_softmax_states),
        cmocka_unit_test(what_the_device_cannot_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
