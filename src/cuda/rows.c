/* Rows as values, and partial results added up: what they are given is checked here. */
#include "layer.h"

#include "page.h"

#include <cuda_runtime_api.h>
#include <limits.h>

static kvb_status check_dtype(const char *what, kvb_dtype dtype, kvb_error *error) {
    return kvb_dtype_bytes(dtype) > 0
               ? KVB_OK
               : kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s: dtype is %d, legal are KVB_F32, KVB_F16 and KVB_BF16",
                               what, (int)dtype);
}

kvb_status kvb_cuda_decode_rows(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, kvb_cuda_side side,
                                int sequence, int first, int n_tokens, const kvb_cuda_length *length, void *out,
                                kvb_dtype dtype, void *stream, kvb_error *error) {
    const char *what = "kvb_cuda_decode";
    kvb_status status;
    if ((status = kvb_cuda_pages_check(layer, pages, error)) ||
        (status = kvb_cuda_exact_check(layer, pages, 0, error)) ||
        (status = kvb_cuda_range_check(pages, side, sequence, first, n_tokens, what, error)) ||
        (status = check_dtype(what, dtype, error))) {
        return status;
    }
    if (!out) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s: out is NULL", what);
    }
    const int is_value = kvb_cuda_stored_side(layer, side) == KVB_CUDA_V;
    const kvb_cuda_decode_job job = {.format = layer->formats[is_value],
                                     .place = kvb_cuda_place_of(layer, pages, is_value),
                                     .is_value = is_value,
                                     .sequence = sequence,
                                     .n_kv_heads = layer->n_kv_heads,
                                     .first = first,
                                     .n_tokens = n_tokens,
                                     .dim = kvb_cuda_dim_of(layer, side),
                                     .lengths = length ? NULL : pages->lengths,
                                     .packed_ends = pages->packed_ends,
                                     .length = length ? length->n_tokens : 0,
                                     .packed_end = length ? length->packed_end : 0,
                                     .mean = is_value ? NULL : layer->k_mean,
                                     .exact_first = is_value ? pages->exact_first_v : pages->exact_first_k,
                                     .exact_last = is_value ? pages->exact_last_v : pages->exact_last_k,
                                     .n_exact_first = pages->exact_first,
                                     .n_exact_last = pages->exact_last,
                                     .exact_last_slots = pages->exact_last_slots,
                                     .dense = (int)layer->dense,
                                     .out = out,
                                     .dtype = (int)dtype};
    status = kvb_cuda_current_check(layer, error);
    return status != KVB_OK ? status : kvb_cuda_status(kvb_cuda_launch_decode(&job, stream), what, error);
}

kvb_status kvb_cuda_decode(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, kvb_cuda_side side, int sequence,
                           int first, int n_tokens, void *out, kvb_dtype dtype, void *stream, kvb_error *error) {
    return kvb_cuda_decode_rows(layer, pages, side, sequence, first, n_tokens, NULL, out, dtype, stream, error);
}

kvb_status kvb_cuda_merge(void *out, float *lse, const void *more_out, const float *more_lse, kvb_dtype dtype,
                          size_t n_rows, int dim, void *stream, kvb_error *error) {
    const char *what = "kvb_cuda_merge";
    if (!out || !lse || !more_out || !more_lse) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s: %s is NULL", what,
                             !out        ? "out"
                             : !lse      ? "lse"
                             : !more_out ? "more_out"
                                         : "more_lse");
    }
    kvb_status status = check_dtype(what, dtype, error);
    if (status != KVB_OK) {
        return status;
    }
    if (dim < 1 || dim > 65536) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s: dim is %d, legal are 1 to 65536", what, dim);
    }
    if (n_rows > INT_MAX) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s: n_rows is %zu, legal are up to %d", what, n_rows, INT_MAX);
    }
    if (n_rows == 0) {
        return KVB_OK;
    }
    const kvb_cuda_merge_job job = {.out = out,
                                    .lse = lse,
                                    .more_out = more_out,
                                    .more_lse = more_lse,
                                    .n_rows = n_rows,
                                    .dtype = (int)dtype,
                                    .dim = dim};
    return kvb_cuda_status(kvb_cuda_launch_merge(&job, stream), what, error);
}
