/* JSON lines: the machine and the run first, then a line for each row. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

enum { PIECE = 1024 }; /* of a line, so that it fits what is printed at once */

static void set_text(json_t *object, const char *key, const char *text) {
    if (text && text[0])
        json_object_set_new(object, key, json_string(text));
}

static void set_count(json_t *object, const char *key, double value) {
    if (value > 0.0)
        json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void set_real(json_t *object, const char *key, double value) {
    json_object_set_new(object, key, json_real(value));
}

static void set_gpu(json_t *object, const kvb_bench_gpu *gpu) {
    char capability[32];
    if (!gpu->backend[0])
        return;
    snprintf(capability, sizeof capability, "%d.%d", gpu->major, gpu->minor);
    set_text(object, "gpu", gpu->name);
    set_text(object, "gpu_capability", capability);
    set_count(object, "gpu_multiprocessors", gpu->multiprocessors);
    set_count(object, "gpu_memory_bytes", gpu->memory);
    set_text(object, "gpu_driver", gpu->driver);
    set_text(object, "gpu_runtime", gpu->runtime);
    set_text(object, "gpu_compiler", gpu->compiler);
    set_text(object, "gpu_compiler_flags", gpu->build_flags);
}

static json_t *machine_json(const kvb_bench_result *result) {
    const kvb_bench_machine *m = &result->machine;
    json_t *object = json_object();
    set_text(object, "kind", "run");
    set_text(object, "kvbits", kvb_version());
    set_text(object, "processor", m->processor);
    set_text(object, "flags", m->flags);
    set_count(object, "family", m->family);
    set_count(object, "model", m->model);
    set_count(object, "stepping", m->stepping);
    set_count(object, "processors", m->processors);
    set_count(object, "l1_bytes", (double)m->caches[0]);
    set_count(object, "l2_bytes", (double)m->caches[1]);
    set_count(object, "l3_bytes", (double)m->caches[2]);
    set_count(object, "memory_bytes", m->memory);
    set_real(object, "load_before", m->load);
    set_real(object, "taken_by_others", result->others);
    set_text(object, "system", m->system);
    set_text(object, "compiler", m->compiler);
    set_text(object, "compiler_flags", m->build_flags);
    set_text(object, "commit", m->commit);
    if (!result->gpu.backend[0])
        set_text(object, "ceiling_loops", m->loops);
    set_gpu(object, &result->gpu);
    set_count(object, "prefill_queries", result->prefill_queries);
    set_text(object, "peers", result->peers);
    set_text(object, "peers_missing", result->peers_missing);
    json_object_set_new(object, "complete", json_boolean(!result->peers_missing));
    set_real(object, "seconds", result->seconds);
    return object;
}

static void set_figures(json_t *object, const kvb_bench_row *row) {
    set_real(object, "value", kvb_bench_row_value(row, row->median));
    set_real(object, "low_quartile", kvb_bench_row_value(row, row->rate ? row->high_quartile : row->low_quartile));
    set_real(object, "high_quartile", kvb_bench_row_value(row, row->rate ? row->low_quartile : row->high_quartile));
    set_real(object, "least", kvb_bench_row_value(row, row->rate ? row->most : row->least));
    set_real(object, "most", kvb_bench_row_value(row, row->rate ? row->least : row->most));
    set_count(object, "samples", row->samples);
    if (row->threads)
        set_real(object, "cpu_share", row->cpu_share);
    if (!row->threads && row->bytes > 0.0)
        set_real(object, "gb_per_s", row->bytes / row->median);
    set_count(object, "calls_per_sample", (double)row->calls);
    set_count(object, "bytes_between_uses", row->reuse);
    if (row->floor > 0.0) {
        set_real(object, "bytes_per_unit", row->bytes);
        set_real(object, "slots_per_unit", row->slots);
        set_real(object, "floor", kvb_bench_row_value(row, row->floor));
        set_text(object, "floor_set_by", row->floor_bytes > row->floor_slots ? "bytes" : "operations");
        set_real(object, "percent_of_floor", 100.0 * row->floor / row->median);
    }
}

static json_t *row_json(const kvb_bench_row *row) {
    json_t *object = json_object();
    set_text(object, "kind", "row");
    set_text(object, "work", row->work);
    set_text(object, "by", row->by);
    set_text(object, "shape", row->shape ? (char[]){row->shape, '\0'} : NULL);
    set_count(object, "head_dim", row->head_dim);
    set_count(object, "kv_len", row->kv_len);
    set_text(object, "k", row->k);
    set_text(object, "v", row->v);
    set_text(object, "layout", row->layout);
    set_text(object, "mask", row->mask);
    set_text(object, "backend", row->backend);
    set_text(object, "precision", row->precision);
    set_text(object, "from", row->temperature);
    set_text(object, "kernel", row->kernel);
    set_text(object, "variant", row->variant);
    set_count(object, "batch", row->batch);
    set_count(object, "threads", row->threads);
    set_text(object, "unit", row->unit);
    set_figures(object, row);
    return object;
}

/* Adds the object's line and releases it. */
static void print_line(kvb_bench_text *text, json_t *object) {
    char *line = object ? json_dumps(object, JSON_REAL_PRECISION(6)) : NULL;
    if (!line)
        text->failed = 1;
    const size_t length = line ? strlen(line) : 0;
    for (size_t i = 0; i < length; i += PIECE)
        kvb_bench_print(text, "%.*s", PIECE, line + i);
    kvb_bench_print(text, "\n");
    free(line);
    json_decref(object);
}

kvb_status kvb_bench_json(const kvb_bench_result *result, char **out, kvb_error *error) {
    kvb_bench_text text = {0};
    print_line(&text, machine_json(result));
    for (size_t i = 0; i < result->n_rows; i++)
        print_line(&text, row_json(&result->rows[i]));
    return kvb_bench_text_take(&text, out, error);
}
