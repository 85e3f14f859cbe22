/* What the attention kernels are told: device pointers and numbers, validated by whoever fills them. */
#ifndef KVB_CUDA_ATTEND_JOB_H
#define KVB_CUDA_ATTEND_JOB_H

#include "kvbits/cuda.h"

#include <stddef.h>
#include <stdint.h>

/* K or V. Blocks of a page of a KV head (fragments.h) begin at pages + page * page_stride + head * head_stride. */
typedef struct kvb_cuda_attend_side {
    const uint8_t *pages;
    size_t page_stride, head_stride; /* bytes, multiples of 16, below 2^32 */
    int code, head_dim, scale_bytes; /* code as fragments.h numbers them */
    int dense;                       /* kvb_dtype of 16 bits */
    int trellis_memory;              /* bits of a trellis code's state */
    uint32_t taps[2];                /* of a trellis code: bit k, the input k coordinates before */
    const float *mean;               /* [KV head][head_dim], what was taken off packed keys; NULL: nothing */
    const uint16_t *centroids;       /* halves */
    const uint32_t *signs;           /* bit i % 32 of word i / 32: coordinate i is negated; NULL: no rotation */
    int hadamard_order;              /* m of head_dim = m * 2^k */
    const uint64_t *hadamard;        /* m rows, bit j: column j is -1; NULL when m is 1 */
    /* Exact tokens, before the rotation: value i of `token`'s row in its array at [token * token_stride + head *
     * head_stride + i]. */
    const void *exact_first, *exact_last;
    size_t exact_first_sequence_stride, exact_last_sequence_stride, exact_token_stride, exact_head_stride; /* values */
} kvb_cuda_attend_side;

/* A block of threads' part of an item, which is a tile of 8 columns (queries x heads of the group) of one KV head of
 * one sequence. */
typedef struct kvb_cuda_segment {
    int32_t sequence, item, kv_head, first_column; /* sequence: its row of table, first_page and exact tokens */
    int32_t begin, end;          /* packed tokens; begin is the first of a page but where the item begins, end where
                                  * another segment begins, or exact last tokens, or what no query sees */
    int32_t n_tokens, first_row; /* of the sequence, and its first row of q */
    int32_t n_q;
    int32_t first_part, n_parts; /* blocks that share the item */
    int32_t begins;              /* 1: the item's first part, 0: another, -1: the block has nothing to do */
    int32_t next;                /* the block's next segment, or -1 */
    int32_t reserved[3];
} kvb_cuda_segment;

typedef struct kvb_cuda_attend_job {
    kvb_cuda_attend_side k, v;
    int v_prefix_of_k; /* latent: a value is the first v.head_dim coordinates of its key, and v is else as k */
    int n_sequences, n_kv_heads, group;
    const int32_t *sequences; /* rows of table, first_page, lengths, packed_ends and exact tokens; NULL: 0, 1, 2, ... */
    const int32_t *table;     /* [row][table_stride]: the page of tokens 64 i + (first_page[row] or 0) */
    size_t table_stride;
    const int32_t *first_page;  /* number of the page that a sequence's table begins with, or NULL */
    const int32_t *lengths;     /* tokens of each row */
    const int32_t *packed_ends; /* of each row: tokens before it are in pages at least; NULL: 0 */
    const int32_t *q_begin;     /* [n_sequences + 1] rows of q, or NULL: max_n_q of each sequence */
    int max_n_q;
    const int32_t *positions; /* of each row of q, or NULL: the last ones */
    const uint8_t
        *tree_mask; /* row of q i, bits of its sequence's last n_q tokens: (max_n_q + 7) / 8 bytes a row; or NULL */
    const void *q;  /* [row][head], values of q_type */
    size_t q_row_stride, q_head_stride;
    void *out;
    size_t out_row_stride, out_head_stride;
    float *lse;                                        /* [row][head], or NULL */
    int q_type, out_type, exact_type;                  /* kvb_dtype */
    float scale, softcap;                              /* softcap 0: none */
    const float *sinks;                                /* of each query head, or NULL */
    int window;                                        /* 0: none */
    int kv_begin, kv_end;                              /* tokens outside are not seen; kv_end 0: no end */
    int n_exact_first, n_exact_last, exact_last_slots; /* slots > 0: a ring, token t in slot t % slots */
    int starts_early; /* n > 0: launched to start while the work before ends, which may write queries, exact tokens and
                       * the last n tokens of each sequence; n_exact_last are among them */
    /* The plan of the kernel that attends, made from lengths on the device by kvb_cuda_launch_plan() and good for all
     * layers with the same window, heads, exact tokens and queries whose kernels have as many blocks. */
    kvb_cuda_segment *segments; /* items + 2 * n_blocks: first every block's first */
    int32_t *shares;            /* 2 * n_blocks, for the planner */
    int32_t *unit_begin;        /* n_sequences + 1, for the planner */
    int n_blocks;
    /* Of the planner only: a second plan, for kernels with other numbers of blocks; n_blocks 0: none. */
    struct {
        kvb_cuda_segment *segments;
        int32_t *shares, *unit_begin;
        int n_blocks;
    } second;
    /* Workspace. */
    float *partials;    /* kvb_cuda_attend_partials(n_blocks, ) floats */
    uint32_t *counters; /* one of each item, zero before and after */
} kvb_cuda_attend_job;

#endif
