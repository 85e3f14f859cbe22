/* Needles on a stand-in for the engine whose tokens are bytes and whose model copies: behind a run of bytes that it has
 * seen before it expects what followed there. It finds every needle; its cache number 1 has forgotten all but the last
 * tokens, so that it finds those alone that lie deep enough. What it computes at its one layer is a mean of values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "kvbits/eval.h"
#include "needle.h"

enum { DIM = 32, VOCAB = 256, FILLER = 1000, TOKENS = 800, REMEMBERED = 300, LOGIT = 8 };

struct kvb_engine {
    kvb_engine_info info;
};

static kvb_engine engine = {{.software = "copier", .n_layers = 1, .n_vocab = VOCAB, .n_context = 2048}};
static int32_t filler[FILLER];

const kvb_engine_info *kvb_engine_get_info(const kvb_engine *of) {
    return &of->info;
}

const char *kvb_engine_cache_name(int cache) {
    return cache == 0 ? "f32" : cache == 1 ? "forgetful" : NULL;
}

double kvb_engine_cache_bits(int cache) {
    return cache ? 4 : 32;
}

kvb_status kvb_engine_tokenize(const kvb_engine *of, const char *text, size_t bytes, int32_t **tokens, int *n,
                               int32_t *first, kvb_error *error) {
    (void)of, (void)error;
    *tokens = malloc(bytes * sizeof **tokens);
    *n = (int)bytes;
    *first = -1;
    for (size_t i = 0; i < bytes; i++)
        (*tokens)[i] = (unsigned char)text[i];
    return KVB_OK;
}

/* What follows the longest run of tokens before `at` that the tokens up to `at` repeat. */
static int32_t expected(const int32_t *tokens, int oldest, int at) {
    int best = -1, longest = 0;
    for (int other = oldest; other < at; other++) {
        int n = 0;
        while (n <= other - oldest && tokens[other - n] == tokens[at - n])
            n++;
        if (n >= longest) {
            longest = n;
            best = other;
        }
    }
    return best < 0 ? 0 : tokens[best + 1];
}

static kvb_status call_hook(const kvb_engine_hook *hook, int n, kvb_error *error) {
    float *rows = calloc((size_t)n * 4 * DIM, sizeof *rows), *q = rows, *k = q + n * DIM, *v = k + n * DIM;
    double sums[DIM] = {0};
    kvb_rng rng = kvb_rng_seed(5);
    kvb_rng_normals(&rng, k, (size_t)n * 2 * DIM);
    for (int i = 0; i < n * DIM; i++) {
        sums[i % DIM] += (double)v[i];
        v[n * DIM + i] = (float)(sums[i % DIM] / (i / DIM + 1)); /* of equal weights: queries are 0 */
    }
    const kvb_engine_attention a = {.n_tokens = n,
                                    .n_heads = 1,
                                    .n_kv_heads = 1,
                                    .k_dim = DIM,
                                    .v_dim = DIM,
                                    .q = q,
                                    .k = k,
                                    .v = v,
                                    .scale = 1,
                                    .out = v + n * DIM};
    kvb_status status = hook->attention(hook->context, &a, error);
    free(rows);
    return status;
}

kvb_status kvb_engine_run(kvb_engine *of, int cache, const int32_t *tokens, int n, const kvb_engine_hook *hook,
                          const kvb_engine_sink *sink, kvb_error *error) {
    kvb_status status = hook ? call_hook(hook, n, error) : KVB_OK;
    (void)of;
    for (int at = sink ? sink->from : n; at < n && status == KVB_OK; at++) {
        float logits[VOCAB] = {0};
        logits[expected(tokens, cache && n > REMEMBERED ? n - REMEMBERED : 0, at)] = LOGIT;
        status = sink->logits(sink->context, at, 1, logits, error);
    }
    return status;
}

/* ---- */

static void fill(void) {
    kvb_rng rng = kvb_rng_seed(3);
    for (int i = 0; i < FILLER; i++)
        filler[i] = 'a' + (int32_t)(kvb_rng_uniform(&rng) * 26);
}

static void each_needle_tells_what_its_question_asks_for(void **state) {
    (void)state;
    for (int i = 0; i < 500; i++) {
        const kvb_needle_text text = kvb_needle_text_of(i), before = kvb_needle_text_of(i ? i - 1 : 1);
        const char *answer = strstr(text.sentence, text.secret);
        const char *asked = strrchr(text.question, '?');
        assert_non_null(answer);
        assert_non_null(asked);
        assert_null(strstr(text.question, text.secret));
        assert_string_not_equal(text.secret, before.secret);
        /* the question's last words are those before the secret */
        const size_t n = strlen(asked + 2);
        assert_true((size_t)(answer - text.sentence) > n);
        assert_memory_equal(answer - n, asked + 2, n);
    }
}

static void needles_lie_where_they_should(void **state) {
    const int32_t text[] = {10, 11, 12, 13, 14, 15, 16, 17}, sentence[] = {50, 51}, question[] = {60, 61, 62};
    const int32_t at_0[] = {1, 50, 51, 10, 11, 12, 13, 60, 61, 62}, at_25[] = {1, 10, 50, 51, 11, 12, 13, 60, 61, 62},
                  at_100[] = {1, 10, 11, 12, 13, 50, 51, 60, 61, 62}, bare[] = {10, 50, 51, 11, 60, 61, 62};
    kvb_needle_parts parts = {
        .filler = text, .first = 1, .sentence = sentence, .question = question, .n_sentence = 2, .n_question = 3};
    int32_t out[10];
    (void)state;
    assert_int_equal(kvb_needle_room(&parts, 10), 4);
    assert_int_equal(kvb_needle_place(&parts, 0, 10, out), 1);
    assert_memory_equal(out, at_0, sizeof at_0);
    assert_int_equal(kvb_needle_place(&parts, 25, 10, out), 2);
    assert_memory_equal(out, at_25, sizeof at_25);
    assert_int_equal(kvb_needle_place(&parts, 100, 10, out), 5);
    assert_memory_equal(out, at_100, sizeof at_100);
    parts.first = -1;
    assert_int_equal(kvb_needle_place(&parts, 50, 7, out), 1);
    assert_memory_equal(out, bare, sizeof bare);
    assert_int_equal(kvb_needle_room(&parts, 4), -1);
}

static void figures_are_sums_over_the_answer(void **state) {
    kvb_divergence tokens[] = {{.kl = 1, .log_loss = .5, .hit = 1}, {.kl = 2, .log_loss = .25, .hit = 1}};
    kvb_needle_figure figure = kvb_needle_figure_of(tokens, 2);
    (void)state;
    assert_true(figure.kl == 3 && figure.log_probability == -.75 && figure.right == 1);
    tokens[0].hit = 0;
    assert_int_equal(kvb_needle_figure_of(tokens, 2).right, 0);
    assert_int_equal(kvb_needle_figure_of(tokens + 1, 1).right, 1);
}

static double value(const json_t *of, const char *figure) {
    return json_number_value(json_object_get(json_object_get(of, figure), "value"));
}

static json_t *measure(kvb_subject *subject, const kvb_needle_plan *plan) {
    kvb_needles *needles;
    char *text, *markdown;
    assert_int_equal(kvb_needles_create(subject, plan, &needles, NULL), KVB_OK);
    assert_int_equal(kvb_needles_run(needles, NULL), KVB_OK);
    assert_int_equal(kvb_needles_json(needles, "folder/m.gguf", "t.txt", &text, NULL), KVB_OK);
    assert_int_equal(kvb_needles_markdown(text, &markdown, NULL), KVB_OK);
    assert_non_null(strstr(markdown, "| forgetful | engine | 4 |"));
    json_t *document = json_loads(text, 0, NULL);
    free(text);
    free(markdown);
    kvb_needles_free(needles);
    return document;
}

static void what_is_remembered_is_found(void **state) {
    const kvb_needle_plan plan = {.filler = filler,
                                  .n_filler = FILLER,
                                  .first = 1,
                                  .tokens = TOKENS,
                                  .depths = {0, 100},
                                  .n_depths = 2,
                                  .per_depth = 3};
    const kvb_layer_spec layer = kvb_layer_spec_default(1, DIM, 4, 4);
    const double token = -log1p((VOCAB - 1) * exp(-LOGIT));
    kvb_subject *subject;
    (void)state;
    fill();
    assert_int_equal(kvb_subject_create(&engine, TOKENS, filler, FILLER, NULL, NULL, &subject, NULL), KVB_OK);
    assert_int_equal(kvb_subject_add(subject, "forgetful", 1, NULL, NULL), KVB_OK);
    assert_int_equal(kvb_subject_add(subject, "4/4", -1, &layer, NULL), KVB_OK);
    json_t *document = measure(subject, &plan), *needles = json_object_get(document, "needles"),
           *reference = json_object_get(document, "reference"), *schemes = json_object_get(document, "schemes"),
           *depths = json_object_get(json_array_get(schemes, 0), "depths");
    assert_int_equal(json_array_size(needles), 6);
    for (size_t i = 0; i < 6; i++) {
        const json_t *needle = json_array_get(needles, i), *found = json_object_get(needle, "log_probability");
        const double n = (double)strlen(json_string_value(json_object_get(needle, "answer")));
        assert_true(json_number_value(json_object_get(needle, "answer_tokens")) == n);
        assert_true(fabs(json_number_value(json_array_get(found, 0)) - n * token) < 1e-4);
        assert_int_equal(json_integer_value(json_object_get(needle, "position")) == 1, i < 3);
        assert_int_equal(json_is_true(json_array_get(json_object_get(needle, "right"), 1)), i >= 3);
    }
    assert_true(value(reference, "right") == 1 && value(json_array_get(schemes, 1), "right") == 1);
    assert_true(fabs(value(reference, "probability") - exp(value(reference, "log_probability"))) < 1e-5);
    assert_true(value(json_array_get(schemes, 1), "kl_mean") == 0);
    assert_true(value(json_array_get(schemes, 0), "right") == .5);
    assert_true(value(json_array_get(depths, 0), "kl_mean") > 1 && value(json_array_get(depths, 1), "kl_mean") == 0);
    assert_true(value(json_array_get(depths, 0), "right") == 0 && value(json_array_get(depths, 1), "right") == 1);
    json_decref(document);
    kvb_subject_free(subject);
}

static void what_does_not_fit_is_refused(void **state) {
    kvb_needle_plan plan = {
        .filler = filler, .n_filler = FILLER, .first = -1, .tokens = FILLER + 1, .n_depths = 1, .per_depth = 1};
    kvb_error error;
    kvb_subject *subject;
    kvb_needles *needles;
    (void)state;
    fill();
    assert_int_equal(kvb_subject_create(&engine, TOKENS, filler, FILLER, NULL, NULL, &subject, NULL), KVB_OK);
    assert_int_equal(kvb_needles_create(subject, &plan, &needles, &error), KVB_ERROR_ARGUMENT);
    assert_string_equal(error.text, "needles in 1001 tokens; the text has 1000");
    const kvb_needle_text text = kvb_needle_text_of(0);
    const int least = (int)(strlen(text.sentence) + strlen(text.question) + strlen(text.secret));
    for (plan.tokens = least - 1; plan.tokens <= least; plan.tokens++) {
        assert_int_equal(kvb_needles_create(subject, &plan, &needles, &error), KVB_OK);
        assert_int_equal(kvb_needles_run(needles, &error), plan.tokens < least ? KVB_ERROR_ARGUMENT : KVB_OK);
        kvb_needles_free(needles);
    }
    assert_non_null(strstr(error.text, "too few for a needle and its question; legal: from "));
    kvb_subject_free(subject);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_needle_tells_what_its_question_asks_for),
        cmocka_unit_test(needles_lie_where_they_should),
        cmocka_unit_test(figures_are_sums_over_the_answer),
        cmocka_unit_test(what_is_remembered_is_found),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
