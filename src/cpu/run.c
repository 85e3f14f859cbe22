/* Runs whole jobs row by row: rotate, scale, quantize, pack, and back. The order of work and every rounding of the
 * scale are here, once for all CPU instruction sets. */
#include "cpu/ops.h"
#include "half.h"

#include <float.h>
#include <math.h>
#include <string.h>

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
            size_t bytes = (size_t)kvb_layout_plane_bytes(tables->head_dim, tables->plane_widths[p]);
            planes[p] = packed->planes[p] + row * bytes;
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

/* Codes of a rotated row and its scale as stored. A scale of 0 or NaN comes with codes 0. */
static float choose_codes(const kvb_encode_job *job, const kvb_cpu_ops *ops, const float *row, uint8_t *codes) {
    const kvb_codec_tables *tables = job->tables;
    float scale = 0.0f;
    float sum = ops->sum_squares(row, tables->head_dim);
    if (!isfinite(sum)) {
        job->stats->not_finite_rows++;
        scale = NAN;
    } else if (sum > 0.0f) {
        scale = sqrtf(sum) / tables->sqrt_dim;
        if (tables->scale == KVB_SCALE_NORM) {
            scale = round_scale(tables->scale_dtype, scale, job->stats);
        }
        if (scale > 0.0f) {
            ops->quantize(tables, row, 1.0f / scale, codes);
        }
        if (tables->scale == KVB_SCALE_LSQ) {
            float row_c, c_c;
            ops->project(tables, row, codes, &row_c, &c_c);
            scale = c_c > 0.0f ? round_scale(tables->scale_dtype, row_c / c_c, job->stats) : 0.0f;
        }
    }
    if (scale == 0.0f || isnan(scale)) {
        memset(codes, 0, (size_t)tables->head_dim);
    }
    return scale == 0.0f ? 0.0f : scale; /* never -0 */
}

void kvb_cpu_encode(const kvb_encode_job *job, const kvb_cpu_ops *ops) {
    const kvb_codec_tables *tables = job->tables;
    float buffer[KVB_MAX_HEAD_DIM];
    uint8_t codes[KVB_MAX_HEAD_DIM];
    int is_direct = job->dtype == KVB_F32 && tables->rotation == KVB_ROTATION_NONE;
    for (size_t i = 0; i < job->n_rows; i++) {
        const void *input = row_at(job->rows, job->dtype, job->row_stride, i);
        const float *row = is_direct ? input : buffer;
        if (!is_direct) {
            ops->load(input, job->dtype, tables->head_dim, buffer);
            ops->rotate(tables, buffer);
        }
        float scale = choose_codes(job, ops, row, codes);
        uint8_t *planes[KVB_MAX_PLANES];
        locate_planes(tables, &job->packed, job->first_row + i, planes);
        ops->pack(tables, codes, planes);
        store_scale(tables->scale_dtype, job->packed.scales, job->first_row + i, scale);
    }
    job->stats->rows += job->n_rows;
}

static float unpack_row(const kvb_codec_tables *tables, const kvb_packed *packed, size_t row, const kvb_cpu_ops *ops,
                        uint8_t *codes) {
    uint8_t *planes[KVB_MAX_PLANES];
    locate_planes(tables, packed, row, planes);
    ops->unpack(tables, (const uint8_t *const *)planes, codes);
    return read_scale(tables->scale_dtype, packed->scales, row);
}

void kvb_cpu_decode(const kvb_decode_job *job, const kvb_cpu_ops *ops) {
    uint8_t codes[KVB_MAX_HEAD_DIM];
    for (size_t i = 0; i < job->n_rows; i++) {
        float *out = job->out + i * job->row_stride;
        float scale = unpack_row(job->tables, &job->packed, job->first_row + i, ops, codes);
        ops->expand(job->tables, codes, scale, out);
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
