// Rows of pages to planes as docs/format.md stores them, and back: for files, for the CPU, and for whoever compares
// bytes.
#include "kvbits/cuda.h"
#include "pack.cuh"

namespace kvb {

constexpr int THREADS = 256;
extern __shared__ __align__(16) unsigned char shared[];

// Of a row.
__device__ __forceinline__ int bytes_of(const kvb_cuda_plane &plane) {
    return plane.dim * plane.width / 8;
}

// 16 tokens of a side of a KV head, for a block of threads: [begin, end) of them, where they lie, and the rows that
// they are elsewhere.
struct Work {
    const kvb_cuda_format *format;
    const kvb_cuda_plane *shapes;
    bool is_value;
    int begin, end, row, n_planes; // row: of token 0, maybe negative
    uint8_t *block, *planes[KVB_MAX_PLANES];
    void *scales;

    __device__ explicit Work(const kvb_cuda_convert_job &p)
        : format(&p.format), shapes(p.shapes), is_value(p.is_value), n_planes(p.n_planes), scales(p.scales) {
        const int first = (p.first / KVB_BLOCK_TOKENS + (int)blockIdx.x) * KVB_BLOCK_TOKENS;
        begin = max(p.first - first, 0);
        end = min(p.first + p.n_tokens - first, KVB_BLOCK_TOKENS);
        row = first - p.first;
        block = begin < end ? block_at(p.place, p.format, row_of(p.place, p.sequence), p.kv_head, first) : nullptr;
        for (int i = 0; i < KVB_MAX_PLANES; i++) {
            planes[i] = p.planes[i];
        }
    }
    // Of pages: scales and planes follow each other in a block of 64 rows.
    __device__ explicit Work(const kvb_cuda_pages_job &p) {
        const int side = blockIdx.z, head = blockIdx.y, page = blockIdx.x / (KVB_CUDA_PAGE_TOKENS / KVB_BLOCK_TOKENS),
                  first = (p.first_page * KVB_CUDA_PAGE_TOKENS) + (int)blockIdx.x * KVB_BLOCK_TOKENS;
        uint8_t *at = p.pages + page * p.page_bytes + head * p.head_bytes + (side ? p.key_bytes : 0);
        format = &p.formats[side];
        shapes = p.shapes[side];
        is_value = side;
        begin = max(p.begin - first, 0);
        end = min(p.end - first, KVB_BLOCK_TOKENS);
        row = first % KVB_CUDA_PAGE_TOKENS;
        n_planes = p.n_planes[side];
        block =
            begin < end ? block_at(p.places[side], *format, row_of(p.places[side], p.sequence), head, first) : nullptr;
        scales = at;
        at += KVB_CUDA_PAGE_TOKENS * format->scale_bytes;
        for (int i = 0; i < KVB_MAX_PLANES; i++) {
            planes[i] = at;
            at += i < n_planes ? KVB_CUDA_PAGE_TOKENS * bytes_of(shapes[i]) : 0;
        }
    }
};

// Values of 16 bits, between a block and rows of them.
__device__ void copy_dense(const Work &w, bool into_block) {
    const int dim = w.format->head_dim;
    for (int i = threadIdx.x; i < (w.end - w.begin) * dim; i += THREADS) {
        const int token = w.begin + i / dim;
        uint16_t *inside = dense_at(*w.format, w.is_value, w.block, token, i % dim),
                 *outside = (uint16_t *)w.planes[0] + (size_t)(w.row + token) * dim + i % dim;
        *(into_block ? inside : outside) = *(into_block ? outside : inside);
    }
}

template <class Job> __global__ void __launch_bounds__(THREADS) to_planes(const __grid_constant__ Job p) {
    const Work w(p);
    if (w.begin >= w.end) {
        return;
    }
    const kvb_cuda_format &f = *w.format;
    const int n = (w.end - w.begin) * f.head_dim;
    uint8_t *codes = shared;
    if (f.bits == 16) {
        copy_dense(w, false);
        return;
    }
    for (int i = threadIdx.x; i < n; i += THREADS) {
        const int token = w.begin + i / f.head_dim, dim = i % f.head_dim;
        codes[token * f.head_dim + dim] = (uint8_t)code_at(f, w.is_value, w.block, token, dim);
    }
    __syncthreads();
    for (int plane = 0; plane < w.n_planes; plane++) {
        const kvb_cuda_plane of = w.shapes[plane];
        const int bytes = bytes_of(of);
        for (int i = threadIdx.x; i < (w.end - w.begin) * bytes; i += THREADS) {
            const int token = w.begin + i / bytes, j = i % bytes;
            const uint8_t *code = codes + token * f.head_dim + of.first + j;
            uint32_t byte = 0;
            for (int k = 0; k < 8 / of.width; k++) {
                byte |= ((uint32_t)code[k * bytes] >> of.low & ((1u << of.width) - 1)) << (k * of.width);
            }
            w.planes[plane][(size_t)(w.row + token) * bytes + j] = (uint8_t)byte;
        }
    }
    for (int token = w.begin + (int)threadIdx.x; token < w.end; token += THREADS) {
        const uint8_t *scale = w.block + kvb_fragment_scale_offset(f.head_dim, f.code, f.scale_bytes, token);
        if (f.scale_bytes == 2) {
            ((uint16_t *)w.scales)[w.row + token] = *(const uint16_t *)scale;
        } else {
            ((uint32_t *)w.scales)[w.row + token] = *(const uint32_t *)scale;
        }
    }
}

template <class Job> __global__ void __launch_bounds__(THREADS) from_planes(const __grid_constant__ Job p) {
    const Work w(p);
    if (w.begin >= w.end) {
        return;
    }
    const kvb_cuda_format &f = *w.format;
    const int n = (w.end - w.begin) * f.head_dim;
    uint8_t *codes = shared;
    uint32_t *words = (uint32_t *)(shared + KVB_BLOCK_TOKENS * ((f.head_dim + 15) / 16 * 16));
    if (f.bits == 16) {
        copy_dense(w, true);
        return;
    }
    for (int i = threadIdx.x; i < n; i += THREADS) {
        const int token = w.begin + i / f.head_dim, dim = i % f.head_dim;
        int code = 0;
        for (int plane = 0; plane < w.n_planes; plane++) {
            const kvb_cuda_plane of = w.shapes[plane];
            const int bytes = bytes_of(of), x = dim - of.first;
            if (x >= 0 && x < of.dim) {
                const uint32_t byte = w.planes[plane][(size_t)(w.row + token) * bytes + x % bytes];
                code |= (int)(byte >> (x / bytes * of.width) & ((1u << of.width) - 1)) << of.low;
            }
        }
        codes[token * f.head_dim + dim] = (uint8_t)code;
    }
    for (int token = w.begin + (int)threadIdx.x; token < w.end; token += THREADS) {
        store_scale(f, w.block, token,
                    f.scale_bytes == 2 ? ((const uint16_t *)w.scales)[w.row + token]
                                       : ((const uint32_t *)w.scales)[w.row + token]);
    }
    __syncthreads();
    pack_block(f, w.is_value, codes, w.begin, w.end, words, w.block);
}

// Codes, and on the way in the words and masks of a block: below 48 KB for every head_dim.
static size_t shared_bytes(const kvb_cuda_format &f) {
    if (f.bits == 16) {
        return 0;
    }
    return (size_t)KVB_BLOCK_TOKENS * ((f.head_dim + 15) / 16 * 16) +
           2 * (size_t)kvb_fragment_code_bytes(f.head_dim, f.code);
}

static dim3 grid(const kvb_cuda_convert_job &job) {
    return (job.first + job.n_tokens - 1) / KVB_BLOCK_TOKENS - job.first / KVB_BLOCK_TOKENS + 1;
}
static dim3 grid(const kvb_cuda_pages_job &job) {
    return dim3(job.n_pages * (KVB_CUDA_PAGE_TOKENS / KVB_BLOCK_TOKENS), job.n_kv_heads, job.n_sides);
}
static size_t shared_bytes(const kvb_cuda_convert_job &job) {
    return shared_bytes(job.format);
}
static size_t shared_bytes(const kvb_cuda_pages_job &job) {
    const size_t k = shared_bytes(job.formats[0]), v = shared_bytes(job.formats[1]);
    return k > v ? k : v;
}

template <class Job> static int launch(void (*kernel)(Job), const Job *job, void *stream) {
    kernel<<<grid(*job), THREADS, shared_bytes(*job), (cudaStream_t)stream>>>(*job);
    return (int)cudaGetLastError();
}

} // namespace kvb

int kvb_cuda_launch_export(const kvb_cuda_convert_job *job, void *stream) {
    return kvb::launch(kvb::to_planes<kvb_cuda_convert_job>, job, stream);
}

int kvb_cuda_launch_import(const kvb_cuda_convert_job *job, void *stream) {
    return kvb::launch(kvb::from_planes<kvb_cuda_convert_job>, job, stream);
}

int kvb_cuda_launch_export_pages(const kvb_cuda_pages_job *job, void *stream) {
    return kvb::launch(kvb::to_planes<kvb_cuda_pages_job>, job, stream);
}

int kvb_cuda_launch_import_pages(const kvb_cuda_pages_job *job, void *stream) {
    return kvb::launch(kvb::from_planes<kvb_cuda_pages_job>, job, stream);
}
