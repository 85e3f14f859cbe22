#include "needle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kvb_needles_free(kvb_needles *needles) {
    if (!needles)
        return;
    free(needles->needles);
    free(needles->figures);
    free(needles);
}

kvb_status kvb_needles_create(kvb_subject *subject, const kvb_needle_plan *plan, kvb_needles **out, kvb_error *error) {
    const size_t n = (size_t)plan->n_depths * (size_t)plan->per_depth;
    *out = NULL;
    if (plan->tokens > plan->n_filler)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "needles in %d tokens; the text has %d", plan->tokens,
                             plan->n_filler);
    kvb_needles *needles = calloc(1, sizeof *needles);
    if (needles) {
        *needles = (kvb_needles){.subject = subject, .plan = *plan, .n = (int)n};
        needles->needles = calloc(n, sizeof *needles->needles);
        needles->figures = calloc(n * ((size_t)subject->n_schemes + 1), sizeof *needles->figures);
    }
    if (!needles || !needles->needles || !needles->figures) {
        kvb_needles_free(needles);
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %zu needles", n);
    }
    *out = needles;
    return KVB_OK;
}

kvb_needle_figure kvb_needle_figure_of(const kvb_divergence *tokens, int n) {
    kvb_needle_figure figure = {.right = 1};
    for (int i = 0; i < n; i++) {
        figure.kl += tokens[i].kl;
        figure.log_probability -= tokens[i].log_loss;
        figure.right &= tokens[i].hit;
    }
    return figure;
}

/* ---- One needle's tokens ---- */

typedef struct pieces {
    int32_t *sentence, *question, *answered; /* answered: the question with its answer */
    int n_sentence, n_question, n_answered;
} pieces;

static void release(pieces *p) {
    free(p->sentence);
    free(p->question);
    free(p->answered);
}

/* The answer's tokens are those behind what the question has in common with and without it: the two may meet in one. */
static kvb_status tokenize(const kvb_engine *engine, const kvb_needle_text *text, pieces *p, int *n_answer,
                           kvb_error *error) {
    char answered[sizeof text->question + sizeof text->secret];
    int32_t first;
    int same = 0;
    snprintf(answered, sizeof answered, "%s%s", text->question, text->secret);
    kvb_status status = kvb_engine_tokenize(engine, text->sentence, strlen(text->sentence), &p->sentence,
                                            &p->n_sentence, &first, error);
    if (status == KVB_OK)
        status = kvb_engine_tokenize(engine, text->question, strlen(text->question), &p->question, &p->n_question,
                                     &first, error);
    if (status == KVB_OK)
        status = kvb_engine_tokenize(engine, answered, strlen(answered), &p->answered, &p->n_answered, &first, error);
    if (status != KVB_OK)
        return status;
    while (same < p->n_question && same < p->n_answered && p->question[same] == p->answered[same])
        same++;
    *n_answer = p->n_answered - same;
    if (same == 0 || *n_answer == 0)
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                             "the model's tokenizer makes one of a question and its answer: '%.200s'", answered);
    return KVB_OK;
}

/* Needle i and its passage. Needles take the text from places spread evenly over it. */
static kvb_status make(kvb_needles *needles, int i, int32_t *tokens, kvb_error *error) {
    const kvb_needle_plan *plan = &needles->plan;
    kvb_needle *needle = &needles->needles[i];
    pieces p = {.n_sentence = 0};
    *needle = (kvb_needle){.text = kvb_needle_text_of(i), .depth = plan->depths[i / plan->per_depth]};
    kvb_status status = tokenize(needles->subject->engine, &needle->text, &p, &needle->n_answer, error);
    kvb_needle_parts parts = {.first = plan->first,
                              .sentence = p.sentence,
                              .n_sentence = p.n_sentence,
                              .question = p.answered,
                              .n_question = p.n_answered};
    const int room = kvb_needle_room(&parts, plan->tokens);
    if (status == KVB_OK && room < 0)
        status = kvb_error_set(error, KVB_ERROR_ARGUMENT,
                               "%d tokens are too few for a needle and its question; legal: from %d", plan->tokens,
                               plan->tokens - room);
    if (status == KVB_OK) {
        const int64_t spare = plan->n_filler - room;
        parts.filler = plan->filler + (needles->n > 1 ? spare * i / (needles->n - 1) : 0);
        needle->position = kvb_needle_place(&parts, needle->depth, plan->tokens, tokens);
    }
    release(&p);
    return status;
}

/* ---- Runs ---- */

static kvb_needle_figure of_reference(const kvb_reference *reference, const int32_t *answer, int n) {
    kvb_needle_figure figure = {.right = 1};
    for (int i = 0; i < n; i++) {
        figure.log_probability -= kvb_reference_log_loss(reference, (size_t)i, answer[i]);
        figure.right &= reference->top[i] == answer[i];
    }
    return figure;
}

static kvb_status run_needle(kvb_needles *needles, int i, const int32_t *tokens, kvb_error *error) {
    kvb_subject *subject = needles->subject;
    const int n = needles->needles[i].n_answer, last = needles->plan.tokens - 1;
    const kvb_passage passage = {.tokens = tokens, .n = last, .from = last - n};
    kvb_reference reference = {.window = 0};
    kvb_divergence *out = calloc((size_t)n, sizeof *out);
    kvb_status status =
        out ? KVB_OK : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for an answer of %d tokens", n);
    if (status == KVB_OK)
        status = kvb_reference_create(kvb_engine_get_info(subject->engine)->n_vocab, n, &reference, error);
    kvb_subject_report(subject, i, needles->n, -1);
    if (status == KVB_OK)
        status = i == 0 ? kvb_subject_self_check(subject, &passage, &reference, error)
                        : kvb_subject_reference(subject, &passage, &reference, error);
    if (status == KVB_OK)
        needles->figures[i] = of_reference(&reference, tokens + passage.from + 1, n);
    for (int s = 0; s < subject->n_schemes && status == KVB_OK; s++) {
        kvb_subject_report(subject, i, needles->n, s);
        status = kvb_subject_scheme(subject, s, &passage, &reference, out, NULL, error);
        needles->figures[(size_t)(s + 1) * (size_t)needles->n + (size_t)i] = kvb_needle_figure_of(out, n);
    }
    kvb_reference_free(&reference);
    free(out);
    return status;
}

kvb_status kvb_needles_run(kvb_needles *needles, kvb_error *error) {
    int32_t *tokens = malloc((size_t)needles->plan.tokens * sizeof *tokens);
    kvb_status status =
        tokens ? KVB_OK : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %d tokens", needles->plan.tokens);
    for (int i = 0; i < needles->n && status == KVB_OK; i++) {
        status = make(needles, i, tokens, error);
        if (status == KVB_OK)
            status = run_needle(needles, i, tokens, error);
    }
    free(tokens);
    return status;
}
