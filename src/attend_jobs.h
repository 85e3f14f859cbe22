/* Attention on pages as kernels see it. A CPU cuts a call into tiles (some queries of one item, all heads that share a
 * KV head) and tiles into parts (a chunk of tokens). */
#ifndef KVB_ATTEND_JOBS_H
#define KVB_ATTEND_JOBS_H

#include "jobs.h"

/* A whole call: validated, and the scratch as large as attend_scratch says. */
typedef struct kvb_attend_job {
    const kvb_attend_item *items;
    size_t n_items;
    void *scratch;
    const kvb_parallel *parallel;
} kvb_attend_job;

/* The tokens that one query sees by position, [begin, end), and where those begin that it sees by the item's tree mask
 * (n_tokens where there are none). */
typedef struct kvb_visible {
    int64_t begin, end;
    int64_t tree_begin;
} kvb_visible;

/* attend_visible.c. `query` counts from the item's first. */
kvb_visible kvb_visible_to(const kvb_attend_item *item, int query);
/* Bit t: the query sees token first + t; n_tokens up to 32. */
uint32_t kvb_visible_bits(const kvb_attend_item *item, int query, const kvb_visible *visible, int64_t first,
                          int n_tokens);

/* Where tokens from `first` on come from: so many in a row lie in one page, or one after another among the exact ones.
 */
typedef enum kvb_source { KVB_SOURCE_PAGE, KVB_SOURCE_EXACT_FIRST, KVB_SOURCE_EXACT_LAST } kvb_source;

typedef struct kvb_token_run {
    kvb_source source;
    const void *page; /* may be NULL when nobody sees the tokens */
    size_t row;       /* of the first token in its page, or in its array of exact tokens */
    int64_t n_tokens;
} kvb_token_run;

/* The run that begins with token `first` and ends before `end`. */
kvb_token_run kvb_token_run_at(const kvb_kv_view *kv, int64_t first, int64_t end);

#endif
