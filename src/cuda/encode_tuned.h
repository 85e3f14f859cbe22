/* Appends that the kernel for rows of 64, 128 and 256 values serves. */
#ifndef KVB_CUDA_ENCODE_TUNED_H
#define KVB_CUDA_ENCODE_TUNED_H

#include "page_job.h"

#define KVB_CUDA_MOST_LAYERS 32 /* of one launch: the jobs are its arguments, which may take 32 KB */

#ifdef __cplusplus
extern "C" {
#endif

/* Queues one launch for as many of the first jobs as it serves, `done`, which stays as it is where that is none. A
 * cudaError_t. */
int kvb_cuda_launch_append_tuned(const kvb_cuda_append_job *jobs, int n, void *stream, int *done);

#ifdef __cplusplus
}
#endif

#endif
