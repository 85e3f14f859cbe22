/* What is measured on a GPU. */
#include "gpu.h"

/* Where nothing else was asked for; of appended tokens too. */
static const kvb_bench_pair usual[] = {{8, 8}, {6, 6}, {5, 5}, {6, 4}, {4, 4}, {3, 3}, {2, 2}};
enum { N_USUAL = sizeof usual / sizeof usual[0], APPENDED = 8192, TRELLIS_STATES = 16 };

typedef struct batch {
    int n, kv_len;
    char shape; /* 0: all */
} batch;

typedef struct cases {
    kvb_bench_device *device;
    batch batches[KVB_BENCH_LIST * KVB_BENCH_LIST];
    int n_batches;
} cases;

static void list_batches(const kvb_bench_config *config, cases *all) {
    static const batch usual_ones[] = {{16, 32768, 0}, {1, 131072, 'B'}, {1, 32768, 'B'}};
    for (int i = 0; i < 3 && config->n_batches == 0; i++)
        all->batches[all->n_batches++] = usual_ones[i];
    for (int b = 0; b < config->n_batches; b++)
        for (int l = 0; l < config->n_kv_lens; l++)
            all->batches[all->n_batches++] = (batch){config->batches[b], config->kv_lens[l], 0};
}

/* Pages of a batch, also where its lengths are mixed. */
static size_t pages_of(int n, int kv_len) {
    return (size_t)n * ((size_t)kv_len / KVB_CUDA_PAGE_TOKENS + 2);
}

static size_t most_pages(const kvb_bench_config *config, const cases *all) {
    size_t most = config->work & KVB_BENCH_PREFILL ? pages_of(1, config->prefill_tokens) : 1;
    for (int i = 0; i < all->n_batches; i++) {
        const size_t n = pages_of(all->batches[i].n, all->batches[i].kv_len);
        most = n > most ? n : most;
    }
    return most;
}

static kvb_status add_batches(const cases *all, const kvb_bench_shape *shape, kvb_bench_pair bits, int states,
                              kvb_error *error) {
    const kvb_bench_config *config = all->device->suite->config;
    kvb_status status = KVB_OK;
    for (int i = 0; i < all->n_batches; i++)
        for (int p = 0; p < config->n_precisions && status == KVB_OK; p++) {
            const batch *b = &all->batches[i];
            const kvb_bench_gpu_case c = {.shape = *shape,
                                          .bits = bits,
                                          .states = states,
                                          .precision = config->precisions[p],
                                          .batch = b->n,
                                          .kv_len = b->kv_len,
                                          .queries = 1};
            if (!b->shape || b->shape == shape->name)
                status = kvb_bench_gpu_add_attend(all->device, &c, error);
        }
    return status;
}

static kvb_status add_if_tuned(const cases *all, const kvb_bench_shape *shape, kvb_bench_pair bits, int states,
                               int *found, kvb_error *error) {
    kvb_cuda_layer *layer = NULL;
    kvb_status status = kvb_bench_gpu_layer(all->device, shape, bits, states, &layer, error);
    if (status != KVB_OK || !kvb_cuda_layer_is_tuned(layer))
        return status;
    *found = 1;
    return add_batches(all, shape, bits, states, error);
}

/* Every pair that has a tuned kernel; on devices where none has, the usual ones. */
static kvb_status add_tuned(const cases *all, const kvb_bench_shape *shape, kvb_error *error) {
    const int asked = all->device->suite->config->trellis_states;
    kvb_status status = KVB_OK;
    int found = 0;
    for (int k = KVB_MAX_BITS; k >= 1; k--)
        for (int v = k; v >= 1 && status == KVB_OK; v--)
            status = add_if_tuned(all, shape, (kvb_bench_pair){k, v}, 0, &found, error);
    for (int k = KVB_MAX_TRELLIS_BITS; k >= KVB_MIN_TRELLIS_BITS; k--)
        for (int v = k; v >= KVB_MIN_TRELLIS_BITS && status == KVB_OK; v--)
            status = add_if_tuned(all, shape, (kvb_bench_pair){k, v}, asked ? asked : TRELLIS_STATES, &found, error);
    for (int i = 0; i < N_USUAL && !found && status == KVB_OK; i++)
        status = add_batches(all, shape, usual[i], 0, error);
    return status;
}

/* Of the first shape, 4/4 where that is among the pairs: what else can befall a batch, and a pair of the general
 * kernel. */
static kvb_status add_variants(const cases *all, kvb_bench_pair bits, kvb_error *error) {
    static const char *const variants[] = {"scattered", "tail", "window", "mixed"};
    const kvb_bench_config *config = all->device->suite->config;
    const batch *largest = all->batches, *last = &all->batches[all->n_batches - 1];
    kvb_bench_gpu_case c = {.shape = config->shapes[0],
                            .bits = bits,
                            .states = config->n_pairs ? config->trellis_states : 0,
                            .batch = largest->n,
                            .kv_len = largest->kv_len,
                            .queries = 1};
    kvb_status status = KVB_OK;
    for (int i = 0; i < 4 && status == KVB_OK; i++) {
        c.variant = variants[i];
        c.plans = i == 0; /* the order of pages is no matter to it */
        status = kvb_bench_gpu_add_attend(all->device, &c, error);
    }
    c.variant = NULL;
    c.plans = 0;
    c.precision = KVB_PRECISION_PRECISE;
    if (status == KVB_OK && config->n_precisions == 1 && config->precisions[0] == KVB_PRECISION_FAST)
        status = kvb_bench_gpu_add_attend(all->device, &c, error);
    c.plans = 1;
    c.precision = KVB_PRECISION_FAST;
    c.batch = last->n;
    c.kv_len = last->kv_len;
    c.bits = (kvb_bench_pair){4, 7};
    c.states = 0;
    return status == KVB_OK ? kvb_bench_gpu_add_attend(all->device, &c, error) : status;
}

/* No shape before it has the same keys and values. */
static int is_first(const kvb_bench_config *config, int shape) {
    for (int s = 0; s < shape; s++)
        if (config->shapes[s].n_kv_heads == config->shapes[shape].n_kv_heads &&
            config->shapes[s].head_dim == config->shapes[shape].head_dim)
            return 0;
    return 1;
}

static kvb_status add_appends(const cases *all, const kvb_bench_shape *shape, kvb_error *error) {
    const kvb_bench_config *config = all->device->suite->config;
    const int n = config->n_pairs ? config->n_pairs : N_USUAL + KVB_MAX_TRELLIS_BITS - KVB_MIN_TRELLIS_BITS + 1;
    kvb_status status = KVB_OK;
    for (int i = 0; i < n; i++)
        for (int t = 0; t < 2 && status == KVB_OK; t++) {
            const int is_path = !config->n_pairs && i >= N_USUAL; /* the trellis codes that have tuned kernels */
            const int of_path = KVB_MIN_TRELLIS_BITS + i - N_USUAL;
            const kvb_bench_pair bits = config->n_pairs ? config->pairs[i]
                                        : is_path       ? (kvb_bench_pair){of_path, of_path}
                                                        : usual[i];
            const int states = is_path && !config->trellis_states ? TRELLIS_STATES : config->trellis_states;
            status = kvb_bench_gpu_add_append(all->device, shape, bits, states, t ? APPENDED : 1, error);
        }
    return status;
}

static kvb_bench_pair reference(const kvb_bench_config *config) {
    for (int i = 0; i < config->n_pairs; i++)
        if (config->pairs[i].k_bits == 4 && config->pairs[i].v_bits == 4)
            return config->pairs[i];
    return config->n_pairs ? config->pairs[0] : (kvb_bench_pair){4, 4};
}

static kvb_status add_attention(const cases *all, kvb_error *error) {
    const kvb_bench_config *config = all->device->suite->config;
    kvb_status status = KVB_OK;
    for (int s = 0; s < config->n_shapes && status == KVB_OK; s++) {
        if (config->n_pairs == 0)
            status = add_tuned(all, &config->shapes[s], error);
        for (int i = 0; i < config->n_pairs && status == KVB_OK; i++)
            status = add_batches(all, &config->shapes[s], config->pairs[i], config->trellis_states, error);
    }
    return status == KVB_OK ? add_variants(all, reference(config), error) : status;
}

static kvb_status add_prefill(const cases *all, kvb_error *error) {
    const kvb_bench_config *config = all->device->suite->config;
    const kvb_bench_gpu_case c = {.shape = config->shapes[0],
                                  .bits = reference(config),
                                  .states = config->n_pairs ? config->trellis_states : 0,
                                  .batch = 1,
                                  .kv_len = config->prefill_tokens,
                                  .queries = config->prefill_queries};
    return kvb_bench_gpu_add_attend(all->device, &c, error);
}

/* The new rows of all shapes: as many as the largest one asks for. */
static kvb_status make_rows(kvb_bench_device *device, kvb_error *error) {
    const kvb_bench_config *config = device->suite->config;
    kvb_status status = KVB_OK;
    size_t n = 0;
    for (int s = 0; s < config->n_shapes; s++) {
        const size_t values = (size_t)config->shapes[s].n_kv_heads * (size_t)config->shapes[s].head_dim * APPENDED;
        n = values > n ? values : n;
    }
    for (int i = 0; i < 2 && status == KVB_OK; i++)
        status = kvb_bench_gpu_normals(device, (uint64_t)(1 + i), n, &device->rows[i], error);
    return status;
}

kvb_status kvb_bench_add_gpu(kvb_bench_suite *suite, kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    kvb_bench_device *device = NULL;
    cases all = {.n_batches = 0};
    kvb_status status = kvb_bench_allocate(suite, sizeof *device, (void **)&device, error);
    if (status != KVB_OK)
        return status;
    device->suite = suite;
    all.device = device;
    list_batches(config, &all);
    device->n_pages = most_pages(config, &all);
    status = kvb_bench_gpu_open(device, error);
    if (status == KVB_OK)
        status = kvb_bench_gpu_add_ceilings(device, error);
    if (status == KVB_OK && config->work & (KVB_BENCH_APPEND | KVB_BENCH_ATTEND | KVB_BENCH_PREFILL))
        status = make_rows(device, error);
    for (int s = 0; s < config->n_shapes && status == KVB_OK && config->work & KVB_BENCH_APPEND; s++)
        if (is_first(config, s))
            status = add_appends(&all, &config->shapes[s], error);
    if (status == KVB_OK && config->work & KVB_BENCH_ATTEND)
        status = add_attention(&all, error);
    if (status == KVB_OK && config->work & KVB_BENCH_PREFILL)
        status = add_prefill(&all, error);
    return status;
}
