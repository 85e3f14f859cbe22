/* bench-accuracy: the error that the arithmetic of attention adds, ours and ggml's, as JSON lines. One query of each
 * head on a cache of Gaussian rows; every kernel is held to double precision on the rows that it reads, decoded, so
 * that what storing them lost does not count. docs/benchmarking.md, "Accuracy". */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "exact.h"
#include "ggml_peer.h"

enum { TOKENS = 8192, TENSORS = 8 };

typedef struct problem {
    kvb_bench_shape shape;
    float deviation;        /* of the logits */
    size_t n;               /* values of all keys */
    float *q, *k, *v;       /* rows: [head][dim], [head][token][dim] */
    float *read_k, *read_v; /* the same as stored and decoded */
    float *out;
} problem;

static void print_row(const problem *p, const char *by, const char *format, const char *kernel, double error) {
    printf("{\"kind\": \"error\", \"by\": \"%s\", \"shape\": \"%c\", \"kv_len\": %d, \"deviation\": %g, \"format\": "
           "\"%s\", "
           "\"kernel\": \"%s\", \"error\": %.3g}\n",
           by, p->shape.name, TOKENS, (double)p->deviation, format, kernel, error);
}

/* Of p->out, against p->read_k and p->read_v. */
static double relative_error(const problem *p) {
    const size_t dim = (size_t)p->shape.head_dim, group = (size_t)(p->shape.n_heads / p->shape.n_kv_heads);
    double exact[KVB_MAX_HEAD_DIM], error = 0.0, size = 0.0;
    for (size_t head = 0; head < (size_t)p->shape.n_heads; head++) {
        const size_t rows = head / group * TOKENS * dim;
        kvb_bench_attend_exactly(p->q + head * dim, p->read_k + rows, p->read_v + rows, TOKENS, (int)dim, exact);
        kvb_bench_add_squares(p->out + head * dim, exact, (int)dim, &error, &size);
    }
    return sqrt(error / size);
}

/* ---- kvbits ---- */

static kvb_status decode_block(const kvb_codec *codec, const void *block, int dim, float *out, kvb_error *error) {
    if (codec) {
        void *bytes = (void *)(uintptr_t)block; /* a view of planes that are only read */
        const kvb_packed packed = kvb_packed_view(codec, bytes, KVB_BENCH_PAGE_TOKENS);
        return kvb_decode(codec, &packed, 0, KVB_BENCH_PAGE_TOKENS, KVB_DOMAIN_INPUT, out, (size_t)dim, error);
    }
    for (size_t i = 0; i < KVB_BENCH_PAGE_TOKENS * (size_t)dim; i++)
        out[i] = kvb_f16_to_f32(((const uint16_t *)block)[i]);
    return KVB_OK;
}

static kvb_status store(problem *p, const kvb_layer_format *format, uint8_t *memory, kvb_error *error) {
    const size_t page_values = KVB_BENCH_PAGE_TOKENS * (size_t)format->k_dim;
    kvb_status status = KVB_OK;
    for (size_t page = 0; page < TOKENS / KVB_BENCH_PAGE_TOKENS; page++)
        for (int head = 0; head < format->n_kv_heads; head++)
            for (int side = 0; side < 2 && status == KVB_OK; side++) {
                const size_t at = (size_t)head * TOKENS * (size_t)format->k_dim + page * page_values;
                void *start = memory + page * kvb_page_bytes(format);
                const kvb_codec *codec = format->k_codec;
                void *block = (uint8_t *)start +
                              ((const uint8_t *)kvb_page_block(format, start, head, side) - (const uint8_t *)start);
                status = kvb_bench_fill_block(codec, (side ? p->v : p->k) + at, format->k_dim, block, error);
                if (status == KVB_OK)
                    status = decode_block(codec, block, format->k_dim, (side ? p->read_v : p->read_k) + at, error);
            }
    return status;
}

static kvb_status attend(problem *p, const kvb_backend *backend, const kvb_kv_view *view, kvb_precision precision,
                         const char *format, kvb_error *error) {
    const size_t dim = (size_t)p->shape.head_dim, all = dim * (size_t)p->shape.n_heads;
    const kvb_attend_item item = {.kv = view,
                                  .n_q = 1,
                                  .n_heads = p->shape.n_heads,
                                  .q = p->q,
                                  .q_dtype = KVB_F32,
                                  .q_token_stride = all,
                                  .q_head_stride = dim,
                                  .out = p->out,
                                  .out_token_stride = all,
                                  .out_head_stride = dim,
                                  .scale = 1.0f / sqrtf((float)dim),
                                  .precision = precision};
    const size_t bytes = kvb_attend_scratch_bytes(backend, &item, 1, NULL);
    void *scratch = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!scratch)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %zu bytes of scratch", bytes);
    kvb_status status = kvb_attend(backend, &item, 1, scratch, bytes, NULL, error);
    free(scratch);
    if (status == KVB_OK) {
        char kernel[64];
        snprintf(kernel, sizeof kernel, "%s %s", kvb_backend_name(backend),
                 precision == KVB_PRECISION_PRECISE ? "precise" : "fast");
        print_row(p, "kvbits", format, kernel, relative_error(p));
    }
    return status;
}

static kvb_status measure_ours(problem *p, const kvb_backend *backend, int bits, kvb_error *error) {
    kvb_codec *codec = NULL;
    kvb_codec_spec spec = kvb_codec_spec_default(p->shape.head_dim, bits == KVB_BENCH_DENSE ? 8 : bits);
    kvb_status status = kvb_codec_create(&spec, backend, NULL, &codec, error);
    if (status != KVB_OK)
        return status;
    const kvb_codec *used = bits == KVB_BENCH_DENSE ? NULL : codec;
    const kvb_layer_format format = {.n_kv_heads = p->shape.n_kv_heads,
                                     .k_dim = p->shape.head_dim,
                                     .v_dim = p->shape.head_dim,
                                     .k_codec = used,
                                     .v_codec = used,
                                     .dense = KVB_F16,
                                     .page_tokens = KVB_BENCH_PAGE_TOKENS};
    enum { n_pages = TOKENS / KVB_BENCH_PAGE_TOKENS };
    const void *pages[n_pages];
    uint8_t *memory = aligned_alloc(64, n_pages * kvb_page_bytes(&format));
    status =
        memory ? store(p, &format, memory, error) : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for pages");
    for (size_t i = 0; memory && i < n_pages; i++)
        pages[i] = memory + i * kvb_page_bytes(&format);
    const kvb_kv_view view = {.format = &format, .pages = pages, .n_tokens = TOKENS};
    char name[16];
    snprintf(name, sizeof name, "%d", bits);
    for (int precise = 0; precise < 2 && status == KVB_OK; precise++)
        status = attend(p, backend, &view, precise ? KVB_PRECISION_PRECISE : KVB_PRECISION_FAST, name, error);
    free(memory);
    kvb_codec_destroy(codec);
    return status;
}

/* ---- ggml ---- */

static struct ggml_tensor *stored(struct ggml_context *context, const problem *p, enum ggml_type type,
                                  const float *rows) {
    const int dim = p->shape.head_dim, heads = p->shape.n_kv_heads;
    struct ggml_tensor *tensor = ggml_new_tensor_3d(context, type, dim, TOKENS, heads);
    for (size_t i = 0; i < (size_t)heads * TOKENS; i++)
        kvb_ggml_store_row(type, rows + i * (size_t)dim, (char *)tensor->data + i * tensor->nb[1], dim);
    return tensor;
}

static kvb_status measure_ggml(const problem *p, const kvb_ggml_type *type, kvb_error *error) {
    const int dim = p->shape.head_dim;
    struct ggml_init_params params = {.mem_size = 2 * p->n * sizeof(ggml_fp16_t) + ((size_t)64 << 20)};
    struct ggml_context *context = ggml_init(params);
    if (!context)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a ggml context");
    struct ggml_tensor *q = ggml_new_tensor_3d(context, GGML_TYPE_F32, dim, 1, p->shape.n_heads);
    struct ggml_tensor *mask = ggml_new_tensor_2d(context, GGML_TYPE_F16, TOKENS, 1);
    struct ggml_tensor *k = stored(context, p, type->type, p->k), *v = stored(context, p, type->type, p->v);
    memcpy(q->data, p->q, ggml_nbytes(q));
    memset(mask->data, 0, ggml_nbytes(mask));
    struct ggml_tensor *out = ggml_flash_attn_ext(context, q, k, v, mask, 1.0f / sqrtf((float)dim), 0.0f, 0.0f);
    struct ggml_cgraph *graph = ggml_new_graph_custom(context, TENSORS, false);
    ggml_build_forward_expand(graph, out);
    double relative = 0.0;
    const kvb_ggml_strides strides = {k->nb[1], k->nb[2]};
    kvb_status status = ggml_graph_compute_with_ctx(context, graph, 1) == GGML_STATUS_SUCCESS
                            ? kvb_ggml_attention_error(out, &strides, &relative, error)
                            : kvb_error_set(error, KVB_ERROR_UNSUPPORTED, "ggml could not compute an attention");
    if (status == KVB_OK)
        print_row(p, "ggml", type->name, "flash_attn_ext", relative);
    ggml_free(context);
    return status;
}

/* ---- All ---- */

static kvb_status measure(problem *p, kvb_error *error) {
    const int widths[] = {KVB_BENCH_DENSE, 8, 4};
    const kvb_backend *backend;
    kvb_status status = kvb_backend_open(NULL, &backend, error);
    kvb_bench_normals(1, p->deviation, p->q, (size_t)(p->shape.n_heads * p->shape.head_dim));
    kvb_bench_normals(2, 1.0f, p->k, p->n);
    kvb_bench_normals(3, 1.0f, p->v, p->n);
    for (size_t i = 0; i < sizeof widths / sizeof widths[0] && status == KVB_OK; i++)
        status = measure_ours(p, backend, widths[i], error);
    for (int i = 0; kvb_ggml_type_at(i) && status == KVB_OK; i++)
        status = measure_ggml(p, kvb_ggml_type_at(i), error);
    return status;
}

static kvb_status measure_shape(const kvb_bench_shape *shape, float deviation, kvb_error *error) {
    problem p = {.shape = *shape, .deviation = deviation};
    const size_t queries = (size_t)(shape->n_heads * shape->head_dim);
    p.n = (size_t)(shape->n_kv_heads * shape->head_dim) * TOKENS;
    float *memory = malloc((2 * queries + 4 * p.n) * sizeof *memory);
    if (!memory)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %zu values", 2 * queries + 4 * p.n);
    p.q = memory;
    p.out = p.q + queries;
    p.k = p.out + queries;
    p.v = p.k + p.n;
    p.read_k = p.v + p.n;
    p.read_v = p.read_k + p.n;
    kvb_status status = measure(&p, error);
    free(memory);
    return status;
}

int main(void) {
    const float deviations[] = {1.0f, 2.0f, 6.0f};
    const kvb_bench_config config = kvb_bench_config_default();
    kvb_bench_machine machine;
    kvb_error error;
    kvb_status status = KVB_OK;
    kvb_bench_machine_read(&machine);
    ggml_cpu_init();
    printf("{\"kind\": \"accuracy\", \"kvbits\": \"%s\", \"processor\": \"%s\", \"family\": %d, \"model\": %d, "
           "\"compiler\": "
           "\"%s\", \"peers\": \"ggml %s (%s)\"}\n",
           kvb_version(), machine.processor, machine.family, machine.model, machine.compiler, ggml_version(),
           ggml_commit());
    free(machine.flags);
    for (int s = 0; s < config.n_shapes && status == KVB_OK; s++)
        for (size_t d = 0; d < sizeof deviations / sizeof deviations[0] && status == KVB_OK; d++)
            status = measure_shape(&config.shapes[s], deviations[d], &error);
    if (status != KVB_OK)
        fprintf(stderr, "bench-accuracy: %s\n", error.text);
    return status == KVB_OK ? 0 : 2;
}
