/* kvbits ab: options in, kvb_ab_run or kvb_ab_run_trace, documents out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ab_options.h"
#include "commands.h"
#include "exit_code.h"
#include "output.h"
#include "progress.h"
#include "threads.h"

static const char default_folder[] = "kvbits-ab";

static int complain(kvb_status status, const kvb_error *error) {
    fprintf(stderr, "kvbits ab: %s\n", error->text);
    return kvb_exit_code(status);
}

/* NULL when no folder is written: the JSON goes to standard output and --out names none. */
static const char *folder_of(const kvb_ab_options *options) {
    int to_stdout = options->json && strcmp(options->json, "-") == 0;
    return options->out ? options->out : to_stdout ? NULL : default_folder;
}

/* Everything that would make the results impossible to keep is found here, before the work. */
static kvb_status check_outputs(const kvb_ab_options *options, kvb_error *error) {
    const char *folder = folder_of(options);
    kvb_status status = KVB_OK;
    if (folder && options->report)
        status = kvb_report_plotter_check(error);
    if (status == KVB_OK && folder)
        status = kvb_output_make_folder(folder, error);
    if (status == KVB_OK && options->json && strcmp(options->json, "-") != 0)
        status = kvb_output_check_file(options->json, error);
    return status;
}

static kvb_status write_html(const kvb_result *result, const char *folder, kvb_error *error) {
    char *html = NULL;
    kvb_status status = kvb_result_html(result, &html, error);
    if (status == KVB_OK)
        status = kvb_output_write_in(folder, "report.html", html, error);
    kvb_text_free(html);
    return status;
}

static kvb_status write_documents(const kvb_ab_options *options, const kvb_result *result, kvb_error *error) {
    const char *folder = folder_of(options);
    int to_stdout = options->json && strcmp(options->json, "-") == 0;
    char *json = NULL, *markdown = NULL;
    kvb_status status = kvb_result_json(result, &json, error);
    if (status == KVB_OK)
        status = kvb_result_markdown(result, &markdown, error);
    if (status == KVB_OK && folder)
        status = kvb_output_write_in(folder, "result.json", json, error);
    if (status == KVB_OK && folder)
        status = kvb_output_write_in(folder, "result.md", markdown, error);
    if (status == KVB_OK && options->json && !to_stdout)
        status = kvb_output_write(options->json, json, strlen(json), error);
    if (status == KVB_OK && to_stdout)
        fputs(json, stdout);
    else if (status == KVB_OK && !options->quiet)
        fputs(markdown, stdout);
    if (status == KVB_OK && folder && options->report)
        status = write_html(result, folder, error);
    kvb_text_free(json);
    kvb_text_free(markdown);
    return status;
}

/* What the options name to be read: found wrong before a folder is made. */
static kvb_status open_inputs(kvb_ab_options *options, kvb_codebook_file *codebooks, kvb_trace **trace,
                              kvb_error *error) {
    kvb_status status = KVB_OK;
    kvb_error reason = {""};
    if (options->codebook_path) {
        status = kvb_codebook_file_read(options->codebook_path, codebooks, &reason);
        options->config.codebook_file = codebooks;
        options->config.codebook_file_name = options->codebook_path;
    }
    if (status == KVB_ERROR_IO) /* perhaps a source's name, mistyped */
        return kvb_error_set(error, status, "%.400s (--codebook takes default, lloyd, library, beta or a file)",
                             reason.text);
    if (status != KVB_OK)
        return kvb_error_set(error, status, "%s", reason.text);
    status = kvb_ab_config_check(&options->config, error);
    if (status == KVB_OK && options->trace)
        status = kvb_trace_open(options->trace, trace, error);
    return status;
}

static kvb_status run(const kvb_ab_options *options, const kvb_trace *trace, kvb_result **result, kvb_error *error) {
    kvb_threads *threads = NULL;
    kvb_status status = kvb_threads_create(options->threads, &threads, error);
    if (status != KVB_OK)
        return status;
    kvb_parallel parallel = kvb_threads_parallel(threads);
    kvb_progress_line line;
    kvb_progress progress = kvb_progress_line_start(&line);
    status = trace ? kvb_ab_run_trace(&options->config, trace, &parallel, &progress, result, error)
                   : kvb_ab_run(&options->config, &parallel, &progress, result, error);
    kvb_progress_line_end(&line);
    kvb_threads_destroy(threads);
    return status;
}

/* The JSON and the table to where those of a run go, by other names. */
static kvb_status run_frontier(const kvb_ab_options *options, kvb_error *error) {
    kvb_threads *threads = NULL;
    char *json = NULL, *markdown = NULL;
    const char *folder = folder_of(options);
    int to_stdout = options->json && strcmp(options->json, "-") == 0;
    kvb_status status = kvb_threads_create(options->threads, &threads, error);
    if (status != KVB_OK)
        return status;
    kvb_parallel parallel = kvb_threads_parallel(threads);
    kvb_progress_line line;
    kvb_progress progress = kvb_progress_line_start(&line);
    status = kvb_ab_frontier(&options->config, options->effort, &parallel, &progress, &json, &markdown, error);
    kvb_progress_line_end(&line);
    kvb_threads_destroy(threads);
    if (status == KVB_OK && folder)
        status = kvb_output_write_in(folder, "frontier.json", json, error);
    if (status == KVB_OK && folder)
        status = kvb_output_write_in(folder, "frontier.md", markdown, error);
    if (status == KVB_OK && options->json && !to_stdout)
        status = kvb_output_write(options->json, json, strlen(json), error);
    if (status == KVB_OK && (to_stdout || !options->quiet))
        fputs(to_stdout ? json : markdown, stdout);
    kvb_text_free(json);
    kvb_text_free(markdown);
    return status;
}

static int report_checks(const kvb_ab_options *options, const kvb_result *result) {
    int failed = kvb_result_failed_checks(result);
    const char *folder = folder_of(options);
    if (failed)
        fprintf(stderr, "kvbits ab: %d check%s failed, see \"checks\" in %s\n", failed, failed == 1 ? "" : "s",
                folder ? "result.md" : "the JSON");
    else if (folder && !options->quiet)
        fprintf(stderr, "kvbits ab: every check holds; %s/ holds result.json, result.md%s\n", folder,
                options->report ? " and report.html" : "");
    return failed ? KVB_EXIT_CHECK : KVB_EXIT_OK;
}

int kvb_cmd_ab(int argc, char **argv) {
    kvb_ab_options options;
    kvb_codebook_file codebooks = {{NULL}};
    kvb_trace *trace = NULL;
    kvb_result *result = NULL;
    kvb_error error = {""};
    kvb_status status = kvb_ab_options_parse(argc, argv, &options, &error);
    if (status == KVB_OK && options.help) {
        kvb_ab_options_help(stdout);
        return KVB_EXIT_OK;
    }
    if (status == KVB_OK)
        status = open_inputs(&options, &codebooks, &trace, &error);
    if (status == KVB_OK)
        status = check_outputs(&options, &error);
    if (status == KVB_OK && options.frontier) {
        status = run_frontier(&options, &error);
        return status == KVB_OK ? KVB_EXIT_OK : complain(status, &error);
    }
    if (status == KVB_OK)
        status = run(&options, trace, &result, &error);
    if (status == KVB_OK)
        status = write_documents(&options, result, &error);
    int code = status == KVB_OK ? report_checks(&options, result) : complain(status, &error);
    kvb_result_free(result);
    kvb_trace_close(trace);
    kvb_codebook_file_free(&codebooks);
    return code;
}
