/* The tuned attention kernels by bits and head_dims. */
#ifndef KVB_CUDA_ATTEND_LAUNCH_H
#define KVB_CUDA_ATTEND_LAUNCH_H

#include "attend_job.h"
#include "fragments.h"

/* Trellis codes as attend_instances.def names them. */
enum { T2 = KVB_FRAGMENT_TRELLIS + 2, T3, T4, T5, T6 };

/* What a launch needs to know of the device. */
typedef struct kvb_cuda_attend_kernel {
    int k_code, v_code, k_dim, v_dim, precise; /* codes as fragments.h numbers them */
    int (*prepare)(void);                      /* once per device: a cudaError_t */
    int (*launch)(const kvb_cuda_attend_job *job, void *stream);
    /* The same for many queries, without a plan and without trees, on devices of 9.0 alone; NULL: none. n_parts blocks
     * of threads, a cluster, share the pages of a tile of many_columns columns. */
    int (*launch_many)(const kvb_cuda_attend_job *job, int n_parts, void *stream);
    int (*most_clusters)(int n_parts, int *out); /* of such blocks, that run at a time: a cudaError_t */
    int many_columns, many_takes_exact;
    int blocks_per_multiprocessor; /* that a plan for it counts with, up to KVB_CUDA_PLANS; 0: one */
} kvb_cuda_attend_kernel;

/* Plans that are made together, for kernels of one, two ... blocks of threads to a multiprocessor, so that layers with
 * other kernels share them. */
enum { KVB_CUDA_PLANS = 2 };

/* The n_blocks of a kernel's plan. */
static inline int kvb_cuda_attend_blocks(const kvb_cuda_attend_kernel *kernel, int multiprocessors) {
    return multiprocessors * (kernel->blocks_per_multiprocessor > 1 ? kernel->blocks_per_multiprocessor : 1);
}

enum { KVB_CUDA_MOST_PARTS = 8 }; /* larger clusters are not portable */

/* Tiles of a job for many queries. */
static inline size_t kvb_cuda_tiles(int n_sequences, int n_kv_heads, int group, int max_n_q, int many_columns) {
    return (size_t)n_sequences * (size_t)n_kv_heads *
           (((size_t)group * (size_t)max_n_q + (size_t)many_columns - 1) / (size_t)many_columns);
}
/* As many parts as leave no tile waiting, a power of two; most_clusters: by number of parts. */
static inline int kvb_cuda_parts(size_t tiles, const int most_clusters[KVB_CUDA_MOST_PARTS + 1]) {
    int n = KVB_CUDA_MOST_PARTS;
    while (n > 1 && tiles > (size_t)most_clusters[n]) {
        n /= 2;
    }
    return n;
}
#ifdef __cplusplus
extern "C" {
#endif

/* Serves every job, in floats. */
extern const kvb_cuda_attend_kernel kvb_cuda_attend_general;
/* NULL when no tuned kernel serves the pair. Tuned kernels want half scales, of equal codes equal centroids, and of
 * trellises 8 or 16 states. */
const kvb_cuda_attend_kernel *kvb_cuda_attend_find(int k_code, int v_code, int k_dim, int v_dim, int precise);
/* Workspace in floats of any job. */
size_t kvb_cuda_attend_partials(int n_blocks, int v_dim);
/* Items of a job: (sequences) x (KV heads) x (tiles of 8 columns). */
size_t kvb_cuda_attend_items(int n_sequences, int n_kv_heads, int group, int max_n_q);
/* Fills the job's plan, and its second one, on the stream, from lengths on the device. A cudaError_t. */
int kvb_cuda_launch_plan(const kvb_cuda_attend_job *job, void *stream);

#ifdef __cplusplus
}
#endif

#endif
