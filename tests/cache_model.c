#include "cache_model.h"

#include <math.h>

static const kvb_layer_spec *layer_of(const cache_model *m, int layer) {
    return &m->spec.layers[layer];
}

static int n_sides(const kvb_layer_spec *layer) {
    return layer->v_prefix_of_k ? 1 : 2;
}

static const kvb_codec_spec *side_of(const kvb_layer_spec *layer, int side) {
    return side == 0 ? &layer->k : &layer->v;
}

/* ---- Layers of every kind ---- */

const int cache_model_n_layers = 12;

/* Of the layers with centered keys: head_dim 64 and two heads at most. */
static const float *mean_key(void) {
    static float mean[128];
    for (int i = 0; i < 128; i++) {
        mean[i] = (float)(i % 17 - 8) / 4.0f;
    }
    return mean;
}

kvb_layer_spec cache_model_layer(int i) {
    kvb_layer_spec s;
    switch (i) {
    case 0:
        return kvb_layer_spec_default(2, 64, 6, 4);
    case 1:
        s = kvb_layer_spec_default(1, 96, 5, 3);
        s.v = kvb_codec_spec_default(64, 3);
        s.window = 40;
        return s;
    case 2:
        return kvb_layer_spec_default(3, 32, 16, 16);
    case 3:
        s = kvb_layer_spec_default(2, 64, 4, 16);
        s.exact_first = 20;
        s.exact_last = 7;
        return s;
    case 4:
        s = kvb_layer_spec_default(1, 72, 8, 0);
        s.k.rotation = KVB_ROTATION_NONE;
        s.v.head_dim = 64;
        s.v_prefix_of_k = 1;
        s.exact_last = 21;
        return s;
    case 5: /* more exact tokens than the window shows */
        s = kvb_layer_spec_default(1, 32, 1, 7);
        s.window = 24;
        s.exact_first = 5;
        s.exact_last = 33;
        return s;
    case 6:
        s = kvb_layer_spec_default(2, 32, 2, 8);
        s.v.scale_dtype = s.k.scale_dtype = KVB_F32;
        s.dense = KVB_BF16;
        s.exact_last = 16;
        return s;
    case 7:
        s = kvb_layer_spec_default(1, 40, 16, 16);
        s.v.head_dim = 24;
        s.v_prefix_of_k = 1;
        s.dense = KVB_BF16;
        s.window = 1;
        return s;
    case 8: /* exact first tokens reach into the third page */
        s = kvb_layer_spec_default(2, 40, 3, 5);
        s.k.rotation = KVB_ROTATION_HADAMARD;
        s.v.scale = KVB_SCALE_NORM;
        s.exact_first = 35;
        s.window = 50;
        return s;
    case 10:
        s = kvb_layer_spec_default(2, 64, 4, 3); /* centered keys */
        s.k_mean = mean_key();
        s.window = 100;
        return s;
    case 11:
        s = kvb_layer_spec_default(2, 32, 3, 16);
        s.k_mean = mean_key();
        s.exact_first = 3;
        s.exact_last = 19;
        return s;
    case 12: /* half bits, scalar and trellis, with all that there is beside them */
        s = kvb_layer_spec_default(2, 64, 4, 2);
        s.v = kvb_codec_spec_default(48, 2);
        s.k.half_bit = s.v.half_bit = 1;
        s.v.trellis_states = 8;
        s.k_mean = mean_key();
        s.exact_first = 3;
        s.exact_last = 19;
        return s;
    case 13: /* the most of half a bit */
        s = kvb_layer_spec_default(1, 96, 5, 7);
        s.v.head_dim = 32;
        s.k.half_bit = s.v.half_bit = 1;
        s.k.trellis_states = 256;
        s.k.scale = KVB_SCALE_SEARCH;
        s.v.scale_dtype = KVB_F32;
        s.window = 40;
        return s;
    default:
        s = kvb_layer_spec_default(2, 48, 7, 6);
        s.v = kvb_codec_spec_default(80, 6);
        s.exact_last = 1;
        s.window = 17;
        return s;
    }
}

/* ---- Creation ---- */

static void *keep(cache_model *m, size_t bytes) {
    m->memory = realloc(m->memory, (m->n_memory + 1) * sizeof *m->memory);
    assert_non_null(m->memory);
    void *made = calloc(1, bytes);
    assert_non_null(made);
    m->memory[m->n_memory++] = made;
    return made;
}

static size_t up_to_64(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

/* From the words of docs and header, not from the library's own sums. */
static void measure_layer(cache_model *m, int i) {
    const kvb_layer_spec *layer = layer_of(m, i);
    size_t heads = (size_t)layer->n_kv_heads;
    for (int side = 0; side < n_sides(layer); side++) {
        const kvb_codec_spec *spec = side_of(layer, side);
        size_t dim = (size_t)spec->head_dim;
        size_t row = spec->bits == 16 ? 2 * dim : (spec->scale_dtype == KVB_F32 ? 4 : 2) + dim * (size_t)spec->bits / 8;
        m->page_bytes[i] += heads * up_to_64(row * (size_t)m->spec.page_tokens);
        m->exact_bytes[i] += up_to_64((size_t)layer->exact_first * heads * dim * 2);
        m->exact_bytes[i] += up_to_64((size_t)layer->exact_last * heads * dim * 2);
        m->codecs[i][side] = spec->bits == 16 ? NULL : create_codec(spec);
    }
}

void cache_model_create(cache_model *m, const kvb_cache_spec *spec, const kvb_backend *backend,
                        const kvb_allocator *allocator, uint64_t seed) {
    *m = (cache_model){.spec = *spec, .random = {seed}};
    assert_true(spec->max_tokens <= model_tokens && spec->max_sequences <= model_sequences);
    assert_true(spec->n_layers <= model_layers);
    kvb_error error;
    assert_ok(kvb_cache_create(spec, backend, allocator, &m->cache, &error), error);
    for (int i = 0; i < spec->n_layers; i++) {
        measure_layer(m, i);
    }
    for (int i = 0; i < spec->max_sequences; i++) {
        m->sequences[i].parts = keep(m, (size_t)spec->n_layers * sizeof(model_part));
    }
    m->bookkeeping = kvb_cache_bytes(m->cache).bookkeeping;
}

void cache_model_destroy(cache_model *m) {
    kvb_cache_destroy(m->cache);
    for (int i = 0; i < m->spec.n_layers; i++) {
        kvb_codec_destroy(m->codecs[i][0]);
        kvb_codec_destroy(m->codecs[i][1]);
    }
    for (size_t i = 0; i < m->n_memory; i++) {
        free(m->memory[i]);
    }
    free(m->memory);
}

/* ---- Rows ---- */

/* A side of n tokens in the caller's order, with gaps. */
typedef struct drawn_side {
    uint8_t *values;
    size_t token_stride, head_stride;
} drawn_side;

static float read_value(const void *values, size_t i, kvb_dtype dtype) {
    if (dtype == KVB_F32) {
        return ((const float *)values)[i];
    }
    uint16_t half = ((const uint16_t *)values)[i];
    return dtype == KVB_F16 ? kvb_f16_to_f32(half) : kvb_bf16_to_f32(half);
}

static void write_value(void *values, size_t i, kvb_dtype dtype, float value) {
    if (dtype == KVB_F32) {
        ((float *)values)[i] = value;
    } else {
        ((uint16_t *)values)[i] = dtype == KVB_F16 ? kvb_f32_to_f16(value) : kvb_f32_to_bf16(value);
    }
}

static int below(oracle_random *random, int n) {
    return (int)(oracle_next(random) % (uint64_t)n);
}

/* Strides of 0 now and then: then there are no gaps. */
static drawn_side draw_side(oracle_random *random, int n, int heads, int dim, kvb_dtype dtype, kvb_kv_rows *rows,
                            int side) {
    int has_gaps = below(random, 3) > 0;
    size_t head = (size_t)(dim + (has_gaps ? below(random, 4) : 0));
    size_t token = (size_t)heads * head + (size_t)(has_gaps ? below(random, 5) : 0);
    size_t n_values = (size_t)n * token + 1, bytes = kvb_dtype_bytes(dtype);
    drawn_side s = {.values = malloc(n_values * bytes), .token_stride = token, .head_stride = head};
    assert_non_null(s.values);
    memset(s.values, 0xff, n_values * bytes); /* NaN */
    for (int t = 0; t < n; t++) {
        for (int h = 0; h < heads; h++) {
            for (int i = 0; i < dim; i++) {
                size_t at = (size_t)t * token + (size_t)h * head + (size_t)i;
                write_value(s.values, at, dtype, (float)(4.0 * oracle_uniform(random) - 2.0));
            }
        }
    }
    *(side == 0 ? &rows->k : &rows->v) = s.values;
    *(side == 0 ? &rows->k_token_stride : &rows->v_token_stride) = has_gaps ? token : 0;
    *(side == 0 ? &rows->k_head_stride : &rows->v_head_stride) = has_gaps ? head : 0;
    return s;
}

/* What is kept of a row: `half` and `packed` of its token. */
static void remember_row(const cache_model *m, int layer, int side, int head, const float *row, uint16_t *half,
                         uint8_t *packed) {
    const kvb_layer_spec *spec = layer_of(m, layer);
    kvb_codec *codec = m->codecs[layer][side];
    int dim = side_of(spec, side)->head_dim;
    float values[KVB_MAX_HEAD_DIM];
    for (int i = 0; i < dim; i++) {
        write_value(half, (size_t)i, spec->dense, row[i]);
        values[i] = spec->exact_last > 0 ? read_value(half, (size_t)i, spec->dense) : row[i];
        values[i] -= spec->k_mean && side == 0 ? spec->k_mean[head * dim + i] : 0.0f;
    }
    if (codec) {
        kvb_packed view = kvb_packed_view(codec, packed, 1);
        kvb_error error;
        assert_ok(kvb_encode(codec, values, KVB_F32, (size_t)dim, 1, &view, 0, NULL, &error), error);
    } else {
        memcpy(packed, half, (size_t)dim * sizeof *half);
    }
}

static size_t kept_bytes(const cache_model *m, int layer, int side) {
    kvb_codec *codec = m->codecs[layer][side];
    size_t dim = (size_t)side_of(layer_of(m, layer), side)->head_dim;
    return codec ? (kvb_codec_block_bytes(codec, 1) + 3) / 4 * 4 : 2 * dim;
}

static void remember(cache_model *m, int layer, int side, const drawn_side *s, kvb_dtype dtype, int t,
                     model_token *token) {
    const kvb_layer_spec *spec = layer_of(m, layer);
    size_t dim = (size_t)side_of(spec, side)->head_dim, heads = (size_t)spec->n_kv_heads;
    size_t bytes = kept_bytes(m, layer, side);
    token->half[side] = keep(m, heads * dim * sizeof(uint16_t));
    token->packed[side] = keep(m, heads * bytes);
    for (size_t h = 0; h < heads; h++) {
        float row[KVB_MAX_HEAD_DIM];
        for (size_t i = 0; i < dim; i++) {
            row[i] = read_value(s->values, (size_t)t * s->token_stride + h * s->head_stride + i, dtype);
        }
        remember_row(m, layer, side, (int)h, row, token->half[side] + h * dim, token->packed[side] + h * bytes);
    }
}

/* ---- Pages ---- */

static int is_held_elsewhere(const cache_model *m, int sequence, int layer, int page, int number) {
    for (int s = 0; s < m->spec.max_sequences; s++) {
        if (s != sequence && m->sequences[s].is_open && m->sequences[s].parts[layer].pages[page] == number) {
            return 1;
        }
    }
    return 0;
}

/* The sequence has this page to itself. */
static void own_page(cache_model *m, int sequence, int layer, int page) {
    int *number = &m->sequences[sequence].parts[layer].pages[page];
    if (*number == 0 || is_held_elsewhere(m, sequence, layer, page, *number)) {
        *number = ++m->last_page;
    }
}

/* What must be encoded when the part has n tokens. */
static void encode_up_to(cache_model *m, int sequence, int layer, int n, int only_reserve) {
    const kvb_layer_spec *spec = layer_of(m, layer);
    model_part *part = &m->sequences[sequence].parts[layer];
    for (int t = spec->exact_first; t < n - spec->exact_last; t++) {
        if (t >= part->n_tokens || !part->tokens[t].is_encoded) {
            own_page(m, sequence, layer, t / m->spec.page_tokens);
            if (!only_reserve) {
                part->tokens[t].is_encoded = 1;
            }
        }
    }
    part->has_exact |= n > 0 && m->exact_bytes[layer] > 0;
}

static void cut(cache_model *m, int sequence, int layer, int n) {
    model_part *part = &m->sequences[sequence].parts[layer];
    part->n_tokens = n < part->n_tokens ? n : part->n_tokens;
    int is_used[model_pages] = {0};
    for (int t = 0; t < part->n_tokens; t++) {
        is_used[t / m->spec.page_tokens] |= part->tokens[t].is_encoded;
    }
    for (int page = 0; page < model_pages; page++) {
        part->pages[page] = is_used[page] ? part->pages[page] : 0;
    }
    part->has_exact &= part->n_tokens > 0;
}

/* ---- Operations ---- */

kvb_status cache_model_open(cache_model *m, int *sequence) {
    kvb_error error;
    kvb_status status = kvb_cache_open_sequence(m->cache, sequence, &error);
    if (status == KVB_OK) {
        model_sequence *s = &m->sequences[*sequence];
        assert_false(s->is_open);
        s->is_open = 1;
        s->n_tokens = 0;
        for (int i = 0; i < m->spec.n_layers; i++) {
            cut(m, *sequence, i, 0);
        }
    }
    return status;
}

kvb_status cache_model_append(cache_model *m, int sequence, int layer, int n) {
    const kvb_layer_spec *spec = layer_of(m, layer);
    kvb_kv_rows rows = {.dtype = (kvb_dtype)below(&m->random, 3), .n_tokens = n};
    drawn_side drawn[2] = {{0}};
    for (int side = 0; side < n_sides(spec); side++) {
        drawn[side] =
            draw_side(&m->random, n, spec->n_kv_heads, side_of(spec, side)->head_dim, rows.dtype, &rows, side);
    }
    kvb_error error = {"no sentence"};
    kvb_status status = kvb_cache_append(m->cache, sequence, layer, &rows, &error);
    if (status == KVB_OK) {
        model_part *part = &m->sequences[sequence].parts[layer];
        for (int t = 0; t < n; t++) {
            model_token *token = &part->tokens[part->n_tokens];
            *token = (model_token){.is_encoded = 0};
            for (int side = 0; side < n_sides(spec); side++) {
                remember(m, layer, side, &drawn[side], rows.dtype, t, token);
            }
            part->n_tokens++;
            encode_up_to(m, sequence, layer, part->n_tokens, 0);
        }
    } else if (status != KVB_ERROR_MEMORY) {
        fail_msg("%s", error.text);
    }
    free(drawn[0].values);
    free(drawn[1].values);
    return status;
}

kvb_status cache_model_reserve(cache_model *m, int sequence, int n) {
    kvb_status status = kvb_cache_reserve(m->cache, sequence, n, NULL);
    for (int i = 0; i < m->spec.n_layers && status == KVB_OK; i++) {
        encode_up_to(m, sequence, i, m->sequences[sequence].parts[i].n_tokens + n, 1);
    }
    return status;
}

static void slide(cache_model *m, int sequence, int layer, int n) {
    const kvb_layer_spec *spec = layer_of(m, layer);
    model_part *part = &m->sequences[sequence].parts[layer];
    for (int page = 0; page < model_pages && spec->window > 0; page++) {
        int first = page * m->spec.page_tokens, end = first + m->spec.page_tokens, is_done = 1;
        for (int t = first; t < end; t++) {
            is_done &= t <= n - spec->window && (t < spec->exact_first || (t < n && part->tokens[t].is_encoded));
        }
        for (int t = first; t < end && is_done; t++) {
            part->tokens[t].is_lost = t >= spec->exact_first;
        }
        part->pages[page] = is_done ? 0 : part->pages[page];
    }
}

kvb_status cache_model_commit(cache_model *m, int sequence) {
    model_sequence *s = &m->sequences[sequence];
    int is_even = 1;
    for (int i = 1; i < m->spec.n_layers; i++) {
        is_even &= s->parts[i].n_tokens == s->parts[0].n_tokens;
    }
    kvb_error error;
    kvb_status status = kvb_cache_commit(m->cache, sequence, &error);
    assert_int_equal(status, is_even ? KVB_OK : KVB_ERROR_ARGUMENT);
    if (status == KVB_OK) {
        s->n_tokens = s->parts[0].n_tokens;
        for (int i = 0; i < m->spec.n_layers; i++) {
            slide(m, sequence, i, s->n_tokens);
        }
    }
    return status;
}

/* May the part have n tokens? Not when the positions that a query at n sees, its own too, begin in a lost page. */
static int can_cut(const cache_model *m, int sequence, int layer, int n) {
    const kvb_layer_spec *spec = layer_of(m, layer);
    const model_part *part = &m->sequences[sequence].parts[layer];
    for (int t = 0; t < part->n_tokens; t++) {
        if (part->tokens[t].is_lost && t > n - spec->window && n > spec->exact_first) {
            return 0;
        }
    }
    return 1;
}

kvb_status cache_model_truncate(cache_model *m, int sequence, int n) {
    model_sequence *s = &m->sequences[sequence];
    int most = 0, is_legal = 1;
    for (int i = 0; i < m->spec.n_layers; i++) {
        most = s->parts[i].n_tokens > most ? s->parts[i].n_tokens : most;
        is_legal &= can_cut(m, sequence, i, n);
    }
    is_legal &= n >= 0 && n <= most;
    kvb_error error;
    kvb_status status = kvb_cache_truncate(m->cache, sequence, n, &error);
    assert_int_equal(status, is_legal ? KVB_OK : KVB_ERROR_ARGUMENT);
    if (status == KVB_OK) {
        s->n_tokens = n < s->n_tokens ? n : s->n_tokens;
        for (int i = 0; i < m->spec.n_layers; i++) {
            cut(m, sequence, i, n);
        }
    }
    return status;
}

kvb_status cache_model_fork(cache_model *m, int sequence, int *copy) {
    kvb_error error;
    kvb_status status = kvb_cache_fork(m->cache, sequence, copy, &error);
    if (status == KVB_OK) {
        const model_sequence *from = &m->sequences[sequence];
        model_sequence *to = &m->sequences[*copy];
        assert_false(to->is_open);
        to->is_open = 1;
        to->n_tokens = from->n_tokens;
        for (int i = 0; i < m->spec.n_layers; i++) {
            to->parts[i] = from->parts[i];
            cut(m, *copy, i, from->n_tokens);
        }
    }
    return status;
}

void cache_model_free(cache_model *m, int sequence) {
    kvb_cache_free_sequence(m->cache, sequence);
    for (int i = 0; i < m->spec.n_layers; i++) {
        cut(m, sequence, i, 0);
    }
    m->sequences[sequence].is_open = 0;
}
