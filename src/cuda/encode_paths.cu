// Appending trellis codes of 8 and 16 states: a warp rotates the rows of two blocks of 16 tokens, two lanes to a row,
// and then every lane finds the path of one.
#include "early_start.cuh"
#include "encode_paths.cuh"
#include "encode_stage.cuh"
#include "encode_tuned.h"

namespace kvb {

// Of a row in shared memory: two lanes to a row and a row to a lane find their values in different banks.
__host__ __device__ constexpr int x_stride(int dim) {
    return dim + 9;
}
__host__ __device__ constexpr int pair_stride(int dim) {
    return dim / 2 + 1;
}
__host__ __device__ constexpr int warp_bytes(int dim) {
    return 32 * 4 * (x_stride(dim) + pair_stride(dim));
}
// As many warps as fit beside the tables.
__host__ __device__ constexpr int path_warps(int dim) {
    return dim == 256 ? 4 : 8;
}

// The rows of a task, rotated, to `x`; returns the sum of squares of row `lane % 16`.
template <int DIM>
__device__ __forceinline__ float rotate_task(const kvb_cuda_append_job &p, const Span &span, int is_value,
                                             const Task &t, const LookUps &look_ups, float *x, int lane) {
    const kvb_cuda_format &f = p.formats[is_value];
    const int token = token_of(lane);
    const Rows rows(p, span, is_value, DIM);
    stage<DIM>(p, span, rows, is_value, t, (uint8_t *)x, lane);
    wait_for_copies<0>();
    __syncwarp();
    HalfRow<DIM> row;
    read_half(row, (const uint8_t *)x + row_offset(token, row_stride(DIM, rows.dtype == KVB_F32 ? 4 : 2)), rows.dtype,
              look_ups, lane);
    if (f.rotates) {
        rotate_half(row, f.inverse_sqrt_dim, lane);
    } else {
        place_half(row, lane);
    }
    __syncwarp();
    float *to = x + token * x_stride(DIM);
#pragma unroll
    for (int i = 0; i < row.N; i++) {
        to[i / 4 * 8 + ((lane % 4) ^ (i & 2)) * 2 + i % 2] = row.x[i];
    }
    return __shfl_sync(0xffffffffu, sum_of_squares(row), lane % 8 * 4 + lane / 8 % 2 * 2);
}

template <int DIM>
__device__ __forceinline__ void store_task(const kvb_cuda_format &f, bool is_value, const Task &t,
                                           const uint32_t *pairs, uint8_t *block, int lane) {
    switch (f.bits) {
#define STORE(BITS)                                                                                                    \
    case BITS:                                                                                                         \
        return store_paths<BITS, DIM / 16>(is_value, pairs, pair_stride(DIM), t.begin, t.end, block, lane);
        STORE(2)
        STORE(3)
        STORE(4)
        STORE(5)
        STORE(6)
#undef STORE
    }
}

extern __shared__ __align__(16) uint8_t shared[];

// Grid: as many as the device holds or as there are pairs of tasks, sides, sequences.
template <int DIM, int STATES>
__global__ void __launch_bounds__(32 * path_warps(DIM), 1)
    append_paths(const __grid_constant__ kvb_cuda_append_job p, int first_side) {
    let_work_behind_start();
    const int is_value = first_side + blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const kvb_cuda_format &f = p.formats[is_value];
    const Span span = span_of(p, blockIdx.z);
    if (span.begin >= span.end) {
        return;
    }
    LookUps &look_ups = *(LookUps *)shared;
    float *centroids = (float *)(shared + sizeof look_ups), *x = centroids + (2 << KVB_MAX_TRELLIS_BITS);
    fill_look_ups(look_ups, f, false);
    for (int i = threadIdx.x; i < f.levels; i += blockDim.x) {
        centroids[i] = f.centroids[i];
    }
    const PathTables tables = {shared_address(&look_ups.buckets), shared_address(centroids)};
    wait_for_copies<0>();
    __syncthreads();
    x += warp * warp_bytes(DIM) / 4;
    uint32_t *pairs = (uint32_t *)(x + 32 * x_stride(DIM));
    const int n = n_tasks(p, span), step = 2 * gridDim.x * path_warps(DIM);
    for (int i = 2 * (blockIdx.x * path_warps(DIM) + warp); i < n; i += step) {
        float sum = 0.0f;
#pragma unroll 1
        for (int k = 0; k < 2 && i + k < n; k++) {
            const float of_task = rotate_task<DIM>(p, span, is_value, Walk(span, p.n_kv_heads, i + k, 0).task(span),
                                                   look_ups, x + 16 * k * x_stride(DIM), lane);
            sum = lane / 16 == k ? of_task : sum;
        }
        __syncwarp();
        const uint32_t scale =
            encode_own<DIM, STATES>(f, tables, {x + lane * x_stride(DIM), pairs + lane * pair_stride(DIM)}, sum);
        __syncwarp();
#pragma unroll 1
        for (int k = 0; k < 2 && i + k < n; k++) {
            const Task t = Walk(span, p.n_kv_heads, i + k, 0).task(span);
            uint8_t *block = block_at(p.places[is_value], f, span.row, t.head, t.first);
            if (lane / 16 == k && lane % 16 >= t.begin && lane % 16 < t.end) {
                store_scale(f, block, lane % 16, scale);
            }
            store_task<DIM>(f, is_value, t, pairs + 16 * k * pair_stride(DIM), block, lane);
        }
        __syncwarp(); // all have read before the memory is filled again
    }
}

template <int DIM, int STATES>
static cudaError_t launch(const kvb_cuda_append_job &job, int first_side, int n_sides, cudaStream_t stream) {
    constexpr int warps = path_warps(DIM);
    const size_t bytes = sizeof(LookUps) + sizeof(float) * (2 << KVB_MAX_TRELLIS_BITS) + warps * warp_bytes(DIM);
    int room = 0;
    const cudaError_t error = prepare(append_paths<DIM, STATES>, 32 * warps, bytes, &room);
    if (error != cudaSuccess) {
        return error;
    }
    const int wanted = (most_tasks(job) + 2 * warps - 1) / (2 * warps), fit = room / (n_sides * job.n_sequences);
    append_paths<DIM, STATES>
        <<<dim3(max(min(fit, wanted), 1), n_sides, job.n_sequences), 32 * warps, bytes, stream>>>(job, first_side);
    return cudaGetLastError();
}

template <int DIM> static int launch_states(const kvb_cuda_append_job &job, int first_side, int n_sides, void *stream) {
    return (int)(job.formats[first_side].trellis_states == 8
                     ? launch<DIM, 8>(job, first_side, n_sides, (cudaStream_t)stream)
                     : launch<DIM, 16>(job, first_side, n_sides, (cudaStream_t)stream));
}

} // namespace kvb

int kvb_cuda_append_finds_paths(const kvb_cuda_format *f) {
    return (f->head_dim == 64 || f->head_dim == 128 || f->head_dim == 256) &&
           (f->trellis_states == 8 || f->trellis_states == 16) && f->n_buckets > 0 &&
           !(f->rotates && f->hadamard_order > 1);
}

int kvb_cuda_launch_append_paths(const kvb_cuda_append_job *job, int first_side, int n_sides, void *stream) {
    switch (job->formats[first_side].head_dim) {
    case 64:
        return kvb::launch_states<64>(*job, first_side, n_sides, stream);
    case 128:
        return kvb::launch_states<128>(*job, first_side, n_sides, stream);
    default:
        return kvb::launch_states<256>(*job, first_side, n_sides, stream);
    }
}
