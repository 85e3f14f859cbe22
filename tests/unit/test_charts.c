/* Charts: the gnuplot script, the runs of gnuplot that fail, and the SVG that reaches the page. */
#define _POSIX_C_SOURCE 200809L

#include "report_samples.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "charts.h"

static char *script_of(const char *text, kvb_charts *charts) {
    kvb_result *result = parse_text(text);
    kvb_error error = {""};
    char *script = NULL;
    assert_ok(kvb_charts_script(result->document, kvb_charts_of_ab, charts, &script, &error), error);
    kvb_result_free(result);
    return script;
}

static int has_chart(const kvb_charts *charts, const char *id) {
    for (int i = 0; i < charts->n; i++) {
        if (strcmp(charts->charts[i].id, id) == 0) {
            return 1;
        }
    }
    return 0;
}

static void names_reach_gnuplot_only_as_harmless_quoted_words(void **state) {
    (void)state;
    kvb_charts charts;
    char *script = script_of(hostile_document, &charts);
    assert_true(charts.n > 0);
    assert_non_null(strstr(script, "?b?")); /* the name is there, and what is left of it is harmless */
    assert_null(strstr(script, "<b>"));
    for (const char *p = script; *p != 0; p++) {
        assert_null(strchr("`\"!@|;\033", *p));
    }
    for (const char *line = script; *line != 0; line += strcspn(line, "\n") + 1) {
        int quotes = 0;
        for (const char *p = line; *p != '\n'; p++) {
            quotes += *p == '\'';
        }
        assert_int_equal(quotes % 2, 0);
    }
    kvb_text_free(script);
}

static const char head[] = "{\"kvbits\":{\"kind\":\"synthetic\"},\"decision_threshold_nrmse\":0.1,\"worst_pairs\":[";
#define PAIR(k, v, bits) "{\"k\":\"" k "\",\"v\":\"" v "\",\"average_bits\":" bits ",\"nrmse_worst\":0.2}"

static kvb_charts charts_of_pairs(const char *pairs) {
    char text[2048];
    kvb_charts charts;
    snprintf(text, sizeof text, "%s%s]}", head, pairs);
    kvb_text_free(script_of(text, &charts));
    return charts;
}

static void a_grid_of_pairs_gives_a_heat_map_and_other_pairs_a_list(void **state) {
    (void)state;
    kvb_charts charts = charts_of_pairs(
        PAIR("4", "4", "4") "," PAIR("4", "5", "4.5") "," PAIR("5", "4", "4.5") "," PAIR("5", "5", "5"));
    assert_true(has_chart(&charts, "grid"));
    assert_false(has_chart(&charts, "pairs"));
    charts = charts_of_pairs(PAIR("4", "4", "4") "," PAIR("4", "5", "4.5") "," PAIR("5", "5", "5"));
    assert_false(has_chart(&charts, "grid"));
    assert_true(has_chart(&charts, "pairs"));
    charts = charts_of_pairs(PAIR("4", "4", "4") "," PAIR("5", "5", "5"));
    assert_false(has_chart(&charts, "grid"));
    assert_false(has_chart(&charts, "pairs")); /* nothing that error against bits does not show */
    assert_true(has_chart(&charts, "bits"));
}

static void extreme_figures_still_draw(void **state) {
    (void)state;
    static const char *const figures[] = {"0", "1e-300", "1e-9", "1e300", "1.7e308"};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        char text[1024];
        snprintf(text, sizeof text,
                 "%s{\"k\":\"4\",\"v\":\"4\",\"average_bits\":4,\"nrmse_worst\":%s,\"nrmse_low\":-1,\"nrmse_high\":%s},"
                 "{\"k\":\"5\",\"v\":\"4\",\"average_bits\":%s,\"nrmse_worst\":0.5}]}",
                 head, figures[i], figures[i], figures[i]);
        kvb_result *result = parse_text(text);
        kvb_text_free(make_text(kvb_result_html, result));
        kvb_result_free(result);
    }
}

/* ---- gnuplot that is not there, fails, or draws nothing ---------------------------------------------------------- */

static char folder[] = "/tmp/kvbits-test-XXXXXX";

/* Runs the sample's report with `program` (a shell script, or NULL for none) as the only gnuplot on the PATH. */
static kvb_status report_with(const char *program, kvb_error *error) {
    char path[64], *old = strdup(getenv("PATH")), *html = NULL;
    snprintf(path, sizeof path, "%s/gnuplot", folder);
    if (program != NULL) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(program, file);
        fclose(file);
        assert_int_equal(chmod(path, 0700), 0);
    }
    kvb_result *result = parse_sample("result_synthetic.json");
    setenv("PATH", folder, 1);
    kvb_status status = kvb_result_html(result, &html, error);
    setenv("PATH", old, 1);
    free(old);
    kvb_result_free(result);
    kvb_text_free(html);
    unlink(path);
    return status;
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder);
}

static void a_missing_gnuplot_is_named_with_the_way_to_install_it(void **state) {
    (void)state;
    kvb_error error = {""};
    assert_int_equal(report_with(NULL, &error), KVB_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.text, "gnuplot-nox"));
    char *old = strdup(getenv("PATH"));
    setenv("PATH", folder, 1);
    error.text[0] = 0;
    assert_int_equal(kvb_report_plotter_check(&error), KVB_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.text, "gnuplot-nox"));
    setenv("PATH", old, 1);
    free(old);
    assert_ok(kvb_report_plotter_check(&error), error);
}

static void a_failing_gnuplot_is_quoted(void **state) {
    (void)state;
    kvb_error error = {""};
    assert_int_equal(report_with("#!/bin/sh\necho '  no such terminal' >&2\nexit 7\n", &error), KVB_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.text, "exit status 7: no such terminal"));
    assert_int_equal(report_with("#!/bin/sh\nkill -9 $$\n", &error), KVB_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.text, "signal 9"));
    assert_int_equal(report_with("#!/bin/sh\nexit 0\n", &error), KVB_ERROR_FORMAT);
    assert_non_null(strstr(error.text, "fewer charts"));
}

static void no_descriptor_is_left_open(void **state) {
    (void)state;
    kvb_error error = {""};
    int before = open("/dev/null", O_RDONLY);
    close(before);
    assert_ok(kvb_report_plotter_check(&error), error);
    report_with(NULL, &error);
    int after = open("/dev/null", O_RDONLY);
    close(after);
    assert_int_equal(before, after);
}

/* ---- SVG -------------------------------------------------------------------------------------------------------- */

static void svg_gets_own_ids_plain_colors_and_no_fixed_size(void **state) {
    (void)state;
    static const char raw[] =
        "<?xml version=\"1.0\"?>\n<svg \n width=\"860\" height=\"400\"\n viewBox=\"0 0 860 400\"\n "
        "xmlns=\"http://www.w3.org/2000/svg\">\n<title>t</title>\n<desc>by &lt;</desc>\n<circle id='a'/>"
        "<use xlink:href='#a' color='rgb( 42, 111,   7)' fill=\"rgb(1,2,300)\"/></svg>\n<svg viewBox=\"0 0 1 "
        "2\"></svg>";
    const char *rest = raw;
    char *svg = NULL;
    kvb_error error = {""};
    assert_ok(kvb_svg_next(&rest, "p-", "plot wide", "a \"b\"", &svg, &error), error);
    assert_string_equal(svg, "<svg class=\"plot wide\" viewBox=\"0 0 860 400\" style=\"max-width:860px\" role=\"img\" "
                             "aria-label=\"a &quot;b&quot;\">\n<circle id='p-a'/>"
                             "<use href='#p-a' color='#2a6f07' fill=\"rgb(1,2,300)\"/></svg>\n");
    kvb_text_free(svg);
    assert_ok(kvb_svg_next(&rest, "q-", "plot", "", &svg, &error), error);
    kvb_text_free(svg);
    assert_int_equal(kvb_svg_next(&rest, "r-", "plot", "", &svg, &error), KVB_ERROR_FORMAT);
}

static void colors_of_the_light_scheme_all_differ(void **state) {
    (void)state;
    for (int i = 0; i < KVB_COLOR_COUNT; i++) {
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(kvb_colors_light[i], kvb_colors_light[j]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_reach_gnuplot_only_as_harmless_quoted_words),
        cmocka_unit_test(a_grid_of_pairs_gives_a_heat_map_and_other_pairs_a_list),
        cmocka_unit_test(extreme_figures_still_draw),
        cmocka_unit_test(a_missing_gnuplot_is_named_with_the_way_to_install_it),
        cmocka_unit_test(a_failing_gnuplot_is_quoted),
        cmocka_unit_test(no_descriptor_is_left_open),
        cmocka_unit_test(svg_gets_own_ids_plain_colors_and_no_fixed_size),
        cmocka_unit_test(colors_of_the_light_scheme_all_differ),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
