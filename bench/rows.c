/* Rows alone: the rotation, encoding and decoding. Batches that stay in the second-level cache, as the rows of a token
 * do on their way into the cache. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "arena.h"

enum { BATCH_BYTES = 256 << 10 };

typedef struct rows {
    const kvb_codec *codec;
    kvb_packed packed;
    float *floats;
    size_t n, dim;
} rows;

static size_t batch_rows(int dim) {
    return BATCH_BYTES / sizeof(float) / (size_t)dim;
}

static kvb_status run_rotate(void *context, size_t calls, kvb_error *error) {
    const rows *r = context;
    (void)error;
    for (size_t i = 0; i < calls; i++)
        kvb_rotate(r->codec, r->floats, r->dim, r->n);
    return KVB_OK;
}

static kvb_status run_encode(void *context, size_t calls, kvb_error *error) {
    const rows *r = context;
    kvb_status status = KVB_OK;
    for (size_t i = 0; i < calls && status == KVB_OK; i++)
        status = kvb_encode(r->codec, r->floats, KVB_F32, r->dim, r->n, &r->packed, 0, NULL, error);
    return status;
}

static kvb_status run_encode_unchecked(void *context, size_t calls, kvb_error *error) {
    const rows *r = context;
    (void)error;
    for (size_t i = 0; i < calls; i++)
        kvb_encode_unchecked(r->codec, r->floats, KVB_F32, r->dim, r->n, &r->packed, 0, NULL);
    return KVB_OK;
}

static kvb_status decode(const rows *r, size_t calls, kvb_domain domain, kvb_error *error) {
    kvb_status status = KVB_OK;
    for (size_t i = 0; i < calls && status == KVB_OK; i++)
        status = kvb_decode(r->codec, &r->packed, 0, r->n, domain, r->floats, r->dim, error);
    return status;
}

static kvb_status run_decode(void *context, size_t calls, kvb_error *error) {
    return decode(context, calls, KVB_DOMAIN_INPUT, error);
}

static kvb_status run_decode_rotated(void *context, size_t calls, kvb_error *error) {
    return decode(context, calls, KVB_DOMAIN_ROTATED, error);
}

/* The operations of a row, one per value and step: log2(n) butterflies and a product to rotate. */
static double rotate_slots(double dim) {
    return dim * (log2(dim) + 1.0);
}
/* To encode also: the norm, a comparison per bit, and <x,c> and <c,c> of the scale. */
double kvb_bench_encode_slots(double dim, double bits) {
    return rotate_slots(dim) + dim * (3.0 + bits);
}

typedef struct step {
    const char *work;
    kvb_bench_work of;
    kvb_status (*run)(void *context, size_t calls, kvb_error *error);
} step;

static const step steps[] = {{"encode", KVB_BENCH_ENCODE, run_encode},
                             {"encode-unchecked", KVB_BENCH_ENCODE, run_encode_unchecked},
                             {"decode", KVB_BENCH_DECODE, run_decode},
                             {"decode-rotated", KVB_BENCH_DECODE, run_decode_rotated}};

static void release_codec(void *codec) {
    kvb_codec_destroy(codec);
}

static kvb_status make(kvb_bench_suite *suite, const kvb_backend *backend, int dim, double bits, rows **out,
                       kvb_error *error) {
    rows *r = NULL;
    kvb_codec *codec = NULL;
    void *block = NULL;
    kvb_codec_spec spec = kvb_bench_codec_spec(suite->config, dim, bits);
    kvb_status status = kvb_bench_allocate(suite, sizeof *r, (void **)&r, error);
    if (status == KVB_OK)
        status = kvb_codec_create(&spec, backend, NULL, &codec, error);
    if (status == KVB_OK)
        status = kvb_bench_own(suite, codec, release_codec, error);
    if (status != KVB_OK)
        return status;
    *out = r;
    *r = (rows){.codec = codec, .dim = (size_t)dim, .n = batch_rows(dim)};
    status = kvb_bench_allocate(suite, r->n * r->dim * sizeof(float), (void **)&r->floats, error);
    if (status == KVB_OK)
        status = kvb_bench_allocate(suite, kvb_codec_block_bytes(codec, r->n), &block, error);
    if (status != KVB_OK)
        return status;
    kvb_bench_normals(3, 1.0f, r->floats, r->n * r->dim);
    r->packed = kvb_packed_view(codec, block, r->n);
    return kvb_encode(codec, r->floats, KVB_F32, r->dim, r->n, &r->packed, 0, NULL, error);
}

static kvb_bench_kernel kernel_of(const kvb_bench_suite *suite, const kvb_backend *backend, const char *work, int dim) {
    kvb_bench_kernel kernel = {.units = (double)batch_rows(dim), .warm_up = 1};
    kernel.row = (kvb_bench_row){.work = work,
                                 .by = "kvbits",
                                 .head_dim = dim,
                                 .backend = kvb_backend_name(backend),
                                 .temperature = "warm",
                                 .threads = 1,
                                 .unit = "ns/row",
                                 .level = kvb_bench_level_of(suite->machine, BATCH_BYTES)};
    return kernel;
}

static kvb_status add_rotate(kvb_bench_suite *suite, const kvb_backend *backend, int dim, kvb_error *error) {
    rows *r = NULL;
    kvb_bench_kernel kernel = kernel_of(suite, backend, "rotate", dim);
    if (!kvb_bench_wanted(suite, &kernel.row))
        return KVB_OK;
    kvb_status status = make(suite, backend, dim, 4, &r, error);
    if (status != KVB_OK)
        return status;
    kernel.context = r;
    kernel.run = run_rotate;
    kernel.row.copies = 1;
    kernel.row.bytes = 8.0 * dim;
    kernel.row.slots = rotate_slots(dim);
    return kvb_bench_add(suite, &kernel, error);
}

/* Encoding and decoding do not share their floats: decoded rows would be encoded the second time. */
static kvb_status add_step(kvb_bench_suite *suite, const kvb_backend *backend, int dim, double bits, const step *step,
                           kvb_error *error) {
    rows *r = NULL;
    kvb_bench_kernel kernel = kernel_of(suite, backend, step->work, dim);
    kvb_bench_codec_name(suite->config, bits, kernel.row.k, sizeof kernel.row.k);
    if (!kvb_bench_wanted(suite, &kernel.row))
        return KVB_OK;
    kvb_status status = make(suite, backend, dim, bits, &r, error);
    if (status != KVB_OK)
        return status;
    kernel.context = r;
    kernel.run = step->run;
    kernel.row.bytes = 4.0 * dim + kvb_codec_bits_per_value(r->codec) * dim / 8.0;
    kernel.row.slots = step->of == KVB_BENCH_ENCODE      ? kvb_bench_encode_slots(dim, bits)
                       : step->run == run_decode_rotated ? (double)dim
                                                         : dim + rotate_slots(dim);
    return kvb_bench_add(suite, &kernel, error);
}

static kvb_status add_backend(kvb_bench_suite *suite, const kvb_backend *backend, kvb_error *error) {
    const kvb_bench_config *config = suite->config;
    kvb_status status = KVB_OK;
    for (int dim = 64; dim <= 512 && status == KVB_OK && config->work & KVB_BENCH_FWHT; dim *= 2)
        status = add_rotate(suite, backend, dim, error);
    for (int s = 0; s < config->n_shapes && status == KVB_OK; s++)
        for (double bits = 1.0; bits <= KVB_MAX_BITS && status == KVB_OK; bits += 0.5) {
            int wanted = 0;
            for (int p = 0; p < config->n_pairs; p++)
                wanted |= config->pairs[p].k_bits == bits || config->pairs[p].v_bits == bits;
            for (size_t i = 0; i < sizeof steps / sizeof steps[0] && status == KVB_OK; i++)
                if (wanted && config->work & steps[i].of)
                    status = add_step(suite, backend, config->shapes[s].head_dim, bits, &steps[i], error);
        }
    return status;
}

kvb_status kvb_bench_add_rows(kvb_bench_suite *suite, kvb_error *error) {
    kvb_status status = KVB_OK;
    for (int b = 0; b < suite->config->n_backends && status == KVB_OK; b++)
        status = add_backend(suite, suite->config->backends[b], error);
    return status;
}
