// Rows of pages as values, and partial results of attention added up: simple kernels.
#include "layout.h"
#include "pack.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace kvb {

constexpr int LANES_OF_ROW = 16, THREADS = LANES_OF_ROW * KVB_BLOCK_TOKENS;
extern __shared__ __align__(16) unsigned char shared[];

__device__ __forceinline__ float value_at(const void *values, size_t i, int dtype) {
    switch (dtype) {
    case KVB_F16:
        return __half2float(((const __half *)values)[i]);
    case KVB_BF16:
        return __bfloat162float(((const __nv_bfloat16 *)values)[i]);
    default:
        return ((const float *)values)[i];
    }
}
__device__ __forceinline__ void store_at(void *values, size_t i, int dtype, float x) {
    switch (dtype) {
    case KVB_F16:
        ((__half *)values)[i] = __float2half_rn(x);
        break;
    case KVB_BF16:
        ((__nv_bfloat16 *)values)[i] = __float2bfloat16_rn(x);
        break;
    default:
        ((float *)values)[i] = x;
    }
}

// The number of a trellis code's level: inputs up to this coordinate, from `first` on, give the subset.
__device__ int trellis_level(const kvb_cuda_format &f, bool is_value, const uint8_t *block, int token, int first,
                             int dim) {
    uint32_t inputs = 0;
    for (int lag = 0; lag <= f.trellis_memory && lag <= dim - first; lag++) {
        const kvb_place at = kvb_fragment_code_place(f.head_dim, f.code, token, dim - lag, 0, is_value);
        inputs |= (*(const uint32_t *)(block + at.word) >> at.bit & 1) << lag;
    }
    return 4 * (code_at(f, is_value, block, token, dim) >> 1) + (__popc(inputs & f.taps[0]) & 1) +
           2 * (__popc(inputs & f.taps[1]) & 1);
}

__device__ float packed_value(const kvb_cuda_format &f, bool is_value, uint8_t *block, int token, int dim) {
    if (f.bits == 16) {
        return value_at(dense_at(f, is_value, block, token, dim), 0, f.dense);
    }
    const uint8_t *scale = block + kvb_fragment_scale_offset(f.head_dim, f.code, f.scale_bytes, token);
    const kvb_code_part part = kvb_fragment_code_part_at(f.head_dim, f.code, dim);
    const int level = f.trellis_states ? trellis_level(f, is_value, block, token, part.first, dim)
                                       : code_at(f, is_value, block, token, dim);
    return __fmul_rn(f.centroids[part.first_level + level], value_at(scale, 0, f.scale_bytes == 2 ? KVB_F16 : KVB_F32));
}

// The inverse of the rotation, in the order of docs/format.md, by half a warp; the other half may be elsewhere.
__device__ void unrotate(const kvb_cuda_format &f, float *row, int lane) {
    const int d = f.head_dim, n = d / f.hadamard_order;
    const uint32_t half = 0xffffu << threadIdx.x % 32 / LANES_OF_ROW * LANES_OF_ROW;
    for (int h = 1; h < n; h *= 2) {
        for (int i = lane; i < d / 2; i += LANES_OF_ROW) {
            float *a = row + i / h * 2 * h + i % h, *b = a + h;
            const float x = *a, y = *b;
            *a = __fadd_rn(x, y);
            *b = __fsub_rn(x, y);
        }
        __syncwarp(half);
    }
    for (int c = lane; f.hadamard_order > 1 && c < n; c += LANES_OF_ROW) { // columns are their lanes' own
        float column[KVB_MAX_HADAMARD_ORDER];
        for (int j = 0; j < f.hadamard_order; j++) {
            column[j] = row[j * n + c];
        }
        for (int a = 0; a < f.hadamard_order; a++) {
            float sum = column[0];
            for (int j = 1; j < f.hadamard_order; j++) {
                sum = f.hadamard[j] >> a & 1 ? __fsub_rn(sum, column[j]) : __fadd_rn(sum, column[j]);
            }
            row[a * n + c] = sum;
        }
    }
    __syncwarp(half);
    for (int i = lane; i < d; i += LANES_OF_ROW) {
        row[i] = __uint_as_float(__float_as_uint(__fmul_rn(row[i], f.inverse_sqrt_dim)) ^
                                 (f.signs[i / 32] >> i % 32 & 1) << 31);
    }
    __syncwarp(half);
}

// Grid: blocks of 16 tokens, KV heads.
__global__ void __launch_bounds__(THREADS) decode(const __grid_constant__ kvb_cuda_decode_job p) {
    const kvb_cuda_format &f = p.format;
    const int own = row_of(p.place, p.sequence), head = blockIdx.y;
    const int length = p.lengths ? p.lengths[own] : p.length,
              floor = p.lengths ? (p.packed_ends ? p.packed_ends[own] : 0) : p.packed_end;
    const int last_begin = max(max(length - p.n_exact_last, floor), p.n_exact_first);
    const int first = (p.first / KVB_BLOCK_TOKENS + (int)blockIdx.x) * KVB_BLOCK_TOKENS,
              token = first + (int)threadIdx.x / LANES_OF_ROW, lane = threadIdx.x % LANES_OF_ROW;
    const bool is_asked = token >= p.first && token < p.first + p.n_tokens && token < length;
    const bool is_first = token < p.n_exact_first, is_exact = is_first || token >= last_begin;
    float *row = (float *)shared + threadIdx.x / LANES_OF_ROW * f.head_dim;
    if (is_asked && is_exact) {
        const int slots = is_first ? p.n_exact_first : p.exact_last_slots > 0 ? p.exact_last_slots : p.n_exact_last;
        const int place = is_first || p.exact_last_slots > 0 ? token % slots : token - (length - p.n_exact_last);
        const size_t slot = (size_t)own * slots + place;
        const uint16_t *from = (is_first ? p.exact_first : p.exact_last) + (slot * p.n_kv_heads + head) * f.head_dim;
        for (int i = lane; i < f.head_dim; i += LANES_OF_ROW) {
            row[i] = value_at(from, i, p.dense);
        }
    } else if (is_asked) {
        uint8_t *block = block_at(p.place, f, own, head, first);
        for (int i = lane; i < f.head_dim; i += LANES_OF_ROW) {
            row[i] = packed_value(f, p.is_value, block, token % KVB_BLOCK_TOKENS, i);
        }
    }
    __syncwarp();
    if (is_asked && !is_exact && f.bits != 16 && f.rotates) {
        unrotate(f, row, lane);
    }
    for (int i = lane; is_asked && i < p.dim; i += LANES_OF_ROW) {
        const float mean = p.mean && !is_exact ? p.mean[head * f.head_dim + i] : 0.0f;
        store_at(p.out, ((size_t)(token - p.first) * p.n_kv_heads + head) * p.dim + i, p.dtype,
                 p.mean && !is_exact ? __fadd_rn(row[i], mean) : row[i]);
    }
}

// Grid: rows. As kvb_softmax_merge, and finish without a sink.
__global__ void merge(const __grid_constant__ kvb_cuda_merge_job p) {
    const size_t row = blockIdx.x + (size_t)blockIdx.y * gridDim.x;
    if (row >= p.n_rows) {
        return;
    }
    const float a = p.lse[row], b = p.more_lse[row];
    const float top = a > b ? a : b;
    const bool has_a = a != -INFINITY, has_b = b != -INFINITY;
    const float own = has_a ? (a == top ? 1.0f : expf(a - top)) : 0.0f,
                other = has_b ? (b == top ? 1.0f : expf(b - top)) : 0.0f, sum = own + other, factor = 1.0f / sum;
    for (int i = threadIdx.x; has_b && i < p.dim; i += blockDim.x) {
        const size_t at = row * p.dim + i;
        const float x = has_a ? value_at(p.out, at, p.dtype) * own : 0.0f;
        store_at(p.out, at, p.dtype, (x + value_at(p.more_out, at, p.dtype) * other) * factor);
    }
    __syncthreads(); // all threads have read both
    if (threadIdx.x == 0 && has_b) {
        p.lse[row] = top + logf(sum);
    }
}

} // namespace kvb

int kvb_cuda_launch_decode(const kvb_cuda_decode_job *job, void *stream) {
    const int blocks = (job->first + job->n_tokens - 1) / KVB_BLOCK_TOKENS - job->first / KVB_BLOCK_TOKENS + 1;
    const size_t bytes = sizeof(float) * KVB_BLOCK_TOKENS * job->format.head_dim;
    kvb::decode<<<dim3(blocks, job->n_kv_heads), kvb::THREADS, bytes, (cudaStream_t)stream>>>(*job);
    return (int)cudaGetLastError();
}

int kvb_cuda_launch_merge(const kvb_cuda_merge_job *job, void *stream) {
    const size_t across = job->n_rows < 65536 ? job->n_rows : 65536, down = (job->n_rows + across - 1) / across;
    kvb::merge<<<dim3((unsigned)across, (unsigned)down), 128, 0, (cudaStream_t)stream>>>(*job);
    return (int)cudaGetLastError();
}
