/* Buckets of a codebook, for the kernels that encode. */
#include "encode_buckets.h"

/* Whether no two midpoints share one of `many` buckets. */
static int are_apart(const float *midpoints, int n, const kvb_cuda_format *f) {
    for (int i = 1; i < n; i++) {
        if (kvb_bucket_number(f->bucket_factor, f->bucket_offset, f->bucket_step, midpoints[i]) ==
            kvb_bucket_number(f->bucket_factor, f->bucket_offset, f->bucket_step, midpoints[i - 1])) {
            return 0;
        }
    }
    return 1;
}

void kvb_cuda_buckets_fill(const float *midpoints, int n, const uint16_t *half_centroids, kvb_cuda_buckets *to,
                           kvb_cuda_format *f) {
    const float least_subnormal = 0x1p-149f, range = midpoints[n - 1] - midpoints[0];
    int many = 16;
    f->n_buckets = 0;
    f->bucket_factor = range > 0.0f ? 1.0f / range : 1.0f;
    f->bucket_offset = -midpoints[0] * f->bucket_factor;
    if (!isfinite(f->bucket_factor) || !isfinite(f->bucket_offset)) {
        return;
    }
    do {
        many *= 2;
        f->bucket_step = (float)(many - 1) * least_subnormal;
    } while (!are_apart(midpoints, n, f) && many < KVB_CUDA_MAX_BUCKETS);
    if (!are_apart(midpoints, n, f)) {
        return;
    }
    f->n_buckets = many;
    for (int bucket = 0, code = 0; bucket < many; bucket++) {
        const int has_midpoint = code < n && kvb_bucket_number(f->bucket_factor, f->bucket_offset, f->bucket_step,
                                                               midpoints[code]) == (uint32_t)bucket;
        to->midpoints[bucket] = has_midpoint ? midpoints[code] : INFINITY;
        to->below[bucket] = (uint32_t)half_centroids[code] << 16 | (uint32_t)code;
        code += has_midpoint;
        to->above[bucket] = (uint32_t)half_centroids[code] << 16 | (uint32_t)code;
    }
}

/* The bucket of a value as if the ring began at the lowest. */
static int ring_number(const kvb_cuda_format *f, float value) {
    return ((int)(kvb_ring_bits(f->ring_factor, value) - kvb_ring_bits(f->ring_factor, 0.0f)) >> 2) + f->n_ring / 2;
}

void kvb_cuda_ring_fill(const float *midpoints, int n, const uint16_t *half_centroids, kvb_cuda_buckets *to,
                        kvb_cuda_format *f) {
    const float reach = KVB_RING_REACH * f->sqrt_dim;
    f->n_ring = 0;
    if (f->scale_kind == KVB_SCALE_NORM || midpoints[0] <= -reach || midpoints[n - 1] >= reach) {
        return; /* a norm that is rounded, or held to the largest half, bounds nothing */
    }
    int many = 16, apart = 0;
    while (!apart && many < KVB_CUDA_MAX_RING) {
        f->n_ring = many *= 2;
        f->ring_factor = 4.0f * (float)(many / 2 - 1) / reach;
        apart = 1;
        for (int i = 1; i < n; i++) {
            apart &= ring_number(f, midpoints[i]) != ring_number(f, midpoints[i - 1]);
        }
    }
    if (!apart) {
        f->n_ring = 0;
        return;
    }
    for (int i = 0, code = 0; i < many; i++) {
        const int has_midpoint = code < n && ring_number(f, midpoints[code]) == i, at = (i + many / 2) % many;
        to->midpoints[at] = has_midpoint ? midpoints[code] : INFINITY;
        to->below[at] = (uint32_t)half_centroids[code] << 16 | (uint32_t)code;
        code += has_midpoint;
        to->above[at] = (uint32_t)half_centroids[code] << 16 | (uint32_t)code;
    }
}
