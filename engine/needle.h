/* Needles: what a scheme leaves of a sentence far back in a long context. The sentence tells a secret, a question at
 * the end asks for it, and what counts are the distributions over the right answer's tokens, each behind the right ones
 * before it (teacher-forced). docs/eval.md defines every figure. */
#ifndef KVBITS_ENGINE_NEEDLE_H
#define KVBITS_ENGINE_NEEDLE_H

#include "needle_text.h"
#include "subject.h"

enum { KVB_MAX_NEEDLE_DEPTHS = 101, KVB_MAX_NEEDLES_PER_DEPTH = 100 };

typedef struct kvb_needle_plan {
    const int32_t *filler;             /* the text's tokens; not copied */
    int n_filler;                      /* at least `tokens` */
    int32_t first;                     /* stands before every passage; -1: none */
    int tokens;                        /* of a passage, the answer included: the subject's context */
    int depths[KVB_MAX_NEEDLE_DEPTHS]; /* in percent of the text before the needle, 0 to 100 */
    int n_depths, per_depth;
} kvb_needle_plan;

typedef struct kvb_needle {
    kvb_needle_text text;
    int depth, position; /* of the sentence's first token */
    int n_answer;        /* tokens of the answer */
} kvb_needle;

/* Sums over the answer's tokens. */
typedef struct kvb_needle_figure {
    double kl, log_probability;
    int right; /* every one of them is the most probable */
} kvb_needle_figure;

typedef struct kvb_needles {
    kvb_subject *subject;
    kvb_needle_plan plan;
    int n;                      /* n_depths * per_depth, depth by depth */
    kvb_needle *needles;        /* [n] */
    kvb_needle_figure *figures; /* [1 + n_schemes][n], the reference's first */
} kvb_needles;

/* Of the answer's n tokens. */
kvb_needle_figure kvb_needle_figure_of(const kvb_divergence *tokens, int n);

/* Of the schemes that the subject has. KVB_ERROR_ARGUMENT when passages are longer than the text fills. */
KVB_CHECKED kvb_status kvb_needles_create(kvb_subject *subject, const kvb_needle_plan *plan, kvb_needles **out,
                                          kvb_error *error);
void kvb_needles_free(kvb_needles *needles); /* NULL is legal; the subject stays */
/* Measures all schemes, after the self-check on the first needle's passage. KVB_ERROR_ARGUMENT when needle and question
 * do not fit in a passage. */
KVB_CHECKED kvb_status kvb_needles_run(kvb_needles *needles, kvb_error *error);
/* The result as JSON (released with free()), docs/eval.md has the schema. model, text: names of the files. */
KVB_CHECKED kvb_status kvb_needles_json(const kvb_needles *needles, const char *model, const char *text, char **json,
                                        kvb_error *error);
/* From that JSON, as Markdown. */
KVB_CHECKED kvb_status kvb_needles_markdown(const char *json, char **markdown, kvb_error *error);

#endif
