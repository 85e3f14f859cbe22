/* kvbits bench: measures and prints. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_options.h"
#include "commands.h"
#include "exit_code.h"
#include "output.h"
#include "progress.h"
#include "threads.h"

static kvb_status start_threads(kvb_bench_options *options, kvb_threads *pools[KVB_BENCH_LIST], kvb_error *error) {
    kvb_status status = KVB_OK;
    for (int i = 0; i < options->n_threads && status == KVB_OK; i++) {
        status = kvb_threads_create(options->threads[i], &pools[i], error);
        if (status == KVB_OK)
            options->config.parallels[options->config.n_parallels++] = kvb_threads_parallel(pools[i]);
    }
    return status;
}

/* Whatever cannot be written should be known before the measuring. */
static kvb_status check_outputs(const kvb_bench_options *options, kvb_error *error) {
    kvb_status status = KVB_OK;
    if (options->json && strcmp(options->json, "-") != 0)
        status = kvb_output_check_file(options->json, error);
    if (status == KVB_OK && options->chart)
        status = kvb_output_check_file(options->chart, error);
    return status;
}

static kvb_status write_chart(const char *path, const kvb_bench_result *result, kvb_error *error) {
    char *svg = NULL;
    kvb_status status = kvb_bench_chart(result, &svg, error);
    if (status == KVB_OK)
        status = kvb_output_write(path, svg, strlen(svg), error);
    kvb_text_free(svg);
    return status;
}

static kvb_status write_outputs(const kvb_bench_options *options, const kvb_bench_result *result, kvb_error *error) {
    char *json = NULL, *table = NULL;
    const int to_stdout = options->json && strcmp(options->json, "-") == 0;
    kvb_status status = options->json ? kvb_bench_json(result, &json, error) : KVB_OK;
    if (status == KVB_OK && options->json && !to_stdout)
        status = kvb_output_write(options->json, json, strlen(json), error);
    if (status == KVB_OK && to_stdout)
        fputs(json, stdout);
    else if (status == KVB_OK && !options->quiet && (status = kvb_bench_table(result, &table, error)) == KVB_OK)
        fputs(table, stdout);
    if (status == KVB_OK && options->chart)
        status = write_chart(options->chart, result, error);
    free(json);
    free(table);
    return status;
}

/* The verdicts go where the table goes, or to standard error when JSON has standard output. */
static kvb_status compare(const kvb_bench_options *options, const kvb_bench_goals *goals,
                          const kvb_bench_result *result, int *missed, kvb_error *error) {
    char *text = NULL;
    kvb_bench_verdict verdict;
    kvb_status status = kvb_bench_goals_check(goals, result, &text, &verdict, error);
    if (status != KVB_OK)
        return status;
    fputs(text, options->json && strcmp(options->json, "-") == 0 ? stderr : stdout);
    free(text);
    *missed = verdict.missed + verdict.not_measured > 0;
    return KVB_OK;
}

static void keep_to_goals(kvb_bench_options *options, const kvb_bench_goals *goals) {
    options->config.only_goals = goals;
    if (!options->has_backends)
        kvb_bench_goals_add_backends(goals, &options->config);
    if (!options->has_precisions)
        kvb_bench_goals_add_precisions(goals, &options->config);
}

static kvb_status measure(kvb_bench_options *options, kvb_bench_result **result, kvb_error *error) {
    kvb_threads *pools[KVB_BENCH_LIST] = {NULL};
    kvb_progress_line line;
    kvb_progress progress = kvb_progress_line_start(&line);
    kvb_status status = start_threads(options, pools, error);
    if (status == KVB_OK)
        status = kvb_bench_run(&options->config, options->quiet ? NULL : &progress, result, error);
    kvb_progress_line_end(&line);
    for (int i = 0; i < options->n_threads; i++)
        kvb_threads_destroy(pools[i]);
    return status;
}

int kvb_cmd_bench(int argc, char **argv) {
    kvb_bench_options options;
    kvb_bench_result *result = NULL;
    kvb_bench_goals *goals = NULL;
    int missed = 0;
    kvb_error error = {{0}};
    kvb_status status = kvb_bench_options_parse(argc, argv, &options, &error);
    if (status == KVB_OK && options.help) {
        kvb_bench_options_help(stdout);
        return KVB_EXIT_OK;
    }
    if (status == KVB_OK)
        status = check_outputs(&options, &error);
    if (status == KVB_OK && options.goals)
        status = kvb_bench_goals_read(options.goals, &goals, &error);
    if (status == KVB_OK && options.goals_only)
        keep_to_goals(&options, goals);
    if (status == KVB_OK)
        status = measure(&options, &result, &error);
    if (status == KVB_OK)
        status = write_outputs(&options, result, &error);
    if (status == KVB_OK && goals)
        status = compare(&options, goals, result, &missed, &error);
    kvb_bench_goals_free(goals);
    kvb_bench_result_free(result);
    if (status != KVB_OK) {
        fprintf(stderr, "kvbits bench: %s\n", error.text);
        return kvb_exit_code(status);
    }
    return missed ? KVB_EXIT_CHECK : KVB_EXIT_OK;
}
