/* kvbits eval: options in, windows or needles run, documents out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "engine/evaluate.h"
#include "engine/needle.h"
#include "eval_options.h"
#include "eval_schemes.h"
#include "exit_code.h"
#include "output.h"
#include "progress.h"
#include "text_file.h"
#include "threads.h"

/* What an evaluation writes. */
typedef struct documents {
    char *json, *markdown, *html; /* html: NULL where there is none */
} documents;

static kvb_status write_documents(const kvb_eval_options *options, documents *made, kvb_error *error) {
    kvb_status status = KVB_OK;
    if (options->out)
        status = kvb_output_write_in(options->out, options->needle ? "needle.json" : "result.json", made->json, error);
    if (status == KVB_OK && options->out)
        status = kvb_output_write_in(options->out, options->needle ? "needle.md" : "result.md", made->markdown, error);
    if (status == KVB_OK && made->html)
        status = kvb_output_write_in(options->out, "report.html", made->html, error);
    if (status == KVB_OK && !options->quiet)
        fputs(made->markdown, stdout);
    return status;
}

static void release(documents *made) {
    free(made->json);
    free(made->markdown);
    kvb_text_free(made->html);
}

static kvb_status run_windows(kvb_subject *subject, const kvb_eval_options *options, const kvb_eval_tokens *text,
                              documents *made, kvb_error *error) {
    kvb_eval *eval = NULL;
    kvb_status status = kvb_eval_create(subject, text, &eval, error);
    if (status == KVB_OK)
        status = kvb_eval_run(eval, error);
    if (status == KVB_OK)
        status = kvb_eval_json(eval, options->model, options->text, &made->json, error);
    if (status == KVB_OK)
        status = kvb_eval_markdown(made->json, strlen(made->json), &made->markdown, error);
    if (status == KVB_OK && options->out && !options->no_report)
        status = kvb_model_html(made->json, strlen(made->json), &made->html, error);
    kvb_eval_free(eval);
    return status;
}

static kvb_status run_needles(kvb_subject *subject, const kvb_eval_options *options, const kvb_eval_tokens *text,
                              documents *made, kvb_error *error) {
    kvb_needles *needles = NULL;
    kvb_needle_plan plan = {.filler = text->tokens,
                            .n_filler = text->n_tokens,
                            .first = text->first,
                            .tokens = subject->context,
                            .n_depths = options->n_depths,
                            .per_depth = options->needles_per_depth};
    memcpy(plan.depths, options->depths, sizeof plan.depths);
    kvb_status status = kvb_needles_create(subject, &plan, &needles, error);
    if (status == KVB_OK)
        status = kvb_needles_run(needles, error);
    if (status == KVB_OK)
        status = kvb_needles_json(needles, options->model, options->text, &made->json, error);
    if (status == KVB_OK)
        status = kvb_needles_markdown(made->json, &made->markdown, error);
    kvb_needles_free(needles);
    return status;
}

/* Tokens of a sequence: of needles, unless they are given, as many as the model was trained for and the text fills. */
static int context_of(const kvb_eval_options *options, const kvb_engine *engine, int n_tokens) {
    const int trained = kvb_engine_get_info(engine)->n_context;
    if (!options->needle)
        return options->window;
    return options->needle_tokens ? options->needle_tokens : trained < n_tokens ? trained : n_tokens;
}

static kvb_status run(const kvb_eval_options *options, kvb_engine *engine, kvb_threads *threads, kvb_error *error) {
    kvb_subject *subject = NULL;
    int32_t *tokens = NULL;
    documents made = {.json = NULL};
    kvb_eval_tokens text = {.window = options->window};
    kvb_parallel parallel = kvb_threads_parallel(threads);
    kvb_progress_line line;
    const kvb_progress progress = kvb_progress_line_start(&line);
    kvb_status status =
        kvb_text_tokens(engine, options->text, options->tokens, &tokens, &text.n_tokens, &text.first, error);
    text.tokens = tokens;
    if (status == KVB_OK)
        status = kvb_subject_create(engine, context_of(options, engine, text.n_tokens), tokens, text.n_tokens,
                                    &parallel, &progress, &subject, error);
    if (status == KVB_OK)
        status = kvb_eval_schemes_add(subject, options, error);
    if (status == KVB_OK)
        status = (options->needle ? run_needles : run_windows)(subject, options, &text, &made, error);
    kvb_progress_line_end(&line);
    if (status == KVB_OK)
        status = write_documents(options, &made, error);
    release(&made);
    kvb_subject_free(subject);
    free(tokens);
    return status;
}

int kvb_cmd_eval(int argc, char **argv) {
    kvb_eval_options options;
    kvb_error error = {""};
    kvb_engine *engine = NULL;
    kvb_threads *threads = NULL;
    kvb_status status = kvb_eval_options_parse(argc, argv, &options, &error);
    if (status == KVB_OK && options.help) {
        kvb_eval_options_help(stdout);
        return KVB_EXIT_OK;
    }
    if (status == KVB_OK)
        status = kvb_engine_available(&error);
    if (status == KVB_OK && options.out)
        status = kvb_output_make_folder(options.out, &error);
    if (status == KVB_OK && options.out && !options.needle && !options.no_report)
        status = kvb_report_plotter_check(&error);
    if (status == KVB_OK)
        status = kvb_threads_create(options.threads, &threads, &error);
    if (status == KVB_OK) {
        const kvb_engine_options how = {.context = options.needle ? options.needle_tokens : options.window,
                                        .threads = kvb_threads_parallel(threads).workers,
                                        .weights_as_stored = options.weights_as_stored};
        status = kvb_engine_open(options.model, &how, &engine, &error);
    }
    if (status == KVB_OK)
        status = run(&options, engine, threads, &error);
    kvb_engine_close(engine);
    kvb_threads_destroy(threads);
    if (status != KVB_OK)
        fprintf(stderr, "kvbits eval: %s\n", error.text);
    return kvb_exit_code(status);
}
