/* What the files of this folder share: memory of the device, a format's pages, and launches that are timed. All memory
 * lives as long as the suite. */
#ifndef KVBITS_BENCH_CUDA_GPU_H
#define KVBITS_BENCH_CUDA_GPU_H

#include "kvbits/cuda.h"
#include "suite.h"

/* Pages of a format, enough for any batch; shapes that differ in query heads share them. */
typedef struct kvb_bench_pool {
    struct kvb_bench_pool *next;
    int n_kv_heads, head_dim, states;
    kvb_bench_pair bits;
    void *pages;
} kvb_bench_pool;

typedef struct kvb_bench_device {
    kvb_bench_suite *suite;
    size_t n_pages; /* of every pool */
    void *lines;    /* foreign to every kernel, what the L2 is filled with */
    void *sink;     /* 4 bytes */
    void *rows[2];  /* bfloats, `row_values` of them: new keys and values */
    size_t row_values;
    void *start, *stop; /* cudaEvent_t */
    kvb_bench_pool *pools;
} kvb_bench_device;

/* Makes the suite's GPU the current one; the caller has set `suite`. */
KVB_CHECKED kvb_status kvb_bench_gpu_open(kvb_bench_device *device, kvb_error *error);
/* A cudaError_t as a status. */
KVB_CHECKED kvb_status kvb_bench_cuda_status(int code, const char *what, kvb_error *error);
/* Device memory. */
KVB_CHECKED kvb_status kvb_bench_gpu_allocate(kvb_bench_device *device, size_t bytes, void **out, kvb_error *error);
KVB_CHECKED kvb_status kvb_bench_gpu_upload(kvb_bench_device *device, const void *from, size_t bytes, void **out,
                                            kvb_error *error);
/* n Gaussian bfloats. */
KVB_CHECKED kvb_status kvb_bench_gpu_normals(kvb_bench_device *device, uint64_t seed, size_t n, void **out,
                                             kvb_error *error);

/* A kernel whose launch is timed by events, the L2 full of foreign lines. units: what row.unit counts, per launch. */
KVB_CHECKED kvb_status kvb_bench_gpu_add(kvb_bench_device *device, const kvb_bench_row *row, double units,
                                         kvb_status (*launch)(void *context, kvb_error *error), void *context,
                                         kvb_error *error);

/* A layer of the shape; `states` of trellises, where the bits are 2-6 (0: scalar codes). */
KVB_CHECKED kvb_status kvb_bench_gpu_layer(kvb_bench_device *device, const kvb_bench_shape *shape, kvb_bench_pair bits,
                                           int states, kvb_cuda_layer **out, kvb_error *error);
/* Its pages, encoded. */
KVB_CHECKED kvb_status kvb_bench_gpu_pages(kvb_bench_device *device, const kvb_bench_shape *shape, kvb_bench_pair bits,
                                           int states, const kvb_cuda_layer *layer, void **out, kvb_error *error);
/* The names of both codes, the shape, the backend, the unit ns/call, and which kernel attends. */
kvb_bench_row kvb_bench_gpu_row(const kvb_bench_device *device, const char *work, const kvb_bench_shape *shape,
                                kvb_bench_pair bits, int states, const kvb_cuda_layer *layer);

typedef struct kvb_bench_gpu_case {
    kvb_bench_shape shape;
    kvb_bench_pair bits;
    int states; /* of trellises; 0: scalar codes */
    kvb_precision precision;
    int batch, kv_len;
    const char *variant; /* as in kvb_bench_row */
    int queries;         /* of each sequence; 1: decode */
    int plans;           /* 1: the plan is timed too */
} kvb_bench_gpu_case;

KVB_CHECKED kvb_status kvb_bench_gpu_add_ceilings(kvb_bench_device *device, kvb_error *error);
KVB_CHECKED kvb_status kvb_bench_gpu_add_attend(kvb_bench_device *device, const kvb_bench_gpu_case *c,
                                                kvb_error *error);
/* n_tokens new tokens of one sequence. */
KVB_CHECKED kvb_status kvb_bench_gpu_add_append(kvb_bench_device *device, const kvb_bench_shape *shape,
                                                kvb_bench_pair bits, int states, int n_tokens, kvb_error *error);

#endif
