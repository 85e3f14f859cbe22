/* What stands behind the opaque layer, and what the calls on it share. */
#ifndef KVB_CUDA_LAYER_H
#define KVB_CUDA_LAYER_H

#include "attend_launch.h"
#include "kvbits/cuda.h"
#include "page_job.h"

struct kvb_cuda_layer {
    kvb_allocator allocator;
    int device, n_kv_heads, n_q_heads, n_blocks;
    kvb_dtype dense; /* of exact tokens */
    kvb_cuda_format formats[2];
    size_t head_bytes[2];                     /* of a page */
    void *tables;                             /* on the device, all of both formats, then k_mean */
    const float *k_mean;                      /* on the device, [KV head][head_dim], or NULL */
    const kvb_cuda_attend_kernel *kernels[2]; /* for queries whole and split */
};

/* A cudaError_t as a status: `what` failed. KVB_OK for cudaSuccess. */
kvb_status kvb_cuda_status(int code, const char *what, kvb_error *error);
/* The pages are possible: asks no device. */
kvb_status kvb_cuda_pages_check(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, kvb_error *error);
/* Exact tokens of the pages are possible; `fills` when they are to be written. */
kvb_status kvb_cuda_exact_check(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, int fills, kvb_error *error);
/* The layer's device is the current one. The last check, behind all that need no GPU. */
kvb_status kvb_cuda_current_check(const kvb_cuda_layer *layer, kvb_error *error);
kvb_cuda_place kvb_cuda_place_of(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, int side);
/* Side, sequence and tokens are possible. */
kvb_status kvb_cuda_range_check(const kvb_cuda_pages *pages, kvb_cuda_side side, int sequence, int first, int n_tokens,
                                const char *what, kvb_error *error);
/* Planes of a side's rows: their number and widths. */
int kvb_cuda_planes_of(const kvb_cuda_format *format, int widths[KVB_MAX_PLANES]);

/* kvb_cuda_decode where the host knows what `lengths` and packed_ends would say; NULL: the device does. */
typedef struct kvb_cuda_length {
    int n_tokens, packed_end;
} kvb_cuda_length;
kvb_status kvb_cuda_decode_rows(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, kvb_cuda_side side,
                                int sequence, int first, int n_tokens, const kvb_cuda_length *length, void *out,
                                kvb_dtype dtype, void *stream, kvb_error *error);

#endif
