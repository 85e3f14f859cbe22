/* Long prompts through kvb_cuda_cache, chunk by chunk, beside the CPU's cache and double precision: by the kernels for
 * prompts and by the general one, eagerly and as a graph, and split between two caches whose results are merged. Which
 * plans that takes; and the rows of more layers at once than go into one launch. */
#include "gpu_device_cache.h"

#include <limits.h>

static const char device_path[] = "test_cuda_prompts_gpu.kvb", cpu_path[] = "test_cuda_prompts_cpu.kvb";
static kvb_error error;

enum { most_chunk = 120 };

/* A layer that has a kernel for prompts. */
static kvb_layer_spec tuned(void) {
    return kvb_layer_spec_default(2, 128, 4, 4);
}

/* Those that have one, each of a kind of its own; fills `layers`. */
static int tuned_layers(kvb_layer_spec *layers) {
    for (int i = 0; i < 3; i++) {
        layers[i] = tuned();
    }
    layers[1].window = 150;
    layers[2].exact_first = 4;
    layers[2].exact_last = 40;
    return 3;
}

/* And those that have none: one of the first one's kind, a latent one. */
static int mixed_layers(kvb_layer_spec *layers) {
    const int n = tuned_layers(layers);
    layers[n] = kvb_layer_spec_default(2, 64, 4, 7);
    layers[n + 1] = kvb_layer_spec_default(1, 96, 5, 0);
    layers[n + 1].k.rotation = KVB_ROTATION_NONE;
    layers[n + 1].v.head_dim = 64;
    layers[n + 1].v_prefix_of_k = 1;
    layers[n + 1].exact_last = 20;
    return n + 2;
}

static pair *create(int (*layers_of)(kvb_layer_spec *), uint64_t seed) {
    kvb_layer_spec layers[most_layers];
    const int n = layers_of(layers);
    return create_pair_of(layers, n, (size_t)8 << 20, most_chunk, seed);
}

static void open_both(pair *p) {
    int a, b;
    assert_ok(kvb_cuda_cache_open_sequence(p->device, &a, &error), error);
    assert_ok(kvb_cache_open_sequence(p->cpu, &b, &error), error);
    assert_int_equal(a, b);
}

/* ---- What the CPU's cache answers ---- */

/* Of the rows of out and lse from `first` on, which the sequence's last n_q tokens asked for. */
static void check_cpu(const pair *p, int layer, int sequence, int first, int n_q, double bound) {
    const size_t heads = (size_t)heads_of(p, layer), k_dim = (size_t)dim_of(p, layer, 0),
                 v_dim = (size_t)dim_of(p, layer, 1), rows = (size_t)n_q * heads;
    float *got = host_allocate(rows * v_dim * sizeof *got), *out = host_allocate(rows * v_dim * sizeof *out),
          *got_lse = host_allocate(rows * sizeof *got_lse), *lse = host_allocate(rows * sizeof *lse);
    double difference = 0, norm = 0;
    kvb_kv_view view;
    assert_ok(kvb_cache_view(p->cpu, sequence, layer, &view, &error), error);
    const kvb_attend_item item = {.kv = &view,
                                  .n_q = n_q,
                                  .n_heads = (int)heads,
                                  .q = p->q[layer] + (size_t)first * heads * k_dim,
                                  .q_dtype = KVB_F32,
                                  .q_token_stride = heads * k_dim,
                                  .q_head_stride = k_dim,
                                  .scale = 1.0f / sqrtf((float)k_dim),
                                  .out = out,
                                  .out_token_stride = heads * v_dim,
                                  .out_head_stride = v_dim,
                                  .lse = lse,
                                  .precision = KVB_PRECISION_PRECISE};
    const size_t bytes = kvb_attend_scratch_bytes(NULL, &item, 1, NULL);
    void *scratch = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    assert_ok(kvb_attend(NULL, &item, 1, scratch, bytes, NULL, &error), error);
    gpu_read(got, p->out[layer] + (size_t)first * heads * v_dim, rows * v_dim * sizeof *got);
    gpu_read(got_lse, p->lse[layer] + (size_t)first * heads, rows * sizeof *got_lse);
    for (size_t i = 0; i < rows; i++) {
        assert_true(fabsf(got_lse[i] - lse[i]) <= 5e-3f * fmaxf(1.0f, fabsf(lse[i])));
    }
    for (size_t i = 0; i < rows * v_dim; i++) {
        difference += pow((double)got[i] - (double)out[i], 2);
        norm += pow((double)out[i], 2);
    }
    if (!(sqrt(difference / norm) <= bound)) {
        fail_msg("layer %d, %d queries: %g away from the CPU's, above %g", layer, n_q, sqrt(difference / norm), bound);
    }
    free(scratch);
    free(got);
    free(got_lse);
    free(out);
    free(lse);
}

static void check_step(pair *p, const int *sequences, int n) {
    check_attention(p, sequences, n);
    for (int layer = 0; layer < p->spec.n_layers; layer++) {
        for (int i = 0; i < n; i++) {
            if (p->q_begin[i + 1] > p->q_begin[i]) {
                check_cpu(p, layer, sequences[i], p->q_begin[i], p->q_begin[i + 1] - p->q_begin[i], 6e-4);
            }
        }
    }
}

/* ---- Chunks ---- */

static void begin_both(pair *p, const int *sequences, const int *n_new, int n) {
    int n_rows = 0;
    for (int i = 0; i < n; i++) {
        n_rows += n_new[i];
    }
    draw_step(p, n_new, n, n_rows);
    assert_ok(kvb_cuda_cache_begin(p->device, sequences, n_new, n, 1, p->stream, &error), error);
    cpu_append(p, sequences, n_new, n);
}
static void commit_both(pair *p, const int *sequences, int n) {
    assert_ok(kvb_cuda_cache_commit(p->device, 1, &error), error);
    cpu_commit(p, sequences, n);
}

static const int chunks[][2] = {{120, 0}, {100, 119}, {120, 30}, {60, 120}, {1, 1}};
enum { n_chunks = sizeof chunks / sizeof *chunks };

static void run_chunks(int (*layers_of)(kvb_layer_spec *), const char *name, int is_split, uint64_t seed) {
    static const int sequences[] = {0, 1};
    pair *p = create(layers_of, seed);
    p->is_split = is_split;
    open_both(p);
    open_both(p);
    for (int i = 0; i < n_chunks; i += gpu_few() ? 2 : 1) {
        begin_both(p, sequences, chunks[i], 2);
        queue_layers(p, p->device);
        check_step(p, sequences, 2);
        commit_both(p, sequences, 2);
    }
    check_files(p, device_path, cpu_path);
    print_message("%s: error %.2f of the bound\n", name, p->worst);
    (void)unlink(device_path);
    (void)unlink(cpu_path);
    destroy_pair(p);
}

static void chunks_are_as_on_the_cpu(void **state) {
    (void)state;
    need_gpu();
    run_chunks(tuned_layers, "prompts", 0, 41);
    run_chunks(mixed_layers, "prompts and others", 0, 42);
    if (!gpu_few()) {
        run_chunks(tuned_layers, "prompts, split", 1, 43);
    }
}

/* ---- Plans ---- */

/* Bytes of the scratch's i-th part that a plan has written. */
static size_t n_written(const pair *p, int part, int n_parts) {
    const size_t bytes = p->scratch_bytes / (size_t)n_parts;
    uint8_t *got = host_allocate(bytes);
    size_t n = 0;
    GPU(cudaStreamSynchronize(p->stream));
    gpu_read(got, (uint8_t *)p->scratch + (size_t)part * bytes, bytes);
    for (size_t i = 0; i < bytes; i++) {
        n += got[i] != 0xff;
    }
    free(got);
    return n;
}

/* Plans a step of so many new tokens in each of as many sequences as scratch is for, and checks which kinds got one. */
static void check_plans(int (*layers_of)(kvb_layer_spec *), int n_new, const int *is_planned, int n_kinds) {
    static const int sequences[] = {0, 1, -1, -1, -1};
    const int new_tokens[] = {n_new, n_new, 0, 0, 0};
    pair *p = create(layers_of, 44);
    open_both(p);
    open_both(p);
    begin_both(p, sequences, new_tokens, n_sequences);
    kvb_cuda_queries queries = queries_of(p, 0);
    queries.most_queries = n_new;
    assert_int_equal(p->device->n_kinds, n_kinds);
    GPU(cudaFree(p->scratch));
    p->scratch_bytes = kvb_cuda_cache_scratch_bytes(p->device, n_sequences, n_new);
    p->scratch = gpu_allocate(p->scratch_bytes);
    assert_ok(kvb_cuda_cache_plan(p->device, &queries, p->scratch, p->scratch_bytes, p->stream, &error), error);
    for (int kind = 0; kind < n_kinds; kind++) {
        assert_int_equal(n_written(p, kind, n_kinds) > 0, is_planned[kind] || !gpu_has_prompts());
    }
    if (!is_planned[0] && gpu_has_prompts()) { /* a mask that the plan did not know of */
        queries.tree_mask = p->scratch;
        assert_int_equal(kvb_cuda_cache_attend(p->device, 0, &queries, p->scratch, p->scratch_bytes, p->stream, &error),
                         KVB_ERROR_ARGUMENT);
        assert_non_null(strstr(error.text, "tree_mask is given, and the step's plan was made without"));
    }
    queries.tree_mask = NULL;
    queries.scale = NAN; /* is refused with a plan or without */
    assert_int_equal(kvb_cuda_cache_plan(p->device, &queries, p->scratch, p->scratch_bytes, p->stream, &error),
                     KVB_ERROR_ARGUMENT);
    destroy_pair(p);
}

static void plans_are_made_where_they_are_needed(void **state) {
    (void)state;
    need_gpu();
    static const int none[] = {0, 0, 0}, all[] = {1, 1, 1, 1}, some[] = {1, 0, 0, 1};
    check_plans(tuned_layers, most_chunk, none, 3);
    check_plans(tuned_layers, 1, all, 3);
    check_plans(mixed_layers, most_chunk, some, 4);
}

/* A chunk as a graph, replayed as sequences grow and chunks shrink: what its capture chose serves them all. */
static void a_graph_of_a_chunk(void **state) {
    (void)state;
    need_gpu();
    static const int sequences[] = {0, 1}, of_graph[][2] = {{120, 90}, {2, 120}, {1, 1}, {120, 0}};
    pair *p = create(mixed_layers, 45);
    cudaGraphExec_t step = NULL;
    p->is_split = 0;
    open_both(p);
    open_both(p);
    for (int i = 0; i < (gpu_few() ? 3 : 4); i++) {
        const kvb_dtype dtype = p->dtype;
        int n_rows = of_graph[i][0] + of_graph[i][1];
        do { /* the graph has the rows' type */
            draw_step(p, of_graph[i], 2, n_rows);
        } while (step && p->dtype != dtype);
        assert_ok(kvb_cuda_cache_begin(p->device, sequences, of_graph[i], 2, 1, p->stream, &error), error);
        if (!step) {
            cudaGraph_t graph;
            GPU(cudaStreamBeginCapture(p->stream, cudaStreamCaptureModeGlobal));
            queue_layers(p, p->device);
            GPU(cudaStreamEndCapture(p->stream, &graph));
            GPU(cudaGraphInstantiate(&step, graph, 0));
            GPU(cudaGraphDestroy(graph));
        }
        GPU(cudaGraphLaunch(step, p->stream));
        cpu_append(p, sequences, of_graph[i], 2);
        check_step(p, sequences, 2);
        commit_both(p, sequences, 2);
    }
    GPU(cudaGraphExecDestroy(step));
    destroy_pair(p);
}

/* ---- One prompt, two caches ---- */

/* Tokens of `all` are those of `older`, then those of `newer`; the queries of the last n_new ones go to both, and what
 * they found is merged. Two sequences of the device stand for two devices. */
static void attend_apart(pair *p, int older, int newer, int n_new, int32_t *positions) {
    const int batch[] = {older, newer}, q_begin[] = {0, n_new, 2 * n_new};
    const int before = (int)kvb_cuda_cache_n_tokens(p->device, newer) - n_new;
    int32_t where[2 * most_chunk];
    for (int i = 0; i < n_new; i++) {
        where[i] = INT_MAX; /* behind all older tokens */
        where[n_new + i] = before + i;
    }
    gpu_write(positions, where, (size_t)(2 * n_new) * sizeof *where);
    gpu_write(p->q_begin_on_device, q_begin, sizeof q_begin);
    assert_ok(kvb_cuda_cache_begin(p->device, batch, (const int[]){0, 0}, 2, 1, p->stream, &error), error);
    for (int layer = 0; layer < p->spec.n_layers; layer++) {
        const size_t rows = (size_t)(n_new * heads_of(p, layer)), v_dim = (size_t)dim_of(p, layer, 1),
                     q_bytes = rows * (size_t)dim_of(p, layer, 0) * sizeof(float);
        kvb_cuda_queries queries = queries_of(p, layer);
        queries.positions = positions;
        gpu_write((uint8_t *)p->q_on_device[layer] + q_bytes, p->q[layer], q_bytes);
        if (layer == 0) {
            assert_ok(kvb_cuda_cache_plan(p->device, &queries, p->scratch, p->scratch_bytes, p->stream, &error), error);
        }
        assert_ok(kvb_cuda_cache_attend(p->device, layer, &queries, p->scratch, p->scratch_bytes, p->stream, &error),
                  error);
        assert_ok(kvb_cuda_merge(p->out[layer], p->lse[layer], p->out[layer] + rows * v_dim, p->lse[layer] + rows,
                                 KVB_F32, rows, (int)v_dim, p->stream, &error),
                  error);
    }
    assert_ok(kvb_cuda_cache_commit(p->device, 0, &error), error);
}

static void append_only(pair *p, int sequence, int n_new) {
    assert_ok(kvb_cuda_cache_begin(p->device, &sequence, &n_new, 1, 1, p->stream, &error), error);
    append_layers(p, p->device, 0, p->spec.n_layers);
    assert_ok(kvb_cuda_cache_commit(p->device, 1, &error), error);
}

static void a_prompt_between_two_caches(void **state) {
    (void)state;
    need_gpu();
    kvb_layer_spec layers[3] = {tuned()}, mixed[most_layers];
    mixed_layers(mixed);
    layers[1] = mixed[3];
    layers[2] = mixed[4];
    layers[2].exact_last = 0; /* exact rows are the whole's last ones, and not a part's */
    static const int n_older = 119, newer[] = {120, 100, 60};
    pair *p = create_pair_of(layers, 3, (size_t)8 << 20, most_chunk, 46);
    int32_t *positions = gpu_allocate(2 * most_chunk * sizeof *positions);
    const int all = 0;
    p->is_split = 0;
    open_both(p); /* the CPU's has all; the device's two sequences share them out */
    assert_ok(kvb_cuda_cache_open_sequence(p->device, &(int){0}, &error), error);
    draw_step(p, &n_older, 1, n_older);
    append_only(p, 0, n_older);
    cpu_append(p, &all, &n_older, 1);
    cpu_commit(p, &all, 1);
    for (int i = 0; i < (gpu_few() ? 2 : 3); i++) {
        draw_step(p, &newer[i], 1, newer[i]);
        append_only(p, 1, newer[i]);
        cpu_append(p, &all, &newer[i], 1);
        attend_apart(p, 0, 1, newer[i], positions);
        check_step(p, &all, 1);
        cpu_commit(p, &all, 1);
    }
    GPU(cudaFree(positions));
    print_message("two caches, merged: error %.2f of the bound\n", p->worst);
    destroy_pair(p);
}

/* ---- Many layers ---- */

/* The first 39 of 40 layers at once, more than a launch takes: each decodes to its own rows. */
static void rows_of_many_layers(void **state) {
    (void)state;
    need_gpu();
    enum { n_layers = 40, n = 5, dim = 64 };
    kvb_layer_spec layers[n_layers];
    int heads[n_layers], sequence;
    for (int i = 0; i < n_layers; i++) {
        layers[i] = kvb_layer_spec_default(1, dim, KVB_DENSE_BITS, KVB_DENSE_BITS);
        heads[i] = 1;
    }
    const kvb_cache_spec spec = {
        .layers = layers, .n_layers = n_layers, .max_sequences = 1, .max_tokens = 64, .budget = 1 << 20};
    const kvb_cuda_cache_spec of = {.cache = &spec, .n_q_heads = heads};
    kvb_cuda_cache *cache;
    assert_ok(kvb_cuda_cache_create(&of, NULL, &cache, &error), error);
    assert_ok(kvb_cuda_cache_open_sequence(cache, &sequence, &error), error);
    oracle_random random = {47};
    float *rows = normal_rows((size_t)n_layers * 2 * n * dim, &random);
    uint16_t *on_device = gpu_typed(rows, (size_t)n_layers * 2 * n * dim, KVB_F16);
    float *decoded = gpu_allocate(n * dim * sizeof *decoded), got[n * dim];
    const void *k[n_layers], *v[n_layers];
    for (int i = 0; i < n_layers; i++) {
        k[i] = on_device + (size_t)(2 * i) * n * dim;
        v[i] = on_device + (size_t)(2 * i + 1) * n * dim;
    }
    const int n_new = n;
    assert_ok(kvb_cuda_cache_begin(cache, &sequence, &n_new, 1, 1, NULL, &error), error);
    const void *missing = v[n_layers - 1];
    v[n_layers - 1] = NULL;
    assert_int_equal(kvb_cuda_cache_append_layers(cache, 0, n_layers, k, v, KVB_F16, NULL, &error), KVB_ERROR_ARGUMENT);
    assert_string_equal(error.text, "layer 39: cuda rows: v is NULL");
    v[n_layers - 1] = missing;
    assert_ok(kvb_cuda_cache_append_layers(cache, 1, n_layers - 1, k + 1, v + 1, KVB_F16, NULL, &error), error);
    assert_ok(kvb_cuda_cache_append(cache, 0, k[0], v[0], KVB_F16, NULL, &error), error);
    assert_ok(kvb_cuda_cache_commit(cache, 1, &error), error);
    for (int i = 0; i < 2 * n_layers; i++) {
        assert_ok(kvb_cuda_cache_decode(cache, i / 2, i % 2 ? KVB_CUDA_V : KVB_CUDA_K, sequence, 0, n, decoded, KVB_F32,
                                        NULL, &error),
                  error);
        gpu_read(got, decoded, sizeof got);
        assert_memory_equal(got, rows + (size_t)i * n * dim, sizeof got);
    }
    GPU(cudaFree(on_device));
    GPU(cudaFree(decoded));
    free(rows);
    kvb_cuda_cache_destroy(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_are_as_on_the_cpu), cmocka_unit_test(plans_are_made_where_they_are_needed),
        cmocka_unit_test(a_graph_of_a_chunk),       cmocka_unit_test(a_prompt_between_two_caches),
        cmocka_unit_test(rows_of_many_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
