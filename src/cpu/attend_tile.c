/* The ends of a tile: queries in, outputs out. */
#include "codec.h"
#include "cpu/attend.h"
#include "page.h"
#include "softmax.h"

#include <string.h>

int kvb_attend_tile_queries(const kvb_attend_item *item) {
    int group = item->n_heads / item->kv->format->n_kv_heads;
    int queries = group < KVB_TILE_ROWS ? KVB_TILE_ROWS / group : 1;
    return queries < item->n_q ? queries : item->n_q;
}

static int is_rotated(const kvb_codec *codec) {
    return codec && codec->spec.rotation != KVB_ROTATION_NONE;
}

int kvb_attend_accumulator_dim(const kvb_kv_view *kv) {
    int is_apart = is_rotated(kv->format->v_codec) && (kv->exact_first > 0 || kv->exact_last > 0);
    return is_apart ? 2 * kv->format->v_dim : kv->format->v_dim;
}

/* The codes of packed rows as kernels read them. */
static void find_codes(kvb_attend_side *side, const kvb_cpu_ops *ops) {
    const kvb_codec_tables *parts;
    int n = kvb_codec_parts(side->tables, &parts);
    side->n_codes = n;
    for (int i = 0, plane = 0; i < n; plane += parts[i++].n_planes) {
        const kvb_codec_tables *read = parts[i].trellis_states ? kvb_straight_tables(&parts[i], ops) : &parts[i];
        side->codes[i] = (kvb_attend_code){&parts[i], read, plane};
        side->n_codes = read ? side->n_codes : 0;
    }
}

static kvb_attend_side side_of(const kvb_kv_view *kv, int head, int is_v, const kvb_cpu_ops *ops) {
    const kvb_layer_format *format = kv->format;
    const kvb_codec *codec = is_v ? format->v_codec : format->k_codec;
    kvb_attend_side side = {.dense = format->dense,
                            .dim = is_v ? format->v_dim : format->k_dim,
                            .block = kvb_page_block_offset(format, head, is_v)};
    if (codec) {
        side.tables = &codec->tables;
        find_codes(&side, ops);
        /* Offsets, as a view of a block at address 0 would be undefined. */
        size_t offset = (size_t)format->page_tokens * kvb_dtype_bytes(side.tables->scale_dtype);
        for (int p = 0; p < side.tables->n_planes; p++) {
            side.planes[p] = offset;
            offset += (size_t)format->page_tokens * (size_t)side.tables->plane_bytes[p];
        }
    }
    size_t row_bytes = (size_t)side.dim * sizeof(uint16_t);
    side.exact_stride = (size_t)format->n_kv_heads * row_bytes;
    side.exact_first = is_v ? kv->exact_first_v : kv->exact_first_k;
    side.exact_last = is_v ? kv->exact_last_v : kv->exact_last_k;
    side.exact_first = side.exact_first ? side.exact_first + (size_t)head * row_bytes : NULL;
    side.exact_last = side.exact_last ? side.exact_last + (size_t)head * row_bytes : NULL;
    return side;
}

/* Those tokens that some query of the tile sees lie in [begin, end). */
static void find_range(kvb_attend_tile *tile) {
    int64_t n_tokens = tile->item->kv->n_tokens;
    tile->begin = n_tokens;
    tile->end = 0;
    for (int i = 0; i < tile->n_q; i++) {
        kvb_visible visible = kvb_visible_to(tile->item, tile->first_q + i);
        if (visible.begin < visible.end) {
            tile->begin = visible.begin < tile->begin ? visible.begin : tile->begin;
            tile->end = visible.end > tile->end ? visible.end : tile->end;
        }
        if (visible.tree_begin < n_tokens) {
            tile->begin = visible.tree_begin < tile->begin ? visible.tree_begin : tile->begin;
            tile->end = n_tokens;
        }
    }
    tile->begin = tile->begin < tile->end ? tile->begin : tile->end;
}

/* 1 when packed rows can become floats as they are multiplied. */
static int takes_floats(const kvb_attend_side *side, const kvb_cpu_ops *ops) {
    int takes = side->n_codes > 0;
    for (int i = 0; i < side->n_codes; i++) {
        const kvb_codec_tables *code = side->codes[i].read;
        takes &= code->bits <= ops->packed_floats_bits && code->fixed_is_exact;
    }
    return takes;
}

/* How packed rows are multiplied. */
static void choose_steps(kvb_attend_tile *tile, const kvb_cpu_ops *ops) {
    const kvb_attend_side *v = kvb_attend_values(tile);
    int is_fast = tile->item->precision == KVB_PRECISION_FAST, is_few = tile->n_q * tile->group <= KVB_FEW_ROWS;
    tile->k_is_fast = is_fast && ops->dot_packed && tile->k.n_codes > 0;
    tile->v_is_fast = is_fast && ops->add_packed && v->n_codes > 0;
    tile->k_is_packed = tile->k_is_fast || (is_few && takes_floats(&tile->k, ops));
    tile->v_is_packed = tile->v_is_fast || (is_few && takes_floats(v, ops));
    tile->v_is_ordered = tile->v_is_fast && ops->add_ordered && is_few;
}

void kvb_attend_tile_open(kvb_attend_tile *tile, const kvb_attend_item *item, int kv_head, int first_q,
                          const kvb_cpu_ops *ops) {
    int queries = kvb_attend_tile_queries(item);
    tile->item = item;
    tile->kv_head = kv_head;
    tile->group = item->n_heads / item->kv->format->n_kv_heads;
    tile->first_q = first_q;
    tile->n_q = item->n_q - first_q < queries ? item->n_q - first_q : queries;
    tile->k = side_of(item->kv, kv_head, 0, ops);
    tile->v = side_of(item->kv, kv_head, 1, ops);
    tile->k_is_rotated = is_rotated(item->kv->format->k_codec);
    tile->v_is_k = item->kv->format->v_prefix_of_k;
    choose_steps(tile, ops);
    tile->accumulator_dim = kvb_attend_accumulator_dim(item->kv);
    tile->first_part = tile->n_parts = 0;
    tile->is_begun = tile->is_complete = 0;
    find_range(tile);
}

/* <q, mean key>: in double precision and in order, so that no backend differs. */
static void find_mean_dots(kvb_attend_tile *tile) {
    size_t dim = (size_t)tile->k.dim;
    const float *mean = tile->item->kv->k_mean + (size_t)tile->kv_head * dim;
    for (int r = 0; r < tile->n_q * tile->group; r++) {
        double sum = 0.0;
        for (size_t i = 0; i < dim; i++) {
            sum += (double)tile->q[(size_t)r * dim + i] * mean[i];
        }
        tile->mean_dots[r] = (float)sum;
    }
}

/* Queries as packed keys are multiplied with. */
static void turn_queries(kvb_attend_tile *tile, const kvb_cpu_ops *ops) {
    size_t n = tile->k_is_packed ? (size_t)tile->k.n_codes : 1, n_rows = (size_t)(tile->n_q * tile->group);
    size_t dim = (size_t)tile->k.dim, of_code = dim / n;
    for (size_t r = 0; r < n_rows; r++) {
        _Alignas(64) float row[KVB_MAX_HEAD_DIM];
        memcpy(row, tile->q + r * dim, dim * sizeof *row);
        if (tile->k_is_rotated) {
            kvb_rotate_job job = {tile->k.tables, row, dim, 1, 0};
            kvb_cpu_rotate(&job, ops);
        }
        for (size_t i = 0; i < n; i++) {
            memcpy(tile->packed_q + (i * n_rows + r) * of_code, row + i * of_code, of_code * sizeof *row);
        }
    }
    for (size_t i = 0; tile->k_is_fast && i < n; i++) {
        ops->fix_queries(tile->k.codes[i].read, tile->packed_q + i * n_rows * of_code, (int)n_rows,
                         tile->fixed_q + i * n_rows * kvb_fixed_query((int)of_code), tile->fixed_factors + i * n_rows);
    }
}

void kvb_attend_tile_begin(kvb_attend_tile *tile, const kvb_cpu_ops *ops) {
    const kvb_attend_item *item = tile->item;
    size_t dim = (size_t)tile->k.dim, bytes = kvb_dtype_bytes(item->q_dtype);
    int n_rows = tile->n_q * tile->group;
    for (int r = 0; r < n_rows; r++) {
        size_t query = (size_t)(tile->first_q + r / tile->group);
        size_t head = (size_t)(tile->kv_head * tile->group + r % tile->group);
        size_t at = query * item->q_token_stride + head * item->q_head_stride;
        ops->load((const uint8_t *)item->q + at * bytes, item->q_dtype, tile->k.dim, tile->q + (size_t)r * dim);
    }
    if (tile->k.tables) {
        turn_queries(tile, ops);
    }
    if (item->kv->k_mean) {
        find_mean_dots(tile);
    }
    for (int i = 0; i < tile->n_q; i++) {
        tile->visible[i] = kvb_visible_to(item, tile->first_q + i);
    }
    kvb_attend_states_clear(&tile->states, n_rows, tile->accumulator_dim);
    tile->is_begun = 1;
}

/* One row's sums become its output, where they came from. */
static void finish_row(const kvb_attend_tile *tile, int row, const kvb_cpu_ops *ops) {
    const kvb_attend_item *item = tile->item;
    int head = tile->kv_head * tile->group + row % tile->group, dim = tile->v.dim;
    size_t query = (size_t)(tile->first_q + row / tile->group);
    float *out = item->out + query * item->out_token_stride + (size_t)head * item->out_head_stride;
    const float *sums = tile->states.accumulators + (size_t)row * (size_t)tile->accumulator_dim;
    float lse;
    float factor = kvb_softmax_normalize(tile->states.max[row], tile->states.sum[row],
                                         item->sinks ? item->sinks[head] : -INFINITY, &lse);
    for (int i = 0; i < dim; i++) {
        out[i] = sums[i] * factor;
    }
    if (tile->v.tables) {
        kvb_rotate_job job = {tile->v.tables, out, (size_t)dim, 1, 1};
        kvb_cpu_rotate(&job, ops);
    }
    for (int i = dim; i < tile->accumulator_dim; i++) {
        out[i - dim] += sums[i] * factor;
    }
    if (item->lse) {
        item->lse[query * (size_t)item->n_heads + (size_t)head] = lse;
    }
}

void kvb_attend_tile_end(kvb_attend_tile *tile, const kvb_attend_part *parts, const kvb_cpu_ops *ops) {
    int n_rows = tile->n_q * tile->group, dim = tile->accumulator_dim;
    for (size_t p = tile->first_part; p < tile->first_part + tile->n_parts; p++) {
        const kvb_attend_states *from = &parts[p].states;
        for (int r = 0; r < n_rows; r++) {
            size_t at = (size_t)r * (size_t)dim;
            kvb_softmax_join(&tile->states.max[r], &tile->states.sum[r], tile->states.accumulators + at, from->max[r],
                             from->sum[r], from->accumulators + at, dim);
        }
    }
    for (int r = 0; tile->is_complete && r < n_rows; r++) {
        finish_row(tile, r, ops);
    }
}
