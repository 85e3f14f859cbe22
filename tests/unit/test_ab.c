/* The experiment against a restatement in double precision on one sequential generator: which row belongs to which
 * trial, head and position; GQA; windows; the sink; skipping; threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "result.h"

enum { HEADS = 4, KV_HEADS = 2, DIM = 24, TRIALS = 3, MAX_LEN = 301 };

static const int lens[] = {5, 40, MAX_LEN}, bits[] = {3, 6}, dims[] = {32, 40};

static kvb_ab_config small_config(void) {
    kvb_ab_config config = kvb_ab_config_default();
    config.n_heads = HEADS;
    config.n_kv_heads = KV_HEADS;
    config.head_dim = DIM;
    config.kv_lens = lens;
    config.n_kv_lens = 3;
    config.trials = TRIALS;
    config.bits = bits;
    config.n_bits = 2;
    config.round_trip_dims = dims;
    config.n_round_trip_dims = 2;
    config.vectors = 20;
    config.codebook = KVB_CODEBOOK_LIBRARY;
    return config;
}

static char *run_json(const kvb_ab_config *config, const kvb_parallel *parallel) {
    kvb_result *result = NULL;
    kvb_error error = {""};
    char *text = NULL;
    if (kvb_ab_run(config, parallel, NULL, &result, &error) != KVB_OK)
        fail_msg("%s", error.text);
    assert_int_equal(kvb_result_failed_checks(result), 0);
    assert_int_equal(kvb_result_json(result, &text, &error), KVB_OK);
    kvb_result_free(result);
    return text;
}

/* ---- The oracle ---- */

typedef struct sequence {
    double k[2][MAX_LEN][DIM], v[2][MAX_LEN][DIM]; /* exact and stored */
} sequence;

static void normalize(const float *raw, double *out) {
    double squares = 0.0;
    for (int c = 0; c < DIM; c++)
        squares += (double)raw[c] * raw[c];
    for (int c = 0; c < DIM; c++)
        out[c] = raw[c] / sqrt(squares / DIM + 1e-6);
}

/* norm scale, no rotation: the nearest centroid of x / s, times s. */
static void store(int width, const double *x, double *out) {
    double squares = 0.0;
    for (int c = 0; c < DIM; c++)
        squares += x[c] * x[c];
    double s = sqrt(squares / DIM);
    for (int c = 0; c < DIM; c++) {
        const float *table = kvb_codebook(width);
        int best = 0;
        for (int i = 1; i < 1 << width; i++)
            if (fabs(x[c] / s - table[i]) < fabs(x[c] / s - table[best]))
                best = i;
        out[c] = s > 0.0 ? s * table[best] : 0.0;
    }
}

static void attend(const double *q, const sequence *s, int k, int v, int len, int window, double *out) {
    double max = -INFINITY, sum = 0.0, score[MAX_LEN];
    int first = window > 0 && window < len ? len - window : 0;
    memset(out, 0, DIM * sizeof *out);
    for (int j = first; j < len; j++) {
        score[j] = 0.0;
        for (int c = 0; c < DIM; c++)
            score[j] += q[c] * s->k[k][j][c];
        max = fmax(max, score[j]);
    }
    for (int j = first; j < len; j++) {
        sum += exp(score[j] - max);
        for (int c = 0; c < DIM; c++)
            out[c] += exp(score[j] - max) * s->v[v][j][c];
    }
    for (int c = 0; c < DIM; c++)
        out[c] /= sum;
}

typedef struct streams {
    kvb_rng q, k, v;
} streams;

static void draw_sequence(const kvb_ab_config *config, streams *rng, int len, int k_width, int v_width, sequence *s) {
    float raw[DIM];
    int sink = config->generator == KVB_GENERATOR_SINK;
    for (int j = 0; j < len; j++) {
        kvb_rng_normals(&rng->k, raw, DIM);
        for (int c = 0; sink && j == 0 && c < DIM; c++)
            raw[c] = 1.0f + 0.1f * raw[c];
        normalize(raw, s->k[0][j]);
        store(k_width, s->k[0][j], s->k[1][j]);
        kvb_rng_normals(&rng->v, raw, DIM);
        normalize(raw, s->v[0][j]);
        for (int c = 0; sink && j == 0 && c < DIM; c++)
            s->v[0][j][c] *= 0.05;
        store(v_width, s->v[0][j], s->v[1][j]);
    }
}

/* Mean NRMSE of the pair, of K alone and of V alone. */
static void oracle(const kvb_ab_config *config, int len, int k_width, int v_width, double mean[3]) {
    static sequence s;
    streams rng = {kvb_rng_seed(config->seed), kvb_rng_seed(config->seed ^ 0x11), kvb_rng_seed(config->seed ^ 0x22)};
    memset(mean, 0, 3 * sizeof *mean);
    for (int trial = 0; trial < config->trials; trial++) {
        double q[HEADS][DIM], difference[3] = {0}, reference = 0.0;
        float raw[DIM];
        for (int h = 0; h < HEADS; h++) {
            kvb_rng_normals(&rng.q, raw, DIM);
            for (int c = 0; config->generator == KVB_GENERATOR_SINK && c < DIM; c++)
                raw[c] += (float)config->sink_strength / sqrtf(DIM);
            normalize(raw, q[h]);
        }
        for (int kv = 0; kv < KV_HEADS; kv++) {
            draw_sequence(config, &rng, len, k_width, v_width, &s);
            for (int h = kv * HEADS / KV_HEADS; h < (kv + 1) * HEADS / KV_HEADS; h++) {
                double exact[DIM], out[3][DIM];
                attend(q[h], &s, 0, 0, len, config->window, exact);
                attend(q[h], &s, 1, 1, len, config->window, out[0]);
                attend(q[h], &s, 1, 0, len, config->window, out[1]);
                attend(q[h], &s, 0, 1, len, config->window, out[2]);
                for (int c = 0; c < DIM; c++) {
                    reference += exact[c] * exact[c];
                    for (int i = 0; i < 3; i++)
                        difference[i] += (out[i][c] - exact[c]) * (out[i][c] - exact[c]);
                }
            }
        }
        for (int i = 0; i < 3; i++)
            mean[i] += sqrt(difference[i] / reference) / config->trials;
    }
}

static double figure(const json_t *cell, const char *key) {
    const json_t *value = json_object_get(cell, key);
    assert_non_null(value);
    return json_number_value(value);
}

static void compare_with_oracle(const kvb_ab_config *config) {
    char *text = run_json(config, NULL);
    json_t *root = json_loads(text, 0, NULL), *cell;
    size_t i;
    assert_non_null(root);
    assert_int_equal(json_array_size(json_object_get(root, "pair_cells")),
                     (size_t)(config->n_kv_lens * (config->pairs ? config->n_pairs : config->n_bits)));
    json_array_foreach(json_object_get(root, "pair_cells"), i, cell) {
        double mean[3];
        oracle(config, (int)figure(cell, "kv_seq_len"), atoi(json_string_value(json_object_get(cell, "k"))),
               atoi(json_string_value(json_object_get(cell, "v"))), mean);
        assert_float_equal(figure(cell, "nrmse_mean"), mean[0], 1e-5);
        assert_float_equal(figure(cell, "k_only_mean"), mean[1], 1e-5);
        assert_float_equal(figure(cell, "v_only_mean"), mean[2], 1e-5);
    }
    json_decref(root);
    kvb_text_free(text);
}

static void cells_agree_with_double_precision(void **state) {
    (void)state;
    kvb_ab_config config = small_config();
    compare_with_oracle(&config);
}

static void pairs_windows_and_sinks_agree_with_double_precision(void **state) {
    (void)state;
    static const kvb_pair pairs[] = {{6, 3}, {3, 6}, {8, 1}};
    kvb_ab_config config = small_config();
    config.pairs = pairs;
    config.n_pairs = 3;
    config.window = 17;
    compare_with_oracle(&config);
    config.generator = KVB_GENERATOR_SINK;
    compare_with_oracle(&config);
    config.window = 0;
    compare_with_oracle(&config);
}

/* Sequences of 301 rows do not fill batches: the ring of scores carries the begun one over to the next batch. */
static void sequences_across_batches_agree_with_double_precision(void **state) {
    (void)state;
    enum { BATCH_ROWS = 16384 };
    kvb_ab_config config = small_config();
    config.trials = BATCH_ROWS / (KV_HEADS * MAX_LEN) + 2;
    compare_with_oracle(&config);
}

/* ---- Invariance ---- */

typedef struct job {
    size_t n;
    void (*body)(void *argument, size_t index, int worker);
    void *argument;
    atomic_size_t next;
} job;

typedef struct seat {
    job *job;
    int worker;
} seat;

static void *work(void *argument) {
    seat *s = argument;
    for (size_t i; (i = atomic_fetch_add(&s->job->next, 1)) < s->job->n;)
        s->job->body(s->job->argument, i, s->worker);
    return NULL;
}

static void run_threads(void *context, size_t n, void (*body)(void *argument, size_t index, int worker),
                        void *argument) {
    enum { THREADS = 3 };
    job j = {.n = n, .body = body, .argument = argument};
    pthread_t threads[THREADS];
    seat seats[THREADS];
    (void)context;
    for (int i = 0; i < THREADS; i++) {
        seats[i] = (seat){&j, i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &seats[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void threads_and_skipping_change_no_byte(void **state) {
    (void)state;
    static const kvb_generator generators[] = {KVB_GENERATOR_GAUSSIAN, KVB_GENERATOR_STUDENT_T, KVB_GENERATOR_OUTLIERS,
                                               KVB_GENERATOR_SINK, KVB_GENERATOR_LOW_RANK};
    kvb_parallel parallel = {run_threads, 3, NULL};
    for (int i = 0; i < 5; i++) {
        kvb_ab_config config = small_config();
        config.generator = generators[i];
        config.scale = 3.0; /* spread logits, so that there is something to skip */
        char *one = run_json(&config, NULL), *three = run_json(&config, &parallel);
        config.skip = 0;
        char *all = run_json(&config, &parallel);
        assert_string_equal(one, three);
        assert_string_equal(one, all);
        kvb_text_free(one);
        kvb_text_free(three);
        kvb_text_free(all);
    }
}

static void redraws_baselines_and_beta_tables_run(void **state) {
    (void)state;
    kvb_ab_config config = small_config();
    config.head_dim = 32;
    config.baselines = 1;
    config.redraws = 3;
    config.codebook = KVB_CODEBOOK_BETA;
    char *text = run_json(&config, NULL);
    json_t *root = json_loads(text, 0, NULL), *cell;
    size_t i;
    json_array_foreach(json_object_get(root, "pair_cells"), i, cell) {
        const char *name = json_string_value(json_object_get(cell, "k"));
        if (strstr(name, "+rot") || (name[0] >= '1' && name[0] <= '8')) {
            assert_true(figure(cell, "redraw_std") > 0.0);
            assert_true(figure(cell, "redraw_mean") > 0.0);
        } else { /* nothing to draw anew without a rotation */
            assert_null(json_object_get(cell, "redraw_mean"));
        }
    }
    assert_int_equal(i, 3 * (2 + 8));
    json_decref(root);
    kvb_text_free(text);
}

/* ---- Bad configurations ---- */

static void refuse(const kvb_ab_config *config, const char *word) {
    kvb_result *result = NULL;
    kvb_error error = {""};
    assert_int_equal(kvb_ab_run(config, NULL, NULL, &result, &error), KVB_ERROR_ARGUMENT);
    assert_null(result);
    if (!strstr(error.text, word) || !strstr(error.text, "legal"))
        fail_msg("'%s' does not speak of %s and what is legal", error.text, word);
}

static void bad_values_are_named_with_the_legal_ones(void **state) {
    (void)state;
    static const int no_bits[] = {0}, nine_bits[] = {4, 9}, zero_len[] = {0}, odd_dim[] = {36};
    static const kvb_pair bad_pair[] = {{4, 9}};
    kvb_ab_config config;
#define REFUSE(member, value, word)                                                                                    \
    config = small_config();                                                                                           \
    config.member = value;                                                                                             \
    refuse(&config, word)
    REFUSE(head_dim, 20, "head-dim 20");
    REFUSE(head_dim, 584, "head-dim 584");
    REFUSE(trials, 0, "trials is 0");
    REFUSE(vectors, -1, "vectors is -1");
    REFUSE(n_kv_heads, 5, "kv-heads is 5");
    REFUSE(redraws, -1, "redraws is -1");
    REFUSE(window, -2, "window is -2");
    REFUSE(scale, NAN, "scale is nan");
    REFUSE(thresholds[0], 0.0, "threshold is 0");
    REFUSE(student_dof, 0, "degrees is 0");
    REFUSE(outlier_channels, 25, "outlier channels is 25");
    config = small_config();
    config.bits = no_bits;
    config.n_bits = 1;
    refuse(&config, "bits is 0");
    config.bits = nine_bits;
    config.n_bits = 2;
    refuse(&config, "bits is 9");
    config = small_config();
    config.kv_lens = zero_len;
    config.n_kv_lens = 1;
    refuse(&config, "kv-len is 0");
    config = small_config();
    config.round_trip_dims = odd_dim;
    config.n_round_trip_dims = 1;
    refuse(&config, "round-trip head-dim 36");
    config = small_config();
    config.pairs = bad_pair;
    config.n_pairs = 1;
    refuse(&config, "V bits is 9");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_agree_with_double_precision),
        cmocka_unit_test(pairs_windows_and_sinks_agree_with_double_precision),
        cmocka_unit_test(sequences_across_batches_agree_with_double_precision),
        cmocka_unit_test(threads_and_skipping_change_no_byte),
        cmocka_unit_test(redraws_baselines_and_beta_tables_run),
        cmocka_unit_test(bad_values_are_named_with_the_legal_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
