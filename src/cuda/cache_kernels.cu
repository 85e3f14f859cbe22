// The device's numbers of a cache. What is written comes as an argument: the host keeps no memory until it runs.
#include "cache_kernels.h"

namespace kvb {

__global__ void write_numbers(int32_t *numbers, const __grid_constant__ kvb_cuda_update update) {
    if ((int)threadIdx.x < update.n) {
        numbers[update.at[threadIdx.x]] = update.values[threadIdx.x];
    }
}

// Empty places share a row, and all write the same to it.
__global__ void next_step(int32_t *numbers, const __grid_constant__ kvb_cuda_numbers at, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        const int row = numbers[at.sequences + i], after = numbers[at.after + row];
        numbers[at.before + row] = after;
        numbers[at.after + row] = after + numbers[at.row_begin + i + 1] - numbers[at.row_begin + i];
    }
}

} // namespace kvb

int kvb_cuda_launch_update(int32_t *numbers, const kvb_cuda_update *update, void *stream) {
    kvb::write_numbers<<<1, KVB_CUDA_UPDATES, 0, (cudaStream_t)stream>>>(numbers, *update);
    return (int)cudaGetLastError();
}

int kvb_cuda_launch_next_step(int32_t *numbers, const kvb_cuda_numbers *at, int n_sequences, void *stream) {
    kvb::next_step<<<(n_sequences + 255) / 256, 256, 0, (cudaStream_t)stream>>>(numbers, *at, n_sequences);
    return (int)cudaGetLastError();
}
