#include "divergence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* exp(x) for x <= 0, relative error below 3e-7, below -87 as at -87 (1e-38): exponents by 2^n, the rest by a
 * polynomial. One for both sides of a comparison, plain enough to be vectorized, the same bits on every machine. */
static inline float exp_of(float x) {
    const float shift = 0x1.8p23f;
    x = x < -87.0f ? -87.0f : x;
    const float n = x * 1.44269504f + shift;
    uint32_t bits;
    memcpy(&bits, &n, sizeof bits);
    const float whole = n - shift, r = (x - whole * 0.693145752f) - whole * 1.42860677e-6f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const uint32_t scale = (bits + 127) << 23;
    float power;
    memcpy(&power, &scale, sizeof power);
    return p * power;
}

enum { BLOCK = 128 };

static int32_t find_top(const float *x, int n) {
    int32_t top = 0;
    for (int i = 1; i < n; i++)
        top = x[i] > x[top] ? i : top;
    return top;
}

/* Sum of exp(x - max); and, unless other is NULL, *weighted the sum of exp(x - max) * (x - other). */
static double sum_exps(const float *x, const float *other, int n, float max, double *weighted) {
    double sum = 0, differences = 0;
    for (int at = 0; at < n; at += BLOCK) {
        const int size = n - at < BLOCK ? n - at : BLOCK;
        float e[BLOCK];
        for (int i = 0; i < size; i++)
            e[i] = exp_of(x[at + i] - max);
        for (int i = 0; i < size; i++)
            sum += (double)e[i];
        for (int i = 0; other && i < size; i++)
            differences += (double)e[i] * ((double)x[at + i] - (double)other[at + i]);
    }
    if (weighted)
        *weighted = differences;
    return sum;
}

static double lse_of(const float *x, int n, int32_t *top) {
    *top = find_top(x, n);
    const float max = x[*top];
    return (double)max + log(sum_exps(x, NULL, n, max, NULL));
}

kvb_status kvb_reference_create(int n_vocab, int window, kvb_reference *out, kvb_error *error) {
    const size_t n = (size_t)window;
    *out = (kvb_reference){.n_vocab = n_vocab, .window = window};
    if (n <= SIZE_MAX / sizeof(float) / (size_t)n_vocab)
        out->logits = malloc(n * (size_t)n_vocab * sizeof *out->logits);
    out->lse = malloc(n * sizeof *out->lse);
    out->top = malloc(n * sizeof *out->top);
    if (!out->logits || !out->lse || !out->top) {
        kvb_reference_free(out);
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the logits of %d tokens, %d each", window,
                             n_vocab);
    }
    return KVB_OK;
}

void kvb_reference_free(kvb_reference *reference) {
    free(reference->logits);
    free(reference->lse);
    free(reference->top);
    *reference = (kvb_reference){.window = 0};
}

typedef struct job {
    const kvb_reference *reference;
    size_t first;
    const float *logits;
    const int32_t *next;
    kvb_divergence *out;
} job;

static void take_token(void *context, size_t i, int worker) {
    const job *j = context;
    const kvb_reference *r = j->reference;
    const size_t at = j->first + i;
    (void)worker;
    r->lse[at] = lse_of(r->logits + at * (size_t)r->n_vocab, r->n_vocab, &r->top[at]);
}

void kvb_reference_take(kvb_reference *reference, int64_t position, int n, const float *logits,
                        const kvb_parallel *parallel) {
    job j = {.reference = reference, .first = (size_t)position};
    const size_t row = (size_t)reference->n_vocab;
    memcpy(reference->logits + j.first * row, logits, (size_t)n * row * sizeof *logits);
    kvb_parallel_for(parallel, (size_t)n, take_token, &j);
}

double kvb_reference_difference(const kvb_reference *reference, int64_t position, int n, const float *logits) {
    const size_t row = (size_t)reference->n_vocab;
    const float *before = reference->logits + (size_t)position * row;
    double largest = 0;
    for (size_t i = 0; i < (size_t)n * row; i++) {
        const double difference = fabs((double)before[i] - (double)logits[i]);
        if (!(difference <= largest))
            largest = isnan(difference) ? INFINITY : difference;
    }
    return largest;
}

double kvb_reference_log_loss(const kvb_reference *reference, size_t i, int32_t next) {
    return next < 0 ? 0 : reference->lse[i] - (double)reference->logits[i * (size_t)reference->n_vocab + (size_t)next];
}

static void compare_token(void *context, size_t i, int worker) {
    const job *j = context;
    const kvb_reference *r = j->reference;
    const size_t at = j->first + i, row = (size_t)r->n_vocab;
    const float *p = r->logits + at * row, *q = j->logits + i * row;
    int32_t top;
    double weighted;
    (void)worker;
    const double lse = lse_of(q, r->n_vocab, &top);
    const double sum = sum_exps(p, q, r->n_vocab, p[r->top[at]], &weighted);
    const double kl = weighted / sum + lse - r->lse[at];
    j->out[i] = (kvb_divergence){.kl = kl > 0 || isnan(kl) ? kl : 0, /* rounding may take a zero below zero */
                                 .log_loss = j->next[i] < 0 ? 0 : lse - (double)q[j->next[i]],
                                 .same_top = top == r->top[at],
                                 .hit = top == j->next[i]};
}

void kvb_divergence_of(const kvb_reference *reference, int64_t position, int n, const float *logits,
                       const int32_t *next, kvb_divergence *out, const kvb_parallel *parallel) {
    job j = {.reference = reference, .first = (size_t)position, .logits = logits, .next = next, .out = out};
    kvb_parallel_for(parallel, (size_t)n, compare_token, &j);
}
