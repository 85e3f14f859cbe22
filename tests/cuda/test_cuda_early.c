/* Attention that starts while the work before it still runs (kvb_cuda_queries.starts_early): what that work writes late
 * is waited for. Queries that attention in another layer writes, and pages and exact tokens that an append writes, are
 * poisoned before; each order of work is queued many times, as its kernels must meet while both run. */
#include "gpu.h"

#include <math.h>

enum { kv_heads = 8, q_heads = 32, dim = 128, repeats = 60 };

static kvb_error error;

/* One sequence of n_old tokens, which gets n_new, and a query at its end. */
typedef struct early_case {
    const char *name;
    int bits, n_old, n_new, exact_last;
    int split, is_graph;
} early_case;

static const early_case cases[] = {
    {"whole pages", 4, 640, 64, 0, 0, 0},     {"few bits, a graph", 2, 640, 64, 0, 0, 1},
    {"one token", 4, 640, 1, 0, 0, 0},        {"many bits, longer, a graph", 8, 6400, 64, 0, 0, 1},
    {"split queries", 4, 640, 64, 0, 1, 0},   {"exact tokens leave", 4, 740, 64, 100, 0, 0},
    {"no tuned kernel", 7, 640, 64, 0, 0, 0}, // beside values of 4 bits
};

typedef struct early {
    const early_case *c;
    kvb_codec *codecs[2];
    kvb_cuda_layer *layer;
    gpu_batch batch;
    kvb_cuda_pages before, after; /* lengths without the new tokens, and with them */
    kvb_cuda_rows old_rows, new_rows;
    kvb_cuda_queries first, then; /* `then` asks with what `first` answers */
    void *scratch;
    size_t scratch_bytes, n_out;
    cudaStream_t stream;
    float *out[2];
} early;

static const void *rows_of(int n, oracle_random *random) {
    float *rows = normal_rows((size_t)n * kv_heads * dim, random);
    const void *device = gpu_typed(rows, (size_t)n * kv_heads * dim, KVB_BF16);
    free(rows);
    return device;
}

static kvb_cuda_rows new_rows_of(int n, oracle_random *random) {
    const int32_t begin[2] = {0, n};
    return (kvb_cuda_rows){.k = rows_of(n, random),
                           .v = rows_of(n, random),
                           .dtype = KVB_BF16,
                           .row_begin = gpu_copy(begin, sizeof begin),
                           .most_rows = n};
}

static kvb_cuda_queries queries_of(const early_case *c, const void *q, void *out) {
    return (kvb_cuda_queries){.q = q,
                              .out = out,
                              .q_dtype = KVB_F32,
                              .out_dtype = KVB_F32,
                              .most_queries = 1,
                              .scale = 1.0f / sqrtf(dim),
                              .split_queries = c->split};
}

static early set_up(const early_case *c) {
    oracle_random random = {.state = 9};
    early e = {.c = c, .n_out = (size_t)q_heads * dim};
    const int32_t lengths[2] = {c->n_old, c->n_old + c->n_new};
    for (int side = 0; side < 2; side++) {
        const kvb_codec_spec spec = kvb_codec_spec_default(dim, side && c->bits == 7 ? 4 : c->bits);
        assert_ok(kvb_codec_create(&spec, NULL, NULL, &e.codecs[side], &error), error);
    }
    e.layer = gpu_layer_of((kvb_cuda_layer_spec){.k_codec = e.codecs[0],
                                                 .v_codec = e.codecs[1],
                                                 .n_kv_heads = kv_heads,
                                                 .n_q_heads = q_heads,
                                                 .dense = c->exact_last ? KVB_BF16 : 0});
    assert_int_equal(kvb_cuda_layer_is_tuned(e.layer), gpu_has_tuned() && c->bits != 7);
    e.batch = gpu_batch_make(e.layer, 1, lengths[1]);
    e.before = e.after = e.batch.pages;
    if (c->exact_last) {
        const size_t slots = (size_t)c->exact_last + (size_t)c->n_new, bytes = slots * kv_heads * dim * 2;
        e.before.exact_last = c->exact_last, e.before.exact_last_slots = (int)slots;
        e.before.exact_last_k = gpu_allocate(bytes), e.before.exact_last_v = gpu_allocate(bytes);
        e.after = e.before;
    }
    e.after.lengths = gpu_copy(&lengths[1], sizeof *lengths);
    e.old_rows = new_rows_of(c->n_old, &random);
    e.new_rows = new_rows_of(c->n_new, &random);
    float *q = normal_rows(e.n_out, &random);
    for (int i = 0; i < 2; i++) {
        e.out[i] = gpu_allocate(e.n_out * sizeof(float));
    }
    e.first = queries_of(c, gpu_copy(q, e.n_out * sizeof *q), e.out[0]);
    e.then = queries_of(c, e.out[0], e.out[1]);
    free(q);
    e.scratch_bytes = kvb_cuda_scratch_bytes(e.layer, 1, 1);
    e.scratch = gpu_allocate(e.scratch_bytes);
    GPU(cudaStreamCreateWithFlags(&e.stream, cudaStreamNonBlocking));
    assert_ok(kvb_cuda_scratch_clear(e.layer, e.scratch, e.scratch_bytes, e.stream, &error), error);
    assert_ok(kvb_cuda_append(e.layer, &e.before, &e.old_rows, e.stream, &error), error);
    GPU(cudaStreamSynchronize(e.stream));
    gpu_write(e.before.lengths, &lengths[0], sizeof *lengths);
    assert_ok(kvb_cuda_attend_plan(e.layer, &e.after, &e.first, e.scratch, e.scratch_bytes, e.stream, &error), error);
    return e;
}

static void tear_down(early *e) {
    GPU(cudaDeviceSynchronize());
    const void *device[] = {e->old_rows.k,
                            e->old_rows.v,
                            e->old_rows.row_begin,
                            e->new_rows.k,
                            e->new_rows.v,
                            e->new_rows.row_begin,
                            e->first.q,
                            e->out[0],
                            e->out[1],
                            e->scratch,
                            e->before.exact_last_k,
                            e->before.exact_last_v,
                            e->after.lengths};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++) {
        GPU(cudaFree((void *)device[i]));
    }
    GPU(cudaStreamDestroy(e->stream));
    gpu_batch_free(&e->batch);
    kvb_cuda_layer_destroy(e->layer);
    kvb_codec_destroy(e->codecs[0]);
    kvb_codec_destroy(e->codecs[1]);
}

/* Poisons what the new tokens go to, and the results. */
static void poison(const early *e) {
    const int first = e->c->n_old - e->c->exact_last, page = first / KVB_CUDA_PAGE_TOKENS;
    const size_t bytes = kvb_cuda_layer_page_bytes(e->layer);
    assert_int_equal(first % KVB_CUDA_PAGE_TOKENS, 0);
    for (int i = page; i * KVB_CUDA_PAGE_TOKENS < e->c->n_old + e->c->n_new - e->c->exact_last; i++) {
        GPU(cudaMemsetAsync((uint8_t *)e->after.pool + (size_t)e->batch.table[i] * bytes, 0xff, bytes, e->stream));
    }
    for (int i = 0; i < 2; i++) {
        GPU(cudaMemsetAsync(e->out[i], 0xff, e->n_out * sizeof(float), e->stream));
    }
}

/* Appends, asks, and asks with the answer. */
static void run(early *e, int starts_early) {
    poison(e);
    e->first.starts_early = e->then.starts_early = starts_early;
    assert_ok(kvb_cuda_append(e->layer, &e->before, &e->new_rows, e->stream, &error), error);
    assert_ok(kvb_cuda_attend(e->layer, &e->after, &e->first, e->scratch, e->scratch_bytes, e->stream, &error), error);
    assert_ok(kvb_cuda_attend(e->layer, &e->after, &e->then, e->scratch, e->scratch_bytes, e->stream, &error), error);
}

static cudaGraphExec_t captured(early *e) {
    cudaGraph_t graph;
    cudaGraphExec_t all;
    GPU(cudaStreamSynchronize(e->stream));
    GPU(cudaStreamBeginCapture(e->stream, cudaStreamCaptureModeGlobal));
    run(e, e->c->n_new);
    GPU(cudaStreamEndCapture(e->stream, &graph));
    GPU(cudaGraphInstantiate(&all, graph, 0));
    GPU(cudaGraphDestroy(graph));
    return all;
}

static void check(const early_case *c) {
    early e = set_up(c);
    const size_t bytes = e.n_out * sizeof(float);
    float *expected[2], *got = host_allocate(bytes);
    run(&e, 0);
    for (int i = 0; i < 2; i++) {
        expected[i] = host_allocate(bytes);
        gpu_read(expected[i], e.out[i], bytes);
        assert_true(isfinite(expected[i][0]) && isfinite(expected[i][e.n_out - 1]));
    }
    cudaGraphExec_t graph = c->is_graph ? captured(&e) : NULL;
    for (int n = gpu_few() ? repeats - 2 : 0; n < repeats; n++) {
        if (graph) {
            GPU(cudaGraphLaunch(graph, e.stream));
        } else {
            run(&e, c->n_new);
        }
        for (int i = 0; i < 2; i++) {
            gpu_read(got, e.out[i], bytes);
            if (memcmp(got, expected[i], bytes) != 0) {
                fail_msg("%s: answer %d of round %d differs from that of work one after another", c->name, i, n);
            }
        }
    }
    if (graph) {
        GPU(cudaGraphExecDestroy(graph));
    }
    for (int i = 0; i < 2; i++) {
        free(expected[i]);
    }
    free(got);
    tear_down(&e);
}

static void what_is_written_late_is_waited_for(void **state) {
    (void)state;
    need_gpu();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (gpu_wants('e', i)) {
            check(&cases[i]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_written_late_is_waited_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
