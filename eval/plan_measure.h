/* What every width does to the attention of each layer of a trace: the curves that plans are made of. */
#ifndef KVBITS_EVAL_PLAN_MEASURE_H
#define KVBITS_EVAL_PLAN_MEASURE_H

#include "kvbits/eval.h"

enum {
    KVB_PLAN_PACKED = KVB_MAX_BITS,
    KVB_PLAN_DENSE = KVB_PLAN_PACKED,                   /* the place of 16 bits */
    KVB_PLAN_WHOLE = KVB_PLAN_DENSE + 1,                /* places before those of half bits */
    KVB_PLAN_WIDTHS = KVB_PLAN_WHOLE + KVB_MAX_BITS - 1 /* with them */
};

/* 1-8, 16 and 1.5-7.5 bits, by their places; of the last the whole bits. */
extern const int kvb_plan_widths[KVB_PLAN_WIDTHS];

static inline int kvb_plan_half(int place) {
    return place >= KVB_PLAN_WHOLE;
}

/* The places among which a request chooses. */
static inline int kvb_plan_choices(const kvb_plan_request *request) {
    return request->half_bits ? KVB_PLAN_WIDTHS : KVB_PLAN_WHOLE;
}

/* NRMSE of one layer's attention output, by places of widths; NaN where it was not measured. */
typedef struct kvb_plan_curves {
    double one_side[2][KVB_PLAN_WIDTHS]; /* keys, values: with the other side exact */
    double both[KVB_PLAN_WIDTHS][KVB_PLAN_WIDTHS];
} kvb_plan_curves;

/* The trellis states with which a side of that width is stored under the request: 0 where it has none. */
int kvb_plan_states(const kvb_plan_request *request, int place);

/* Tokens of the trace whose keys' mean is taken off; queries after them judge it. */
int kvb_plan_mean_tokens(const kvb_trace *trace);

/* The way in which rows are stored that a curve is of. */
typedef struct kvb_plan_way {
    kvb_exact_tokens exact;
    int is_centered; /* keys less their mean over kvb_plan_mean_tokens */
} kvb_plan_way;

/* Fills curves[layers of the trace], of rows stored in one way. All ways of a request are judged by the same queries:
 * those behind the tokens that give the mean, where it asks for one, with more tokens before them than any of its
 * choices of exact ones, for what earlier ones see would all be exact, which no long context's is. Halves are taken as
 * exact: what they do is a thousandth of what 8 bits do. */
KVB_CHECKED kvb_status kvb_plan_measure(const kvb_trace *trace, const kvb_plan_request *request, kvb_plan_way way,
                                        const kvb_parallel *parallel, const kvb_progress *progress,
                                        kvb_plan_curves *curves, kvb_error *error);

#endif
