/* Dots to weights in vectors. exp and tanh: Cephes' expf and tanhf (Moshier), to 2 units in the last place. */
#include "cpu/ops.h"
#include "cpu/step.h"
#include "softmax.h"

/* x up to 0; 0 below -87, where the result would be subnormal. */
static inline vf exp_of(vf x) {
    vf n = vf_round(vf_mul(x, vf_all(1.44269504088896341f)));
    n = vf_max(vf_all(-126.0f), n);
    vf r = vf_fma(n, vf_all(-0.693359375f), x);
    r = vf_fma(n, vf_all(2.12194440e-4f), r);
    vf p = vf_all(1.9875691500e-4f);
    p = vf_fma(p, r, vf_all(1.3981999507e-3f));
    p = vf_fma(p, r, vf_all(8.3334519073e-3f));
    p = vf_fma(p, r, vf_all(4.1665795894e-2f));
    p = vf_fma(p, r, vf_all(1.6666665459e-1f));
    p = vf_fma(p, r, vf_all(5.0000001201e-1f));
    vf y = vf_add(vf_fma(p, vf_mul(r, r), r), vf_all(1.0f));
    return vf_if_less(x, vf_all(-87.0f), vf_all(0.0f), vf_mul(y, vf_power_of_two(n)));
}

static inline vf tanh_of(vf x) {
    vf magnitude = vf_abs(x), z = vf_mul(x, x);
    vf p = vf_all(-5.70498872745e-3f);
    p = vf_fma(p, z, vf_all(2.06390887954e-2f));
    p = vf_fma(p, z, vf_all(-5.37397155531e-2f));
    p = vf_fma(p, z, vf_all(1.33314422036e-1f));
    p = vf_fma(p, z, vf_all(-3.33332819422e-1f));
    vf small = vf_fma(vf_mul(p, z), x, x);
    vf e = exp_of(vf_mul(magnitude, vf_all(-2.0f)));
    vf large = vf_divide(vf_sub(vf_all(1.0f), e), vf_add(vf_all(1.0f), e));
    return vf_if_less(magnitude, vf_all(0.625f), small, vf_copy_sign(large, x));
}

static inline vf soften(vf dots, float scale, float softcap) {
    vf logits = vf_mul(dots, vf_all(scale));
    return softcap == 0.0f ? logits : vf_mul(vf_all(softcap), tanh_of(vf_divide(logits, vf_all(softcap))));
}

float KVB_STEP(weigh)(float *dots, uint32_t visible, float scale, float softcap, float *max, float *sum) {
    enum { n = KVB_TILE_TOKENS / VEC_FLOATS };
    vf logits[n], tops = vf_all(*max), masked = vf_all(-INFINITY);
    for (int i = 0; i < n; i++) {
        logits[i] = soften(vf_load(dots + i * VEC_FLOATS), scale, softcap);
        if (visible != UINT32_MAX) {
            logits[i] = vf_if_bit(visible >> (i * VEC_FLOATS), logits[i], masked);
        }
        tops = vf_max(logits[i], tops);
    }
    float top = vf_largest(tops);
    /* With nothing to see so far, -Inf - -Inf must not make a NaN; a NaN logit still must. */
    vf reference = vf_all(top == -INFINITY ? 0.0f : top), added = vf_all(0.0f);
    for (int i = 0; i < n; i++) {
        vf weights = exp_of(vf_sub(logits[i], reference));
        added = vf_add(added, weights);
        vf_store(dots + i * VEC_FLOATS, weights);
    }
    float factor = kvb_softmax_rescale(*max, top);
    *max = top;
    *sum = *sum * factor + vf_sum(added);
    return factor;
}
