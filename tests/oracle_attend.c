#include "oracle_attend.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

int oracle_sees(const kvb_attend_item *item, int query, int64_t token) {
    int64_t n_tokens = item->kv->n_tokens, n_older = n_tokens - item->n_q;
    int64_t end = item->kv_end ? item->kv_end : n_tokens;
    if (token < 0 || token >= n_tokens || token < item->kv_begin || token >= end) {
        return 0;
    }
    if (item->tree_mask && token >= n_older) {
        int row_bytes = (item->n_q + 7) / 8, j = (int)(token - n_older);
        return item->tree_mask[query * row_bytes + j / 8] >> (j % 8) & 1;
    }
    int64_t position = item->positions ? item->positions[query] : n_older + query;
    int window = item->kv->window;
    return token <= position && (window == 0 || position - window < token);
}

/* ---- Rows ---- */

static double half_value(kvb_dtype dtype, const void *values, int64_t i) {
    uint16_t half = ((const uint16_t *)values)[i];
    return (double)(dtype == KVB_F16 ? kvb_f16_to_f32(half) : kvb_bf16_to_f32(half));
}

static void read_page(const kvb_layer_format *format, const void *page, int64_t row, int head, int side, double *out) {
    const kvb_codec *codec = side == 0 ? format->k_codec : format->v_codec;
    int dim = side == 0 ? format->k_dim : format->v_dim;
    const void *block = kvb_page_block(format, page, head, side);
    if (!codec) {
        for (int i = 0; i < dim; i++) {
            out[i] = half_value(format->dense, block, row * dim + i);
        }
        return;
    }
    float decoded[KVB_MAX_HEAD_DIM];
    kvb_packed packed = kvb_packed_view(codec, (void *)block, (size_t)format->page_tokens);
    kvb_status status = kvb_decode(codec, &packed, (size_t)row, 1, KVB_DOMAIN_INPUT, decoded, (size_t)dim, NULL);
    assert(status == KVB_OK);
    (void)status;
    for (int i = 0; i < dim; i++) {
        out[i] = (double)decoded[i];
    }
}

/* The token's row of one side, 0 for keys; 0 when it lies nowhere. */
static int read_row(const kvb_kv_view *kv, int64_t token, int head, int side, double *out) {
    const kvb_layer_format *format = kv->format;
    int dim = side == 0 ? format->k_dim : format->v_dim;
    int64_t last_begin = kv->n_tokens - kv->exact_last;
    const void *exact = NULL;
    int64_t slot = 0;
    if (token < kv->exact_first) {
        exact = side == 0 ? kv->exact_first_k : kv->exact_first_v;
        slot = token;
    } else if (token >= last_begin) {
        exact = side == 0 ? kv->exact_last_k : kv->exact_last_v;
        slot = kv->exact_last_slots ? token % kv->exact_last_slots : token - last_begin;
    }
    if (exact) {
        for (int i = 0; i < dim; i++) {
            out[i] = half_value(format->dense, exact, (slot * format->n_kv_heads + head) * dim + i);
        }
        return 1;
    }
    const void *page =
        token < kv->first_page_token ? NULL : kv->pages[(token - kv->first_page_token) / format->page_tokens];
    if (page) {
        read_page(format, page, token % format->page_tokens, head, side, out);
        for (int i = 0; kv->k_mean && side == 0 && i < dim; i++) {
            out[i] += (double)kv->k_mean[head * dim + i];
        }
    }
    return page != NULL;
}

/* After the first exact tokens there may be nothing for long; the first one that may lie somewhere again. */
static int64_t resume_at(const kvb_kv_view *kv) {
    int64_t last_begin = kv->n_tokens - kv->exact_last;
    int64_t token = kv->first_page_token < last_begin ? kv->first_page_token : last_begin;
    return token > kv->exact_first ? token : kv->exact_first;
}

/* One KV head's tokens that lie somewhere: `positions` gets their numbers; a row is k_dim keys, then v_dim values. */
static int64_t read_head(const kvb_kv_view *kv, int head, double *rows, int64_t *positions) {
    int64_t n = 0;
    int k_dim = kv->format->k_dim, v_dim = kv->format->v_dim;
    for (int64_t token = 0; token < kv->n_tokens; token++) {
        token = token == kv->exact_first ? resume_at(kv) : token;
        double *k = rows + n * (k_dim + v_dim), *v = k + k_dim;
        if (token >= kv->n_tokens || !read_row(kv, token, head, 0, k)) {
            continue;
        }
        if (kv->format->v_prefix_of_k) {
            for (int i = 0; i < v_dim; i++) {
                v[i] = k[i];
            }
        } else {
            read_row(kv, token, head, 1, v);
        }
        positions[n++] = token;
    }
    return n;
}

/* ---- Attention ---- */

static double query_value(const kvb_attend_item *item, int query, int head, int i) {
    size_t at = (size_t)query * item->q_token_stride + (size_t)head * item->q_head_stride + (size_t)i;
    return item->q_dtype == KVB_F32 ? (double)((const float *)item->q)[at]
                                    : half_value(item->q_dtype, item->q, (int64_t)at);
}

static double logit(const kvb_attend_item *item, const double *q, const double *k) {
    double dot = 0.0;
    for (int i = 0; i < item->kv->format->k_dim; i++) {
        dot += q[i] * k[i];
    }
    dot *= (double)item->scale;
    return item->softcap != 0.0f ? (double)item->softcap * tanh(dot / (double)item->softcap) : dot;
}

static void attend_row(const kvb_attend_item *item, int query, int head, const double *rows, const int64_t *positions,
                       int64_t n, double *logits, double *out, double *lse) {
    const kvb_layer_format *format = item->kv->format;
    int64_t row_dim = format->k_dim + format->v_dim;
    double q[KVB_MAX_HEAD_DIM], sink = item->sinks ? (double)item->sinks[head] : (double)-INFINITY, max = sink;
    for (int i = 0; i < format->k_dim; i++) {
        q[i] = query_value(item, query, head, i);
    }
    for (int64_t t = 0; t < n; t++) {
        logits[t] = oracle_sees(item, query, positions[t]) ? logit(item, q, rows + t * row_dim) : (double)-INFINITY;
        max = fmax(max, logits[t]);
    }
    double sum = isinf(sink) ? 0.0 : exp(sink - max);
    for (int i = 0; i < format->v_dim; i++) {
        out[i] = 0.0;
    }
    for (int64_t t = 0; t < n; t++) {
        if (!isinf(logits[t])) {
            double weight = exp(logits[t] - max);
            sum += weight;
            for (int i = 0; i < format->v_dim; i++) {
                out[i] += weight * rows[t * row_dim + format->k_dim + i];
            }
        }
    }
    for (int i = 0; i < format->v_dim && sum > 0.0; i++) {
        out[i] /= sum;
    }
    *lse = sum > 0.0 ? max + log(sum) : (double)-INFINITY;
}

void oracle_attend(const kvb_attend_item *item, double *out, double *lse) {
    const kvb_kv_view *kv = item->kv;
    const kvb_layer_format *format = kv->format;
    int64_t most = kv->exact_first + kv->n_tokens - resume_at(kv) + 1;
    int group = item->n_heads / format->n_kv_heads;
    double *rows = malloc((size_t)most * (size_t)(format->k_dim + format->v_dim) * sizeof *rows);
    double *logits = malloc((size_t)most * sizeof *logits);
    int64_t *positions = malloc((size_t)most * sizeof *positions);
    assert(rows && logits && positions);
    for (int kv_head = 0; kv_head < format->n_kv_heads; kv_head++) {
        int64_t n = read_head(kv, kv_head, rows, positions);
        for (int query = 0; query < item->n_q; query++) {
            for (int head = kv_head * group; head < (kv_head + 1) * group; head++) {
                size_t at = (size_t)query * (size_t)item->n_heads + (size_t)head;
                attend_row(item, query, head, rows, positions, n, logits, out + at * (size_t)format->v_dim, lse + at);
            }
        }
    }
    free(rows);
    free(logits);
    free(positions);
}
