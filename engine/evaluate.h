/* Schemes of storing keys and values, measured by what they do to the model's next-token distributions on a text.
 * docs/eval.md defines every figure. */
#ifndef KVBITS_ENGINE_EVALUATE_H
#define KVBITS_ENGINE_EVALUATE_H

#include "subject.h"

typedef struct kvb_eval_tokens {
    const int32_t *tokens;
    int n_tokens;  /* n_windows * window of them are used */
    int window;    /* tokens of a sequence: each begins anew */
    int32_t first; /* stands before every window, and takes one of its places; -1: none */
} kvb_eval_tokens;

typedef struct kvb_eval {
    kvb_subject *subject;
    kvb_eval_tokens text;
    int n_windows;
    double *reference_loss;              /* [n_windows * window] */
    kvb_divergence **divergence;         /* [scheme][n_windows * window] */
    double **layer_error, **layer_power; /* [scheme][n_windows][n_layers]; NULL rows for the engine's caches */
} kvb_eval;

/* Of the schemes that the subject has; its context is the window. The tokens' array is not copied. */
KVB_CHECKED kvb_status kvb_eval_create(kvb_subject *subject, const kvb_eval_tokens *text, kvb_eval **out,
                                       kvb_error *error);
void kvb_eval_free(kvb_eval *eval); /* NULL is legal; the subject stays */
/* Measures all schemes. */
KVB_CHECKED kvb_status kvb_eval_run(kvb_eval *eval, kvb_error *error);
/* Mean KL divergence that a scheme makes, in nats, over all positions. */
double kvb_eval_mean_kl(const kvb_eval *eval, int scheme);
/* The result as JSON (released with free()), docs/eval.md has the schema. model, text: names of the files. */
KVB_CHECKED kvb_status kvb_eval_json(const kvb_eval *eval, const char *model, const char *text, char **json,
                                     kvb_error *error);
/* From that JSON, as Markdown (released with free()); KVB_ERROR_FORMAT for anything else. */
KVB_CHECKED kvb_status kvb_eval_markdown(const char *json, size_t bytes, char **markdown, kvb_error *error);

#endif
