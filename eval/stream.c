#include "stream.h"

#include <stdatomic.h>

static size_t draws_per_row(const kvb_stream *stream) {
    return (stream->normals_per_row + 1) / 2 * 2;
}

void kvb_stream_open(kvb_stream *stream, kvb_rng start, size_t normals_per_row, const kvb_vec *vec) {
    stream->vec = vec;
    stream->next = start;
    stream->normals_per_row = normals_per_row;
    kvb_jump_make(&stream->lane, KVB_STREAM_LANE_ROWS * draws_per_row(stream));
    kvb_jump_make(&stream->item, KVB_STREAM_ITEM_ROWS * draws_per_row(stream));
}

static kvb_rng get_lane(const kvb_lanes *lanes, int lane) {
    kvb_rng rng;
    for (int w = 0; w < 4; w++)
        rng.s[w] = lanes->s[w][lane];
    return rng;
}

static void set_lane(kvb_lanes *lanes, int lane, kvb_rng rng) {
    for (int w = 0; w < 4; w++)
        lanes->s[w][lane] = rng.s[w];
}

/* One pass over a batch. `rows` is NULL when only states are asked for. */
typedef struct batch {
    kvb_stream *stream;
    size_t n_rows, first_item; /* items before first_item are done */
    kvb_rng *starts;           /* start of each item */
    float *const *buffers;
    kvb_rng *states;
    kvb_stream_use use;
    void *context;
    atomic_size_t redraw; /* the first item that met one; SIZE_MAX for none */
} batch;

static size_t item_rows(const batch *b, size_t item) {
    size_t left = b->n_rows - item * KVB_STREAM_ITEM_ROWS;
    return left < KVB_STREAM_ITEM_ROWS ? left : KVB_STREAM_ITEM_ROWS;
}

static size_t items_of(size_t n_rows) {
    return (n_rows + KVB_STREAM_ITEM_ROWS - 1) / KVB_STREAM_ITEM_ROWS;
}

/* Row `row` of every lane's share; lanes whose share ends beyond the batch make rows that nobody uses. */
static unsigned lane_rows(const batch *b, kvb_lanes *lanes, size_t item, size_t row, float *buffer) {
    size_t n = b->stream->normals_per_row, live = item_rows(b, item);
    float *out[KVB_STREAM_LANES];
    unsigned wanted = 0;
    for (int lane = 0; lane < KVB_STREAM_LANES; lane++) {
        size_t at = (size_t)lane * KVB_STREAM_LANE_ROWS + row;
        wanted |= (unsigned)(at < live) << lane;
        if (b->states && at < live)
            b->states[item * KVB_STREAM_ITEM_ROWS + at] = get_lane(lanes, lane);
        if (buffer)
            out[lane] = buffer + at * n;
    }
    return wanted & (buffer ? b->stream->vec->normals(lanes, n, out) : b->stream->vec->skip_normals(lanes, n));
}

static void note_redraw(batch *b, size_t item) {
    size_t first = atomic_load(&b->redraw);
    while (item < first && !atomic_compare_exchange_weak(&b->redraw, &first, item))
        ;
}

static void run_item(void *argument, size_t index, int worker) {
    batch *b = argument;
    size_t item = b->first_item + index;
    float *buffer = b->buffers ? b->buffers[worker] : NULL;
    kvb_lanes lanes;
    kvb_rng start = b->starts[item];
    for (int lane = 0; lane < KVB_STREAM_LANES; lane++) {
        set_lane(&lanes, lane, start);
        start = kvb_jump_apply(&b->stream->lane, start);
    }
    unsigned redraw = 0;
    for (size_t row = 0; row < KVB_STREAM_LANE_ROWS; row++)
        redraw |= lane_rows(b, &lanes, item, row, buffer);
    if (redraw)
        note_redraw(b, item);
    else if (b->use)
        b->use(b->context, item * KVB_STREAM_ITEM_ROWS, item_rows(b, item), buffer, worker);
}

static void rng_skip_normals(kvb_rng *rng, size_t n) {
    for (size_t i = 0; i < n; i += 2) {
        double u1;
        do {
            u1 = kvb_rng_uniform(rng);
            (void)kvb_rng_uniform(rng);
        } while (u1 <= 1e-30);
    }
}

/* The item with a redraw, one row after another. Returns the state behind it. */
static kvb_rng run_item_slowly(batch *b, size_t item) {
    kvb_rng rng = b->starts[item];
    size_t n = b->stream->normals_per_row, rows = item_rows(b, item);
    for (size_t row = 0; row < rows; row++) {
        if (b->states)
            b->states[item * KVB_STREAM_ITEM_ROWS + row] = rng;
        if (b->buffers)
            kvb_rng_normals(&rng, b->buffers[0] + row * n, n);
        else
            rng_skip_normals(&rng, n);
    }
    if (b->use)
        b->use(b->context, item * KVB_STREAM_ITEM_ROWS, rows, b->buffers[0], 0);
    return rng;
}

static kvb_rng behind_item(const batch *b, size_t item) {
    kvb_rng rng = b->starts[item];
    if (item_rows(b, item) == KVB_STREAM_ITEM_ROWS)
        return kvb_jump_apply(&b->stream->item, rng);
    kvb_rng_jump(&rng, item_rows(b, item) * draws_per_row(b->stream));
    return rng;
}

static void run_batch(batch *b, const kvb_parallel *parallel) {
    size_t items = items_of(b->n_rows);
    b->starts[0] = b->stream->next;
    b->first_item = 0;
    while (b->first_item < items) {
        for (size_t i = b->first_item; i + 1 < items; i++)
            b->starts[i + 1] = kvb_jump_apply(&b->stream->item, b->starts[i]);
        atomic_store(&b->redraw, SIZE_MAX);
        kvb_parallel_for(parallel, items - b->first_item, run_item, b);
        size_t redraw = atomic_load(&b->redraw);
        if (redraw == SIZE_MAX) {
            b->stream->next = behind_item(b, items - 1);
            return;
        }
        b->starts[redraw + 1] = b->stream->next = run_item_slowly(b, redraw);
        b->first_item = redraw + 1;
    }
}

void kvb_stream_rows(kvb_stream *stream, size_t n_rows, const kvb_parallel *parallel, kvb_rng *starts,
                     float *const *buffers, kvb_stream_use use, void *context) {
    batch b = {
        .stream = stream, .n_rows = n_rows, .starts = starts, .buffers = buffers, .use = use, .context = context};
    if (n_rows > 0)
        run_batch(&b, parallel);
}

void kvb_stream_states(kvb_stream *stream, size_t n_rows, const kvb_parallel *parallel, kvb_rng *starts,
                       kvb_rng *states) {
    batch b = {.stream = stream, .n_rows = n_rows, .starts = starts, .states = states};
    if (n_rows > 0)
        run_batch(&b, parallel);
}

void kvb_stream_from_states(const kvb_vec *vec, const kvb_rng *const *states, size_t n, size_t normals_per_row,
                            float *out) {
    float *row[KVB_STREAM_LANES];
    kvb_lanes lanes;
    for (size_t lane = 0; lane < KVB_STREAM_LANES; lane++) {
        set_lane(&lanes, (int)lane, *states[lane < n ? lane : 0]);
        row[lane] = out + lane * normals_per_row;
    }
    unsigned redraw = vec->normals(&lanes, normals_per_row, row);
    for (size_t lane = 0; lane < n; lane++) {
        if (redraw >> lane & 1) {
            kvb_rng rng = *states[lane];
            kvb_rng_normals(&rng, row[lane], normals_per_row);
        }
    }
}
