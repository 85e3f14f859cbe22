// Rows of pages to planes as docs/format.md stores them, and back: for files, for the CPU, and for whoever compares
// bytes.
#include "pack.cuh"

namespace kvb {

constexpr int THREADS = 256;
extern __shared__ __align__(16) unsigned char shared[];

__device__ __forceinline__ int code_at(const kvb_cuda_format &f, bool is_value, const uint8_t *block, int token,
                                       int dim) {
    int code = 0;
    for (int bit = 0; bit < f.bits; bit++) {
        const kvb_place at = kvb_fragment_code_place(f.head_dim, f.code, token, dim, bit, is_value);
        code |= (*(const uint32_t *)(block + at.word) >> at.bit & 1) << bit;
    }
    return code;
}

// Tokens of this block of threads, of the block of a page: [begin, end).
struct Tokens {
    int first, begin, end;
    __device__ explicit Tokens(const kvb_cuda_convert_job &p) {
        first = (p.first / KVB_BLOCK_TOKENS + (int)blockIdx.x) * KVB_BLOCK_TOKENS;
        begin = max(p.first - first, 0);
        end = min(p.first + p.n_tokens - first, KVB_BLOCK_TOKENS);
    }
};

// Values of 16 bits, between a block and rows of them.
__device__ void copy_dense(const kvb_cuda_convert_job &p, const Tokens &t, uint8_t *block, bool into_block) {
    const int dim = p.format.head_dim;
    for (int i = threadIdx.x; i < (t.end - t.begin) * dim; i += THREADS) {
        const int token = t.begin + i / dim;
        uint16_t *inside = dense_at(p.format, p.is_value, block, token, i % dim),
                 *outside = (uint16_t *)p.planes[0] + (size_t)(t.first - p.first + token) * dim + i % dim;
        *(into_block ? inside : outside) = *(into_block ? outside : inside);
    }
}

__global__ void __launch_bounds__(THREADS) to_planes(const __grid_constant__ kvb_cuda_convert_job p) {
    const Tokens t(p);
    if (t.begin >= t.end) {
        return;
    }
    const kvb_cuda_format &f = p.format;
    const int n = (t.end - t.begin) * f.head_dim, row = t.first - p.first; // of token 0, maybe negative
    uint8_t *codes = shared;
    uint8_t *block = block_at(p.place, f, p.sequence, p.kv_head, t.first);
    if (f.bits == 16) {
        copy_dense(p, t, block, false);
        return;
    }
    for (int i = threadIdx.x; i < n; i += THREADS) {
        const int token = t.begin + i / f.head_dim, dim = i % f.head_dim;
        codes[token * f.head_dim + dim] = (uint8_t)code_at(f, p.is_value, block, token, dim);
    }
    __syncthreads();
    for (int plane = 0, low = 0; plane < p.n_planes; low += p.widths[plane++]) {
        const int width = p.widths[plane], bytes = f.head_dim * width / 8;
        for (int i = threadIdx.x; i < (t.end - t.begin) * bytes; i += THREADS) {
            const int token = t.begin + i / bytes, j = i % bytes;
            uint32_t byte = 0;
            for (int k = 0; k < 8 / width; k++) {
                byte |= ((uint32_t)codes[token * f.head_dim + j + k * bytes] >> low & ((1u << width) - 1))
                        << (k * width);
            }
            p.planes[plane][(size_t)(row + token) * bytes + j] = (uint8_t)byte;
        }
    }
    for (int token = t.begin + (int)threadIdx.x; token < t.end; token += THREADS) {
        const uint8_t *scale = block + kvb_fragment_scale_offset(f.head_dim, f.code, f.scale_bytes, token);
        if (f.scale_bytes == 2) {
            ((uint16_t *)p.scales)[row + token] = *(const uint16_t *)scale;
        } else {
            ((uint32_t *)p.scales)[row + token] = *(const uint32_t *)scale;
        }
    }
}

__global__ void __launch_bounds__(THREADS) from_planes(const __grid_constant__ kvb_cuda_convert_job p) {
    const Tokens t(p);
    if (t.begin >= t.end) {
        return;
    }
    const kvb_cuda_format &f = p.format;
    const int n = (t.end - t.begin) * f.head_dim, row = t.first - p.first;
    uint8_t *codes = shared;
    uint32_t *words = (uint32_t *)(shared + KVB_BLOCK_TOKENS * ((f.head_dim + 15) / 16 * 16));
    uint8_t *block = block_at(p.place, f, p.sequence, p.kv_head, t.first);
    if (f.bits == 16) {
        copy_dense(p, t, block, true);
        return;
    }
    for (int i = threadIdx.x; i < n; i += THREADS) {
        const int token = t.begin + i / f.head_dim, dim = i % f.head_dim;
        int code = 0;
        for (int plane = 0, low = 0; plane < p.n_planes; low += p.widths[plane++]) {
            const int width = p.widths[plane], bytes = f.head_dim * width / 8;
            const uint32_t byte = p.planes[plane][(size_t)(row + token) * bytes + dim % bytes];
            code |= (int)(byte >> (dim / bytes * width) & ((1u << width) - 1)) << low;
        }
        codes[token * f.head_dim + dim] = (uint8_t)code;
    }
    for (int token = t.begin + (int)threadIdx.x; token < t.end; token += THREADS) {
        store_scale(f, block, token,
                    f.scale_bytes == 2 ? ((const uint16_t *)p.scales)[row + token]
                                       : ((const uint32_t *)p.scales)[row + token]);
    }
    __syncthreads();
    pack_block(f, p.is_value, codes, t.begin, t.end, words, block);
}

// Codes, and on the way in the words and masks of a block: below 48 KB for every head_dim.
static size_t shared_bytes(const kvb_cuda_format &f) {
    if (f.bits == 16) {
        return 0;
    }
    return (size_t)KVB_BLOCK_TOKENS * ((f.head_dim + 15) / 16 * 16) +
           2 * (size_t)kvb_fragment_code_bytes(f.head_dim, f.code);
}

static int blocks(const kvb_cuda_convert_job *job) {
    return (job->first + job->n_tokens - 1) / KVB_BLOCK_TOKENS - job->first / KVB_BLOCK_TOKENS + 1;
}

} // namespace kvb

int kvb_cuda_launch_export(const kvb_cuda_convert_job *job, void *stream) {
    kvb::to_planes<<<kvb::blocks(job), kvb::THREADS, kvb::shared_bytes(job->format), (cudaStream_t)stream>>>(*job);
    return (int)cudaGetLastError();
}

int kvb_cuda_launch_import(const kvb_cuda_convert_job *job, void *stream) {
    kvb::from_planes<<<kvb::blocks(job), kvb::THREADS, kvb::shared_bytes(job->format), (cudaStream_t)stream>>>(*job);
    return (int)cudaGetLastError();
}
