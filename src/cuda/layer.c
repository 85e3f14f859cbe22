/* A layer: two codecs' tables, copied to the device, and the kernels that serve them. */
#include "layer.h"

#include "codec.h"
#include "encode_buckets.h"
#include "fragments.h"
#include "memory.h"

#include <cuda_runtime_api.h>
#include <math.h>
#include <string.h>

/* A format's tables as they lie on the device. */
typedef struct tables {
    float centroids[KVB_MAX_ALL_LEVELS], midpoints[KVB_MAX_ALL_LEVELS];
    uint64_t hadamard[2][KVB_MAX_HADAMARD_ORDER];
    uint16_t half_centroids[KVB_MAX_ALL_LEVELS];
    uint32_t signs[KVB_MAX_HEAD_DIM / 32];
    _Alignas(16) uint32_t sign_pairs[KVB_MAX_HEAD_DIM / 2];
    _Alignas(16) kvb_cuda_buckets buckets, ring;
} tables;

static kvb_cuda_format dense_format(int head_dim, kvb_dtype dense) {
    return (kvb_cuda_format){
        .head_dim = head_dim, .bits = KVB_DENSE_BITS, .code = KVB_DENSE_BITS, .dense = (int)dense, .hadamard_order = 1};
}

/* Of the codec's trellis. */
static void fill_taps(int states, kvb_cuda_format *format) {
#define TAPS(n, memory, taps0, taps1)                                                                                  \
    if (states == (n)) {                                                                                               \
        format->taps[0] = (taps0);                                                                                     \
        format->taps[1] = (taps1);                                                                                     \
    }
    KVB_EACH_TRELLIS(TAPS)
#undef TAPS
}

static kvb_status fill(const kvb_codec *codec, const char *side, kvb_cuda_format *format, tables *to,
                       kvb_error *error) {
    const kvb_codec_tables *from = &codec->tables, *parts;
    const int m = from->hadamard_order, n_parts = kvb_codec_parts(from, &parts);
    memset(to, 0, sizeof *to);
    for (int i = 0; i < from->levels; i++) {
        to->half_centroids[i] = kvb_f32_to_f16(from->centroids[i]);
        if (kvb_f16_to_f32(to->half_centroids[i]) != from->centroids[i]) {
            return kvb_error_set(
                error, KVB_ERROR_UNSUPPORTED,
                "%s: centroid %d is %.9g, which binary16 does not hold: the GPU needs centroids that it does", side, i,
                (double)from->centroids[i]);
        }
    }
    memcpy(to->centroids, from->centroids, (size_t)from->levels * sizeof *to->centroids);
    for (int i = 0, at = 0; i < n_parts; at += parts[i++].levels) {
        memcpy(to->midpoints + at, parts[i].midpoints, (size_t)parts[i].levels * sizeof *to->midpoints);
    }
    for (int i = 0; i < from->head_dim && from->rotation == KVB_ROTATION_SIGNED; i++) {
        to->signs[i / 32] |= (from->sign_masks[i] >> 31) << i % 32;
    }
    for (int i = 0; i < m * m && from->rotation != KVB_ROTATION_NONE; i++) {
        to->hadamard[0][i / m] |= (uint64_t)(from->mix[0][i] >= m) << i % m;
    }
    memset(format, 0, sizeof *format);
    format->head_dim = from->head_dim;
    format->bits = codec->spec.bits;
    format->code = kvb_fragment_code(format->bits, from->trellis_states > 0, codec->spec.half_bit);
    format->levels = from->levels;
    format->trellis_states = from->trellis_states;
    format->trellis_memory = parts->trellis_memory;
    fill_taps(from->trellis_states, format);
    format->scale_bytes = (int)kvb_dtype_bytes(from->scale_dtype);
    format->scale_kind = (int)from->scale;
    format->rotates = from->rotation != KVB_ROTATION_NONE;
    format->hadamard_order = m;
    format->inverse_sqrt_dim = from->inverse_sqrt_dim;
    format->sqrt_dim = from->sqrt_dim;
    for (int dim = 0; dim < from->head_dim; dim++) {
        const int word = dim / 16 * 8 + dim / 4 % 2 * 4 + dim / 8 % 2 * 2 + dim / 2 % 2;
        to->sign_pairs[word] |= (to->signs[dim / 32] >> dim % 32 & 1) << (dim % 2 ? 31 : 15);
    }
    if (n_parts == 1) { /* the kernels that search by buckets know one code a row */
        kvb_cuda_buckets_fill(from->midpoints, from->levels - (from->trellis_states ? 4 : 1), to->half_centroids,
                              &to->buckets, format);
    }
    if (n_parts == 1 && !from->trellis_states) {
        kvb_cuda_ring_fill(from->midpoints, from->levels - 1, to->half_centroids, &to->ring, format);
    }
    return KVB_OK;
}

static void point(kvb_cuda_format *format, const tables *on_device) {
    format->centroids = on_device->centroids;
    format->midpoints = on_device->midpoints;
    format->buckets = &on_device->buckets;
    format->ring = &on_device->ring;
    format->half_centroids = on_device->half_centroids;
    format->signs = on_device->signs;
    format->sign_pairs = on_device->sign_pairs;
    format->hadamard = on_device->hadamard[0];
}

/* By the CPU's rules, of which only those of latent layers are left here. */
static kvb_status check_latent(const kvb_cuda_layer_spec *spec, kvb_error *error) {
    const kvb_layer_format format = {.n_kv_heads = 1,
                                     .k_dim = spec->k_codec ? spec->k_codec->spec.head_dim : spec->k_dim,
                                     .v_dim = spec->v_dim,
                                     .k_codec = spec->k_codec,
                                     .v_codec = spec->v_codec,
                                     .dense = KVB_F16,
                                     .v_prefix_of_k = 1,
                                     .page_tokens = KVB_CUDA_PAGE_TOKENS};
    kvb_error reason = {""};
    const kvb_status status = kvb_layer_format_check(&format, &reason);
    return status == KVB_OK ? KVB_OK : kvb_error_set(error, status, "cuda layer: %s", reason.text);
}

static kvb_status check(const kvb_cuda_layer_spec *spec, kvb_error *error) {
    if (spec->dense != 0 && spec->dense != KVB_F16 && spec->dense != KVB_BF16) {
        return kvb_error_set(
            error, KVB_ERROR_ARGUMENT,
            "cuda layer: dense is %d, legal are KVB_F16, KVB_BF16 and 0 (neither dense rows nor exact tokens)",
            (int)spec->dense);
    }
    for (int side = 0; side < (spec->v_prefix_of_k ? 1 : 2); side++) {
        const kvb_codec *codec = side ? spec->v_codec : spec->k_codec;
        const char *name = side ? "v" : "k";
        const int dim = side ? spec->v_dim : spec->k_dim;
        if (!codec && !spec->dense) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "cuda layer: %s_codec is NULL, and dense names no type for dense rows", name);
        }
        if (!codec && (dim < KVB_MIN_HEAD_DIM || dim > KVB_MAX_HEAD_DIM || dim % 8 != 0)) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "cuda layer: %s_dim is %d, legal for dense rows are multiples of 8 from %d to %d",
                                 name, dim, KVB_MIN_HEAD_DIM, KVB_MAX_HEAD_DIM);
        }
        if (codec && dim != 0 && dim != codec->spec.head_dim) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "cuda layer: %s_dim is %d, legal are 0 and the codec's head_dim %d", name, dim,
                                 codec->spec.head_dim);
        }
    }
    if (spec->k_mean && (!spec->k_codec || spec->v_prefix_of_k)) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "cuda layer: k_mean is given for %s; legal: packed keys, not latent",
                             spec->v_prefix_of_k ? "a latent layer" : "dense keys");
    }
    if (spec->n_kv_heads < 1 || spec->n_kv_heads > 65535) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda layer: n_kv_heads is %d, legal are 1 to 65535",
                             spec->n_kv_heads);
    }
    if (spec->n_q_heads < 1 || spec->n_q_heads % spec->n_kv_heads != 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "cuda layer: n_q_heads is %d, legal are multiples of n_kv_heads (%d)", spec->n_q_heads,
                             spec->n_kv_heads);
    }
    return spec->v_prefix_of_k ? check_latent(spec, error) : KVB_OK;
}

static kvb_status check_mean(const kvb_cuda_layer_spec *spec, kvb_error *error) {
    for (int i = 0; spec->k_mean && i < spec->n_kv_heads * spec->k_codec->spec.head_dim; i++) {
        if (!(fabsf(spec->k_mean[i]) <= KVB_MAX_K_MEAN)) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "cuda layer: k_mean of head %d coordinate %d is %g; legal: up to %g in magnitude",
                                 i / spec->k_codec->spec.head_dim, i % spec->k_codec->spec.head_dim,
                                 (double)spec->k_mean[i], (double)KVB_MAX_K_MEAN);
        }
    }
    return KVB_OK;
}

/* The tuned kernels run from 9.0 on, and read half scales, trellises of 8 and 16 states, and one table where the codes
 * are equal. */
static void choose_kernels(kvb_cuda_layer *layer, const tables both[2], const kvb_cuda_device *device) {
    const kvb_cuda_format *k = &layer->formats[0], *v = &layer->formats[1];
    const int is_plain = device->major >= 9 && k->scale_bytes == 2 && v->scale_bytes == 2 && k->trellis_states <= 16 &&
                         v->trellis_states <= 16 &&
                         (k->code != v->code ||
                          memcmp(both[0].half_centroids, both[1].half_centroids, sizeof both[0].half_centroids) == 0);
    for (int precise = 0; precise < 2; precise++) {
        const kvb_cuda_attend_kernel *tuned =
            is_plain && layer->v_prefix == 0 /* values lie beside keys */
                ? kvb_cuda_attend_find(k->code, v->code, k->head_dim, v->head_dim, precise)
                : NULL;
        layer->kernels[precise] = tuned ? tuned : &kvb_cuda_attend_general;
    }
    layer->n_blocks = device->multiprocessors;
}

/* On the device: its tables, and its kernels made ready. */
static kvb_status upload(kvb_cuda_layer *layer, const tables *from, const float *k_mean, kvb_error *error) {
    const size_t n_mean = k_mean ? (size_t)layer->n_kv_heads * (size_t)layer->formats[0].head_dim * sizeof *k_mean : 0;
    int current = 0;
    kvb_status status = kvb_cuda_status((int)cudaGetDevice(&current), "cuda layer", error);
    if (status == KVB_OK) {
        status = kvb_cuda_status((int)cudaSetDevice(layer->device), "cuda layer", error);
    }
    if (status == KVB_OK) {
        status = kvb_cuda_status((int)cudaMalloc(&layer->tables, 2 * sizeof *from + n_mean), "cuda layer", error);
    }
    if (status == KVB_OK) {
        status = kvb_cuda_status((int)cudaMemcpy(layer->tables, from, 2 * sizeof *from, cudaMemcpyHostToDevice),
                                 "cuda layer", error);
    }
    if (n_mean) {
        layer->k_mean = (const float *)((const tables *)layer->tables + 2);
    }
    if (status == KVB_OK && n_mean) {
        status = kvb_cuda_status((int)cudaMemcpy((tables *)layer->tables + 2, k_mean, n_mean, cudaMemcpyHostToDevice),
                                 "cuda layer", error);
    }
    /* A small copy may be on its way when cudaMemcpy returns, and not every stream of the caller waits for it. */
    if (status == KVB_OK) {
        status = kvb_cuda_status((int)cudaStreamSynchronize(NULL), "cuda layer", error);
    }
    for (int i = 0; i < 2; i++) {
        point(&layer->formats[i], (const tables *)layer->tables + i);
        if (status == KVB_OK) {
            status = kvb_cuda_status(layer->kernels[i]->prepare(), "cuda layer", error);
        }
        for (int n = 2; n <= KVB_CUDA_MOST_PARTS && layer->has_warpgroups && layer->kernels[i]->most_clusters; n *= 2) {
            if (layer->kernels[i]->most_clusters(n, &layer->most_clusters[i][n]) != cudaSuccess) {
                layer->most_clusters[i][n] = 0; /* of no such size, then */
                cudaGetLastError();
            }
        }
    }
    if (status != KVB_OK && layer->tables) {
        cudaFree(layer->tables);
    }
    cudaSetDevice(current);
    return status;
}

kvb_status kvb_cuda_layer_create(const kvb_cuda_layer_spec *spec, const kvb_allocator *allocator, kvb_cuda_layer **out,
                                 kvb_error *error) {
    tables both[2] = {0};
    kvb_cuda_device device;
    if (!spec || !out) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "kvb_cuda_layer_create: %s is NULL", spec ? "out" : "spec");
    }
    *out = NULL;
    kvb_status status = kvb_allocator_check(allocator, error);
    if (status == KVB_OK) {
        status = check(spec, error);
    }
    if (status == KVB_OK) {
        status = check_mean(spec, error);
    }
    if (status == KVB_OK) {
        status = kvb_cuda_device_get(spec->device, &device, error);
    }
    if (status != KVB_OK) {
        return status;
    }
    if (device.major < 8) {
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED, "cuda:%d: %s has compute capability %d.%d, kvbits needs 8.0",
                             spec->device, device.name, device.major, device.minor);
    }
    kvb_cuda_layer made = {.device = spec->device,
                           .n_kv_heads = spec->n_kv_heads,
                           .n_q_heads = spec->n_q_heads,
                           .dense = spec->dense,
                           .v_prefix = spec->v_prefix_of_k ? spec->v_dim : 0,
                           .has_warpgroups = device.major == 9 && device.minor == 0};
    for (int i = 0; i < kvb_cuda_sides_of(&made) && status == KVB_OK; i++) {
        kvb_cuda_format *f = &made.formats[i];
        const kvb_codec *codec = i ? spec->v_codec : spec->k_codec;
        if (codec) {
            status = fill(codec, i ? "v_codec" : "k_codec", f, &both[i], error);
        } else {
            *f = dense_format(i ? spec->v_dim : spec->k_dim, spec->dense);
        }
        f->code_bytes = kvb_fragment_code_bytes(f->head_dim, f->code);
        f->block_bytes = kvb_fragment_block_bytes(f->head_dim, f->code, f->scale_bytes);
        made.head_bytes[i] = (size_t)f->block_bytes * (KVB_CUDA_PAGE_TOKENS / KVB_BLOCK_TOKENS);
    }
    if (made.v_prefix > 0) {
        made.formats[1] = made.formats[0];
        both[1] = both[0];
    }
    if (status != KVB_OK) {
        return status;
    }
    if (kvb_cuda_layer_page_bytes(&made) > UINT32_MAX) {
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                             "cuda layer: a page of %d KV heads takes %zu bytes, the GPU's kernels reach %lu",
                             spec->n_kv_heads, kvb_cuda_layer_page_bytes(&made), (unsigned long)UINT32_MAX);
    }
    choose_kernels(&made, both, &device);
    made.allocator = kvb_allocator_resolve(allocator);
    kvb_cuda_layer *layer = made.allocator.allocate(made.allocator.context, sizeof *layer, _Alignof(kvb_cuda_layer));
    if (!layer) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "cuda layer: the allocator returned NULL for %zu bytes",
                             sizeof *layer);
    }
    status = upload(&made, both, spec->k_mean, error);
    *layer = made;
    if (status != KVB_OK) {
        made.allocator.release(made.allocator.context, layer, sizeof *layer);
        return status;
    }
    *out = layer;
    return KVB_OK;
}

void kvb_cuda_layer_destroy(kvb_cuda_layer *layer) {
    if (layer) {
        kvb_allocator allocator = layer->allocator;
        cudaFree(layer->tables);
        allocator.release(allocator.context, layer, sizeof *layer);
    }
}

size_t kvb_cuda_layer_page_bytes(const kvb_cuda_layer *layer) {
    return (layer->head_bytes[0] + layer->head_bytes[1]) * (size_t)layer->n_kv_heads;
}

int kvb_cuda_layer_is_tuned(const kvb_cuda_layer *layer) {
    return layer->kernels[0] != &kvb_cuda_attend_general;
}
