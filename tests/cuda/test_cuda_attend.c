/* Attention on the GPU against double precision on the decoded rows; a graph that is replayed as the cache grows; equal
 * bits of two runs. */
#include "gpu.h"

#include <math.h>

typedef struct attend_case {
    int k_bits, v_bits, head_dim, n_kv_heads, group, n_q;
    int lengths[3]; /* of three sequences, with the new tokens */
    float scale_by; /* of 1 / sqrt(head_dim): 1 is flat, 4 is peaked */
    float softcap;
    int window, sinks, split;
    kvb_dtype dtype;
    double bound;                /* of the relative L2 error, docs/cuda.md */
    int is_general;              /* no tuned kernel serves it */
    int v_dim, k_float, v_float; /* 0: head_dim; float scales */
    int uniform_v;               /* V's levels are uniform, K's are the library's */
    int pages_gone;              /* that a window has given back, of all sequences */
    int k_states, v_states;      /* of a trellis; 0: scalar codes */
    int k_half, v_half;          /* half a bit more */
    int is_prompt;               /* the kernel for many queries serves it */
    int is_plain;                /* no rotation: head_dims below 32 */
    int is_latent;               /* values are the first v_dim coordinates of the keys */
} attend_case;

static size_t dim_of(const attend_case *c, int side) {
    return (size_t)(side && c->v_dim ? c->v_dim : c->head_dim);
}

static double width_of(const attend_case *c, int side) {
    return side ? c->v_bits + 0.5 * c->v_half : c->k_bits + 0.5 * c->k_half;
}

enum { n_sequences = 3 };

typedef struct setup {
    const attend_case *c;
    kvb_codec *codecs[2];
    kvb_cuda_layer *layer;
    gpu_batch batch;
    float *rows[2]; /* [row][KV head][dim], as stored: rounded to dtype */
    int row_begin[n_sequences + 1];
    void *device[2], *row_begin_device;
    float *q, *sinks;
    void *q_device, *out_device, *lse_device, *scratch;
    float *sinks_device;
    int32_t *first_page;
    size_t scratch_bytes, n_out, n_lse;
} setup;

static setup set_up(const attend_case *c, oracle_random *random) {
    setup s = {.c = c};
    int most = 0;
    for (int i = 0; i < n_sequences; i++) {
        s.row_begin[i + 1] = s.row_begin[i] + c->lengths[i];
        most = c->lengths[i] > most ? c->lengths[i] : most;
    }
    const size_t n = (size_t)s.row_begin[n_sequences] * (size_t)c->n_kv_heads,
                 heads = (size_t)(c->n_kv_heads * c->group);
    for (int side = 0; side < (c->is_latent ? 1 : 2); side++) {
        kvb_codec_spec spec = kvb_codec_spec_default((int)dim_of(c, side), side ? c->v_bits : c->k_bits);
        float levels[KVB_MAX_LEVELS];
        kvb_error error;
        spec.scale_dtype = (side ? c->v_float : c->k_float) ? KVB_F32 : KVB_F16;
        spec.trellis_states = side ? c->v_states : c->k_states;
        spec.rotation = c->is_plain ? KVB_ROTATION_NONE : spec.rotation;
        spec.half_bit = side ? c->v_half : c->k_half;
        spec.rotation = c->is_latent ? KVB_ROTATION_NONE : spec.rotation;
        if (side && c->uniform_v) {
            oracle_uniform_levels(spec.bits, 0.25, levels);
            spec.centroids = levels;
        }
        assert_ok(kvb_codec_create(&spec, NULL, NULL, &s.codecs[side], &error), error);
        s.rows[side] = normal_rows(n * dim_of(c, side), random);
        s.device[side] = gpu_typed(s.rows[side], n * dim_of(c, side), c->dtype);
    }
    s.layer = c->is_latent ? gpu_latent_layer(s.codecs[0], c->v_dim, c->n_kv_heads, (int)heads)
                           : gpu_layer(s.codecs[0], s.codecs[1], c->n_kv_heads, (int)heads);
    assert_int_equal(kvb_cuda_layer_is_tuned(s.layer), gpu_has_tuned() && !c->is_general);
    s.batch = gpu_batch_make(s.layer, n_sequences, most);
    s.row_begin_device = gpu_copy(s.row_begin, sizeof s.row_begin);
    const size_t rows = (size_t)n_sequences * (size_t)c->n_q;
    s.n_lse = rows * heads;
    s.n_out = s.n_lse * dim_of(c, 1);
    s.q = normal_rows(s.n_lse * dim_of(c, 0), random);
    s.q_device = gpu_typed(s.q, s.n_lse * dim_of(c, 0), c->dtype);
    s.out_device = gpu_allocate(s.n_out * sizeof(float));
    s.lse_device = gpu_allocate(s.n_lse * sizeof(float));
    s.sinks = normal_rows(heads, random);
    s.sinks_device = gpu_copy(s.sinks, heads * sizeof(float));
    const int32_t gone[n_sequences] = {c->pages_gone, c->pages_gone, c->pages_gone};
    s.first_page = gpu_copy(gone, sizeof gone);
    s.scratch_bytes = kvb_cuda_scratch_bytes(s.layer, n_sequences, c->n_q);
    assert_true(s.scratch_bytes > 0);
    s.scratch = gpu_allocate(s.scratch_bytes);
    kvb_error error;
    assert_ok(kvb_cuda_scratch_clear(s.layer, s.scratch, s.scratch_bytes, NULL, &error), error);
    return s;
}

static void tear_down(setup *s) {
    GPU(cudaDeviceSynchronize());
    for (int side = 0; side < 2; side++) {
        kvb_codec_destroy(s->codecs[side]);
        free(s->rows[side]);
        GPU(cudaFree(s->device[side]));
    }
    void *device[] = {s->row_begin_device, s->q_device,     s->out_device, s->lse_device,
                      s->scratch,          s->sinks_device, s->first_page};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++) {
        GPU(cudaFree(device[i]));
    }
    free(s->q);
    free(s->sinks);
    gpu_batch_free(&s->batch);
    kvb_cuda_layer_destroy(s->layer);
}

static kvb_cuda_queries queries_of(const setup *s) {
    return (kvb_cuda_queries){.q = s->q_device,
                              .out = s->out_device,
                              .lse = s->lse_device,
                              .q_dtype = s->c->dtype,
                              .out_dtype = KVB_F32,
                              .most_queries = s->c->n_q,
                              .scale = s->c->scale_by / sqrtf((float)s->c->head_dim),
                              .softcap = s->c->softcap,
                              .window = s->c->window,
                              .sinks = s->c->sinks ? s->sinks_device : NULL,
                              .split_queries = s->c->split};
}

static void append_all(const setup *s, cudaStream_t stream) {
    kvb_cuda_rows rows = {
        .k = s->device[0], .v = s->device[1], .dtype = s->c->dtype, .row_begin = s->row_begin_device, .most_rows = 1};
    kvb_error error;
    for (int i = 0; i < n_sequences; i++) {
        rows.most_rows = s->c->lengths[i] > rows.most_rows ? s->c->lengths[i] : rows.most_rows;
    }
    assert_ok(kvb_cuda_append(s->layer, &s->batch.pages, &rows, stream, &error), error);
    assert_ok(kvb_cuda_advance(&s->batch.pages, &rows, stream, &error), error);
}

static void attend(const setup *s, cudaStream_t stream) {
    kvb_cuda_queries queries = queries_of(s);
    kvb_error error;
    kvb_cuda_pages pages = s->batch.pages;
    if (s->c->pages_gone) { /* the same table, without its first entries */
        pages.table += s->c->pages_gone;
        pages.first_page = s->first_page;
    }
    if (kvb_cuda_attend_needs_plan(s->layer, &pages, &queries)) {
        assert_ok(kvb_cuda_attend_plan(s->layer, &pages, &queries, s->scratch, s->scratch_bytes, stream, &error),
                  error);
    }
    assert_ok(kvb_cuda_attend(s->layer, &pages, &queries, s->scratch, s->scratch_bytes, stream, &error), error);
}

/* The first `n` rows of a sequence's KV head, encoded and decoded by the CPU. */
static float *decoded(const setup *s, int side, int sequence, int head, int n) {
    if (side && s->c->is_latent) {
        float *rows = decoded(s, 0, sequence, head, n);
        for (size_t i = 0; i < (size_t)n * dim_of(s->c, 1); i++) { /* none moves up */
            rows[i] = rows[i / dim_of(s->c, 1) * dim_of(s->c, 0) + i % dim_of(s->c, 1)];
        }
        return rows;
    }
    const size_t d = dim_of(s->c, side), stride = d * (size_t)s->c->n_kv_heads;
    float *rows = host_allocate((size_t)n * d * sizeof *rows);
    void *block = host_allocate(kvb_codec_block_bytes(s->codecs[side], (size_t)n));
    kvb_packed packed = kvb_packed_view(s->codecs[side], block, (size_t)n);
    kvb_error error;
    assert_ok(kvb_encode(s->codecs[side], s->rows[side] + (size_t)s->row_begin[sequence] * stride + (size_t)head * d,
                         KVB_F32, stride, (size_t)n, &packed, 0, NULL, &error),
              error);
    assert_ok(kvb_decode(s->codecs[side], &packed, 0, (size_t)n, KVB_DOMAIN_INPUT, rows, d, &error), error);
    free(block);
    return rows;
}

/* One query in double precision over tokens [from, n); returns the log-sum-exp. */
static double attend_exactly(const setup *s, const float *q, const float *k, const float *v, int from, int n,
                             const float *sink, double *out) {
    const int d = s->c->head_dim, v_dim = (int)dim_of(s->c, 1);
    double *logits = host_allocate((size_t)(n + 1) * sizeof *logits), top = sink ? (double)*sink : -INFINITY, sum;
    for (int t = from; t < n; t++) {
        double dot = 0;
        for (int i = 0; i < d; i++) {
            dot += (double)q[i] * (double)k[(size_t)t * (size_t)d + (size_t)i];
        }
        dot *= (double)(s->c->scale_by / sqrtf((float)d));
        logits[t] = s->c->softcap > 0 ? (double)s->c->softcap * tanh(dot / (double)s->c->softcap) : dot;
        top = logits[t] > top ? logits[t] : top;
    }
    sum = sink ? exp((double)*sink - top) : 0.0;
    for (int i = 0; i < v_dim; i++) {
        out[i] = 0;
    }
    for (int t = from; t < n; t++) {
        const double weight = exp(logits[t] - top);
        sum += weight;
        for (int i = 0; i < v_dim; i++) {
            out[i] += weight * (double)v[(size_t)t * (size_t)v_dim + (size_t)i];
        }
    }
    for (int i = 0; i < v_dim; i++) {
        out[i] /= sum;
    }
    free(logits);
    return top + log(sum);
}

/* Sequence s has lengths[s] tokens now. */
static void check(const setup *s, const int *lengths) {
    const attend_case *c = s->c;
    const int d = c->head_dim, heads = c->n_kv_heads * c->group;
    const size_t v_dim = dim_of(c, 1);
    float *out = host_allocate(s->n_out * sizeof *out), *lse = host_allocate(s->n_lse * sizeof *lse);
    double *exact = host_allocate(v_dim * sizeof *exact), difference = 0, norm = 0;
    gpu_read(out, s->out_device, s->n_out * sizeof *out);
    gpu_read(lse, s->lse_device, s->n_lse * sizeof *lse);
    for (int i = 0; i < n_sequences; i++) {
        for (int h = 0; h < heads; h++) {
            float *k = decoded(s, 0, i, h / c->group, lengths[i]), *v = decoded(s, 1, i, h / c->group, lengths[i]);
            for (int j = 0; j < c->n_q; j++) {
                const size_t row = (size_t)(i * c->n_q + j) * (size_t)heads + (size_t)h;
                const int end = lengths[i] - c->n_q + j + 1,
                          from = c->window > 0 && end > c->window ? end - c->window : 0;
                const double log_sum =
                    attend_exactly(s, s->q + row * (size_t)d, k, v, from, end, c->sinks ? &s->sinks[h] : NULL, exact);
                for (size_t x = 0; x < v_dim; x++) {
                    const double off = (double)out[row * v_dim + x] - exact[x];
                    difference += off * off;
                    norm += exact[x] * exact[x];
                }
                if (!(fabs((double)lse[row] - log_sum) < 1e-2)) {
                    fail_msg("K %g V %g bits x %d: log-sum-exp of sequence %d, head %d, query %d is %g, not %g",
                             width_of(c, 0), width_of(c, 1), d, i, h, j, (double)lse[row], log_sum);
                }
            }
            free(k);
            free(v);
        }
    }
    const double error = sqrt(difference / norm), bound = gpu_bound(c->bound);
    print_message("%s: K %g V %g bits x %d, %d heads, group %d, %d queries, logits x %g: error %.2e (bound %.1e)\n",
                  kvb_cuda_layer_is_tuned(s->layer) ? "tuned" : "general", width_of(c, 0), width_of(c, 1), d,
                  c->n_kv_heads, c->group, c->n_q, (double)c->scale_by, error, bound);
    if (!(error <= bound)) {
        fail_msg("K %g V %g bits x %d: error %g is above %g", width_of(c, 0), width_of(c, 1), d, error, bound);
    }
    free(out);
    free(lse);
    free(exact);
}

/* What the general kernel serves, in floats; trellis codes of both sides. */
#define GENERAL .bound = 1e-5, .is_general = 1
#define STATES(k, v) .k_states = (k), .v_states = (v)

static const attend_case cases[] = {
    {4, 4, 128, 2, 4, 1, {1, 333, 4097}, 1, 0, 0, 0, 0, KVB_F32, .bound = 5e-4},
    {4, 4, 128, 2, 4, 1, {64, 700, 5000}, 4, 0, 0, 0, 0, KVB_F16, .bound = 1.5e-3},
    {4, 4, 128, 2, 4, 1, {64, 700, 5000}, 1, 0, 0, 0, 1, KVB_F16, .bound = 3e-4},
    {4, 4, 128, 1, 8, 5, {5, 130, 1111}, 1, 20, 100, 1, 0, KVB_BF16, .bound = 5e-4},
    {4, 4, 128, 1, 11, 3, {63, 65, 640}, 1, 0, 0, 1, 0, KVB_F32, .bound = 5e-4}, /* more than eight heads */
    {6, 4, 128, 3, 1, 1, {77, 1024, 2048}, 1, 0, 0, 0, 0, KVB_BF16, .bound = 5e-4},
    {8, 8, 128, 2, 2, 2, {2, 129, 900}, 1, 0, 64, 0, 0, KVB_F32, .bound = 5e-4},
    {3, 3, 64, 3, 3, 1, {15, 257, 3000}, 1, 0, 0, 0, 0, KVB_F16, .bound = 5e-4},
    {5, 5, 256, 2, 2, 1, {100, 511, 2500}, 1, 0, 0, 0, 0, KVB_F32, .bound = 5e-4},
    {4, 4, 96, 2, 4, 1, {9, 400, 1500}, 1, 0, 0, 0, 0, KVB_F32, .bound = 5e-4}, /* a Hadamard matrix of order 12 */
    {4, 4, 128, 2, 4, 2, {700, 333, 901}, 1, 0, 110, 0, 0, KVB_F32, .bound = 5e-4, .pages_gone = 3},
    {4, 4, 192, 1, 4, 1, {700, 333, 901}, 1, 0, 0, 0, 0, KVB_BF16, .bound = 5e-4, .v_dim = 128},
    /* So long that every ring is refilled, by warps that share pages two by two and four by four. */
    {4, 4, 128, 1, 2, 1, {90000, 1, 64}, 1, 0, 0, 0, 0, KVB_BF16, .bound = 1.5e-3},
    {8, 8, 128, 1, 2, 1, {60000, 100, 7000}, 1, 0, 0, 0, 0, KVB_BF16, .bound = 1.5e-3},
    /* Of so many heads that a ring goes through more pages than it looks up at once, on 132 multiprocessors too. */
    {8, 8, 128, 44, 1, 1, {4600, 4600, 4600}, 1, 0, 0, 0, 0, KVB_BF16, .bound = 1.5e-3},
    /* The general kernel, in floats. */
    {4, 7, 128, 2, 4, 1, {1, 333, 1500}, 1, 0, 0, 0, 0, KVB_F32, GENERAL},
    {4, 4, 128, 2, 3, 2, {64, 65, 1111}, 4, 0, 0, 0, 1, KVB_F16, GENERAL, .k_float = 1, .v_float = 1},
    {4, 4, 128, 1, 11, 3, {63, 640, 130}, 1, 20, 100, 1, 0, KVB_BF16, GENERAL, .v_float = 1},
    {4, 4, 128, 2, 2, 1, {15, 257, 900}, 1, 0, 0, 0, 0, KVB_F32, GENERAL, .uniform_v = 1},
    {8, 1, 576, 1, 5, 1, {77, 600, 222}, 1, 0, 0, 0, 0, KVB_F32, GENERAL, .v_dim = 512},
    {5, 3, 40, 3, 1, 4, {9, 400, 505}, 1, 0, 70, 1, 0, KVB_F32, GENERAL, .v_dim = 72},
    {2, 6, 320, 2, 2, 1, {100, 511, 640}, 1, 0, 64, 0, 0, KVB_F16, GENERAL},
    {7, 2, 80, 2, 2, 1, {200, 511, 640}, 1, 0, 60, 0, 0, KVB_F16, GENERAL, .pages_gone = 2},
    {6, 8, 8, 2, 1, 1, {33, 300, 640}, 1, 0, 0, 0, 0, KVB_F32, GENERAL, .v_dim = 24, .is_plain = 1},
    {3, 5, 192, 1, 8, 1, {33, 300, 2000}, 1, 0, 0, 0, 0, KVB_BF16, GENERAL, .v_dim = 384},
    {8, 8, 576, 1, 8, 1, {33, 300, 700}, 1, 0, 0, 0, 0, KVB_BF16, GENERAL, .k_float = 1}, /* not all copies of levels */
};

/* Trellis codes: by tuned kernels where there are few states, and by the general one. */
static const attend_case trellis_cases[] = {
    {2, 2, 128, 2, 4, 1, {1, 333, 4097}, 1, 0, 0, 0, 0, KVB_F32, .bound = 5e-4, STATES(16, 16)},
    {2, 2, 128, 1, 8, 2, {64, 700, 1000}, 4, 0, 0, 0, 0, KVB_BF16, .bound = 1.5e-3, STATES(8, 8)},
    {3, 3, 128, 2, 4, 1, {64, 700, 5000}, 4, 0, 0, 0, 0, KVB_F16, .bound = 1.5e-3, STATES(16, 16)},
    {3, 3, 128, 2, 3, 1, {15, 65, 640}, 1, 0, 0, 1, 1, KVB_F16, .bound = 3e-4, STATES(8, 8)},
    {4, 4, 128, 1, 8, 5, {5, 130, 1111}, 1, 20, 100, 1, 0, KVB_BF16, .bound = 5e-4, STATES(16, 16)},
    {4, 4, 128, 1, 11, 3, {63, 65, 640}, 1, 0, 0, 1, 1, KVB_F32, .bound = 3e-4, STATES(8, 8)},
    {2, 2, 128, 1, 2, 1, {90000, 1, 64}, 1, 0, 0, 0, 0, KVB_BF16, .bound = 1.5e-3, STATES(16, 16)},
    {3, 3, 128, 1, 2, 1, {90000, 1, 64}, 1, 0, 0, 0, 0, KVB_BF16, .bound = 1.5e-3, STATES(16, 16)},
    {4, 4, 128, 1, 2, 1, {90000, 1, 64}, 1, 0, 0, 0, 0, KVB_BF16, .bound = 1.5e-3, STATES(16, 16)},
    {5, 5, 128, 2, 4, 1, {1, 333, 4097}, 1, 0, 0, 0, 0, KVB_F32, .bound = 5e-4, STATES(16, 16)},
    {5, 5, 128, 1, 8, 5, {5, 130, 1111}, 1, 20, 100, 1, 1, KVB_BF16, .bound = 3e-4, STATES(8, 8)},
    {6, 6, 128, 2, 4, 1, {64, 700, 5000}, 4, 0, 0, 0, 0, KVB_F16, .bound = 1.5e-3, STATES(16, 16)},
    {6, 6, 128, 1, 11, 3, {63, 65, 640}, 1, 0, 0, 1, 1, KVB_F32, .bound = 3e-4, STATES(8, 8)},
    {5, 5, 128, 1, 2, 1, {90000, 1, 64}, 1, 0, 0, 0, 0, KVB_BF16, .bound = 1.5e-3, STATES(16, 16)},
    {6, 6, 128, 1, 2, 1, {90000, 1, 64}, 1, 0, 0, 0, 0, KVB_BF16, .bound = 1.5e-3, STATES(16, 16)},
    {5, 3, 128, 2, 4, 1, {64, 700, 5000}, 1, 0, 0, 0, 0, KVB_F16, .bound = 5e-4, STATES(16, 16)},
    {5, 3, 128, 1, 5, 2, {63, 65, 640}, 4, 0, 100, 0, 1, KVB_F32, .bound = 3e-4, STATES(8, 16)},
    {6, 4, 128, 2, 4, 1, {64, 700, 5000}, 1, 0, 0, 1, 0, KVB_BF16, .bound = 5e-4, STATES(16, 8)},
    {6, 4, 128, 1, 7, 3, {63, 65, 640}, 1, 20, 0, 0, 1, KVB_F16, .bound = 3e-4, STATES(8, 16)},
    {4, 4, 256, 2, 2, 1, {100, 511, 2500}, 1, 0, 0, 0, 0, KVB_F32, .bound = 5e-4, STATES(16, 16)},
    {4, 4, 256, 1, 8, 2, {64, 700, 1000}, 1, 0, 0, 0, 1, KVB_BF16, .bound = 3e-4, STATES(8, 8)},
    {3, 3, 128, 2, 2, 1, {77, 1024, 300}, 1, 0, 0, 0, 0, KVB_F32, GENERAL, STATES(64, 64)},
    {6, 5, 96, 2, 4, 1, {9, 400, 700}, 1, 0, 0, 0, 0, KVB_F32, GENERAL, STATES(16, 256)},
    {5, 4, 40, 3, 1, 4, {9, 400, 505}, 1, 0, 70, 1, 0, KVB_F32, GENERAL, .v_dim = 72, .k_states = 8},
    {7, 6, 256, 1, 5, 1, {77, 200, 222}, 1, 0, 0, 0, 0, KVB_F16, GENERAL, .v_states = 16},
    {2, 3, 576, 1, 3, 1, {77, 100, 222}, 1, 0, 64, 0, 0, KVB_BF16, GENERAL, .v_dim = 512, STATES(256, 8), .k_float = 1},
    /* Runs so short that the state is of several lanes. */
    {3, 4, 16, 2, 2, 1, {77, 100, 300}, 1, 0, 0, 0, 0, KVB_F32, GENERAL, .v_dim = 24, STATES(256, 64), .is_plain = 1},
    {6, 2, 24, 1, 8, 1, {77, 100, 300}, 1, 0, 0, 0, 0, KVB_F32, GENERAL, .v_dim = 8, STATES(64, 256), .is_plain = 1},
};

/* Half a bit: the general kernel, whatever has tuned ones at whole bits. */
#define HALVES(k, v) .k_half = (k), .v_half = (v)
static const attend_case half_cases[] = {
    {4, 4, 128, 2, 4, 1, {1, 333, 900}, 1, 0, 0, 0, 0, KVB_F32, GENERAL, HALVES(1, 1)},
    {3, 3, 128, 2, 4, 1, {64, 257, 15}, 4, 0, 0, 0, 1, KVB_F16, GENERAL, HALVES(1, 1)},
    {6, 4, 128, 1, 8, 2, {63, 300, 130}, 1, 0, 0, 1, 0, KVB_BF16, GENERAL, HALVES(0, 1)},
    {4, 4, 256, 2, 2, 1, {100, 511, 64}, 1, 20, 100, 1, 0, KVB_F32, GENERAL, HALVES(1, 0)},
    {7, 1, 576, 1, 3, 1, {77, 200, 222}, 1, 0, 64, 0, 0, KVB_F16, GENERAL, HALVES(1, 1), .v_dim = 512, .k_float = 1},
    {5, 2, 48, 3, 1, 4, {9, 200, 305}, 1, 0, 70, 1, 0, KVB_F32, GENERAL, HALVES(1, 1), .v_dim = 80},
    {2, 6, 96, 2, 2, 1, {200, 311, 240}, 1, 0, 60, 0, 0, KVB_F16, GENERAL, HALVES(1, 1), .pages_gone = 2},
    {5, 3, 128, 2, 4, 1, {1, 333, 500}, 1, 0, 0, 0, 0, KVB_F32, GENERAL, HALVES(1, 1), STATES(16, 16)},
    {4, 2, 112, 1, 11, 3, {63, 65, 240}, 1, 0, 0, 1, 0, KVB_BF16, GENERAL, HALVES(1, 1), STATES(8, 256), .v_dim = 48},
    {6, 5, 96, 2, 4, 1, {9, 300, 200}, 4, 0, 0, 0, 0, KVB_F32, GENERAL, HALVES(0, 1), STATES(64, 8)},
    {3, 7, 320, 1, 4, 1, {9, 300, 200}, 1, 0, 0, 0, 0, KVB_F32, GENERAL, HALVES(1, 1), STATES(256, 0)},
    {4, 4, 128, 2, 4, 70, {70, 133, 90}, 1, 0, 0, 0, 0, KVB_F32, GENERAL, HALVES(1, 1)}, /* no kernel for prompts */
};

/* Values that are prefixes of keys: what is tuned where values lie apart, groups beyond a tile of columns. */
#define LATENT(dim) .v_dim = (dim), .is_latent = 1
static const attend_case latent_cases[] = {
    {4, 0, 576, 1, 16, 1, {1, 333, 700}, 1, 0, 0, 0, 0, KVB_BF16, GENERAL, LATENT(512)},
    {8, 0, 576, 1, 11, 2, {63, 130, 222}, 1, 20, 100, 1, 1, KVB_F16, GENERAL, LATENT(512)},
    {5, 0, 96, 2, 3, 2, {64, 65, 1111}, 4, 0, 0, 1, 0, KVB_F32, GENERAL, LATENT(64)},
    {4, 0, 128, 2, 4, 1, {15, 257, 900}, 1, 0, 0, 0, 0, KVB_F32, GENERAL, LATENT(128)},
    {4, 0, 128, 2, 4, 70, {70, 90, 200}, 1, 0, 0, 0, 0, KVB_F16, GENERAL, LATENT(128)},
    {1, 0, 72, 3, 1, 4, {300, 257, 290}, 1, 0, 60, 0, 0, KVB_F32, GENERAL, LATENT(8), .pages_gone = 3, .k_float = 1},
    {3, 0, 96, 2, 12, 1, {77, 200, 300}, 1, 0, 0, 0, 0, KVB_F32, GENERAL, LATENT(64), .k_states = 16},
    {6, 0, 576, 1, 9, 1, {77, 100, 222}, 1, 0, 64, 1, 0, KVB_BF16, GENERAL, LATENT(512), .k_states = 256},
};

/* Prompts: more columns than one block of threads has, tiles that some queries see and others do not; pages shared by
 * the blocks of a cluster, but for the one with eight heads. */
static const attend_case prompts[] = {
    {4, 4, 128, 2, 4, 70, {70, 333, 500}, 1, 0, 0, 0, 0, KVB_F32, .bound = 5e-4, .is_prompt = 1},
    {4, 4, 128, 2, 4, 99, {99, 640, 257}, 4, 0, 0, 1, 0, KVB_F16, .bound = 1.5e-3, .is_prompt = 1},
    {4, 4, 128, 2, 4, 90, {90, 333, 500}, 1, 0, 0, 0, 1, KVB_F16, .bound = 3e-4, .is_prompt = 1},
    {8, 8, 128, 1, 7, 100, {100, 129, 777}, 1, 20, 90, 1, 0, KVB_BF16, .bound = 5e-4, .is_prompt = 1},
    {6, 4, 128, 4, 1, 137, {700, 500, 901}, 1, 0, 120, 0, 0, KVB_F32, .bound = 5e-4, .is_prompt = 1, .pages_gone = 1},
    {1, 1, 128, 2, 8, 80, {80, 257, 640}, 1, 0, 0, 0, 0, KVB_F32, .bound = 5e-4, .is_prompt = 1},
    {3, 3, 64, 3, 3, 70, {300, 257, 70}, 1, 0, 0, 0, 0, KVB_BF16, .bound = 5e-4, .is_prompt = 1},
    {5, 4, 64, 2, 4, 80, {80, 257, 640}, 1, 0, 0, 0, 1, KVB_F32, .bound = 3e-4, .is_prompt = 1},
    {4, 4, 256, 2, 4, 70, {70, 333, 500}, 1, 0, 0, 0, 0, KVB_F32, .bound = 5e-4, .is_prompt = 1},
    {8, 4, 256, 2, 4, 75, {90, 333, 500}, 1, 9, 100, 1, 0, KVB_BF16, .bound = 5e-4, .is_prompt = 1},
    {4, 3, 256, 3, 2, 130, {130, 257, 640}, 1, 0, 0, 0, 1, KVB_F16, .bound = 3e-4, .is_prompt = 1},
    {2, 2, 128, 2, 4, 90, {90, 333, 500}, 1, 0, 0, 1, 0, KVB_F32, .bound = 5e-4, STATES(16, 16), .is_prompt = 1},
    {3, 3, 128, 2, 4, 120, {120, 333, 500}, 1, 0, 0, 0, 1, KVB_F16, .bound = 3e-4, STATES(8, 8), .is_prompt = 1},
    {4, 4, 128, 2, 4, 70, {70, 333, 500}, 1, 9, 100, 0, 0, KVB_F32, .bound = 5e-4, STATES(16, 16), .is_prompt = 1},
    {4, 4, 128, 8, 4, 200, {200, 333, 250}, 1, 0, 0, 0, 0, KVB_BF16, .bound = 5e-4, .is_prompt = 1},
    {4, 4, 96, 2, 4, 90, {90, 333, 500}, 1, 0, 0, 0, 0, KVB_F32, .bound = 5e-4, .is_prompt = 1},
    {6, 4, 96, 2, 4, 90, {90, 333, 500}, 1, 0, 80, 0, 1, KVB_F16, .bound = 3e-4, .is_prompt = 1},
    {6, 4, 192, 2, 4, 90, {90, 333, 500}, 1, 0, 0, 1, 0, KVB_F32, .bound = 5e-4, .is_prompt = 1},
    {8, 8, 192, 2, 4, 90, {90, 333, 500}, 1, 0, 0, 0, 0, KVB_BF16, .bound = 5e-4, .is_prompt = 1, .v_dim = 128},
    {5, 5, 128, 2, 4, 90, {90, 333, 500}, 1, 0, 0, 1, 0, KVB_F32, .bound = 5e-4, STATES(16, 16), .is_prompt = 1},
    {6, 4, 128, 2, 4, 99, {99, 257, 640}, 1, 0, 0, 0, 1, KVB_BF16, .bound = 3e-4, STATES(8, 16), .is_prompt = 1},
    {4, 4, 256, 2, 4, 70, {70, 333, 500}, 1, 0, 0, 0, 0, KVB_F16, .bound = 5e-4, STATES(16, 16), .is_prompt = 1},
    {4, 4, 80, 2, 4, 90, {90, 333, 500}, 1, 0, 0, 0, 0, KVB_F32, .bound = 5e-4}, /* has no such kernel */
};

/* `table`: its letter in KVB_CUDA_CASES. */
static void check_all(const attend_case *all, size_t n, char table, uint64_t seed) {
    need_gpu();
    oracle_random random = {.state = seed};
    for (size_t i = 0; i < n; i++) {
        if ((gpu_few() && all[i].lengths[0] * all[i].n_kv_heads > 10000) || !gpu_wants(table, i)) {
            continue;
        }
        setup s = set_up(&all[i], &random);
        const kvb_cuda_queries queries = queries_of(&s);
        assert_int_equal(kvb_cuda_attend_needs_plan(s.layer, &s.batch.pages, &queries),
                         !(all[i].is_prompt && gpu_has_prompts()));
        append_all(&s, NULL);
        attend(&s, NULL);
        check(&s, all[i].lengths);
        tear_down(&s);
    }
}

static void attention_is_close_to_double_precision(void **state) {
    (void)state;
    check_all(cases, sizeof cases / sizeof *cases, 'c', 5);
}

static void trellis_codes_too(void **state) {
    (void)state;
    check_all(trellis_cases, sizeof trellis_cases / sizeof *trellis_cases, 't', 8);
}

static void half_bits_too(void **state) {
    (void)state;
    check_all(half_cases, sizeof half_cases / sizeof *half_cases, 'h', 10);
}

static void latent_layers_too(void **state) {
    (void)state;
    check_all(latent_cases, sizeof latent_cases / sizeof *latent_cases, 'l', 10);
}

static void prompts_too(void **state) {
    (void)state;
    check_all(prompts, sizeof prompts / sizeof *prompts, 'p', 9);
}
static void check_two_runs(const attend_case *c) {
    oracle_random random = {.state = 6};
    setup s = set_up(c, &random);
    float *first = host_allocate(s.n_out * sizeof *first), *second = host_allocate(s.n_out * sizeof *second);
    append_all(&s, NULL);
    attend(&s, NULL);
    gpu_read(first, s.out_device, s.n_out * sizeof *first);
    GPU(cudaMemset(s.out_device, 0xff, s.n_out * sizeof *first));
    attend(&s, NULL);
    gpu_read(second, s.out_device, s.n_out * sizeof *first);
    assert_memory_equal(first, second, s.n_out * sizeof *first);
    free(first);
    free(second);
    tear_down(&s);
}
static void two_runs_give_equal_bits(void **state) {
    (void)state;
    need_gpu();
    check_two_runs(&cases[0]);
    check_two_runs(&prompts[1]);
}

/* One step, captured once: append a token to each sequence, count it, plan, attend. */
static void a_graph_follows_a_growing_cache(void **state) {
    (void)state;
    need_gpu();
    enum { steps = 70, prompt = 60 };
    static const attend_case c = {4, 4, 128, 2, 4, 1,       {prompt + steps, prompt + steps, prompt + steps},
                                  1, 0, 0,   0, 0, KVB_F32, .bound = 5e-4};
    oracle_random random = {.state = 7};
    setup s = set_up(&c, &random);
    const size_t row = (size_t)c.n_kv_heads * (size_t)c.head_dim * sizeof(float);
    int32_t prompt_begin[n_sequences + 1], step_begin[n_sequences + 1];
    uint8_t *k_step = gpu_allocate(row * n_sequences), *v_step = gpu_allocate(row * n_sequences);
    kvb_error error;
    for (int i = 0; i <= n_sequences; i++) {
        prompt_begin[i] = i * prompt;
        step_begin[i] = i;
    }
    /* The prompts, from the beginnings of the sequences' rows. */
    uint8_t *k_prompt = gpu_allocate(row * prompt * n_sequences), *v_prompt = gpu_allocate(row * prompt * n_sequences);
    for (size_t i = 0; i < n_sequences; i++) {
        GPU(cudaMemcpy(k_prompt + i * prompt * row, (uint8_t *)s.device[0] + i * (prompt + steps) * row, prompt * row,
                       cudaMemcpyDeviceToDevice));
        GPU(cudaMemcpy(v_prompt + i * prompt * row, (uint8_t *)s.device[1] + i * (prompt + steps) * row, prompt * row,
                       cudaMemcpyDeviceToDevice));
    }
    kvb_cuda_rows rows = {.k = k_prompt,
                          .v = v_prompt,
                          .dtype = KVB_F32,
                          .row_begin = gpu_copy(prompt_begin, sizeof prompt_begin),
                          .most_rows = prompt};
    assert_ok(kvb_cuda_append(s.layer, &s.batch.pages, &rows, NULL, &error), error);
    assert_ok(kvb_cuda_advance(&s.batch.pages, &rows, NULL, &error), error);
    GPU(cudaDeviceSynchronize());
    kvb_cuda_rows one = {.k = k_step,
                         .v = v_step,
                         .dtype = KVB_F32,
                         .row_begin = gpu_copy(step_begin, sizeof step_begin),
                         .most_rows = 1};
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    GPU(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    GPU(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    assert_ok(kvb_cuda_append(s.layer, &s.batch.pages, &one, stream, &error), error);
    assert_ok(kvb_cuda_advance(&s.batch.pages, &one, stream, &error), error);
    attend(&s, stream);
    GPU(cudaStreamEndCapture(stream, &graph));
    GPU(cudaGraphInstantiate(&replay, graph, 0));
    for (int step = 0; step < steps; step++) {
        for (size_t i = 0; i < n_sequences; i++) {
            const size_t at = (i * (prompt + steps) + prompt + (size_t)step) * row;
            GPU(cudaMemcpyAsync(k_step + i * row, (uint8_t *)s.device[0] + at, row, cudaMemcpyDeviceToDevice, stream));
            GPU(cudaMemcpyAsync(v_step + i * row, (uint8_t *)s.device[1] + at, row, cudaMemcpyDeviceToDevice, stream));
        }
        GPU(cudaGraphLaunch(replay, stream));
        GPU(cudaStreamSynchronize(stream));
        if (step % 23 == 0 || step == steps - 1) {
            const int lengths[n_sequences] = {prompt + step + 1, prompt + step + 1, prompt + step + 1};
            check(&s, lengths);
        }
    }
    GPU(cudaGraphExecDestroy(replay));
    GPU(cudaGraphDestroy(graph));
    GPU(cudaStreamDestroy(stream));
    void *device[] = {k_step, v_step, k_prompt, v_prompt, (void *)rows.row_begin, (void *)one.row_begin};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++) {
        GPU(cudaFree(device[i]));
    }
    tear_down(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_is_close_to_double_precision),
        cmocka_unit_test(trellis_codes_too),
        cmocka_unit_test(half_bits_too),
        cmocka_unit_test(latent_layers_too),
        cmocka_unit_test(prompts_too),
        cmocka_unit_test(two_runs_give_equal_bits),
        cmocka_unit_test(a_graph_follows_a_growing_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
