/* The search for a code, prepared: equal intervals of values, the buckets, so narrow that in none lies more than one
 * midpoint. A value's bucket and one comparison then give its code. */
#ifndef KVB_CUDA_ENCODE_BUCKETS_H
#define KVB_CUDA_ENCODE_BUCKETS_H

#include "page_job.h"

#include <math.h>
#include <string.h>

#define KVB_CUDA_MAX_BUCKETS 1024

/* Of bucket i the midpoint, Inf where there is none, and the codes of values up to it and above it, each with its
 * centroid's half in the upper 16 bits. */
typedef struct kvb_cuda_buckets {
    float midpoints[KVB_CUDA_MAX_BUCKETS];
    uint32_t below[KVB_CUDA_MAX_BUCKETS];
    uint32_t apart[16]; /* in shared memory: a bucket's two codes are in different banks */
    uint32_t above[KVB_CUDA_MAX_BUCKETS];
} kvb_cuda_buckets;

/* Any number that does not fall as value rises would do, for the comparison decides; the host and the device must only
 * agree on it. NaN is in bucket 0. `step` is a number of buckets times the least subnormal, so that the bits of the
 * last product are the number itself. */
#ifdef __CUDACC__
static __device__ __forceinline__ uint32_t kvb_bucket_number(float factor, float offset, float step, float value) {
    return __float_as_uint(__fmul_rn(__saturatef(__fmaf_rn(value, factor, offset)), step));
}
#else
static inline uint32_t kvb_bucket_number(float factor, float offset, float step, float value) {
    float at = fmaf(value, factor, offset);
    at = at > 0.0f ? at < 1.0f ? at : 1.0f : 0.0f;
    at *= step;
    uint32_t bits;
    memcpy(&bits, &at, sizeof bits);
    return bits;
}
#endif

/* Where values are known to be of magnitude at most KVB_RING_REACH * sqrt(head_dim), as those that a scale of the row's
 * own norm divides are, buckets need no ends: they are the low bits of a sum, in turn, four bytes each, and `factor` is
 * four times buckets to 1. A row that is not finite may get anything, but a bucket. */
#define KVB_CUDA_MAX_RING 256
#define KVB_RING_REACH 1.4f /* subnormal squares are rounded down by a third at most; 36 / 32 of a searched scale */
#define KVB_RING_ZERO 0x1.8p23f
#ifdef __CUDACC__
static __device__ __forceinline__ uint32_t kvb_ring_bits(float factor, float value) {
    return __float_as_uint(__fmaf_rn(value, factor, KVB_RING_ZERO));
}
#else
static inline uint32_t kvb_ring_bits(float factor, float value) {
    const float at = fmaf(value, factor, KVB_RING_ZERO);
    uint32_t bits;
    memcpy(&bits, &at, sizeof bits);
    return bits;
}

/* The fewest buckets for the format's `n` midpoints, from 32 up; n_buckets stays 0 where the most are too few. */
void kvb_cuda_buckets_fill(const float *midpoints, int n, const uint16_t *half_centroids, kvb_cuda_buckets *to,
                           kvb_cuda_format *format);
/* The same of a ring, of a format whose scale_kind and sqrt_dim are there; n_ring stays 0 where it has no use. */
void kvb_cuda_ring_fill(const float *midpoints, int n, const uint16_t *half_centroids, kvb_cuda_buckets *to,
                        kvb_cuda_format *format);
#endif

#endif
