/* The loops that find a GPU's ceilings. Each queues a kernel on the default stream; a cudaError_t. */
#ifndef KVBITS_BENCH_CUDA_LOOPS_H
#define KVBITS_BENCH_CUDA_LOOPS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* `bytes` is a multiple of 16; `sink` 4 bytes on the device, there so that nothing is left out. */
int kvb_bench_launch_read(const void *from, size_t bytes, void *sink);
/* Fills the L2 with clean lines of `from`. */
int kvb_bench_launch_fill(const void *from, size_t bytes, void *sink);
/* So many f32 operations (a multiply-add is two) as kvb_bench_mma_operations says, on the tensor cores: products of
 * halves (m16n8k16), summed in float. */
int kvb_bench_launch_mma(int multiprocessors, void *sink);
double kvb_bench_mma_operations(int multiprocessors);

#ifdef __cplusplus
}
#endif

#endif
