// Appending rows to pages: signs, rotation, scale, codes and bits in one kernel, in the order and with the roundings of
// docs/format.md. This is the kernel for all formats; encode_tuned.cu has that for the usual ones. A block of threads
// owns 16 tokens of one side of one KV head, so that nobody else writes the words that tokens share.
#include "early_start.cuh"
#include "encode_rows.cuh"
#include "encode_source.cuh"
#include "encode_tuned.h"

namespace kvb {

constexpr int THREADS = LANES * KVB_BLOCK_TOKENS;

extern __shared__ __align__(16) unsigned char shared[];

// Bytes of a row's codes in shared memory.
__host__ __device__ constexpr int stride_of(int dim) {
    return dim + 4;
}

// Floats of 16 rows, in whose memory pack_block works afterwards: twice a block's codes, which are more where rows are
// so short that much of a step is left empty.
__host__ __device__ static int floats_of(const kvb_cuda_format &f) {
    const int rows = KVB_BLOCK_TOKENS * ((f.head_dim + 15) / 16 * 16), codes = 2 * f.code_bytes / (int)sizeof(float);
    return rows > codes ? rows : codes;
}

// Grid: blocks of 16 tokens that the longest append touches, KV heads, n_sides x sequences.
template <Paths PATHS>
__global__ void __launch_bounds__(THREADS)
    append(const __grid_constant__ kvb_cuda_append_job p, int first_side, int n_sides) {
    let_work_behind_start(); // attention, which waits for these rows alone
    const int is_value = first_side + blockIdx.z % n_sides, head = blockIdx.y;
    const kvb_cuda_format &f = p.formats[is_value];
    const Span span = span_of(p, blockIdx.z / n_sides);
    const int first = (span.begin / KVB_BLOCK_TOKENS + (int)blockIdx.x) * KVB_BLOCK_TOKENS; // token of the block
    if (span.begin >= span.end || first >= span.end) {
        return;
    }
    const int begin = max(span.begin - first, 0), end = min(span.end - first, KVB_BLOCK_TOKENS), levels = f.levels;
    uint8_t *block = block_at(p.places[is_value], f, span.row, head, first);
    if (f.bits == 16) {
        keep_dense(p, span, is_value, head, first, begin, end, block, threadIdx.x, THREADS);
        return;
    }
    float *midpoints = (float *)shared, *centroids = midpoints + levels, *rows = centroids + levels;
    uint8_t *codes = (uint8_t *)(rows + floats_of(f));
    for (int i = threadIdx.x; i < levels; i += THREADS) {
        midpoints[i] = f.midpoints[i];
        centroids[i] = f.centroids[i];
    }
    __syncthreads();
    const int token = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const bool is_new = token >= begin && token < end;
    float *row = rows + token * f.head_dim;
    for (int i = lane; i < f.head_dim; i += LANES) { // a row of another token is zeros, so that all lanes go one way
        row[i] = is_new ? source(p, span, is_value, head, first + token, i) : 0.0f;
    }
    meet();
    if (f.rotates) {
        rotate(f, row, lane);
    }
    uint32_t *ways = (uint32_t *)(codes + KVB_BLOCK_TOKENS * stride_of(f.head_dim)) + threadIdx.x / 32 * f.head_dim;
    const Tables tables = {midpoints, centroids, ways};
    const uint32_t scale = encode_row<PATHS>(f, row, tables, codes + token * f.head_dim, lane);
    if (is_new && lane == 0) {
        store_scale(f, block, token, scale);
    }
    __syncthreads(); // rows are read, codes are written: the rows' memory serves for words
    pack_block(f, is_value, codes, begin, end, (uint32_t *)rows, block);
}

// New rows that stay exact, as they come: into the first tokens, and into the ring as many as it has slots. Behind
// append, which reads from the ring what leaves it.
// Grid: tokens, sides x sequences.
__global__ void __launch_bounds__(THREADS) keep_exact(const __grid_constant__ kvb_cuda_append_job p) {
    let_work_behind_start();
    const int sequence = blockIdx.y / p.n_sides, is_value = blockIdx.y % p.n_sides, dim = p.formats[is_value].head_dim;
    const int own = row_of(p.places[0], sequence), before = p.lengths[own], row_begin = p.row_begin[sequence],
              after = before + p.row_begin[sequence + 1] - row_begin, row = p.n_kv_heads * dim;
    const int n_first = max(min(p.n_exact_first, after) - before, 0),
              last_begin = max(max(after - p.exact_last_slots, p.n_exact_first), before);
    const int i = blockIdx.x, token = i < n_first ? before + i : last_begin + i - n_first;
    if (token >= after) {
        return;
    }
    const size_t slot = i < n_first ? (size_t)own * p.n_exact_first + token
                                    : (size_t)own * p.exact_last_slots + token % p.exact_last_slots;
    uint16_t *to = (i < n_first ? p.exact_first : p.exact_last)[is_value] + slot * row;
    const size_t from = (size_t)(row_begin + token - before) * row;
    for (int j = threadIdx.x; j < row; j += THREADS) {
        to[j] = to_bits(load(p.rows[is_value], from + j, p.dtype), p.dense);
    }
}

__global__ void advance(int32_t *lengths, const int32_t *sequences, const int32_t *row_begin, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        lengths[sequences ? sequences[i] : i] += row_begin[i + 1] - row_begin[i];
    }
}

static size_t shared_bytes(const kvb_cuda_format &f) {
    if (f.bits == 16) {
        return 0;
    }
    const size_t ways = f.trellis_states ? (size_t)THREADS / 32 * f.head_dim * sizeof(uint32_t) : 0;
    return sizeof(float) * (2 * (size_t)f.levels + (size_t)floats_of(f)) +
           (size_t)KVB_BLOCK_TOKENS * stride_of(f.head_dim) + ways;
}

static cudaError_t launch_append(const kvb_cuda_append_job &job, int first_side, int n_sides, cudaStream_t stream) {
    const kvb_cuda_format &f = job.formats[first_side], &last = job.formats[first_side + n_sides - 1];
    const size_t bytes = max(shared_bytes(f), shared_bytes(last));
    const int states = max(f.trellis_states, last.trellis_states);
    const auto kernel = states == 0 ? append<NO_PATHS> : states <= LANES ? append<SHORT_PATHS> : append<ALL_PATHS>;
    // The largest rows take 49 KB, with a trellis 68; every call asks, since the attribute belongs to the current
    // device.
    const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    if (error != cudaSuccess) {
        return error;
    }
    const int blocks = (job.most_rows + KVB_BLOCK_TOKENS - 2) / KVB_BLOCK_TOKENS + 1;
    kernel<<<dim3(blocks, job.n_kv_heads, n_sides * job.n_sequences), THREADS, bytes, stream>>>(job, first_side,
                                                                                                n_sides);
    return cudaGetLastError();
}

static cudaError_t launch_keep_exact(const kvb_cuda_append_job &job, cudaStream_t stream) {
    const long long most = (long long)job.n_exact_first + job.exact_last_slots;
    if (most == 0) {
        return cudaSuccess;
    }
    const int tokens = job.most_rows < most ? job.most_rows : (int)most;
    keep_exact<<<dim3(tokens, job.n_sides * job.n_sequences), THREADS, 0, stream>>>(job);
    return cudaGetLastError();
}

// What appends a side: kernels of encode_tuned.h, or the one of this file, which finds few paths sooner: half a warp to
// a row in place of a lane.
enum Kind { SINGLE, TUNED, FINDS_PATHS, ANY };
static bool are_few(const kvb_cuda_append_job &job) {
    return job.most_rows == 1 && job.n_sequences * (long long)job.n_kv_heads <= 256;
}
static Kind kind_of(const kvb_cuda_append_job &job, int side) {
    const kvb_cuda_format *f = &job.formats[side];
    if (kvb_cuda_append_is_tuned(f)) {
        return job.most_rows == 1 ? SINGLE : TUNED;
    }
    return kvb_cuda_append_finds_paths(f) && !are_few(job) ? FINDS_PATHS : ANY;
}
static bool sides_share(const kvb_cuda_append_job &job) { // one launch
    const kvb_cuda_format *f = job.formats;
    return kind_of(job, 0) == kind_of(job, 1) &&
           (kind_of(job, 0) == ANY || (f[0].head_dim == f[1].head_dim && f[0].trellis_states == f[1].trellis_states));
}
static bool layers_share(const kvb_cuda_append_job &a, const kvb_cuda_append_job &b) {
    return a.n_sides == b.n_sides && kind_of(a, 0) <= TUNED && kind_of(a, 0) == kind_of(b, 0) && sides_share(a) &&
           sides_share(b) && a.formats[0].head_dim == b.formats[0].head_dim;
}

static int launch_sides(const kvb_cuda_append_job *jobs, int n, int first_side, int n_sides, void *stream) {
    switch (kind_of(*jobs, first_side)) {
    case SINGLE:
        return kvb_cuda_launch_append_single(jobs, n, first_side, n_sides, stream);
    case TUNED:
        return kvb_cuda_launch_append_tuned(jobs, n, first_side, n_sides, stream);
    case FINDS_PATHS:
        return kvb_cuda_launch_append_paths(jobs, first_side, n_sides, stream);
    default:
        return (int)launch_append(*jobs, first_side, n_sides, (cudaStream_t)stream);
    }
}

} // namespace kvb

int kvb_cuda_launch_append(const kvb_cuda_append_job *jobs, int n, void *stream) {
    int error = (int)cudaSuccess;
    for (int i = 0, many = 1; i < n && error == (int)cudaSuccess; i += many) {
        for (many = 1; many < KVB_CUDA_MOST_LAYERS && i + many < n && kvb::layers_share(jobs[i], jobs[i + many]);) {
            many++;
        }
        const int n_sides = kvb::sides_share(jobs[i]) ? jobs[i].n_sides : 1;
        for (int side = 0; side < jobs[i].n_sides && error == (int)cudaSuccess; side += n_sides) {
            error = kvb::launch_sides(jobs + i, many, side, n_sides, stream);
        }
    }
    for (int i = 0; i < n && error == (int)cudaSuccess; i++) {
        error = (int)kvb::launch_keep_exact(jobs[i], (cudaStream_t)stream);
    }
    return error;
}

int kvb_cuda_launch_advance(int32_t *lengths, const int32_t *sequences, const int32_t *row_begin, int n_sequences,
                            void *stream) {
    kvb::advance<<<(n_sequences + 255) / 256, 256, 0, (cudaStream_t)stream>>>(lengths, sequences, row_begin,
                                                                              n_sequences);
    return (int)cudaGetLastError();
}
