#include "plan_model.h"

#include <stdlib.h>
#include <string.h>

#include "engine/evaluate.h"
#include "engine/record.h"
#include "output.h"
#include "text_file.h"

/* The text's tokens: the first of them are recorded, and probes run on what comes after, or on all of it where that is
 * less than a window. */
typedef struct parts {
    int32_t *tokens, *recorded;
    int n, n_recorded, probe_from;
    int32_t first; /* stands before every text; -1: none */
} parts;

static kvb_status split(const kvb_plan_options *options, const kvb_engine *engine, parts *out, kvb_error *error) {
    const int64_t most = options->trace_tokens + options->probe_tokens;
    kvb_status status = kvb_text_tokens(engine, options->text, most, &out->tokens, &out->n, &out->first, error);
    if (status != KVB_OK)
        return status;
    const int extra = out->first >= 0, wanted = (int)options->trace_tokens - extra,
              kept = out->n < wanted ? out->n : wanted;
    out->recorded = malloc(((size_t)kept + 1) * sizeof *out->recorded);
    if (!out->recorded)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %d tokens", kept);
    out->recorded[0] = out->first;
    memcpy(out->recorded + extra, out->tokens, (size_t)kept * sizeof *out->tokens);
    out->n_recorded = kept + extra;
    out->probe_from = out->n - kept >= options->probe_window ? kept : 0;
    return KVB_OK;
}

static kvb_status record(const kvb_plan_options *options, kvb_engine *engine, const parts *text,
                         const kvb_parallel *parallel, kvb_plan_model *out, kvb_error *error) {
    const kvb_record_plan plan = {.tokens = text->recorded,
                                  .n_tokens = text->n_recorded,
                                  .dtype = KVB_BF16,
                                  .model = kvb_base_name(options->model),
                                  .text = kvb_base_name(options->text)};
    const int n_layers = kvb_engine_get_info(engine)->n_layers;
    kvb_engine_layer *shapes = calloc((size_t)n_layers, sizeof *shapes);
    uint64_t bytes;
    size_t size = 0;
    kvb_status status =
        shapes ? KVB_OK : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %d layers", n_layers);
    if (status == KVB_OK)
        status = kvb_record_prepare(engine, &plan, parallel, shapes, &bytes, error);
    if (status == KVB_OK)
        status = kvb_record_run(engine, &plan, shapes, &out->file, &size, error);
    if (status == KVB_OK)
        status = kvb_trace_from_memory(out->file, size, plan.model, &out->trace, error);
    free(shapes);
    return status;
}

static kvb_status take_sensitivity(const kvb_plan_options *options, const kvb_eval *eval, kvb_plan_model *out,
                                   kvb_error *error) {
    const size_t n = (size_t)eval->subject->n_layers;
    out->layers = malloc(n * sizeof *out->layers);
    out->kl = malloc(2 * n * sizeof *out->kl);
    if (!out->layers || !out->kl)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %zu layers", n);
    for (int i = 0; i < eval->subject->n_schemes; i++) {
        const kvb_eval_scheme *probe = &eval->subject->schemes[i];
        out->layers[probe->probed_layer] = probe->probed_layer;
        out->kl[2 * probe->probed_layer + probe->probed_side] = kvb_eval_mean_kl(eval, i);
    }
    out->sensitivity = (kvb_sensitivity){.n_layers = eval->subject->n_layers,
                                         .layers = out->layers,
                                         .kl = out->kl,
                                         .k_bits = options->probe.k.bits,
                                         .v_bits = options->probe.v.bits};
    return KVB_OK;
}

static kvb_status probe(const kvb_plan_options *options, kvb_engine *engine, const parts *text,
                        const kvb_parallel *parallel, const kvb_progress *progress, kvb_plan_model *out,
                        kvb_error *error) {
    const kvb_eval_tokens tokens = {.tokens = text->tokens + text->probe_from,
                                    .n_tokens = text->n - text->probe_from,
                                    .window = options->probe_window,
                                    .first = text->first};
    kvb_subject *subject = NULL;
    kvb_eval *eval = NULL;
    kvb_layer_spec *layers = NULL;
    kvb_status status =
        kvb_subject_create(engine, tokens.window, tokens.tokens, tokens.n_tokens, parallel, progress, &subject, error);
    if (status == KVB_OK &&
        !(layers = kvb_subject_uniform(subject, options->probe.k.bits, options->probe.v.bits,
                                       options->request.trellis_states, options->request.scale, error)))
        status = KVB_ERROR_MEMORY;
    if (status == KVB_OK)
        status = kvb_subject_add_probes(subject, layers, error);
    if (status == KVB_OK)
        status = kvb_eval_create(subject, &tokens, &eval, error);
    if (status == KVB_OK)
        status = kvb_eval_run(eval, error);
    if (status == KVB_OK)
        status = take_sensitivity(options, eval, out, error);
    free(layers);
    kvb_eval_free(eval);
    kvb_subject_free(subject);
    return status;
}

kvb_status kvb_plan_model_run(const kvb_plan_options *options, const kvb_parallel *parallel,
                              const kvb_progress *progress, kvb_plan_model *out, kvb_error *error) {
    const int longest =
        options->trace_tokens > options->probe_window ? (int)options->trace_tokens : options->probe_window;
    const kvb_engine_options how = {.context = longest, .threads = parallel->workers};
    kvb_engine *engine = NULL;
    parts text = {.tokens = NULL};
    *out = (kvb_plan_model){.file = NULL};
    kvb_status status = kvb_engine_open(options->model, &how, &engine, error);
    if (status == KVB_OK)
        status = split(options, engine, &text, error);
    if (status == KVB_OK)
        status = record(options, engine, &text, parallel, out, error);
    if (status == KVB_OK)
        status = probe(options, engine, &text, parallel, progress, out, error);
    kvb_engine_close(engine);
    free(text.tokens);
    free(text.recorded);
    if (status != KVB_OK)
        kvb_plan_model_free(out);
    return status;
}

void kvb_plan_model_free(kvb_plan_model *model) {
    kvb_trace_close(model->trace);
    free(model->file);
    free(model->layers);
    free(model->kl);
    *model = (kvb_plan_model){.file = NULL};
}
