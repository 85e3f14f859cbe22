#include "rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RMS_EPS 1e-6f

/* A sink's value: small, since models learn to make it so. */
#define SINK_VALUE 0.05f

static size_t raw_per_row(const kvb_row_source *source) {
    switch (source->generator) {
    case KVB_GENERATOR_STUDENT_T:
        return source->d * (size_t)(1 + source->dof);
    case KVB_GENERATOR_LOW_RANK:
        return source->d + (size_t)source->rank;
    default:
        return source->d;
    }
}

kvb_status kvb_row_source_open(kvb_row_source *source, const kvb_ab_config *config, kvb_side side,
                               const kvb_arithmetic *arithmetic, kvb_error *error) {
    size_t d = (size_t)config->head_dim;
    *source = (kvb_row_source){.arithmetic = arithmetic,
                               .generator = config->generator,
                               .side = side,
                               .d = d,
                               .dof = config->student_dof,
                               .channels = config->outlier_channels,
                               .spread = config->outliers_spread,
                               .rank = config->low_rank ? config->low_rank : config->head_dim / 4,
                               .factor = (float)config->outlier_factor,
                               .noise = (float)config->low_rank_noise,
                               .strength = (float)config->sink_strength};
    source->raw = raw_per_row(source);
    if (source->generator != KVB_GENERATOR_LOW_RANK)
        return KVB_OK;
    size_t values = d * (size_t)source->rank;
    source->basis = malloc(values * sizeof(float));
    if (!source->basis)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a basis of %zu values", values);
    kvb_rng rng = kvb_rng_seed(config->seed ^ (UINT64_C(0x44) + (uint64_t)side));
    kvb_rng_normals(&rng, source->basis, values);
    return KVB_OK;
}

void kvb_row_source_close(kvb_row_source *source) {
    free(source->basis);
    source->basis = NULL;
}

static void make_student_t(const kvb_row_source *source, const float *raw, float *out) {
    size_t per = (size_t)source->dof + 1;
    for (size_t c = 0; c < source->d; c++) {
        const float *z = raw + c * per;
        float chi2 = 0.0f;
        for (size_t i = 1; i < per; i++)
            chi2 += z[i] * z[i];
        out[c] = z[0] / sqrtf(chi2 / (float)source->dof + 1e-20f);
    }
}

static void make_outliers(const kvb_row_source *source, const float *raw, float *out) {
    memmove(out, raw, source->d * sizeof *out);
    for (int i = 0; i < source->channels; i++) {
        size_t channel = source->spread ? (size_t)i * source->d / (size_t)source->channels : (size_t)i;
        out[channel] *= source->factor;
    }
}

static void make_low_rank(const kvb_row_source *source, const float *raw, float *out) {
    float weight = 1.0f / sqrtf((float)source->rank);
    const float *noise = raw + source->rank;
    for (size_t c = 0; c < source->d; c++)
        out[c] = source->noise * noise[c];
    for (int r = 0; r < source->rank; r++) {
        float scaled = weight * raw[r];
        kvb_row_add(source->arithmetic, source->basis + (size_t)r * source->d, 1, source->d, &scaled, out);
    }
}

/* Queries that all like one direction, the diagonal (1, ..., 1) / sqrt(d), which is the sink's key. */
static void make_sink_query(const kvb_row_source *source, const float *raw, float *out) {
    float along = source->strength / sqrtf((float)source->d);
    for (size_t c = 0; c < source->d; c++)
        out[c] = raw[c] + along;
}

void kvb_row_make(const kvb_row_source *source, const float *raw, float *out) {
    kvb_generator generator = source->generator;
    int is_query = source->side == KVB_SIDE_Q; /* queries stay Gaussian, but for the sink's */
    if (generator == KVB_GENERATOR_SINK && is_query)
        make_sink_query(source, raw, out);
    else if (generator == KVB_GENERATOR_STUDENT_T && !is_query)
        make_student_t(source, raw, out);
    else if (generator == KVB_GENERATOR_OUTLIERS && !is_query)
        make_outliers(source, raw, out);
    else if (generator == KVB_GENERATOR_LOW_RANK && !is_query)
        make_low_rank(source, raw, out);
    else if (out != raw)
        memmove(out, raw, source->d * sizeof *out);
    kvb_row_rms_normalize(source->arithmetic, out, source->d, RMS_EPS);
}

int kvb_row_first_differs(const kvb_row_source *source) {
    return source->generator == KVB_GENERATOR_SINK && source->side != KVB_SIDE_Q;
}

void kvb_row_make_first(const kvb_row_source *source, const float *raw, float *out) {
    for (size_t c = 0; c < source->d; c++)
        out[c] = source->side == KVB_SIDE_K ? 1.0f + 0.1f * raw[c] : raw[c];
    kvb_row_rms_normalize(source->arithmetic, out, source->d, RMS_EPS);
    for (size_t c = 0; source->side == KVB_SIDE_V && c < source->d; c++)
        out[c] *= SINK_VALUE;
}
