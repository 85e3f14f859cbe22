/* kvbits eval: options in, kvb_eval_run, documents out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "engine/evaluate.h"
#include "eval_options.h"
#include "exit_code.h"
#include "output.h"
#include "progress.h"
#include "text_file.h"
#include "threads.h"

/* The engine's caches by their names; cache 0 is the reference itself. */
static kvb_status add_engine(kvb_eval *eval, const char *list, kvb_error *error) {
    kvb_status status = KVB_OK;
    if (strcmp(list, "none") == 0)
        return KVB_OK;
    for (const char *p = list; status == KVB_OK;) {
        const size_t length = strcspn(p, ",");
        int cache = 1;
        const char *name;
        while ((name = kvb_engine_cache_name(cache)) && (strlen(name) != length || memcmp(name, p, length) != 0))
            cache++;
        if (!name)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "--engine is '%.80s'; legal: none, or f16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl with "
                                 "commas between",
                                 list);
        status = kvb_eval_add(eval, name, cache, NULL, error);
        if (!p[length])
            break;
        p += length + 1;
    }
    return status;
}

static kvb_layer_spec *layers_of(const kvb_eval *eval, const kvb_eval_options *options, const kvb_uniform_scheme *u,
                                 kvb_error *error) {
    kvb_layer_spec *layers = kvb_eval_uniform(eval, u->k_bits, u->v_bits, u->trellis_states,
                                              u->search ? KVB_SCALE_SEARCH : KVB_SCALE_LSQ, error);
    for (int i = 0; layers && i < eval->n_layers; i++) {
        layers[i].k.rotation = layers[i].v.rotation = (kvb_rotation)options->rotation;
        layers[i].exact_first = u->exact_first;
        layers[i].exact_last = u->exact_last;
    }
    return layers;
}

static kvb_status add_uniform(kvb_eval *eval, const kvb_eval_options *options, const kvb_uniform_scheme *u,
                              kvb_error *error) {
    char name[64];
    kvb_layer_spec *layers = layers_of(eval, options, u, error);
    if (!layers)
        return KVB_ERROR_MEMORY;
    snprintf(name, sizeof name, "%d/%d", u->k_bits, u->v_bits);
    if (u->trellis_states)
        snprintf(name + strlen(name), sizeof name - strlen(name), "t%d", u->trellis_states);
    if (u->search)
        snprintf(name + strlen(name), sizeof name - strlen(name), "s");
    if (u->exact_first || u->exact_last)
        snprintf(name + strlen(name), sizeof name - strlen(name), u->exact_last ? "+%d+%d" : "+%d", u->exact_first,
                 u->exact_last);
    kvb_status status = kvb_eval_add(eval, name, -1, layers, error);
    free(layers);
    return status;
}

static kvb_status add_probes(kvb_eval *eval, const kvb_eval_options *options, kvb_error *error) {
    if (options->probe.k_bits == 0)
        return KVB_OK;
    kvb_layer_spec *layers = layers_of(eval, options, &options->probe, error);
    kvb_status status = layers ? kvb_eval_add_probes(eval, layers, error) : KVB_ERROR_MEMORY;
    free(layers);
    return status;
}

static kvb_status check_plan(const kvb_eval *eval, const char *path, const kvb_plan *plan, kvb_error *error) {
    if (plan->n_layers != eval->n_layers)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "--plan %.80s has %d layers, the model %d; legal: a plan of a trace with every layer",
                             path, plan->n_layers, eval->n_layers);
    for (int l = 0; l < plan->n_layers; l++) {
        const kvb_layer_spec *spec = &plan->layers[l].spec;
        const kvb_engine_layer *of = &eval->layers[l];
        if (plan->layers[l].index != l || spec->n_kv_heads != of->n_kv_heads || spec->k.head_dim != of->k_dim ||
            spec->v.head_dim != of->v_dim)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "--plan %.80s: layers[%d] is for layer %d of %d KV heads of %d and %d values, but the "
                                 "model's layer %d has %d of %d and %d",
                                 path, l, plan->layers[l].index, spec->n_kv_heads, spec->k.head_dim, spec->v.head_dim,
                                 l, of->n_kv_heads, of->k_dim, of->v_dim);
    }
    return KVB_OK;
}

static kvb_status add_plan(kvb_eval *eval, const char *path, kvb_error *error) {
    kvb_plan *plan = NULL;
    kvb_layer_spec *layers = NULL;
    char name[64];
    kvb_status status = kvb_plan_read(path, &plan, error);
    if (status == KVB_OK)
        status = check_plan(eval, path, plan, error);
    if (status == KVB_OK && !(layers = malloc((size_t)plan->n_layers * sizeof *layers)))
        status = kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %d layers", plan->n_layers);
    if (status == KVB_OK) {
        for (int l = 0; l < plan->n_layers; l++)
            layers[l] = plan->layers[l].spec;
        snprintf(name, sizeof name, "plan %.4f", plan->bits_per_value);
        status = kvb_eval_add(eval, name, -1, layers, error);
        if (status == KVB_OK)
            eval->schemes[eval->n_schemes - 1].predicted_kl = plan->predicted_kl;
    }
    free(layers);
    kvb_plan_free(plan);
    return status;
}

static kvb_status write_documents(const kvb_eval *eval, const kvb_eval_options *options, kvb_error *error) {
    char *json = NULL, *markdown = NULL, *html = NULL;
    kvb_status status = kvb_eval_json(eval, options->model, options->text, &json, error);
    if (status == KVB_OK)
        status = kvb_eval_markdown(json, strlen(json), &markdown, error);
    if (status == KVB_OK && options->out)
        status = kvb_output_write_in(options->out, "result.json", json, error);
    if (status == KVB_OK && options->out)
        status = kvb_output_write_in(options->out, "result.md", markdown, error);
    if (status == KVB_OK && options->out && !options->no_report)
        status = kvb_model_html(json, strlen(json), &html, error);
    if (html)
        status = kvb_output_write_in(options->out, "report.html", html, error);
    if (status == KVB_OK && !options->quiet)
        fputs(markdown, stdout);
    free(json);
    free(markdown);
    kvb_text_free(html);
    return status;
}

static kvb_status measure(const kvb_eval_options *options, kvb_eval *eval, kvb_error *error) {
    kvb_status status = KVB_OK;
    for (int i = 0; i < options->n_uniform && status == KVB_OK; i++)
        status = add_uniform(eval, options, &options->uniform[i], error);
    if (status == KVB_OK && options->plan)
        status = add_plan(eval, options->plan, error);
    if (status == KVB_OK)
        status = add_engine(eval, options->engine, error);
    if (status == KVB_OK)
        status = add_probes(eval, options, error);
    if (status == KVB_OK)
        status = kvb_eval_run(eval, error);
    return status == KVB_OK ? write_documents(eval, options, error) : status;
}

static kvb_status run(const kvb_eval_options *options, kvb_engine *engine, kvb_threads *threads, kvb_error *error) {
    kvb_eval *eval = NULL;
    int32_t *tokens = NULL;
    kvb_eval_tokens text = {.window = options->window};
    kvb_parallel parallel = kvb_threads_parallel(threads);
    kvb_progress_line line;
    const kvb_progress progress = kvb_progress_line_start(&line);
    kvb_status status =
        kvb_text_tokens(engine, options->text, options->tokens, &tokens, &text.n_tokens, &text.first, error);
    text.tokens = tokens;
    if (status == KVB_OK)
        status = kvb_eval_create(engine, &text, &parallel, &progress, &eval, error);
    if (status == KVB_OK)
        status = measure(options, eval, error);
    kvb_progress_line_end(&line);
    kvb_eval_free(eval);
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
    if (status == KVB_OK && options.out && !options.no_report)
        status = kvb_report_plotter_check(&error);
    if (status == KVB_OK)
        status = kvb_threads_create(options.threads, &threads, &error);
    if (status == KVB_OK) {
        const kvb_engine_options how = {.context = options.window,
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
