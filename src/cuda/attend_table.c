/* The tuned kernels, found by what they serve. KVB_CUDA_NO_TUNED: there are none in this build. */
#include "attend_launch.h"

#ifndef KVB_CUDA_NO_TUNED
#define KVB_ATTEND(K, V, DK, DV)                                                                                       \
    extern const kvb_cuda_attend_kernel kvb_cuda_attend_##K##_##V##_##DK##_##DV,                                       \
        kvb_cuda_attend_##K##_##V##_##DK##_##DV##_precise;
#include "attend_instances.def"
#undef KVB_ATTEND
#endif

static const kvb_cuda_attend_kernel *const kernels[] = {
#ifndef KVB_CUDA_NO_TUNED
#define KVB_ATTEND(K, V, DK, DV)                                                                                       \
    &kvb_cuda_attend_##K##_##V##_##DK##_##DV, &kvb_cuda_attend_##K##_##V##_##DK##_##DV##_precise,
#include "attend_instances.def"
#undef KVB_ATTEND
#endif
    NULL};

const kvb_cuda_attend_kernel *kvb_cuda_attend_find(int k_code, int v_code, int k_dim, int v_dim, int precise) {
    for (size_t i = 0; kernels[i]; i++) {
        const kvb_cuda_attend_kernel *k = kernels[i];
        if (k->k_code == k_code && k->v_code == v_code && k->k_dim == k_dim && k->v_dim == v_dim &&
            k->precise == precise) {
            return k;
        }
    }
    return NULL;
}

size_t kvb_cuda_attend_partials(int n_blocks, int v_dim) {
    return (size_t)n_blocks * 2 * 8 * ((size_t)v_dim + 2); /* a share ends at most two items that others share */
}

size_t kvb_cuda_attend_items(int n_sequences, int n_kv_heads, int group, int max_n_q) {
    return (size_t)n_sequences * (size_t)n_kv_heads * (((size_t)group * (size_t)max_n_q + 7) / 8);
}
