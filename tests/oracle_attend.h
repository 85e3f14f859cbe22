/* Attention in double precision on rows that are decoded first: what include/kvbits/kvbits.h says about pages, exact
 * tokens and what a query sees, restated naively. */
#ifndef KVB_TESTS_ORACLE_ATTEND_H
#define KVB_TESTS_ORACLE_ATTEND_H

#include "kvbits/kvbits.h"

/* 1 when the item's query sees the token. */
int oracle_sees(const kvb_attend_item *item, int query, int64_t token);
/* Outputs as [n_q][n_heads][v_dim] and log-sum-exps as [n_q][n_heads]. Decodes all tokens that lie anywhere; those
 * that are visible must be finite. */
void oracle_attend(const kvb_attend_item *item, double *out, double *lse);

#endif
