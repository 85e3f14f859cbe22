/* What an instruction set provides for the CPU: the steps of one row. run.c strings them together, so that all CPU
 * backends share the order of work, and a port overrides steps one by one. */
#ifndef KVB_CPU_OPS_H
#define KVB_CPU_OPS_H

#include "attend_jobs.h"
#include "jobs.h"

typedef struct kvb_cpu_ops {
    /* 1 when all n values are finite with magnitude up to KVB_MAX_ABS. */
    int (*is_legal)(const void *values, kvb_dtype dtype, int n);
    void (*load)(const void *values, kvb_dtype dtype, int n, float *out);
    /* In place; signs, then Hadamard. */
    void (*rotate)(const kvb_codec_tables *tables, float *row);
    void (*unrotate)(const kvb_codec_tables *tables, float *row);
    float (*sum_squares)(const float *row, int n);
    /* <row, c> and <c, c> where c are the codes' centroids. */
    void (*project)(const kvb_codec_tables *tables, const float *row, const uint8_t *codes, float *row_c, float *c_c);
    /* Codes of row[i] * factor. */
    void (*quantize)(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes);
    void (*pack)(const kvb_codec_tables *tables, const uint8_t *codes, uint8_t *const planes[KVB_MAX_PLANES]);
    void (*unpack)(const kvb_codec_tables *tables, const uint8_t *const planes[KVB_MAX_PLANES], uint8_t *codes);
    /* centroid * scale for each code. */
    void (*expand)(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out);
    /* Attention. dots[r * stride + t] = <q row r, k row t>; the rows of both lie dim values apart. */
    void (*dot_rows)(const float *q, int n_rows, const float *k, int n_tokens, int dim, float *dots, size_t stride);
    /* In place: dots to logits. softcap 0: none. */
    void (*soften)(float *logits, int n, float scale, float softcap);
    /* In place: logits to exp(logit - *max), -Inf to 0. *max rises to the largest logit, *sum gets the weights added;
     * returns what everything summed before must be multiplied by, as *sum was. */
    float (*weigh)(float *logits, int n, float *max, float *sum);
    /* sums += weights[t] * (values + t * stride); a value of weight 0 is not read, since it may be NaN. */
    void (*add_values)(const float *weights, int n, const float *values, size_t stride, int dim, float *sums);
} kvb_cpu_ops;

/* run.c: a whole job by the given steps. */
size_t kvb_cpu_check(const kvb_check_job *job, const kvb_cpu_ops *ops);
void kvb_cpu_encode(const kvb_encode_job *job, const kvb_cpu_ops *ops);
void kvb_cpu_decode(const kvb_decode_job *job, const kvb_cpu_ops *ops);
void kvb_cpu_rotate(const kvb_rotate_job *job, const kvb_cpu_ops *ops);
void kvb_cpu_unpack(const kvb_unpack_job *job, const kvb_cpu_ops *ops);
/* attend_run.c */
size_t kvb_cpu_attend_scratch(const kvb_attend_job *job);
void kvb_cpu_attend(const kvb_attend_job *job, const kvb_cpu_ops *ops);

/* The scalar steps, for tables that do not override them. */
int kvb_scalar_is_legal(const void *values, kvb_dtype dtype, int n);
void kvb_scalar_load(const void *values, kvb_dtype dtype, int n, float *out);
void kvb_scalar_rotate(const kvb_codec_tables *tables, float *row);
void kvb_scalar_unrotate(const kvb_codec_tables *tables, float *row);
float kvb_scalar_sum_squares(const float *row, int n);
void kvb_scalar_project(const kvb_codec_tables *tables, const float *row, const uint8_t *codes, float *row_c,
                        float *c_c);
void kvb_scalar_quantize(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes);
void kvb_scalar_pack(const kvb_codec_tables *tables, const uint8_t *codes, uint8_t *const planes[KVB_MAX_PLANES]);
void kvb_scalar_unpack(const kvb_codec_tables *tables, const uint8_t *const planes[KVB_MAX_PLANES], uint8_t *codes);
void kvb_scalar_expand(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out);
void kvb_scalar_dot_rows(const float *q, int n_rows, const float *k, int n_tokens, int dim, float *dots, size_t stride);
void kvb_scalar_soften(float *logits, int n, float scale, float softcap);
float kvb_scalar_weigh(float *logits, int n, float *max, float *sum);
void kvb_scalar_add_values(const float *weights, int n, const float *values, size_t stride, int dim, float *sums);

#endif
