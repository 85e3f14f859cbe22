/* Encoding and decoding of rows: everything that callers pass is validated here, so that kernels get only legal jobs.
 */
#include "codec.h"
#include "half.h"
#include "memory.h"
#include "rows.h"

#include <math.h>

static int is_aligned(const void *pointer, size_t bytes) {
    return (uintptr_t)pointer % bytes == 0;
}

/* Rows in the caller's memory: n_rows of head_dim values, row_stride values apart. */
static kvb_status check_rows(const kvb_codec *codec, const char *name, const void *rows, size_t value_bytes,
                             size_t row_stride, size_t n_rows, kvb_error *error) {
    size_t bytes;
    if (!rows || !is_aligned(rows, value_bytes)) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is %s; it must be aligned to its values of %zu bytes", name,
                             rows ? "misaligned" : "NULL", value_bytes);
    }
    if (row_stride < (size_t)codec->spec.head_dim) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "row_stride %zu is less than head_dim %d", row_stride,
                             codec->spec.head_dim);
    }
    if (!kvb_size_multiply(row_stride, value_bytes, &bytes) || !kvb_size_multiply(bytes, n_rows, &bytes)) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "%zu rows at a row_stride of %zu do not fit the address space",
                             n_rows, row_stride);
    }
    return KVB_OK;
}

static kvb_status check_packed(const kvb_codec *codec, const kvb_packed *packed, size_t first_row, size_t n_rows,
                               kvb_error *error) {
    if (!packed) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "packed is NULL");
    }
    for (int p = 0; p < codec->tables.n_planes; p++) {
        if (!packed->planes[p]) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "packed plane %d is NULL; %d bits take %d planes", p,
                                 codec->spec.bits, codec->tables.n_planes);
        }
    }
    size_t scale_bytes = kvb_dtype_bytes(codec->spec.scale_dtype);
    if (!packed->scales || !is_aligned(packed->scales, scale_bytes)) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "packed scales are %s; they must be aligned to %zu bytes",
                             packed->scales ? "misaligned" : "NULL", scale_bytes);
    }
    size_t end;
    if (!kvb_size_add(first_row, n_rows, &end) || kvb_codec_block_bytes(codec, end) == 0) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "%zu rows from row %zu on do not fit the address space", n_rows,
                             first_row);
    }
    return KVB_OK;
}

int kvb_illegal_coordinate(const void *row, kvb_dtype dtype, int head_dim, float *value) {
    size_t bytes = kvb_dtype_bytes(dtype);
    for (int i = 0; i < head_dim; i++) {
        *value = kvb_value_at((const uint8_t *)row + (size_t)i * bytes, dtype);
        if (!(fabsf(*value) <= KVB_MAX_ABS)) {
            return i;
        }
    }
    return -1;
}

static kvb_status report_illegal(const kvb_check_job *job, size_t row, kvb_error *error) {
    float value = 0.0f;
    size_t at = row * job->row_stride * kvb_dtype_bytes(job->dtype);
    int i = kvb_illegal_coordinate((const uint8_t *)job->rows + at, job->dtype, job->head_dim, &value);
    if (i < 0) {
        return kvb_error_set(error, KVB_ERROR_NOT_FINITE, "row %zu was changed while it was being encoded", row);
    }
    return kvb_error_set(error, KVB_ERROR_NOT_FINITE,
                         "row %zu coordinate %d is %g; values must be finite, up to 2^58 in size", row, i,
                         (double)value);
}

void kvb_encode_unchecked(const kvb_codec *codec, const void *rows, kvb_dtype dtype, size_t row_stride, size_t n_rows,
                          const kvb_packed *packed, size_t first_row, kvb_encode_stats *stats) {
    kvb_encode_stats ignored = {0};
    kvb_encode_job job = {.tables = &codec->tables,
                          .rows = rows,
                          .dtype = dtype,
                          .row_stride = row_stride,
                          .n_rows = n_rows,
                          .packed = *packed,
                          .first_row = first_row,
                          .stats = stats ? stats : &ignored};
    codec->backend->encode(&job);
}

kvb_status kvb_encode(const kvb_codec *codec, const void *rows, kvb_dtype dtype, size_t row_stride, size_t n_rows,
                      const kvb_packed *packed, size_t first_row, kvb_encode_stats *stats, kvb_error *error) {
    if (!codec) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "codec is NULL");
    }
    size_t value_bytes = kvb_dtype_bytes(dtype);
    if (value_bytes == 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "dtype %d is not 0 (f32), 1 (f16) or 2 (bf16)", (int)dtype);
    }
    if (n_rows == 0) {
        return KVB_OK;
    }
    kvb_status status;
    if ((status = check_rows(codec, "rows", rows, value_bytes, row_stride, n_rows, error)) ||
        (status = check_packed(codec, packed, first_row, n_rows, error))) {
        return status;
    }
    kvb_check_job job = {rows, dtype, codec->spec.head_dim, row_stride, n_rows};
    size_t illegal = codec->backend->check(&job);
    if (illegal < n_rows) {
        return report_illegal(&job, illegal, error);
    }
    kvb_encode_unchecked(codec, rows, dtype, row_stride, n_rows, packed, first_row, stats);
    return KVB_OK;
}

kvb_status kvb_decode(const kvb_codec *codec, const kvb_packed *packed, size_t first_row, size_t n_rows,
                      kvb_domain domain, float *out, size_t row_stride, kvb_error *error) {
    if (!codec) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "codec is NULL");
    }
    if (domain != KVB_DOMAIN_INPUT && domain != KVB_DOMAIN_ROTATED) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "domain %d is not 0 (input) or 1 (rotated)", (int)domain);
    }
    if (n_rows == 0) {
        return KVB_OK;
    }
    kvb_status status;
    if ((status = check_rows(codec, "out", out, sizeof *out, row_stride, n_rows, error)) ||
        (status = check_packed(codec, packed, first_row, n_rows, error))) {
        return status;
    }
    kvb_decode_job job = {&codec->tables, *packed, first_row, n_rows, domain, out, row_stride};
    codec->backend->decode(&job);
    return KVB_OK;
}

kvb_status kvb_round_trip(const kvb_codec *codec, const float *rows, size_t row_stride, size_t n_rows, float *out,
                          size_t out_stride, kvb_error *error) {
    if (!codec) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "codec is NULL");
    }
    if (n_rows == 0) {
        return KVB_OK;
    }
    kvb_status status;
    if ((status = check_rows(codec, "rows", rows, sizeof *rows, row_stride, n_rows, error)) ||
        (status = check_rows(codec, "out", out, sizeof *out, out_stride, n_rows, error))) {
        return status;
    }
    kvb_check_job check = {rows, KVB_F32, codec->spec.head_dim, row_stride, n_rows};
    size_t illegal = codec->backend->check(&check);
    if (illegal < n_rows) {
        return report_illegal(&check, illegal, error);
    }
    kvb_encode_stats ignored = {0};
    kvb_round_trip_job job = {.encode = {.tables = &codec->tables,
                                         .rows = rows,
                                         .dtype = KVB_F32,
                                         .row_stride = row_stride,
                                         .n_rows = n_rows,
                                         .stats = &ignored},
                              .out = out,
                              .out_stride = out_stride};
    codec->backend->round_trip(&job);
    return KVB_OK;
}

void kvb_rotate(const kvb_codec *codec, float *rows, size_t row_stride, size_t n_rows) {
    kvb_rotate_job job = {&codec->tables, rows, row_stride, n_rows, 0};
    codec->backend->rotate(&job);
}

void kvb_unrotate(const kvb_codec *codec, float *rows, size_t row_stride, size_t n_rows) {
    kvb_rotate_job job = {&codec->tables, rows, row_stride, n_rows, 1};
    codec->backend->rotate(&job);
}

void kvb_packed_row_codes(const kvb_codec *codec, const kvb_packed *packed, size_t row, uint8_t *codes, float *scale) {
    kvb_unpack_job job = {&codec->tables, *packed, row, codes, scale};
    codec->backend->unpack(&job);
}
