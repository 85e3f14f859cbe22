// One tuned kernel: KVB_INSTANCE(k_bits, v_bits, k_dim, v_dim) in a file of its own, so that files compile side by side.
#pragma once
#include "attend_decode.cuh"
#include "attend_launch.h"

namespace kvb {

// Tiles as large as measurements liked them: 4 to 8 KB, more tokens and more warps when few bits make instructions dear.
template <int K, int V, int DK, int DV, bool SPLIT> struct Shape {
    static constexpr bool small = DK <= 128 && DV <= 128;
    // Copies that are whole lines of 128 bytes run faster: a page at a time where it fits.
    template <int TOKENS, int WARPS> static constexpr bool fits() {
        return Decode<K, V, DK, DV, TOKENS, WARPS, 2, SPLIT>::shared_bytes <= 232448;
    }
    static constexpr int warps = K + V <= 4 && small && !SPLIT && fits<64, 12>() ? 12 : fits<64, 8>() ? 8 : fits<64, 4>() && small ? 4 : 8;
    static constexpr int tokens = fits<64, warps>() ? 64 : fits<32, warps>() ? 32 : 16;
    using D = Decode<K, V, DK, DV, tokens, warps, 2, SPLIT>;
};

template <class D> int prepare() {
    return (int)cudaFuncSetAttribute(decode<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, D::shared_bytes);
}
template <class D> int launch(const kvb_cuda_attend *job, void *stream) {
    decode<D><<<job->n_blocks, D::WARPS * 32, D::shared_bytes, (cudaStream_t)stream>>>(*job);
    return (int)cudaGetLastError();
}

} // namespace kvb

#define KVB_INSTANCE_OF(K, V, DK, DV, SPLIT, NAME)                                                                     \
    extern "C" const kvb_cuda_attend_kernel NAME;                                                                      \
    const kvb_cuda_attend_kernel NAME = {                                                                              \
        K, V, DK, DV, SPLIT, kvb::prepare<kvb::Shape<K, V, DK, DV, SPLIT>::D>, kvb::launch<kvb::Shape<K, V, DK, DV, SPLIT>::D>};
#define KVB_INSTANCE(K, V, DK, DV)                                                                                     \
    KVB_INSTANCE_OF(K, V, DK, DV, false, kvb_cuda_attend_##K##_##V##_##DK##_##DV)                                      \
    KVB_INSTANCE_OF(K, V, DK, DV, true, kvb_cuda_attend_##K##_##V##_##DK##_##DV##_precise)
