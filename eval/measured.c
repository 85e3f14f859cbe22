#include "measured.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nrmse.h"

kvb_status kvb_measured_make(kvb_measured *measured, size_t n, size_t groups, const kvb_comparison *c,
                             kvb_error *error) {
    *measured = (kvb_measured){.n = n, .groups = groups, .n_combos = c->n_combos, .n_k = c->k.n};
    size_t steps = n * groups;
    if (groups && steps / groups == n && steps < SIZE_MAX / (KVB_MAX_COMBOS * sizeof(kvb_output_sums))) {
        measured->outputs = calloc(steps * (size_t)c->n_combos, sizeof *measured->outputs);
        measured->logits = calloc(steps * (size_t)c->k.n, sizeof *measured->logits);
    }
    if (measured->outputs && measured->logits)
        return KVB_OK;
    kvb_measured_free(measured);
    return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the sums of %zu steps of %zu KV heads", n, groups);
}

void kvb_measured_free(kvb_measured *measured) {
    free(measured->outputs);
    free(measured->logits);
    measured->outputs = NULL;
    measured->logits = NULL;
}

kvb_output_sums *kvb_measured_outputs(const kvb_measured *measured, size_t step, size_t group) {
    return measured->outputs + (step * measured->groups + group) * (size_t)measured->n_combos;
}

kvb_logit_sums *kvb_measured_logits(const kvb_measured *measured, size_t step, size_t group) {
    return measured->logits + (step * measured->groups + group) * (size_t)measured->n_k;
}

static kvb_output_sums pooled_outputs(const kvb_measured *measured, size_t step, int combo) {
    kvb_output_sums sum = {0};
    for (size_t group = 0; group < measured->groups; group++) {
        const kvb_output_sums *part = &kvb_measured_outputs(measured, step, group)[combo];
        sum.difference += part->difference;
        sum.reference += part->reference;
        sum.dot += part->dot;
        sum.output += part->output;
    }
    return sum;
}

static kvb_logit_sums pooled_logits(const kvb_measured *measured, size_t step, int k) {
    kvb_logit_sums sum = {0};
    for (size_t group = 0; group < measured->groups; group++) {
        const kvb_logit_sums *part = &kvb_measured_logits(measured, step, group)[k];
        sum.squared += part->squared;
        sum.count += part->count;
        sum.kl += part->kl;
        sum.top1 += part->top1;
        sum.top5 += part->top5;
        sum.queries += part->queries;
    }
    return sum;
}

void kvb_measured_pool(kvb_measured *measured) {
    /* a step's sums move to or before their own place, which later steps do not read */
    for (size_t step = 0; step < measured->n; step++) {
        kvb_output_sums outputs[KVB_MAX_COMBOS];
        kvb_logit_sums logits[KVB_MAX_VARIANTS];
        for (int combo = 0; combo < measured->n_combos; combo++)
            outputs[combo] = pooled_outputs(measured, step, combo);
        for (int k = 0; k < measured->n_k; k++)
            logits[k] = pooled_logits(measured, step, k);
        memcpy(measured->outputs + step * (size_t)measured->n_combos, outputs,
               (size_t)measured->n_combos * sizeof *outputs);
        memcpy(measured->logits + step * (size_t)measured->n_k, logits, (size_t)measured->n_k * sizeof *logits);
    }
    measured->groups = 1;
    void *outputs = realloc(measured->outputs, measured->n * (size_t)measured->n_combos * sizeof *measured->outputs);
    void *logits = realloc(measured->logits, measured->n * (size_t)measured->n_k * sizeof *measured->logits);
    measured->outputs = outputs ? outputs : measured->outputs;
    measured->logits = logits ? logits : measured->logits;
}

static double output_figure(const kvb_measured *measured, kvb_measure measure, size_t step, int combo) {
    kvb_output_sums sum = pooled_outputs(measured, step, combo);
    if (measure == KVB_MEASURE_NRMSE)
        return kvb_nrmse(sum.difference, sum.reference);
    double product = sqrt(sum.reference) * sqrt(sum.output);
    return product < 1e-30 ? 1.0 : sum.dot / product;
}

static double logit_figure(const kvb_measured *measured, kvb_measure measure, size_t step, int k) {
    kvb_logit_sums sum = pooled_logits(measured, step, k);
    if (measure == KVB_MEASURE_LOGIT_RMSE)
        return sqrt(sum.squared / sum.count);
    double total = measure == KVB_MEASURE_KL ? sum.kl : measure == KVB_MEASURE_TOP1 ? sum.top1 : sum.top5;
    return total / sum.queries;
}

void kvb_measured_series(const kvb_measured *measured, kvb_measure measure, int index, double *series) {
    for (size_t step = 0; step < measured->n; step++)
        series[step] = measure <= KVB_MEASURE_COSINE ? output_figure(measured, measure, step, index)
                                                     : logit_figure(measured, measure, step, index);
}

kvb_statistic kvb_measured_statistic(const kvb_measured *measured, kvb_measure measure, int index) {
    double *series = malloc((measured->n ? measured->n : 1) * sizeof *series);
    if (!series)
        return (kvb_statistic){.n = measured->n, .mean = NAN, .std = NAN, .p999 = NAN, .low = NAN, .high = NAN};
    kvb_measured_series(measured, measure, index, series);
    kvb_statistic statistic = kvb_statistic_of(series, measured->n);
    free(series);
    return statistic;
}

kvb_statistic kvb_measured_difference(const kvb_measured *measured, int a, int b) {
    double *series = malloc((measured->n ? 2 * measured->n : 1) * sizeof *series);
    if (!series)
        return (kvb_statistic){.n = measured->n, .mean = NAN, .std = NAN, .p999 = NAN, .low = NAN, .high = NAN};
    kvb_measured_series(measured, KVB_MEASURE_NRMSE, a, series);
    kvb_measured_series(measured, KVB_MEASURE_NRMSE, b, series + measured->n);
    kvb_statistic statistic = kvb_statistic_paired(series, series + measured->n, measured->n);
    free(series);
    return statistic;
}

int kvb_measured_reference_finite(const kvb_measured *measured) {
    for (size_t i = 0; i < measured->n * measured->groups; i++)
        if (!isfinite(measured->outputs[i * (size_t)measured->n_combos].reference))
            return 0;
    return 1;
}
