// What an attention kernel asks for before its pages.
#pragma once
#include "attend_job.h"

namespace kvb {

// What is small and wanted by every block, one after another: asked for before the pages, since behind their copies it
// would wait for all of them.
template <class D> struct Early {
    static constexpr int threads = D::WARPS * 32, each = (D::early_words + threads - 1) / threads;
    uint32_t words[each];

    __device__ static __forceinline__ const uint32_t *source(const kvb_cuda_attend_job &p, int at) {
        if (at < D::k_words) {
            return (const uint32_t *)p.k.centroids + at;
        }
        at -= D::k_words;
        if (at < D::v_words) {
            return (const uint32_t *)p.v.centroids + at;
        }
        at -= D::v_words;
        if (at < D::k_sign_words) {
            return p.k.signs ? p.k.signs + at : nullptr;
        }
        at -= D::k_sign_words;
        return at < D::v_sign_words && p.v.signs ? p.v.signs + at : nullptr;
    }
    __device__ __forceinline__ void load(const kvb_cuda_attend_job &p) {
#pragma unroll
        for (int i = 0; i < each; i++) {
            const uint32_t *from = source(p, threadIdx.x + i * threads);
            words[i] = from ? __ldg(from) : 0;
        }
    }
    __device__ __forceinline__ void store(uint32_t *to) const {
#pragma unroll
        for (int i = 0; i < each; i++) {
            if (threadIdx.x + i * threads < D::early_words) {
                to[threadIdx.x + i * threads] = words[i];
            }
        }
    }
};

} // namespace kvb
