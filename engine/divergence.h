/* How far one run's next-token distributions are from the reference run's, from float logits. */
#ifndef KVBITS_ENGINE_DIVERGENCE_H
#define KVBITS_ENGINE_DIVERGENCE_H

#include <stddef.h>
#include <stdint.h>

#include "kvbits/kvbits.h"

/* The reference: logits of a window, kept whole. */
typedef struct kvb_reference {
    int n_vocab, window;
    float *logits; /* [window][n_vocab] */
    double *lse;   /* of each token */
    int32_t *top;  /* its most probable next token */
} kvb_reference;

KVB_CHECKED kvb_status kvb_reference_create(int n_vocab, int window, kvb_reference *out, kvb_error *error);
void kvb_reference_free(kvb_reference *reference);
/* Takes the logits of tokens position .. position + n - 1. */
void kvb_reference_take(kvb_reference *reference, int64_t position, int n, const float *logits,
                        const kvb_parallel *parallel);
/* The largest difference from logits taken before. NaN counts as infinite. */
double kvb_reference_difference(const kvb_reference *reference, int64_t position, int n, const float *logits);

/* -log of what the reference gives `next` behind its token i; 0 for a `next` of -1. */
double kvb_reference_log_loss(const kvb_reference *reference, size_t i, int32_t next);

typedef struct kvb_divergence {
    double kl;       /* of the reference's distribution to this one, in nats */
    double log_loss; /* -log of what this one gives the token that comes next; 0 when none does */
    int same_top;    /* both have the same most probable token */
    int hit;         /* this one's is the one that comes next */
} kvb_divergence;

/* out[i] for token position + i. next: the token behind each of them, -1 for none. */
void kvb_divergence_of(const kvb_reference *reference, int64_t position, int n, const float *logits,
                       const int32_t *next, kvb_divergence *out, const kvb_parallel *parallel);

#endif
