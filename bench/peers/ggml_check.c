/* A figure of a peer that computes something else would be worth nothing: its result against plain attention in double
 * precision on the rows that it stores. */
#include <math.h>
#include <stdlib.h>

#include "ggml_peer.h"

/* Queries are rounded to eight bits by some types, and values summed in halves by others. */
static const double tolerance = 0.03;

static void load_row(const struct ggml_tensor *tensor, const kvb_ggml_strides *strides, int token, int head,
                     float *out) {
    const char *row = (const char *)tensor->data + (size_t)token * strides->token + (size_t)head * strides->head;
    ggml_get_type_traits(tensor->type)->to_float(row, out, tensor->ne[0]);
}

/* Adds the squares of error and of the exact output of one query and head. `values` has room for a row. */
static void compare(const struct ggml_tensor *result, const kvb_ggml_strides *strides, int query, int head,
                    float *values, double *exact, double *error, double *size) {
    const struct ggml_tensor *q = result->src[0], *k = result->src[1], *v = result->src[2], *mask = result->src[3];
    const int dim = (int)q->ne[0], kv_len = (int)k->ne[1], kv_head = head / (int)(q->ne[2] / k->ne[2]);
    const float *query_row =
        (const float *)((const char *)q->data + (size_t)query * q->nb[1] + (size_t)head * q->nb[2]);
    const float *out =
        (const float *)((const char *)result->data + (size_t)head * result->nb[1] + (size_t)query * result->nb[2]);
    double sum = 0.0;
    for (int i = 0; i < dim; i++)
        exact[i] = 0.0;
    for (int token = 0; token < kv_len; token++) {
        double logit = ggml_fp16_to_fp32(((const ggml_fp16_t *)mask->data)[query * kv_len + token]);
        load_row(k, strides, token, kv_head, values);
        double product = 0.0;
        for (int i = 0; i < dim; i++)
            product += (double)query_row[i] * values[i];
        logit += product / sqrt((double)dim);
        const double weight = exp(logit); /* a few units: no maximum needed */
        sum += weight;
        load_row(v, strides, token, kv_head, values);
        for (int i = 0; i < dim; i++)
            exact[i] += weight * values[i];
    }
    for (int i = 0; i < dim; i++) {
        const double wanted = exact[i] / sum;
        *error += (out[i] - wanted) * (out[i] - wanted);
        *size += wanted * wanted;
    }
}

kvb_status kvb_ggml_check_attention(const struct ggml_tensor *result, const kvb_ggml_strides *strides,
                                    kvb_error *error) {
    const struct ggml_tensor *q = result->src[0];
    float *values = malloc((size_t)q->ne[0] * sizeof *values);
    double *exact = malloc((size_t)q->ne[0] * sizeof *exact), off = 0.0, size = 0.0;
    for (int query = 0; values && exact && query < (int)q->ne[1]; query++)
        for (int head = 0; head < (int)q->ne[2]; head++)
            compare(result, strides, query, head, values, exact, &off, &size);
    free(values);
    free(exact);
    if (!values || !exact)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory to check a peer");
    if (!(size > 0.0 && sqrt(off / size) < tolerance))
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                             "ggml's attention on %s is off by %.3g of its size; legal: up to %g. Is this build's ggml "
                             "the one that its headers describe?",
                             ggml_type_name(result->src[1]->type), sqrt(off / size), tolerance);
    return KVB_OK;
}
