#include "evaluate.h"

#include <stdlib.h>
#include <string.h>

void kvb_eval_free(kvb_eval *eval) {
    if (!eval)
        return;
    for (int i = 0; i < eval->subject->n_schemes; i++) {
        if (eval->divergence)
            free(eval->divergence[i]);
        if (eval->layer_error)
            free(eval->layer_error[i]);
        if (eval->layer_power)
            free(eval->layer_power[i]);
    }
    free(eval->divergence);
    free(eval->layer_error);
    free(eval->layer_power);
    free(eval->reference_loss);
    free(eval);
}

static kvb_status allocate(kvb_eval *eval, kvb_error *error) {
    const size_t n = (size_t)eval->subject->n_schemes, windows = (size_t)eval->n_windows;
    const size_t tokens = windows * (size_t)eval->text.window, layers = windows * (size_t)eval->subject->n_layers;
    eval->reference_loss = calloc(tokens, sizeof(double));
    eval->divergence = calloc(n + 1, sizeof(kvb_divergence *));
    eval->layer_error = calloc(n + 1, sizeof(double *));
    eval->layer_power = calloc(n + 1, sizeof(double *));
    int whole = eval->reference_loss && eval->divergence && eval->layer_error && eval->layer_power;
    for (size_t i = 0; i < n && whole; i++) {
        eval->divergence[i] = calloc(tokens, sizeof(kvb_divergence));
        whole = eval->divergence[i] != NULL;
        if (!eval->subject->schemes[i].layers)
            continue;
        eval->layer_error[i] = calloc(layers, sizeof(double));
        eval->layer_power[i] = calloc(layers, sizeof(double));
        whole = whole && eval->layer_error[i] && eval->layer_power[i];
    }
    return whole ? KVB_OK
                 : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the figures of %zu schemes in %d windows",
                                 n, eval->n_windows);
}

kvb_status kvb_eval_create(kvb_subject *subject, const kvb_eval_tokens *text, kvb_eval **out, kvb_error *error) {
    const int own = text->window - (text->first >= 0);
    *out = NULL;
    if (text->window < 16 || text->n_tokens < own)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "%d tokens in windows of %d; legal: windows of at least 16, and "
                             "one full window",
                             text->n_tokens, text->window);
    kvb_eval *eval = calloc(1, sizeof *eval);
    if (!eval)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for an evaluation");
    *eval = (kvb_eval){.subject = subject, .text = *text, .n_windows = text->n_tokens / own};
    kvb_status status = allocate(eval, error);
    if (status != KVB_OK) {
        kvb_eval_free(eval);
        return status;
    }
    *out = eval;
    return KVB_OK;
}

double kvb_eval_mean_kl(const kvb_eval *eval, int scheme) {
    const size_t n = (size_t)eval->n_windows * (size_t)eval->text.window;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += eval->divergence[scheme][i].kl;
    return sum / (double)n;
}

/* The tokens of window w; nothing follows the last. */
static void fill_window(const kvb_eval *eval, int w, int32_t *tokens) {
    const kvb_eval_tokens *text = &eval->text;
    const int extra = text->first >= 0, own = text->window - extra;
    if (extra)
        tokens[0] = text->first;
    memcpy(tokens + extra, text->tokens + (size_t)w * (size_t)own, (size_t)own * sizeof *tokens);
    tokens[text->window] = -1;
}

static kvb_status run_scheme(kvb_eval *eval, int s, int w, const kvb_passage *passage, const kvb_reference *reference,
                             kvb_error *error) {
    const size_t window = (size_t)w, layers = window * (size_t)eval->subject->n_layers;
    const kvb_layer_errors errors = {.error = eval->layer_error[s] ? eval->layer_error[s] + layers : NULL,
                                     .power = eval->layer_power[s] ? eval->layer_power[s] + layers : NULL};
    return kvb_subject_scheme(eval->subject, s, passage, reference,
                              eval->divergence[s] + window * (size_t)eval->text.window, &errors, error);
}

kvb_status kvb_eval_run(kvb_eval *eval, kvb_error *error) {
    kvb_subject *subject = eval->subject;
    const size_t window = (size_t)eval->text.window;
    int32_t *tokens = malloc((window + 1) * sizeof *tokens);
    const kvb_passage passage = {.tokens = tokens, .n = eval->text.window};
    kvb_reference reference = {.window = 0};
    kvb_status status =
        tokens ? KVB_OK : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %zu tokens", window);
    if (status == KVB_OK)
        status =
            kvb_reference_create(kvb_engine_get_info(subject->engine)->n_vocab, eval->text.window, &reference, error);
    for (int w = 0; w < eval->n_windows && status == KVB_OK; w++) {
        fill_window(eval, w, tokens);
        kvb_subject_report(subject, w, eval->n_windows, -1);
        status = w == 0 ? kvb_subject_self_check(subject, &passage, &reference, error)
                        : kvb_subject_reference(subject, &passage, &reference, error);
        for (size_t i = 0; i < window && status == KVB_OK; i++)
            eval->reference_loss[(size_t)w * window + i] = kvb_reference_log_loss(&reference, i, tokens[i + 1]);
        for (int s = 0; s < subject->n_schemes && status == KVB_OK; s++) {
            kvb_subject_report(subject, w, eval->n_windows, s);
            status = run_scheme(eval, s, w, &passage, &reference, error);
        }
    }
    kvb_reference_free(&reference);
    free(tokens);
    return status;
}
