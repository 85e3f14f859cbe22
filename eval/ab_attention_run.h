/* The state of one T1c run (ab_attention.c) and its memory (ab_attention_memory.c). */
#ifndef KVB_EVAL_AB_ATTENTION_RUN_H
#define KVB_EVAL_AB_ATTENTION_RUN_H

#include "measured.h"
#include "parallel.h"
#include "rows.h"
#include "stream.h"

enum {
    KVB_ATTENTION_BATCH_ROWS = 16384, /* rows of a stream that go by between two rounds of finished units */
    KVB_ATTENTION_BLOCK_ROWS = 16     /* keys that go through all variants at once */
};

typedef struct kvb_attention_length {
    size_t len, rows; /* positions; rows of the stream that this kv_len reads */
    size_t done;      /* units finished */
    float *scores;    /* [unit - done][group][n_k][len] */
    kvb_measured *measured;
} kvb_attention_length;

/* What one worker needs of its own. */
typedef struct kvb_attention_bench {
    float *raw;    /* KVB_STREAM_ITEM_ROWS rows of normals */
    float *rows;   /* a block of rows made of them */
    float *stored; /* the same rows as a variant gives them back */
    float *values; /* [n_v][KVB_STREAM_LANES] rows */
    void *memory;  /* of `attend` */
    kvb_attend_variants attend;
} kvb_attention_bench;

typedef struct kvb_attention_run {
    const kvb_ab_config *config;
    const kvb_comparison *comparison;
    const kvb_arithmetic *arithmetic;
    kvb_row_source q_source, k_source, v_source;
    size_t d, heads, kv_heads, group, n_k, trials, max_rows, max_len, kept_rows;
    float *queries; /* [trials][heads][d] */
    kvb_stream *k_stream, *v_stream;
    kvb_rng *starts, *states; /* states: [kept row] of the value stream */
    size_t base;              /* stream row of kept row 0 */
    size_t batch;             /* stream row of the batch's first row */
    kvb_attention_length *lengths;
    int n_lengths, workers;
    kvb_attention_bench *benches;
    float **raws; /* benches[i].raw */
    kvb_failure failure;
} kvb_attention_run;

/* Allocates all that the run needs, from its config, comparison and sources. What a failure leaves is released too. */
KVB_CHECKED kvb_status kvb_attention_allocate(kvb_attention_run *r, kvb_measured *measured, kvb_error *error);
void kvb_attention_release(kvb_attention_run *r);

#endif
