/* One call of kvb_attend from a description: rows at random, pages, exact tokens, masks, and what the oracle expects.
 * Everything that the call may not read or use is NaN: gaps of q, tokens that no query sees, slots that hold nothing.
 */
#ifndef KVB_TESTS_ATTEND_CASE_H
#define KVB_TESTS_ATTEND_CASE_H

#include "backends.h"

/* 0 is a choice wherever it is not said otherwise. */
typedef struct attend_shape {
    uint64_t seed;
    int k_bits, v_bits; /* 0: dense */
    kvb_rotation k_rotation, v_rotation;
    int k_states, v_states; /* of trellis codes; only where the bits allow them */
    int has_half_bits; /* codes of half a bit more, where dims and bits allow them; then codebooks are the library's */
    int has_float_scales;
    int is_uneven;         /* codebooks without symmetry */
    kvb_dtype dense;       /* KVB_F16 where 0 */
    int k_dim, v_dim;      /* not 0 */
    int is_latent;         /* then v_bits and rotations do not count */
    int page_tokens;       /* 16 where 0 */
    int n_kv_heads, group; /* 1 where 0 */
    int64_t first_token;   /* tokens before have no page; a multiple of page_tokens */
    int n_tokens;          /* from there on */
    int n_q;               /* 1 where 0 */
    int exact_first, exact_last, slots;
    int window;
    float softcap;
    float peak; /* standard deviation of the logits about; 1 where 0 */
    int has_sinks, has_tree, has_positions;
    kvb_dtype q_dtype;
    int64_t kv_begin, kv_end;
    int has_mean;            /* keys in pages are stored less a mean, where they are packed and not latent */
    int has_no_pages_unseen; /* pages that nobody sees are NULL, else NaN */
} attend_shape;

/* Where buffers come from; NULL: malloc. */
typedef struct attend_memory {
    void *(*allocate)(size_t bytes);
    void (*release)(void *pointer, size_t bytes);
} attend_memory;

typedef struct attend_case {
    attend_shape shape;
    const attend_memory *memory;
    kvb_codec *k_codec, *v_codec;
    kvb_codec *k_encoder, *v_encoder; /* of the same bytes: who encodes, so that many states take no longer than few */
    kvb_layer_format format;
    kvb_kv_view view;
    kvb_attend_item item; /* out and lse are the case's own; precise unless a test says otherwise */
    size_t n_pages, n_q_values, n_out;
    double *expected, *expected_lse;
} attend_case;

void attend_case_create(attend_case *c, const attend_shape *shape, const attend_memory *memory);
void attend_case_destroy(attend_case *c);
/* Asks the oracle once more, after the case was changed. */
void attend_case_expect(attend_case *c);
/* Memory as the case's own: full of NaN. */
void *attend_case_allocate(const attend_case *c, size_t bytes);
void attend_case_release(const attend_case *c, const void *pointer, size_t bytes);

/* What may be between a result and the oracle's: |difference| / |expected| over an item's output, and the difference of
 * log-sum-exps. */
typedef enum attend_precision {
    ATTEND_PRECISE = KVB_PRECISION_PRECISE,
    ATTEND_FAST = KVB_PRECISION_FAST
} attend_precision;
double attend_bound(const kvb_backend *backend, attend_precision precision);

/* The case's last outputs against the oracle's: |difference| / |expected| of all rows together and of the worst row,
 * and the worst difference of log-sum-exps over the larger of 1 and their magnitude; INFINITY for NaN. */
typedef struct attend_errors {
    double item, row, lse;
    size_t worst_row, worst_lse;
} attend_errors;
attend_errors attend_case_errors(const attend_case *c);

/* kvb_attend of these cases in one call, in scratch of exactly the size that was asked for, on outputs that are
 * cleared. */
void attend_cases_run(attend_case *cases, size_t n, const kvb_backend *backend, const kvb_parallel *parallel);
/* Fails where the case's outputs are not the oracle's, or a gap between them was written. */
void attend_case_check(attend_case *c, const kvb_backend *backend, attend_precision precision);
/* Copies outputs and log-sum-exps, one after another, and returns their bytes: to compare bits. */
size_t attend_case_result(const attend_case *c, float *result);
/* The case's number of rows of outputs, n_q * n_heads. */
size_t attend_case_rows(const attend_case *c);

#endif
