// Appending rows of 64, 128 and 256 values: a warp to the 16 tokens of a block, rows on their way while others are
// encoded, one launch for many layers.
#include "early_start.cuh"
#include "encode_jobs.cuh"
#include "encode_stage.cuh"
#include "encode_words.cuh"

namespace kvb {

// Of a block of threads at most: all that a multiprocessor holds, for warps that begin together find each other's
// instructions in the caches.
__host__ __device__ constexpr int most_warps(int dim) {
    return dim == 256 ? 8 : 16;
}

// Encodes what stage() brought; rows that are not new are whatever lies there.
template <int DIM>
__device__ __forceinline__ void encode_block(const kvb_cuda_append_job &p, int is_value, int dtype, const Task &t,
                                             int page, const uint8_t *rows, const LookUps &look_ups, int lane) {
    const kvb_cuda_format &f = p.formats[is_value];
    constexpr int STEPS = DIM / 16;
    const int token = token_of(lane);
    HalfRow<DIM> row;
    read_half(row, rows + row_offset(token, row_stride(DIM, dtype == KVB_F32 ? 4 : 2)), dtype, look_ups, lane);
    if (f.rotates) {
        rotate_half(row, f.inverse_sqrt_dim, lane);
    } else {
        place_half(row, lane);
    }
    Codes<DIM> codes;
    const uint32_t scale = encode_half<DIM>(f, row, shared_address(&look_ups.buckets), codes);
    uint8_t *block = block_in(p.places[is_value], f, page, t.head, t.first);
    if (lane % 2 == 0 && token >= t.begin && token < t.end) {
        store_scale(f, block, token, scale);
    }
    uint32_t bytes[2 * STEPS], fresh[2] = {};
    to_stream<STEPS>(is_value, codes.of[0], codes.of[1], bytes, lane);
    if (!t.is_whole()) {
        fresh_bytes(is_value, t.begin, t.end, lane, fresh);
    }
    store_codes<STEPS>(f.bits, bytes, t.is_whole(), fresh, block, lane);
}

extern __shared__ __align__(16) uint8_t shared[];

// Grid: as many as the device holds or as there are tasks, layers and sides, sequences.
template <int DIM, int LAYERS>
__global__ void __launch_bounds__(32 * most_warps(DIM), 1) append_tuned(const __grid_constant__ Jobs<LAYERS> jobs) {
    let_work_behind_start(); // attention, which waits for these rows alone
    const kvb_cuda_append_job &p = job_of(jobs);
    const int is_value = side_of(jobs), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (LAYERS > 1 && (int)blockIdx.z >= p.n_sequences) {
        return;
    }
    const kvb_cuda_format &f = p.formats[is_value];
    const Span span = span_of(p, blockIdx.z);
    if (span.begin >= span.end) {
        return;
    }
    if ((int)blockIdx.x >= n_tasks(p, span)) {
        return;
    }
    const int n_warps = blockDim.x / 32;
    Walk walk(span, p.n_kv_heads, warp * gridDim.x + blockIdx.x,
              gridDim.x * n_warps); // blocks have as many, but for one
    if (f.bits == 16) {
        for (; !walk.is_over(span); walk.next(p.n_kv_heads)) {
            const Task t = walk.task(span);
            keep_dense(p, span, is_value, t.head, t.first, t.begin, t.end,
                       block_at(p.places[is_value], f, span.row, t.head, t.first), lane, 32);
        }
        return;
    }
    LookUps &look_ups = *(LookUps *)(shared + (-shared_address(shared) & (RING_ALIGNMENT - 1)));
    fill_look_ups(look_ups, f, f.n_ring > 0);
    const Rows rows(p, span, is_value, DIM);
    uint8_t *stages = (uint8_t *)(&look_ups + 1) + warp * 2 * rows.stage_bytes;
    for (int turn = 0; turn < n_warps; turn += 4) { // the first warps' rows come first: they begin while others wait
        if (warp / 4 == turn / 4) {
            if (!walk.is_over(span)) {
                stage<DIM>(p, span, rows, is_value, walk.task(span), stages, lane);
            } else {
                close_copies();
            }
        }
        __syncthreads();
    }
    const int32_t *pages = pages_of(p.places[is_value], span.row);
    wait_for_copies<1>();
    __syncthreads();
    for (int at = 0; !walk.is_over(span); at ^= 1) {
        const Task t = walk.task(span);
        const int page = pages[t.first / 64];
        walk.next(p.n_kv_heads);
        if (!walk.is_over(span)) {
            stage<DIM>(p, span, rows, is_value, walk.task(span), stages + (at ^ 1) * rows.stage_bytes, lane);
            wait_for_copies<1>();
        } else {
            wait_for_copies<0>();
        }
        __syncwarp();
        encode_block<DIM>(p, is_value, rows.dtype, t, page, stages + at * rows.stage_bytes, look_ups, lane);
        __syncwarp(); // all have read before the rows' place is filled again
    }
}

template <int DIM, int LAYERS> struct Tuned {
    static cudaError_t launch(const kvb_cuda_append_job *jobs, int n, int first_side, int n_sides,
                              cudaStream_t stream) {
        const Jobs<LAYERS> all = jobs_of<LAYERS>(jobs, n, first_side, n_sides);
        size_t stage = 0; // bytes of a warp
        int tasks = 0, sequences = 0;
        for (int i = 0; i < n; i++) {
            for (int side = first_side; side < first_side + n_sides; side++) {
                stage = max(stage, (size_t)(2 * stage_bytes(DIM, staged_bytes(jobs[i], side))));
            }
            tasks = max(tasks, most_tasks(jobs[i]));
            sequences = max(sequences, jobs[i].n_sequences);
        }
        const size_t look_ups = sizeof(LookUps) + RING_ALIGNMENT;
        const int columns = n_sides * n * sequences;
        Room room = {};
        cudaError_t error = room_of(&room);
        if (error != cudaSuccess) {
            return error;
        }
        // Few tasks are shared out to all multiprocessors.
        const int wanted = (int)min((long long)most_warps(DIM),
                                    ((long long)tasks * columns + room.multiprocessors - 1) / room.multiprocessors),
                  fit = room.bytes > look_ups ? (int)((room.bytes - look_ups) / stage) : 0,
                  warps = max(1, min(wanted, fit));
        const size_t bytes = look_ups + warps * stage;
        int blocks = 0;
        error = prepare(append_tuned<DIM, LAYERS>, 32 * warps, bytes, &blocks);
        if (error != cudaSuccess) {
            return error;
        }
        append_tuned<DIM, LAYERS>
            <<<dim3(max(min(blocks / columns, (tasks + warps - 1) / warps), 1), n_sides * n, sequences), 32 * warps,
               bytes, stream>>>(all);
        return cudaGetLastError();
    }
};

} // namespace kvb

int kvb_cuda_append_is_tuned(const kvb_cuda_format *f) {
    return (f->head_dim == 64 || f->head_dim == 128 || f->head_dim == 256) && f->trellis_states == 0 &&
           (f->bits == 16 || (f->n_buckets > 0 && !(f->rotates && f->hadamard_order > 1)));
}

int kvb_cuda_launch_append_tuned(const kvb_cuda_append_job *jobs, int n, int first_side, int n_sides, void *stream) {
    return kvb::launch_jobs<kvb::Tuned>(jobs, n, first_side, n_sides, stream);
}
