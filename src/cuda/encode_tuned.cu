// Appending rows of 64, 128 and 256 values: a warp to the 16 tokens of a block, rows on their way while others are
// encoded, one launch for many layers.
#include "early_start.cuh"
#include "encode_stage.cuh"
#include "encode_tuned.h"
#include "encode_words.cuh"

namespace kvb {

constexpr int WARPS = 4;

// Layer l of column y has job y / n_sides and side first_side + y % n_sides.
template <int LAYERS> struct Jobs {
    int first_side, n_sides;
    kvb_cuda_append_job of[LAYERS];
};

__device__ __forceinline__ void store_scales(const kvb_cuda_format &f, const Task &t, uint8_t *block,
                                             const uint32_t (&bits)[2], int lane) {
    const int g = lane / 4;
    if (lane % 4 != 0) {
        return;
    }
    if (f.scale_bytes == 2 && t.is_whole()) { // those of tokens g and g + 8 lie together
        *(uint32_t *)(block + f.code_bytes + kvb_fragment_scale_place(2, g)) = bits[0] | bits[1] << 16;
        return;
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        if (8 * half + g >= t.begin && 8 * half + g < t.end) {
            store_scale(f, block, 8 * half + g, bits[half]);
        }
    }
}

// Encodes what stage() brought.
template <int DIM>
__device__ __forceinline__ void encode_block(const kvb_cuda_append_job &p, int is_value, int dtype, const Task &t,
                                             int page, const uint8_t *rows, uint32_t buckets, const Signs<DIM> &signs,
                                             int lane) {
    const kvb_cuda_format &f = p.formats[is_value];
    constexpr int STEPS = DIM / 16;
    uint32_t codes[STEPS] = {}, lower[STEPS] = {}, scales[2] = {};
#pragma unroll 1
    for (int half = 0; half < 2; half++) {
#pragma unroll
        for (int j = 0; j < STEPS; j++) {
            lower[j] = codes[j];
            codes[j] = 0;
        }
        scales[0] = scales[1];
        if (8 * half < t.end && 8 * half + 8 > t.begin) { // rows that are not new are whatever lies there
            Quarter<DIM> row;
            read_row(row, rows + (8 * half + lane / 4) * row_stride(DIM, dtype == KVB_F32 ? 4 : 2), dtype, signs, lane);
            if (f.rotates) {
                rotate_quarter(row, f.inverse_sqrt_dim, lane);
            }
            scales[1] = encode_quarter<DIM>(f, row, buckets, codes);
        }
    }
    uint8_t *block = block_in(p.places[is_value], f, page, t.head, t.first);
    store_scales(f, t, block, scales, lane);
    uint32_t bytes[2 * STEPS], fresh[2] = {};
    to_stream<STEPS>(is_value, lower, codes, bytes);
    if (!t.is_whole()) {
        fresh_bytes(is_value, t.begin, t.end, lane, fresh);
    }
    store_codes<STEPS>(f.bits, bytes, t.is_whole(), fresh, block, lane);
}

extern __shared__ __align__(16) uint8_t shared[];

// Grid: as many as the device holds or as there are tasks, layers and sides, sequences.
template <int DIM, int LAYERS>
__global__ void __launch_bounds__(32 * WARPS, DIM == 256 ? 2 : 4)
    append_tuned(const __grid_constant__ Jobs<LAYERS> jobs) {
    let_work_behind_start(); // attention, which waits for these rows alone
    const kvb_cuda_append_job &p = jobs.of[LAYERS > 1 ? blockIdx.y / jobs.n_sides : 0];
    const int is_value = jobs.first_side + blockIdx.y % jobs.n_sides, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (LAYERS > 1 && (int)blockIdx.z >= p.n_sequences) {
        return;
    }
    const kvb_cuda_format &f = p.formats[is_value];
    const Span span = span_of(p, blockIdx.z);
    if (span.begin >= span.end) {
        return;
    }
    const int i = blockIdx.x * WARPS + warp;
    if (i - warp >= n_tasks(p, span)) {
        return;
    }
    Walk walk(span, p.n_kv_heads, i, gridDim.x * WARPS);
    if (f.bits == 16) {
        for (; !walk.is_over(span); walk.next(p.n_kv_heads)) {
            const Task t = walk.task(span);
            keep_dense(p, span, is_value, t.head, t.first, t.begin, t.end,
                       block_at(p.places[is_value], f, span.row, t.head, t.first), lane, 32);
        }
        return;
    }
    kvb_cuda_buckets &buckets = *(kvb_cuda_buckets *)shared;
    fill_buckets(buckets, f);
    const int stage_bytes = KVB_BLOCK_TOKENS * row_stride(DIM, staged_bytes(p, is_value)),
              dtype = come_as_they_are(p, is_value) ? p.dtype : KVB_F32;
    const uint32_t buckets_at = shared_address(&buckets);
    uint8_t *stages = shared + sizeof buckets + warp * 2 * stage_bytes;
    if (!walk.is_over(span)) {
        stage<DIM>(p, span, is_value, walk.task(span), stages, lane);
    }
    const Signs<DIM> signs(f, lane);
    wait_for_copies<0>();
    __syncthreads();
    for (int at = 0; !walk.is_over(span); at ^= 1) {
        const Task t = walk.task(span);
        const int page = page_of(p.places[is_value], span.row, t.first);
        walk.next(p.n_kv_heads);
        if (!walk.is_over(span)) {
            stage<DIM>(p, span, is_value, walk.task(span), stages + (at ^ 1) * stage_bytes, lane);
            wait_for_copies<1>();
        } else {
            wait_for_copies<0>();
        }
        __syncwarp();
        encode_block<DIM>(p, is_value, dtype, t, page, stages + at * stage_bytes, buckets_at, signs, lane);
        __syncwarp(); // all have read before the rows' place is filled again
    }
}

template <int DIM, int LAYERS>
static cudaError_t launch(const kvb_cuda_append_job *jobs, int n, int first_side, int n_sides, cudaStream_t stream) {
    Jobs<LAYERS> all = {first_side, n_sides, {}};
    size_t bytes = 0;
    int tasks = 0, sequences = 0, room = 0;
    for (int i = 0; i < n; i++) {
        all.of[i] = jobs[i];
        for (int side = first_side; side < first_side + n_sides; side++) {
            bytes = max(bytes, sizeof(kvb_cuda_buckets) +
                                   WARPS * 2 * KVB_BLOCK_TOKENS * row_stride(DIM, staged_bytes(jobs[i], side)));
        }
        tasks = max(tasks, most_tasks(jobs[i]));
        sequences = max(sequences, jobs[i].n_sequences);
    }
    const cudaError_t error = prepare(append_tuned<DIM, LAYERS>, 32 * WARPS, bytes, &room);
    if (error != cudaSuccess) {
        return error;
    }
    const int columns = n_sides * n * sequences, wanted = (tasks + WARPS - 1) / WARPS;
    append_tuned<DIM, LAYERS>
        <<<dim3(max(min(room / columns, wanted), 1), n_sides * n, sequences), 32 * WARPS, bytes, stream>>>(all);
    return cudaGetLastError();
}

template <int DIM>
static int launch_layers(const kvb_cuda_append_job *jobs, int n, int first_side, int n_sides, void *stream) {
    return (int)(n == 1 ? launch<DIM, 1>(jobs, 1, first_side, n_sides, (cudaStream_t)stream)
                        : launch<DIM, KVB_CUDA_MOST_LAYERS>(jobs, n, first_side, n_sides, (cudaStream_t)stream));
}

} // namespace kvb

int kvb_cuda_append_is_tuned(const kvb_cuda_format *f) {
    return (f->head_dim == 64 || f->head_dim == 128 || f->head_dim == 256) && f->trellis_states == 0 &&
           (f->bits == 16 || (f->n_buckets > 0 && !(f->rotates && f->hadamard_order > 1)));
}

int kvb_cuda_launch_append_tuned(const kvb_cuda_append_job *jobs, int n, int first_side, int n_sides, void *stream) {
    switch (jobs->formats[first_side].head_dim) {
    case 64:
        return kvb::launch_layers<64>(jobs, n, first_side, n_sides, stream);
    case 128:
        return kvb::launch_layers<128>(jobs, n, first_side, n_sides, stream);
    default:
        return kvb::launch_layers<256>(jobs, n, first_side, n_sides, stream);
    }
}
