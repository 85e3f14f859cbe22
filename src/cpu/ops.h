/* What an instruction set provides for the CPU: the steps of one row. run.c strings them together, so that all CPU
 * backends share the order of work, and a port overrides steps one by one. */
#ifndef KVB_CPU_OPS_H
#define KVB_CPU_OPS_H

#include "attend_jobs.h"
#include "jobs.h"

#define KVB_TILE_TOKENS 32 /* keys and values read at a time; bits of kvb_visible_bits */

#define KVB_WEIGH_ROWS 16 /* rows whose dots become weights at once */

/* Values of a row in fixed point, padded to whole vectors; and the scratch of a step that reads packed rows: a tile of
 * such rows, and one of codes. */
#define KVB_FIXED_DIM(dim) (((size_t)(dim) + 63) / 64 * 64)
#define KVB_FIXED_SCRATCH(dim) (KVB_TILE_TOKENS * KVB_FIXED_DIM(dim) * (sizeof(int16_t) + 1))

#define KVB_FIXED_QUERY(dim) (KVB_FIXED_DIM(dim) + (size_t)(dim) / 4) /* a query in fixed point, with scales in it */
/* Room for a query in fixed point, and for sums in an instruction set's own order, of up to KVB_FEW_ROWS rows. */
#define KVB_ORDERED_DIM(dim) (((size_t)(dim) + 511) / 512 * 512)
#define KVB_FEW_ROWS 8

/* Of the KVB_ORDERED_DIM sums of a row, those that can differ from 0 come first: a sum for each code that whole vectors
 * of 64 bytes of the widest plane, the first, have room for. */
static inline size_t kvb_ordered_sums(const kvb_codec_tables *values) {
    size_t width = (size_t)values->plane_widths[0], bytes = (size_t)values->head_dim * width / 8;
    return (bytes + 63) / 64 * 512 / width;
}

/* Up to KVB_TILE_TOKENS packed rows, one after another in one block. */
typedef struct kvb_packed_run {
    const kvb_codec_tables *tables;
    kvb_packed packed; /* read only */
    size_t first_row;
    int n_rows;
    /* Rows that will be read after these, to fetch them into caches; may be NULL. */
    const uint8_t *next[KVB_MAX_PLANES];
    int next_width; /* bits of next[0], where they are not those of this run's plane: rows straightened; else 0 */
} kvb_packed_run;

/* Up to KVB_TILE_TOKENS rows as they came, of KVB_F16 or KVB_BF16. */
typedef struct kvb_half_run {
    const uint8_t *rows;
    size_t stride; /* in bytes */
    kvb_dtype dtype;
    int n_rows, dim;     /* the first dim values of each row */
    const uint8_t *next; /* as in kvb_packed_run */
} kvb_half_run;

typedef struct kvb_weft kvb_weft; /* weave.h */

typedef struct kvb_cpu_ops {
    /* 1 when all n values are finite with magnitude up to KVB_MAX_ABS. */
    int (*is_legal)(const void *values, kvb_dtype dtype, int n);
    void (*load)(const void *values, kvb_dtype dtype, int n, float *out);
    /* In place; signs, then Hadamard. */
    void (*rotate)(const kvb_codec_tables *tables, float *row);
    /* The same from one buffer into another; NULL: load, then rotate. */
    void (*rotate_from)(const kvb_codec_tables *tables, const float *from, float *row);
    void (*unrotate)(const kvb_codec_tables *tables, float *row);
    float (*sum_squares)(const float *row, int n);
    /* <row, c> and <c, c> where c are the codes' centroids. */
    void (*project)(const kvb_codec_tables *tables, const float *row, const uint8_t *codes, float *row_c, float *c_c);
    /* Codes of row[i] * factor. */
    void (*quantize)(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes);
    void (*pack)(const kvb_codec_tables *tables, const uint8_t *codes, uint8_t *const planes[KVB_MAX_PLANES]);
    /* Of a trellis code, from what quantize says of a value: the first of its four candidates. Those candidates become
     * the levels on the best path through the trellis, `path` its inputs, 0 or 1. */
    void (*find_path)(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes, uint8_t *path);
    void (*pack_path)(const kvb_codec_tables *tables, const uint8_t *codes, const uint8_t *path,
                      uint8_t *const planes[KVB_MAX_PLANES]);
    void (*unpack)(const kvb_codec_tables *tables, const uint8_t *const planes[KVB_MAX_PLANES], uint8_t *codes);
    /* centroid * scale for each code. */
    void (*expand)(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out);
    /* Attention on floats. dots[r * KVB_TILE_TOKENS + t] = <q row r, k row t>; the rows of both lie dim values apart.
     */
    void (*dot_rows)(const float *q, int n_rows, const float *k, int n_tokens, int dim, float *dots);
    /* In place: the KVB_TILE_TOKENS dots of a row become weights exp(logit - *max), those of tokens whose bit in
     * `visible` is 0 become 0, whatever they were. *max rises to the largest logit, *sum gets the weights added;
     * returns what everything summed before must be multiplied by, as *sum was. */
    float (*weigh)(float *dots, uint32_t visible, float scale, float softcap, float *max, float *sum);
    /* The same for KVB_WEIGH_ROWS rows, one factor each; *max need not rise by little. NULL: row by row. */
    void (*weigh_many)(float *dots, const uint32_t visible[KVB_WEIGH_ROWS], float scale, float softcap, float *max,
                       float *sum, float factors[KVB_WEIGH_ROWS]);
    /* sums row r += weights[r * KVB_TILE_TOKENS + t] * value t. Weights 0 times NaN may be NaN. */
    void (*add_rows)(const float *weights, int n_rows, const float *values, size_t stride, int n_tokens, int dim,
                     float *sums, size_t sums_stride);
    /* Both on rows of halves, for up to KVB_FEW_ROWS query rows; NULL where an instruction set has none. */
    void (*dot_halves)(const float *q, int n_rows, const kvb_half_run *keys, float *dots);
    void (*add_halves)(const float *weights, int n_rows, const kvb_half_run *values, float *sums, size_t sums_stride);
    /* Both on packed rows of up to packed_floats_bits, 0 where an instruction set has none, for up to KVB_FEW_ROWS
     * query rows and codebooks whose fixed_is_exact. A weight of 0 adds nothing, whatever the row's scale. */
    int packed_floats_bits;
    void (*dot_packed_floats)(const kvb_packed_run *keys, const float *q, int n_rows, void *scratch, float *dots);
    void (*add_packed_floats)(const kvb_packed_run *values, int dim, const float *weights, int n_rows, void *scratch,
                              float *sums, size_t sums_stride);
    /* Attention on packed rows in fixed point; all NULL where an instruction set has none. Queries as integers, padded
     * to KVB_FIXED_DIM(dim) each in an order of the instruction set's own, and what an integer is worth. */
    void (*fix_queries)(const kvb_codec_tables *keys, const float *q, int n_rows, int16_t *fixed, float *factors);
    void (*dot_packed)(const kvb_packed_run *keys, const int16_t *q, const float *factors, int n_rows, void *scratch,
                       float *dots);
    /* The first `dim` values of each row. A weight of 0 adds nothing, whatever the row's scale. */
    void (*add_packed)(const kvb_packed_run *values, int dim, const float *weights, int n_rows, void *scratch,
                       float *sums, size_t sums_stride);
    /* The same for up to KVB_FEW_ROWS rows, where an instruction set has it, into rows of KVB_ORDERED_DIM(head_dim)
     * sums in its own order; and from there onto sums in the order of coordinates. */
    void (*add_ordered)(const kvb_packed_run *values, const float *weights, int n_rows, void *scratch, float *ordered);
    void (*finish_ordered)(const kvb_codec_tables *values, int dim, const float *ordered, int n_rows, float *sums,
                           size_t sums_stride);
    /* Trellis rows as scalar ones: attend_trellis.c. 0 where it does not serve them, and NULL: the way of all sets. */
    int (*weave)(const kvb_weft *w);
    int weaves_bytes; /* a byte for each coordinate, where tables have such a code */
    /* Sums over rows of floats, bit-exact. */
    void (*dot_each)(const kvb_dot_job *job);
    void (*add_each)(const kvb_add_job *job);
} kvb_cpu_ops;

/* run.c: a whole job by the given steps. */
size_t kvb_cpu_check(const kvb_check_job *job, const kvb_cpu_ops *ops);
void kvb_cpu_encode(const kvb_encode_job *job, const kvb_cpu_ops *ops);
void kvb_cpu_decode(const kvb_decode_job *job, const kvb_cpu_ops *ops);
void kvb_cpu_round_trip(const kvb_round_trip_job *job, const kvb_cpu_ops *ops);
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
void kvb_scalar_project_by_lookup(const kvb_codec_tables *tables, const float *row, const uint8_t *codes, float *row_c,
                                  float *c_c);
void kvb_scalar_quantize_by_buckets(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes);
void kvb_scalar_pack(const kvb_codec_tables *tables, const uint8_t *codes, uint8_t *const planes[KVB_MAX_PLANES]);
void kvb_scalar_find_path_by_states(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes,
                                    uint8_t *path);
void kvb_scalar_pack_path(const kvb_codec_tables *tables, const uint8_t *codes, const uint8_t *path,
                          uint8_t *const planes[KVB_MAX_PLANES]);
void kvb_scalar_unpack(const kvb_codec_tables *tables, const uint8_t *const planes[KVB_MAX_PLANES], uint8_t *codes);
void kvb_scalar_expand_by_lookup(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out);
void kvb_scalar_dot_rows(const float *q, int n_rows, const float *k, int n_tokens, int dim, float *dots);
float kvb_scalar_weigh(float *dots, uint32_t visible, float scale, float softcap, float *max, float *sum);
void kvb_scalar_add_rows(const float *weights, int n_rows, const float *values, size_t stride, int n_tokens, int dim,
                         float *sums, size_t sums_stride);
/* The same, but a value of weight 0 is not read. */
void kvb_scalar_add_seen(const float *weights, int n_rows, const float *values, size_t stride, int n_tokens, int dim,
                         float *sums, size_t sums_stride);
void kvb_scalar_dot_each(const kvb_dot_job *job);
void kvb_scalar_add_each(const kvb_add_job *job);

#endif
