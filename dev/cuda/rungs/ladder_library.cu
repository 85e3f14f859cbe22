// The ladder's best rung behind three plain functions, for compare_torch.py:
//     nvcc -std=c++17 -O3 -gencode arch=compute_90a,code=sm_90a -shared -Xcompiler -fPIC ladder_library.cu -o
//     libladder.so
#include "decode.cuh"

#include <algorithm>
#include <random>
#include <vector>

namespace {

struct Run {
    kvb::DecodeArguments arguments;
    int items, pages_per_sequence;
    size_t bytes;
    void (*launch)(const Run &, cudaStream_t);
    std::vector<void *> memory;
};

template <class T> T *allocate(Run *run, size_t n) {
    void *p = nullptr;
    if (cudaMalloc(&p, n * sizeof(T)) != cudaSuccess) {
        return nullptr;
    }
    run->memory.push_back(p);
    return (T *)p;
}

template <class T> T *upload(Run *run, const std::vector<T> &v) {
    T *p = allocate<T>(run, v.size());
    return p && cudaMemcpy(p, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess ? p : nullptr;
}

__global__ void fill(uint32_t *words, size_t n, size_t tile_words, size_t scales_at) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
        uint32_t x = (uint32_t)(i * 2654435761u) ^ (uint32_t)(i >> 7) * 40503u;
        x ^= x >> 15, x *= 2246822519u, x ^= x >> 13;
        words[i] = i % tile_words < scales_at ? x : 0x3c003a00u; // scales 1 and 0.75
    }
}

template <int K, int V, int DIM, int TOKENS, int WARPS> void launch(const Run &run, cudaStream_t stream) {
    using D = kvb::Decode<K, V, DIM, TOKENS, WARPS, 2>;
    kvb::decode<K, V, D><<<run.items * run.arguments.splits, D::WARPS * 32, D::shared_bytes, stream>>>(run.arguments);
}

template <int K, int V, int DIM, int TOKENS, int WARPS>
Run *open(int n_heads, int n_kv_heads, int batch, int n_tokens) {
    using D = kvb::Decode<K, V, DIM, TOKENS, WARPS, 2>;
    using T = typename D::T;
    Run *run = new Run();
    auto &p = run->arguments;
    std::mt19937 random(1);
    const int pages = (n_tokens + D::PAGE - 1) / D::PAGE;
    run->items = batch * n_kv_heads;
    run->bytes = (size_t)run->items * n_tokens / TOKENS * T::bytes;
    const size_t pool_bytes = (size_t)batch * pages * n_kv_heads * D::head_bytes;
    uint8_t *pool = allocate<uint8_t>(run, pool_bytes);
    fill<<<1024, 256>>>((uint32_t *)pool, pool_bytes / 4, T::bytes / 4, T::scales / 4);
    std::vector<int32_t> table((size_t)batch * pages), lengths(batch, n_tokens);
    for (size_t i = 0; i < table.size(); i++) {
        table[i] = (int32_t)i;
    }
    std::shuffle(table.begin(), table.end(), random);
    std::normal_distribution<float> normal;
    std::vector<float> q((size_t)batch * n_heads * DIM);
    for (float &x : q) {
        x = normal(random);
    }
    std::vector<half> centroids(256);
    for (int i = 0; i < 256; i++) {
        centroids[i] =
            __float2half(((float)(i % (1 << std::max(K, V))) + 0.5f) / (float)(1 << std::max(K, V)) * 4.0f - 2.0f);
    }
    p.q = upload(run, q), p.table = upload(run, table), p.lengths = upload(run, lengths), p.pool = pool;
    p.k_centroids = p.v_centroids = upload(run, centroids),
    p.k_signs = p.v_signs = upload(run, std::vector<uint32_t>(32, 0x5a5a1234u));
    p.table_stride = pages, p.n_kv_heads = n_kv_heads, p.group = n_heads / n_kv_heads,
    p.scale = 1.0f / std::sqrt((float)DIM);
    p.splits = run->items <= 132 ? 132 / run->items : 1;
    p.out = allocate<float>(run, q.size()),
    p.partials = allocate<float>(run, (size_t)run->items * p.splits * 8 * (DIM + 2));
    p.counters = allocate<uint32_t>(run, run->items);
    cudaMemset(p.counters, 0, run->items * 4);
    cudaFuncSetAttribute(kvb::decode<K, V, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, D::shared_bytes);
    run->launch = launch<K, V, DIM, TOKENS, WARPS>;
    return run;
}

} // namespace

extern "C" {

// NULL for what has no instance here or no memory.
void *ladder_open(int k_bits, int v_bits, int dim, int n_heads, int n_kv_heads, int batch, int n_tokens) {
#define INSTANCE(K, V, DIM, TOKENS, WARPS)                                                                             \
    if (k_bits == K && v_bits == V && dim == DIM) {                                                                    \
        return open<K, V, DIM, TOKENS, WARPS>(n_heads, n_kv_heads, batch, n_tokens);                                   \
    }
    INSTANCE(8, 8, 128, 32, 8)
    INSTANCE(6, 6, 128, 32, 8)
    INSTANCE(5, 5, 128, 32, 8)
    INSTANCE(6, 4, 128, 32, 8)
    INSTANCE(4, 4, 128, 32, 8)
    INSTANCE(3, 3, 128, 64, 8)
    INSTANCE(2, 2, 128, 64, 12)
    INSTANCE(8, 8, 256, 16, 8)
    INSTANCE(4, 4, 256, 32, 8)
    INSTANCE(2, 2, 256, 64, 8)
    INSTANCE(4, 4, 64, 64, 8)
#undef INSTANCE
    return nullptr;
}

int ladder_run(const void *handle, void *stream) {
    const Run *run = (const Run *)handle;
    run->launch(*run, (cudaStream_t)stream);
    return (int)cudaGetLastError();
}

size_t ladder_bytes(const void *handle) {
    return ((const Run *)handle)->bytes;
}

void ladder_close(void *handle) {
    Run *run = (Run *)handle;
    for (void *p : run->memory) {
        cudaFree(p);
    }
    delete run;
}
}
