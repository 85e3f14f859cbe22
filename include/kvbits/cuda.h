/* libkvbits-cuda: the packed cache on the GPU: encoding into pages, attention on them, and the way to and from the rows
 * of docs/format.md. docs/cuda.md says what runs where, how fast and how exactly.
 *
 * Memory for pages, tables, lengths, rows and results is the caller's, on the device. Only kvb_cuda_layer_create and
 * _destroy allocate, free and wait. Everything else queues work on the caller's stream (a cudaStream_t; NULL: the
 * default stream) of the layer's device, which must be the current one, reads no device memory from the host, and can
 * be captured in a CUDA graph: lengths and tables are read on the device when the work runs, so a graph can be replayed
 * as a cache grows. include/kvbits/cuda_cache.h keeps all of this for a whole model.
 *
 * Shapes are [slowest]...[fastest]. What is queued is not checked for NaN or Inf: such rows get a NaN as their scale
 * and show in what attends to them (docs/format.md, section 2). KVB_ERROR_ARGUMENT: a value outside its range;
 * KVB_ERROR_UNSUPPORTED: no GPU, one below compute capability 8.0, or a format that no kernel reads;
 * KVB_ERROR_MEMORY: the device has not enough. The sentence names what and why. */
#ifndef KVBITS_CUDA_H
#define KVBITS_CUDA_H

#include "kvbits/kvbits.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Devices ---------------------------------------------------------------------------------------------------- */

typedef struct kvb_cuda_device {
    char name[128];
    int major, minor; /* compute capability */
    int multiprocessors;
    size_t memory; /* bytes */
} kvb_cuda_device;

/* The `index`-th device, from 0. KVB_ERROR_UNSUPPORTED without a driver or a GPU, KVB_ERROR_ARGUMENT past the last. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_device_get(int index, kvb_cuda_device *out, kvb_error *error);

/* ---- Layers ----------------------------------------------------------------------------------------------------- */

#define KVB_CUDA_PAGE_TOKENS 64

typedef struct kvb_cuda_layer_spec {
    int device;
    /* Codes whose centroids binary16 represents, as the library's do: scalar, trellis, whole bits and half ones; any
     * rotation and scale. Read by create only. NULL means dense: rows of `dense` values, unrotated. */
    const kvb_codec *k_codec, *v_codec;
    int n_kv_heads, n_q_heads; /* at least 1; n_q_heads a multiple of n_kv_heads */
    kvb_dtype dense;           /* KVB_F16 or KVB_BF16: of dense rows and of exact tokens; 0 where there are none */
    const float *k_mean;       /* NULL, or the mean of the model's keys, [KV head][head_dim], up to KVB_MAX_K_MEAN, as
                                * in kvb_layer_spec: packed keys are encoded less it, and attention adds its product
                                * with the query to their logits. On the host, copied. Not for dense keys */
    int k_dim, v_dim;          /* of dense sides, a multiple of 8 up to 576; those of codecs are the codecs' */
    int v_prefix_of_k;         /* latent, as in kvb_layer_format: values are the first v_dim coordinates of the keys,
                                * v_codec is NULL, and keys are dense or their codec has rotation none. Pages and exact
                                * tokens then hold no values: v of rows, exact_first_v and exact_last_v do not count */
} kvb_cuda_layer_spec;

/* A layer's format and its tables on the device. Immutable: layers of one format can share it, threads and streams too.
 */
typedef struct kvb_cuda_layer kvb_cuda_layer;

KVB_API KVB_CHECKED kvb_status kvb_cuda_layer_create(const kvb_cuda_layer_spec *spec, const kvb_allocator *allocator,
                                                     kvb_cuda_layer **out, kvb_error *error);
KVB_API void kvb_cuda_layer_destroy(kvb_cuda_layer *layer); /* NULL is legal; no work on the layer may be pending */
/* Bytes of a page: 64 tokens of K and V of all KV heads, of a latent layer of K alone, codes and scales. A multiple of
 * 32. */
KVB_API size_t kvb_cuda_layer_page_bytes(const kvb_cuda_layer *layer);
/* 1 when a tuned kernel attends to the layer (docs/cuda.md lists them; they run from compute capability 9.0 on), 0 when
 * the general one does, in floats and slower. */
KVB_API int kvb_cuda_layer_is_tuned(const kvb_cuda_layer *layer);

/* ---- Pages ------------------------------------------------------------------------------------------------------ */

/* The sequences of a batch. Token t of sequence s lies in page table[s][t / 64 - first_page[s]] of the pool: pages may
 * be anywhere in it, shared by sequences, and differ from layer to layer. The order of bytes in a page is the library's
 * own (src/cuda/fragments.h) and may change: kvb_cuda_export gives the lasting one. */
typedef struct kvb_cuda_pages {
    void *pool;                /* aligned to 128 bytes */
    const int32_t *table;      /* [n_sequences][table_stride] */
    size_t table_stride;       /* entries, at least 1 */
    const int32_t *first_page; /* [n_sequences]: pages that a window has given back, or NULL: none */
    int32_t *lengths;          /* [n_sequences] tokens; kvb_cuda_advance writes them, and who takes tokens back */
    int n_sequences;           /* at least 1 */
    /* [n_sequences] on the device: sequence s of the batch has row sequences[s] of table, first_page, lengths,
     * packed_ends and exact tokens, no row twice where tokens are appended; NULL: row s. */
    const int32_t *sequences;
    /* [row] on the device, or NULL: tokens before this one are in pages, though fewer than exact_last may follow them:
     * where tokens were taken back, and those before them had already left the ring. At most lengths. */
    const int32_t *packed_ends;
    /* Bytes from the page that table calls 0 to that which it calls 1, a multiple of 32 up to 2^32 - 32; 0 is
     * kvb_cuda_layer_page_bytes. Less where pages of several sizes lie in one pool. */
    size_t page_stride;
    /* Exact tokens, raw values of the layer's type `dense`, unrotated: a sequence's first exact_first tokens and its
     * last exact_last ones, all of a shorter one, are read from here, not from pages; a token that is both is a first
     * one. [sequence][token][KV head][head_dim]. exact_last is a ring: token t lies in slot t % exact_last_slots of its
     * sequence's. kvb_cuda_append fills both, and encodes a token from the ring when newer ones push it out. Every row
     * of pages with exact_last is rounded to `dense` first, so that it does not matter how tokens were grouped into
     * appends. Slots beyond exact_last let the caller take so many tokens back. For attention to rows that the caller
     * fills, exact_last_slots 0 means that token length - exact_last lies first. */
    void *exact_first_k, *exact_first_v, *exact_last_k, *exact_last_v;
    int exact_first, exact_last, exact_last_slots; /* 0 to 65536; 0: none */
} kvb_cuda_pages;

/* New tokens of all sequences: sequence s gets rows row_begin[s] .. row_begin[s + 1] - 1 of K and V. */
typedef struct kvb_cuda_rows {
    const void *k, *v; /* [row][KV head][head_dim of K or V]; v does not count in a latent layer */
    kvb_dtype dtype;
    const int32_t *row_begin; /* on the device, [n_sequences + 1], rising */
    int most_rows;            /* on the host: no sequence gets more; at least 1 */
} kvb_cuda_rows;

/* Encodes the rows into the tokens behind `lengths`, with the bits of kvb_encode; the pages must be in the table, but
 * for tokens that stay exact. lengths stay as they are, so that all layers of a model append to the same ones before
 * kvb_cuda_advance. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_append(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages,
                                               const kvb_cuda_rows *rows, void *stream, kvb_error *error);
/* The same for n_layers layers, layers[i] with pages[i] and rows[i], 1 and more; no two may write the same page or
 * exact token. Layers with scalar codes of whole bits or dense sides and head_dims of 64, 128 or 256, K's that of V,
 * that follow each other, up to 32, go into one launch, latent ones apart from others; of all others each has its own.
 */
KVB_API KVB_CHECKED kvb_status kvb_cuda_append_layers(const kvb_cuda_layer *const *layers, const kvb_cuda_pages *pages,
                                                      const kvb_cuda_rows *rows, int n_layers, void *stream,
                                                      kvb_error *error);
/* lengths[s] += row_begin[s + 1] - row_begin[s]. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_advance(const kvb_cuda_pages *pages, const kvb_cuda_rows *rows, void *stream,
                                                kvb_error *error);

typedef enum kvb_cuda_side { KVB_CUDA_K = 0, KVB_CUDA_V = 1 } kvb_cuda_side;

/* Copies rows first .. first + n_tokens - 1 of a KV head of a sequence to the rows of `packed` (pointers on the device)
 * from its row 0 on, as docs/format.md stores them: what kvb_decode, kvb_attend and files read. Of a dense side
 * planes[0] is rows of 2-byte values, and scales do not count. Both sides of a latent layer are its keys. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_export(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages,
                                               kvb_cuda_side side, int sequence, int kv_head, int first, int n_tokens,
                                               const kvb_packed *packed, void *stream, kvb_error *error);
/* The way back. Neither reads nor writes lengths; of pages only these tokens change. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_import(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages,
                                               kvb_cuda_side side, int sequence, int kv_head, int first, int n_tokens,
                                               const kvb_packed *packed, void *stream, kvb_error *error);

/* Tokens first .. first + n_tokens - 1 of a sequence, all KV heads, as values of `dtype`: [token][KV head][head_dim] at
 * `out`, on the device. Packed rows are rotated back and keys have their mean again; in float, the bits of kvb_decode
 * (KVB_DOMAIN_INPUT) and one sum. Exact tokens, by `lengths` on the device, come as they are. Values of a latent layer
 * are v_dim of each key. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_decode(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages,
                                               kvb_cuda_side side, int sequence, int first, int n_tokens, void *out,
                                               kvb_dtype dtype, void *stream, kvb_error *error);

/* ---- Attention -------------------------------------------------------------------------------------------------- */

/* Query i of a sequence's n_q stands at token lengths - n_q + i, unless positions say otherwise, and sees the tokens up
 * to itself (append first). As in kvb_attend_item, the query at position p sees token j when j <= p and, with a window,
 * p - window < j; exact tokens outside the window stay masked; a query that sees nothing gets 0, and the log-sum-exp
 * -Inf (or its sink). Pages must be there from the first to the last token that some query of the sequence sees. */
typedef struct kvb_cuda_queries {
    const void *q; /* [row][n_q_heads][head_dim of K] */
    void *out;     /* [row][n_q_heads][head_dim of V] */
    float *lse;    /* [row][n_q_heads]: natural log of the sum of exponentials, sink included; or NULL */
    kvb_dtype q_dtype, out_dtype;
    const int32_t *q_begin;   /* on the device, [n_sequences + 1]: a sequence's rows; NULL: most_queries of each */
    int most_queries;         /* on the host: no sequence has more; at least 1 */
    float scale;              /* of logits; 1 / sqrt(head_dim) as a rule */
    float softcap;            /* logits become softcap * tanh(logit / softcap); 0: as they are */
    int window;               /* a query sees this many tokens, itself included; 0: all */
    const float *sinks;       /* [n_q_heads] on the device: one more logit, without a value; or NULL */
    int split_queries;        /* 1: queries in two halves, three times more exact and slower (docs/cuda.md) */
    const int32_t *positions; /* [row] on the device, or NULL. A query whose position is negative sees nothing; one
                               * beyond the last token is legal */
    /* On the device: which of its sequence's last n_q tokens a query sees, whatever their position (trees of guessed
     * tokens). The row of each row of q is (most_queries + 7) / 8 bytes, bit j % 8 of byte j / 8 is token
     * lengths - n_q + j; where there are fewer tokens than queries, bits of tokens before the first do not count. Older
     * tokens are seen by position. NULL: all by position. */
    const uint8_t *tree_mask;
    /* n > 0: the kernel may start while the work queued just before it on the stream still runs (a programmatic
     * dependent launch): its blocks then load tables and pages, and wait for that work before they read queries, exact
     * tokens and each sequence's last n tokens of pages, and before they write. So nothing else that attention reads
     * may be written by what is just before: append_layers or append may (n: the tokens that it appends to a sequence,
     * at most), and attention in another layer, but not a plan, kvb_cuda_advance, or what writes tables or older
     * tokens. If that work itself starts early, it must first wait for what is before it, as this library's does. 0:
     * the kernel starts when all is done. Where there is no tuned kernel, and for prompts on the tensor cores, n does
     * not count. */
    int starts_early;
} kvb_cuda_queries;
#define KVB_CUDA_MOST_EARLY 1048576 /* legal values of starts_early are 0 to this */

/* Bytes of scratch on the device for batches up to these sizes, which can follow each other in it: a plan writes all
 * that it needs to hold. kvb_cuda_scratch_clear makes it zeros. Calls that run at the same time need scratch of their
 * own. */
KVB_API size_t kvb_cuda_scratch_bytes(const kvb_cuda_layer *layer, int n_sequences, int most_queries);
KVB_API KVB_CHECKED kvb_status kvb_cuda_scratch_clear(const kvb_cuda_layer *layer, void *scratch, size_t bytes,
                                                      void *stream, kvb_error *error);
/* Shares out the work of a batch from the lengths on the device, into scratch. One plan serves every layer with the
 * same heads, window, numbers of exact tokens and scratch, until lengths, positions or numbers of queries change. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_attend_plan(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages,
                                                    const kvb_cuda_queries *queries, void *scratch, size_t bytes,
                                                    void *stream, kvb_error *error);
/* 0 where kvb_cuda_attend reads no plan, so that a caller may leave it out: prompts on the tensor cores (docs/cuda.md).
 * Looks at numbers of sequences, queries and exact tokens only, and at whether there is a tree mask. */
KVB_API int kvb_cuda_attend_needs_plan(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages,
                                       const kvb_cuda_queries *queries);
/* Attends by that plan. Float sums; equal inputs give equal bits. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_attend(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages,
                                               const kvb_cuda_queries *queries, void *scratch, size_t bytes,
                                               void *stream, kvb_error *error);

/* Adds what others attended to, such as another device's tokens: of n_rows outputs of dim values at `out`, with their
 * log-sum-exps at `lse`, both made without sinks, and as many more; the sums are left in `out` and `lse`. As
 * kvb_softmax_merge of the states {lse, 1, out}, in float; a log-sum-exp of -Inf is an empty state. On the current
 * device. dim 1 to 65536. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_merge(void *out, float *lse, const void *more_out, const float *more_lse,
                                              kvb_dtype dtype, size_t n_rows, int dim, void *stream, kvb_error *error);

#ifdef __cplusplus
}
#endif

#endif
