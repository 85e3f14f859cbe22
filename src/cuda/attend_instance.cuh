// One pair's tuned kernels, for few queries and for many: KVB_INSTANCE(k_bits, v_bits, k_dim, v_dim) in a file of its
// own, so that files compile side by side.
#pragma once
#include "attend_decode.cuh"
#include "attend_launch.h"
#include "attend_prefill.cuh"

namespace kvb {

// As many warps to a tile as keep 50 to 100 KB in flight. Measured: more makes multiprocessors unequal, and the slowest
// is waited for; four warps to a tile cost the middle widths more than they gain.
template <int K, int V, int DK, int DV, bool SPLIT> struct Shape {
    static constexpr int trellis = KVB_FRAGMENT_TRELLIS;
    static constexpr bool few_bits = K + V <= 4 && !SPLIT, paths = K > trellis &&V > trellis &&K + V <= 2 * trellis + 6;
    static constexpr bool many = (few_bits || paths) && DK <= 128 && DV <= 128; // instructions are what slows these
    static constexpr int warps = many ? 12 : 8;
    template <int SHARE> using With = Decode<K, V, DK, DV, SHARE, warps, 2, SPLIT>;
    static constexpr int most = 106496;
    static constexpr int share = With<1>::ring <= most ? 1 : With<2>::ring <= most ? 2 : 4;
    using D = With<share>;
};

template <class D> int launch(const kvb_cuda_attend_job *job, void *stream) {
    decode<D><<<job->n_blocks, D::WARPS * 32, D::shared_bytes, (cudaStream_t)stream>>>(*job);
    return (int)cudaGetLastError();
}
template <class D> int launch_many(const kvb_cuda_attend_job *job, void *stream) {
    const int tiles = (int)(((long long)job->group * job->max_n_q + D::ROWS - 1) / D::ROWS);
    prefill<D><<<job->n_sequences * job->n_kv_heads * tiles, D::warps * 32, D::shared_bytes, (cudaStream_t)stream>>>(
        *job, tiles);
    return (int)cudaGetLastError();
}
template <int K, int V, int DK, int DV, bool SPLIT> struct Kernels {
    using Few = typename Shape<K, V, DK, DV, SPLIT>::D;
    using Launch = int (*)(const kvb_cuda_attend_job *, void *);
    // Keys come in panels of 64 coordinates; sums of larger heads have no room in registers.
    static constexpr bool has_many = (DK == 64 || DK == 128) && (DV == 64 || DV == 128);

    static int prepare() {
        cudaError_t e =
            cudaFuncSetAttribute(decode<Few>, cudaFuncAttributeMaxDynamicSharedMemorySize, Few::shared_bytes);
        if constexpr (has_many) {
            using Many = Prefill<K, V, DK, DV, SPLIT>;
            if (e == cudaSuccess) {
                e = cudaFuncSetAttribute(prefill<Many>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         Many::shared_bytes);
            }
        }
        return (int)e;
    }
    static constexpr Launch many() {
        if constexpr (has_many) {
            return launch_many<Prefill<K, V, DK, DV, SPLIT>>;
        } else {
            return nullptr;
        }
    }
};

} // namespace kvb

#define KVB_INSTANCE_OF(K, V, DK, DV, SPLIT, NAME)                                                                     \
    extern "C" const kvb_cuda_attend_kernel NAME;                                                                      \
    const kvb_cuda_attend_kernel NAME = {K,                                                                            \
                                         V,                                                                            \
                                         DK,                                                                           \
                                         DV,                                                                           \
                                         SPLIT,                                                                        \
                                         kvb::Kernels<K, V, DK, DV, SPLIT>::prepare,                                   \
                                         kvb::launch<kvb::Shape<K, V, DK, DV, SPLIT>::D>,                              \
                                         kvb::Kernels<K, V, DK, DV, SPLIT>::many()};
#define KVB_INSTANCE(K, V, DK, DV)                                                                                     \
    KVB_INSTANCE_OF(K, V, DK, DV, false, kvb_cuda_attend_##K##_##V##_##DK##_##DV)                                      \
    KVB_INSTANCE_OF(K, V, DK, DV, true, kvb_cuda_attend_##K##_##V##_##DK##_##DV##_precise)
