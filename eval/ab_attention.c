/* The K stream and the V stream are drawn once for all kv_lens: row r of a stream is trial r/(H*L), head r/L % H,
 * position r % L of every kv_len L, because each cell reads the stream from its start. Rows go by in batches. A batch
 * makes key rows, stores them in every variant and keeps only scores, in one sliding buffer per kv_len; of values it
 * keeps the generator's state per row. A unit (one KV head of one trial of one kv_len) whose rows have all gone by is
 * finished: softmax, then only the values that a weight calls for are made. */
#include "ab_attention.h"

#include <string.h>

#include "ab_attention_run.h"

/* ---- Keys: rows to scores ---- */

/* The scores of a unit with query head g of its group and variant k, position by position. */
static float *scores_of(const kvb_attention_run *r, const kvb_attention_length *l, size_t unit, size_t g, size_t k) {
    return l->scores + (((unit - l->done) * r->group + g) * r->n_k + k) * l->len;
}

/* Scores of rows [row, row+n), which lie in one unit, in variant k. */
static void score_rows(const kvb_attention_run *r, const kvb_attention_length *l, size_t row, size_t n,
                       const float *rows, size_t k) {
    size_t unit = row / l->len, trial = unit / r->kv_heads, head = unit % r->kv_heads;
    for (size_t g = 0; g < r->group; g++) {
        const float *q = r->queries + (trial * r->heads + head * r->group + g) * r->d;
        kvb_row_dots(r->arithmetic, rows, n, r->d, q, scores_of(r, l, unit, g, k) + row % l->len);
    }
}

static void score_all_lengths(const kvb_attention_run *r, size_t row, size_t n, const float *rows, size_t k) {
    for (int i = 0; i < r->n_lengths; i++) {
        const kvb_attention_length *l = &r->lengths[i];
        size_t end = row + n < l->rows ? row + n : l->rows;
        for (size_t at = row; at < end;) {
            size_t unit_end = (at / l->len + 1) * l->len, stop = unit_end < end ? unit_end : end;
            score_rows(r, l, at, stop - at, rows + (at - row) * r->d, k);
            at = stop;
        }
    }
}

/* A sequence's first key, where it is special, has its own row for the kv_lens that begin a sequence there. */
static void score_first_rows(kvb_attention_run *r, size_t row, size_t n, const float *raw) {
    float first[KVB_MAX_HEAD_DIM], stored[KVB_MAX_HEAD_DIM];
    kvb_error error;
    for (size_t i = 0; i < n; i++) {
        for (int j = 0; j < r->n_lengths; j++) {
            const kvb_attention_length *l = &r->lengths[j];
            if (row + i >= l->rows || (row + i) % l->len != 0)
                continue;
            kvb_row_make_first(&r->k_source, raw + i * r->k_source.raw, first);
            for (size_t k = 0; k < r->n_k; k++) {
                kvb_status status = kvb_variant_round_trip(&r->comparison->k, (int)k, first, 1, stored, &error);
                if (status != KVB_OK)
                    kvb_failure_note(&r->failure, status, &error);
                else
                    score_rows(r, l, row + i, 1, stored, k);
            }
        }
    }
}

/* A block of keys goes through all variants while it is in the nearest cache. */
static kvb_status use_block(kvb_attention_run *r, kvb_attention_bench *b, size_t row, size_t n, const float *raw,
                            kvb_error *error) {
    for (size_t i = 0; i < n; i++)
        kvb_row_make(&r->k_source, raw + i * r->k_source.raw, b->rows + i * r->d);
    score_all_lengths(r, row, n, b->rows, 0);
    for (size_t k = 1; k < r->n_k; k++) {
        kvb_status status = kvb_variant_round_trip(&r->comparison->k, (int)k, b->rows, n, b->stored, error);
        if (status != KVB_OK)
            return status;
        score_all_lengths(r, row, n, b->stored, k);
    }
    return KVB_OK;
}

static void use_keys(void *context, size_t first, size_t n, float *raw, int worker) {
    kvb_attention_run *r = context;
    kvb_attention_bench *b = &r->benches[worker];
    size_t row = r->batch + first;
    for (size_t at = 0; at < n; at += KVB_ATTENTION_BLOCK_ROWS) {
        size_t rows = n - at < KVB_ATTENTION_BLOCK_ROWS ? n - at : KVB_ATTENTION_BLOCK_ROWS;
        kvb_error error;
        kvb_status status = use_block(r, b, row + at, rows, raw + at * r->k_source.raw, &error);
        if (status != KVB_OK) {
            kvb_failure_note(&r->failure, status, &error);
            return;
        }
    }
    if (kvb_row_first_differs(&r->k_source))
        score_first_rows(r, row, n, raw);
}

/* ---- Units: scores to errors ---- */

/* The decode step stands at the last position; a window hides the positions before the last `window`. */
static size_t first_visible(const kvb_attention_run *r, const kvb_attention_length *l) {
    size_t window = (size_t)r->config->window;
    return window > 0 && window < l->len ? l->len - window : 0;
}

static kvb_status add_values(kvb_attention_run *r, kvb_attention_bench *b, size_t first_row, size_t visible,
                             const size_t *positions, size_t n, kvb_error *error) {
    const kvb_variants *v = &r->comparison->v;
    const kvb_rng *states[KVB_STREAM_LANES];
    const float *values[KVB_MAX_VARIANTS];
    size_t rows = (size_t)KVB_STREAM_LANES * r->d;
    for (size_t i = 0; i < n; i++)
        states[i] = &r->states[first_row + visible + positions[i] - r->base];
    kvb_stream_from_states(r->arithmetic->vec, states, n, r->v_source.raw, b->raw);
    for (size_t i = 0; i < n; i++) {
        int special = visible + positions[i] == 0 && kvb_row_first_differs(&r->v_source);
        (special ? kvb_row_make_first : kvb_row_make)(&r->v_source, b->raw + i * r->v_source.raw, b->values + i * r->d);
    }
    for (int k = 0; k < v->n; k++) {
        values[k] = b->values + (size_t)k * rows;
        kvb_status status =
            k == 0 ? KVB_OK : kvb_variant_round_trip(v, k, b->values, n, b->values + (size_t)k * rows, error);
        if (status != KVB_OK)
            return status;
    }
    kvb_attend_add(&b->attend, positions, n, values);
    return KVB_OK;
}

static kvb_status finish_unit(kvb_attention_run *r, kvb_attention_bench *b, kvb_attention_length *l, size_t unit,
                              kvb_error *error) {
    size_t trial = unit / r->kv_heads, head = unit % r->kv_heads, first_row = unit * l->len;
    size_t visible = first_visible(r, l), n = l->len - visible, count = 0, positions[KVB_STREAM_LANES];
    kvb_attend_variants *attend = &b->attend;
    const float *scores = scores_of(r, l, unit, 0, 0) + visible;
    for (size_t row = 0; row < r->group * r->n_k; row++)
        memcpy(attend->scores + row * r->max_len, scores + row * l->len, n * sizeof *scores);
    kvb_attend_softmax(attend, n, kvb_measured_logits(l->measured, trial, head));
    for (size_t j = 0; j < n; j++) {
        if (attend->needed[j])
            positions[count++] = j;
        if (count == KVB_STREAM_LANES || (j + 1 == n && count > 0)) {
            kvb_status status = add_values(r, b, first_row, visible, positions, count, error);
            if (status != KVB_OK)
                return status;
            count = 0;
        }
    }
    kvb_attend_finish(attend, kvb_measured_outputs(l->measured, trial, head));
    return KVB_OK;
}

typedef struct finishing {
    kvb_attention_run *r;
    kvb_attention_length *l;
} finishing;

static void finish_body(void *argument, size_t index, int worker) {
    finishing *f = argument;
    kvb_error error;
    if (f->r->failure.noted)
        return;
    kvb_status status = finish_unit(f->r, &f->r->benches[worker], f->l, f->l->done + index, &error);
    if (status != KVB_OK)
        kvb_failure_note(&f->r->failure, status, &error);
}

/* Moves what is kept of the unit that has begun to the buffer's start. */
static void move_scores(const kvb_attention_run *r, kvb_attention_length *l, size_t units) {
    size_t bytes = r->group * r->n_k * l->len * sizeof *l->scores;
    memmove(l->scores, l->scores + units * (bytes / sizeof *l->scores), bytes);
}

/* Finishes the units whose rows lie before stream row `end`, then moves what is still needed to the buffers' start. */
static void finish_units(kvb_attention_run *r, size_t end, const kvb_parallel *parallel) {
    size_t keep = end;
    for (int i = 0; i < r->n_lengths; i++) {
        kvb_attention_length *l = &r->lengths[i];
        size_t complete = (end < l->rows ? end : l->rows) / l->len, units = complete - l->done;
        finishing f = {r, l};
        kvb_parallel_for(parallel, units, finish_body, &f);
        l->done = complete;
        if (complete * l->len < (end < l->rows ? end : l->rows)) {
            move_scores(r, l, units);
            keep = complete * l->len < keep ? complete * l->len : keep;
        }
    }
    memmove(r->states, r->states + (keep - r->base), (end - keep) * sizeof *r->states);
    r->base = keep;
}

/* ---- Queries ---- */

static void use_queries(void *context, size_t first, size_t n, float *raw, int worker) {
    kvb_attention_run *r = context;
    (void)worker;
    for (size_t i = 0; i < n; i++)
        kvb_row_make(&r->q_source, raw + i * r->q_source.raw, r->queries + (r->batch + first + i) * r->d);
}

/* ---- The run ---- */

static void make_queries(kvb_attention_run *r, const kvb_parallel *parallel) {
    size_t rows = r->trials * r->heads;
    kvb_stream_open(r->k_stream, kvb_rng_seed(r->config->seed), r->q_source.raw, r->arithmetic->vec);
    for (r->batch = 0; r->batch < rows; r->batch += KVB_ATTENTION_BATCH_ROWS) {
        size_t n = rows - r->batch < KVB_ATTENTION_BATCH_ROWS ? rows - r->batch : KVB_ATTENTION_BATCH_ROWS;
        kvb_stream_rows(r->k_stream, n, parallel, r->starts, r->raws, use_queries, r);
    }
}

static void run_batches(kvb_attention_run *r, const kvb_parallel *parallel, const kvb_progress *progress,
                        const char *what) {
    make_queries(r, parallel);
    kvb_stream_open(r->k_stream, kvb_rng_seed(r->config->seed ^ 0x11), r->k_source.raw, r->arithmetic->vec);
    kvb_stream_open(r->v_stream, kvb_rng_seed(r->config->seed ^ 0x22), r->v_source.raw, r->arithmetic->vec);
    for (r->batch = 0; r->batch < r->max_rows && !r->failure.noted; r->batch += KVB_ATTENTION_BATCH_ROWS) {
        size_t n =
            r->max_rows - r->batch < KVB_ATTENTION_BATCH_ROWS ? r->max_rows - r->batch : KVB_ATTENTION_BATCH_ROWS;
        kvb_stream_states(r->v_stream, n, parallel, r->starts, r->states + (r->batch - r->base));
        kvb_stream_rows(r->k_stream, n, parallel, r->starts, r->raws, use_keys, r);
        finish_units(r, r->batch + n, parallel);
        if (progress)
            progress->report(progress->context, what, (double)(r->batch + n) / (double)r->max_rows);
    }
}

kvb_status kvb_ab_attention(const kvb_ab_config *config, const kvb_comparison *comparison,
                            const kvb_arithmetic *arithmetic, const kvb_parallel *parallel,
                            const kvb_progress *progress, const char *what, kvb_measured *measured, kvb_error *error) {
    kvb_attention_run r = {.config = config,
                           .comparison = comparison,
                           .arithmetic = arithmetic,
                           .d = (size_t)config->head_dim,
                           .heads = (size_t)config->n_heads,
                           .kv_heads = (size_t)config->n_kv_heads,
                           .group = (size_t)(config->n_heads / config->n_kv_heads),
                           .n_k = (size_t)comparison->k.n,
                           .trials = (size_t)config->trials,
                           .n_lengths = config->n_kv_lens,
                           .workers = kvb_parallel_workers(parallel)};
    for (int i = 0; i < config->n_kv_lens; i++) {
        size_t len = (size_t)config->kv_lens[i];
        r.max_len = len > r.max_len ? len : r.max_len;
    }
    r.max_rows = r.max_len * r.kv_heads * r.trials;
    kvb_status status = kvb_row_source_open(&r.q_source, config, KVB_SIDE_Q, arithmetic, error);
    if (status == KVB_OK)
        status = kvb_row_source_open(&r.k_source, config, KVB_SIDE_K, arithmetic, error);
    if (status == KVB_OK)
        status = kvb_row_source_open(&r.v_source, config, KVB_SIDE_V, arithmetic, error);
    if (status == KVB_OK)
        status = kvb_attention_allocate(&r, measured, error);
    if (status == KVB_OK) {
        run_batches(&r, parallel, progress, what);
        status = kvb_failure_result(&r.failure, error);
    }
    kvb_attention_release(&r);
    return status;
}
