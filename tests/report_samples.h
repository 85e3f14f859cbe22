/* Result documents for the tests of the reports. */
#ifndef KVB_TESTS_REPORT_SAMPLES_H
#define KVB_TESTS_REPORT_SAMPLES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "result.h"

static inline char *read_sample(const char *name, size_t *size) {
    char path[512];
    snprintf(path, sizeof path, "%s/data/%s", KVB_TEST_DATA, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = malloc(1 << 20);
    assert_non_null(text);
    *size = fread(text, 1, (1 << 20) - 1, file);
    text[*size] = 0;
    fclose(file);
    return text;
}

static inline kvb_result *parse_text(const char *text) {
    kvb_result *result = NULL;
    kvb_error error = {""};
    assert_ok(kvb_result_parse(text, strlen(text), &result, &error), error);
    return result;
}

static inline kvb_result *parse_sample(const char *name) {
    size_t size;
    char *text = read_sample(name, &size);
    kvb_result *result = parse_text(text);
    free(text);
    return result;
}

/* The documents' text, released with kvb_text_free. */
static inline char *make_text(kvb_status (*make)(const kvb_result *, char **, kvb_error *), const kvb_result *result) {
    char *text = NULL;
    kvb_error error = {""};
    assert_ok(make(result, &text, &error), error);
    return text;
}

static inline int count(const char *text, const char *part) {
    int n = 0;
    for (const char *p = strstr(text, part); p != NULL; p = strstr(p + 1, part)) {
        n++;
    }
    return n;
}

/* A name that would do harm wherever it is not quoted: HTML, Markdown, gnuplot, a terminal. */
#define HOSTILE "<b>'`|$(x)\\u001b"
#define HOSTILE_TEXT "<script>alert('x')</script>&amp;\\\"'; system('false') # `false` |[a](b)\\u0007"

static const char hostile_document[] =
    "{\"kvbits\":{\"version\":\"" HOSTILE "\",\"kind\":\"trace\"},\"decision_threshold_nrmse\":0.1,"
    "\"decision_threshold_alt_nrmse\":0.15,\"trace\":{\"file\":\"" HOSTILE_TEXT "\",\"metadata\":{\"" HOSTILE_TEXT
    "\":\"" HOSTILE_TEXT "\",\"model\":\"" HOSTILE_TEXT "\"}},\"configuration\":{\"" HOSTILE_TEXT "\":[\"" HOSTILE_TEXT
    "\"]},\"codebook_sources\":{\"" HOSTILE_TEXT "\":\"" HOSTILE_TEXT "\"},\"lloyd_max_convergence\":{\"" HOSTILE_TEXT
    "\":{\"iteration_count\":1,\"final_max_change\":1e-9}},\"layers\":[{\"layer\":0,\"pair_cells\":[{\"k\":\"" HOSTILE
    "\",\"v\":\"4\",\"k_stored_bits\":4,\"v_stored_bits\":4,\"average_bits\":4,\"nrmse_mean\":0.2,\"k_only_mean\":0.1}]"
    ","
    "\"logit_cells\":[{\"k\":\"" HOSTILE
    "\",\"logit_rmse\":1}],\"needed\":[{\"threshold\":0.1,\"cheapest_pair\":{\"k\":\"" HOSTILE
    "\",\"v\":\"4\",\"average_bits\":4,\"nrmse\":0.2}}]}],\"worst_pairs\":[{\"k\":\"" HOSTILE
    "\",\"v\":\"4\",\"average_bits\":4,\"layer\":0,\"nrmse_worst\":0.2}],\"needed\":[{\"threshold\":0.1,\"cheapest_"
    "pair\":{"
    "\"k\":\"" HOSTILE "\",\"v\":\"4\",\"average_bits\":4,\"nrmse\":0.2}}],\"paired_comparisons\":[{\"a\":\"" HOSTILE
    "\",\"b\":\"" HOSTILE "\",\"difference_mean\":-0.1}],\"verdict\":\"" HOSTILE_TEXT
    "\",\"verdict_rationale\":\"" HOSTILE_TEXT "\",\"checks\":[{\"name\":\"" HOSTILE_TEXT
    "\",\"passed\":false,\"detail\":\"" HOSTILE_TEXT "\"}]}";

#endif
