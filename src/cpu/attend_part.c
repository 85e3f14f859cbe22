/* Attention of a tile's rows on the tokens of one part: decode a few keys, weigh, decode their values, add. */
#include "cpu/attend.h"
#include "softmax.h"

void kvb_attend_states_clear(const kvb_attend_states *states, int n_rows, int dim) {
    for (int r = 0; r < n_rows; r++) {
        kvb_softmax_state state;
        kvb_softmax_begin(&state, states->accumulators + (size_t)r * (size_t)dim, dim);
        states->max[r] = state.max;
        states->sum[r] = state.sum;
    }
}

/* The run's rows of one side as floats, side->dim apart: rotated when they lie packed in a page, else as they came. */
static void read_rows(const kvb_attend_side *side, const kvb_token_run *run, int n, float *out,
                      const kvb_cpu_ops *ops) {
    size_t dim = (size_t)side->dim;
    if (run->source == KVB_SOURCE_PAGE && side->tables) {
        uint8_t *block = (uint8_t *)run->page + side->block; /* read only, but kvb_packed serves writers too */
        kvb_decode_job job = {.tables = side->tables,
                              .packed = {.scales = block},
                              .first_row = run->row,
                              .n_rows = (size_t)n,
                              .domain = KVB_DOMAIN_ROTATED,
                              .out = out,
                              .row_stride = dim};
        for (int p = 0; p < side->tables->n_planes; p++) {
            job.packed.planes[p] = block + side->planes[p];
        }
        kvb_cpu_decode(&job, ops);
        return;
    }
    size_t stride = side->exact_stride;
    const uint8_t *rows = run->source == KVB_SOURCE_EXACT_FIRST ? side->exact_first : side->exact_last;
    if (run->source == KVB_SOURCE_PAGE) {
        stride = dim * sizeof(uint16_t);
        rows = (const uint8_t *)run->page + side->block;
    }
    for (int t = 0; t < n; t++) {
        ops->load(rows + (run->row + (size_t)t) * stride, side->dense, side->dim, out + (size_t)t * dim);
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

/* A row's dots become weights; its sums so far shrink when the maximum rises. */
static void weigh_row(const kvb_attend_part *part, int row, uint32_t bits, float *logits, int n,
                      const kvb_cpu_ops *ops) {
    const kvb_attend_item *item = part->tile->item;
    size_t dim = (size_t)part->tile->accumulator_dim;
    ops->soften(logits, n, item->scale, item->softcap);
    for (int t = 0; t < n; t++) {
        logits[t] = bits >> t & 1 ? logits[t] : -INFINITY;
    }
    float factor = ops->weigh(logits, n, &part->states.max[row], &part->states.sum[row]);
    if (factor != 1.0f) {
        float *sums = part->states.accumulators + (size_t)row * dim;
        for (size_t i = 0; i < dim; i++) {
            sums[i] *= factor;
        }
    }
}

static void attend_run(const kvb_attend_part *part, const kvb_token_run *run, int n, const kvb_attend_work *work,
                       const kvb_cpu_ops *ops) {
    const kvb_attend_tile *tile = part->tile;
    int n_rows = tile->n_q * tile->group, is_page = run->source == KVB_SOURCE_PAGE;
    read_rows(&tile->k, run, n, work->k, ops);
    const float *q = is_page && tile->k_is_rotated ? tile->rotated_q : tile->q;
    ops->dot_rows(q, n_rows, work->k, n, tile->k.dim, work->logits, KVB_TILE_TOKENS);
    if (!tile->v_is_k) {
        read_rows(&tile->v, run, n, work->v, ops);
    }
    const float *values = tile->v_is_k ? work->k : work->v;
    size_t stride = (size_t)(tile->v_is_k ? tile->k.dim : tile->v.dim);
    size_t half = is_page ? 0 : (size_t)(tile->accumulator_dim - tile->v.dim);
    for (int r = 0; r < n_rows; r++) {
        uint32_t bits = work->bits[r / tile->group];
        float *logits = work->logits + (size_t)r * KVB_TILE_TOKENS;
        if (bits) {
            weigh_row(part, r, bits, logits, n, ops);
            ops->add_values(logits, n, values, stride, tile->v.dim,
                            part->states.accumulators + (size_t)r * (size_t)tile->accumulator_dim + half);
        }
    }
}

void kvb_attend_part_run(const kvb_attend_part *part, const kvb_attend_work *work, const kvb_cpu_ops *ops) {
    const kvb_attend_tile *tile = part->tile;
    kvb_attend_states_clear(&part->states, tile->n_q * tile->group, tile->accumulator_dim);
    for (int64_t token = part->begin; token < part->end;) {
        kvb_token_run run = kvb_token_run_at(tile->item->kv, token, part->end);
        int n = run.n_tokens < KVB_TILE_TOKENS ? (int)run.n_tokens : KVB_TILE_TOKENS;
        if (find_visible(tile, token, n, work->bits)) {
            attend_run(part, &run, n, work, ops);
        }
        token += n;
    }
}
