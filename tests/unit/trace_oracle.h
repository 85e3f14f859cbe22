/* Layers of a trace made in memory, and causal attention on them restated in double precision: for the A/B's test. */
#ifndef KVB_TESTS_TRACE_ORACLE_H
#define KVB_TESTS_TRACE_ORACLE_H

#include <math.h>
#include <stdio.h>

#include "check.h"
#include "trace_image.h"
#undef Q /* names that the image's header spends on JSON */
#undef K
#undef V

enum { MOST_TOKENS = 160, MOST_DIM = 576, EXACT = 0 /* as a width: rows as they are */ };

typedef struct layer {
    int index, tokens, heads, kv_heads, k_dim, v_dim;
    kvb_dtype dtype;
    double scale, softcap; /* scale 0: 1/sqrt(k_dim), written nowhere */
    int window;
    float *q, *k, *v; /* [token][head][dim] */
} layer;

/* ---- The trace ---- */

static inline float as_stored(float x, kvb_dtype dtype) {
    return dtype == KVB_F16    ? kvb_f16_to_f32(kvb_f32_to_f16(x))
           : dtype == KVB_BF16 ? kvb_bf16_to_f32(kvb_f32_to_bf16(x))
                               : x;
}

static inline float *draw(kvb_rng *rng, size_t n, float factor, kvb_dtype dtype) {
    float *values = malloc(n * sizeof *values);
    assert_non_null(values);
    kvb_rng_normals(rng, values, n);
    for (size_t i = 0; i < n; i++)
        values[i] = as_stored(factor * values[i], dtype);
    return values;
}

static inline void draw_layers(layer *layers, int n) {
    for (int i = 0; i < n; i++) {
        layer *l = &layers[i];
        kvb_rng rng = kvb_rng_seed(1000 + (uint64_t)l->index);
        size_t tokens = (size_t)l->tokens, kv_heads = (size_t)l->kv_heads;
        l->q = draw(&rng, tokens * (size_t)l->heads * (size_t)l->k_dim, 1.5f, l->dtype);
        l->k = draw(&rng, tokens * kv_heads * (size_t)l->k_dim, 1.5f, l->dtype);
        l->v = draw(&rng, tokens * kv_heads * (size_t)l->v_dim, 0.5f, l->dtype);
    }
}

static inline void free_layers(layer *layers, int n) {
    for (int i = 0; i < n; i++) {
        free(layers[i].q);
        free(layers[i].k);
        free(layers[i].v);
    }
}

typedef struct sheet {
    char header[8192];
    int used;
    uint8_t *data;
    size_t bytes;
} sheet;

static inline void add_tensor(sheet *s, const layer *l, char side, int heads, int dim, const float *values) {
    static const char *const names[] = {"F32", "F16", "BF16"};
    size_t n = (size_t)l->tokens * (size_t)heads * (size_t)dim, width = kvb_dtype_bytes(l->dtype);
    s->used += snprintf(s->header + s->used, sizeof s->header - (size_t)s->used,
                        ",\"layers.%d.%c\":{\"dtype\":\"%s\",\"shape\":[%d,%d,%d],\"data_offsets\":[%zu,%zu]}",
                        l->index, side, names[l->dtype], l->tokens, heads, dim, s->bytes, s->bytes + n * width);
    s->data = realloc(s->data, s->bytes + n * width);
    assert_non_null(s->data);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits = l->dtype == KVB_F16    ? kvb_f32_to_f16(values[i])
               : l->dtype == KVB_BF16 ? kvb_f32_to_bf16(values[i])
                                      : bits;
        for (size_t b = 0; b < width; b++)
            s->data[s->bytes++] = (uint8_t)(bits >> 8 * b);
    }
}

/* The file of these layers; what they set is written as layers.<i>.<setting>. */
static inline image image_of_layers(const layer *layers, int n) {
    sheet s = {.data = NULL};
    s.used = snprintf(s.header, sizeof s.header, "{\"__metadata__\":{\"model\":\"oracle\"");
    for (int i = 0; i < n; i++) {
        const layer *l = &layers[i];
        char *at = s.header + s.used;
        size_t room = sizeof s.header - (size_t)s.used;
        s.used += snprintf(at, room, ",\"layers.%d.softcap\":\"%.9g\",\"layers.%d.window\":\"%d\"", l->index,
                           l->softcap, l->index, l->window);
        at = s.header + s.used;
        if (l->scale > 0.0)
            s.used +=
                snprintf(at, sizeof s.header - (size_t)s.used, ",\"layers.%d.scale\":\"%.17g\"", l->index, l->scale);
    }
    s.header[s.used++] = '}';
    for (int i = 0; i < n; i++) {
        add_tensor(&s, &layers[i], 'q', layers[i].heads, layers[i].k_dim, layers[i].q);
        add_tensor(&s, &layers[i], 'k', layers[i].kv_heads, layers[i].k_dim, layers[i].k);
        add_tensor(&s, &layers[i], 'v', layers[i].kv_heads, layers[i].v_dim, layers[i].v);
    }
    s.header[s.used++] = '}';
    s.header[s.used] = '\0';
    image file = image_of(s.header, s.bytes);
    memcpy(data_of(file, s.bytes), s.data, s.bytes);
    free(s.data);
    return file;
}

/* ---- The oracle ---- */

/* Rows as the codec gives them back; a copy for EXACT. */
static inline float *stored_rows(const kvb_ab_config *config, const float *rows, size_t n, int dim, int bits) {
    float *out = malloc(n * (size_t)dim * sizeof *out);
    assert_non_null(out);
    if (bits == EXACT)
        return memcpy(out, rows, n * (size_t)dim * sizeof *out);
    kvb_codec_spec spec = {.head_dim = dim,
                           .bits = bits,
                           .rotation = config->rotation,
                           .sign_seed = config->sign_seed,
                           .scale = config->scale_kind,
                           .scale_dtype = config->scale_dtype};
    kvb_codec *codec = create_codec(&spec);
    void *block = malloc(kvb_codec_block_bytes(codec, n));
    kvb_packed packed = kvb_packed_view(codec, block, n);
    kvb_error error = {""};
    assert_ok(kvb_encode(codec, rows, KVB_F32, (size_t)dim, n, &packed, 0, NULL, &error), error);
    assert_ok(kvb_decode(codec, &packed, 0, n, KVB_DOMAIN_INPUT, out, (size_t)dim, &error), error);
    free(block);
    kvb_codec_destroy(codec);
    return out;
}

/* Per query, heads pooled. */
typedef struct series {
    int n;
    double nrmse[MOST_TOKENS], cosine[MOST_TOKENS], logit_rmse[MOST_TOKENS], kl[MOST_TOKENS], top1[MOST_TOKENS],
        top5[MOST_TOKENS];
} series;

typedef struct head_result {
    double logits[MOST_TOKENS], weights[MOST_TOKENS], log_sum, out[MOST_DIM];
} head_result;

/* Query i of head h sees the keys j with i-W < j <= i, the first and last ones as they are. */
static inline void attend_in_double(const layer *l, const kvb_ab_config *config, int h, int i, const float *stored_k,
                                    const float *stored_v, head_result *r) {
    int kv = h / (l->heads / l->kv_heads), first = l->window > 0 && i - l->window + 1 > 0 ? i - l->window + 1 : 0;
    double scale = l->scale > 0.0 ? l->scale : 1.0 / sqrt(l->k_dim), max = -INFINITY, sum = 0.0;
    memset(r->out, 0, sizeof r->out);
    for (int j = first; j <= i; j++) {
        const float *k = j < config->exact_first || j > i - config->exact_last ? l->k : stored_k;
        double dot = 0.0;
        for (int c = 0; c < l->k_dim; c++)
            dot += (double)l->q[(i * l->heads + h) * l->k_dim + c] * k[(j * l->kv_heads + kv) * l->k_dim + c];
        dot *= scale;
        r->logits[j - first] = l->softcap > 0.0 ? l->softcap * tanh(dot / l->softcap) : dot;
        max = fmax(max, r->logits[j - first]);
    }
    for (int j = first; j <= i; j++)
        sum += r->weights[j - first] = exp(r->logits[j - first] - max);
    for (int j = first; j <= i; j++) {
        const float *v = j < config->exact_first || j > i - config->exact_last ? l->v : stored_v;
        r->weights[j - first] /= sum;
        for (int c = 0; c < l->v_dim; c++)
            r->out[c] += r->weights[j - first] * v[(j * l->kv_heads + kv) * l->v_dim + c];
    }
    r->log_sum = max + log(sum);
}

/* How many keys have a larger logit. */
static inline int rank_of(const double *logits, int n, int at) {
    int above = 0;
    for (int j = 0; j < n; j++)
        above += logits[j] > logits[at];
    return above;
}

static inline void add_logits(const head_result *exact, const head_result *other, int n, double share, series *s,
                              int at) {
    int top = n < 5 ? n : 5, lost = 0, flipped = 0;
    double kl = other->log_sum - exact->log_sum;
    for (int j = 0; j < n; j++) {
        double difference = exact->logits[j] - other->logits[j];
        s->logit_rmse[at] += difference * difference * share / n;
        kl += exact->weights[j] * difference;
        lost += rank_of(exact->logits, n, j) < top && rank_of(other->logits, n, j) >= top;
        flipped += rank_of(exact->logits, n, j) == 0 && rank_of(other->logits, n, j) != 0;
    }
    s->kl[at] += kl * share;
    s->top1[at] += flipped * share;
    s->top5[at] += (double)lost / top * share;
}

/* Every figure of one layer at these widths; `queries` 0: all. */
static inline void measure(const layer *l, const kvb_ab_config *config, int k_bits, int v_bits, int queries,
                           series *s) {
    size_t rows = (size_t)l->tokens * (size_t)l->kv_heads;
    float *k = stored_rows(config, l->k, rows, l->k_dim, k_bits),
          *v = stored_rows(config, l->v, rows, l->v_dim, v_bits);
    static head_result exact, other;
    memset(s, 0, sizeof *s);
    int from = config->queries_from < l->tokens ? config->queries_from : l->tokens - 1, most = l->tokens - from;
    s->n = queries == 0 || queries > most ? most : queries;
    for (int at = 0; at < s->n; at++) {
        int i = from + (at + 1) * most / s->n - 1, visible = l->window > 0 && l->window < i + 1 ? l->window : i + 1;
        double difference = 0.0, dot = 0.0, norm = 0.0, other_norm = 0.0;
        for (int h = 0; h < l->heads; h++) {
            attend_in_double(l, config, h, i, l->k, l->v, &exact);
            attend_in_double(l, config, h, i, k, v, &other);
            for (int c = 0; c < l->v_dim; c++) {
                difference += (other.out[c] - exact.out[c]) * (other.out[c] - exact.out[c]);
                dot += other.out[c] * exact.out[c];
                norm += exact.out[c] * exact.out[c];
                other_norm += other.out[c] * other.out[c];
            }
            add_logits(&exact, &other, visible, 1.0 / l->heads, s, at);
        }
        s->nrmse[at] = sqrt(difference / norm);
        s->cosine[at] = dot / sqrt(norm) / sqrt(other_norm);
        s->logit_rmse[at] = sqrt(s->logit_rmse[at]);
    }
    free(k);
    free(v);
}

static inline double mean_of(const double *values, int n) {
    double sum = 0.0;
    for (int i = 0; i < n; i++)
        sum += values[i];
    return sum / n;
}

static inline double largest_of(const double *values, int n) {
    double most = values[0];
    for (int i = 1; i < n; i++)
        most = fmax(most, values[i]);
    return most;
}

#endif
