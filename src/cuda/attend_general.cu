// Attention for every job that no tuned kernel serves: any two widths, head_dims and codebooks, float scales, 16 bits.
// Same plan and same shares as the tuned kernels; floats throughout, so there is nothing to split. A tile is 256
// tokens: each of eight warps multiplies the queries of all columns with the keys of two blocks, every thread then
// weighs a token, and each warp adds values of 64 coordinates, of all the tile's blocks or of some.
#include "attend_general_tiles.cuh"
#include "attend_launch.h"

namespace kvb {

constexpr int PART_COLUMNS = 8; // of partial results, whatever a kernel's own number

// A column's result, of a warp that has it to itself; its values are in the warp's row of shared memory.
struct Result {
    float top, sum, *values;
};

template <int COLUMNS>
__device__ __forceinline__ Result result_of(const kvb_cuda_attend_job &p, const Layout &layout, int column, int lane) {
    const int sharers = max(WARPS / layout.units, 1);
    Result r = {shared_at<const float>(layout.tops)[column], 0.0f, shared_at<float>(layout.rows) + column * layout.row};
    for (int w = 0; w < WARPS; w++) {
        r.sum += shared_at<const float>(layout.sums)[w * COLUMNS + column];
    }
    for (int i = lane; i < p.v.head_dim; i += 32) {
        const float *from = shared_at<const float>(layout.values) + output_place(p, layout, i, COLUMNS, column);
        float sum = 0.0f;
        for (int k = 0; k < sharers; k++) {
            sum += from[k * layout.units * 64 * COLUMNS];
        }
        r.values[i] = sum;
    }
    return r;
}

// The item's parts, in order, of one column.
__device__ inline void add_parts(const kvb_cuda_attend_job &p, const kvb_cuda_segment &work, Result &r, int column,
                                 int lane) {
    const int dim = p.v.head_dim;
    auto part_at = [&](int part) {
        return p.partials + (size_t)((work.first_part + part) * 2 + (part == 0)) * PART_COLUMNS * (dim + 2);
    };
    for (int part = 0; part < work.n_parts; part++) { // the highest first: then nothing is scaled twice
        const float top = __ldcg(part_at(part) + column);
        r.top = part == 0 ? top : fmaxf(r.top, top);
    }
    r.sum = 0.0f;
    for (int part = 0; part < work.n_parts; part++) {
        const float *from = part_at(part), factor = exp2f(__ldcg(from + column) - r.top);
        r.sum += __ldcg(from + PART_COLUMNS + column) * factor;
        for (int i = lane; i < dim; i += 32) {
            const float more = __ldcg(from + 2 * PART_COLUMNS + column * dim + i) * factor;
            r.values[i] = (part == 0 ? 0.0f : r.values[i]) + more;
        }
    }
}

// The columns' results: to memory, or to who adds an item's parts. A call: its registers are not the loop's.
template <int COLUMNS>
__device__ __noinline__ void end_segment(const kvb_cuda_attend_job &p, const Layout &layout, int n_columns) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, dim = p.v.head_dim;
    const kvb_cuda_segment &work = *shared_at<const kvb_cuda_segment>(layout.segment);
    Result result = {};
    if (warp < COLUMNS) {
        result = result_of<COLUMNS>(p, layout, warp, lane);
    }
    bool finishes = work.n_parts == 1;
    if (!finishes) {
        float *mine = p.partials + (size_t)(blockIdx.x * 2 + work.begins) * PART_COLUMNS * (dim + 2);
        if (warp < COLUMNS) {
            if (lane == 0) {
                mine[warp] = result.top;
                mine[PART_COLUMNS + warp] = result.sum;
            }
            for (int i = lane; i < dim; i += 32) {
                mine[2 * PART_COLUMNS + warp * dim + i] = result.values[i];
            }
        }
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
            *shared_at<int>(layout.is_last) = atomicAdd(p.counters + work.item, 1u) == (uint32_t)work.n_parts - 1;
        }
        __syncthreads();
        finishes = *shared_at<int>(layout.is_last);
        if (finishes) {
            __threadfence();
            if (warp < COLUMNS) {
                add_parts(p, work, result, warp, lane);
            }
            if (threadIdx.x == 0) {
                p.counters[work.item] = 0;
            }
        }
    }
    if (finishes && warp < n_columns) {
        const ColumnOf &column = shared_at<const ColumnOf>(layout.columns)[warp];
        finish(p, column.row, column.head, result.top, result.sum, result.values,
               shared_at<float>(layout.temporary) + warp * layout.row, lane);
    }
}

template <int COLUMNS>
__global__ void __launch_bounds__(WARPS * 32, 2)
    general(const __grid_constant__ kvb_cuda_attend_job p, const __grid_constant__ Layout layout) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    fill_levels(p.k, layout, 0);
    if (!p.v_prefix_of_k) {
        fill_levels(p.v, layout, 1);
    }
    for (int next = blockIdx.x; next >= 0;) {
        const kvb_cuda_segment *from = p.segments + next;
        if (threadIdx.x < sizeof *from / 4) {
            shared_at<int>(layout.segment)[threadIdx.x] = ((const int *)from)[threadIdx.x];
        }
        if (threadIdx.x == 0) {
            const int n = from->n_tokens;
            *shared_at<Sequence>(layout.sequence) = {n, from->first_row, from->n_q,
                                                     p.kv_end > 0 ? min(n, p.kv_end) : n};
        }
        __syncthreads();
        const kvb_cuda_segment &work = *shared_at<const kvb_cuda_segment>(layout.segment);
        if (work.begins < 0) {
            return;
        }
        next = work.next;
        const int n_columns = max(min(COLUMNS, work.n_q * p.group - work.first_column), 0);
        State state = {-1e30f, 0.0f, 0.0f};
        begin_segment<COLUMNS>(p, layout, n_columns);
        if (n_columns > 0) {
            state = take_packed<COLUMNS>(p, layout, state);
        }
        if (n_columns > 0 && work.begins && (p.n_exact_first > 0 || p.n_exact_last > 0)) {
            __syncthreads();
            state = take_exact<COLUMNS>(p, layout, state);
        }
        if (lane < COLUMNS) {
            shared_at<float>(layout.sums)[warp * COLUMNS + lane] = state.sum;
            shared_at<float>(layout.tops)[lane] = state.top; // of all warps one
        }
        __syncthreads();
        end_segment<COLUMNS>(p, layout, n_columns);
        __syncthreads();
    }
}

// As many copies of the levels as leave two blocks to a multiprocessor, or one where the rest is too large.
template <int COLUMNS> static int launch_of(const kvb_cuda_attend_job *job, int of_block, int of_all, void *stream) {
    int copies = 32;
    while (copies > 8 && layout_of<COLUMNS>(*job, copies).bytes + 1024 > (size_t)of_all / 2) {
        copies /= 2;
    }
    while (copies > 1 && layout_of<COLUMNS>(*job, copies).bytes > (size_t)of_block) {
        copies /= 2;
    }
    const Layout layout = layout_of<COLUMNS>(*job, copies);
    general<COLUMNS><<<job->n_blocks, WARPS * 32, layout.bytes, (cudaStream_t)stream>>>(*job, layout);
    return (int)cudaGetLastError();
}

static cudaError_t limits(int *of_block, int *of_all) {
    int device = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess) {
        error = cudaDeviceGetAttribute(of_block, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    }
    return error != cudaSuccess ? error
                                : cudaDeviceGetAttribute(of_all, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device);
}

static int prepare() {
    int of_block = 0, of_all = 0;
    cudaError_t error = limits(&of_block, &of_all);
    void (*const kernels[])(const kvb_cuda_attend_job, const Layout) = {general<4>, general<8>};
    for (auto kernel : kernels) {
        if (error == cudaSuccess) {
            error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, of_block);
        }
    }
    return (int)error;
}
static int launch(const kvb_cuda_attend_job *job, void *stream) {
    int of_block = 0, of_all = 0;
    const cudaError_t error = limits(&of_block, &of_all);
    const long long columns = job->v_prefix_of_k ? LATENT_COLUMNS : (long long)job->group * job->max_n_q;
    return error != cudaSuccess ? (int)error
           : columns <= 4       ? launch_of<4>(job, of_block, of_all, stream)
                                : launch_of<8>(job, of_block, of_all, stream);
}

} // namespace kvb

extern "C" const kvb_cuda_attend_kernel kvb_cuda_attend_general = {0,           0,       0,       0, 1, kvb::prepare,
                                                                   kvb::launch, nullptr, nullptr, 0, 0, 2};
