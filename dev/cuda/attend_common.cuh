// What the programs beside it share: memory on the device, matrices, and the ways in.
#pragma once
#include "../../src/cuda/attend_launch.h"
#include "../../src/cuda/fragments.h"

#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "codebook_tables.inc"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        cudaError_t e = (call);                                                                                        \
        if (e != cudaSuccess) {                                                                                        \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(e));                            \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)

static int multiprocessors;
static std::vector<void *> memory;

template <class T> T *allocate(size_t n) {
    void *p;
    OK(cudaMalloc(&p, std::max<size_t>(n, 1) * sizeof(T)));
    memory.push_back(p);
    return (T *)p;
}
template <class T> T *upload(const std::vector<T> &v) {
    T *d = allocate<T>(v.size());
    OK(cudaMemcpy(d, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice));
    return d;
}
// As the library launches it.
static int launch_many(const kvb_cuda_attend_kernel *kernel, const kvb_cuda_attend_job &p) {
    int clusters[KVB_CUDA_MOST_PARTS + 1] = {};
    for (int n = 2; n <= KVB_CUDA_MOST_PARTS; n *= 2) {
        OK((cudaError_t)kernel->most_clusters(n, &clusters[n]));
    }
    const size_t tiles = kvb_cuda_tiles(p.n_sequences, p.n_kv_heads, p.group, p.max_n_q, kernel->many_columns);
    return kernel->launch_many(&p, kvb_cuda_parts(tiles, clusters), nullptr);
}
static void free_all() {
    for (void *p : memory) {
        OK(cudaFree(p));
    }
    memory.clear();
}

// Paley's matrix of order q + 1, q prime, q % 4 == 3; a doubled one for the other orders.
static std::vector<uint64_t> hadamard_of(int order) {
    if (order == 1) {
        return {0};
    }
    const bool doubled = order == 28 || order == 36; // Paley's second, of a matrix of order q + 1 with q % 4 == 1
    int q = (doubled ? order / 2 : order) - 1;
    std::vector<uint64_t> rows(order, 0);
    auto residue = [&](int x) {
        x = (x % q + q) % q;
        for (int i = 1; i < q; i++) {
            if (i * i % q == x) {
                return 1;
            }
        }
        return x == 0 ? 0 : -1;
    };
    for (int i = 0; i < order && doubled; i++) {
        for (int j = 0; j < order; j++) {
            const int a = i / 2, b = j / 2, s = a == b ? 0 : a == 0 || b == 0 ? 1 : residue(a - b);
            const bool both = i % 2 && j % 2;
            bool negative = s ? (s < 0) != both : i % 2 || j % 2;
            rows[i] |= (uint64_t)negative << j;
        }
    }
    for (int i = 0; i < order && !doubled; i++) {
        for (int j = 0; j < order; j++) {
            int s = i == 0 && j == 0 ? 0 : i == 0 ? 1 : j == 0 ? -1 : residue(i - j);
            s += i == j;
            rows[i] |= (uint64_t)(s < 0) << j;
        }
    }
    return rows;
}

static int order_of(int dim) {
    for (int m : {1, 12, 20, 28, 36}) {
        int run = dim / m;
        if (dim % m == 0 && (run & (run - 1)) == 0) {
            return m;
        }
    }
    return 0;
}
