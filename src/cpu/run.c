/* Runs whole jobs row by row: rotate, scale, quantize, pack, and back. The order of work and every rounding of the
 * scale are here, once for all CPU instruction sets. */
#include "codec_tables.h"
#include "cpu/ops.h"
#include "half.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Vectors that lie across two cache lines cost twice. */
enum { buffer_alignment = 64 };

static const void *row_at(const void *rows, kvb_dtype dtype, size_t row_stride, size_t row) {
    return (const uint8_t *)rows + row * row_stride * kvb_dtype_bytes(dtype);
}

size_t kvb_cpu_check(const kvb_check_job *job, const kvb_cpu_ops *ops) {
    for (size_t row = 0; row < job->n_rows; row++) {
        if (!ops->is_legal(row_at(job->rows, job->dtype, job->row_stride, row), job->dtype, job->head_dim)) {
            return row;
        }
    }
    return job->n_rows;
}

static void locate_planes(const kvb_codec_tables *tables, const kvb_packed *packed, size_t row,
                          uint8_t *planes[KVB_MAX_PLANES]) {
    for (int p = 0; p < KVB_MAX_PLANES; p++) {
        planes[p] = NULL;
        if (p < tables->n_planes) {
            planes[p] = packed->planes[p] + row * (size_t)tables->plane_bytes[p];
        }
    }
}

/* What the decoder will read back: the scale rounded to its stored type, saturated. A quotient may overflow even float
 * when the centroids are tiny. */
static float round_scale(kvb_dtype dtype, float scale, kvb_encode_stats *stats) {
    float limit = dtype == KVB_F16 ? KVB_F16_MAX : FLT_MAX;
    if (fabsf(scale) > limit) {
        stats->saturated_scales++;
        return copysignf(limit, scale);
    }
    return dtype == KVB_F16 ? kvb_half_to_float(kvb_float_to_half(scale)) : scale;
}

static void store_scale(kvb_dtype dtype, void *scales, size_t row, float scale) {
    if (dtype == KVB_F16) {
        ((uint16_t *)scales)[row] = isnan(scale) ? KVB_F16_NAN : kvb_float_to_half(scale);
    } else {
        ((float *)scales)[row] = isnan(scale) ? kvb_float_of(KVB_F32_NAN) : scale;
    }
}

static float read_scale(kvb_dtype dtype, const void *scales, size_t row) {
    return dtype == KVB_F16 ? kvb_half_to_float(((const uint16_t *)scales)[row]) : ((const float *)scales)[row];
}

/* A rotated row on its way to codes. */
typedef struct row_state {
    const float *row;
    float sum;    /* of squares */
    float scale;  /* 0 or NaN: codes 0 */
    float factor; /* codes come from row * factor; 0: there are none */
} row_state;

static void find_scale(const kvb_encode_job *job, row_state *s) {
    const kvb_codec_tables *tables = job->tables;
    s->scale = s->factor = 0.0f;
    if (!isfinite(s->sum)) {
        job->stats->not_finite_rows++;
        s->scale = NAN;
    } else if (s->sum > 0.0f) {
        s->scale = sqrtf(s->sum) / tables->sqrt_dim;
        if (tables->scale == KVB_SCALE_NORM) {
            s->scale = round_scale(tables->scale_dtype, s->scale, job->stats);
        }
        s->factor = s->scale > 0.0f ? 1.0f / s->scale : 0.0f;
    }
}

/* Steps read and write codes in whole vectors, and a half of a row ends within one. */
enum { whole_vector = 64 };

/* Levels of a row, and the path through the trellis where there is one. */
typedef struct row_codes {
    _Alignas(buffer_alignment) uint8_t codes[KVB_MAX_HEAD_DIM + whole_vector];
    _Alignas(buffer_alignment) uint8_t path[KVB_MAX_HEAD_DIM + whole_vector];
} row_codes;

static void choose_by(const kvb_codec_tables *tables, const kvb_cpu_ops *ops, const float *row, float factor,
                      row_codes *c) {
    const kvb_codec_tables *part;
    int n = kvb_codec_parts(tables, &part);
    for (int i = 0, at = 0; i < n; at += part[i++].head_dim) {
        ops->quantize(&part[i], row + at, factor, c->codes + at);
        if (tables->trellis_states) {
            ops->find_path(&part[i], row + at, factor, c->codes + at, c->path + at);
        }
    }
}

static void expand(const kvb_codec_tables *tables, const kvb_cpu_ops *ops, const uint8_t *codes, float scale,
                   float *out) {
    const kvb_codec_tables *part;
    int n = kvb_codec_parts(tables, &part);
    for (int i = 0, at = 0; i < n; at += part[i++].head_dim) {
        ops->expand(&part[i], codes + at, scale, out + at);
    }
}

/* The sums run over the whole row, in one order for all codes (row_sums.c). */
static void project(const kvb_codec_tables *tables, const kvb_cpu_ops *ops, const float *row, const uint8_t *codes,
                    float *row_c, float *c_c) {
    if (!tables->parts) {
        ops->project(tables, row, codes, row_c, c_c);
        return;
    }
    _Alignas(buffer_alignment) float centroids[KVB_MAX_HEAD_DIM];
    size_t n = (size_t)tables->head_dim;
    expand(tables, ops, codes, 1.0f, centroids);
    kvb_dot_job job = {row, n, 1, tables->head_dim, centroids, row_c};
    ops->dot_each(&job);
    *c_c = ops->sum_squares(centroids, tables->head_dim);
}

/* <row, c> / <c, c>, and by how much that scale lowers the squared error. */
static float least_squares(const kvb_codec_tables *tables, const kvb_cpu_ops *ops, const float *row, const row_codes *c,
                           float *gain) {
    float row_c, c_c;
    project(tables, ops, row, c->codes, &row_c, &c_c);
    float scale = c_c > 0.0f ? row_c / c_c : 0.0f;
    *gain = scale * row_c;
    return scale;
}

/* Codes and the unrounded scale of the best norm; the first among equals. */
static void search_scale(const kvb_codec_tables *tables, const kvb_cpu_ops *ops, row_state *s, row_codes *best) {
    float most = 0.0f;
    for (int i = 0; i < KVB_SEARCH_FACTORS; i++) {
        row_codes c;
        float gain;
        choose_by(tables, ops, s->row, s->factor * kvb_search_factors[i], &c);
        float scale = least_squares(tables, ops, s->row, &c, &gain);
        if (i == 0 || gain > most) {
            most = gain;
            s->scale = scale;
            memcpy(best->codes, c.codes, (size_t)tables->head_dim);
            memcpy(best->path, c.path, tables->trellis_states ? (size_t)tables->head_dim : 0);
        }
    }
}

static void choose_codes(const kvb_encode_job *job, const kvb_cpu_ops *ops, row_state *s, row_codes *c) {
    if (s->factor > 0.0f && job->tables->scale == KVB_SCALE_SEARCH) {
        search_scale(job->tables, ops, s, c);
    } else if (s->factor > 0.0f) {
        choose_by(job->tables, ops, s->row, s->factor, c);
    }
}

/* A scale of 0 or NaN comes with codes 0. */
static void finish_scale(const kvb_encode_job *job, const kvb_cpu_ops *ops, row_state *s, row_codes *c) {
    const kvb_codec_tables *tables = job->tables;
    if (s->factor > 0.0f && tables->scale != KVB_SCALE_NORM) {
        float gain, scale = tables->scale == KVB_SCALE_LSQ ? least_squares(tables, ops, s->row, c, &gain) : s->scale;
        s->scale = round_scale(tables->scale_dtype, scale, job->stats);
    }
    if (s->scale == 0.0f || isnan(s->scale)) {
        memset(c->codes, 0, (size_t)tables->head_dim);
        memset(c->path, 0, (size_t)tables->head_dim);
        s->scale = s->scale == 0.0f ? 0.0f : s->scale; /* never -0 */
    }
}

/* Rotated, in the buffer unless it may stay where it is. */
static const float *read_row(const kvb_encode_job *job, const kvb_cpu_ops *ops, size_t i, float *buffer) {
    const kvb_codec_tables *tables = job->tables;
    const void *input = row_at(job->rows, job->dtype, job->row_stride, i);
    if (job->dtype == KVB_F32 && tables->rotation == KVB_ROTATION_NONE) {
        return input;
    }
    if (job->dtype == KVB_F32 && ops->rotate_from) {
        ops->rotate_from(tables, input, buffer);
    } else {
        ops->load(input, job->dtype, tables->head_dim, buffer);
        ops->rotate(tables, buffer);
    }
    return buffer;
}

/* A few rows at a time go through each step, because a row's scale takes long to come and its codes wait for it. */
enum { rows_at_once = 4 };

typedef struct few_rows {
    _Alignas(buffer_alignment) float buffers[rows_at_once][KVB_MAX_HEAD_DIM];
    row_codes codes[rows_at_once];
    row_state states[rows_at_once];
} few_rows;

static void encode_few(const kvb_encode_job *job, const kvb_cpu_ops *ops, size_t first, size_t n, few_rows *few) {
    row_state *states = few->states;
    for (size_t i = 0; i < n; i++) {
        states[i].row = read_row(job, ops, first + i, few->buffers[i]);
        states[i].sum = ops->sum_squares(states[i].row, job->tables->head_dim);
    }
    for (size_t i = 0; i < n; i++) {
        find_scale(job, &states[i]);
    }
    for (size_t i = 0; i < n; i++) {
        choose_codes(job, ops, &states[i], &few->codes[i]);
    }
    for (size_t i = 0; i < n; i++) {
        finish_scale(job, ops, &states[i], &few->codes[i]);
    }
}

static size_t at_most(size_t n, size_t most) {
    return n < most ? n : most;
}

static void pack(const kvb_codec_tables *tables, const kvb_cpu_ops *ops, const row_codes *c, const kvb_packed *packed,
                 size_t row) {
    uint8_t *all[KVB_MAX_PLANES], **planes = all;
    const kvb_codec_tables *part;
    int n = kvb_codec_parts(tables, &part);
    locate_planes(tables, packed, row, all);
    for (int i = 0, at = 0; i < n; at += part[i].head_dim, planes += part[i++].n_planes) {
        if (tables->trellis_states) {
            ops->pack_path(&part[i], c->codes + at, c->path + at, planes);
        } else {
            ops->pack(&part[i], c->codes + at, planes);
        }
    }
}

void kvb_cpu_encode(const kvb_encode_job *job, const kvb_cpu_ops *ops) {
    const kvb_codec_tables *tables = job->tables;
    few_rows few;
    for (size_t first = 0; first < job->n_rows; first += rows_at_once) {
        size_t n = at_most(job->n_rows - first, rows_at_once);
        encode_few(job, ops, first, n, &few);
        for (size_t i = 0; i < n; i++) {
            size_t at = job->first_row + first + i;
            pack(tables, ops, &few.codes[i], &job->packed, at);
            store_scale(tables->scale_dtype, job->packed.scales, at, few.states[i].scale);
        }
    }
    job->stats->rows += job->n_rows;
}

/* Scales are rounded to what is stored before they come here. */
void kvb_cpu_round_trip(const kvb_round_trip_job *job, const kvb_cpu_ops *ops) {
    const kvb_encode_job *encode = &job->encode;
    few_rows few;
    for (size_t first = 0; first < encode->n_rows; first += rows_at_once) {
        size_t n = at_most(encode->n_rows - first, rows_at_once);
        encode_few(encode, ops, first, n, &few);
        for (size_t i = 0; i < n; i++) {
            float *out = job->out + (first + i) * job->out_stride;
            expand(encode->tables, ops, few.codes[i].codes, few.states[i].scale, out);
            ops->unrotate(encode->tables, out);
        }
    }
    encode->stats->rows += encode->n_rows;
}

static float unpack_row(const kvb_codec_tables *tables, const kvb_packed *packed, size_t row, const kvb_cpu_ops *ops,
                        uint8_t *codes) {
    uint8_t *all[KVB_MAX_PLANES], **planes = all;
    const kvb_codec_tables *part;
    int n = kvb_codec_parts(tables, &part);
    locate_planes(tables, packed, row, all);
    for (int i = 0, at = 0; i < n; at += part[i].head_dim, planes += part[i++].n_planes) {
        ops->unpack(&part[i], (const uint8_t *const *)planes, codes + at);
    }
    return read_scale(tables->scale_dtype, packed->scales, row);
}

void kvb_cpu_decode(const kvb_decode_job *job, const kvb_cpu_ops *ops) {
    _Alignas(buffer_alignment) uint8_t codes[KVB_MAX_HEAD_DIM + whole_vector];
    for (size_t i = 0; i < job->n_rows; i++) {
        float *out = job->out + i * job->row_stride;
        float scale = unpack_row(job->tables, &job->packed, job->first_row + i, ops, codes);
        expand(job->tables, ops, codes, scale, out);
        if (job->domain == KVB_DOMAIN_INPUT) {
            ops->unrotate(job->tables, out);
        }
    }
}

void kvb_cpu_rotate(const kvb_rotate_job *job, const kvb_cpu_ops *ops) {
    for (size_t i = 0; i < job->n_rows; i++) {
        float *row = job->rows + i * job->row_stride;
        if (job->inverse) {
            ops->unrotate(job->tables, row);
        } else {
            ops->rotate(job->tables, row);
        }
    }
}

void kvb_cpu_unpack(const kvb_unpack_job *job, const kvb_cpu_ops *ops) {
    *job->scale = unpack_row(job->tables, &job->packed, job->row, ops, job->codes);
}
