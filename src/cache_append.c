/* Appending: everything that callers pass is checked here, then memory is taken, then rows are written. */
#include "cache.h"
#include "half.h"
#include "memory.h"
#include "rows.h"

#include <math.h>

/* One side of the caller's rows, strides filled in. */
typedef struct side_rows {
    const char *name;
    const uint8_t *rows;
    kvb_dtype dtype;
    int64_t n_tokens;
    int n_heads, dim;
    size_t token_stride, head_stride;
} side_rows;

/* ---- Shape ---- */

static kvb_status check_side(const side_rows *s, kvb_error *error) {
    size_t bytes = kvb_dtype_bytes(s->dtype);
    if (!s->rows || (uintptr_t)s->rows % bytes != 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s are %s; they must be aligned to values of %zu bytes",
                             s->name, s->rows ? "misaligned" : "NULL", bytes);
    }
    if (s->token_stride < (size_t)s->dim || s->head_stride < (size_t)s->dim) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "strides %zu and %zu of the %s: both must be at least %d",
                             s->token_stride, s->head_stride, s->name, s->dim);
    }
    size_t tokens, heads, n;
    if ((uint64_t)s->n_tokens > SIZE_MAX || !kvb_size_multiply(s->token_stride, (size_t)s->n_tokens, &tokens) ||
        !kvb_size_multiply(s->head_stride, (size_t)s->n_heads, &heads) || !kvb_size_add(tokens, heads, &n) ||
        !kvb_size_multiply(n, bytes, &n)) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "strides %zu and %zu of the %s reach beyond the address space",
                             s->token_stride, s->head_stride, s->name);
    }
    return KVB_OK;
}

/* The strides that 0 stands for. */
static void fill_strides(int n_heads, int dim, size_t *token_stride, size_t *head_stride) {
    *head_stride = *head_stride > 0 ? *head_stride : (size_t)dim;
    if (*token_stride == 0 && !kvb_size_multiply((size_t)n_heads, *head_stride, token_stride)) {
        *token_stride = SIZE_MAX; /* refused for its reach */
    }
}

static side_rows side_of(const kvb_layer_format *format, const kvb_kv_rows *rows, int side) {
    return (side_rows){.name = side == 0 ? "keys" : "values",
                       .rows = side == 0 ? rows->k : rows->v,
                       .dtype = rows->dtype,
                       .n_tokens = rows->n_tokens,
                       .n_heads = format->n_kv_heads,
                       .dim = side == 0 ? format->k_dim : format->v_dim,
                       .token_stride = side == 0 ? rows->k_token_stride : rows->v_token_stride,
                       .head_stride = side == 0 ? rows->k_head_stride : rows->v_head_stride};
}

/* ---- Values ---- */

static const uint8_t *row_at(const side_rows *s, int64_t token, int head) {
    size_t at = (size_t)token * s->token_stride + (size_t)head * s->head_stride;
    return s->rows + at * kvb_dtype_bytes(s->dtype);
}

static kvb_status report(const side_rows *s, int64_t token, int head, int coordinate, float value, const char *legal,
                         kvb_error *error) {
    return kvb_error_set(error, KVB_ERROR_NOT_FINITE, "token %lld head %d coordinate %d of the %s is %g; %s",
                         (long long)token, head, coordinate, s->name, (double)value, legal);
}

/* By heads of a token or by tokens of a head, whichever makes the longer batch for the backend. */
static kvb_status check_finite(const side_rows *s, const kvb_backend *backend, kvb_error *error) {
    int by_token = s->n_tokens < s->n_heads;
    int64_t n_batches = by_token ? s->n_tokens : s->n_heads;
    size_t n_rows = by_token ? (size_t)s->n_heads : (size_t)s->n_tokens;
    for (int64_t i = 0; i < n_batches; i++) {
        kvb_check_job job = {.rows = by_token ? row_at(s, i, 0) : row_at(s, 0, (int)i),
                             .dtype = s->dtype,
                             .head_dim = s->dim,
                             .row_stride = by_token ? s->head_stride : s->token_stride,
                             .n_rows = n_rows};
        size_t row = backend->check(&job);
        if (row < n_rows) {
            int64_t token = by_token ? i : (int64_t)row;
            int head = by_token ? (int)row : (int)i;
            float value = 0.0f;
            int coordinate = kvb_illegal_coordinate(row_at(s, token, head), s->dtype, s->dim, &value);
            return report(s, token, head, coordinate, value, "values must be finite, up to 2^58 in size", error);
        }
    }
    return KVB_OK;
}

/* A quick look that compilers make vectors of; patterns without the sign rise with the magnitude. */
static int fits_halves(const uint8_t *row, kvb_dtype dtype, int dim) {
    if (dtype != KVB_F32) {
        return 0; /* not known */
    }
    const float *floats = (const void *)row;
    int32_t large = 0;
    for (int i = 0; i < dim; i++) {
        large |= (int32_t)(kvb_bits_of(floats[i]) & 0x7fffffffu) >= 0x477ff000; /* 65520 */
    }
    return !large;
}

/* Of the first n_tokens tokens, none may become Inf in binary16. */
static kvb_status check_halves(const side_rows *s, int64_t n_tokens, kvb_error *error) {
    for (int64_t token = 0; token < n_tokens; token++) {
        for (int head = 0; head < s->n_heads; head++) {
            const uint8_t *row = row_at(s, token, head);
            if (fits_halves(row, s->dtype, s->dim)) {
                continue;
            }
            for (int i = 0; i < s->dim; i++) {
                float value = kvb_value_at(row + (size_t)i * kvb_dtype_bytes(s->dtype), s->dtype);
                if (!(fabsf(value) < 65520.0f)) {
                    return report(s, token, head, i, value, "what is kept in binary16 must be less than 65520 in size",
                                  error);
                }
            }
        }
    }
    return KVB_OK;
}

/* How many of the new tokens are rounded to halves before anything else. */
static int64_t rounded_tokens(const kvb_cache_layer *layer, int side, int64_t n_tokens, int64_t n_new) {
    const kvb_codec *codec = side == 0 ? layer->format.k_codec : layer->format.v_codec;
    if (!codec || layer->spec.exact_last > 0) {
        return n_new;
    }
    int64_t first = layer->spec.exact_first - n_tokens;
    return first < 0 ? 0 : first < n_new ? first : n_new;
}

static kvb_status check_values(const kvb_cache *cache, const kvb_cache_layer *layer, const kvb_cache_part *part,
                               const kvb_kv_rows *rows, kvb_error *error) {
    for (int side = 0; side < kvb_layer_sides(&layer->spec); side++) {
        side_rows s = side_of(&layer->format, rows, side);
        kvb_status status = check_finite(&s, cache->backend, error);
        if (status) {
            return status;
        }
        if (layer->spec.dense == KVB_F16 && rows->dtype != KVB_F16) {
            int64_t n = rounded_tokens(layer, side, part->n_tokens, rows->n_tokens);
            if ((status = check_halves(&s, n, error))) {
                return status;
            }
        }
    }
    return KVB_OK;
}

/* ---- The call ---- */

static kvb_status check_shape(const kvb_cache *cache, const kvb_cache_layer *layer, const kvb_cache_part *part,
                              const kvb_kv_rows *rows, kvb_error *error) {
    if (kvb_dtype_bytes(rows->dtype) == 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "dtype %d is not 0 (f32), 1 (f16) or 2 (bf16)",
                             (int)rows->dtype);
    }
    if (rows->n_tokens < 0 || rows->n_tokens > cache->spec.max_tokens - part->n_tokens) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "n_tokens %lld is not from 0 to the %lld that are left of max_tokens %lld",
                             (long long)rows->n_tokens, (long long)(cache->spec.max_tokens - part->n_tokens),
                             (long long)cache->spec.max_tokens);
    }
    for (int side = 0; side < kvb_layer_sides(&layer->spec) && rows->n_tokens > 0; side++) {
        side_rows s = side_of(&layer->format, rows, side);
        kvb_status status = check_side(&s, error);
        if (status) {
            return status;
        }
    }
    return KVB_OK;
}

kvb_status kvb_cache_append(kvb_cache *cache, int sequence, int layer_index, const kvb_kv_rows *rows,
                            kvb_error *error) {
    kvb_status status = kvb_cache_check(cache, sequence, layer_index, error);
    if (status) {
        return status;
    }
    if (!rows) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "rows is NULL");
    }
    const kvb_cache_layer *layer = &cache->layers[layer_index];
    kvb_cache_part *part = kvb_cache_part_of(cache, sequence, layer_index);
    kvb_kv_rows filled = *rows;
    fill_strides(layer->format.n_kv_heads, layer->format.k_dim, &filled.k_token_stride, &filled.k_head_stride);
    fill_strides(layer->format.n_kv_heads, layer->format.v_dim, &filled.v_token_stride, &filled.v_head_stride);
    if ((status = check_shape(cache, layer, part, &filled, error)) || filled.n_tokens == 0 ||
        (status = check_values(cache, layer, part, &filled, error))) {
        return status;
    }
    int64_t n_tokens = part->n_tokens + filled.n_tokens;
    kvb_pool_plan(&cache->pool);
    kvb_part_want(cache, layer, part, n_tokens);
    if ((status = kvb_pool_check(&cache->pool, error))) {
        return status;
    }
    kvb_part_take(cache, layer, part, n_tokens);
    kvb_part_write(cache, layer, part, &filled);
    return KVB_OK;
}
