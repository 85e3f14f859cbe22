/* Kernels that keep the device's numbers of a kvb_cuda_cache. */
#ifndef KVB_CUDA_CACHE_KERNELS_H
#define KVB_CUDA_CACHE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Numbers to be written, as a kernel's argument: nothing of the host must live on until it runs. Below 4 KB. */
enum { KVB_CUDA_UPDATES = 320 };
typedef struct kvb_cuda_update {
    int64_t at[KVB_CUDA_UPDATES];
    int32_t values[KVB_CUDA_UPDATES];
    int n;
} kvb_cuda_update;

/* Where arrays begin in `numbers`. Row max_sequences of lengths is that of empty places: 0 tokens. */
typedef struct kvb_cuda_numbers {
    size_t sequences;   /* [place] its row */
    size_t row_begin;   /* [place + 1] */
    size_t before;      /* [row] tokens before the step */
    size_t after;       /* [row] and behind it */
    size_t packed_ends; /* [layer][row] as in kvb_cuda_pages */
    size_t tables;      /* [layer][sequence][table_stride] */
    size_t n;
} kvb_cuda_numbers;

#ifdef __cplusplus
extern "C" {
#endif

/* numbers[at[i]] = values[i]; a cudaError_t. */
int kvb_cuda_launch_update(int32_t *numbers, const kvb_cuda_update *update, void *stream);
/* Of each place of the batch: before = after, after += its new rows. */
int kvb_cuda_launch_next_step(int32_t *numbers, const kvb_cuda_numbers *at, int n_sequences, void *stream);

#ifdef __cplusplus
}
#endif

#endif
