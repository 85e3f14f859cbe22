/* What stands behind the opaque layer, and what the calls on it share. */
#ifndef KVB_CUDA_LAYER_H
#define KVB_CUDA_LAYER_H

#include "attend_launch.h"
#include "kvbits/cuda.h"
#include "page_job.h"

struct kvb_cuda_layer {
    kvb_allocator allocator;
    int device, n_kv_heads, n_q_heads, n_blocks;
    int has_warpgroups;                            /* the device is a Hopper: what `launch_many` wants */
    int most_clusters[2][KVB_CUDA_MOST_PARTS + 1]; /* of its blocks, by kernel and size */
    kvb_dtype dense;                               /* of exact tokens */
    kvb_cuda_format formats[2];                    /* of a latent layer both are the keys' */
    int v_prefix;                             /* latent: values are so many first coordinates of the keys; else 0 */
    size_t head_bytes[2];                     /* of a page */
    void *tables;                             /* on the device, all of both formats, then k_mean */
    const float *k_mean;                      /* on the device, [KV head][head_dim], or NULL */
    const kvb_cuda_attend_kernel *kernels[2]; /* for queries whole and split */
};

/* Sides that are stored, and the one of them that holds a side's rows. */
static inline int kvb_cuda_sides_of(const kvb_cuda_layer *layer) {
    return layer->v_prefix > 0 ? 1 : 2;
}
static inline int kvb_cuda_stored_side(const kvb_cuda_layer *layer, int side) {
    return layer->v_prefix > 0 ? KVB_CUDA_K : side;
}
/* Values of a side's row: of queries, outputs and what is decoded. */
static inline int kvb_cuda_dim_of(const kvb_cuda_layer *layer, int side) {
    return side == KVB_CUDA_V && layer->v_prefix > 0 ? layer->v_prefix : layer->formats[side].head_dim;
}

/* A cudaError_t as a status: `what` failed. KVB_OK for cudaSuccess. */
kvb_status kvb_cuda_status(int code, const char *what, kvb_error *error);
/* The pages are possible: asks no device. */
kvb_status kvb_cuda_pages_check(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, kvb_error *error);
/* Exact tokens of the pages are possible; `fills` when they are to be written. */
kvb_status kvb_cuda_exact_check(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, int fills, kvb_error *error);
/* The layer's device is the current one. The last check, behind all that need no GPU. */
kvb_status kvb_cuda_current_check(const kvb_cuda_layer *layer, kvb_error *error);
kvb_cuda_place kvb_cuda_place_of(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, int side);
/* All that kvb_cuda_append refuses of a layer before it asks a device. */
kvb_status kvb_cuda_append_check(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, const kvb_cuda_rows *rows,
                                 kvb_error *error);
/* All that kvb_cuda_attend_plan refuses, where no plan is needed. */
kvb_status kvb_cuda_plan_check(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages,
                               const kvb_cuda_queries *queries, void *scratch, size_t bytes, kvb_error *error);
/* Side, sequence and tokens are possible. */
kvb_status kvb_cuda_range_check(const kvb_cuda_pages *pages, kvb_cuda_side side, int sequence, int first, int n_tokens,
                                const char *what, kvb_error *error);
/* Planes of a side's rows, in the order of docs/format.md; their number. */
int kvb_cuda_planes_of(const kvb_cuda_format *format, kvb_cuda_plane planes[KVB_MAX_PLANES]);

/* kvb_cuda_decode where the host knows what `lengths` and packed_ends would say; NULL: the device does. */
typedef struct kvb_cuda_length {
    int n_tokens, packed_end;
} kvb_cuda_length;
kvb_status kvb_cuda_decode_rows(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, kvb_cuda_side side,
                                int sequence, int first, int n_tokens, const kvb_cuda_length *length, void *out,
                                kvb_dtype dtype, void *stream, kvb_error *error);
/* Blocks of threads to a tile, where the kernel for many queries serves such a call, else 0. It does where it takes
 * less time for a page of every sequence: it multiplies 128 columns of 128 coordinates with one in 1.3 us, a
 * multiprocessor one tile after another; the kernel for few reads the page for every 8 columns, at the memory's speed
 * (docs/cuda.md, "Prompts"). */
int kvb_cuda_many_parts(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, const kvb_cuda_queries *q);

#endif
