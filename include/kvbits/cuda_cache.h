/* kvb_cuda_cache: kvb_cache on a GPU. Many layers, each with a format of its own, of many sequences: pages from one
 * pool, windows that give pages back, exact first and last tokens, forks that share pages and copy what they write.
 * Words, rules and sentences are kvb_cache's (kvbits.h); attention is kvb_cuda_attend's (cuda.h).
 *
 * The host keeps the books (lengths, tables of pages, references), so that a full pool or a wrong number is found
 * before anything is queued; the device has pages, exact tokens, and its own tables and lengths, which small kernels
 * with arguments keep up. Tokens come in steps of a batch, each sequence some new ones, the same in every layer:
 *
 *     kvb_cuda_cache_begin(cache, sequences, n_new, n, 1, stream, &error);      // takes pages for all layers
 *     kvb_cuda_cache_plan(cache, &queries, scratch, bytes, stream, &error);     // shares out attention, for all layers
 *     for each layer: kvb_cuda_cache_append(its new rows), kvb_cuda_cache_attend(its queries);
 *     kvb_cuda_cache_commit(cache, 1, &error);
 *
 * All device work is queued on the caller's stream of the cache's device, which must be the current one. What one call
 * queues, others rely on: either all calls take the same stream, or the caller makes streams wait for each other.
 * Only create, destroy, upload and download allocate, free or wait.
 *
 * CUDA graphs. kvb_cuda_cache_append, _append_layers, _plan, _attend and _advance can be captured: they read the batch,
 * its lengths and tables on the device, and change no books. A graph of a step serves every later step that was begun
 * with as many sequences (places that are empty count) and no more new tokens of one sequence than the step that it was
 * captured in; pointers are those of the capture. With kvb_cuda_cache_advance at its end it can also be replayed
 * n_steps times in a row: begin takes the pages of all those steps ahead, and lengths advance on the device. begin,
 * reserve and fork refuse a stream that is capturing, as a replay would repeat what they queue;
 * examples/decode_loop_cuda.c shows both.
 *
 * Threads: one at a time. KVB_ERROR_UNSUPPORTED with CUDA's words: the device failed, and books and device may differ;
 * the cache can only be destroyed. */
#ifndef KVBITS_CUDA_CACHE_H
#define KVBITS_CUDA_CACHE_H

#include "kvbits/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Creation and memory ---------------------------------------------------------------------------------------- */

typedef struct kvb_cuda_cache_spec {
    /* As for kvb_cache_create, but: page_tokens 64 or 0; max_sequences up to 32767, max_tokens up to 2^30, budget up
     * to 2^38 bytes, of pages on the device; formats that kvb_cuda_layer_create takes. */
    const kvb_cache_spec *cache;
    const int *n_q_heads; /* of each layer: a multiple of its n_kv_heads */
    int device;
} kvb_cuda_cache_spec;

typedef struct kvb_cuda_cache kvb_cuda_cache;

/* Beside the budget the device holds, for max_sequences: exact tokens, 4 bytes for each page that a sequence may have
 * in each layer, and the layers' tables. Allocates on host and device, and waits. The sentences are
 * kvb_cache_create's and kvb_cuda_layer_create's. *out is NULL on failure. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_create(const kvb_cuda_cache_spec *spec, const kvb_allocator *allocator,
                                                     kvb_cuda_cache **out, kvb_error *error);
KVB_API void kvb_cuda_cache_destroy(kvb_cuda_cache *cache); /* NULL is legal; waits for the device */
/* As it was given, page_tokens filled in: kvb_cache_create makes of it what kvb_cuda_cache_download wants. */
KVB_API const kvb_cache_spec *kvb_cuda_cache_get_spec(const kvb_cuda_cache *cache);
/* Of a layer: its format on the device, immutable, which lives as long as the cache; NULL for one that is not there. */
KVB_API const kvb_cuda_layer *kvb_cuda_cache_layer_at(const kvb_cuda_cache *cache, int layer);

typedef struct kvb_cuda_cache_usage {
    size_t budget;      /* pages + free */
    size_t pages;       /* of pages in use, those taken ahead included; one that several sequences share counts once */
    size_t free;        /* what was given back serves its own size again, until nothing at all is in use */
    size_t exact;       /* of exact tokens of max_sequences, outside of the budget */
    size_t tables;      /* of tables and lengths on the device, outside of the budget; without the layers' own */
    size_t bookkeeping; /* on the host */
} kvb_cuda_cache_usage;
KVB_API kvb_cuda_cache_usage kvb_cuda_cache_bytes(const kvb_cuda_cache *cache);

/* ---- Sequences, between steps: KVB_ERROR_ARGUMENT in one --------------------------------------------------------- */

KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_open_sequence(kvb_cuda_cache *cache, int *sequence, kvb_error *error);
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_free_sequence(kvb_cuda_cache *cache, int sequence, kvb_error *error);
KVB_API int64_t kvb_cuda_cache_n_tokens(const kvb_cuda_cache *cache, int sequence); /* committed; -1: not open */
/* Takes the pages of n_tokens more tokens in every layer: steps of as many then cannot fail for memory, until the
 * sequence is truncated or forked. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_reserve(kvb_cuda_cache *cache, int sequence, int64_t n_tokens,
                                                      void *stream, kvb_error *error);
/* As kvb_cache_truncate; queues nothing. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_truncate(kvb_cuda_cache *cache, int sequence, int64_t n_tokens,
                                                       kvb_error *error);
/* As kvb_cache_fork: pages are shared until one of both writes the last one, exact tokens are copied. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_fork(kvb_cuda_cache *cache, int sequence, int *copy, void *stream,
                                                   kvb_error *error);

/* ---- Steps ------------------------------------------------------------------------------------------------------ */

/* Begins n_steps steps (1 unless a graph advances by itself) of a batch: sequence sequences[i] gets n_new[i] tokens in
 * each, 0 to only ask (where a layer has a window, from positions behind its tokens). -1 is an empty place, with n_new
 * 0: nobody's, for graphs of a larger batch. n_sequences is 1 to max_sequences; no sequence is there twice. Pages are
 * taken for all layers and steps, and pages that forks share are copied. KVB_ERROR_MEMORY: the pool lacks pages (of a
 * page that k sequences of the batch share, k count), nothing changed. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_begin(kvb_cuda_cache *cache, const int *sequences, const int *n_new,
                                                    int n_sequences, int n_steps, void *stream, kvb_error *error);

/* Encodes a layer's new rows, [row][KV head][head_dim] of K and V on the device, those of sequences[0] first; v does
 * not count in a latent layer. Once for each layer and step. What they hold is not checked (cuda.h). */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_append(kvb_cuda_cache *cache, int layer, const void *k, const void *v,
                                                     kvb_dtype dtype, void *stream, kvb_error *error);

/* The same for n_layers layers from `first` on, of whose rows all are there: layer first + i gets k[i] and v[i], which
 * does not count in a latent layer (v may be NULL where all are). In as few launches as kvb_cuda_append_layers takes,
 * such as one for up to 32 layers of the usual head_dims; what is refused, is refused before any layer is queued. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_append_layers(kvb_cuda_cache *cache, int first, int n_layers,
                                                            const void *const *k, const void *const *v, kvb_dtype dtype,
                                                            void *stream, kvb_error *error);

/* Bytes of scratch on the device for batches up to these sizes: plans of every kind of layer (heads, window, exact
 * tokens) lie in it. 0: illegal sizes, or too many bytes. */
KVB_API size_t kvb_cuda_cache_scratch_bytes(const kvb_cuda_cache *cache, int n_sequences, int most_queries);
/* Plans attention of the step's batch in all layers; may come before its rows. Of `queries`, q and out do not count,
 * and window is 0: layers have their own. q_begin NULL: each new token is a query, and most_queries does not count.
 * Kinds of layers that need no plan for a batch of this shape, as kvb_cuda_attend_needs_plan says, get none: nothing is
 * queued for prompts where all layers have kernels for them. Goes into a graph together with attend, or stays out of it
 * together with it. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_plan(kvb_cuda_cache *cache, const kvb_cuda_queries *queries,
                                                   void *scratch, size_t bytes, void *stream, kvb_error *error);
/* Attends in a layer that has the step's rows, by the step's plan: `queries` and scratch as then, but for what differs
 * from layer to layer (q, out, lse, scale, softcap, sinks, split_queries). starts_early above 0: behind an append or
 * another layer's attention the kernel starts early by the step's tokens, behind anything else of this cache it does
 * not. The caller's own work just before must not write what attention reads but for queries and these rows (cuda.h).
 */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_attend(kvb_cuda_cache *cache, int layer, const kvb_cuda_queries *queries,
                                                     void *scratch, size_t bytes, void *stream, kvb_error *error);

/* On the device, the step is done, and one of the same numbers of tokens follows: only between the n_steps of a begin,
 * where the plan is then made anew. The books follow with commit. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_advance(kvb_cuda_cache *cache, void *stream, kvb_error *error);

/* Ends what begin began: n_done of its steps were queued, complete in all layers (0: nothing was). Their tokens are the
 * sequences' now, and pages that no query at a later position sees go back; those of other steps stay taken. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_commit(kvb_cuda_cache *cache, int n_done, kvb_error *error);

/* kvb_cuda_decode of committed tokens, between steps; first + n_tokens at most those that there are. KVB_ERROR_ARGUMENT
 * for tokens that a window has given back. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_decode(const kvb_cuda_cache *cache, int layer, kvb_cuda_side side,
                                                     int sequence, int64_t first, int n_tokens, void *out,
                                                     kvb_dtype dtype, void *stream, kvb_error *error);

/* ---- To the host and back: saving and loading ------------------------------------------------------------------- */

/* Makes `host`, a cache of equal layers in pages of 64 tokens with no open sequence, hold what `cache` holds, sequences
 * under their numbers, pages that are shared once: kvb_cache_save then gives the canonical bytes, those of a cache of
 * the CPU that got the same rows. Waits for the stream; between steps. KVB_ERROR_ARGUMENT names what differs;
 * KVB_ERROR_MEMORY when one of both lacks room; then `host` has no open sequence. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_download(kvb_cuda_cache *cache, kvb_cache *host, void *stream,
                                                       kvb_error *error);
/* The way back, such as from kvb_cache_load: `cache` has no open sequence, and none after a failure. */
KVB_API KVB_CHECKED kvb_status kvb_cuda_cache_upload(kvb_cuda_cache *cache, const kvb_cache *host, void *stream,
                                                     kvb_error *error);

#ifdef __cplusplus
}
#endif

#endif
