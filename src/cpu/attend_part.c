/* Attention of a tile's rows on the tokens of one part: decode a few keys, weigh, decode their values, add. */
#include "cpu/attend.h"
#include "softmax.h"

#include <string.h>

void kvb_attend_states_clear(const kvb_attend_states *states, int n_rows, int dim) {
    for (int r = 0; r < n_rows; r++) {
        kvb_softmax_state state;
        kvb_softmax_begin(&state, states->accumulators + (size_t)r * (size_t)dim, dim);
        states->max[r] = state.max;
        states->sum[r] = state.sum;
    }
}

/* Packed rows of a page, and where those of the next run lie. */
static kvb_packed_run stored_run(const kvb_attend_side *side, const kvb_token_run *run, int n,
                                 const kvb_token_run *next) {
    uint8_t *block = (uint8_t *)run->page + side->block; /* read only, but kvb_packed serves writers too */
    kvb_packed_run rows = {.tables = side->tables, .packed = {.scales = block}, .first_row = run->row, .n_rows = n};
    int is_known = next && next->source == KVB_SOURCE_PAGE && next->page;
    const uint8_t *next_block = is_known ? (const uint8_t *)next->page + side->block : NULL;
    for (int p = 0; p < side->tables->n_planes; p++) {
        rows.packed.planes[p] = block + side->planes[p];
        size_t bytes = (size_t)side->tables->plane_bytes[p];
        rows.next[p] = is_known ? next_block + side->planes[p] + next->row * bytes : NULL;
    }
    if (is_known) {
        __builtin_prefetch(next_block + next->row * kvb_dtype_bytes(side->tables->scale_dtype));
    }
    return rows;
}

/* The same as kernels read them. */
static kvb_packed_run packed_run(const kvb_attend_side *side, const kvb_token_run *run, int n,
                                 const kvb_token_run *next, const kvb_attend_work *work, const kvb_cpu_ops *ops) {
    kvb_packed_run rows = stored_run(side, run, n, next);
    return side->tables->trellis_states ? kvb_straighten(&rows, work->straight, ops) : rows;
}

/* Where row `row` of a source lies that holds rows as they came. */
static const uint8_t *half_row(const kvb_attend_side *side, const kvb_token_run *run, size_t *stride) {
    *stride = side->exact_stride;
    const uint8_t *rows = run->source == KVB_SOURCE_EXACT_FIRST ? side->exact_first : side->exact_last;
    if (run->source == KVB_SOURCE_PAGE) {
        *stride = (size_t)side->dim * sizeof(uint16_t);
        rows = (const uint8_t *)run->page + side->block;
    }
    return rows + run->row * *stride;
}

/* Rows as they came, in pages or beside them, and where those of the next run lie. */
static kvb_half_run half_run(const kvb_attend_side *side, const kvb_token_run *run, int n, const kvb_token_run *next) {
    kvb_half_run rows = {.dtype = side->dense, .n_rows = n, .dim = side->dim};
    rows.rows = half_row(side, run, &rows.stride);
    if (next && next->source == run->source && (next->source != KVB_SOURCE_PAGE || next->page)) {
        size_t stride;
        rows.next = half_row(side, next, &stride);
    }
    return rows;
}

/* 1 when the run's rows are multiplied as they lie. */
static int takes_halves(const kvb_attend_tile *tile, const kvb_attend_side *side, const kvb_token_run *run,
                        const kvb_cpu_ops *ops) {
    int is_packed = run->source == KVB_SOURCE_PAGE && side->tables;
    return !is_packed && ops->dot_halves && tile->n_q * tile->group <= KVB_FEW_ROWS;
}

/* 1 when packed rows become floats as they are multiplied. */
static int takes_packed(const kvb_attend_tile *tile, const kvb_attend_side *side, const kvb_token_run *run,
                        const kvb_cpu_ops *ops) {
    int is_packed = run->source == KVB_SOURCE_PAGE && side->tables;
    return is_packed && side->codes && side->codes->bits <= ops->packed_floats_bits && side->codes->fixed_is_exact &&
           tile->n_q * tile->group <= KVB_FEW_ROWS;
}

/* The run's rows of one side as floats, side->dim apart: rotated when they lie packed in a page, else as they came. */
static void read_rows(const kvb_attend_side *side, const kvb_token_run *run, int n, float *out,
                      const kvb_cpu_ops *ops) {
    size_t dim = (size_t)side->dim;
    if (run->source == KVB_SOURCE_PAGE && side->tables) {
        kvb_packed_run rows = stored_run(side, run, n, NULL);
        kvb_decode_job job = {.tables = rows.tables,
                              .packed = rows.packed,
                              .first_row = rows.first_row,
                              .n_rows = (size_t)n,
                              .domain = KVB_DOMAIN_ROTATED,
                              .out = out,
                              .row_stride = dim};
        kvb_cpu_decode(&job, ops);
        return;
    }
    kvb_half_run rows = half_run(side, run, n, NULL);
    for (int t = 0; t < n; t++) {
        ops->load(rows.rows + (size_t)t * rows.stride, side->dense, side->dim, out + (size_t)t * dim);
    }
}

/* Visible tokens of each query among n; 0 when there are none at all. */
static int find_visible(const kvb_attend_tile *tile, int64_t first, int n, uint32_t *bits) {
    uint32_t any = 0;
    for (int i = 0; i < tile->n_q; i++) {
        bits[i] = kvb_visible_bits(tile->item, tile->first_q + i, &tile->visible[i], first, n);
        any |= bits[i];
    }
    return any != 0;
}

static void dot(const kvb_attend_tile *tile, const kvb_token_run *run, int n, const kvb_token_run *next,
                const kvb_attend_work *work, const kvb_cpu_ops *ops) {
    int n_rows = tile->n_q * tile->group, is_page = run->source == KVB_SOURCE_PAGE;
    const float *q = is_page && tile->k_is_rotated ? tile->rotated_q : tile->q;
    if (is_page && tile->k_is_fast) {
        kvb_packed_run keys = packed_run(&tile->k, run, n, next, work, ops);
        ops->dot_packed(&keys, tile->fixed_q, tile->fixed_factors, n_rows, work->fixed, work->weights);
    } else if (takes_halves(tile, &tile->k, run, ops)) {
        kvb_half_run keys = half_run(&tile->k, run, n, next);
        ops->dot_halves(tile->q, n_rows, &keys, work->weights);
    } else if (takes_packed(tile, &tile->k, run, ops)) {
        kvb_packed_run keys = packed_run(&tile->k, run, n, next, work, ops);
        ops->dot_packed_floats(&keys, q, n_rows, work->fixed, work->weights);
    } else {
        read_rows(&tile->k, run, n, work->k, ops);
        ops->dot_rows(q, n_rows, work->k, n, tile->k.dim, work->weights);
    }
}

/* Dots with keys of a page that are stored less their mean become dots with the keys. */
static void add_mean(const kvb_attend_tile *tile, const kvb_token_run *run, int n, const kvb_attend_work *work) {
    if (!tile->item->kv->k_mean || run->source != KVB_SOURCE_PAGE) {
        return;
    }
    for (int r = 0; r < tile->n_q * tile->group; r++) {
        float *dots = work->weights + (size_t)r * KVB_TILE_TOKENS;
        for (int t = 0; t < n; t++) {
            dots[t] += tile->mean_dots[r];
        }
    }
}

/* Of n rows from r on. */
static void weigh_rows(const kvb_attend_part *part, int r, int n, const kvb_attend_work *work, float *factors,
                       const kvb_cpu_ops *ops) {
    const kvb_attend_tile *tile = part->tile;
    const kvb_attend_item *item = tile->item;
    float *weights = work->weights + (size_t)r * KVB_TILE_TOKENS, *max = part->states.max + r;
    float *sum = part->states.sum + r;
    uint32_t bits[KVB_WEIGH_ROWS];
    for (int i = 0; i < n; i++) {
        bits[i] = work->bits[(r + i) / tile->group];
    }
    if (n == KVB_WEIGH_ROWS && ops->weigh_many) {
        ops->weigh_many(weights, bits, item->scale, item->softcap, max, sum, factors);
        return;
    }
    for (int i = 0; i < n; i++) {
        factors[i] = ops->weigh(weights + i * KVB_TILE_TOKENS, bits[i], item->scale, item->softcap, max + i, sum + i);
    }
}

static void shrink(float *sums, size_t n, float factor) {
    for (size_t i = 0; i < n; i++) {
        sums[i] *= factor;
    }
}

/* Sums in an order of their own, per row; 0 where values have none. */
static size_t ordered_dim(const kvb_attend_tile *tile) {
    return tile->v_is_ordered ? KVB_ORDERED_DIM((tile->v_is_k ? tile->k : tile->v).dim) : 0;
}

/* Dots become weights; a row's sums so far shrink when its maximum rises. */
static void weigh(const kvb_attend_part *part, const kvb_attend_work *work, const kvb_cpu_ops *ops) {
    const kvb_attend_tile *tile = part->tile;
    size_t dim = (size_t)tile->accumulator_dim, ordered = ordered_dim(tile);
    int n_rows = tile->n_q * tile->group;
    for (int first = 0; first < n_rows; first += KVB_WEIGH_ROWS) {
        float factors[KVB_WEIGH_ROWS];
        int n = n_rows - first < KVB_WEIGH_ROWS ? n_rows - first : KVB_WEIGH_ROWS;
        weigh_rows(part, first, n, work, factors, ops);
        for (int r = 0; r < n; r++) {
            if (factors[r] != 1.0f) {
                shrink(part->states.accumulators + (size_t)(first + r) * dim, dim, factors[r]);
                shrink(work->ordered + (size_t)(first + r) * ordered, ordered, factors[r]);
            }
        }
    }
}

/* 1 when some query does not see a value that is NaN or Inf: then 0 times that value must not be added. `stride` is in
 * bytes. */
static int hides_illegal(const kvb_attend_tile *tile, int n, const kvb_attend_work *work, const void *values,
                         size_t stride, kvb_dtype dtype, const kvb_cpu_ops *ops) {
    uint32_t all = n == KVB_TILE_TOKENS ? UINT32_MAX : ((uint32_t)1 << n) - 1;
    int is_partial = 0;
    for (int i = 0; i < tile->n_q; i++) {
        is_partial |= work->bits[i] != all;
    }
    for (int t = 0; is_partial && t < n; t++) {
        if (!ops->is_legal((const uint8_t *)values + (size_t)t * stride, dtype, tile->v.dim)) {
            return 1;
        }
    }
    return 0;
}

static void add(const kvb_attend_part *part, const kvb_token_run *run, int n, const kvb_token_run *next,
                const kvb_attend_work *work, const kvb_cpu_ops *ops) {
    const kvb_attend_tile *tile = part->tile;
    const kvb_attend_side *side = tile->v_is_k ? &tile->k : &tile->v;
    int n_rows = tile->n_q * tile->group, is_page = run->source == KVB_SOURCE_PAGE;
    size_t half = is_page ? 0 : (size_t)(tile->accumulator_dim - tile->v.dim);
    float *sums = part->states.accumulators + half;
    if (is_page && tile->v_is_fast) {
        kvb_packed_run values = packed_run(side, run, n, next, work, ops);
        if (tile->v_is_ordered) {
            ops->add_ordered(&values, work->weights, n_rows, work->fixed, work->ordered);
            return;
        }
        ops->add_packed(&values, tile->v.dim, work->weights, n_rows, work->fixed, sums, (size_t)tile->accumulator_dim);
        return;
    }
    if (takes_packed(tile, side, run, ops)) {
        kvb_packed_run values = packed_run(side, run, n, next, work, ops);
        ops->add_packed_floats(&values, tile->v.dim, work->weights, n_rows, work->fixed, sums,
                               (size_t)tile->accumulator_dim);
        return;
    }
    float *values = tile->v_is_k ? work->k : work->v;
    size_t stride = (size_t)side->dim;
    int are_halves = takes_halves(tile, side, run, ops);
    if (are_halves) {
        kvb_half_run halves = half_run(side, run, n, next);
        halves.dim = tile->v.dim;
        if (!hides_illegal(tile, n, work, halves.rows, halves.stride, halves.dtype, ops)) {
            ops->add_halves(work->weights, n_rows, &halves, sums, (size_t)tile->accumulator_dim);
            return;
        }
    }
    if (are_halves || !tile->v_is_k) { /* else the keys lie there already */
        read_rows(side, run, n, values, ops);
    }
    if (are_halves || hides_illegal(tile, n, work, values, stride * sizeof *values, KVB_F32, ops)) {
        kvb_scalar_add_seen(work->weights, n_rows, values, stride, n, tile->v.dim, sums, (size_t)tile->accumulator_dim);
    } else {
        ops->add_rows(work->weights, n_rows, values, stride, n, tile->v.dim, sums, (size_t)tile->accumulator_dim);
    }
}

void kvb_attend_part_run(const kvb_attend_part *part, const kvb_attend_work *work, const kvb_cpu_ops *ops) {
    const kvb_attend_tile *tile = part->tile;
    int n_rows = tile->n_q * tile->group;
    kvb_attend_states_clear(&part->states, n_rows, tile->accumulator_dim);
    memset(work->ordered, 0, (size_t)n_rows * ordered_dim(tile) * sizeof *work->ordered);
    for (int64_t token = part->begin; token < part->end;) {
        kvb_token_run run = kvb_token_run_at(tile->item->kv, token, part->end);
        int n = run.n_tokens < KVB_TILE_TOKENS ? (int)run.n_tokens : KVB_TILE_TOKENS;
        token += n;
        if (find_visible(tile, token - n, n, work->bits)) {
            kvb_token_run next = run; /* what this core reads next, most likely */
            if (token < tile->end) {
                next = kvb_token_run_at(tile->item->kv, token, tile->end);
            }
            dot(tile, &run, n, &next, work, ops);
            add_mean(tile, &run, n, work);
            weigh(part, work, ops);
            add(part, &run, n, &next, work, ops);
        }
    }
    if (tile->v_is_ordered) {
        ops->finish_ordered((tile->v_is_k ? tile->k : tile->v).codes, tile->v.dim, work->ordered, n_rows,
                            part->states.accumulators, (size_t)tile->accumulator_dim);
    }
}
