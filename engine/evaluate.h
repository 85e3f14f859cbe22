/* Schemes of storing keys and values, measured by what they do to the model's next-token distributions on a text.
 * docs/eval.md defines every figure. */
#ifndef KVBITS_ENGINE_EVALUATE_H
#define KVBITS_ENGINE_EVALUATE_H

#include "divergence.h"
#include "engine.h"
#include "kvbits/eval.h"
#include "shapes.h"

/* A probe is a scheme that packs one side of one layer and leaves the rest in halves: what that side alone does. */
typedef struct kvb_eval_scheme {
    char name[64];
    int cache;              /* the engine's own cache by its number; -1: a kvbits cache of `layers` */
    int probed_layer;       /* -1: no probe */
    int probed_side;        /* 0: keys, 1: values */
    kvb_layer_spec *layers; /* one per layer of the model; owned by the evaluation once it is added */
    float *means;           /* of all layers, what their k_mean points to */
    double predicted_kl;    /* by the plan that `layers` come from; NaN: there is none, or it does not know */
    double bits_per_value;  /* of a row, scale included, all layers and both sides */
    double bits_in_window;  /* the cache's bytes after one window, pages and exact tokens included, per value */
} kvb_eval_scheme;

typedef struct kvb_eval_tokens {
    const int32_t *tokens;
    int n_tokens;  /* n_windows * window of them are used */
    int window;    /* tokens of a sequence: each begins anew */
    int32_t first; /* stands before every window, and takes one of its places; -1: none */
} kvb_eval_tokens;

enum { KVB_SELF_CHECK_TOKENS = 256 };
/* Largest figures with which an evaluation goes on. The first is of floats against floats; the second has keys and
 * values in halves, whose rounding makes 1e-4 to 1e-3. A wrong head, position or scale makes 0.1 and more. */
#define KVB_SELF_CHECK_EXACT 1e-4
#define KVB_SELF_CHECK_HALVES 5e-3

typedef struct kvb_self_check {
    double exact;  /* largest NRMSE over layers of attention recomputed in double from what the hook saw */
    double halves; /* the same of a kvbits cache of halves and kvb_attend over a whole window, in the place of the
                    * engine's */
    int exact_layer, halves_layer;
    double halves_kl;  /* mean KL divergence that the halves cause at the end of the model */
    double repetition; /* largest difference of a logit between two runs of the reference: 0 */
} kvb_self_check;

typedef struct kvb_eval kvb_eval;

struct kvb_eval {
    kvb_engine *engine;
    const kvb_parallel *parallel;
    const kvb_progress *progress;
    kvb_eval_tokens text;
    int n_windows, n_layers, n_schemes;
    kvb_engine_layer *layers;
    kvb_eval_scheme *schemes;
    kvb_self_check check;
    double *reference_loss;              /* [n_windows * window] */
    kvb_divergence **divergence;         /* [scheme][n_windows * window] */
    double **layer_error, **layer_power; /* [scheme][n_windows][n_layers]; NULL rows for the engine's caches */
};

/* Finds the model's layers and checks that kvbits attends as the engine does (KVB_ERROR_UNSUPPORTED with the figure
 * when not). Everything but the tokens' array is copied. */
KVB_CHECKED kvb_status kvb_eval_create(kvb_engine *engine, const kvb_eval_tokens *text, const kvb_parallel *parallel,
                                       const kvb_progress *progress, kvb_eval **out, kvb_error *error);
void kvb_eval_free(kvb_eval *eval);
/* Adds a scheme: layers (copied) or, with layers NULL, the engine's cache. */
KVB_CHECKED kvb_status kvb_eval_add(kvb_eval *eval, const char *name, int cache, const kvb_layer_spec *layers,
                                    kvb_error *error);
/* Layers of the model with the same code in each: trellis codes where the width has them and trellis_states is not 0.
 * Released with free(); NULL with the error's sentence when memory is short. */
kvb_layer_spec *kvb_eval_uniform(const kvb_eval *eval, int k_bits, int v_bits, int trellis_states, kvb_scale_kind scale,
                                 kvb_error *error);
/* Adds a probe for either side of every layer: 2 * n_layers schemes, of which each has one side of `layers`. */
KVB_CHECKED kvb_status kvb_eval_add_probes(kvb_eval *eval, const kvb_layer_spec *layers, kvb_error *error);
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
