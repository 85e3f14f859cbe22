/* kvbits plan: a trace or a model in, kvb_plan_make, a plan out. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "exit_code.h"
#include "engine/engine.h"
#include "output.h"
#include "plan_model.h"
#include "progress.h"
#include "threads.h"
#include "width_name.h"

/* What the context takes, where one was given. */
static void print_context(const kvb_plan *plan) {
    const kvb_layer_spec *spec = &plan->layers[0].spec;
    if (plan->tokens)
        printf("%" PRId64 " tokens take %" PRId64 " bytes, of which %d first and %d last ones are exact\n",
               plan->tokens, plan->bytes, spec->exact_first, spec->exact_last);
}

static void print_figure(double value) {
    if (isnan(value))
        printf(" %9s", "-");
    else
        printf(" %9.4f", value);
}

static void print_plan(const kvb_plan *plan) {
    const kvb_plan_uniform *u = &plan->uniform;
    printf("%s: %d layer%s, %.4f bits per value, %" PRId64 " bytes per token\n", plan->source, plan->n_layers,
           plan->n_layers == 1 ? "" : "s", plan->bits_per_value, plan->bytes_per_token);
    print_context(plan);
    printf("\nNRMSE of the attention output\n  layer      K      V    K alone   V alone predicted  measured\n");
    for (int l = 0; l < plan->n_layers; l++) {
        const kvb_plan_layer *layer = &plan->layers[l];
        printf("  %5d %6s %6s ", layer->index, kvb_width_name_of(&layer->spec.k).text,
               kvb_width_name_of(&layer->spec.v).text);
        print_figure(layer->k_error);
        print_figure(layer->v_error);
        print_figure(layer->predicted);
        print_figure(layer->measured);
        putchar('\n');
    }
    printf("\nRoot mean square over layers\n  %-28s", "this plan");
    print_figure(plan->predicted);
    print_figure(plan->measured);
    if (u->k_bits) {
        printf("\n  %d/%d in every layer, %-10.4f", u->k_bits, u->v_bits, u->bits_per_value);
        print_figure(u->predicted);
        print_figure(u->measured);
    }
    if (!isnan(plan->predicted_kl)) {
        printf("\nMean KL divergence, predicted: %.3g nats", plan->predicted_kl);
        if (u->k_bits)
            printf(" (%d/%d: %.3g)", u->k_bits, u->v_bits, u->predicted_kl);
    }
    if (!isnan(plan->rank_correlation))
        printf("\nRank correlation of predicted and measured over layers: %.2f", plan->rank_correlation);
    putchar('\n');
}

static kvb_status write_plan(const kvb_plan_options *options, const kvb_plan *plan, kvb_error *error) {
    char *text = NULL;
    if (!options->out)
        return KVB_OK;
    kvb_status status = kvb_plan_json(plan, &text, error);
    if (status == KVB_OK && strcmp(options->out, "-") == 0)
        fputs(text, stdout);
    else if (status == KVB_OK)
        status = kvb_output_write(options->out, text, strlen(text), error);
    kvb_text_free(text);
    return status;
}

static kvb_status make(const kvb_plan_options *options, const kvb_trace *trace, const kvb_sensitivity *sensitivity,
                       const kvb_parallel *parallel, const kvb_progress *progress, kvb_plan **plan, kvb_error *error) {
    kvb_plan_request request = options->request;
    request.sensitivity = sensitivity;
    return kvb_plan_make(trace, &request, parallel, progress, plan, error);
}

static kvb_status plan_of(const kvb_plan_options *options, kvb_threads *threads, kvb_plan **plan, kvb_error *error) {
    kvb_trace *trace = NULL;
    kvb_plan_model model = {.file = NULL};
    kvb_progress_line line;
    const kvb_progress progress = kvb_progress_line_start(&line);
    const kvb_parallel parallel = kvb_threads_parallel(threads);
    kvb_status status = options->model ? kvb_plan_model_run(options, &parallel, &progress, &model, error)
                                       : kvb_trace_open(options->trace, &trace, error);
    if (status == KVB_OK)
        status = make(options, options->model ? model.trace : trace, options->model ? &model.sensitivity : NULL,
                      &parallel, &progress, plan, error);
    kvb_progress_line_end(&line);
    kvb_plan_model_free(&model);
    kvb_trace_close(trace);
    return status;
}

static kvb_status run(const kvb_plan_options *options, kvb_threads *threads, kvb_error *error) {
    kvb_plan *plan = NULL;
    kvb_status status = plan_of(options, threads, &plan, error);
    if (status == KVB_OK)
        status = write_plan(options, plan, error);
    if (status == KVB_OK && !options->quiet && !(options->out && strcmp(options->out, "-") == 0))
        print_plan(plan);
    kvb_plan_free(plan);
    return status;
}

int kvb_cmd_plan(int argc, char **argv) {
    kvb_plan_options options;
    kvb_error error = {""};
    kvb_threads *threads = NULL;
    kvb_status status = kvb_plan_options_parse(argc, argv, &options, &error);
    if (status == KVB_OK && options.help) {
        kvb_plan_options_help(stdout);
        return KVB_EXIT_OK;
    }
    if (status == KVB_OK && options.model)
        status = kvb_engine_available(&error);
    if (status == KVB_OK && options.out && strcmp(options.out, "-") != 0)
        status = kvb_output_check_file(options.out, &error);
    if (status == KVB_OK)
        status = kvb_threads_create(options.threads, &threads, &error);
    if (status == KVB_OK)
        status = run(&options, threads, &error);
    kvb_threads_destroy(threads);
    if (status != KVB_OK)
        fprintf(stderr, "kvbits plan: %s\n", error.text);
    return kvb_exit_code(status);
}
