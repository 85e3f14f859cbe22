/* The tuned attention kernels by bits and head_dims. */
#ifndef KVB_CUDA_ATTEND_LAUNCH_H
#define KVB_CUDA_ATTEND_LAUNCH_H

#include "attend_job.h"

/* What a launch needs to know of the device. */
typedef struct kvb_cuda_attend_kernel {
    int k_bits, v_bits, k_dim, v_dim, precise;
    int (*prepare)(void); /* once per device: a cudaError_t */
    int (*launch)(const kvb_cuda_attend *job, int n_multiprocessors, void *stream);
} kvb_cuda_attend_kernel;

/* NULL when no tuned kernel serves the pair: then the general one does. */
#ifdef __cplusplus
extern "C" {
#endif

const kvb_cuda_attend_kernel *kvb_cuda_attend_find(int k_bits, int v_bits, int k_dim, int v_dim, int precise);
/* Workspace of any job with so many items, (sequences) x (KV heads) x (tiles of 8 columns): floats, and counters. */
size_t kvb_cuda_attend_partials(int n_multiprocessors, int v_dim);

#ifdef __cplusplus
}
#endif

#endif
