/* Command lines for the option parser of `kvbits ab`, taken or refused: for its tests. */
#ifndef KVB_TESTS_OPTIONS_RUN_H
#define KVB_TESTS_OPTIONS_RUN_H

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

#include "ab_option_list.h"

enum { MOST_ARGUMENTS = 16 };

static inline kvb_status parse(kvb_ab_options *options, const char *line, kvb_error *error) {
    static char text[4096]; /* outlives the call: options point into it */
    char *argv[MOST_ARGUMENTS + 1] = {(char *)"kvbits ab"};
    int argc = 1;
    snprintf(text, sizeof text, "%s", line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
        assert_true(argc < MOST_ARGUMENTS);
        argv[argc++] = word;
    }
    error->text[0] = '\0';
    return kvb_ab_options_parse(argc, argv, options, error);
}

static inline void accept(kvb_ab_options *options, const char *line) {
    kvb_error error;
    if (parse(options, line, &error) != KVB_OK)
        fail_msg("'%s' is refused: %s", line, error.text);
}

static inline int is_sentence(const char *text) {
    for (const char *p = text; *p; p++)
        if (iscntrl((unsigned char)*p))
            return 0;
    return strlen(text) >= 10 && strlen(text) + 1 < sizeof((kvb_error *)0)->text;
}

/* Refused by the parser, in a sentence that holds every one of up to three words. */
static inline void refuse(const char *line, const char *first, const char *second, const char *third) {
    kvb_ab_options options;
    kvb_error error;
    kvb_status status = parse(&options, line, &error);
    if (status != KVB_ERROR_ARGUMENT || !is_sentence(error.text) || !strstr(error.text, first) ||
        !strstr(error.text, second) || !strstr(error.text, third))
        fail_msg("'%s': status %d, '%s' lacks '%s', '%s' or '%s'", line, status, error.text, first, second, third);
}

/* Refused by the check of the whole configuration, which the command makes next. */
static inline void refuse_range(const char *line, const char *sentence) {
    kvb_ab_options options;
    kvb_error error;
    accept(&options, line);
    if (kvb_ab_config_check(&options.config, &error) != KVB_ERROR_ARGUMENT || !strstr(error.text, sentence))
        fail_msg("'%s': '%s' lacks '%s'", line, error.text, sentence);
}

#endif
