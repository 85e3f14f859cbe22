/* Runs a call in waves: so many parts of tiles, in order of item, KV head, query and chunk, side by side; then each
 * tile merges its parts in order. So the scratch does not grow with lengths, every worker finds work when there is one
 * sequence with few heads, and no bit depends on the number of workers or on where a wave ends. */
#include "codec.h"
#include "cpu/attend.h"
#include "memory.h"

enum { parts_per_worker = 16, buffer_alignment = 64 };

/* ---- Scratch ---- */

/* The largest of a call. */
typedef struct shape {
    size_t rows, queries, k_dim, v_dim, accumulator_dim;
    size_t codes, fixed_q, ordered; /* those of keys; per row, words of a query and sums, of all codes together */
} shape;

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

static size_t codes_of(const kvb_codec *codec) {
    const kvb_codec_tables *parts;
    return codec ? (size_t)kvb_codec_parts(&codec->tables, &parts) : 1;
}

static shape shape_of(const kvb_attend_job *job) {
    shape s = {0};
    for (size_t i = 0; i < job->n_items; i++) {
        const kvb_attend_item *item = &job->items[i];
        const kvb_layer_format *format = item->kv->format;
        size_t queries = (size_t)kvb_attend_tile_queries(item);
        s.queries = larger(s.queries, queries);
        s.rows = larger(s.rows, queries * (size_t)(item->n_heads / format->n_kv_heads));
        s.k_dim = larger(s.k_dim, (size_t)format->k_dim);
        s.v_dim = larger(s.v_dim, (size_t)format->v_dim);
        s.accumulator_dim = larger(s.accumulator_dim, (size_t)kvb_attend_accumulator_dim(item->kv));
        size_t k_codes = codes_of(format->k_codec), k_dim = (size_t)format->k_dim / k_codes;
        size_t v_codes = codes_of(format->v_codec), v_dim = (size_t)format->v_dim / v_codes;
        s.codes = larger(s.codes, k_codes);
        s.fixed_q = larger(s.fixed_q, k_codes * kvb_fixed_query((int)k_dim));
        s.ordered = larger(s.ordered, larger(k_codes * KVB_ORDERED_DIM(k_dim), v_codes * KVB_ORDERED_DIM(v_dim)));
    }
    return s;
}

/* Cuts buffers off a block; base NULL only counts. Sums stay exact or the flag says that they did not. */
typedef struct arena {
    uint8_t *base;
    size_t used;
    int is_overflown;
} arena;

static void *take(arena *a, size_t n, size_t bytes) {
    size_t start = a->used;
    if (!kvb_size_multiply(n, bytes, &bytes) || !kvb_size_add(bytes, buffer_alignment - 1, &bytes) ||
        !kvb_size_add(start, bytes / buffer_alignment * buffer_alignment, &a->used)) {
        a->is_overflown = 1;
        return NULL;
    }
    return a->base ? a->base + start : NULL;
}

static kvb_attend_states take_states(arena *a, const shape *s) {
    kvb_attend_states states;
    states.max = take(a, s->rows, sizeof *states.max);
    states.sum = take(a, s->rows, sizeof *states.sum);
    states.accumulators = take(a, s->rows * s->accumulator_dim, sizeof *states.accumulators);
    return states;
}

typedef struct schedule {
    const kvb_attend_job *job;
    const kvb_cpu_ops *ops;
    size_t capacity; /* parts of a wave, and tiles: one without parts takes room too */
    kvb_attend_tile *tiles;
    kvb_attend_part *parts;
    kvb_attend_work *works;
    size_t n_tiles, n_parts;
    /* What comes next. */
    size_t item;
    int kv_head, first_q;
    int64_t token; /* of the open tile, the last in `tiles` */
    int is_open;
} schedule;

/* Tiles, parts and workers with their buffers. */
static void lay_out(schedule *s, arena *a) {
    size_t workers = (size_t)kvb_parallel_workers(s->job->parallel);
    shape most = shape_of(s->job);
    s->capacity = parts_per_worker * workers;
    s->tiles = take(a, s->capacity, sizeof *s->tiles);
    s->parts = take(a, s->capacity, sizeof *s->parts);
    s->works = take(a, workers, sizeof *s->works);
    for (size_t i = 0; i < s->capacity && !a->is_overflown; i++) {
        float *q = take(a, most.rows * most.k_dim, sizeof *q);
        float *packed_q = take(a, most.rows * most.k_dim, sizeof *q);
        int16_t *fixed_q = take(a, most.rows * most.fixed_q, sizeof *fixed_q);
        float *mean_dots = take(a, most.rows, sizeof *mean_dots);
        float *fixed_factors = take(a, most.rows * most.codes, sizeof *fixed_factors);
        kvb_visible *visible = take(a, most.queries, sizeof *visible);
        kvb_attend_states states = take_states(a, &most), of_part = take_states(a, &most);
        if (a->base) {
            s->tiles[i] = (kvb_attend_tile){.q = q,
                                            .packed_q = packed_q,
                                            .mean_dots = mean_dots,
                                            .fixed_q = fixed_q,
                                            .fixed_factors = fixed_factors,
                                            .visible = visible,
                                            .states = states};
            s->parts[i] = (kvb_attend_part){.states = of_part};
        }
    }
    for (size_t w = 0; w < workers && !a->is_overflown; w++) {
        kvb_attend_work work;
        work.k = take(a, KVB_TILE_TOKENS * most.k_dim, sizeof *work.k);
        work.v = take(a, KVB_TILE_TOKENS * most.v_dim, sizeof *work.v);
        work.weights = take(a, KVB_TILE_TOKENS * most.rows, sizeof *work.weights);
        work.dots = take(a, most.codes > 1 ? KVB_TILE_TOKENS * most.rows : 0, sizeof *work.dots);
        work.bits = take(a, most.queries, sizeof *work.bits);
        work.fixed = take(a, 1, KVB_FIXED_SCRATCH(larger(most.k_dim, most.v_dim)));
        work.straight = take(a, 1, KVB_STRAIGHT_SCRATCH(larger(most.k_dim, most.v_dim)));
        work.ordered = take(a, KVB_FEW_ROWS * most.ordered, sizeof *work.ordered);
        if (a->base) {
            s->works[w] = work;
        }
    }
}

size_t kvb_cpu_attend_scratch(const kvb_attend_job *job) {
    schedule s = {.job = job};
    arena a = {0};
    lay_out(&s, &a);
    size_t bytes;
    return !a.is_overflown && kvb_size_add(a.used, buffer_alignment, &bytes) ? bytes : 0;
}

/* ---- Waves ---- */

/* Opens the tile that comes next, in the buffers of slot n_tiles; 0 at the end of the call. */
static int open_next(schedule *s) {
    if (s->item == s->job->n_items) {
        return 0;
    }
    const kvb_attend_item *item = &s->job->items[s->item];
    kvb_attend_tile *tile = &s->tiles[s->n_tiles++];
    kvb_attend_tile_open(tile, item, s->kv_head, s->first_q, s->ops);
    s->token = tile->begin;
    s->is_open = 1;
    s->first_q += tile->n_q;
    if (s->first_q == item->n_q) {
        s->first_q = 0;
        s->kv_head++;
    }
    if (s->kv_head == item->kv->format->n_kv_heads) {
        s->kv_head = 0;
        s->item++;
    }
    return 1;
}

/* Adds chunks of the open tile while there is room. */
static void add_parts(schedule *s) {
    kvb_attend_tile *tile = &s->tiles[s->n_tiles - 1];
    tile->first_part = s->n_parts;
    while (s->token < tile->end && s->n_parts < s->capacity) {
        int64_t end = (s->token / KVB_ATTEND_CHUNK + 1) * KVB_ATTEND_CHUNK;
        kvb_attend_part *part = &s->parts[s->n_parts++];
        part->tile = tile;
        part->begin = s->token;
        part->end = end < tile->end ? end : tile->end;
        s->token = part->end;
    }
    tile->n_parts = s->n_parts - tile->first_part;
    tile->is_complete = s->token == tile->end;
    s->is_open = !tile->is_complete;
}

/* Collects a wave; 0 when nothing is left. */
static int collect(schedule *s) {
    size_t last = s->n_tiles - 1;
    s->n_parts = 0;
    if (s->is_open) { /* goes on in the first slot, with its buffers */
        kvb_attend_tile open = s->tiles[last];
        s->tiles[last] = s->tiles[0];
        s->tiles[0] = open;
        s->n_tiles = 1;
        add_parts(s);
    } else {
        s->n_tiles = 0;
    }
    while (!s->is_open && s->n_tiles < s->capacity && s->n_parts < s->capacity && open_next(s)) {
        add_parts(s);
    }
    return s->n_tiles > 0;
}

static void begin_tile(void *argument, size_t index, int worker) {
    const schedule *s = argument;
    (void)worker;
    if (!s->tiles[index].is_begun) {
        kvb_attend_tile_begin(&s->tiles[index], s->ops);
    }
}

static void run_part(void *argument, size_t index, int worker) {
    const schedule *s = argument;
    kvb_attend_part_run(&s->parts[index], &s->works[worker], s->ops);
}

static void end_tile(void *argument, size_t index, int worker) {
    const schedule *s = argument;
    (void)worker;
    kvb_attend_tile_end(&s->tiles[index], s->parts, s->ops);
}

void kvb_cpu_attend(const kvb_attend_job *job, const kvb_cpu_ops *ops) {
    schedule s = {.job = job, .ops = ops};
    size_t misplaced = (uintptr_t)job->scratch % buffer_alignment;
    arena a = {.base = (uint8_t *)job->scratch + (misplaced ? buffer_alignment - misplaced : 0)};
    lay_out(&s, &a);
    while (collect(&s)) {
        kvb_parallel_for(job->parallel, s.n_tiles, begin_tile, &s);
        kvb_parallel_for(job->parallel, s.n_parts, run_part, &s);
        kvb_parallel_for(job->parallel, s.n_tiles, end_tile, &s);
    }
}
