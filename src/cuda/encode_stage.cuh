// Rows on their way from memory to the lanes that encode them: 16 tokens of a head are a warp's task.
#pragma once
#include "addresses.cuh"
#include "encode_pairs.cuh"
#include "encode_source.cuh"

namespace kvb {

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
// Rows in shared memory: the lanes of a warp, 16 rows at a time, find their values in different banks.
__host__ __device__ constexpr int row_stride(int dim, int bytes) {
    return dim * bytes + (bytes == 2 ? 16 : 32);
}
__host__ __device__ constexpr int row_offset(int token, int stride) {
    return token * stride + token / 8 * 64;
}
__host__ __device__ constexpr int stage_bytes(int dim, int bytes) {
    return row_offset(KVB_BLOCK_TOKENS - 1, row_stride(dim, bytes)) + row_stride(dim, bytes);
}

// What all warps of a block look up, in shared memory: where a ring is searched at a multiple of RING_ALIGNMENT.
struct LookUps {
    kvb_cuda_buckets buckets;
    uint32_t sign_pairs[128];
};

// A format's, its buckets or its ring, by all threads of a block.
__device__ __forceinline__ void fill_look_ups(LookUps &to, const kvb_cuda_format &f, bool of_ring) {
    const kvb_cuda_buckets *from = of_ring ? f.ring : f.buckets;
    const int n = of_ring ? f.n_ring : f.n_buckets;
#pragma unroll 1
    for (int k = threadIdx.x * 4; k < n; k += 4 * blockDim.x) {
        copy_async(shared_address(to.buckets.midpoints + k), from->midpoints + k);
        copy_async(shared_address(to.buckets.below + k), from->below + k);
        copy_async(shared_address(to.buckets.above + k), from->above + k);
    }
    if (threadIdx.x * 4 < f.head_dim / 2) {
        copy_async(shared_address(to.sign_pairs + threadIdx.x * 4), f.sign_pairs + threadIdx.x * 4);
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
[[maybe_unused]] static int most_tasks(const kvb_cuda_append_job &p) {
    return p.n_kv_heads * ((p.most_rows + KVB_BLOCK_TOKENS - 2) / KVB_BLOCK_TOKENS + 1);
}

// The current device. Every call asks, since attributes belong to it.
struct Room {
    int multiprocessors;
    size_t bytes; // of shared memory, the most of a block of threads
};
[[maybe_unused]] static cudaError_t room_of(Room *room) {
    int device = 0, bytes = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess) {
        error = cudaDeviceGetAttribute(&room->multiprocessors, cudaDevAttrMultiProcessorCount, device);
    }
    if (error == cudaSuccess) {
        error = cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    }
    room->bytes = (size_t)bytes;
    return error;
}

// Blocks of threads that it holds, once the kernel may take so much memory.
template <class Kernel> static cudaError_t prepare(Kernel kernel, int threads, size_t bytes, int *blocks) {
    Room room = {};
    int fit = 0;
    cudaError_t error = room_of(&room);
    if (error == cudaSuccess) {
        error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    }
    if (error == cudaSuccess) {
        error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&fit, kernel, threads, bytes);
    }
    *blocks = room.multiprocessors * fit;
    return error;
}

template <int ROW>
__device__ __forceinline__ void stage_copies(const uint8_t *token0, uint32_t token_bytes, const Task &t, uint32_t to,
                                             int stride, int lane) {
    constexpr int pieces = ROW / 16, n = KVB_BLOCK_TOKENS * pieces / 32;
    if (!t.is_whole()) {
#pragma unroll 1
        for (int i = t.begin * pieces + lane; i < t.end * pieces; i += 32) {
            copy_async(to + row_offset(i / pieces, stride) + i % pieces * 16,
                       token0 + (size_t)(i / pieces) * token_bytes + i % pieces * 16);
        }
        return;
    }
    constexpr int tokens = pieces < 32 ? 32 / pieces : 1, parts = pieces > 32 ? pieces / 32 : 1; // at once; to a token
    const uint8_t *from = token0 + (size_t)(lane / pieces) * token_bytes + lane % pieces * 16;
    to += lane / pieces * stride + lane % pieces * 16;
#pragma unroll
    for (int i = 0; i < n; i++) {
        copy_async(to + row_offset(i / parts * tokens, stride) + i % parts * 512, from + i % parts * 512);
        from += i % parts == parts - 1 ? tokens * token_bytes : 0;
    }
}

template <int DIM>
__device__ __noinline__ void stage_values(const kvb_cuda_append_job &p, Span s, int is_value, Task t, uint8_t *to,
                                          int lane) { // copies, which stay in registers
#pragma unroll 1
    for (int i = t.begin * DIM + lane; i < t.end * DIM; i += 32) {
        *(float *)(to + row_offset(i / DIM, row_stride(DIM, 4)) + i % DIM * 4) =
            source(p, s, is_value, t.head, t.first + i / DIM, i % DIM);
    }
}

// How a span's rows come to a warp.
struct Rows {
    const uint8_t *token0;  // of head 0, where token 0 would be; NULL: value by value
    uint32_t row, token;    // bytes of a row, and of a token's
    int dtype, stage_bytes; // as they are in shared memory
    __device__ __forceinline__ Rows(const kvb_cuda_append_job &p, const Span &s, int is_value, int dim) {
        const int bytes = staged_bytes(p, is_value);
        dtype = come_as_they_are(p, is_value) ? p.dtype : KVB_F32;
        row = dim * bytes;
        token = p.n_kv_heads * row;
        token0 = come_as_they_are(p, is_value)
                     ? (const uint8_t *)p.rows[is_value] + (long long)(s.row_begin - s.before) * token
                     : nullptr;
        stage_bytes = kvb::stage_bytes(dim, bytes);
    }
};

template <int DIM>
__device__ __forceinline__ void stage(const kvb_cuda_append_job &p, const Span &s, const Rows &rows, int is_value,
                                      const Task &t, uint8_t *to, int lane) {
    if (rows.token0) {
        const uint8_t *row = rows.token0 + (long long)t.first * rows.token + t.head * rows.row;
        if (rows.dtype != KVB_F32) {
            stage_copies<2 * DIM>(row, rows.token, t, shared_address(to), row_stride(DIM, 2), lane);
        } else {
            stage_copies<4 * DIM>(row, rows.token, t, shared_address(to), row_stride(DIM, 4), lane);
        }
    } else {
        stage_values<DIM>(p, s, is_value, t, to, lane);
    }
    close_copies();
}

// The fours of a lane's half, of every eight coordinates one: read(i, to, sign), with the signs of two pairs in bits
// 15 and 31 each.
template <int DIM, class Read>
__device__ __forceinline__ void read_eights(HalfRow<DIM> &row, const uint4 *signs, Read read) {
#pragma unroll
    for (int j = 0; j < row.STEPS; j++) {
        const uint4 four = signs[2 * j];
        read(2 * j, row.x + 8 * j, make_uint2(four.x, four.y));
        read(2 * j + 1, row.x + 8 * j + 4, make_uint2(four.z, four.w));
    }
}

// A lane's half of a row, its signs put in; `from` is the row.
template <int DIM>
__device__ __forceinline__ void read_half(HalfRow<DIM> &row, const uint8_t *from, int dtype, const LookUps &look_ups,
                                          int lane) {
    const uint4 *signs = (const uint4 *)look_ups.sign_pairs + lane % 2;
    if (dtype == KVB_F32) {
        read_eights(row, signs, [&](int i, float *x, uint2 sign) {
            const uint4 four = *(const uint4 *)(from + (8 * i + lane % 2 * 4) * 4);
            x[0] = __uint_as_float(four.x ^ sign.x << 16);
            x[1] = __uint_as_float(four.y ^ (sign.x & 0x80000000u));
            x[2] = __uint_as_float(four.z ^ sign.y << 16);
            x[3] = __uint_as_float(four.w ^ (sign.y & 0x80000000u));
        });
    } else if (dtype == KVB_BF16) {
        read_eights(row, signs, [&](int i, float *x, uint2 sign) {
            const uint2 four = *(const uint2 *)(from + (8 * i + lane % 2 * 4) * 2);
            x[0] = __uint_as_float((four.x ^ sign.x) << 16);
            x[1] = __uint_as_float((four.x ^ sign.x) & 0xffff0000u);
            x[2] = __uint_as_float((four.y ^ sign.y) << 16);
            x[3] = __uint_as_float((four.y ^ sign.y) & 0xffff0000u);
        });
    } else {
        read_eights(row, signs, [&](int i, float *x, uint2 sign) {
            const uint2 four = *(const uint2 *)(from + (8 * i + lane % 2 * 4) * 2);
            x[0] = __half2float(__ushort_as_half((uint16_t)(four.x ^ sign.x)));
            x[1] = __half2float(__ushort_as_half((uint16_t)((four.x ^ sign.x) >> 16)));
            x[2] = __half2float(__ushort_as_half((uint16_t)(four.y ^ sign.y)));
            x[3] = __half2float(__ushort_as_half((uint16_t)((four.y ^ sign.y) >> 16)));
        });
    }
}

} // namespace kvb
