// Appending a token to each sequence, rows of 64, 128 and 256 values: what takes time is the way from memory to memory
// and the instructions, which come from memory as well, so both are kept short. One launch for many layers.
#include "early_start.cuh"
#include "encode_jobs.cuh"
#include "encode_single.cuh"

namespace kvb {

constexpr int ROWS = 8; // of a block of threads

// What a block has in shared memory.
template <int DIM> struct Shared {
    LookUps look_ups;
    float values[ROWS][DIM];
    uint8_t codes[ROWS][DIM];
};
extern __shared__ __align__(16) uint8_t shared[];

// Grid: every eight KV heads, layers and sides, sequences.
template <int DIM, int LAYERS>
__global__ void __launch_bounds__(ROWS *ROW_LANES) append_single(const __grid_constant__ Jobs<LAYERS> jobs) {
    let_work_behind_start(); // attention, which waits for these rows alone
    Shared<DIM> &here = *(Shared<DIM> *)shared;
    const kvb_cuda_append_job &p = job_of(jobs);
    const int is_value = side_of(jobs), sequence = blockIdx.z;
    if (LAYERS > 1 && sequence >= p.n_sequences) {
        return;
    }
    const Span rows = rows_of(p, sequence);
    if (rows.begin == rows.end) {
        return;
    }
    const kvb_cuda_format &f = p.formats[is_value];
    const int first_head = blockIdx.x * ROWS, i = threadIdx.x / ROW_LANES, lane = threadIdx.x % ROW_LANES,
              head = first_head + i;
    const bool is_there = head < p.n_kv_heads, is_new = p.n_exact_last == 0 && (is_value || !p.k_mean);
    AsTheyLie<DIM> as_it_lies = {}; // a row that is not there is zeros
    if (is_new && is_there) {       // of a token that is packed as it comes it is the first row
        as_it_lies.load(p.rows[is_value], ((size_t)rows.begin * p.n_kv_heads + head) * DIM + lane, p.dtype);
    }
    uint32_t signs[DIM / 32] = {};
    if (f.bits < 16) {
#pragma unroll
        for (int k = 0; k < DIM / 32; k++) {
            signs[k] = f.signs[k];
        }
        fill_look_ups(here.look_ups, f, false);
    }
    const Span span = span_of(p, rows);
    if (span.begin >= span.end) {
        wait_for_copies<0>();
        return;
    }
    const int token = span.begin % KVB_BLOCK_TOKENS, first = span.begin - token,
              page = page_of(p.places[is_value], span.row, first);
    if (f.bits == 16) {
        if (is_there) {
            keep_dense(p, span, is_value, head, first, token, token + 1,
                       block_in(p.places[is_value], f, page, head, first), lane, ROW_LANES);
        }
        return;
    }
    const int n = packers(is_value), packed = threadIdx.x / n, packed_head = first_head + packed,
              owner = lane_of(is_value, token, threadIdx.x % n);
    const bool packs = packed < ROWS && packed_head < p.n_kv_heads;
    uint8_t *block = block_in(p.places[is_value], f, page, packed_head, first);
    // What is stored already is needed when codes are there.
#pragma unroll 1
    for (int at = owner * 16; packs && at < f.code_bytes; at += 512) {
        prefetch_line(block + at);
    }
    Sixteenth<DIM> row;
    if (is_new) {
        as_it_lies.convert(row, p.dtype);
    } else {
        if (is_there) {
            source_sixteenth<DIM>(p, span, is_value, head, span.begin, lane, here.values[i]);
        }
#pragma unroll
        for (int j = 0; j < row.N; j++) {
            row.x[j] = is_there ? here.values[i][ROW_LANES * j + lane] : 0.0f;
        }
    }
#pragma unroll
    for (int k = 0; k < DIM / 32; k++) {
        row.x[2 * k] = __uint_as_float(__float_as_uint(row.x[2 * k]) ^ signs[k] >> lane << 31);
        row.x[2 * k + 1] = __uint_as_float(__float_as_uint(row.x[2 * k + 1]) ^ signs[k] >> (16 + lane) << 31);
    }
    if (f.rotates) {
        rotate_sixteenth<DIM>(f, row, lane);
    }
    wait_for_copies<0>();
    __syncthreads();
    const uint32_t scale = encode_sixteenth<DIM>(f, row, shared_address(&here.look_ups.buckets), here.codes[i] + lane);
    if (is_there && lane == 0) {
        store_scale(f, block_in(p.places[is_value], f, page, head, first), token, scale);
    }
    __syncthreads();
    if (packs) {
        constexpr int STEPS = DIM / 16;
        uint32_t bytes[2 * STEPS], fresh[2];
        stream_of<STEPS>(is_value, token, threadIdx.x % n, here.codes[packed], bytes);
        fresh_bytes(is_value, token, token + 1, owner, fresh);
        store_codes<STEPS>(f.bits, bytes, false, fresh, block, owner);
    }
}

template <int DIM, int LAYERS> struct Single {
    static cudaError_t launch(const kvb_cuda_append_job *jobs, int n, int first_side, int n_sides,
                              cudaStream_t stream) {
        const Jobs<LAYERS> all = jobs_of<LAYERS>(jobs, n, first_side, n_sides);
        int heads = 0, sequences = 0;
        for (int i = 0; i < n; i++) {
            heads = max(heads, jobs[i].n_kv_heads);
            sequences = max(sequences, jobs[i].n_sequences);
        }
        append_single<DIM, LAYERS><<<dim3((heads + ROWS - 1) / ROWS, n_sides * n, sequences), ROWS * ROW_LANES,
                                     sizeof(Shared<DIM>), stream>>>(all);
        return cudaGetLastError();
    }
};

} // namespace kvb

int kvb_cuda_launch_append_single(const kvb_cuda_append_job *jobs, int n, int first_side, int n_sides, void *stream) {
    return kvb::launch_jobs<kvb::Single>(jobs, n, first_side, n_sides, stream);
}
