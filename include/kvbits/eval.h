/* kvbits evaluation: how few bits can keys and values take before attention notices?
 *
 * The API of libkvbits-eval, on top of kvbits.h: random numbers, codebook design, storage schemes, traces of real
 * models, the A/B on synthetic data and on traces, and its reports. docs/evaluation.md defines every measure.
 * It allocates with malloc, starts no threads (see kvb_parallel) and prints nothing. Its figures are the same for any
 * number of workers and on any instruction set.
 */
#ifndef KVBITS_EVAL_H
#define KVBITS_EVAL_H

#include "kvbits/kvbits.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Progress --------------------------------------------------------------------------------------------------- */

/* Called now and then from the calling thread with the share done in [0, 1]. May be NULL. */
typedef struct kvb_progress {
    void (*report)(void *context, const char *what, double share);
    void *context;
} kvb_progress;

/* ---- Random numbers (xoshiro256**: Blackman and Vigna 2021; Box and Muller 1958; docs/evaluation.md) --------------
 */

typedef struct kvb_rng {
    uint64_t s[4];
} kvb_rng;

/* Fills the state from the seed by SplitMix64. */
KVB_API kvb_rng kvb_rng_seed(uint64_t seed);
KVB_API uint64_t kvb_rng_next(kvb_rng *rng);
/* (u64 >> 11) / 2^53, in [0, 1). */
KVB_API double kvb_rng_uniform(kvb_rng *rng);
/* One vector of n standard normals: pairs (r cos, r sin); an odd n drops the second of its last pair. */
KVB_API void kvb_rng_normals(kvb_rng *rng, float *out, size_t n);
/* Advances by n draws of kvb_rng_next in O(log n): powers of the transition's matrix over GF(2). */
KVB_API void kvb_rng_jump(kvb_rng *rng, uint64_t n);

/* ---- Statistics ------------------------------------------------------------------------------------------------- */

/* Mean, population standard deviation (divisor n), the 95 % confidence interval of the mean (Student t with n - 1
 * degrees, which takes the values for independent), and p999, the smallest value with at least 99.9 % of all at or
 * below it: of fewer than 1000 values the largest. All 0 for n = 0; low = high = mean for n = 1; NaN when memory is
 * short. */
typedef struct kvb_statistic {
    size_t n;
    double mean, std, p999, low, high;
} kvb_statistic;

KVB_API kvb_statistic kvb_statistic_of(const double *values, size_t n);
/* The statistic of a[i] - b[i]: the paired comparison. */
KVB_API kvb_statistic kvb_statistic_paired(const double *a, const double *b, size_t n);

/* ---- Codebook design -------------------------------------------------------------------------------------------- */

/* The law a codebook is made for: N(0,1), or the coordinate of a random unit vector in dimension d times sqrt(d), with
 * density ~ (1 - x^2/d)^((d-3)/2). */
typedef struct kvb_law {
    int sphere_dim; /* 0: N(0,1); else d, 2 to 2^20 */
} kvb_law;

/* The normal CDF used by the fixed-point iteration: erfc, or Abramowitz and Stegun 26.2.17 (error 7.5e-8) to show its
 * effect. */
typedef enum kvb_cdf { KVB_CDF_ERFC = 0, KVB_CDF_AS26217 = 1 } kvb_cdf;

typedef struct kvb_lloyd_report {
    int levels;
    int rounds;
    double last_change; /* largest centroid change of the last round */
} kvb_lloyd_report;

/* The fixed-point iteration of Lloyd (1982) and Max (1960) for N(0,1) (docs/evaluation.md, T1a): `levels` centroids, 2
 * to 256, in rising order, stops when the largest change falls below `tolerance`. More than `round_limit` rounds:
 * KVB_ERROR_CONVERGENCE naming levels, rounds and last change; centroids are then not written, the report (may be NULL)
 * is. */
KVB_API KVB_CHECKED kvb_status kvb_lloyd_max(int levels, kvb_cdf cdf, double tolerance, int round_limit,
                                             double *centroids, kvb_lloyd_report *report, kvb_error *error);

/* Rounds the iteration may need: 10,000 up to 64 levels, 100,000 above (128 levels take about 18,000, 256 about
 * 62,000). */
KVB_API int kvb_lloyd_round_limit(int levels);

/* The true optimum for the law, 2..256 levels in rising order, by Newton's method on the stationarity conditions
 * (docs/math.md, "Codebooks"). `residual` (may be NULL) gets the largest |centroid - conditional mean| at the end,
 * below 1e-12; above it is KVB_ERROR_CONVERGENCE. */
KVB_API KVB_CHECKED kvb_status kvb_codebook_optimum(kvb_law law, int levels, double *centroids, double *residual,
                                                    kvb_error *error);
/* Rounds to the nearest multiple of 2^-12 that binary16 represents, magnitudes above 65504 to that. */
KVB_API double kvb_codebook_round(double centroid);
/* Mean squared error of nearest-centroid quantization under the law (unit variance); `centroids` rise. NaN for an
 * illegal law or no levels. */
KVB_API double kvb_codebook_mse(kvb_law law, const double *centroids, int levels);
/* 10 log10(ratio), the same on every machine: kvb_decibel(1 / mse) is a table's SQNR. */
KVB_API double kvb_decibel(double ratio);

typedef struct kvb_codebook_check {
    int levels;
    double factor;       /* global factor g that fits best: the table is g * (unit-variance table) */
    double mse;          /* of the table divided by its factor */
    double optimum_mse;  /* of the Lloyd-Max optimum with as many levels */
    double mse_loss;     /* mse / optimum_mse - 1 */
    double largest_move; /* of one Lloyd round from the table divided by its factor: small also where it moves slowly */
    double largest_gap;  /* |centroid / factor - optimum|, how far that round and all that follow would take it */
    int worst_level;     /* whose gap is the largest share of what the tolerance allows */
    int symmetric;       /* to 1e-6 of the factor */
    int increasing;      /* strictly */
    int fixed_point;     /* every gap within the tolerance, symmetric and increasing */
} kvb_codebook_check;

/* Is the table a Lloyd-Max fixed point for N(0,1), up to a global factor? N(0,1) has only one, so the question is how
 * far the table is from the optimum. `tolerance`: largest gap that still counts as rounding; default 0: 2^-13 + 2^-11 *
 * |optimum| for each level, what rounding to binary16 or to the library's grid may do (docs/math.md, "Codebooks").
 * KVB_ERROR_ARGUMENT for levels outside 2..256, centroids that are not finite or all 0, a negative tolerance. */
KVB_API KVB_CHECKED kvb_status kvb_codebook_check_table(const double *centroids, int levels, double tolerance,
                                                        kvb_codebook_check *check, kvb_error *error);

/* Tables read from JSON {"codebooks": {"4_bit": [...], ...}}, at most 16 MiB; other keys beside "codebooks" are
 * ignored. centroids[b] holds 2^b doubles that rise strictly also as floats, or NULL when absent. KVB_ERROR_FORMAT
 * names what is wrong and where. Release with kvb_codebook_file_free, which is legal on a zeroed struct. */
typedef struct kvb_codebook_file {
    double *centroids[KVB_MAX_BITS + 1];
} kvb_codebook_file;

KVB_API KVB_CHECKED kvb_status kvb_codebook_file_read(const char *path, kvb_codebook_file *out, kvb_error *error);
/* The same from memory; `name` stands for the path in errors. */
KVB_API KVB_CHECKED kvb_status kvb_codebook_file_parse(const char *text, size_t bytes, const char *name,
                                                       kvb_codebook_file *out, kvb_error *error);
KVB_API void kvb_codebook_file_free(kvb_codebook_file *file);

/* ---- Traces of real models (safetensors; docs/evaluation.md) ---------------------------------------------------- */

typedef struct kvb_trace kvb_trace;

typedef struct kvb_trace_layer {
    int index; /* the <i> of layers.<i>.q */
    int tokens, n_heads, n_kv_heads, head_dim, v_head_dim;
    kvb_dtype dtype_q, dtype_k, dtype_v;
    double scale;   /* factor of the logits; default 1/sqrt(head_dim) */
    double softcap; /* logits are softcap * tanh(logit / softcap); 0: none */
    int window;     /* tokens that a query sees, itself included; 0: none */
} kvb_trace_layer;

/* Maps the file and checks header, shapes and metadata (KVB_ERROR_FORMAT); values are checked when read. */
KVB_API KVB_CHECKED kvb_status kvb_trace_open(const char *path, kvb_trace **out, kvb_error *error);
/* The same over caller-owned bytes, which must outlive the trace. */
KVB_API KVB_CHECKED kvb_status kvb_trace_from_memory(const void *bytes, size_t size, const char *name, kvb_trace **out,
                                                     kvb_error *error);
KVB_API void kvb_trace_close(kvb_trace *trace);
KVB_API int kvb_trace_layers(const kvb_trace *trace);
/* The i-th layer, from 0, in rising order of its index; NULL past the last. */
KVB_API const kvb_trace_layer *kvb_trace_get_layer(const kvb_trace *trace, int i);
/* The file's name without its folder, or the name given to kvb_trace_from_memory. */
KVB_API const char *kvb_trace_name(const kvb_trace *trace);
/* Metadata by key, such as "model" or "license"; NULL when absent. */
KVB_API const char *kvb_trace_metadata(const kvb_trace *trace, const char *key);

typedef enum kvb_side { KVB_SIDE_Q = 0, KVB_SIDE_K = 1, KVB_SIDE_V = 2 } kvb_side;

/* Reads one side of the i-th layer as floats, [heads][tokens][head_dim] (head-major, unlike the file): n_heads and
 * head_dim for Q, n_kv_heads for K and V, v_head_dim for V. KVB_ERROR_NOT_FINITE, for NaN, Inf or a magnitude above
 * KVB_MAX_ABS, names tensor, token, head and coordinate. */
KVB_API KVB_CHECKED kvb_status kvb_trace_read(const kvb_trace *trace, int i, kvb_side side, float *out,
                                              kvb_error *error);

/* ---- Storage schemes: ways to store a row ----------------------------------------------------------------------- */

/* What the baselines do, to the rounding, and their sources: docs/evaluation.md, "T1c". Bits are for head_dims that are
 * multiples of 32; a shorter last block has a scale of its own. */
typedef enum kvb_scheme_kind {
    KVB_SCHEME_EXACT = 0, /* float, as computed: 32 bits */
    KVB_SCHEME_CODEC,     /* kvbits codec, `spec` */
    KVB_SCHEME_Q4_0,      /* blocks of 32, absmax scale in binary16: 4.5 bits */
    KVB_SCHEME_Q8_0,      /* blocks of 32, absmax scale in binary16: 8.5 bits */
    KVB_SCHEME_FP8_E4M3,  /* saturating cast with scale 1: 8 bits */
    KVB_SCHEME_INT4_G32,  /* groups of 32, scale and zero point in binary16: 5 bits */
    KVB_SCHEME_BOUND      /* the least error that spec.bits allow: noise of the optimum forward channel, by sign_seed */
} kvb_scheme_kind;

typedef struct kvb_scheme {
    kvb_scheme_kind kind;
    kvb_codec_spec spec; /* CODEC: all of it. Baselines: head_dim, rotation, sign_seed. */
} kvb_scheme;

/* Stored bits per value, scales included. */
KVB_API double kvb_scheme_bits(const kvb_scheme *scheme);
/* A short name: "4", "q4_0", "q4_0+rot", "exact"; cut when `bytes` are too few. */
KVB_API void kvb_scheme_name(const kvb_scheme *scheme, char *out, size_t bytes);

typedef struct kvb_store kvb_store; /* a scheme made ready to use */

KVB_API KVB_CHECKED kvb_status kvb_store_create(const kvb_scheme *scheme, kvb_store **out, kvb_error *error);
KVB_API void kvb_store_destroy(kvb_store *store);
/* What reading back gives: n_rows rows of head_dim floats, encoded and decoded (back in the input's domain). `out` may
 * be `rows`. Thread-safe. KVB_ERROR_NOT_FINITE for input that kvb_encode refuses, and where a
 * baseline's scale or zero point overflows binary16. */
KVB_API KVB_CHECKED kvb_status kvb_store_round_trip(const kvb_store *store, const float *rows, size_t n_rows,
                                                    float *out, kvb_error *error);

/* ---- The A/B ---------------------------------------------------------------------------------------------------- */

/* Synthetic K and V; formulas in docs/evaluation.md, "T1c". Every row is RMS-normalized afterwards. */
typedef enum kvb_generator {
    KVB_GENERATOR_GAUSSIAN = 0,
    KVB_GENERATOR_STUDENT_T, /* student_dof degrees of freedom */
    KVB_GENERATOR_OUTLIERS,  /* outlier_channels channels times outlier_factor, clustered or spread */
    KVB_GENERATOR_SINK,      /* token 0: a key all queries like, a value near zero */
    KVB_GENERATOR_LOW_RANK   /* rank directions plus noise */
} kvb_generator;

/* Where the kvbits codebooks come from. */
typedef enum kvb_codebook_source {
    KVB_CODEBOOK_DEFAULT = 0, /* the fixed-point iteration up to 6 bits, the library's tables above */
    KVB_CODEBOOK_LLOYD,       /* the fixed-point iteration */
    KVB_CODEBOOK_LIBRARY,     /* kvb_codebook() */
    KVB_CODEBOOK_BETA,        /* the optimum for the coordinate of a unit vector in head_dim */
    KVB_CODEBOOK_FILE         /* codebook_file */
} kvb_codebook_source;

/* How sums are taken: fixed 16 lanes, or plain scalar sums in index order with the spec's own arithmetic. */
typedef enum kvb_sums { KVB_SUMS_LANES = 0, KVB_SUMS_INDEX_ORDER = 1 } kvb_sums;

/* Widths of keys and values, 1-8 bits. */
typedef struct kvb_pair {
    int k_bits, v_bits;
} kvb_pair;

/* The whole experiment. Ranges stand in brackets. Lists are borrowed: they must outlive the call, and name no value
 * twice (pairs no pair). */
typedef struct kvb_ab_config {
    /* Data. */
    uint64_t seed;
    kvb_generator generator;
    int student_dof;       /* degrees of freedom [1, 32] */
    int outlier_channels;  /* [1, head_dim] */
    int outliers_spread;   /* 0: the first channels; 1: evenly over the row */
    int low_rank;          /* directions [0, head_dim]; 0: head_dim / 4 */
    double outlier_factor; /* [0, 1e6] */
    double low_rank_noise; /* standard deviation beside directions of variance 1 [0, 1e6] */
    double sink_strength;  /* how far queries lean to the sink's key, in standard deviations [0, 1e6] */
    int n_heads;           /* query heads [1, 1024], a multiple of n_kv_heads */
    int n_kv_heads;
    int head_dim;               /* of T1c: one that `rotation` takes, with baselines one that SIGNED takes */
    const int *kv_lens;         /* cached tokens [1, 2^20] */
    int n_kv_lens;              /* [1, 64] */
    int trials;                 /* per kv_len [1, 1e6] */
    const int *round_trip_dims; /* head_dims of T1b: those that HADAMARD takes */
    int n_round_trip_dims;      /* [1, 64] */
    int vectors;                /* per cell of T1b [1, 1e6] */

    /* Attention. For a trace 0, -1 and -1 keep what the trace says. */
    double scale;   /* factor of the logits [0, 1e6] */
    double softcap; /* up to 1e6; 0: none */
    int window;     /* tokens [0, 2^20]; 0: none */

    /* Storage. */
    const int *bits; /* widths of T1a and T1b, and of the symmetric pairs [1, 8] */
    int n_bits;
    const kvb_pair *pairs;  /* T1c; the symmetric pairs when NULL */
    int n_pairs;            /* [1, 64] */
    const kvb_pair *halves; /* of each of them, 1 where there is half a bit more; NULL: nowhere. Sums of lanes only */
    kvb_rotation rotation;  /* of T1c and of traces; T1b has its own cases */
    uint64_t sign_seed;     /* of SIGNED, of rotated baselines; redraws count up from it */
    kvb_scale_kind scale_kind;
    kvb_dtype scale_dtype; /* KVB_F16 or KVB_F32 */
    int trellis_states;    /* 0: scalar codes; else bits 2-6 and the library's levels, whatever `codebook` is */
    int bound;             /* 1: KVB_SCHEME_BOUND in place of codes */
    kvb_codebook_source codebook;
    const kvb_codebook_file *codebook_file; /* KVB_CODEBOOK_FILE only: with every width that the run needs */
    const char *codebook_file_name;         /* for errors */
    kvb_cdf cdf;                            /* of the fixed-point iteration */
    int baselines;                          /* 1: q4_0, q8_0, fp8, int4 beside, with and without rotation */
    int redraws;                            /* T1c again under that many signed rotations of the same data [0, 1000] */

    /* Verdict: NRMSE of the attention output [1e-6, 10]. */
    double thresholds[2];

    /* A trace only: evenly spaced query positions per layer [0, 2^20], 0: all; how many first tokens of the trace, and
     * last ones before each query with its own, stay as recorded [0, 65536], as in kvb_layer_spec. */
    int queries;
    int queries_from; /* no query at a position before this one [0, 2^20], and at least the last one */
    int exact_first, exact_last;
    int k_mean; /* a trace only: keys are stored less their mean over the first k_mean tokens [0, 2^20], 0: as they are
                 */

    /* Computation: changes no byte of the result, but for KVB_SUMS_INDEX_ORDER. */
    kvb_sums sums;
    int skip; /* 1: skip values whose softmax weight is below a proven bound (docs/evaluation.md, "Determinism") */
} kvb_ab_config;

/* The experiment of docs/evaluation.md with seed 0xC25EED. */
KVB_API kvb_ab_config kvb_ab_config_default(void);
/* What a trace is asked by default: the library's default codec, 2-8 bits for K and for V in every combination. */
KVB_API kvb_ab_config kvb_ab_config_trace(void);
/* KVB_ERROR_ARGUMENT with a sentence that names the bad value and the legal ones. */
KVB_API KVB_CHECKED kvb_status kvb_ab_config_check(const kvb_ab_config *config, kvb_error *error);

typedef struct kvb_result kvb_result;

/* Runs T1a to T1d (docs/evaluation.md). A failed check is no error: it is in the result. *out is set on KVB_OK only and
 * released with kvb_result_free. KVB_ERROR_ARGUMENT from kvb_ab_config_check, KVB_ERROR_CONVERGENCE from an iteration,
 * KVB_ERROR_NOT_FINITE when a row or a figure overflows, KVB_ERROR_MEMORY. */
KVB_API KVB_CHECKED kvb_status kvb_ab_run(const kvb_ab_config *config, const kvb_parallel *parallel,
                                          const kvb_progress *progress, kvb_result **out, kvb_error *error);
/* Error against stored bits for families of codes: config (synthetic data) with each family's codes, scales and the
 * library's levels in turn, on a grid of pairs, redrawn config->redraws times (8 where 0); and the rate-distortion
 * bound put through the same attention. effort 0: scalar codes and trellises of 16 states; 1: the search of scales too;
 * 2: also 256 states, for hours. *json and *markdown are released with kvb_text_free. docs/evaluation.md, "Frontier".
 */
KVB_API KVB_CHECKED kvb_status kvb_ab_frontier(const kvb_ab_config *config, int effort, const kvb_parallel *parallel,
                                               const kvb_progress *progress, char **json, char **markdown,
                                               kvb_error *error);
/* The same question asked of a trace: per layer, K bits x V bits, causal attention over the recorded tokens. Uses the
 * config's storage, verdict and computation parts. */
KVB_API KVB_CHECKED kvb_status kvb_ab_run_trace(const kvb_ab_config *config, const kvb_trace *trace,
                                                const kvb_parallel *parallel, const kvb_progress *progress,
                                                kvb_result **out, kvb_error *error);
KVB_API void kvb_result_free(kvb_result *result);
/* Number of failed checks: 0 means that the run passed. */
KVB_API int kvb_result_failed_checks(const kvb_result *result);

/* The documents, as NUL-terminated UTF-8 to be released with kvb_text_free. docs/evaluation.md has the JSON's schema.
 */
KVB_API KVB_CHECKED kvb_status kvb_result_json(const kvb_result *result, char **text, kvb_error *error);
KVB_API KVB_CHECKED kvb_status kvb_result_markdown(const kvb_result *result, char **text, kvb_error *error);
/* Self-contained HTML with SVG charts drawn by gnuplot. */
KVB_API KVB_CHECKED kvb_status kvb_result_html(const kvb_result *result, char **text, kvb_error *error);
/* Is this the result.json of kvbits eval? */
KVB_API int kvb_is_model_result(const char *json, size_t bytes);
/* Its page: self-contained HTML with SVG charts drawn by gnuplot, released with kvb_text_free. */
KVB_API KVB_CHECKED kvb_status kvb_model_html(const char *json, size_t bytes, char **html, kvb_error *error);
/* KVB_ERROR_UNSUPPORTED with a sentence that says how to install it, when gnuplot cannot be run. */
KVB_API KVB_CHECKED kvb_status kvb_report_plotter_check(kvb_error *error);
/* Runs gnuplot on the script, without a shell; `out` gets what it printed, to be released with kvb_text_free. */
KVB_API KVB_CHECKED kvb_status kvb_plotter_run(const char *script, size_t bytes, char **out, size_t *out_bytes,
                                               kvb_error *error);
/* A result from the JSON of an earlier run, for reports. KVB_ERROR_FORMAT names the first place that breaks the schema.
 */
KVB_API KVB_CHECKED kvb_status kvb_result_parse(const char *json, size_t bytes, kvb_result **out, kvb_error *error);
KVB_API void kvb_text_free(char *text);

/* ---- Plans: the widths of every layer's keys and values (docs/plan.md) ------------------------------------------ */

#define KVB_PLAN_MAX_TOKENS 2147483647 /* of the context that a plan is made for */

/* How many tokens at the beginning, and how many last ones, a cache keeps as halves. */
typedef struct kvb_exact_tokens {
    int first, last; /* [0, 65536] */
} kvb_exact_tokens;

/* What storing one side of one layer does to the model's predictions, all else exact: kvbits eval --sensitivity. */
typedef struct kvb_sensitivity {
    int n_layers;
    const int *layers;  /* their numbers in the model */
    const double *kl;   /* [n_layers][K, V]: mean KL divergence of the next-token distribution, in nats */
    int k_bits, v_bits; /* at these widths, with the codes that the plan will have */
} kvb_sensitivity;

typedef struct kvb_plan_layer {
    int index;               /* the layer's number in the model */
    kvb_layer_spec spec;     /* what kvb_cache_create takes; the library's codebooks */
    double k_error, v_error; /* NRMSE of the layer's attention output with only that side stored; NaN: not known */
    double predicted;        /* sqrt(k_error^2 + v_error^2) */
    double measured;         /* with both sides stored; NaN where it was not measured */
    float *k_mean;           /* what spec.k_mean points to, the plan's own; NULL: keys are stored as they are */
} kvb_plan_layer;

/* The same widths in every layer, for comparison. */
typedef struct kvb_plan_uniform {
    int k_bits, v_bits;    /* of whole bits; 0: no such plan fits */
    double bits_per_value; /* of rows, scales included, as in kvb_plan */
    double predicted, measured;
    double predicted_kl; /* NaN: there were no sensitivities */
} kvb_plan_uniform;

typedef struct kvb_plan {
    int n_layers; /* 1 to KVB_MAX_LAYERS */
    kvb_plan_layer *layers;
    double bits_per_value;      /* of rows, scales included, all layers and both sides */
    int64_t bytes_per_token;    /* the same rows, one token */
    int64_t tokens, bytes;      /* a context's length and what it takes, exact tokens included; 0: none was given */
    double predicted, measured; /* root of the mean over layers of the squares; NaN: not known */
    double predicted_kl;        /* in nats, as in kvb_sensitivity; NaN: there were no sensitivities */
    double rank_correlation;    /* Spearman's, of the layers' predicted and measured errors; NaN: fewer than two */
    kvb_plan_uniform uniform;   /* the best that takes no more bytes */
    char source[160];           /* the trace's name */
} kvb_plan;

/* One of the first four is given, the others are 0. */
typedef struct kvb_plan_request {
    double bits_per_value;   /* at most so many */
    int64_t bytes_per_token; /* at most so many, of all layers of the trace */
    double error;            /* the fewest bytes with a predicted error of at most this */
    double kl;               /* the fewest bytes with a predicted KL divergence of at most this, with `sensitivity` */
    int trellis_states;      /* trellis codes where a side has 2-6 bits: 8, 16, 64, 256; 0: scalar codes */
    kvb_scale_kind scale;
    int queries;   /* of each layer, evenly spaced; 0: all */
    int half_bits; /* 1: 1.5-7.5 bits, too; every head_dim is a multiple of 16 */
    int k_mean;    /* 1: packed keys are stored less their mean over the first half of the trace */
    /* Exact tokens to choose among, the same in every layer, beside none. They are paid for out of the budget of a
     * context of `tokens` tokens. */
    const kvb_exact_tokens *exact;
    int n_exact;
    int64_t tokens;
    const kvb_sensitivity *sensitivity; /* NULL: every layer weighs the same */
} kvb_plan_request;

/* Measures the trace's layers with every width of K and of V, 1-8 bits (and half ones on request), and chooses: exactly
 * the least damage that the budget allows, with 16 bits as exact. Damage is the sum of squared errors, or with
 * `sensitivity` the predicted KL divergence (docs/plan.md). KVB_ERROR_ARGUMENT names the fewest bytes when the budget
 * is below them. *out is released with kvb_plan_free. */
KVB_API KVB_CHECKED kvb_status kvb_plan_make(const kvb_trace *trace, const kvb_plan_request *request,
                                             const kvb_parallel *parallel, const kvb_progress *progress, kvb_plan **out,
                                             kvb_error *error);
/* A plan's JSON, to be released with kvb_text_free, and back. KVB_ERROR_FORMAT names the first place that breaks the
 * format; every layer of what is read is one that kvb_cache_create takes. */
KVB_API KVB_CHECKED kvb_status kvb_plan_json(const kvb_plan *plan, char **text, kvb_error *error);
KVB_API KVB_CHECKED kvb_status kvb_plan_parse(const char *json, size_t bytes, const char *name, kvb_plan **out,
                                              kvb_error *error);
KVB_API KVB_CHECKED kvb_status kvb_plan_read(const char *path, kvb_plan **out, kvb_error *error);
KVB_API void kvb_plan_free(kvb_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
