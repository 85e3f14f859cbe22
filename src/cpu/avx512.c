/* The steps of encoding and decoding in AVX-512: files of plain C compiled for it, and those that it does its own way.
 */
#if defined(__x86_64__)
#define KVB_ISA avx512
#include "cpu/avx2_attend.h"
#include "cpu/avx512_attend.h"
#include "cpu/avx512_encode.h"
#include "cpu/avx512_expand.h"
#include "cpu/avx512_load.h"
#include "cpu/avx512_pack.h"
#include "cpu/avx512_rotate.h"
#include "cpu/cpu_x86.h"
#include "cpu/load.c"
#include "cpu/quantize.c"
#include "cpu/scale.c"
#include "cpu/vec_quantize.h"
#include "cpu/vec_row_sums.h"

static float sum_squares(const float *row, int n) {
    vf sums = vf_all(0.0f);
    for (int i = 0; i < n; i += VEC_FLOATS) {
        vf x = load_at(row, n, i);
        sums = vf_add(sums, vf_mul(x, x));
    }
    return fold_lanes(sums);
}

static void quantize(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes) {
    if (kvb_avx512_vbmi_quantizes(tables) && kvb_x86_has_vbmi()) {
        kvb_avx512_vbmi_quantize(tables, row, factor, codes);
    } else {
        kvb_avx512_quantize(tables, row, factor, codes);
    }
}

static void project(const kvb_codec_tables *tables, const float *row, const uint8_t *codes, float *row_c, float *c_c) {
    if (tables->bits < 5) {
        project_codes(tables, row, codes, row_c, c_c, 4);
    } else if (tables->bits == 5) {
        project_codes(tables, row, codes, row_c, c_c, 5);
    } else if (kvb_avx512_vbmi_expands(tables) && kvb_x86_has_vbmi()) {
        kvb_avx512_vbmi_project(tables, row, codes, row_c, c_c);
    } else {
        kvb_avx512_project_by_lookup(tables, row, codes, row_c, c_c);
    }
}

static void expand(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out) {
    if (tables->bits < 5) {
        expand_codes(tables, codes, scale, out, 4);
    } else if (tables->bits == 5) {
        expand_codes(tables, codes, scale, out, 5);
    } else if (kvb_avx512_vbmi_expands(tables) && kvb_x86_has_vbmi()) {
        kvb_avx512_vbmi_expand(tables, codes, scale, out);
    } else {
        kvb_avx512_expand_by_lookup(tables, codes, scale, out);
    }
}

static void fix_queries(const kvb_codec_tables *keys, const float *q, int n_rows, int16_t *fixed, float *factors) {
    (n_rows >= KVB_AVX512_MANY ? kvb_avx512_fix_queries_many : kvb_avx2_fix_queries)(keys, q, n_rows, fixed, factors);
}

static void dot_packed(const kvb_packed_run *keys, const int16_t *q, const float *factors, int n_rows, void *scratch,
                       float *dots) {
    (n_rows >= KVB_AVX512_MANY ? kvb_avx512_dot_packed_many : kvb_avx2_dot_packed)(keys, q, factors, n_rows, scratch,
                                                                                   dots);
}

static void add_packed(const kvb_packed_run *values, int dim, const float *weights, int n_rows, void *scratch,
                       float *sums, size_t sums_stride) {
    (n_rows >= KVB_AVX512_MANY ? kvb_avx512_add_packed_many : kvb_avx2_add_packed)(values, dim, weights, n_rows,
                                                                                   scratch, sums, sums_stride);
}

static const kvb_cpu_ops ops = {
    .is_legal = kvb_avx512_is_legal,
    .load = load,
    .rotate = kvb_avx512_rotate,
    .rotate_from = kvb_avx512_rotate_from,
    .unrotate = kvb_avx512_unrotate,
    .sum_squares = sum_squares,
    .project = project,
    .quantize = quantize,
    .pack = kvb_avx512_pack,
    .unpack = kvb_avx512_unpack,
    .expand = expand,
    .dot_rows = kvb_avx512_dot_rows,
    .weigh = kvb_avx512_weigh,
    .weigh_many = kvb_avx512_weigh_many,
    .add_rows = kvb_avx512_add_rows,
    .fix_queries = fix_queries,
    .dot_packed = dot_packed,
    .add_packed = add_packed,
    .dot_each = kvb_avx512_dot_each,
    .add_each = kvb_avx512_add_each,
};

#include "cpu/backend_table.h"

const kvb_backend kvb_backend_avx512 = {.name = "avx512", .supported = kvb_x86_has_avx512, KVB_CPU_JOBS};
#endif
