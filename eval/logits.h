/* How far a row of scores is from the exact one: logit error, softmax KL divergence, flips among the largest keys. */
#ifndef KVB_EVAL_LOGITS_H
#define KVB_EVAL_LOGITS_H

#include "attend.h"

/* Compares score row `row` with row `exact` after kvb_attend_softmax's exponentials; adds to *sums. */
void kvb_logits_compare(const kvb_attend_variants *attend, size_t exact, size_t row, kvb_logit_sums *sums);

#endif
