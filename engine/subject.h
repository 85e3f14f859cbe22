/* A model and the schemes of storing keys and values to be tried on it: what every evaluation on a model shares. */
#ifndef KVBITS_ENGINE_SUBJECT_H
#define KVBITS_ENGINE_SUBJECT_H

#include "divergence.h"
#include "engine.h"
#include "kvbits/eval.h"
#include "shapes.h"
#include "stand_in.h"

/* A probe is a scheme that packs one side of one layer and leaves the rest in halves: what that side alone does. */
typedef struct kvb_eval_scheme {
    char name[64];
    int cache;              /* the engine's own cache by its number; -1: a kvbits cache of `layers` */
    int probed_layer;       /* -1: no probe */
    int probed_side;        /* 0: keys, 1: values */
    kvb_layer_spec *layers; /* one per layer of the model */
    float *means;           /* of all layers, what their k_mean points to */
    double predicted_kl;    /* by the plan that `layers` come from; NaN: there is none, or it does not know */
    double bits_per_value;  /* of a row, scale included, all layers and both sides */
    double bits_in_window;  /* the cache's bytes after `context` tokens, pages and exact tokens included, per value */
} kvb_eval_scheme;

/* Largest figures with which an evaluation goes on. The first is of floats against floats; the second has keys and
 * values in halves, whose rounding makes 1e-4 to 1e-3. A wrong head, position or scale makes 0.1 and more. */
#define KVB_SELF_CHECK_EXACT 1e-4
#define KVB_SELF_CHECK_HALVES 5e-3

typedef struct kvb_self_check {
    double exact;  /* largest NRMSE over layers of attention recomputed in double from what the hook saw */
    double halves; /* the same of a kvbits cache of halves and kvb_attend over a whole passage, in the place of the
                    * engine's */
    int exact_layer, halves_layer;
    double halves_kl;  /* mean KL divergence that the halves cause at the end of the model */
    double repetition; /* largest difference of a logit between two runs of the reference: 0 */
} kvb_self_check;

typedef struct kvb_subject {
    kvb_engine *engine;
    const kvb_parallel *parallel;
    const kvb_progress *progress;
    int context; /* tokens of the longest passage */
    int n_layers, n_schemes;
    kvb_engine_layer *layers;
    kvb_eval_scheme *schemes;
    kvb_self_check check;
} kvb_subject;

/* Finds the model's layers on the first of the tokens and checks that kvbits attends as the engine does
 * (KVB_ERROR_UNSUPPORTED with the figure when not). */
KVB_CHECKED kvb_status kvb_subject_create(kvb_engine *engine, int context, const int32_t *tokens, int n_tokens,
                                          const kvb_parallel *parallel, const kvb_progress *progress, kvb_subject **out,
                                          kvb_error *error);
void kvb_subject_free(kvb_subject *subject); /* NULL is legal */
/* Adds a scheme: layers (copied) or, with layers NULL, the engine's cache. */
KVB_CHECKED kvb_status kvb_subject_add(kvb_subject *subject, const char *name, int cache, const kvb_layer_spec *layers,
                                       kvb_error *error);

/* Layers of the model with the same code in each: trellis codes where the width has them and trellis_states is not 0.
 * Released with free(); NULL with the error's sentence when memory is short. */
kvb_layer_spec *kvb_subject_uniform(const kvb_subject *subject, int k_bits, int v_bits, int trellis_states,
                                    kvb_scale_kind scale, kvb_error *error);
/* Adds a probe for either side of every layer: 2 * n_layers schemes, of which each has one side of `layers`. */
KVB_CHECKED kvb_status kvb_subject_add_probes(kvb_subject *subject, const kvb_layer_spec *layers, kvb_error *error);

/* Tokens that run as one sequence; the distributions behind tokens from .. n - 1 count. */
typedef struct kvb_passage {
    const int32_t *tokens; /* [n + 1]: the last is what follows, -1 for nothing */
    int n, from;
} kvb_passage;

/* Runs it on the unquantized cache; reference (of n - from tokens) gets the logits that count. */
KVB_CHECKED kvb_status kvb_subject_reference(kvb_subject *subject, const kvb_passage *passage, kvb_reference *reference,
                                             kvb_error *error);
/* The same, and fills `check`: the reference repeats to the last bit, and halves in the place of floats change next to
 * nothing. */
KVB_CHECKED kvb_status kvb_subject_self_check(kvb_subject *subject, const kvb_passage *passage,
                                              kvb_reference *reference, kvb_error *error);
/* What a kvbits cache did to each layer's own output, as in kvb_stand_in: [n_layers] each. */
typedef struct kvb_layer_errors {
    double *error, *power;
} kvb_layer_errors;

/* Runs it on a scheme's cache: out[n - from]. errors (may be NULL) is filled by kvbits caches alone. */
KVB_CHECKED kvb_status kvb_subject_scheme(kvb_subject *subject, int scheme, const kvb_passage *passage,
                                          const kvb_reference *reference, kvb_divergence *out,
                                          const kvb_layer_errors *errors, kvb_error *error);
/* Says that `done` of `all` passages are, and that a scheme (-1: the reference) runs on the next. */
void kvb_subject_report(const kvb_subject *subject, int done, int all, int scheme);

#endif
