/* T1c: one decode step over all positions of a synthetic cache, for every kv_len and every pair of variants at once. */
#ifndef KVB_EVAL_AB_ATTENTION_H
#define KVB_EVAL_AB_ATTENTION_H

#include "measured.h"

/* measured[i] is for config->kv_lens[i]; made by the call, freed by the caller. */
KVB_CHECKED kvb_status kvb_ab_attention(const kvb_ab_config *config, const kvb_comparison *comparison,
                                        const kvb_arithmetic *arithmetic, const kvb_parallel *parallel,
                                        const kvb_progress *progress, const char *what, kvb_measured *measured,
                                        kvb_error *error);

#endif
