/* A figure of a peer that computes something else would be worth nothing: its result against plain attention in double
 * precision on the rows that it stores. */
#include <math.h>
#include <stdlib.h>

#include "exact.h"
#include "ggml_peer.h"

/* Queries are rounded to eight bits by some types, and values summed in halves by others. */
static const double tolerance = 0.03;

static void load_rows(const struct ggml_tensor *tensor, const kvb_ggml_strides *strides, int head, float *out) {
    const char *rows = (const char *)tensor->data + (size_t)head * strides->head;
    for (int64_t token = 0; token < tensor->ne[1]; token++)
        ggml_get_type_traits(tensor->type)
            ->to_float(rows + (size_t)token * strides->token, out + token * tensor->ne[0], tensor->ne[0]);
}

/* Tokens that a query sees: the mask is 0 before the first of -Inf. */
static int count_seen(const struct ggml_tensor *mask, int query) {
    const ggml_fp16_t *row = (const ggml_fp16_t *)mask->data + query * mask->ne[0];
    int n = 0;
    while (n < (int)mask->ne[0] && ggml_fp16_to_fp32(row[n]) == 0.0f)
        n++;
    return n;
}

/* Adds the squares of error and of the exact output of the queries of one KV head; k and v are its rows. */
static void compare(const struct ggml_tensor *result, int kv_head, const float *k, const float *v, double *exact,
                    double *error, double *size) {
    const struct ggml_tensor *q = result->src[0];
    const int dim = (int)q->ne[0], group = (int)(q->ne[2] / result->src[1]->ne[2]);
    for (int head = kv_head * group; head < (kv_head + 1) * group; head++)
        for (int query = 0; query < (int)q->ne[1]; query++) {
            const size_t q_at = (size_t)query * q->nb[1] + (size_t)head * q->nb[2];
            const size_t out_at = (size_t)head * result->nb[1] + (size_t)query * result->nb[2];
            kvb_bench_attend_exactly((const float *)((const char *)q->data + q_at), k, v,
                                     count_seen(result->src[3], query), dim, exact);
            kvb_bench_add_squares((const float *)((const char *)result->data + out_at), exact, dim, error, size);
        }
}

kvb_status kvb_ggml_attention_error(const struct ggml_tensor *result, const kvb_ggml_strides *strides, double *relative,
                                    kvb_error *error) {
    const struct ggml_tensor *k = result->src[1], *v = result->src[2];
    const size_t n = (size_t)(k->ne[0] * k->ne[1]);
    float *keys = malloc(n * sizeof *keys), *values = malloc(n * sizeof *values);
    double *exact = malloc((size_t)k->ne[0] * sizeof *exact), off = 0.0, size = 0.0;
    for (int head = 0; keys && values && exact && head < (int)k->ne[2]; head++) {
        load_rows(k, strides, head, keys);
        load_rows(v, strides, head, values);
        compare(result, head, keys, values, exact, &off, &size);
    }
    const int is_done = keys && values && exact;
    free(keys);
    free(values);
    free(exact);
    *relative = sqrt(off / size);
    return is_done ? KVB_OK : kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory to check a peer");
}

kvb_status kvb_ggml_check_attention(const struct ggml_tensor *result, const kvb_ggml_strides *strides,
                                    kvb_error *error) {
    double relative;
    kvb_status status = kvb_ggml_attention_error(result, strides, &relative, error);
    if (status == KVB_OK && !(relative < tolerance))
        return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                             "ggml's attention on %s is off by %.3g of its size; legal: up to %g. Is this build's ggml "
                             "the one that its headers describe?",
                             ggml_type_name(result->src[1]->type), relative, tolerance);
    return status;
}
