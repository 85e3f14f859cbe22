/* The scheduler's callback: finds the attention of each layer in the graph, takes its inputs, lets the hook replace its
 * output.
 *
 * With flash attention off a layer is, by llama.cpp's names,
 *
 *     kq-N (MUL_MAT of keys and queries) [SCALE, TANH, SCALE: softcap] -> kq_soft_max-N (SOFT_MAX with mask, scale)
 *          -> kqv-N (MUL_MAT of values and weights) -> PERMUTE -> kqv_out-N (CONT)
 *
 * and keys and values are views of the cache, so that they are what was written there, after rotary embedding, whatever
 * the architecture calls its projections. The callback stops where each input is still in memory (the engine uses
 * memory again after a tensor's last reader): queries at kq-N, the mask at kq_soft_max-N. Every link is checked. */
#include <ggml-backend.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"

typedef struct ggml_tensor tensor;

static bool refuse(kvb_graph *g, int layer, const char *what) {
    g->status = kvb_error_set(&g->error, KVB_ERROR_UNSUPPORTED,
                              "layer %d of the model is no attention that kvbits knows: %s", layer, what);
    return false;
}

/* The N of "stem-N" and nothing else, -1 otherwise: a prefix would match views and copies, too. */
static int layer_of(const tensor *t, const char *stem) {
    const size_t length = strlen(stem);
    int layer = 0;
    if (strncmp(t->name, stem, length) != 0 || t->name[length] != '-' || !t->name[length + 1])
        return -1;
    for (const char *p = t->name + length + 1; *p; p++) {
        if (*p < '0' || *p > '9' || layer > 100000)
            return -1;
        layer = 10 * layer + (*p - '0');
    }
    return layer;
}

static int is_host(const tensor *t) {
    const ggml_backend_buffer_t buffer = t->view_src ? t->view_src->buffer : t->buffer;
    return buffer && ggml_backend_buffer_is_host(buffer) && t->data;
}

static float parameter(const tensor *t, int i) {
    float value;
    memcpy(&value, (const char *)t->op_params + (size_t)i * sizeof value, sizeof value);
    return value;
}

/* Room for n floats in rows[side]; NULL without memory. */
static float *room(kvb_graph *g, int side, size_t n) {
    if (g->capacity[side] < n) {
        float *grown = realloc(g->rows[side], n * sizeof *grown);
        if (!grown) {
            g->status = kvb_error_set(&g->error, KVB_ERROR_MEMORY, "out of memory for %zu values of a layer", n);
            return NULL;
        }
        g->rows[side] = grown;
        g->capacity[side] = n;
    }
    return g->rows[side];
}

/* to[token][head][i] = value at i * step[0] + token * step[1] + head * step[2] bytes. */
static void gather(float *to, const tensor *t, const size_t step[3], int64_t first, int n_tokens, int n_heads,
                   int dim) {
    for (int i = 0; i < n_tokens; i++)
        for (int h = 0; h < n_heads; h++) {
            const char *row = (const char *)t->data + (size_t)(first + i) * step[1] + (size_t)h * step[2];
            for (int c = 0; c < dim; c++)
                memcpy(to++, row + (size_t)c * step[0], sizeof *to);
        }
}

/* ---- kq-N: queries and keys ---- */

static bool take_keys(kvb_graph *g, const tensor *kq, int layer) {
    const tensor *k = kq->src[0], *q = kq->src[1];
    kvb_engine_attention *a = &g->attention;
    if (k->type != GGML_TYPE_F32 || q->type != GGML_TYPE_F32 || !k->view_src || k->ne[3] != 1 || q->ne[3] != 1)
        return refuse(g, layer, "its keys are no float cache of one sequence");
    if (!is_host(k) || !is_host(q))
        return refuse(g, layer, "it is not computed in the machine's own memory");
    if (q->ne[1] != g->n_tokens || k->ne[1] < g->position + g->n_tokens || q->ne[0] != k->ne[0] || q->ne[2] % k->ne[2])
        return refuse(g, layer, "the shapes of its keys and queries do not fit");
    *a = (kvb_engine_attention){.layer = layer,
                                .n_tokens = g->n_tokens,
                                .position = g->position,
                                .n_heads = (int)q->ne[2],
                                .n_kv_heads = (int)k->ne[2],
                                .k_dim = (int)k->ne[0]};
    const size_t n = (size_t)a->n_tokens * (size_t)a->k_dim;
    float *queries = room(g, 0, n * (size_t)a->n_heads), *keys = room(g, 1, n * (size_t)a->n_kv_heads);
    if (!queries || !keys)
        return false;
    gather(queries, q, q->nb, 0, a->n_tokens, a->n_heads, a->k_dim);
    gather(keys, k, k->nb, g->position, a->n_tokens, a->n_kv_heads, a->k_dim);
    a->q = queries;
    a->k = keys;
    g->kq = kq;
    return true;
}

/* ---- The mask ---- */

static float mask_at(const tensor *mask, int64_t i, int64_t j) {
    const char *row = (const char *)mask->data + (size_t)i * mask->nb[1];
    return mask->type == GGML_TYPE_F32 ? ((const float *)(const void *)row)[j]
                                       : kvb_f16_to_f32(((const uint16_t *)(const void *)row)[j]);
}

/* Is each query's mask 0 exactly at the last `window` tokens up to itself, and -Inf elsewhere? Finds the window. */
static bool check_mask(kvb_graph *g, const tensor *mask, int layer) {
    kvb_engine_attention *a = &g->attention;
    if (!mask || (mask->type != GGML_TYPE_F32 && mask->type != GGML_TYPE_F16) || !is_host(mask) || mask->ne[2] != 1)
        return refuse(g, layer, "it has no mask of floats or halves");
    for (int64_t i = 0; i < a->n_tokens; i++) {
        const int64_t p = a->position + i;
        int64_t visible = 0;
        for (int64_t j = 0; j < mask->ne[0]; j++) {
            const float value = mask_at(mask, i, j);
            if (value == 0 && j <= p)
                visible++;
            else if (value != -INFINITY || (visible > 0 && j <= p))
                return refuse(g, layer, "its mask is neither causal nor a causal window");
        }
        if (visible == 0 || mask_at(mask, i, p) != 0)
            return refuse(g, layer, "its mask hides a token from itself");
        if (visible <= p) {
            if (a->window != 0 && a->window != visible)
                return refuse(g, layer, "its window differs between tokens");
            a->window = (int)visible;
        } else if (a->window != 0 && visible > a->window)
            return refuse(g, layer, "its window differs between tokens");
    }
    return true;
}

/* From the softmax back to the product, through a softcap where there is one. */
static bool find_softcap(kvb_graph *g, const tensor *soft_max, int layer) {
    kvb_engine_attention *a = &g->attention;
    const tensor *t = soft_max->src[0];
    if (t == g->kq)
        return true;
    const tensor *capped = t, *tanhs = capped->src[0], *scaled = tanhs ? tanhs->src[0] : NULL;
    if (capped->op != GGML_OP_SCALE || !scaled || tanhs->op != GGML_OP_UNARY ||
        ggml_get_unary_op(tanhs) != GGML_UNARY_OP_TANH || scaled->op != GGML_OP_SCALE || scaled->src[0] != g->kq)
        return refuse(g, layer, "something stands between its products and its softmax");
    const float cap = parameter(capped, 0);
    if (!(cap > 0) || fabsf(parameter(scaled, 0) * cap - 1) > 1e-5f || parameter(capped, 1) != 0 ||
        parameter(scaled, 1) != 0 || a->scale != 1)
        return refuse(g, layer, "its softcap has factors of its own");
    a->softcap = cap;
    return true;
}

static bool take_values(kvb_graph *g, const tensor *v, int layer) {
    kvb_engine_attention *a = &g->attention;
    if (v->type != GGML_TYPE_F32 || !v->view_src || !is_host(v) || v->ne[2] != a->n_kv_heads || v->ne[3] != 1 ||
        v->ne[0] < a->position + a->n_tokens)
        return refuse(g, layer, "its values are no float cache of one sequence");
    a->v_dim = (int)v->ne[1];
    float *values = room(g, 2, (size_t)a->n_tokens * (size_t)a->n_kv_heads * (size_t)a->v_dim);
    if (!values)
        return false;
    /* The cache holds values transposed: tokens lie side by side. */
    gather(values, v, (const size_t[]){v->nb[1], v->nb[0], v->nb[2]}, a->position, a->n_tokens, a->n_kv_heads,
           a->v_dim);
    a->v = values;
    return true;
}

/* ---- kq_soft_max-N: scale, softcap, mask ---- */

static bool take_settings(kvb_graph *g, const tensor *soft_max, int layer) {
    kvb_engine_attention *a = &g->attention;
    if (!g->kq || a->layer != layer)
        return refuse(g, layer, "its softmax is not of products of queries and keys");
    a->scale = parameter(soft_max, 0);
    if (parameter(soft_max, 1) != 0)
        return refuse(g, layer, "it adds a bias for each position (ALiBi)");
    if (soft_max->src[2])
        return refuse(g, layer, "it has attention sinks");
    g->soft_max = soft_max;
    return find_softcap(g, soft_max, layer) && check_mask(g, soft_max->src[1], layer);
}

/* ---- kqv_out-N: values and output ---- */

static bool give_output(kvb_graph *g, tensor *out, int layer) {
    kvb_engine_attention *a = &g->attention;
    const tensor *permuted = out->src[0], *kqv = permuted ? permuted->src[0] : NULL;
    if (!g->soft_max || a->layer != layer || !kqv || permuted->op != GGML_OP_PERMUTE || kqv->op != GGML_OP_MUL_MAT ||
        kqv->src[1] != g->soft_max)
        return refuse(g, layer, "its output is no product of a softmax and values");
    if (!take_values(g, kqv->src[0], layer))
        return false;
    if (!is_host(out) || !ggml_is_contiguous(out) || out->type != GGML_TYPE_F32 ||
        out->ne[0] != (int64_t)a->n_heads * a->v_dim || out->ne[1] != a->n_tokens)
        return refuse(g, layer, "its output is no row of floats per token");
    a->out = out->data;
    g->kq = g->soft_max = NULL;
    g->seen++;
    g->status = g->hook->attention(g->hook->context, a, &g->error);
    return g->status == KVB_OK;
}

bool kvb_graph_callback(tensor *t, bool ask, void *user_data) {
    kvb_graph *g = user_data;
    if (!g->hook)
        return !ask;
    const int keys = t->op == GGML_OP_MUL_MAT ? layer_of(t, "kq") : -1,
              weights = t->op == GGML_OP_SOFT_MAX ? layer_of(t, "kq_soft_max") : -1,
              output = t->op == GGML_OP_CONT ? layer_of(t, "kqv_out") : -1;
    if (ask)
        return keys >= 0 || weights >= 0 || output >= 0;
    if (g->status != KVB_OK)
        return false;
    if (keys >= 0)
        return take_keys(g, t, keys);
    if (weights >= 0)
        return take_settings(g, t, weights);
    return output < 0 || give_output(g, t, output);
}
