/* A growing cache on the GPU beside the CPU's: the same rows to both, step by step, then equal packed and exact rows,
 * and attention as in double precision on what the CPU's view shows. Behind the prompts, a step is one graph that is
 * replayed, whatever it appends and whoever asks. */
#ifndef KVB_TESTS_GPU_CACHE_H
#define KVB_TESTS_GPU_CACHE_H

#include "gpu.h"

#include <limits.h>
#include <math.h>

enum { n_sequences = 3, most_tokens = 4096, blind = 0x7fffff }; /* a page's number that no pool has */

typedef struct cache_case {
    const char *name;
    int k_bits, v_bits, k_dim, v_dim, n_kv_heads, group;
    int k_states, v_states;                   /* of a trellis; 0: scalar codes */
    int k_half, v_half;                       /* half a bit more */
    int prompt[n_sequences], steps, most_new; /* tokens of a step: 0 to most_new */
    int n_q[n_sequences];                     /* the first is the most */
    kvb_dtype dense, dtype;
    int exact_first, exact_last, spare_slots; /* of the ring */
    int window, has_sinks, has_positions, has_tree;
    float softcap;
    int split, is_general, has_mean;
    int is_latent;  /* values are the first v_dim coordinates of the keys; v_bits is 0 */
    int pages_gone; /* that a window has given back behind the prompts */
    int takes_back; /* so many tokens are appended and taken back before each step's own */
    double bound;   /* of the relative L2 error, docs/cuda.md */
} cache_case;

typedef struct both {
    const cache_case *c;
    oracle_random random;
    /* The CPU's. */
    kvb_cache *cache;
    kvb_codec *codecs[2];
    int sequences[n_sequences], n_tokens[n_sequences];
    float *mean; /* of keys, [KV head][k_dim] */
    /* The GPU's. */
    kvb_cuda_layer *layer;
    gpu_batch batch;
    kvb_cuda_pages pages;
    kvb_cuda_rows rows, guesses;
    kvb_cuda_queries queries;
    int32_t *saved_lengths;
    void *scratch, *planes;
    size_t scratch_bytes;
    cudaStream_t stream;
    cudaGraphExec_t step;
    /* What the last step asked. */
    int q_begin[n_sequences + 1];
    float *q, *sinks;
    int32_t *positions;
    uint8_t *tree;
} both;

static inline int dim_of(const cache_case *c, int side) {
    return side ? c->v_dim : c->k_dim;
}
static inline int heads_of(const cache_case *c) {
    return c->n_kv_heads * c->group;
}
/* That are stored. */
static inline int sides_of(const cache_case *c) {
    return c->is_latent ? 1 : 2;
}
static inline int most_of(int a, int b) {
    return a > b ? a : b;
}
/* Of n_q queries. */
static inline size_t tree_row(int n_q) {
    return ((size_t)n_q + 7) / 8;
}

/* ---- Creation ---- */

static inline void create_cpu(both *b) {
    const cache_case *c = b->c;
    b->mean = normal_rows((size_t)(c->n_kv_heads * c->k_dim), &b->random); /* 1.5 times as large as the keys */
    for (int i = 0; i < c->n_kv_heads * c->k_dim; i++) {
        b->mean[i] *= 1.5f;
    }
    kvb_layer_spec layer = kvb_layer_spec_default(c->n_kv_heads, c->k_dim, c->k_bits, c->v_bits);
    kvb_error error;
    layer.v.head_dim = c->v_dim;
    layer.k.trellis_states = c->k_states;
    layer.v.trellis_states = c->v_states;
    layer.k.half_bit = c->k_half;
    layer.v.half_bit = c->v_half;
    layer.dense = c->dense;
    layer.window = c->window;
    layer.exact_first = c->exact_first;
    layer.exact_last = c->exact_last;
    layer.k_mean = c->has_mean ? b->mean : NULL;
    layer.v_prefix_of_k = c->is_latent;
    layer.k.rotation = c->is_latent ? KVB_ROTATION_NONE : layer.k.rotation;
    const kvb_cache_spec spec = {.layers = &layer,
                                 .n_layers = 1,
                                 .page_tokens = KVB_CUDA_PAGE_TOKENS,
                                 .max_sequences = n_sequences,
                                 .max_tokens = most_tokens,
                                 .budget = (size_t)1 << 28};
    assert_ok(kvb_cache_create(&spec, NULL, NULL, &b->cache, &error), error);
    for (int i = 0; i < n_sequences; i++) {
        assert_ok(kvb_cache_open_sequence(b->cache, &b->sequences[i], &error), error);
    }
    for (int side = 0; side < sides_of(c); side++) {
        const kvb_codec_spec *codec = side ? &layer.v : &layer.k;
        if (codec->bits != KVB_DENSE_BITS) {
            assert_ok(kvb_codec_create(codec, NULL, NULL, &b->codecs[side], &error), error);
        }
    }
}

static inline void *exact_rows(const both *b, int side, int n) {
    return gpu_allocate((size_t)most_of(n, 1) * n_sequences * (size_t)(b->c->n_kv_heads * dim_of(b->c, side)) * 2);
}

static inline void create_gpu(both *b) {
    const cache_case *c = b->c;
    const int heads = heads_of(c), slots = c->exact_last > 0 ? c->exact_last + c->spare_slots : 0;
    kvb_cuda_layer_spec spec = {.k_codec = b->codecs[0],
                                .v_codec = b->codecs[1],
                                .n_kv_heads = c->n_kv_heads,
                                .n_q_heads = heads,
                                .dense = c->dense,
                                .k_mean = c->has_mean ? b->mean : NULL,
                                .k_dim = c->k_dim,
                                .v_dim = c->v_dim,
                                .v_prefix_of_k = c->is_latent};
    kvb_error error;
    int most = 0, total = 0;
    for (int i = 0; i < n_sequences; i++) {
        most = most_of(most, c->prompt[i]);
        total += c->prompt[i];
        assert_true(c->n_q[i] <= c->n_q[0]);
        b->q_begin[i + 1] = b->q_begin[i] + c->n_q[i];
    }
    const int most_prompt = most;
    most += c->steps * c->most_new + c->takes_back;
    assert_ok(kvb_cuda_layer_create(&spec, NULL, &b->layer, &error), error);
    assert_int_equal(kvb_cuda_layer_is_tuned(b->layer), gpu_has_tuned() && !c->is_general);
    b->batch = gpu_batch_make(b->layer, n_sequences, most);
    for (size_t i = 0; i < b->batch.n_pages; i++) { /* pages of exact tokens alone need not be there */
        const int token = (int)(i % b->batch.pages.table_stride) * KVB_CUDA_PAGE_TOKENS;
        if (token + KVB_CUDA_PAGE_TOKENS <= c->exact_first || most_of(token, c->exact_first) >= most - c->exact_last) {
            b->batch.table[i] = blind;
        }
    }
    gpu_write((void *)(uintptr_t)b->batch.pages.table, b->batch.table, b->batch.n_pages * sizeof(int32_t));
    b->pages = b->batch.pages;
    b->pages.exact_first_k = exact_rows(b, 0, c->exact_first);
    b->pages.exact_first_v = c->is_latent ? NULL : exact_rows(b, 1, c->exact_first);
    b->pages.exact_last_k = exact_rows(b, 0, slots);
    b->pages.exact_last_v = c->is_latent ? NULL : exact_rows(b, 1, slots);
    b->pages.exact_first = c->exact_first;
    b->pages.exact_last = c->exact_last;
    b->pages.exact_last_slots = slots;
    const size_t n_rows = (size_t)most_of(total, n_sequences * c->most_new) * (size_t)c->n_kv_heads,
                 n_q = (size_t)b->q_begin[n_sequences] * (size_t)heads;
    b->rows =
        (kvb_cuda_rows){.k = gpu_allocate(n_rows * (size_t)c->k_dim * kvb_dtype_bytes(c->dtype)),
                        .v = c->is_latent ? NULL : gpu_allocate(n_rows * (size_t)c->v_dim * kvb_dtype_bytes(c->dtype)),
                        .dtype = c->dtype,
                        .row_begin = gpu_allocate(sizeof b->q_begin),
                        .most_rows = most_prompt};
    const int guessed[n_sequences + 1] = {0, c->takes_back, 2 * c->takes_back, 3 * c->takes_back};
    const size_t n_guesses = (size_t)(guessed[n_sequences] * c->n_kv_heads) * kvb_dtype_bytes(c->dtype) + 1;
    b->guesses = (kvb_cuda_rows){.k = gpu_allocate(n_guesses * (size_t)c->k_dim), /* NaN */
                                 .v = c->is_latent ? NULL : gpu_allocate(n_guesses * (size_t)c->v_dim),
                                 .dtype = c->dtype,
                                 .row_begin = gpu_copy(guessed, sizeof guessed),
                                 .most_rows = most_of(c->takes_back, 1)};
    b->saved_lengths = gpu_allocate(n_sequences * sizeof(int32_t));
    b->sinks = normal_rows((size_t)heads, &b->random);
    b->queries = (kvb_cuda_queries){
        .q = gpu_allocate(n_q * (size_t)c->k_dim * kvb_dtype_bytes(c->dtype)),
        .out = gpu_allocate(n_q * (size_t)c->v_dim * sizeof(float)),
        .lse = gpu_allocate(n_q * sizeof(float)),
        .q_dtype = c->dtype,
        .out_dtype = KVB_F32,
        .q_begin = gpu_copy(b->q_begin, sizeof b->q_begin),
        .most_queries = c->n_q[0],
        .scale = 1.0f / sqrtf((float)c->k_dim),
        .softcap = c->softcap,
        .window = c->window,
        .sinks = c->has_sinks ? gpu_copy(b->sinks, (size_t)heads * sizeof(float)) : NULL,
        .split_queries = c->split,
        .positions = c->has_positions ? gpu_allocate((size_t)b->q_begin[n_sequences] * sizeof(int32_t)) : NULL,
        .tree_mask = c->has_tree ? gpu_allocate((size_t)b->q_begin[n_sequences] * tree_row(c->n_q[0])) : NULL};
    b->scratch_bytes = kvb_cuda_scratch_bytes(b->layer, n_sequences, c->n_q[0]);
    b->scratch = gpu_allocate(b->scratch_bytes);
    b->planes = gpu_allocate((size_t)most_tokens * KVB_MAX_HEAD_DIM * 2);
    GPU(cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking));
    assert_ok(kvb_cuda_scratch_clear(b->layer, b->scratch, b->scratch_bytes, b->stream, &error), error);
}

static inline void forget_asked(both *b) {
    free(b->q);
    free(b->positions);
    free(b->tree);
}

static inline void destroy(both *b) {
    const void *device[] = {b->pages.exact_first_k,
                            b->pages.exact_first_v,
                            b->pages.exact_last_k,
                            b->pages.exact_last_v,
                            b->rows.k,
                            b->rows.v,
                            b->rows.row_begin,
                            b->guesses.k,
                            b->guesses.v,
                            b->guesses.row_begin,
                            b->saved_lengths,
                            b->queries.q,
                            b->queries.out,
                            b->queries.lse,
                            b->queries.q_begin,
                            b->queries.sinks,
                            b->queries.positions,
                            b->queries.tree_mask,
                            b->scratch,
                            b->planes,
                            b->pages.first_page};
    if (b->step) {
        GPU(cudaGraphExecDestroy(b->step));
    }
    GPU(cudaStreamDestroy(b->stream));
    if (b->pages.first_page) {
        GPU(cudaFree((void *)(uintptr_t)(b->pages.table - b->c->pages_gone)));
    }
    for (size_t i = 0; i < sizeof device / sizeof *device; i++) {
        GPU(cudaFree((void *)(uintptr_t)device[i]));
    }
    forget_asked(b);
    free(b->sinks);
    free(b->mean);
    gpu_batch_free(&b->batch);
    kvb_cuda_layer_destroy(b->layer);
    kvb_codec_destroy(b->codecs[0]);
    kvb_codec_destroy(b->codecs[1]);
    kvb_cache_destroy(b->cache);
}

/* ---- A step ---- */

/* New rows into the CPU's cache and the GPU's buffers. */
static inline void draw_rows(both *b, const int *n_new) {
    const cache_case *c = b->c;
    int begin[n_sequences + 1] = {0};
    void *bytes[2] = {NULL, NULL};
    kvb_error error;
    for (int i = 0; i < n_sequences; i++) {
        begin[i + 1] = begin[i] + n_new[i];
        b->n_tokens[i] += n_new[i];
    }
    const size_t n = (size_t)begin[n_sequences] * (size_t)c->n_kv_heads;
    for (int side = 0; side < sides_of(c); side++) {
        const size_t values = n * (size_t)dim_of(c, side);
        float *rows = normal_rows(values + 1, &b->random);
        for (size_t i = 0; c->has_mean && side == 0 && i < values; i++) {
            rows[i] += b->mean[i % (size_t)(c->n_kv_heads * c->k_dim)];
        }
        bytes[side] = typed(rows, values, c->dtype);
        gpu_write((void *)(uintptr_t)(side ? b->rows.v : b->rows.k), bytes[side], values * kvb_dtype_bytes(c->dtype));
        free(rows);
    }
    gpu_write((void *)(uintptr_t)b->rows.row_begin, begin, sizeof begin);
    for (int i = 0; i < n_sequences; i++) {
        const size_t at = (size_t)begin[i] * (size_t)c->n_kv_heads * kvb_dtype_bytes(c->dtype);
        const kvb_kv_rows rows = {.k = (uint8_t *)bytes[0] + at * (size_t)c->k_dim,
                                  .v = c->is_latent ? NULL : (uint8_t *)bytes[1] + at * (size_t)c->v_dim,
                                  .dtype = c->dtype,
                                  .n_tokens = n_new[i]};
        assert_ok(kvb_cache_append(b->cache, b->sequences[i], 0, &rows, &error), error);
    }
    free(bytes[0]);
    free(bytes[1]);
}

/* From the first token that is left, blind ones and those of tokens yet to come among them. */
static inline int32_t draw_position(both *b, int n_tokens) {
    const int first = b->pages.first_page ? b->c->pages_gone * KVB_CUDA_PAGE_TOKENS + b->c->window : 0;
    switch (oracle_next(&b->random) >> 40 & 7) {
    case 0:
        return -1;
    case 1:
        return INT32_MIN;
    case 2:
        return INT32_MAX;
    case 3:
        return n_tokens + (int)(oracle_next(&b->random) >> 40 & 63);
    case 4:
        return n_tokens - 1;
    default:
        return first + (int)((double)(n_tokens - first) * oracle_uniform(&b->random));
    }
}

static inline void draw_queries(both *b) {
    const cache_case *c = b->c;
    const size_t n = (size_t)b->q_begin[n_sequences], values = n * (size_t)(heads_of(c) * c->k_dim),
                 row = tree_row(c->n_q[0]);
    forget_asked(b);
    b->q = normal_rows(values, &b->random);
    void *bytes = typed(b->q, values, c->dtype);
    gpu_write((void *)(uintptr_t)b->queries.q, bytes, values * kvb_dtype_bytes(c->dtype));
    free(bytes);
    b->positions = host_allocate(n * sizeof *b->positions);
    b->tree = host_allocate(n * row);
    for (int i = 0; i < n_sequences; i++) {
        for (int j = b->q_begin[i]; j < b->q_begin[i + 1]; j++) {
            b->positions[j] = draw_position(b, b->n_tokens[i]);
            for (size_t k = 0; k < row; k++) { /* some rows are all zeros */
                b->tree[(size_t)j * row + k] = j % 5 == 4 ? 0 : (uint8_t)(oracle_next(&b->random) >> 40);
            }
        }
    }
    if (c->has_positions) {
        gpu_write((void *)(uintptr_t)b->queries.positions, b->positions, n * sizeof *b->positions);
    }
    if (c->has_tree) {
        gpu_write((void *)(uintptr_t)b->queries.tree_mask, b->tree, n * row);
    }
    GPU(cudaMemset(b->queries.out, 0xff, n * (size_t)(heads_of(c) * c->v_dim) * sizeof(float)));
    GPU(cudaMemset(b->queries.lse, 0xff, n * (size_t)heads_of(c) * sizeof(float)));
    GPU(cudaDeviceSynchronize());
}

static inline void attend(const both *b, const kvb_cuda_pages *pages) {
    kvb_error error;
    assert_ok(kvb_cuda_attend_plan(b->layer, pages, &b->queries, b->scratch, b->scratch_bytes, b->stream, &error),
              error);
    assert_ok(kvb_cuda_attend(b->layer, pages, &b->queries, b->scratch, b->scratch_bytes, b->stream, &error), error);
}

static inline void queue_step(const both *b) {
    kvb_error error;
    if (b->c->takes_back) {
        const size_t bytes = n_sequences * sizeof(int32_t);
        GPU(cudaMemcpyAsync(b->saved_lengths, b->pages.lengths, bytes, cudaMemcpyDeviceToDevice, b->stream));
        assert_ok(kvb_cuda_append(b->layer, &b->pages, &b->guesses, b->stream, &error), error);
        assert_ok(kvb_cuda_advance(&b->pages, &b->guesses, b->stream, &error), error);
        GPU(cudaMemcpyAsync(b->pages.lengths, b->saved_lengths, bytes, cudaMemcpyDeviceToDevice, b->stream));
    }
    assert_ok(kvb_cuda_append(b->layer, &b->pages, &b->rows, b->stream, &error), error);
    assert_ok(kvb_cuda_advance(&b->pages, &b->rows, b->stream, &error), error);
    attend(b, &b->pages);
}

static inline void replay_step(both *b) {
    if (!b->step) {
        cudaGraph_t graph;
        GPU(cudaStreamBeginCapture(b->stream, cudaStreamCaptureModeGlobal));
        queue_step(b);
        GPU(cudaStreamEndCapture(b->stream, &graph));
        GPU(cudaGraphInstantiate(&b->step, graph, 0));
        GPU(cudaGraphDestroy(graph));
    }
    GPU(cudaGraphLaunch(b->step, b->stream));
}

/* The first pages leave the table; who looks for them reads where no memory is. */
static inline void give_pages_back(both *b) {
    const int gone = b->c->pages_gone;
    int32_t *table = host_allocate(b->batch.n_pages * sizeof *table), first[n_sequences] = {gone, gone, gone};
    memcpy(table, b->batch.table, b->batch.n_pages * sizeof *table);
    for (size_t i = 0; i < n_sequences; i++) {
        for (int j = 0; j < gone; j++) {
            table[i * b->pages.table_stride + (size_t)j] = blind;
        }
    }
    b->pages.table = (int32_t *)gpu_copy(table, b->batch.n_pages * sizeof *table) + gone;
    b->pages.first_page = gpu_copy(first, sizeof first);
    free(table);
}

#endif
