// The appends of one launch: layers and sides are the grid's second dimension.
#pragma once
#include "encode_tuned.h"

namespace kvb {

// Column y has job y / n_sides and side first_side + y % n_sides; of 1 or 2 sides.
template <int LAYERS> struct Jobs {
    int first_side, n_sides;
    kvb_cuda_append_job of[LAYERS];
};
template <int LAYERS> __device__ __forceinline__ const kvb_cuda_append_job &job_of(const Jobs<LAYERS> &jobs) {
    return jobs.of[LAYERS > 1 ? blockIdx.y >> (jobs.n_sides - 1) : 0];
}
template <int LAYERS> __device__ __forceinline__ int side_of(const Jobs<LAYERS> &jobs) {
    return jobs.first_side + (blockIdx.y & (jobs.n_sides - 1));
}

template <int LAYERS> static Jobs<LAYERS> jobs_of(const kvb_cuda_append_job *jobs, int n, int first_side, int n_sides) {
    Jobs<LAYERS> all = {first_side, n_sides, {}};
    for (int i = 0; i < n; i++) {
        all.of[i] = jobs[i];
    }
    return all;
}

// Launches Kernel<DIM, LAYERS>::launch for the jobs' head_dim, with room for one layer or for all that a launch takes.
template <template <int, int> class Kernel, int DIM>
static int launch_layers(const kvb_cuda_append_job *jobs, int n, int first_side, int n_sides, void *stream) {
    return (int)(n == 1
                     ? Kernel<DIM, 1>::launch(jobs, 1, first_side, n_sides, (cudaStream_t)stream)
                     : Kernel<DIM, KVB_CUDA_MOST_LAYERS>::launch(jobs, n, first_side, n_sides, (cudaStream_t)stream));
}
template <template <int, int> class Kernel>
static int launch_jobs(const kvb_cuda_append_job *jobs, int n, int first_side, int n_sides, void *stream) {
    switch (jobs->formats[first_side].head_dim) {
    case 64:
        return launch_layers<Kernel, 64>(jobs, n, first_side, n_sides, stream);
    case 128:
        return launch_layers<Kernel, 128>(jobs, n, first_side, n_sides, stream);
    default:
        return launch_layers<Kernel, 256>(jobs, n, first_side, n_sides, stream);
    }
}

} // namespace kvb
