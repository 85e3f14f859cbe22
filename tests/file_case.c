#include "file_case.h"

#include <stdlib.h>
#include <string.h>

const char *const file_case_names[FILE_CASES] = {"empty", "packed",  "forks",  "exact",   "latent",
                                                 "hole",  "trellis", "halves", "centered"};

/* ---- Values ---- */

/* SplitMix64's output function. */
static uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void fill(float *values, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i++) {
        uint64_t word = mix(seed + (i + 1) * UINT64_C(0x9e3779b97f4a7c15));
        values[i] = (float)((int64_t)(word & 0xffff) + (int64_t)(word >> 16 & 0xffff) - 65535) * 0x1p-15f;
    }
}

static kvb_status append_token(kvb_cache *cache, int sequence, int layer, uint64_t seed, kvb_error *error) {
    const kvb_layer_spec *spec = &kvb_cache_get_spec(cache)->layers[layer];
    static float k[8 * KVB_MAX_HEAD_DIM], v[8 * KVB_MAX_HEAD_DIM];
    kvb_kv_view view;
    kvb_status status = kvb_cache_view(cache, sequence, layer, &view, error);
    if (status) {
        return status;
    }
    uint64_t row_seed = mix(seed * 4096 + (uint64_t)layer) + (uint64_t)view.n_tokens * 65536;
    fill(k, (size_t)(spec->n_kv_heads * spec->k.head_dim), row_seed);
    fill(v, (size_t)(spec->n_kv_heads * spec->v.head_dim), row_seed + 32768);
    kvb_kv_rows rows = {.k = k, .v = v, .dtype = KVB_F32, .n_tokens = 1};
    return kvb_cache_append(cache, sequence, layer, &rows, error);
}

kvb_status file_case_grow(kvb_cache *cache, int sequence, int n, uint64_t seed, kvb_error *error) {
    for (int token = 0; token < n; token++) {
        for (int layer = 0; layer < kvb_cache_get_spec(cache)->n_layers; layer++) {
            kvb_status status = append_token(cache, sequence, layer, seed, error);
            if (status) {
                return status;
            }
        }
        kvb_status status = kvb_cache_commit(cache, sequence, error);
        if (status) {
            return status;
        }
    }
    return KVB_OK;
}

/* ---- Caches ---- */

static kvb_layer_spec odd_layer(int k_bits, int v_bits, kvb_rotation rotation) {
    static const float levels[8] = {-2.0f, -1.25f, -0.75f, -0.125f, 0.25f, 0.5f, 1.5f, 3.0f};
    kvb_layer_spec layer = kvb_layer_spec_default(3, 32, k_bits, v_bits);
    layer.v.head_dim = 40;
    layer.k.rotation = layer.v.rotation = rotation;
    layer.k.scale = KVB_SCALE_NORM;
    layer.k.scale_dtype = KVB_F32;
    layer.k.centroids = k_bits == 3 ? levels : NULL;
    layer.dense = KVB_BF16;
    return layer;
}

/* Mean keys of up to 256 values. */
static const float *mean_keys(int first) {
    static float values[2][256];
    fill(values[first], 256, (uint64_t)first);
    return values[first];
}

/* The layers of a case; returns their number. */
static int layers_of(int which, kvb_layer_spec layers[4]) {
    switch (which) {
    case 1: /* packed */
        layers[0] = kvb_layer_spec_default(2, 64, 4, 4);
        layers[1] = kvb_layer_spec_default(1, 32, 6, 5);
        return 2;
    case 2: /* forks */
        layers[0] = kvb_layer_spec_default(1, 16, KVB_DENSE_BITS, KVB_DENSE_BITS);
        layers[1] = odd_layer(3, 7, KVB_ROTATION_HADAMARD);
        layers[2] = kvb_layer_spec_default(2, 32, 8, KVB_DENSE_BITS);
        layers[2].window = 20;
        return 3;
    case 3: /* exact */
        layers[0] = odd_layer(1, 2, KVB_ROTATION_SIGNED);
        layers[0].exact_first = 3;
        layers[0].exact_last = 9;
        layers[1] = kvb_layer_spec_default(2, 32, 5, 3);
        layers[1].exact_last = 6;
        layers[1].window = 18;
        layers[2] = kvb_layer_spec_default(1, 24, KVB_DENSE_BITS, KVB_DENSE_BITS);
        layers[2].exact_first = 2;
        return 3;
    case 4: /* latent */
        layers[0] = kvb_layer_spec_default(1, 48, 6, 6);
        layers[0].k.rotation = KVB_ROTATION_NONE;
        layers[1] = kvb_layer_spec_default(1, 72, KVB_DENSE_BITS, KVB_DENSE_BITS);
        for (int i = 0; i < 2; i++) {
            layers[i].v_prefix_of_k = 1;
            layers[i].v.head_dim = 40;
            layers[i].exact_first = layers[i].exact_last = 4;
        }
        return 2;
    case 5: /* hole: no pages where all tokens are exact */
        layers[0] = kvb_layer_spec_default(1, 32, 4, 4);
        layers[0].exact_first = 37;
        layers[0].exact_last = 6;
        return 1;
    case 6: /* trellis */
        layers[0] = kvb_layer_spec_default(2, 64, 4, 2);
        layers[0].k.trellis_states = layers[0].v.trellis_states = 16;
        layers[1] = kvb_layer_spec_default(1, 72, 6, 5);
        layers[1].k.trellis_states = 256;
        layers[1].k.scale = KVB_SCALE_SEARCH;
        layers[1].exact_last = 5;
        return 2;
    case 7: /* halves */
        layers[0] = kvb_layer_spec_default(2, 64, 4, 3);
        layers[0].k.half_bit = layers[0].v.half_bit = 1;
        layers[1] = kvb_layer_spec_default(1, 80, 5, 7);
        layers[1].k.half_bit = layers[1].v.half_bit = 1;
        layers[1].k.trellis_states = 16;
        layers[1].v.head_dim = 48;
        layers[1].v.rotation = KVB_ROTATION_NONE;
        layers[1].v.scale_dtype = KVB_F32;
        layers[1].exact_last = 5;
        return 2;
    case 8: /* centered */
        layers[0] = kvb_layer_spec_default(2, 32, 4, 3);
        layers[0].k_mean = mean_keys(0);
        layers[1] = kvb_layer_spec_default(1, 32, 4, 4);
        layers[2] = kvb_layer_spec_default(3, 64, 3, KVB_DENSE_BITS);
        layers[2].k.half_bit = 1;
        layers[2].k_mean = mean_keys(1);
        layers[2].exact_first = 2;
        layers[2].exact_last = 7;
        layers[2].window = 30;
        return 3;
    default:
        layers[0] = kvb_layer_spec_default(1, 32, 4, 4);
        return 1;
    }
}

static kvb_status open_and_grow(kvb_cache *cache, int n, uint64_t seed, int *sequence, kvb_error *error) {
    kvb_status status = kvb_cache_open_sequence(cache, sequence, error);
    return status ? status : file_case_grow(cache, *sequence, n, seed, error);
}

/* Shared full pages, a shared page that one of two has more of, a fork of a fork, a freed number, an empty one. */
static kvb_status make_forks(kvb_cache *cache, uint64_t seed, kvb_error *error) {
    int freed, first, fork, second, other, empty;
    kvb_status status;
    if ((status = open_and_grow(cache, 5, seed, &freed, error)) ||
        (status = open_and_grow(cache, 41, seed + 1, &first, error)) ||
        (status = kvb_cache_fork(cache, first, &fork, error)) ||
        (status = kvb_cache_truncate(cache, first, 35, error)) ||
        (status = file_case_grow(cache, fork, 12, seed + 2, error)) ||
        (status = kvb_cache_fork(cache, fork, &second, error)) ||
        (status = kvb_cache_fork(cache, first, &other, error)) ||
        (status = file_case_grow(cache, other, 1, seed + 3, error)) ||
        (status = kvb_cache_open_sequence(cache, &empty, error))) {
        return status;
    }
    kvb_cache_free_sequence(cache, freed);
    return KVB_OK;
}

static kvb_status make_sequences(kvb_cache *cache, int which, uint64_t seed, kvb_error *error) {
    int a, b;
    kvb_status status = KVB_OK;
    switch (which) {
    case 0:
        return KVB_OK;
    case 2:
        return make_forks(cache, seed, error);
    case 3: /* one of which has fewer exact tokens than it may, as it was cut */
        if ((status = open_and_grow(cache, 50, seed, &a, error)) ||
            (status = open_and_grow(cache, 44, seed + 1, &b, error)) ||
            (status = kvb_cache_truncate(cache, b, 40, error))) {
            return status;
        }
        return open_and_grow(cache, 2, seed + 2, &b, error);
    default:
        return open_and_grow(cache, 53, seed, &a, error);
    }
}

kvb_cache *file_case_make(int which, uint64_t seed, const kvb_allocator *allocator, kvb_error *error) {
    kvb_layer_spec layers[4];
    kvb_cache_spec spec = {.layers = layers,
                           .n_layers = layers_of(which, layers),
                           .page_tokens = which == 1 ? 32 : 16,
                           .max_sequences = 7,
                           .max_tokens = 200,
                           .budget = 200000};
    kvb_cache *cache;
    const kvb_backend *scalar;
    if (kvb_backend_open("scalar", &scalar, error) || kvb_cache_create(&spec, scalar, allocator, &cache, error)) {
        return NULL;
    }
    if (make_sequences(cache, which, seed, error)) {
        kvb_cache_destroy(cache);
        return NULL;
    }
    return cache;
}

/* ---- Rows ---- */

static void halves(const void *from, kvb_dtype dtype, float *to, int n) {
    for (int i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, (const uint8_t *)from + 2 * (size_t)i, sizeof half);
        to[i] = dtype == KVB_F16 ? kvb_f16_to_f32(half) : kvb_bf16_to_f32(half);
    }
}

/* Of one token and head; 0 where it was given back. */
static int read_row(const kvb_kv_view *view, int64_t token, int head, int side, float *to, kvb_error *error) {
    const kvb_layer_format *format = view->format;
    int dim = side == 0 ? format->k_dim : format->v_dim, row_dim = format->v_prefix_of_k ? format->k_dim : dim;
    int latent = side == 1 && format->v_prefix_of_k, page_side = latent ? 0 : side;
    size_t token_values = (size_t)format->n_kv_heads * (size_t)row_dim, at = (size_t)head * (size_t)row_dim;
    const void *first = page_side == 0 ? view->exact_first_k : view->exact_first_v;
    const void *last = page_side == 0 ? view->exact_last_k : view->exact_last_v;
    if (token < view->exact_first) {
        halves((const uint16_t *)first + (size_t)token * token_values + at, format->dense, to, dim);
        return 1;
    }
    if (token >= view->n_tokens - view->exact_last) {
        size_t slot = (size_t)(token % view->exact_last_slots);
        halves((const uint16_t *)last + slot * token_values + at, format->dense, to, dim);
        return 1;
    }
    const void *page = view->pages[token / format->page_tokens];
    size_t row = (size_t)(token % format->page_tokens);
    if (!page) {
        return 0;
    }
    const void *block = kvb_page_block(format, page, head, page_side);
    const kvb_codec *codec = page_side == 0 ? format->k_codec : format->v_codec;
    if (!codec) {
        halves((const uint16_t *)block + row * (size_t)row_dim, format->dense, to, dim);
        return 1;
    }
    float values[KVB_MAX_HEAD_DIM];
    kvb_packed packed = kvb_packed_view(codec, (void *)block, (size_t)format->page_tokens);
    if (kvb_decode(codec, &packed, row, 1, KVB_DOMAIN_INPUT, values, (size_t)row_dim, error)) {
        abort();
    }
    memcpy(to, values, (size_t)dim * sizeof *to);
    for (int i = 0; view->k_mean && page_side == 0 && i < dim; i++) {
        to[i] += view->k_mean[head * dim + i];
    }
    return 1;
}

kvb_status file_case_rows(const kvb_cache *cache, int sequence, void (*row)(void *context, const float *values, int n),
                          void *context, kvb_error *error) {
    for (int layer = 0; layer < kvb_cache_get_spec(cache)->n_layers; layer++) {
        kvb_kv_view view;
        kvb_status status = kvb_cache_view(cache, sequence, layer, &view, error);
        if (status) {
            return status;
        }
        for (int64_t token = 0; token < view.n_tokens; token++) {
            for (int i = 0; i < 2 * view.format->n_kv_heads; i++) {
                float values[KVB_MAX_HEAD_DIM];
                if (read_row(&view, token, i / 2, i % 2, values, error)) {
                    row(context, values, i % 2 == 0 ? view.format->k_dim : view.format->v_dim);
                }
            }
        }
    }
    return KVB_OK;
}
