#include "document.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "result.h"

static const char *const generators[] = {"gaussian", "student-t", "outliers", "sink", "low-rank"};
static const char *const rotations[] = {"none", "hadamard", "signed"};
static const char *const scale_kinds[] = {"norm", "lsq", "search"};
static const char *const sources[] = {"default", "lloyd", "library", "beta", "file"};
static const char *const dtypes[] = {"f32", "f16", "bf16"};

const char *kvb_generator_name(kvb_generator generator) {
    return generators[generator];
}

const char *kvb_rotation_name(kvb_rotation rotation) {
    return rotations[rotation];
}

const char *kvb_scale_kind_name(kvb_scale_kind kind) {
    return scale_kinds[kind];
}

const char *kvb_codebook_source_name(kvb_codebook_source source) {
    return sources[source];
}

const char *kvb_dtype_name(kvb_dtype dtype) {
    return dtypes[dtype];
}

static json_t *hexadecimal(uint64_t value) {
    return json_sprintf("0x%llX", (unsigned long long)value);
}

static int set_generator(json_t *object, const kvb_ab_config *config) {
    int bad = json_object_set_new(object, "generator", json_string(generators[config->generator]));
    switch (config->generator) {
    case KVB_GENERATOR_STUDENT_T:
        return bad | json_object_set_new(object, "student_dof", json_integer(config->student_dof));
    case KVB_GENERATOR_OUTLIERS:
        bad |= json_object_set_new(object, "outlier_channels", json_integer(config->outlier_channels));
        bad |= json_object_set_new(object, "outlier_factor", kvb_json_real(config->outlier_factor));
        return bad | json_object_set_new(object, "outliers_spread", json_boolean(config->outliers_spread));
    case KVB_GENERATOR_SINK:
        return bad | json_object_set_new(object, "sink_strength", kvb_json_real(config->sink_strength));
    case KVB_GENERATOR_LOW_RANK:
        bad |= json_object_set_new(object, "rank",
                                   json_integer(config->low_rank ? config->low_rank : config->head_dim / 4));
        return bad | json_object_set_new(object, "noise", kvb_json_real(config->low_rank_noise));
    default:
        return bad;
    }
}

static int set_synthetic(json_t *object, const kvb_ab_config *config) {
    json_t *dims = json_array();
    int bad = set_generator(object, config);
    bad |= json_object_set_new(object, "attention_scale", kvb_json_real(config->scale));
    bad |= json_object_set_new(object, "softcap", kvb_json_real(config->softcap));
    bad |= json_object_set_new(object, "window", json_integer(config->window));
    bad |= json_object_set_new(object, "vectors", json_integer(config->vectors));
    for (int i = 0; i < config->n_round_trip_dims; i++)
        bad |= json_array_append_new(dims, json_integer(config->round_trip_dims[i]));
    bad |= json_object_set_new(object, "round_trip_head_dims", dims);
    return bad | json_object_set_new(object, "redraws", json_integer(config->redraws));
}

json_t *kvb_document_configuration(const kvb_ab_config *config, int trace) {
    json_t *object = json_object();
    int bad = trace ? 0 : set_synthetic(object, config);
    bad |= json_object_set_new(object, "rotation", json_string(rotations[config->rotation]));
    if (config->rotation == KVB_ROTATION_SIGNED || config->redraws || config->baselines)
        bad |= json_object_set_new(object, "sign_seed", hexadecimal(config->sign_seed));
    bad |= json_object_set_new(object, "scale_kind", json_string(scale_kinds[config->scale_kind]));
    bad |= json_object_set_new(object, "scale_dtype", json_string(dtypes[config->scale_dtype]));
    if (config->trellis_states)
        bad |= json_object_set_new(object, "trellis_states", json_integer(config->trellis_states));
    if (config->queries_from)
        bad |= json_object_set_new(object, "queries_from", json_integer(config->queries_from));
    if (config->exact_first)
        bad |= json_object_set_new(object, "exact_first", json_integer(config->exact_first));
    if (config->exact_last)
        bad |= json_object_set_new(object, "exact_last", json_integer(config->exact_last));
    bad |= json_object_set_new(object, "codebook", json_string(sources[config->codebook]));
    bad |= json_object_set_new(object, "cdf", json_string(config->cdf == KVB_CDF_ERFC ? "erfc" : "as26.2.17"));
    bad |= json_object_set_new(object, "sums", json_string(config->sums == KVB_SUMS_LANES ? "lanes" : "index-order"));
    bad |= json_object_set_new(object, "baselines", json_boolean(config->baselines));
    if (!bad)
        return object;
    json_decref(object);
    return NULL;
}

int kvb_document_set_tables(json_t *object, const kvb_tables *tables) {
    json_t *convergence = json_object(), *from = json_object(), *codebooks = json_object();
    char key[16];
    int bad = 0;
    for (int bits = 1; bits <= KVB_MAX_BITS; bits++) {
        const kvb_table *table = &tables->width[bits];
        if (table->levels == 0)
            continue;
        snprintf(key, sizeof key, "%dbit", bits);
        bad |= json_object_set_new(from, key, json_string(table->source));
        if (table->iterated)
            bad |= json_object_set_new(convergence, key,
                                       json_pack("{s:i, s:o}", "iteration_count", table->lloyd.rounds,
                                                 "final_max_change", kvb_json_real(table->lloyd.last_change)));
        json_t *centroids = json_array();
        for (int i = 0; i < table->levels; i++)
            bad |= json_array_append_new(centroids, kvb_json_real(table->exact[i]));
        snprintf(key, sizeof key, "%d_bit", bits);
        bad |= json_object_set_new(codebooks, key, centroids);
    }
    bad |= json_object_set_new(object, "lloyd_max_convergence", convergence);
    bad |= json_object_set_new(object, "codebook_sources", from);
    return bad | json_object_set_new(object, "codebooks", codebooks);
}

int kvb_document_add_check(json_t *checks, const char *name, int passed, const char *detail, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, detail);
    vsnprintf(text, sizeof text, detail, arguments);
    va_end(arguments);
    return json_array_append_new(checks, json_pack("{s:s, s:b, s:s}", "name", name, "passed", passed, "detail", text));
}

int kvb_document_add_table_checks(json_t *checks, const kvb_tables *tables) {
    int bad = 0;
    for (int bits = 1; bits <= KVB_MAX_BITS; bits++) {
        const kvb_table *table = &tables->width[bits];
        double asymmetry = 0.0;
        int rising = 1;
        for (int i = 0; i < table->levels; i++) {
            asymmetry = fmax(asymmetry, fabs(table->exact[i] + table->exact[table->levels - 1 - i]));
            rising &= i == 0 || table->centroids[i] > table->centroids[i - 1];
        }
        if (table->levels)
            bad |= kvb_document_add_check(checks, "codebook symmetric and strictly increasing",
                                          asymmetry <= 1e-6 && rising, "%d bits: asymmetry %.2e (at most 1e-6), %s",
                                          bits, asymmetry, rising ? "strictly increasing" : "NOT strictly increasing");
        if (table->iterated)
            bad |= kvb_document_add_check(checks, "codebook iteration converged", table->lloyd.last_change < 1e-8,
                                          "%d bits: %d rounds, last change %.4e (below 1e-8)", bits,
                                          table->lloyd.rounds, table->lloyd.last_change);
    }
    return bad;
}
