// One pair's tuned kernels, for few queries and for many: KVB_INSTANCE(k_bits, v_bits, k_dim, v_dim) in a file of its
// own, so that files compile side by side.
#pragma once
#include "attend_decode.cuh"
#include "attend_launch.h"
#include "prefill.cuh"

#ifndef KVB_CUDA_WARPGROUPS
#define KVB_CUDA_WARPGROUPS 0
#endif

namespace kvb {

// As many warps to a tile as keep 50 to 100 KB in flight. Measured: more makes multiprocessors unequal, and the slowest
// is waited for; four warps to a tile cost the middle widths more than they gain.
template <int K, int V, int DK, int DV, bool SPLIT> struct Shape {
    static constexpr int trellis = KVB_FRAGMENT_TRELLIS;
    static constexpr bool few_bits = K + V <= 4 || (K + V <= 6 && DK % 128 == 0),
                          sixes = K == 6 && (V == 6 || V == 4) && DK == 128, are_paths = K > trellis &&V > trellis,
                          paths = are_paths && (K + V <= 2 * trellis + 6 || (K == T5 && V == T5)) && DK <= 128 &&
                                  DV <= 128; // the tables of 4 bits leave no room for more warps, 6 bits need none
    static constexpr bool many = ((few_bits || sixes) && !SPLIT) || paths; // instructions are what slows these
    static constexpr int warps = many ? 12 : 8, most = paths ? 131072 : 106496;
    template <int SHARE> using With = Decode<K, V, DK, DV, SHARE, warps, 2, SPLIT>;
    template <class D> static constexpr bool fits = D::ring <= most &&D::shared_bytes <= 232448;
    static constexpr int share = fits<With<1>> ? 1 : fits<With<2>> ? 2 : 4;
    using D = With<share>;
    // For at most four columns. Elsewhere it gained little or nothing, at 3/3 and 256 coordinates it lost.
    static constexpr bool folds =
        !SPLIT && share < 4 && K == V && (K == 4 || K == 2 || K == T2) && DK == DV && DK <= 128;
    using Folded = Decode<K, V, DK, DV, share, warps, 2, SPLIT, folds>;
};

template <class D> int launch(const kvb_cuda_attend_job *job, void *stream) {
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t how = {};
    how.gridDim = dim3((unsigned)job->n_blocks), how.blockDim = dim3(D::WARPS * 32);
    how.dynamicSmemBytes = D::shared_bytes, how.stream = (cudaStream_t)stream;
    how.attrs = &early, how.numAttrs = job->starts_early ? 1 : 0;
    return (int)cudaLaunchKernelEx(&how, decode<D>, *job);
}
// Few queries: `Folded` where columns allow it.
template <class D, class Folded> int launch_few(const kvb_cuda_attend_job *job, void *stream) {
    const bool folds = Folded::FOLD && (size_t)job->group * (size_t)job->max_n_q <= Folded::columns / Folded::folds;
    return folds ? launch<Folded>(job, stream) : launch<D>(job, stream);
}
template <class D> struct Clusters {
    cudaLaunchAttribute cluster = {};
    cudaLaunchConfig_t how = {};

    Clusters(int n_parts, size_t tiles, void *stream) {
        cluster.id = cudaLaunchAttributeClusterDimension;
        cluster.val.clusterDim.x = (unsigned)n_parts, cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
        how.gridDim = dim3((unsigned)(tiles * n_parts)), how.blockDim = dim3(D::warps * 32);
        how.dynamicSmemBytes = D::shared_bytes, how.stream = (cudaStream_t)stream;
        how.attrs = &cluster, how.numAttrs = 1;
    }
};
template <class D> int launch_many(const kvb_cuda_attend_job *job, int n_parts, void *stream) {
    const size_t tiles = kvb_cuda_tiles(job->n_sequences, job->n_kv_heads, job->group, job->max_n_q, D::ROWS);
    Clusters<D> clusters(n_parts, tiles, stream);
    return (int)cudaLaunchKernelEx(&clusters.how, prefill<D>, *job, (int)(tiles / job->n_sequences / job->n_kv_heads),
                                   n_parts);
}
template <class D> int most_clusters(int n_parts, int *out) {
    Clusters<D> clusters(n_parts, 1, nullptr);
    return (int)cudaOccupancyMaxActiveClusters(out, prefill<D>, &clusters.how);
}

template <int K, int V, int DK, int DV, bool SPLIT> struct Kernels {
    using Few = typename Shape<K, V, DK, DV, SPLIT>::D;
    using Folded = typename Shape<K, V, DK, DV, SPLIT>::Folded;
    // Keys come in panels of 64 coordinates, small ones also in half of that. Builds without code for 9.0a have none.
    static constexpr bool has_many = KVB_CUDA_WARPGROUPS && DK % (DK > 128 ? 64 : 32) == 0 && DV % 32 == 0;

    static int prepare() {
        cudaError_t e =
            cudaFuncSetAttribute(decode<Few>, cudaFuncAttributeMaxDynamicSharedMemorySize, Few::shared_bytes);
        if (e == cudaSuccess) {
            e = cudaFuncSetAttribute(decode<Folded>, cudaFuncAttributeMaxDynamicSharedMemorySize, Folded::shared_bytes);
        }
        if constexpr (has_many) {
            using Many = Prefill<K, V, DK, DV, SPLIT>;
            if (e == cudaSuccess) {
                e = cudaFuncSetAttribute(prefill<Many>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         Many::shared_bytes);
            }
        }
        return (int)e;
    }
    static constexpr kvb_cuda_attend_kernel make() {
        kvb_cuda_attend_kernel kernel = {K, V, DK, DV, SPLIT, prepare, launch_few<Few, Folded>, nullptr, nullptr, 0, 0};
        if constexpr (has_many) {
            using Many = Prefill<K, V, DK, DV, SPLIT>;
            kernel.launch_many = launch_many<Many>, kernel.most_clusters = most_clusters<Many>;
            kernel.many_columns = Many::ROWS, kernel.many_takes_exact = Many::takes_exact;
        }
        return kernel;
    }
};

} // namespace kvb

#define KVB_INSTANCE_OF(K, V, DK, DV, SPLIT, NAME)                                                                     \
    extern "C" const kvb_cuda_attend_kernel NAME;                                                                      \
    const kvb_cuda_attend_kernel NAME = kvb::Kernels<K, V, DK, DV, SPLIT>::make();
#define KVB_INSTANCE(K, V, DK, DV)                                                                                     \
    KVB_INSTANCE_OF(K, V, DK, DV, false, kvb_cuda_attend_##K##_##V##_##DK##_##DV)                                      \
    KVB_INSTANCE_OF(K, V, DK, DV, true, kvb_cuda_attend_##K##_##V##_##DK##_##DV##_precise)
