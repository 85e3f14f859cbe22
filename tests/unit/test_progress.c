/* The progress line, drawn into a temporary file with a clock under the test's control. */
#include "progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double now;

static double test_seconds(void) {
    return now;
}

static kvb_progress start(kvb_progress_line *line, int terminal) {
    kvb_progress progress = kvb_progress_line_start(line);
    now = 0.0;
    line->stream = tmpfile();
    line->seconds = test_seconds;
    line->started = 0.0;
    line->terminal = terminal;
    line->columns = 60;
    return progress;
}

static size_t drawings(FILE *stream, char *last, size_t bytes) {
    char text[8192];
    rewind(stream);
    text[fread(text, 1, sizeof text - 1, stream)] = '\0';
    size_t n = 0;
    for (char *at = text; (at = strchr(at, '\r')); at++, n++)
        snprintf(last, bytes, "%s", at + 1);
    return n;
}

static void nothing_is_drawn_where_there_is_no_terminal(void **state) {
    (void)state;
    kvb_progress_line line;
    kvb_progress progress = start(&line, 0);
    now = 100.0;
    progress.report(progress.context, "attention", 0.5);
    kvb_progress_line_end(&line);
    assert_int_equal(ftell(line.stream), 0);
    fclose(line.stream);
}

static void nothing_is_drawn_in_the_first_two_seconds(void **state) {
    (void)state;
    kvb_progress_line line;
    kvb_progress progress = start(&line, 1);
    for (now = 0.0; now < 1.99; now += 0.01)
        progress.report(progress.context, "attention", now / 2.0);
    kvb_progress_line_end(&line);
    assert_int_equal(ftell(line.stream), 0);
    fclose(line.stream);
}

static void the_line_is_drawn_at_most_ten_times_a_second_and_erased_at_the_end(void **state) {
    (void)state;
    kvb_progress_line line;
    char last[256];
    kvb_progress progress = start(&line, 1);
    for (int i = 0; i <= 1000; i++) {
        now = 2.0 + i / 1000.0;
        progress.report(progress.context, "attention", 0.25);
    }
    assert_in_range(drawings(line.stream, last, sizeof last), 9, 11);
    assert_non_null(strstr(last, "[######..................]  25 %, about 9 s left: attention"));
    fseek(line.stream, 0, SEEK_END);
    kvb_progress_line_end(&line);
    drawings(line.stream, last, sizeof last);
    assert_string_equal(last, "\033[K");
    fclose(line.stream);
}

static void a_line_never_reaches_the_last_column(void **state) {
    (void)state;
    kvb_progress_line line;
    char last[512], what[300];
    memset(what, 'x', sizeof what);
    what[299] = '\0';
    kvb_progress progress = start(&line, 1);
    now = 3.0;
    progress.report(progress.context, what, 1.5);
    drawings(line.stream, last, sizeof last);
    assert_int_equal(strcspn(last, "\033"), 59);
    assert_non_null(strstr(last, "100 %"));
    fclose(line.stream);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_drawn_where_there_is_no_terminal),
        cmocka_unit_test(nothing_is_drawn_in_the_first_two_seconds),
        cmocka_unit_test(the_line_is_drawn_at_most_ten_times_a_second_and_erased_at_the_end),
        cmocka_unit_test(a_line_never_reaches_the_last_column),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
