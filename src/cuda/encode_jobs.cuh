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

} // namespace kvb
