/* What the kernels that write and read pages are told: device pointers and numbers, validated by whoever fills them. */
#ifndef KVB_CUDA_PAGE_JOB_H
#define KVB_CUDA_PAGE_JOB_H

#include "kvbits/kvbits.h"

#include <stddef.h>
#include <stdint.h>

/* One side's format, with tables on the device. */
typedef struct kvb_cuda_format {
    int head_dim, bits, scale_bytes;    /* 16 bits: values of `dense`, no scales, and nothing else counts */
    int code;                           /* as fragments.h numbers them; of half a bit, whole bits in `bits` */
    int code_bytes, block_bytes;        /* of a block, as fragments.h says */
    int dense;                          /* kvb_dtype */
    int levels;                         /* of half a bit those of both halves, in the tables one behind the other */
    int trellis_states, trellis_memory; /* 0: a scalar code; bits of a state */
    uint32_t taps[2];                   /* bit k: the input k coordinates before counts in this bit of a subset */
    int scale_kind;                     /* kvb_scale_kind */
    int rotates, hadamard_order;
    float inverse_sqrt_dim, sqrt_dim;
    const float *centroids, *midpoints; /* `levels`; a code's last midpoint is Inf, of a trellis code the last four */
    /* The search by buckets (encode_buckets.h); n_buckets 0: the midpoints are too uneven for it, or of half a bit. */
    int n_buckets;
    float bucket_factor, bucket_offset, bucket_step;
    const struct kvb_cuda_buckets *buckets;
    int n_ring; /* 0: none */
    float ring_factor;
    const struct kvb_cuda_buckets *ring;
    const uint16_t *half_centroids;
    const uint32_t *signs;      /* bit i % 32 of word i / 32 */
    const uint32_t *sign_pairs; /* the same, bits 15 and 31 of a word to a pair; of every 16 coordinates pairs 0, 1, 4,
                                   5, then 2, 3, 6, 7 */
    const uint64_t *hadamard;   /* rows of bits, NULL when the order is 1 */
} kvb_cuda_format;

/* Where pages of a side lie: of head h of the page that a table calls p at pool + p * page_stride + h * head_bytes. */
typedef struct kvb_cuda_place {
    uint8_t *pool;
    size_t page_stride, head_bytes;
    const int32_t *sequences, *table, *first_page; /* as in kvb_cuda_pages */
    size_t table_stride;
} kvb_cuda_place;

/* A plane of packed rows: bits `low` and up, `width` of them, of `dim` coordinates. */
typedef struct kvb_cuda_plane {
    int first, dim, low, width;
} kvb_cuda_plane;

typedef struct kvb_cuda_append_job {
    kvb_cuda_format formats[2]; /* K, V */
    kvb_cuda_place places[2];
    const void *rows[2]; /* [row][KV head][head_dim] */
    int dtype;           /* kvb_dtype */
    int n_sides;         /* 2, or 1: keys alone, of a latent layer */
    int n_sequences, n_kv_heads, most_rows;
    const int32_t *row_begin, *lengths, *packed_ends;
    const float *k_mean; /* [KV head][head_dim], which packed keys are encoded less; or NULL */
    /* Exact tokens, [sequence][token, or slot of the ring][KV head][head_dim] values of 16 bits. */
    uint16_t *exact_first[2], *exact_last[2]; /* K, V */
    int n_exact_first, n_exact_last, exact_last_slots;
    int dense; /* kvb_dtype of them */
} kvb_cuda_append_job;

/* Rows of one KV head of one sequence, to or from planes. */
typedef struct kvb_cuda_convert_job {
    kvb_cuda_format format;
    kvb_cuda_place place;
    int is_value, sequence, kv_head, first, n_tokens;
    int n_planes;
    kvb_cuda_plane shapes[KVB_MAX_PLANES];
    uint8_t *planes[KVB_MAX_PLANES];
    void *scales;
} kvb_cuda_convert_job;

/* Pages of a sequence, to or from pages as kvb_page_block lays them out: tokens [begin, end) of them. */
typedef struct kvb_cuda_pages_job {
    kvb_cuda_format formats[2]; /* K, V */
    kvb_cuda_place places[2];
    int n_sides; /* 2, or 1: keys alone */
    int sequence, n_kv_heads, begin, end;
    int first_page, n_pages; /* as the table counts, without its first_page */
    int n_planes[2];
    kvb_cuda_plane shapes[2][KVB_MAX_PLANES];
    uint8_t *pages;                           /* of first_page */
    size_t page_bytes, head_bytes, key_bytes; /* from page to page, from head to head, from keys to values */
} kvb_cuda_pages_job;

/* Rows of a sequence, all KV heads, to values. */
typedef struct kvb_cuda_decode_job {
    kvb_cuda_format format;
    kvb_cuda_place place;
    int is_value, sequence, n_kv_heads, first, n_tokens;
    int dim;                              /* the first so many values of each row */
    const int32_t *lengths, *packed_ends; /* of the row; lengths NULL: length and packed_end count */
    int length, packed_end;
    const float *mean; /* [KV head][head_dim], or NULL */
    const uint16_t *exact_first, *exact_last;
    int n_exact_first, n_exact_last, exact_last_slots, dense;
    void *out; /* [token][KV head][dim] */
    int dtype;
} kvb_cuda_decode_job;

typedef struct kvb_cuda_merge_job {
    void *out;
    float *lse;
    const void *more_out;
    const float *more_lse;
    size_t n_rows;
    int dtype, dim;
} kvb_cuda_merge_job;

#ifdef __cplusplus
extern "C" {
#endif

/* Each queues its kernel on the stream; a cudaError_t. Jobs of one append may run at the same time: they are different
 * layers'. */
int kvb_cuda_launch_append(const kvb_cuda_append_job *jobs, int n, void *stream);
int kvb_cuda_launch_advance(int32_t *lengths, const int32_t *sequences, const int32_t *row_begin, int n_sequences,
                            void *stream);
int kvb_cuda_launch_export(const kvb_cuda_convert_job *job, void *stream);
int kvb_cuda_launch_import(const kvb_cuda_convert_job *job, void *stream);
int kvb_cuda_launch_export_pages(const kvb_cuda_pages_job *job, void *stream);
int kvb_cuda_launch_import_pages(const kvb_cuda_pages_job *job, void *stream);
int kvb_cuda_launch_decode(const kvb_cuda_decode_job *job, void *stream);
int kvb_cuda_launch_merge(const kvb_cuda_merge_job *job, void *stream);

#ifdef __cplusplus
}
#endif

#endif
