// Rows on their way from memory to the lanes that encode them: 16 tokens of a head are a warp's task.
#pragma once
#include "encode_quads.cuh"
#include "encode_source.cuh"

namespace kvb {

__device__ __forceinline__ uint32_t shared_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}
__device__ __forceinline__ void copy_async(uint32_t to, const void *from) { // to a shared_address
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ __forceinline__ void close_copies() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int PENDING> __device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Whether rows come as they are, 16 bytes at a time, or as floats, value by value: older ones, rounded or centered
// ones, and those that lie elsewhere than at multiples of 16.
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

// A format's buckets to shared memory, by all threads of a block.
__device__ __forceinline__ void fill_buckets(kvb_cuda_buckets &to, const kvb_cuda_format &f) {
    for (int k = threadIdx.x * 4; k < f.n_buckets; k += 4 * blockDim.x) {
        copy_async(shared_address(to.midpoints + k), f.buckets->midpoints + k);
        copy_async(shared_address(to.below + k), f.buckets->below + k);
        copy_async(shared_address(to.above + k), f.buckets->above + k);
    }
    close_copies(); // also of warps that copy no rows: only what is closed is waited for
}

// What a warp does next: 16 tokens of a head.
struct Task {
    int head, first, begin, end; // tokens first + begin to first + end - 1
    __device__ __forceinline__ bool is_whole() const {
        return begin == 0 && end == KVB_BLOCK_TOKENS;
    }
};

// The tasks of a span, every so many of them: heads first.
struct Walk {
    int head, first, head_step, token_step;
    __device__ __forceinline__ Walk(const Span &s, int n_heads, int i, int step)
        : head(i % n_heads), first((s.begin / KVB_BLOCK_TOKENS + i / n_heads) * KVB_BLOCK_TOKENS),
          head_step(step % n_heads), token_step(step / n_heads * KVB_BLOCK_TOKENS) {
    }
    __device__ __forceinline__ void next(int n_heads) {
        const bool wraps = head + head_step >= n_heads;
        head += head_step - (wraps ? n_heads : 0);
        first += token_step + (wraps ? KVB_BLOCK_TOKENS : 0);
    }
    __device__ __forceinline__ bool is_over(const Span &s) const {
        return first >= s.end;
    }
    __device__ __forceinline__ Task task(const Span &s) const {
        return {head, first, max(s.begin - first, 0), min(s.end - first, KVB_BLOCK_TOKENS)};
    }
};

__device__ __forceinline__ int n_tasks(const kvb_cuda_append_job &p, const Span &s) {
    return p.n_kv_heads * ((s.end - 1) / KVB_BLOCK_TOKENS - s.begin / KVB_BLOCK_TOKENS + 1);
}
// Of the longest append to a sequence.
static int most_tasks(const kvb_cuda_append_job &p) {
    return p.n_kv_heads * ((p.most_rows + KVB_BLOCK_TOKENS - 2) / KVB_BLOCK_TOKENS + 1);
}

// Blocks of threads that the current device holds, once the kernel may take so much memory. Every call asks, since the
// attribute belongs to the device.
template <class Kernel> static cudaError_t prepare(Kernel kernel, int threads, size_t bytes, int *room) {
    int device = 0, multiprocessors = 0, fit = 0;
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    if (error == cudaSuccess) {
        error = cudaGetDevice(&device);
    }
    if (error == cudaSuccess) {
        error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
    }
    if (error == cudaSuccess) {
        error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&fit, kernel, threads, bytes);
    }
    *room = multiprocessors * fit;
    return error;
}

template <int ROW>
__device__ __forceinline__ void stage_copies(const uint8_t *token0, size_t token_bytes, const Task &t, uint32_t to,
                                             int stride, int lane) {
    constexpr int pieces = ROW / 16, n = KVB_BLOCK_TOKENS * pieces / 32;
    constexpr int tokens = pieces < 32 ? 32 / pieces : 1, parts = pieces > 32 ? pieces / 32 : 1; // at once; to a token
    const int token = lane / pieces, piece = lane % pieces;                                      // the first
    const uint8_t *from = token0 + token * token_bytes + piece * 16;
    to += token * stride + piece * 16;
    const bool whole = t.is_whole();
#pragma unroll
    for (int i = 0; i < n; i++) {
        const int at = token + i / parts * tokens;
        if (whole || (at >= t.begin && at < t.end)) {
            copy_async(to + i / parts * tokens * stride + i % parts * 512, from + i % parts * 512);
        }
        from += i % parts == parts - 1 ? tokens * token_bytes : 0;
    }
}

template <int DIM>
__device__ __noinline__ void stage_values(const kvb_cuda_append_job &p, Span s, int is_value, Task t, uint8_t *to,
                                          int lane) { // copies, which stay in registers
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
            stage_copies<2 * DIM>(row, (size_t)p.n_kv_heads * DIM * 2, t, shared_address(to), row_stride(DIM, 2), lane);
        } else {
            stage_copies<4 * DIM>(row, (size_t)p.n_kv_heads * DIM * 4, t, shared_address(to), row_stride(DIM, 4), lane);
        }
    } else {
        stage_values<DIM>(p, s, is_value, t, to, lane);
    }
    close_copies();
}

// Signs of a lane's coordinates, of 16 pairs to a word: bit k of the first of pair k, bit 16 + k of the second.
template <int DIM> struct Signs {
    uint32_t of[(DIM + 127) / 128];
    __device__ __forceinline__ Signs(const kvb_cuda_format &f, int lane) {
#pragma unroll
        for (int i = 0; i < (DIM + 127) / 128; i++) {
            of[i] = f.sign_pairs[lane % 4 * KVB_CUDA_SIGN_WORDS + i];
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

} // namespace kvb
