/* Kernels for the usual formats of an append. */
#ifndef KVB_CUDA_ENCODE_TUNED_H
#define KVB_CUDA_ENCODE_TUNED_H

#include "page_job.h"

#define KVB_CUDA_MOST_LAYERS 32 /* of one launch: the jobs are its arguments, which may take 32 KB */

#ifdef __cplusplus
extern "C" {
#endif

/* Scalar codes of whole bits and dense rows, of 64, 128 and 256 values. */
int kvb_cuda_append_is_tuned(const kvb_cuda_format *format);
/* Queues one launch for n jobs, up to KVB_CUDA_MOST_LAYERS, of one head_dim; n_sides sides from first_side on, of all
 * the same. A cudaError_t. */
int kvb_cuda_launch_append_tuned(const kvb_cuda_append_job *jobs, int n, int first_side, int n_sides, void *stream);
/* The same for jobs that all append at most one token to a sequence. */
int kvb_cuda_launch_append_single(const kvb_cuda_append_job *jobs, int n, int first_side, int n_sides, void *stream);
/* Trellis codes of whole bits, of 8 and 16 states and the same head_dims; of one job, whose sides have as many states.
 */
int kvb_cuda_append_finds_paths(const kvb_cuda_format *format);
int kvb_cuda_launch_append_paths(const kvb_cuda_append_job *job, int first_side, int n_sides, void *stream);

#ifdef __cplusplus
}
#endif

#endif
