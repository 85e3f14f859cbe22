/* kvbits report: result.md and report.html from the result.json of an earlier kvbits ab or kvbits eval. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "engine/evaluate.h"
#include "exit_code.h"
#include "kvbits/eval.h"
#include "output.h"

static const size_t max_input = (size_t)256 << 20;

typedef struct options {
    const char *input, *html, *markdown;
} options;

static const struct argp_option table[] = {
    {"html", 'H', "FILE", 0, "Write the self-contained page with charts to FILE (needs gnuplot); - is standard output",
     0},
    {"markdown", 'm', "FILE", 0, "Write the Markdown report to FILE; - is standard output", 0},
    {0}};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    options *o = state->input;
    switch (key) {
    case 'H':
        o->html = argument;
        return 0;
    case 'm':
        o->markdown = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (o->input != NULL) {
            argp_error(state, "one RESULT.json at a time, '%s' is the second", argument);
            return EINVAL;
        }
        o->input = argument;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which RESULT.json? (- is standard input)");
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {table,
                                   parse_option,
                                   "RESULT.json",
                                   "Makes reports from the result.json of an earlier run of kvbits ab or kvbits eval. "
                                   "Without options the Markdown report goes to standard "
                                   "output.\vExit codes: 0 done, 2 bad input, 3 input/output error.",
                                   NULL,
                                   NULL,
                                   NULL};

static kvb_status read_stream(FILE *file, const char *path, char **text, size_t *size, kvb_error *error) {
    size_t capacity = 0;
    *text = NULL;
    *size = 0;
    do {
        if (*size == capacity) {
            capacity = capacity == 0 ? 1 << 16 : capacity * 2;
            char *more = capacity > max_input ? NULL : realloc(*text, capacity);
            if (more == NULL) {
                return kvb_error_set(error, capacity > max_input ? KVB_ERROR_FORMAT : KVB_ERROR_MEMORY,
                                     "%.300s: larger than 128 MiB, or no memory for it", path);
            }
            *text = more;
        }
        *size += fread(*text + *size, 1, capacity - *size, file);
    } while (!feof(file) && !ferror(file));
    if (ferror(file)) {
        return kvb_error_set(error, KVB_ERROR_IO, "%.300s: could not be read: %s", path, strerror(errno));
    }
    return KVB_OK;
}

static kvb_status read_input(const char *path, char **text, size_t *size, kvb_error *error) {
    int from_stdin = strcmp(path, "-") == 0;
    FILE *file = from_stdin ? stdin : fopen(path, "rb");
    *text = NULL;
    if (file == NULL) {
        return kvb_error_set(error, KVB_ERROR_IO, "%.300s: could not be opened: %s", path, strerror(errno));
    }
    kvb_status status = read_stream(file, path, text, size, error);
    if (!from_stdin) {
        fclose(file);
    }
    return status;
}

static kvb_status put(const char *path, const char *text, kvb_error *error) {
    kvb_status status = KVB_OK;
    if (strcmp(path, "-") == 0) {
        if (fputs(text, stdout) == EOF || fflush(stdout) != 0) {
            status = kvb_error_set(error, KVB_ERROR_IO, "standard output could not be written: %s", strerror(errno));
        }
    } else {
        status = kvb_output_write(path, text, strlen(text), error);
    }
    return status;
}

static kvb_status check_output(const char *path, kvb_error *error) {
    return path == NULL || strcmp(path, "-") == 0 ? KVB_OK : kvb_output_check_file(path, error);
}

/* The reports that `wanted` has paths for, of an A/B or of a model's evaluation. */
typedef struct reports {
    char *markdown, *html;
} reports;

static kvb_status report_ab(const char *text, size_t size, const options *wanted, reports *out, kvb_error *error) {
    kvb_result *result = NULL;
    kvb_status status = kvb_result_parse(text, size, &result, error);
    if (status == KVB_OK && wanted->markdown != NULL) {
        status = kvb_result_markdown(result, &out->markdown, error);
    }
    if (status == KVB_OK && wanted->html != NULL) {
        status = kvb_result_html(result, &out->html, error);
    }
    kvb_result_free(result);
    return status;
}

static kvb_status report_model(const char *text, size_t size, const options *wanted, reports *out, kvb_error *error) {
    kvb_status status = KVB_OK;
    if (wanted->markdown != NULL) {
        status = kvb_eval_markdown(text, size, &out->markdown, error);
    }
    if (status == KVB_OK && wanted->html != NULL) {
        status = kvb_model_html(text, size, &out->html, error);
    }
    return status;
}

static kvb_status make(const options *wanted, reports *out, kvb_error *error) {
    const char *path = wanted->input;
    char *text = NULL;
    size_t size = 0;
    kvb_error reason = {""};
    kvb_status status = read_input(path, &text, &size, error);
    if (status == KVB_OK) {
        status = (kvb_is_model_result(text, size) ? report_model : report_ab)(text, size, wanted, out, &reason);
        if (status != KVB_OK) {
            status = kvb_error_set(error, status, "%.180s: %s", strcmp(path, "-") == 0 ? "standard input" : path,
                                   reason.text);
        }
    }
    free(text);
    return status;
}

static kvb_status run(const options *o, kvb_error *error) {
    options wanted = *o;
    reports made = {NULL, NULL};
    if (o->markdown == NULL && o->html == NULL) {
        wanted.markdown = "-";
    }
    kvb_status status = make(&wanted, &made, error);
    if (status == KVB_OK) {
        status = check_output(wanted.markdown, error);
    }
    if (status == KVB_OK) {
        status = check_output(wanted.html, error);
    }
    if (status == KVB_OK && wanted.markdown != NULL && made.markdown != NULL) {
        status = put(wanted.markdown, made.markdown, error);
    }
    if (status == KVB_OK && wanted.html != NULL && made.html != NULL) {
        status = put(wanted.html, made.html, error);
    }
    kvb_text_free(made.markdown);
    kvb_text_free(made.html);
    return status;
}

int kvb_cmd_report(int argc, char **argv) {
    options o = {0};
    kvb_error error = {""};
    /* argp's own words on a wrong option, but this project's exit code for it. */
    argp_err_exit_status = KVB_EXIT_INPUT;
    if (argp_parse(&parser, argc, argv, 0, NULL, &o) != 0) {
        return KVB_EXIT_INPUT;
    }
    kvb_status status = run(&o, &error);
    if (status != KVB_OK) {
        fprintf(stderr, "kvbits report: %s\n", error.text);
    }
    return kvb_exit_code(status);
}
