/* kvbits record: options in, kvb_record_run, a trace out. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "engine/record.h"
#include "exit_code.h"
#include "output.h"
#include "record_options.h"
#include "text_file.h"
#include "threads.h"

/* The worst layer's figure, and what the file will take. */
static void announce(const kvb_record_options *options, const kvb_record_plan *plan, const kvb_engine_layer *shapes,
                     int n_layers, uint64_t bytes) {
    int worst = 0;
    for (int l = 1; l < n_layers; l++)
        worst = shapes[l].nrmse > shapes[worst].nrmse ? l : worst;
    printf("attention recomputed: NRMSE of at most %.2g (layer %d)\n%s: %d layers, positions %d to %d, %" PRIu64
           " bytes and a header\n",
           shapes[worst].nrmse, worst, options->out, plan->layers ? plan->n_layers : n_layers, plan->from,
           plan->n_tokens - 1, bytes);
    fflush(stdout);
}

static kvb_status run(const kvb_record_options *options, kvb_engine *engine, const kvb_parallel *parallel,
                      const int32_t *tokens, int n_tokens, kvb_error *error) {
    const int n_layers = kvb_engine_get_info(engine)->n_layers;
    const kvb_record_plan plan = {.tokens = tokens,
                                  .n_tokens = n_tokens,
                                  .from = options->from,
                                  .layers = options->n_layers ? options->layers : NULL,
                                  .n_layers = options->n_layers,
                                  .dtype = (kvb_dtype)options->dtype,
                                  .model = kvb_base_name(options->model),
                                  .text = kvb_base_name(options->text)};
    kvb_engine_layer *shapes = calloc((size_t)n_layers, sizeof *shapes);
    char *file = NULL;
    size_t size;
    uint64_t bytes;
    kvb_status status =
        shapes ? KVB_OK : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %d layers", n_layers);
    if (status == KVB_OK)
        status = kvb_record_prepare(engine, &plan, parallel, shapes, &bytes, error);
    if (status == KVB_OK) {
        announce(options, &plan, shapes, n_layers, bytes);
        status = kvb_record_run(engine, &plan, shapes, &file, &size, error);
    }
    if (status == KVB_OK)
        status = kvb_output_write(options->out, file, size, error);
    free(file);
    free(shapes);
    return status;
}

/* The context is as long as the text, which the model's own tokenizer says: so the engine is opened twice when the text
 * is short, to begin with for its tokens alone. */
static kvb_status record(const kvb_record_options *options, const kvb_parallel *parallel, kvb_error *error) {
    kvb_engine *engine = NULL;
    int32_t *tokens = NULL, first;
    int n = 0;
    kvb_engine_options how = {.context = 1, .threads = parallel->workers, .weights_as_stored = 1};
    kvb_status status = kvb_engine_open(options->model, &how, &engine, error);
    if (status == KVB_OK)
        status = kvb_text_tokens(engine, options->text, options->tokens, &tokens, &n, &first, error);
    if (status == KVB_OK && first >= 0) { /* in the place of the last one, so that no more tokens run than asked for */
        memmove(tokens + 1, tokens, (size_t)(n - 1) * sizeof *tokens);
        tokens[0] = first;
    }
    kvb_engine_close(engine);
    engine = NULL;
    how = (kvb_engine_options){
        .context = n, .threads = parallel->workers, .weights_as_stored = options->weights_as_stored};
    if (status == KVB_OK)
        status = kvb_engine_open(options->model, &how, &engine, error);
    if (status == KVB_OK)
        status = run(options, engine, parallel, tokens, n, error);
    kvb_engine_close(engine);
    free(tokens);
    return status;
}

int kvb_cmd_record(int argc, char **argv) {
    kvb_record_options options;
    kvb_error error = {""};
    kvb_threads *threads = NULL;
    kvb_status status = kvb_record_options_parse(argc, argv, &options, &error);
    if (status == KVB_OK && options.help) {
        kvb_record_options_help(stdout);
        return KVB_EXIT_OK;
    }
    if (status == KVB_OK)
        status = kvb_engine_available(&error);
    if (status == KVB_OK)
        status = kvb_output_check_file(options.out, &error);
    if (status == KVB_OK)
        status = kvb_threads_create(options.threads, &threads, &error);
    if (status == KVB_OK) {
        const kvb_parallel parallel = kvb_threads_parallel(threads);
        status = record(&options, &parallel, &error);
    }
    kvb_threads_destroy(threads);
    if (status != KVB_OK)
        fprintf(stderr, "kvbits record: %s\n", error.text);
    return kvb_exit_code(status);
}
