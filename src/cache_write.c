/* Rows into the pages and exact blocks of a part. */
#include "cache.h"
#include "rows.h"

#include <string.h>

/* Rows of one side: token i, head h begins at rows + i * token_stride + h * head_stride, in values. */
typedef struct row_source {
    const uint8_t *rows;
    kvb_dtype dtype;
    size_t token_stride, head_stride;
} row_source;

static const uint8_t *row_at(const row_source *source, int64_t token, int head) {
    size_t at = (size_t)token * source->token_stride + (size_t)head * source->head_stride;
    return source->rows + at * kvb_dtype_bytes(source->dtype);
}

/* ---- One side of a layer ---- */

typedef struct side_writer {
    kvb_cache *cache;
    const kvb_cache_layer *layer;
    kvb_cache_part *part;
    int side;
    int dim;
    const kvb_codec *codec; /* NULL: dense */
    const float *mean;      /* [head][dim]: encoded rows are less it; NULL: they are as they came */
    row_source input;       /* token 0 is the part's n_tokens */
} side_writer;

static void round_row(const uint8_t *row, kvb_dtype dtype, kvb_dtype dense, int dim, void *out) {
    uint16_t *halves = out;
    if (dtype == dense) {
        memcpy(halves, row, (size_t)dim * sizeof *halves);
        return;
    }
    if (dtype == KVB_F32 && dense == KVB_F16) { /* what compilers make vectors of */
        const float *floats = (const void *)row;
        for (int i = 0; i < dim; i++) {
            halves[i] = kvb_float_to_half(floats[i]);
        }
        return;
    }
    for (int i = 0; i < dim; i++) {
        float value = kvb_value_at(row + (size_t)i * kvb_dtype_bytes(dtype), dtype);
        halves[i] = dense == KVB_F16 ? kvb_float_to_half(value) : kvb_float_to_bfloat(value);
    }
}

/* A row less its head's mean. With exact last tokens it was rounded before, as all rows of such a layer are. */
static void center_row(const void *row, kvb_dtype dtype, const float *mean, int dim, float *out) {
    for (int i = 0; i < dim; i++) {
        out[i] = kvb_value_at((const uint8_t *)row + (size_t)i * kvb_dtype_bytes(dtype), dtype) - mean[i];
    }
}

static void encode_centered(const side_writer *w, const row_source *source, int64_t token, int head, int64_t n,
                            kvb_packed *packed, int64_t row) {
    kvb_dtype dense = w->layer->spec.dense;
    int is_rounded = w->layer->spec.exact_last > 0 && source->dtype != dense;
    uint16_t halves[KVB_MAX_HEAD_DIM];
    float centered[KVB_MAX_HEAD_DIM];
    for (int64_t i = 0; i < n; i++) {
        const void *from = row_at(source, token + i, head);
        if (is_rounded) {
            round_row(from, source->dtype, dense, w->dim, halves);
            from = halves;
        }
        center_row(from, is_rounded ? dense : source->dtype, w->mean + (size_t)head * (size_t)w->dim, w->dim, centered);
        kvb_encode_unchecked(w->codec, centered, KVB_F32, KVB_MAX_HEAD_DIM, 1, packed, (size_t)(row + i),
                             &w->cache->stats);
    }
}

/* One head of n tokens, from `token` of the source on, into rows of one block. */
static void encode_rows(const side_writer *w, const row_source *source, int64_t token, int head, int64_t n,
                        uint8_t *block, int64_t row) {
    enum { staged_rows = 8 };
    kvb_packed packed = kvb_packed_view(w->codec, block, (size_t)w->layer->format.page_tokens);
    kvb_dtype dense = w->layer->spec.dense;
    if (w->mean) {
        encode_centered(w, source, token, head, n, &packed, row);
        return;
    }
    if (w->layer->spec.exact_last == 0 || source->dtype == dense) {
        kvb_encode_unchecked(w->codec, row_at(source, token, head), source->dtype, source->token_stride, (size_t)n,
                             &packed, (size_t)row, &w->cache->stats);
        return;
    }
    uint16_t staged[staged_rows][KVB_MAX_HEAD_DIM];
    for (int64_t done = 0; done < n; done += staged_rows) {
        int64_t now = n - done < staged_rows ? n - done : staged_rows;
        for (int64_t i = 0; i < now; i++) {
            round_row(row_at(source, token + done + i, head), source->dtype, dense, w->dim, staged[i]);
        }
        kvb_encode_unchecked(w->codec, staged, dense, KVB_MAX_HEAD_DIM, (size_t)now, &packed, (size_t)(row + done),
                             &w->cache->stats);
    }
}

/* n tokens, from `token` of the source on, to positions first, first + 1, ..., all in one page. */
static void write_page(const side_writer *w, const row_source *source, int64_t token, int64_t first, int64_t n) {
    const kvb_layer_format *format = &w->layer->format;
    uint8_t *page = w->part->pages[first / format->page_tokens];
    int64_t row = first % format->page_tokens;
    for (int head = 0; head < format->n_kv_heads; head++) {
        uint8_t *block = page + kvb_page_block_offset(format, head, w->side);
        if (w->codec) {
            encode_rows(w, source, token, head, n, block, row);
            continue;
        }
        for (int64_t i = 0; i < n; i++) {
            round_row(row_at(source, token + i, head), source->dtype, format->dense, w->dim,
                      block + (size_t)(row + i) * (size_t)w->dim * sizeof(uint16_t));
        }
    }
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Positions [begin, end) from the ring into pages: runs end with the page and with the ring. */
static void pack_ring(const side_writer *w, int64_t begin, int64_t end) {
    if (begin >= end) {
        return; /* there may be no exact block */
    }
    const kvb_layer_format *format = &w->layer->format;
    int slots = w->layer->spec.exact_last;
    row_source ring = {.rows = w->part->exact + w->layer->exact.last[w->side],
                       .dtype = format->dense,
                       .token_stride = (size_t)format->n_kv_heads * (size_t)w->dim,
                       .head_stride = (size_t)w->dim};
    while (begin < end) {
        int64_t slot = begin % slots;
        int64_t n = least(least(end - begin, slots - slot), format->page_tokens - begin % format->page_tokens);
        write_page(w, &ring, slot, begin, n);
        begin += n;
    }
}

static void pack_input(const side_writer *w, int64_t begin, int64_t end) {
    int page_tokens = w->layer->format.page_tokens;
    while (begin < end) {
        int64_t n = least(end - begin, page_tokens - begin % page_tokens);
        write_page(w, &w->input, begin - w->part->n_tokens, begin, n);
        begin += n;
    }
}

/* Positions [begin, end) as they are into an array of raw rows; position p lies in slot p % slots. */
static void keep_exact(const side_writer *w, int64_t begin, int64_t end, size_t array, int slots) {
    int n_heads = w->layer->format.n_kv_heads;
    size_t row_bytes = (size_t)w->dim * sizeof(uint16_t);
    for (int64_t position = begin; position < end; position++) {
        uint8_t *token = w->part->exact + array + (size_t)(position % slots) * (size_t)n_heads * row_bytes;
        for (int head = 0; head < n_heads; head++) {
            round_row(row_at(&w->input, position - w->part->n_tokens, head), w->input.dtype, w->layer->spec.dense,
                      w->dim, token + (size_t)head * row_bytes);
        }
    }
}

/* What leaves the ring is encoded before its slots are written again. */
static void write_side(const side_writer *w, int64_t packed_end, int64_t n_tokens) {
    const kvb_layer_spec *spec = &w->layer->spec;
    int64_t old_end = w->part->n_tokens, first = spec->exact_first;
    pack_ring(w, w->part->packed_end, least(old_end, packed_end));
    pack_input(w, most(old_end, first), packed_end);
    keep_exact(w, old_end, least(first, n_tokens), w->layer->exact.first[w->side], spec->exact_first);
    keep_exact(w, most(old_end, packed_end), n_tokens, w->layer->exact.last[w->side], spec->exact_last);
}

void kvb_part_write(kvb_cache *cache, const kvb_cache_layer *layer, kvb_cache_part *part, const kvb_kv_rows *rows) {
    int64_t n_tokens = part->n_tokens + rows->n_tokens;
    int64_t packed_end = kvb_layer_packed_end(&layer->spec, part->packed_end, n_tokens);
    for (int side = 0; side < kvb_layer_sides(&layer->spec); side++) {
        side_writer w = {.cache = cache,
                         .layer = layer,
                         .part = part,
                         .side = side,
                         .dim = side == 0 ? layer->format.k_dim : layer->format.v_dim,
                         .codec = side == 0 ? layer->format.k_codec : layer->format.v_codec,
                         .mean = side == 0 ? layer->spec.k_mean : NULL,
                         .input = {.rows = side == 0 ? rows->k : rows->v,
                                   .dtype = rows->dtype,
                                   .token_stride = side == 0 ? rows->k_token_stride : rows->v_token_stride,
                                   .head_stride = side == 0 ? rows->k_head_stride : rows->v_head_stride}};
        write_side(&w, packed_end, n_tokens);
    }
    kvb_part_grow(layer, part, n_tokens);
}
