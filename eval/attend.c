#include "attend.h"

#include <math.h>
#include <sleef.h>
#include <string.h>

#include "logits.h"

/* The share of a softmax that may be left out: the output then moves by less than that share of the largest value left
 * out (proof: docs/evaluation.md, "Determinism"). */
#define SKIPPED_MASS 0x1p-30f

static size_t align(size_t bytes) {
    return (bytes + 63) & ~(size_t)63;
}

typedef struct sizes {
    size_t scores, states, outputs, needed;
} sizes;

static sizes sizes_of(const kvb_attend_shape *shape) {
    size_t rows = (size_t)shape->n_q * (size_t)shape->n_k, combos = (size_t)shape->n_q * (size_t)shape->n_combos;
    return (sizes){align(rows * shape->max_len * sizeof(float)), align((rows + combos) * sizeof(float)),
                   align(combos * shape->v_dim * sizeof(float)), align(shape->max_len)};
}

size_t kvb_attend_bytes(const kvb_attend_shape *shape) {
    double rows = (double)shape->n_q * shape->n_k, combos = (double)shape->n_q * shape->n_combos;
    double floats = 2.0 * (rows * (double)shape->max_len + rows + combos) + combos * (double)shape->v_dim;
    if (floats * sizeof(float) + (double)shape->max_len > (double)(SIZE_MAX / 2)) /* far from what rounding moves */
        return 0;
    sizes s = sizes_of(shape);
    return 2 * s.scores + 2 * s.states + s.outputs + s.needed;
}

void kvb_attend_init(kvb_attend_variants *attend, const kvb_attend_shape *shape, void *memory) {
    sizes s = sizes_of(shape);
    char *p = memory;
    attend->shape = *shape;
    attend->len = 0;
    attend->scores = (float *)p;
    attend->weights = (float *)(p += s.scores);
    attend->max = (float *)(p += s.scores);
    attend->sum = (float *)(p += s.states);
    attend->outputs = (float *)(p += s.states);
    attend->needed = (unsigned char *)(p + s.outputs);
}

static float largest(const float *x, size_t n) {
    float max = -INFINITY;
    for (size_t i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static void cap_scores(const kvb_attend_shape *shape, float *scores, size_t len) {
    if (shape->softcap > 0.0f)
        for (size_t j = 0; j < len; j++)
            scores[j] = shape->softcap * Sleef_cinz_tanhf1_u10purec(scores[j] * shape->scale / shape->softcap);
    else if (shape->scale != 1.0f)
        for (size_t j = 0; j < len; j++)
            scores[j] *= shape->scale;
}

static void softmax_row(kvb_attend_variants *attend, size_t row, float cut) {
    const kvb_attend_shape *shape = &attend->shape;
    float *scores = attend->scores + row * shape->max_len, *weights = attend->weights + row * shape->max_len;
    cap_scores(shape, scores, attend->len);
    attend->max[row] = largest(scores, attend->len);
    shape->arithmetic->vec->exps(scores, attend->len, attend->max[row], weights);
    double sum = 0.0;
    for (size_t j = 0; j < attend->len; j++) {
        sum += weights[j];
        attend->needed[j] |= weights[j] >= cut;
    }
    attend->sum[row] = (float)sum;
}

void kvb_attend_softmax(kvb_attend_variants *attend, size_t len, kvb_logit_sums *logits) {
    const kvb_attend_shape *shape = &attend->shape;
    size_t rows = (size_t)shape->n_q * (size_t)shape->n_k, combos = (size_t)shape->n_q * (size_t)shape->n_combos;
    attend->len = len;
    memset(attend->needed, 0, len);
    memset(attend->outputs, 0, combos * shape->v_dim * sizeof(float));
    for (size_t row = 0; row < rows; row++)
        softmax_row(attend, row, shape->skip ? SKIPPED_MASS / (float)len : 0.0f);
    for (int q = 0; logits && q < shape->n_q; q++) {
        size_t exact = (size_t)q * (size_t)shape->n_k;
        for (int k = 0; k < shape->n_k; k++)
            kvb_logits_compare(attend, exact, exact + (size_t)k, &logits[k]);
    }
    if (shape->online) /* per combination, running maximum and running sum; they start empty */
        for (size_t i = 0; i < combos; i++) {
            attend->max[rows + i] = -INFINITY;
            attend->sum[rows + i] = 0.0f;
        }
}

static void add_online(kvb_attend_variants *attend, float score, size_t state, float *out, const float *value) {
    const kvb_attend_shape *shape = &attend->shape;
    float *max = &attend->max[state], *sum = &attend->sum[state], old = *max;
    *max = score > old ? score : old;
    float correction = Sleef_cinz_expf1_u10purec(old - *max), weight = Sleef_cinz_expf1_u10purec(score - *max);
    *sum = *sum * correction + weight;
    for (size_t c = 0; c < shape->v_dim; c++)
        out[c] = out[c] * correction + weight * value[c];
}

static void add_combo(kvb_attend_variants *attend, int q, int combo, const size_t *positions, size_t n,
                      const float *const *values) {
    const kvb_attend_shape *shape = &attend->shape;
    size_t row = (size_t)q * (size_t)shape->n_k + (size_t)shape->combos[combo].k;
    size_t rows = (size_t)shape->n_q * (size_t)shape->n_k, index = (size_t)q * (size_t)shape->n_combos + (size_t)combo;
    const float *weights = attend->weights + row * shape->max_len, *scores = attend->scores + row * shape->max_len;
    const float *rows_v = values[shape->combos[combo].v];
    float *out = attend->outputs + index * shape->v_dim, used[KVB_ATTEND_ADD_MAX];
    float cut = shape->skip ? SKIPPED_MASS / (float)attend->len : 0.0f;
    for (size_t i = 0; i < n; i++) {
        if (shape->online)
            add_online(attend, scores[positions[i]], rows + index, out, rows_v + i * shape->v_dim);
        else
            used[i] = weights[positions[i]] >= cut ? weights[positions[i]] : 0.0f;
    }
    if (!shape->online)
        kvb_row_add(shape->arithmetic, rows_v, n, shape->v_dim, used, out);
}

void kvb_attend_add(kvb_attend_variants *attend, const size_t *positions, size_t n, const float *const *values) {
    for (int q = 0; q < attend->shape.n_q; q++)
        for (int combo = 0; combo < attend->shape.n_combos; combo++)
            add_combo(attend, q, combo, positions, n, values);
}

static void compare_outputs(const float *reference, const float *output, size_t n, kvb_output_sums *sums) {
    for (size_t c = 0; c < n; c++) {
        double r = reference[c], o = output[c];
        sums->difference += (o - r) * (o - r);
        sums->reference += r * r;
        sums->dot += o * r;
        sums->output += o * o;
    }
}

void kvb_attend_finish(kvb_attend_variants *attend, kvb_output_sums *errors) {
    const kvb_attend_shape *shape = &attend->shape;
    size_t rows = (size_t)shape->n_q * (size_t)shape->n_k;
    for (int q = 0; q < shape->n_q; q++) {
        size_t first = (size_t)q * (size_t)shape->n_combos;
        for (int combo = 0; combo < shape->n_combos; combo++) {
            size_t index = first + (size_t)combo;
            float *out = attend->outputs + index * shape->v_dim;
            float sum = shape->online ? attend->sum[rows + index]
                                      : attend->sum[(size_t)q * (size_t)shape->n_k + (size_t)shape->combos[combo].k];
            float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
            for (size_t c = 0; c < shape->v_dim; c++)
                out[c] *= inverse;
            compare_outputs(attend->outputs + first * shape->v_dim, out, shape->v_dim, &errors[combo]);
        }
    }
}
