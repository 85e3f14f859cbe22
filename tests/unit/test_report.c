/* Results and reports: what is parsed, what is refused, what result.json, result.md and report.html hold. */
#include "report_samples.h"

#include <math.h>

static void json_of_a_parsed_document_parses_to_the_same_json(void **state) {
    (void)state;
    static const char *const samples[] = {"result_synthetic.json", "result_trace.json"};
    for (int i = 0; i < 2; i++) {
        kvb_result *first = parse_sample(samples[i]);
        char *json = make_text(kvb_result_json, first);
        kvb_result *second = parse_text(json);
        char *again = make_text(kvb_result_json, second);
        assert_string_equal(json, again);
        assert_string_equal(json + strlen(json) - 2, "}\n");
        char *reports[4] = {make_text(kvb_result_markdown, first), make_text(kvb_result_markdown, second),
                            make_text(kvb_result_html, first), make_text(kvb_result_html, second)};
        assert_string_equal(reports[0], reports[1]);
        assert_string_equal(reports[2], reports[3]);
        for (int r = 0; r < 4; r++) {
            kvb_text_free(reports[r]);
        }
        kvb_text_free(json);
        kvb_text_free(again);
        kvb_result_free(first);
        kvb_result_free(second);
    }
}

static void assert_dumps(json_t *number, const char *expected) {
    assert_non_null(number);
    char *text = json_dumps(number, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    assert_string_equal(text, expected);
    free(text);
    json_decref(number);
}

static void nrmse_has_eight_decimals_and_reals_nine_digits(void **state) {
    (void)state;
    assert_dumps(kvb_json_nrmse(0.38798261499), "0.38798261");
    assert_dumps(kvb_json_nrmse(0.123456785001), "0.12345679");
    assert_dumps(kvb_json_nrmse(0.0), "0.0");
    assert_dumps(kvb_json_nrmse(4e-9), "0.0");
    assert_dumps(kvb_json_real(1.0 / 3.0), "0.333333333");
    json_t *rounded = kvb_json_real(1.0 / 3.0);
    assert_true(json_real_value(rounded) == 0.333333333); /* in memory too, not only when written */
    json_decref(rounded);
}

static void what_is_not_finite_becomes_no_number(void **state) {
    (void)state;
    const double values[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        assert_null(kvb_json_nrmse(values[i]));
        assert_null(kvb_json_real(values[i]));
    }
}

static void failed_checks_are_counted(void **state) {
    (void)state;
    kvb_result *result = parse_text("{\"kvbits\":{\"kind\":\"trace\"},\"checks\":[{\"name\":\"a\",\"passed\":true},"
                                    "{\"name\":\"b\",\"passed\":false},{\"name\":\"c\",\"passed\":false}]}");
    assert_int_equal(kvb_result_failed_checks(result), 2);
    kvb_result_free(result);
    result = parse_sample("result_synthetic.json");
    assert_int_equal(kvb_result_failed_checks(result), 0);
    kvb_result_free(result);
}

static void faults_are_refused_with_a_sentence_that_names_them(void **state) {
    (void)state;
#define KIND "{\"kvbits\":{\"kind\":\"synthetic\"}"
    static const char *const cases[][2] = {
        {"", "line 1"},
        {"{\"a\": NaN}", "near 'NaN'"},
        {"{\"kvbits\":{\"kind\":\"trace\"}", "line 1"},
        {"[]", "the document must be an object"},
        {"{}", "lacks \"kvbits\""},
        {"{\"kvbits\":{}}", "\"synthetic\" or \"trace\""},
        {"{\"kvbits\":{\"kind\":\"other\"}}", "\"synthetic\" or \"trace\""},
        {KIND ",\"kvbits\":{}}", "duplicate"},
        {KIND ",\"verdict\":3}", "\"verdict\" of the document must be a text"},
        {KIND ",\"round_trip_cells\":{}}", "round_trip_cells must be an array"},
        {KIND ",\"round_trip_cells\":[7]}", "round_trip_cells[0] must be an object"},
        {KIND ",\"sdpa_cells\":[{\"bit_width\":4}]}", "sdpa_cells[0] lacks \"kv_seq_len\""},
        {KIND ",\"pair_cells\":[{\"k\":\"4\",\"v\":\"\",\"nrmse_mean\":1}]}", "a name of 1 to 31 characters"},
        {KIND ",\"pair_cells\":[{\"k\":\"4\",\"v\":\"4\",\"nrmse_mean\":-1}]}", "a number of at least 0"},
        {KIND ",\"pair_cells\":[{\"k\":\"4\",\"v\":\"4\",\"nrmse_mean\":1e999}]}", "line 1"},
        {KIND ",\"needed\":[{\"threshold\":0.1,\"cheapest_pair\":{\"k\":\"4\"}}]}",
         "needed[0].cheapest_pair lacks \"v\""},
        {KIND ",\"checks\":[{\"name\":\"a\",\"passed\":1}]}", "\"passed\" of checks[0] must be true or false"},
        {KIND ",\"layers\":[{\"layer\":-1}]}", "a whole number from 0"},
        {KIND ",\"layers\":[{\"layer\":0,\"logit_cells\":[{}]}]}", "layers[0].logit_cells[0] lacks \"k\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kvb_result *result = NULL;
        kvb_error error = {""};
        assert_int_equal(kvb_result_parse(cases[i][0], strlen(cases[i][0]), &result, &error), KVB_ERROR_FORMAT);
        assert_null(result);
        if (strstr(error.text, cases[i][1]) == NULL || strchr(error.text, '\n') != NULL) {
            fail_msg("%s gives: %s", cases[i][0], error.text);
        }
    }
}

static void markdown_holds_every_section_of_a_full_result(void **state) {
    (void)state;
    static const char *const parts[] = {"## Verdict",
                                        "## Bits needed",
                                        "## Every pair at its worst",
                                        "## Configuration",
                                        "## Codebooks (T1a)",
                                        "Sanity gate: the 4-bit table differs",
                                        "## Round trip of single vectors (T1b)",
                                        "## Attention output, K and V at the same width (T1c)",
                                        "## All pairs",
                                        "## Which side does the damage",
                                        "## Redrawn quantization noise",
                                        "## Logits and softmax weights",
                                        "## Paired comparisons",
                                        "## Checks",
                                        "| bit_width_6_sufficient |",
                                        "|    4 | A    |      128 |  0.0959644 | [0.0954122, 0.0965165] | 0.0086368 |",
                                        "| 7/5 ",
                                        "6.125"};
    kvb_result *result = parse_sample("result_synthetic.json");
    char *text = make_text(kvb_result_markdown, result);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strstr(text, parts[i]) == NULL) {
            fail_msg("result.md lacks: %s", parts[i]);
        }
    }
    assert_null(strstr(text, "## Layer"));
    kvb_text_free(text);
    kvb_result_free(result);
    result = parse_sample("result_trace.json");
    text = make_text(kvb_result_markdown, result);
    assert_int_equal(count(text, "\n## Layer "), 4);
    assert_null(strstr(text, "T1b"));
    kvb_text_free(text);
    kvb_result_free(result);
}

static void markdown_tables_line_up(void **state) {
    (void)state;
    kvb_result *result = parse_sample("result_synthetic.json");
    char *text = make_text(kvb_result_markdown, result);
    size_t width = 0;
    int rows = 0;
    for (const char *line = text; *line != 0;) {
        size_t length = strcspn(line, "\n"), characters = 0;
        for (size_t i = 0; i < length; i++) {
            characters += ((unsigned char)line[i] & 0xc0) != 0x80;
        }
        if (line[0] == '|') {
            assert_true(width == 0 || width == characters);
            width = characters;
            rows++;
        } else {
            width = 0;
        }
        line += length + (line[length] == '\n');
    }
    assert_true(rows > 100);
    kvb_text_free(text);
    kvb_result_free(result);
}

static void parts_without_their_keys_are_left_out(void **state) {
    (void)state;
    static const char *const empty[] = {
        "{\"kvbits\":{\"kind\":\"synthetic\"}}", "{\"kvbits\":{\"kind\":\"trace\"}}",
        "{\"kvbits\":{\"kind\":\"synthetic\"},\"pair_cells\":[],\"worst_pairs\":[],\"needed\":[]}"};
    for (int i = 0; i < 3; i++) {
        kvb_result *result = parse_text(empty[i]);
        char *markdown = make_text(kvb_result_markdown, result), *html = make_text(kvb_result_html, result);
        assert_null(strstr(markdown, "|"));
        assert_null(strstr(html, "<svg"));
        assert_null(strstr(html, "<table"));
        assert_non_null(strstr(html, "</html>"));
        kvb_text_free(markdown);
        kvb_text_free(html);
        kvb_result_free(result);
    }
}

static void hostile_text_is_shown_and_not_obeyed(void **state) {
    (void)state;
    kvb_result *result = parse_text(hostile_document);
    char *markdown = make_text(kvb_result_markdown, result), *html = make_text(kvb_result_html, result);
    assert_null(strstr(html, "<script"));
    assert_null(strstr(html, "<b>"));
    assert_non_null(strstr(html, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;amp;&quot;"));
    for (const char *p = html; *p != 0; p++) {
        assert_true((unsigned char)*p >= 0x20 || *p == '\n');
    }
    for (const char *p = strstr(markdown, "<script"); p != NULL; p = strstr(p + 1, "<script")) {
        assert_true(p[-1] == '\\');
    }
    assert_null(strstr(markdown, "[a](b)"));
    assert_null(strchr(markdown, 0x1b));
    kvb_text_free(markdown);
    kvb_text_free(html);
    kvb_result_free(result);
}

static void html_fetches_nothing_and_runs_nothing(void **state) {
    (void)state;
    static const char *const banned[] = {"http:",   "https:", "//",    "<script", "<link",
                                         "@import", "url(",   " src=", "onload"};
    static const char *const samples[] = {"result_synthetic.json", "result_trace.json"};
    for (int s = 0; s < 2; s++) {
        kvb_result *result = parse_sample(samples[s]);
        char *html = make_text(kvb_result_html, result);
        for (size_t i = 0; i < sizeof banned / sizeof *banned; i++) {
            if (strstr(html, banned[i]) != NULL) {
                fail_msg("report.html holds %s", banned[i]);
            }
        }
        assert_int_equal(count(html, "<svg"), s == 0 ? 6 : 8);
        assert_int_equal(count(html, "<svg"), count(html, "</svg>"));
        kvb_text_free(html);
        kvb_result_free(result);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_of_a_parsed_document_parses_to_the_same_json),
        cmocka_unit_test(nrmse_has_eight_decimals_and_reals_nine_digits),
        cmocka_unit_test(what_is_not_finite_becomes_no_number),
        cmocka_unit_test(failed_checks_are_counted),
        cmocka_unit_test(faults_are_refused_with_a_sentence_that_names_them),
        cmocka_unit_test(markdown_holds_every_section_of_a_full_result),
        cmocka_unit_test(markdown_tables_line_up),
        cmocka_unit_test(parts_without_their_keys_are_left_out),
        cmocka_unit_test(hostile_text_is_shown_and_not_obeyed),
        cmocka_unit_test(html_fetches_nothing_and_runs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
