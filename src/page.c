/* Pages: where the blocks of a layer's heads lie. */
#include "codec.h"
#include "memory.h"
#include "page.h"

static kvb_status check_dim(const char *side, int dim, const kvb_codec *codec, kvb_error *error) {
    if (!kvb_head_dim_supported(dim, KVB_ROTATION_NONE)) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s_dim %d is not a multiple of 8 from %d to %d", side, dim,
                             KVB_MIN_HEAD_DIM, KVB_MAX_HEAD_DIM);
    }
    if (codec && codec->spec.head_dim != dim) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s_dim %d is not the head_dim %d of its codec", side, dim,
                             codec->spec.head_dim);
    }
    return KVB_OK;
}

kvb_status kvb_latent_codec_check(const kvb_codec_spec *k, kvb_error *error) {
    if (k->rotation != KVB_ROTATION_NONE) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "rotation %d mixes the keys of a latent layer; a prefix of them needs rotation 0 (none)",
                             (int)k->rotation);
    }
    return KVB_OK;
}

static kvb_status check_latent(const kvb_layer_format *format, kvb_error *error) {
    if (format->v_codec) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "v_codec is given for a latent layer; its values are prefixes of the keys, so it is NULL");
    }
    if (format->v_dim > format->k_dim) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "v_dim %d of a latent layer is more than its k_dim %d",
                             format->v_dim, format->k_dim);
    }
    return format->k_codec ? kvb_latent_codec_check(&format->k_codec->spec, error) : KVB_OK;
}

kvb_status kvb_layer_format_check(const kvb_layer_format *format, kvb_error *error) {
    if (!format) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "format is NULL");
    }
    if (format->n_kv_heads < 1 || format->n_kv_heads > KVB_MAX_KV_HEADS) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "n_kv_heads %d is not from 1 to %d", format->n_kv_heads,
                             KVB_MAX_KV_HEADS);
    }
    kvb_status status;
    if ((status = check_dim("k", format->k_dim, format->k_codec, error)) ||
        (status = check_dim("v", format->v_dim, format->v_codec, error))) {
        return status;
    }
    if (format->dense != KVB_F16 && format->dense != KVB_BF16) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "dense %d is not 1 (f16) or 2 (bf16)", (int)format->dense);
    }
    int tokens = format->page_tokens;
    if (tokens < KVB_MIN_PAGE_TOKENS || tokens > KVB_MAX_PAGE_TOKENS || (tokens & (tokens - 1)) != 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "page_tokens %d is not a power of two from %d to %d", tokens,
                             KVB_MIN_PAGE_TOKENS, KVB_MAX_PAGE_TOKENS);
    }
    return format->v_prefix_of_k ? check_latent(format, error) : KVB_OK;
}

size_t kvb_page_block_bytes(size_t row_bytes, int page_tokens) {
    size_t bytes = row_bytes * (size_t)page_tokens;
    return (bytes + KVB_BLOCK_ALIGNMENT - 1) / KVB_BLOCK_ALIGNMENT * KVB_BLOCK_ALIGNMENT;
}

static size_t block_bytes(const kvb_layer_format *format, int dim, const kvb_codec *codec) {
    return kvb_page_block_bytes(codec ? kvb_codec_block_bytes(codec, 1) : (size_t)dim * sizeof(uint16_t),
                                format->page_tokens);
}

static size_t head_bytes(const kvb_layer_format *format) {
    size_t keys = block_bytes(format, format->k_dim, format->k_codec);
    return format->v_prefix_of_k ? keys : keys + block_bytes(format, format->v_dim, format->v_codec);
}

size_t kvb_page_bytes(const kvb_layer_format *format) {
    size_t bytes;
    return kvb_size_multiply(head_bytes(format), (size_t)format->n_kv_heads, &bytes) ? bytes : 0;
}

size_t kvb_page_block_offset(const kvb_layer_format *format, int head, int side) {
    size_t start = (size_t)head * head_bytes(format);
    return side == 0 || format->v_prefix_of_k ? start : start + block_bytes(format, format->k_dim, format->k_codec);
}

const void *kvb_page_block(const kvb_layer_format *format, const void *page, int head, int side) {
    return (const uint8_t *)page + kvb_page_block_offset(format, head, side);
}

void kvb_kv_view_from_table(kvb_kv_view *view, const void **pages, const void *base, size_t page_stride,
                            const int32_t *table, size_t n) {
    for (size_t i = 0; i < n; i++) {
        pages[i] = table[i] < 0 ? NULL : (const uint8_t *)base + (size_t)table[i] * page_stride;
    }
    view->pages = pages;
}
