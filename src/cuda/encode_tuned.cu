// Appending rows of 64, 128 and 256 values: a warp to the 16 tokens of a block, rows on their way while others are
// encoded, one launch for many layers.
#include "encode_quads.cuh"
#include "encode_source.cuh"
#include "encode_tuned.h"
#include "encode_words.cuh"

namespace kvb {

constexpr int WARPS = 4;

template <int LAYERS> struct Jobs {
    kvb_cuda_append_job of[LAYERS];
};

__device__ __forceinline__ void copy_async(void *to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from)
                 : "memory");
}
__device__ __forceinline__ void close_copies() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int PENDING> __device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Whether rows come as they are, 16 bytes at a time, or as floats, value by value: older ones, rounded or centered ones,
// and those that lie elsewhere than at multiples of 16.
__host__ __device__ inline bool come_as_they_are(const kvb_cuda_append_job &p, int is_value) {
    return p.n_exact_last == 0 && (is_value || !p.k_mean) && (uintptr_t)p.rows[is_value] % 16 == 0;
}
__host__ __device__ inline int staged_bytes(const kvb_cuda_append_job &p, int is_value) { // of a value
    return come_as_they_are(p, is_value) && p.dtype != KVB_F32 ? 2 : 4;
}
// Of a row in shared memory: the lanes of a warp, eight rows at a time, find their values in different banks.
__host__ __device__ constexpr int row_stride(int dim, int bytes) {
    return dim * bytes + (bytes == 2 ? 16 : 32);
}

// What a warp does next: 16 tokens of a head.
struct Task {
    int head, first, begin, end; // tokens first + begin to first + end - 1
};
__device__ __forceinline__ Task task_of(const Span &s, int n_heads, int i) {
    const int first = (s.begin / KVB_BLOCK_TOKENS + i / n_heads) * KVB_BLOCK_TOKENS;
    return {i % n_heads, first, max(s.begin - first, 0), min(s.end - first, KVB_BLOCK_TOKENS)};
}

template <int ROW>
__device__ __forceinline__ void stage_copies(const uint8_t *token0, size_t token_bytes, const Task &t, uint8_t *to,
                                             int stride, int lane) {
    constexpr int pieces = ROW / 16;
#pragma unroll
    for (int i = 0; i < KVB_BLOCK_TOKENS * pieces / 32; i++) {
        const int token = (32 * i + lane) / pieces, piece = (32 * i + lane) % pieces;
        if (token >= t.begin && token < t.end) {
            copy_async(to + token * stride + piece * 16, token0 + token * token_bytes + piece * 16);
        }
    }
}

template <int DIM>
__device__ __noinline__ void stage_values(const kvb_cuda_append_job &p, const Span &s, int is_value, const Task &t,
                                          uint8_t *to, int lane) {
#pragma unroll 1
    for (int i = t.begin * DIM + lane; i < t.end * DIM; i += 32) {
        *(float *)(to + i / DIM * row_stride(DIM, 4) + i % DIM * 4) =
            source(p, s, is_value, t.head, t.first + i / DIM, i % DIM);
    }
}

template <int DIM>
__device__ __forceinline__ void stage(const kvb_cuda_append_job &p, const Span &s, int is_value, const Task &t,
                                      uint8_t *to, int lane) {
    if (come_as_they_are(p, is_value)) {
        const int bytes = p.dtype == KVB_F32 ? 4 : 2;
        const uint8_t *row = (const uint8_t *)p.rows[is_value] +
                             ((long long)(s.row_begin + t.first - s.before) * p.n_kv_heads + t.head) * DIM * bytes;
        if (bytes == 2) {
            stage_copies<2 * DIM>(row, (size_t)p.n_kv_heads * DIM * 2, t, to, row_stride(DIM, 2), lane);
        } else {
            stage_copies<4 * DIM>(row, (size_t)p.n_kv_heads * DIM * 4, t, to, row_stride(DIM, 4), lane);
        }
    } else {
        stage_values<DIM>(p, s, is_value, t, to, lane);
    }
    close_copies();
}

// Signs of a lane's coordinates, of 16 pairs to a word: bit k of the first of pair k, bit 16 + k of the second.
template <int DIM> struct Signs {
    uint32_t of[(DIM + 127) / 128];
    __device__ __forceinline__ Signs(const uint32_t *signs, int lane) {
#pragma unroll
        for (int i = 0; i < (DIM + 127) / 128; i++) {
            of[i] = 0;
        }
#pragma unroll
        for (int pair = 0; pair < DIM / 8; pair++) {
            const uint32_t two = signs[pair / 4] >> (pair % 4 * 8 + lane % 4 * 2);
            of[pair / 16] |= (two & 1) << pair % 16 | (two >> 1 & 1) << (16 + pair % 16);
        }
    }
    __device__ __forceinline__ uint32_t mask(int pair) const { // bits 15 and 31
        return of[pair / 16] << (15 - pair % 16) & 0x80008000u;
    }
};

template <int DIM>
__device__ __forceinline__ void read_row(Quarter<DIM> &row, const uint8_t *from, int dtype, const Signs<DIM> &signs,
                                         int lane) {
    if (dtype == KVB_F32) {
#pragma unroll
        for (int pair = 0; pair < DIM / 8; pair++) {
            const uint2 x = *(const uint2 *)(from + (8 * pair + lane % 4 * 2) * 4);
            row.x[2 * pair] = __uint_as_float(x.x ^ signs.mask(pair) << 16);
            row.x[2 * pair + 1] = __uint_as_float(x.y ^ (signs.mask(pair) & 0x80000000u));
        }
        return;
    }
#pragma unroll
    for (int pair = 0; pair < DIM / 8; pair++) {
        const uint32_t x = *(const uint32_t *)(from + (8 * pair + lane % 4 * 2) * 2) ^ signs.mask(pair);
        if (dtype == KVB_BF16) {
            row.x[2 * pair] = __uint_as_float(x << 16);
            row.x[2 * pair + 1] = __uint_as_float(x & 0xffff0000u);
        } else {
            row.x[2 * pair] = __half2float(__ushort_as_half((uint16_t)x));
            row.x[2 * pair + 1] = __half2float(__ushort_as_half((uint16_t)(x >> 16)));
        }
    }
}

__device__ __forceinline__ void store_scales(const kvb_cuda_format &f, const Task &t, uint8_t *block,
                                             const uint32_t (&bits)[2], int lane) {
    const int g = lane / 4;
    if (lane % 4 != 0) {
        return;
    }
    if (f.scale_bytes == 2 && t.begin == 0 && t.end == KVB_BLOCK_TOKENS) { // those of tokens g and g + 8 lie together
        *(uint32_t *)(block + kvb_fragment_scale_offset(f.head_dim, f.code, 2, g)) = bits[0] | bits[1] << 16;
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
__device__ __forceinline__ void encode_block(const kvb_cuda_format &f, bool is_value, int dtype, const Task &t,
                                             const uint8_t *rows, uint32_t buckets, const Signs<DIM> &signs,
                                             uint8_t *block, int lane) {
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
    store_scales(f, t, block, scales, lane);
    uint32_t bytes[2 * STEPS], fresh[2];
    to_stream<STEPS>(is_value, lower, codes, bytes);
    fresh_bytes(is_value, t.begin, t.end, lane, fresh);
    store_codes<STEPS>(f.bits, bytes, t.begin == 0 && t.end == KVB_BLOCK_TOKENS, fresh, block, lane);
}

extern __shared__ __align__(16) uint8_t shared[];

// Grid: as many as the device holds or as there are tasks, layers and sides, sequences.
template <int DIM, int LAYERS>
__global__ void __launch_bounds__(32 * WARPS, DIM == 256 ? 2 : 4) append_tuned(const __grid_constant__ Jobs<LAYERS> jobs) {
    const kvb_cuda_append_job &p = jobs.of[LAYERS > 1 ? blockIdx.y / 2 : 0];
    const int is_value = blockIdx.y % 2, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (LAYERS > 1 && (int)blockIdx.z >= p.n_sequences) {
        return;
    }
    const kvb_cuda_format &f = p.formats[is_value];
    const Span span = span_of(p, blockIdx.z);
    if (span.begin >= span.end) {
        return;
    }
    const int n = p.n_kv_heads * ((span.end - 1) / KVB_BLOCK_TOKENS - span.begin / KVB_BLOCK_TOKENS + 1),
              step = gridDim.x * WARPS;
    int i = blockIdx.x * WARPS + warp;
    if (i - warp >= n) {
        return;
    }
    if (f.bits == 16) {
        for (; i < n; i += step) {
            const Task t = task_of(span, p.n_kv_heads, i);
            keep_dense(p, span, is_value, t.head, t.first, t.begin, t.end,
                       block_at(p.places[is_value], f, span.sequence, t.head, t.first), lane, 32);
        }
        return;
    }
    kvb_cuda_buckets &buckets = *(kvb_cuda_buckets *)shared;
    for (int k = threadIdx.x * 4; k < f.n_buckets; k += 4 * 32 * WARPS) {
        copy_async(buckets.midpoints + k, f.buckets->midpoints + k);
        copy_async(buckets.below + k, f.buckets->below + k);
        copy_async(buckets.above + k, f.buckets->above + k);
    }
    const int stage_bytes = KVB_BLOCK_TOKENS * row_stride(DIM, staged_bytes(p, is_value)),
              dtype = come_as_they_are(p, is_value) ? p.dtype : KVB_F32;
    uint8_t *stages = shared + sizeof buckets + warp * 2 * stage_bytes;
    Task t = task_of(span, p.n_kv_heads, min(i, n - 1));
    if (i < n) {
        stage<DIM>(p, span, is_value, t, stages, lane);
    }
    const Signs<DIM> signs(f.signs, lane);
    wait_for_copies<0>();
    __syncthreads();
    for (int at = 0; i < n; i += step, at ^= 1) {
        const Task next = task_of(span, p.n_kv_heads, min(i + step, n - 1));
        if (i + step < n) {
            stage<DIM>(p, span, is_value, next, stages + (at ^ 1) * stage_bytes, lane);
            wait_for_copies<1>();
        } else {
            wait_for_copies<0>();
        }
        __syncwarp();
        encode_block<DIM>(f, is_value, dtype, t, stages + at * stage_bytes, (uint32_t)__cvta_generic_to_shared(&buckets), signs,
                          block_at(p.places[is_value], f, span.sequence, t.head, t.first), lane);
        __syncwarp(); // all have read before the rows' place is filled again
        t = next;
    }
}

template <int DIM> static bool serves(const kvb_cuda_append_job &job) {
    for (int side = 0; side < 2; side++) {
        const kvb_cuda_format &f = job.formats[side];
        if (f.head_dim != DIM || f.trellis_states ||
            (f.bits != 16 && (f.n_buckets == 0 || (f.rotates && f.hadamard_order > 1)))) {
            return false;
        }
    }
    return true;
}

template <int DIM, int LAYERS> static cudaError_t launch(const kvb_cuda_append_job *jobs, int n, cudaStream_t stream) {
    Jobs<LAYERS> all = {};
    size_t bytes = 0;
    int tasks = 0, sequences = 0, device = 0, multiprocessors = 0, fit = 0;
    for (int i = 0; i < n; i++) {
        all.of[i] = jobs[i];
        for (int side = 0; side < 2; side++) {
            const size_t needed = sizeof(kvb_cuda_buckets) +
                                  WARPS * 2 * KVB_BLOCK_TOKENS * row_stride(DIM, staged_bytes(jobs[i], side));
            bytes = max(bytes, needed);
        }
        tasks = max(tasks, jobs[i].n_kv_heads * ((jobs[i].most_rows + KVB_BLOCK_TOKENS - 2) / KVB_BLOCK_TOKENS + 1));
        sequences = max(sequences, jobs[i].n_sequences);
    }
    // Every call asks, since the attribute belongs to the current device.
    cudaError_t error = cudaFuncSetAttribute(append_tuned<DIM, LAYERS>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                             (int)bytes);
    if (error == cudaSuccess) {
        error = cudaGetDevice(&device);
    }
    if (error == cudaSuccess) {
        error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
    }
    if (error == cudaSuccess) {
        error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&fit, append_tuned<DIM, LAYERS>, 32 * WARPS, bytes);
    }
    if (error != cudaSuccess) {
        return error;
    }
    const int columns = 2 * n * sequences, room = max(multiprocessors * fit / columns, 1),
              wanted = (tasks + WARPS - 1) / WARPS;
    append_tuned<DIM, LAYERS><<<dim3(min(room, wanted), 2 * n, sequences), 32 * WARPS, bytes, stream>>>(all);
    return cudaGetLastError();
}

template <int DIM> static int launch_first(const kvb_cuda_append_job *jobs, int n, cudaStream_t stream, int *done) {
    int many = 0;
    while (many < n && many < KVB_CUDA_MOST_LAYERS && serves<DIM>(jobs[many])) {
        many++;
    }
    if (many == 0) {
        return (int)cudaSuccess;
    }
    *done = many;
    return (int)(many == 1 ? launch<DIM, 1>(jobs, 1, stream) : launch<DIM, KVB_CUDA_MOST_LAYERS>(jobs, many, stream));
}

} // namespace kvb

int kvb_cuda_launch_append_tuned(const kvb_cuda_append_job *jobs, int n, void *stream, int *done) {
    switch (jobs->formats[0].head_dim) {
    case 64:
        return kvb::launch_first<64>(jobs, n, (cudaStream_t)stream, done);
    case 128:
        return kvb::launch_first<128>(jobs, n, (cudaStream_t)stream, done);
    case 256:
        return kvb::launch_first<256>(jobs, n, (cudaStream_t)stream, done);
    default:
        return (int)cudaSuccess;
    }
}
