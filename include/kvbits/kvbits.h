/* kvbits: dense packed KV-cache rows at 1-8 bits, bit-exact on every backend.
 *
 * The whole public API of libkvbits, read top to bottom. docs/format.md specifies every byte; docs/math.md says why. A
 * row is one head vector: one token of one KV head.
 *
 *     kvb_codec_spec spec = kvb_codec_spec_default(128, 4);            // head_dim, bits
 *     kvb_codec *codec;  if (kvb_codec_create(&spec, NULL, NULL, &codec, &error)) ...
 *     void *block = malloc(kvb_codec_block_bytes(codec, n_rows));      // dense: bits * head_dim / 8 + scale per row
 *     kvb_packed packed = kvb_packed_view(codec, block, n_rows);
 *     kvb_encode(codec, rows, KVB_F32, 128, n_rows, &packed, 0, NULL, &error);
 *     kvb_decode(codec, &packed, 0, n_rows, KVB_DOMAIN_INPUT, out, 128, &error);
 */
#ifndef KVBITS_KVBITS_H
#define KVBITS_KVBITS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KVB_VERSION_MAJOR 0
#define KVB_VERSION_MINOR 1
#define KVB_VERSION_PATCH 0

#if defined(__GNUC__)
#define KVB_API __attribute__((visibility("default")))
#define KVB_CHECKED __attribute__((warn_unused_result))
#else
#define KVB_API
#define KVB_CHECKED
#endif

/* ---- Status and errors ------------------------------------------------------------------------------------------ */

typedef enum kvb_status {
    KVB_OK = 0,
    KVB_ERROR_ARGUMENT,    /* a value outside its legal range; the sentence names both */
    KVB_ERROR_NOT_FINITE,  /* NaN, Inf or |x| > KVB_MAX_ABS in the input */
    KVB_ERROR_MEMORY,      /* the allocator returned NULL, a size does not fit size_t, or a cache is full */
    KVB_ERROR_UNSUPPORTED, /* a legal request that this build or this machine cannot serve */
    KVB_ERROR_FORMAT,      /* a file or a string that breaks its format */
    KVB_ERROR_IO,          /* the operating system refused to open, read or write */
    KVB_ERROR_CONVERGENCE  /* an iteration reached its limit; no result is returned */
} kvb_status;

/* Caller-owned, may be NULL wherever it is taken. On failure `text` holds one sentence, NUL-terminated and cut at 511
 * bytes; on success it is untouched. */
typedef struct kvb_error {
    char text[512];
} kvb_error;

/* Writes the printf-style sentence into `error` (NULL is legal) and returns `status`: how every layer above reports. */
KVB_API kvb_status kvb_error_set(kvb_error *error, kvb_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;
KVB_API const char *kvb_status_name(kvb_status status); /* such as "not finite"; never NULL */
KVB_API const char *kvb_version(void);                  /* "major.minor.patch" of the linked library */

/* ---- Memory ----------------------------------------------------------------------------------------------------- */

/* Memory comes only from create calls and goes back in destroy, with the size it was asked for. The struct is copied;
 * what `context` points at must live as long as the objects made with it. NULL wherever an allocator is taken means the
 * C library's. */
typedef struct kvb_allocator {
    void *(*allocate)(void *context, size_t bytes, size_t alignment); /* a power of two; NULL when out of memory */
    void (*release)(void *context, void *pointer, size_t bytes);
    void *context;
} kvb_allocator;

/* ---- Parallel work ---------------------------------------------------------------------------------------------- */

/* The caller's parallel-for: calls body(argument, index, worker) once for each index in [0, n), 0 <= worker < workers,
 * and returns when all are done. n may be 0; no two calls run at once with the same worker; what a body wrote is
 * visible to the caller afterwards. NULL wherever it is taken: one worker, in order. */
typedef struct kvb_parallel {
    void (*run)(void *context, size_t n, void (*body)(void *argument, size_t index, int worker), void *argument);
    int workers; /* at least 1 */
    void *context;
} kvb_parallel;

/* Its number of workers, and a run of it, NULL included. */
KVB_API int kvb_parallel_workers(const kvb_parallel *parallel);
KVB_API void kvb_parallel_for(const kvb_parallel *parallel, size_t n,
                              void (*body)(void *argument, size_t index, int worker), void *argument);

/* ---- Backends --------------------------------------------------------------------------------------------------- */

/* A set of kernels, constant and never closed. Several can run side by side; all give equal packed bytes. */
typedef struct kvb_backend kvb_backend;

/* Opens "avx512vbmi", "avx512", "avx2", "neon" or "scalar", or, for NULL, the fastest that this machine supports.
 * KVB_ERROR_ARGUMENT for an unknown name (the sentence lists the known ones), KVB_ERROR_UNSUPPORTED for one that this
 * build or this processor lacks. */
KVB_API KVB_CHECKED kvb_status kvb_backend_open(const char *name, const kvb_backend **out, kvb_error *error);
KVB_API const char *kvb_backend_name(const kvb_backend *backend); /* as given to kvb_backend_open */
/* The i-th backend name compiled into this library, NULL past the last. */
KVB_API const char *kvb_backend_list(size_t i);

/* ---- Types of values -------------------------------------------------------------------------------------------- */

typedef enum kvb_dtype { KVB_F32 = 0, KVB_F16 = 1, KVB_BF16 = 2 } kvb_dtype;

KVB_API size_t kvb_dtype_bytes(kvb_dtype dtype); /* of one value: 4, 2, 2; 0 for anything else */
/* IEEE 754 binary16 and bfloat16, as their bits. From float: to nearest even, subnormals kept; what is too large
 * becomes Inf (scales saturate instead). A NaN stays one and becomes quiet. */
KVB_API float kvb_f16_to_f32(uint16_t half);
KVB_API uint16_t kvb_f32_to_f16(float value);
KVB_API float kvb_bf16_to_f32(uint16_t bfloat);
KVB_API uint16_t kvb_f32_to_bf16(float value);

/* ---- Codebooks -------------------------------------------------------------------------------------------------- */

#define KVB_MAX_BITS 8
#define KVB_MAX_LEVELS 256
#define KVB_MIN_TRELLIS_BITS 2
#define KVB_MAX_TRELLIS_BITS 6

/* The library's table for 1-8 bits: the Lloyd-Max optimum for N(0,1) (docs/math.md, "Codebooks"), 2^bits centroids in
 * rising order, rounded to multiples of 2^-12 that binary16 represents (generated: src/codebook_tables.inc). NULL for
 * other widths. */
KVB_API const float *kvb_codebook(int bits);
/* The same of a trellis code (docs/math.md, "Trellis codes"), trained: 2^(bits + 1) levels for 2-6 bits and 8, 16, 64
 * or 256 states (src/trellis_tables.inc). More states: less error, the same bytes, slower encoding. */
KVB_API const float *kvb_trellis_codebook(int states, int bits);

/* ---- Codec: how rows become codes ------------------------------------------------------------------------------- */

#define KVB_MIN_HEAD_DIM 8
#define KVB_MAX_HEAD_DIM 576
#define KVB_MAX_ABS 0x1p58f /* largest input magnitude: sums of squares of KVB_MAX_HEAD_DIM of them stay finite */

/* docs/math.md, "Rotation"; docs/format.md, section 1. */
typedef enum kvb_rotation {
    KVB_ROTATION_NONE = 0,     /* head_dim: any multiple of 8 up to 576 */
    KVB_ROTATION_HADAMARD = 1, /* orthonormal; head_dim a multiple of 8 in 32..576, m * 2^k, m in {1,12,20,28,36} */
    KVB_ROTATION_SIGNED = 2    /* random signs from `sign_seed`, then the same transform */
} kvb_rotation;

/* The one factor of a row, on its rotated values x; c are the centroids of its codes. docs/math.md, "Scales". */
typedef enum kvb_scale_kind {
    KVB_SCALE_NORM = 0,  /* s = |x| / sqrt(head_dim), rounded to scale_dtype first; codes from x * (1/s) */
    KVB_SCALE_LSQ = 1,   /* codes from the unrounded norm; s = <x,c>/<c,c>, rounded; codes are not revisited */
    KVB_SCALE_SEARCH = 2 /* lsq from the best of nine norms: less error, nine times the encoding */
} kvb_scale_kind;

typedef struct kvb_codec_spec {
    int head_dim; /* values per row: see kvb_rotation */
    int bits;     /* 1-8 */
    kvb_rotation rotation;
    uint64_t sign_seed; /* KVB_ROTATION_SIGNED only */
    kvb_scale_kind scale;
    kvb_dtype scale_dtype;  /* KVB_F16 (saturating at 65504, counted) or KVB_F32 */
    const float *centroids; /* as many as levels, rising strictly, up to KVB_MAX_ABS; NULL: the library's. Copied. */
    int trellis_states;     /* 0: scalar codes; 8, 16 (the fast choice), 64 or 256: a trellis code, bits 2-6 */
    int half_bit; /* 1: the first half of the coordinates has bits + 1, also within the limits; head_dim 16n */
} kvb_codec_spec;

/* The library default: signed rotation (seed 0x6b766269), lsq scale in binary16, the library's codebook. */
KVB_API kvb_codec_spec kvb_codec_spec_default(int head_dim, int bits);
/* Its levels: 2^bits, of a trellis code twice as many; with half_bit those of bits + 1, then those of bits. */
KVB_API int kvb_codec_spec_levels(const kvb_codec_spec *spec);

KVB_API int kvb_head_dim_supported(int head_dim, kvb_rotation rotation); /* 1 when `rotation` accepts it, else 0 */

typedef struct kvb_codec kvb_codec;

/* backend NULL: the fastest. The codec is immutable: any number of threads may use it at once. KVB_ERROR_ARGUMENT for a
 * spec outside its ranges, KVB_ERROR_UNSUPPORTED without a backend or codebook for it, KVB_ERROR_MEMORY. *out is NULL
 * on failure. */
KVB_API KVB_CHECKED kvb_status kvb_codec_create(const kvb_codec_spec *spec, const kvb_backend *backend,
                                                const kvb_allocator *allocator, kvb_codec **out, kvb_error *error);
KVB_API void kvb_codec_destroy(kvb_codec *codec);                         /* NULL is legal */
KVB_API const kvb_codec_spec *kvb_codec_get_spec(const kvb_codec *codec); /* `centroids` are the codec's own copy */
KVB_API double kvb_codec_bits_per_value(const kvb_codec *codec); /* bits, half_bit / 2, scale bits / head_dim */

/* ---- Packed rows ------------------------------------------------------------------------------------------------ */

#define KVB_MAX_PLANES 6

/* Where packed rows lie. A b-bit code is cut into planes of 8, 4, 2 and 1 bits (5 = 4+1), so that every row of every
 * plane is whole bytes: plane p holds rows of width[p] * head_dim / 8 bytes, one after another, without padding. With
 * half_bit those of the first half come first. Scales are a plane of their own, aligned to their type. */
typedef struct kvb_packed {
    uint8_t *planes[KVB_MAX_PLANES];
    void *scales; /* uint16_t (binary16) or float per row */
} kvb_packed;

/* The planes of a code of `bits` bits: widths, low bits first (a trellis's inputs before); their number, or 0. */
KVB_API int kvb_plane_widths(int bits, int widths[KVB_MAX_PLANES]);
KVB_API int kvb_trellis_plane_widths(int bits, int widths[KVB_MAX_PLANES]);

/* Bytes of n_rows rows in one contiguous block: scales first, then the planes in order. 0 when it overflows size_t. */
KVB_API size_t kvb_codec_block_bytes(const kvb_codec *codec, size_t n_rows);
KVB_API kvb_packed kvb_packed_view(const kvb_codec *codec, void *block, size_t n_rows); /* block aligned to 4 */

typedef struct kvb_encode_stats {
    uint64_t rows;
    uint64_t saturated_scales; /* stored as the largest of their type: 65504 in binary16, sign kept */
    uint64_t not_finite_rows;  /* kvb_encode_unchecked only: rows stored with a NaN scale and codes 0 */
} kvb_encode_stats;

/* Encodes n_rows rows of head_dim values into rows first_row, first_row+1, ... of `packed`. row_stride counts values
 * from one row's start to the next (>= head_dim); `rows` is aligned to its type and does not overlap the planes. All
 * input is checked before the first byte is written: NaN, Inf or |x| > KVB_MAX_ABS gives KVB_ERROR_NOT_FINITE, naming
 * row and coordinate; KVB_ERROR_ARGUMENT for NULL, misaligned or too narrow, KVB_ERROR_MEMORY for sizes beyond size_t.
 * The planes' sizes are the caller's word. n_rows 0 does nothing. `stats` (may be NULL) is added to. */
KVB_API KVB_CHECKED kvb_status kvb_encode(const kvb_codec *codec, const void *rows, kvb_dtype dtype, size_t row_stride,
                                          size_t n_rows, const kvb_packed *packed, size_t first_row,
                                          kvb_encode_stats *stats, kvb_error *error);
/* The same without checks, so that every argument must be legal; but values may be anything: a row whose sum of squares
 * is not finite gets scale NaN and codes 0. */
KVB_API void kvb_encode_unchecked(const kvb_codec *codec, const void *rows, kvb_dtype dtype, size_t row_stride,
                                  size_t n_rows, const kvb_packed *packed, size_t first_row, kvb_encode_stats *stats);

typedef enum kvb_domain {
    KVB_DOMAIN_INPUT = 0,  /* rotated back: comparable with the rows that were encoded */
    KVB_DOMAIN_ROTATED = 1 /* centroid * scale as stored: comparable with kvb_rotate of the input */
} kvb_domain;

/* Decodes rows first_row .. first_row+n_rows-1 of `packed` to floats, row_stride values apart (>= head_dim). Any bytes
 * are legal: a stored scale of NaN gives a row of NaN. KVB_ERROR_ARGUMENT and KVB_ERROR_MEMORY as in kvb_encode. */
KVB_API KVB_CHECKED kvb_status kvb_decode(const kvb_codec *codec, const kvb_packed *packed, size_t first_row,
                                          size_t n_rows, kvb_domain domain, float *out, size_t row_stride,
                                          kvb_error *error);
/* The same of rows that kvb_encode would write first, to the bit, without packing: to the input's domain. `out` is
 * `rows` itself, with its stride, or does not overlap it. Errors as in both. */
KVB_API KVB_CHECKED kvb_status kvb_round_trip(const kvb_codec *codec, const float *rows, size_t row_stride,
                                              size_t n_rows, float *out, size_t out_stride, kvb_error *error);

/* The codec's rotation (signs, then transform) and its inverse, in place on n_rows rows, row_stride values apart;
 * identity for NONE. Nothing is checked. Rotated keys take rotated queries; a sum of rotated values is rotated back. */
KVB_API void kvb_rotate(const kvb_codec *codec, float *rows, size_t row_stride, size_t n_rows);
KVB_API void kvb_unrotate(const kvb_codec *codec, float *rows, size_t row_stride, size_t n_rows);

/* The numbers of the levels (of scalar codes: the codes) in one packed row, a byte each, head_dim of them, and its
 * scale as a float: for inspection and tests. Nothing is checked. */
KVB_API void kvb_packed_row_codes(const kvb_codec *codec, const kvb_packed *packed, size_t row, uint8_t *codes,
                                  float *scale);

/* ---- Pages: N tokens of one layer, all its KV heads ------------------------------------------------------------- */

/* How one layer's keys and values are stored. A codec NULL means dense: rows of `dense` (KVB_F16 or KVB_BF16) values.
 * In a latent layer (v_prefix_of_k) values are the first v_dim coordinates of the keys, and v_codec is NULL: dense keys
 * only, or codecs with rotation none; pages then hold no values. The codecs must outlive every use. */
typedef struct kvb_layer_format {
    int n_kv_heads;   /* 1 to 1024 */
    int k_dim, v_dim; /* 8 to 576, multiples of 8; those of the codecs where there are */
    const kvb_codec *k_codec, *v_codec;
    kvb_dtype dense;
    int v_prefix_of_k;
    int page_tokens; /* a power of two from 16 to 1024 */
} kvb_layer_format;

KVB_API KVB_CHECKED kvb_status kvb_layer_format_check(const kvb_layer_format *format, kvb_error *error);
/* Bytes of one page: head after head, each its key block, then its value block; every block starts at a multiple of 64
 * bytes and is kvb_codec_block_bytes(codec, page_tokens) long, or page_tokens * dim * 2 when dense. */
KVB_API size_t kvb_page_bytes(const kvb_layer_format *format);
/* The block of one head's keys (side 0) or values (side 1) in a page; for a latent layer side 1 is side 0. */
KVB_API const void *kvb_page_block(const kvb_layer_format *format, const void *page, int head, int side);

/* ---- Attention on pages ----------------------------------------------------------------------------------------- */

#define KVB_MAX_TOKENS ((int64_t)1 << 40) /* of a sequence */

/* One sequence of one layer, by raw pointers: what a cache hands to attention, and what engines fill themselves. */
typedef struct kvb_kv_view {
    const kvb_layer_format *format;
    const void *const *pages; /* page p holds tokens first_page_token + p*page_tokens ... ; entries may be NULL where
                               * no visible token lies */
    int64_t first_page_token; /* position of the first token of pages[0]; a multiple of page_tokens */
    int64_t n_tokens;         /* positions 0..n_tokens-1 exist; queries are its last n_q ones unless positions say
                               * otherwise */
    /* Exact tokens, raw halves (format->dense), unrotated: positions [0, exact_first) and [n_tokens - exact_last,
     * n_tokens) are read from here, not from pages. Layout [token][kv head][dim]; exact_last may be a ring: token t
     * lies in slot t % exact_last_slots. */
    const void *exact_first_k, *exact_first_v, *exact_last_k, *exact_last_v;
    int exact_first, exact_last, exact_last_slots;
    int window; /* 0: none; token j is visible to query i when i-window < j <= i; exact tokens outside the window stay
                 * masked */
    const float *k_mean; /* NULL, or [kv head][k_dim] finite values: keys in pages are stored less these (packed keys of
                          * a layer that is not latent); exact tokens are as they came */
} kvb_kv_view;

/* Points view->pages at pages[0..n), which it fills from a block table: page i lies at base + table[i] * page_stride
 * bytes, and is NULL where table[i] is negative. */
KVB_API void kvb_kv_view_from_table(kvb_kv_view *view, const void **pages, const void *base, size_t page_stride,
                                    const int32_t *table, size_t n);

/* ---- Softmax state ---------------------------------------------------------------------------------------------- */

/* Attention over some of the tokens, ready for more: what split-KV, several devices and several machines exchange.
 * With l the logits seen so far and v their values,
 *     max = max l,   sum = sum of exp(l - max),   accumulator = sum of exp(l - max) * v,
 * so that the output is accumulator / sum and the log-sum-exp (natural) is max + log(sum). max -Inf is the empty state:
 * legal everywhere, and merging it changes no bit. Logits of -Inf are masked: they and their values do not count.
 * A finished output and its log-sum-exp, made without a sink, are the state {lse, 1, out}. docs/math.md, "Softmax". */
typedef struct kvb_softmax_state {
    float max;
    float sum;
    float *accumulator; /* the caller's, dim values */
} kvb_softmax_state;

/* The empty state: clears the accumulator. */
KVB_API void kvb_softmax_begin(kvb_softmax_state *state, float *accumulator, int dim);
/* Adds n tokens: logits[t], and values at values + t * stride. */
KVB_API void kvb_softmax_update(kvb_softmax_state *state, const float *logits, const float *values, size_t stride,
                                size_t n, int dim);
/* state += other. The order of merging shows in the last bits only: merge in a fixed order for the same bits. */
KVB_API void kvb_softmax_merge(kvb_softmax_state *state, const kvb_softmax_state *other, int dim);
/* The log-sum-exp of the tokens so far, without a sink; -Inf for the empty state. */
KVB_API float kvb_softmax_lse(const kvb_softmax_state *state);
/* out = accumulator / (sum + exp(sink - max)); 0 for the empty state. `sink` is a logit that joins the denominator
 * only, -Inf for none. Returns the log-sum-exp with the sink in it. `out` may be the accumulator. */
KVB_API float kvb_softmax_finish(const kvb_softmax_state *state, float sink, float *out, int dim);

/* ---- Attention -------------------------------------------------------------------------------------------------- */

/* Tokens of a work item: chunk c is tokens c*512 .. c*512 + 511; partial results merge in the order of chunks. */
#define KVB_ATTEND_CHUNK 512
#define KVB_MAX_GROUP 1024 /* query heads per KV head */

/* How packed rows enter the sums. Each bound is the relative L2 error of an item's whole output against exact
 * arithmetic on the decoded rows, for logits with a standard deviation up to 6; it grows in proportion beyond.
 * Quantization is a hundred times coarser (docs/math.md, "Attention"). Dense rows and exact tokens are read in float
 * either way, and sums over chunks are kept in float. */
typedef enum kvb_precision {
    KVB_PRECISION_FAST = 0,   /* 5e-4: 16-bit integers within a tile of tokens, where the backend has such kernels */
    KVB_PRECISION_PRECISE = 1 /* 5e-6: float throughout */
} kvb_precision;

/* Queries of one sequence in one layer. Query i of head h is k_dim values at q[i*q_token_stride + h*q_head_stride] and
 * gets v_dim floats at out[i*out_token_stride + h*out_head_stride]; strides are counted in values. Query head h reads
 * KV head h / (n_heads / n_kv_heads).
 *
 * The query at position p sees token j when j <= p and, with a window, p - window < j. Logits are q.k * scale, with a
 * softcap softcap * tanh(q.k * scale / softcap). A query that sees nothing gets 0, and the log-sum-exp -Inf (or its
 * sink). What a query does not see has no influence on it, NaN included; NaN in what it sees gives NaN. */
typedef struct kvb_attend_item {
    const kvb_kv_view *kv;
    int n_q;     /* at least 1 */
    int n_heads; /* a multiple of n_kv_heads, up to KVB_MAX_GROUP times as many */
    const void *q;
    kvb_dtype q_dtype;
    size_t q_token_stride, q_head_stride; /* at least k_dim */
    float *out;
    size_t out_token_stride, out_head_stride; /* at least v_dim */
    float scale;                              /* finite */
    float softcap;                            /* 0: none */
    kvb_precision precision;
    const float *sinks;       /* one logit per query head, -Inf for none, or NULL */
    const int64_t *positions; /* n_q of them, or NULL: n_tokens - n_q + i. A query whose position is
                               * negative sees nothing; one beyond the last token is legal */
    /* Which of the last n_q tokens query i sees, whatever their position (trees of guessed tokens): row i is
     * (n_q + 7) / 8 bytes, bit j % 8 of byte j / 8 is token n_tokens - n_q + j. Older tokens are seen by position.
     * NULL: all by position. */
    const uint8_t *tree_mask;
    int64_t kv_begin, kv_end; /* only tokens kv_begin .. kv_end - 1 count; kv_end 0 is n_tokens. For split-KV: pages are
                               * read in that range only */
    float *lse;               /* n_q x n_heads log-sum-exps, sinks included, or NULL */
} kvb_attend_item;

/* Bytes of scratch for such a call. Grows with n_heads / n_kv_heads, head dims and workers; with n_q only up to a tile
 * of queries, and not with lengths or n_items (the largest item counts). 0: illegal items, or too many bytes. */
KVB_API size_t kvb_attend_scratch_bytes(const kvb_backend *backend, const kvb_attend_item *items, size_t n_items,
                                        const kvb_parallel *parallel);
/* Attention of every item, on packed pages as they lie. backend NULL: the fastest. Allocates nothing. The bits of an
 * item's result depend on that item and the backend alone, not on workers or on the other items. Everything but the
 * queries' values is checked before the first byte is written: KVB_ERROR_ARGUMENT names the item. `scratch` may lie
 * anywhere. Outputs may not overlap each other or anything that is read. */
KVB_API KVB_CHECKED kvb_status kvb_attend(const kvb_backend *backend, const kvb_attend_item *items, size_t n_items,
                                          void *scratch, size_t scratch_bytes, const kvb_parallel *parallel,
                                          kvb_error *error);

/* Root-mean-square norm in place of n_rows rows, row_stride values apart, as some models apply per head to Q, K or V
 * just before the cache: x / sqrt(mean of x^2 + eps), times gain[i] (NULL: without gain). Sums in double, no checks. */
KVB_API void kvb_rms_norm(float *rows, size_t row_stride, size_t n_rows, int dim, float eps, const float *gain);

/* ---- Cache: keys and values of many sequences ------------------------------------------------------------------- */

/* n_layers layers of up to max_sequences sequences, in pages that come from one arena of `budget` bytes. Attention
 * reads it through kvb_cache_view and kvb_attend, like any other pages. A step of a model, examples/decode_loop.c:
 *
 *     for each layer: kvb_cache_append(its new rows), kvb_cache_view, kvb_attend;   then kvb_cache_commit.
 *
 * Positions are implicit: token t of a sequence is at position t. Nothing shifts them, as the angles of rotary
 * embeddings are inside the codes: dropping the oldest tokens of a long text means encoding the rest again.
 *
 * Threads: one writer per cache at a time (everything that takes a kvb_cache * that is not const, and kvb_cache_bytes).
 * Beside it any number of readers, kvb_cache_view and kvb_attend, on sequences that the writer does not change, forks
 * that share pages with the changed one included. A view is valid until its sequence is next changed. */

#define KVB_MAX_LAYERS 1024
#define KVB_MAX_SEQUENCES 65536
#define KVB_MAX_K_MEAN 65504.0f /* magnitude of a mean key's values */
#define KVB_DENSE_BITS 16       /* in place of 1-8: rows of halves */

/* How one layer keeps its tokens. */
typedef struct kvb_layer_spec {
    int n_kv_heads;      /* 1 to 1024 */
    kvb_codec_spec k, v; /* bits KVB_DENSE_BITS: rows of `dense`, and only head_dim counts, a multiple of 8 up to 576 */
    kvb_dtype dense;     /* KVB_F16 or KVB_BF16: of dense rows and of exact tokens */
    int v_prefix_of_k;   /* latent: values are the first v.head_dim coordinates of the keys, and nothing else of v
                          * counts; k is dense or has rotation none */
    int window;          /* 0: none; else 1 and more, as in kvb_kv_view: pages behind it are given back at commit */
    int exact_first;     /* so many first tokens are kept raw, for ever; 0 to 65536 */
    int exact_last;      /* so many last tokens are kept raw and encoded from that when newer ones push them out; every
                          * row is rounded to `dense` first, so that it does not matter how tokens were grouped into
                          * appends; 0 to 65536 */
    const float *k_mean; /* NULL, or the mean of the model's keys, [kv head][head_dim], up to KVB_MAX_K_MEAN: packed
                          * keys are encoded less it, and attention adds its product with the query to their logits,
                          * before any softcap. Copied. Not for dense keys or latent layers (docs/math.md, "Centered
                          * keys") */
} kvb_layer_spec;

/* One head_dim, bits 1-8 or KVB_DENSE_BITS, codecs as kvb_codec_spec_default, dense KVB_F16, and nothing else. */
KVB_API kvb_layer_spec kvb_layer_spec_default(int n_kv_heads, int head_dim, int k_bits, int v_bits);

typedef struct kvb_cache_spec {
    const kvb_layer_spec *layers; /* copied, centroids too */
    int n_layers;                 /* 1 to KVB_MAX_LAYERS */
    int page_tokens;              /* a power of two from 16 to 1024; 0 is 64 */
    int max_sequences;            /* 1 to KVB_MAX_SEQUENCES */
    int64_t max_tokens;           /* of a sequence, 1 to KVB_MAX_TOKENS; tables take 8 bytes for each page that it may
                                   * have, in each layer of each sequence */
    size_t budget;                /* bytes of the arena: pages and exact tokens of all sequences */
} kvb_cache_spec;

typedef struct kvb_cache kvb_cache;

/* ---- Creation and memory ---- */

/* What one layer of one sequence takes once `tokens` tokens are committed: to the byte what a cache then holds. */
typedef struct kvb_layer_cost {
    size_t page_bytes;     /* of one page, padding included */
    int64_t n_pages;       /* held: not those behind the window, nor those that hold only exact tokens */
    size_t exact_bytes;    /* of all exact tokens, held from the first token on */
    size_t bytes;          /* n_pages * page_bytes + exact_bytes */
    double bits_per_value; /* of a row in a page, scale included, keys and values together; without padding */
} kvb_layer_cost;

/* page_tokens as in kvb_cache_spec; tokens 0 to KVB_MAX_TOKENS. KVB_ERROR_ARGUMENT, KVB_ERROR_MEMORY beyond size_t. */
KVB_API KVB_CHECKED kvb_status kvb_layer_cost_of(const kvb_layer_spec *layer, int page_tokens, int64_t tokens,
                                                 kvb_layer_cost *cost, kvb_error *error);

/* Allocates one block of bookkeeping, a codec for each distinct codec spec of all layers, and the arena, which is not
 * touched until it is needed; nothing else ever allocates. backend (NULL: the fastest) encodes. KVB_ERROR_ARGUMENT
 * names the layer; KVB_ERROR_MEMORY. *out is NULL on failure. */
KVB_API KVB_CHECKED kvb_status kvb_cache_create(const kvb_cache_spec *spec, const kvb_backend *backend,
                                                const kvb_allocator *allocator, kvb_cache **out, kvb_error *error);
KVB_API void kvb_cache_destroy(kvb_cache *cache);                         /* NULL is legal */
KVB_API const kvb_cache_spec *kvb_cache_get_spec(const kvb_cache *cache); /* layers and centroids are its own */

typedef struct kvb_cache_usage {
    size_t budget;           /* pages + exact + free */
    size_t pages;            /* of pages in use, reserved ones included; one that several sequences share counts once */
    size_t exact;            /* of exact tokens */
    size_t free;             /* what was given back serves its own size again, until nothing at all is in use */
    size_t bookkeeping;      /* outside of the budget: the cache itself, its tables, its codecs */
    kvb_encode_stats encode; /* of all rows encoded so far */
} kvb_cache_usage;
KVB_API kvb_cache_usage kvb_cache_bytes(const kvb_cache *cache);

/* ---- Sequences: ints from 0 to max_sequences - 1. KVB_ERROR_ARGUMENT for one that is not open ---- */

/* An empty one. KVB_ERROR_MEMORY when all are open. */
KVB_API KVB_CHECKED kvb_status kvb_cache_open_sequence(kvb_cache *cache, int *sequence, kvb_error *error);
KVB_API void kvb_cache_free_sequence(kvb_cache *cache, int sequence);     /* gives its pages back, if it is open */
KVB_API int64_t kvb_cache_n_tokens(const kvb_cache *cache, int sequence); /* committed; -1: it is not open */

/* New keys and values of one layer: [token][kv head][dim], strides counted in values; a token stride of 0 is
 * n_kv_heads head strides, a head stride of 0 is the side's head_dim. */
typedef struct kvb_kv_rows {
    const void *k, *v; /* aligned to dtype; v does not count in a latent layer */
    kvb_dtype dtype;   /* KVB_F32, KVB_F16 or KVB_BF16 */
    int64_t n_tokens;  /* 0 and more */
    size_t k_token_stride, k_head_stride, v_token_stride, v_head_stride;
} kvb_kv_rows;

/* Adds tokens to one layer, which its views then show. How tokens are grouped into appends changes no byte. Everything
 * is checked before anything is written: KVB_ERROR_NOT_FINITE for NaN, Inf, |x| > KVB_MAX_ABS, or |x| >= 65520 that is
 * to be kept in binary16, naming token, head and coordinate; KVB_ERROR_ARGUMENT for what is NULL, misaligned, too
 * narrow or beyond max_tokens; KVB_ERROR_MEMORY when the budget lacks pages. Shared pages are copied first. */
KVB_API KVB_CHECKED kvb_status kvb_cache_append(kvb_cache *cache, int sequence, int layer, const kvb_kv_rows *rows,
                                                kvb_error *error);
/* Takes the pages that n_tokens more tokens need in every layer (as without a commit between them), so that appending
 * them cannot fail for memory. Holds until the sequence is truncated or forked. KVB_ERROR_MEMORY: nothing changed. */
KVB_API KVB_CHECKED kvb_status kvb_cache_reserve(kvb_cache *cache, int sequence, int64_t n_tokens, kvb_error *error);
/* Ends a step: the sequence has the tokens that were appended, as many in every layer (KVB_ERROR_ARGUMENT names one
 * that differs), and pages that no query at position n_tokens or later can see go back: attend before. */
KVB_API KVB_CHECKED kvb_status kvb_cache_commit(kvb_cache *cache, int sequence, kvb_error *error);
/* Keeps the first n_tokens tokens in every layer; 0 to those appended, committed or not. Appended tokens that are not
 * committed can always be taken back. What was encoded is not restored: fewer last tokens are exact then, until new
 * ones come. KVB_ERROR_ARGUMENT where a window has given back pages that a query there sees, naming the least length.
 */
KVB_API KVB_CHECKED kvb_status kvb_cache_truncate(kvb_cache *cache, int sequence, int64_t n_tokens, kvb_error *error);
/* A second sequence with the committed tokens. Pages are shared, whoever writes one first copies it; exact tokens are
 * copied. KVB_ERROR_MEMORY: nothing changed. */
KVB_API KVB_CHECKED kvb_status kvb_cache_fork(kvb_cache *cache, int sequence, int *copy, kvb_error *error);

/* One layer of a sequence for kvb_attend: all tokens appended to it so far, committed or not. Its pages are the cache's
 * own table, with NULL where pages were given back. */
KVB_API KVB_CHECKED kvb_status kvb_cache_view(const kvb_cache *cache, int sequence, int layer, kvb_kv_view *view,
                                              kvb_error *error);

/* ---- Sums over rows, bit-exact ---------------------------------------------------------------------------------- */

/* The two sums of attention over rows of floats, with the same bits on every backend: for results that must not depend
 * on the machine, such as the evaluation's. (kvb_attend is faster and reads packed rows; its last bits depend on the
 * backend.) Products and sums are rounded one by one; <a, b> is the sum of docs/format.md, section 2, over a[i] * b[i].
 * Rows lie row_stride values apart; dim is a multiple of 8. Nothing is checked. */

/* dots[r] = <row r, query> */
KVB_API void kvb_rows_dot(const kvb_backend *backend, const float *rows, size_t row_stride, size_t n_rows,
                          const float *query, int dim, float *dots);
/* sum[i] += weights[r] * row r [i], for r in rising order. A row of weight 0 is left out, whatever it holds. */
KVB_API void kvb_rows_add(const kvb_backend *backend, const float *rows, size_t row_stride, size_t n_rows,
                          const float *weights, int dim, float *sum);
/* ---- Files ------------------------------------------------------------------------------------------------------ */

/* A .kvb file holds a whole cache, or one sequence of it, in one canonical order of bytes (docs/format.md, section 9):
 * formats, centroids, mean keys, exact tokens and pages, each section with its CRC-32C. What was saved decodes for
 * ever, and a loaded cache is saved as the same bytes again. */

/* Saves every sequence, under its number. The file takes its name only when it is whole and on the disk: after a
 * failure, a full disk (KVB_ERROR_IO) or a crash the file that had the name before is as it was. KVB_ERROR_ARGUMENT
 * when a sequence has tokens that are not committed. Nothing may write to it meanwhile. Takes 40 KiB of stack. */
KVB_API KVB_CHECKED kvb_status kvb_cache_save(const kvb_cache *cache, const char *path, kvb_error *error);
/* The same with one sequence alone, as sequence 0 of a cache of otherwise this spec. */
KVB_API KVB_CHECKED kvb_status kvb_cache_save_sequence(const kvb_cache *cache, int sequence, const char *path,
                                                       kvb_error *error);

/* What a file may ask for, at most; what is 0 means the default. */
typedef struct kvb_load_limits {
    uint64_t file_bytes; /* of the file; default 2^40 */
    uint64_t budget;     /* of the cache; default 2^36 (64 GiB), which are not touched before they are needed */
    uint64_t tables;     /* bytes outside of the budget, for max_tokens and max_sequences; default 2^30 (1 GiB) */
    int layers;          /* default KVB_MAX_LAYERS */
    int sequences;       /* max_sequences of the cache; default KVB_MAX_SEQUENCES */
    int64_t tokens;      /* max_tokens of the cache; default KVB_MAX_TOKENS */
} kvb_load_limits;

/* Makes the cache that the file describes: the spec with which it was created, the sequences under their numbers.
 * backend, allocator: as in kvb_cache_create. limits NULL: the defaults. Everything is checked, and nothing is
 * allocated for a number before it was compared with the limits and with the file's size. KVB_ERROR_FORMAT names
 * section and byte of what is broken; KVB_ERROR_ARGUMENT for what exceeds the limits; KVB_ERROR_IO, KVB_ERROR_MEMORY.
 * *out is NULL on failure. */
KVB_API KVB_CHECKED kvb_status kvb_cache_load(const char *path, const kvb_load_limits *limits,
                                              const kvb_backend *backend, const kvb_allocator *allocator,
                                              kvb_cache **out, kvb_error *error);
/* Opens a sequence of `cache` with the tokens of the file, which holds one sequence. Layers and page_tokens must be the
 * cache's; KVB_ERROR_ARGUMENT names the first difference. On failure the cache is as it was. */
KVB_API KVB_CHECKED kvb_status kvb_cache_load_sequence(kvb_cache *cache, const char *path,
                                                       const kvb_load_limits *limits, int *sequence, kvb_error *error);

typedef struct kvb_file_header {
    int version;
    uint64_t bytes; /* of the file, as it says itself */
    uint32_t n_sections, n_layers, n_sequences;
} kvb_file_header;

typedef struct kvb_file_section {
    size_t index;
    char type[5]; /* four letters: docs/format.md, section 9 */
    int optional;
    int64_t sequence, layer; /* -1 where it belongs to none */
    uint64_t offset;         /* in the file, of its head */
    uint64_t bytes;          /* of its content */
    uint32_t crc;            /* as stored */
    int crc_is_right;
} kvb_file_section;

typedef struct kvb_file_sequence {
    int number; /* in the cache */
    int64_t n_tokens;
    int64_t pages, shared_pages;      /* in all layers: held by the sequence itself, and by earlier ones */
    uint64_t page_bytes, exact_bytes; /* its own */
} kvb_file_sequence;

/* Is called with what a file holds, in order, as it is read: each member may be NULL. */
typedef struct kvb_file_visitor {
    void *context;
    void (*header)(void *context, const kvb_file_header *header);
    void (*spec)(void *context, const kvb_cache_spec *spec);
    void (*sequence)(void *context, const kvb_file_sequence *sequence);
    void (*section)(void *context, const kvb_file_section *section); /* a broken one, too, as the last */
} kvb_file_visitor;

/* Checks a file as kvb_cache_load does, without making a cache: memory for the tables of the sequences only. */
KVB_API KVB_CHECKED kvb_status kvb_file_inspect(const char *path, const kvb_load_limits *limits,
                                                const kvb_allocator *allocator, const kvb_file_visitor *visitor,
                                                kvb_error *error);

#ifdef __cplusplus
}
#endif
#endif
