#include "arena.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

/* Pages that differ: more than a cache line predictor could learn, few enough to encode on the scalar backend. */
enum { DISTINCT = 8 };

void kvb_bench_normals(uint64_t seed, float factor, float *out, size_t n) {
    kvb_rng rng = kvb_rng_seed(seed);
    kvb_rng_normals(&rng, out, n);
    for (size_t i = 0; i < n; i++)
        out[i] *= factor;
}

kvb_codec_spec kvb_bench_codec_spec(const kvb_bench_config *config, int head_dim, double bits) {
    kvb_codec_spec spec = kvb_codec_spec_default(head_dim, (int)bits);
    spec.half_bit = bits > spec.bits;
    if (bits >= KVB_MIN_TRELLIS_BITS && bits <= KVB_MAX_TRELLIS_BITS)
        spec.trellis_states = config->trellis_states;
    return spec;
}

void kvb_bench_width_name(double bits, char *out, size_t bytes) {
    snprintf(out, bytes, "%g", bits);
}

void kvb_bench_codec_name(const kvb_bench_config *config, double bits, char *out, size_t bytes) {
    int states = kvb_bench_codec_spec(config, 8, bits).trellis_states;
    kvb_bench_width_name(bits, out, bytes);
    if (states)
        snprintf(out + strlen(out), bytes - strlen(out), "t%d", states);
}

static void release_codec(void *codec) {
    kvb_codec_destroy(codec);
}

static kvb_status make_codec(kvb_bench_suite *suite, const kvb_backend *backend, int head_dim, double bits,
                             const kvb_codec **out, kvb_error *error) {
    kvb_codec *codec = NULL;
    *out = NULL;
    if (bits == KVB_BENCH_DENSE)
        return KVB_OK;
    kvb_codec_spec spec = kvb_bench_codec_spec(suite->config, head_dim, bits);
    kvb_status status = kvb_codec_create(&spec, backend, NULL, &codec, error);
    *out = codec;
    return status == KVB_OK ? kvb_bench_own(suite, codec, release_codec, error) : status;
}

kvb_status kvb_bench_fill_block(const kvb_codec *codec, const float *rows, int dim, void *block, kvb_error *error) {
    const size_t n = KVB_BENCH_PAGE_TOKENS;
    if (codec) {
        kvb_packed packed = kvb_packed_view(codec, block, n);
        return kvb_encode(codec, rows, KVB_F32, (size_t)dim, n, &packed, 0, NULL, error);
    }
    uint16_t *halves = block;
    for (size_t i = 0; i < n * (size_t)dim; i++)
        halves[i] = kvb_f32_to_f16(rows[i]);
    return KVB_OK;
}

static kvb_status fill_page(const kvb_layer_format *format, uint8_t *page, uint64_t seed, float *rows,
                            kvb_error *error) {
    kvb_status status = KVB_OK;
    for (int head = 0; head < format->n_kv_heads && status == KVB_OK; head++)
        for (int side = 0; side < 2 && status == KVB_OK; side++) {
            const int dim = side ? format->v_dim : format->k_dim;
            kvb_bench_normals(seed + 2 * (uint64_t)head + (uint64_t)side, 1.0f, rows,
                              KVB_BENCH_PAGE_TOKENS * (size_t)dim);
            const size_t at = (size_t)((const uint8_t *)kvb_page_block(format, page, head, side) - page);
            status = kvb_bench_fill_block(side ? format->v_codec : format->k_codec, rows, dim, page + at, error);
        }
    return status;
}

static kvb_status fill(kvb_bench_arena *arena, uint8_t *memory, kvb_error *error) {
    float *rows = malloc(KVB_BENCH_PAGE_TOKENS * (size_t)KVB_MAX_HEAD_DIM * sizeof *rows);
    kvb_status status = rows ? KVB_OK : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a page of rows");
    for (size_t p = 0; p < arena->n_pages && status == KVB_OK; p++) {
        uint8_t *page = memory + p * arena->page_bytes;
        arena->pages[p] = arena->pages[p + arena->n_pages] = page;
        arena->last[p] = -1.0;
        if (p < DISTINCT)
            status = fill_page(&arena->format, page, 1000 * (p + 1), rows, error);
        else
            memcpy(page, memory + p % DISTINCT * arena->page_bytes, arena->page_bytes);
    }
    free(rows);
    return status;
}

kvb_status kvb_bench_arena_create(kvb_bench_suite *suite, const kvb_backend *backend, const kvb_bench_shape *shape,
                                  kvb_bench_pair bits, size_t tokens, kvb_bench_arena **out, kvb_error *error) {
    kvb_bench_arena *arena = NULL;
    uint8_t *memory = NULL;
    kvb_status status = kvb_bench_allocate(suite, sizeof *arena, (void **)&arena, error);
    if (status != KVB_OK)
        return status;
    *out = arena;
    kvb_layer_format *format = &arena->format;
    *format = (kvb_layer_format){.n_kv_heads = shape->n_kv_heads,
                                 .k_dim = shape->head_dim,
                                 .v_dim = shape->head_dim,
                                 .dense = KVB_F16,
                                 .page_tokens = KVB_BENCH_PAGE_TOKENS};
    status = make_codec(suite, backend, shape->head_dim, bits.k_bits, &format->k_codec, error);
    if (status == KVB_OK)
        status = make_codec(suite, backend, shape->head_dim, bits.v_bits, &format->v_codec, error);
    if (status == KVB_OK)
        status = kvb_layer_format_check(format, error);
    if (status != KVB_OK)
        return status;
    arena->page_bytes = kvb_page_bytes(format);
    arena->n_pages = (tokens + KVB_BENCH_PAGE_TOKENS - 1) / KVB_BENCH_PAGE_TOKENS;
    status = kvb_bench_allocate(suite, arena->n_pages * arena->page_bytes, (void **)&memory, error);
    if (status == KVB_OK)
        status = kvb_bench_allocate(suite, 2 * arena->n_pages * sizeof *arena->pages, (void **)&arena->pages, error);
    if (status == KVB_OK)
        status = kvb_bench_allocate(suite, arena->n_pages * sizeof *arena->last, (void **)&arena->last, error);
    return status == KVB_OK ? fill(arena, memory, error) : status;
}

void kvb_bench_arena_account(kvb_bench_arena *arena, size_t first, size_t n, double *touched, double *reuse) {
    for (size_t i = 0; i < n; i++) {
        double *last = &arena->last[(first + i) % arena->n_pages];
        if (*last >= 0.0 && *touched - *last < *reuse)
            *reuse = *touched - *last;
        *last = *touched;
        *touched += (double)arena->page_bytes;
    }
}

static double side_bytes(const kvb_codec *codec, int dim) {
    return codec ? kvb_codec_bits_per_value(codec) * dim / 8.0 : 2.0 * dim;
}

double kvb_bench_token_bytes(const kvb_layer_format *format) {
    return side_bytes(format->k_codec, format->k_dim) + side_bytes(format->v_codec, format->v_dim);
}
