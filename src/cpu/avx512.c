/* The steps of encoding and decoding in AVX-512: files of plain C compiled for it, and those that it does its own way.
 */
#if defined(__x86_64__)
#define KVB_ISA avx512
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
#include "cpu/trellis.c"
#include "cpu/trellis_avx2.h"
#include "cpu/vec_quantize.h"
#include "cpu/vec_row_sums.h"

static float sum_squares(const float *row, int n) {
    vf sums = vf_all(0.0f);
    for (int i = 0; i < n; i += VEC_FLOATS) {
        vf x = load_at(row, n, i);
        sums = vf_add(sums, vf_mul(x, x));
    }
    return vf_fold(&sums);
}

/* ---- Steps that take codes apart or choose them: with VBMI where it serves the codebook, and without ---- */

static void quantize_vbmi(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes) {
    if (kvb_avx512_vbmi_quantizes(tables)) {
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
    } else {
        kvb_avx512_project_by_lookup(tables, row, codes, row_c, c_c);
    }
}

static void project_vbmi(const kvb_codec_tables *tables, const float *row, const uint8_t *codes, float *row_c,
                         float *c_c) {
    if (tables->bits > 5 && kvb_avx512_vbmi_expands(tables)) {
        kvb_avx512_vbmi_project(tables, row, codes, row_c, c_c);
    } else {
        project(tables, row, codes, row_c, c_c);
    }
}

static void expand(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out) {
    if (tables->bits < 5) {
        expand_codes(tables, codes, scale, out, 4);
    } else if (tables->bits == 5) {
        expand_codes(tables, codes, scale, out, 5);
    } else {
        kvb_avx512_expand_by_lookup(tables, codes, scale, out);
    }
}

static void expand_vbmi(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out) {
    if (tables->bits > 5 && kvb_avx512_vbmi_expands(tables)) {
        kvb_avx512_vbmi_expand(tables, codes, scale, out);
    } else {
        expand(tables, codes, scale, out);
    }
}

/* What the two backends share. Rows of 8 bits are decoded into memory for precise sums. */
#define ROW_STEPS                                                                                                      \
    .is_legal = kvb_avx512_is_legal, .load = load, .rotate = kvb_avx512_rotate, .rotate_from = kvb_avx512_rotate_from, \
    .unrotate = kvb_avx512_unrotate, .sum_squares = sum_squares, .pack = kvb_avx512_pack,                              \
    .find_path = kvb_avx512_find_path, .pack_path = kvb_avx512_pack_path, .unpack = kvb_avx512_unpack,                 \
    .dot_rows = kvb_avx512_dot_rows, .weigh = kvb_avx512_weigh, .weigh_many = kvb_avx512_weigh_many,                   \
    .add_rows = kvb_avx512_add_rows, .dot_halves = kvb_avx512_dot_halves, .add_halves = kvb_avx512_add_halves,         \
    .packed_floats_bits = 7, .dot_packed_floats = kvb_avx512_dot_packed_floats,                                        \
    .add_packed_floats = kvb_avx512_add_packed_floats, .add_packed = kvb_avx512_add_packed_many,                       \
    .weave = kvb_avx512_weave, .dot_each = kvb_avx512_dot_each, .add_each = kvb_avx512_add_each
#define PACKED_STEPS(isa)                                                                                              \
    .fix_queries = kvb_##isa##_fix_queries, .dot_packed = kvb_##isa##_dot_packed,                                      \
    .add_ordered = kvb_##isa##_add_ordered, .finish_ordered = kvb_##isa##_finish_ordered

static const kvb_cpu_ops ops = {ROW_STEPS, PACKED_STEPS(avx512), .quantize = kvb_avx512_quantize, .project = project,
                                .expand = expand};
static const kvb_cpu_ops vbmi_ops = {ROW_STEPS, PACKED_STEPS(avx512vbmi), .quantize = quantize_vbmi,
                                     .project = project_vbmi, .expand = expand_vbmi};

#include "cpu/backend_table.h"
KVB_CPU_JOBS_BY(ops, avx512)
KVB_CPU_JOBS_BY(vbmi_ops, avx512vbmi)

static int has_vbmi(void) {
    return kvb_x86_has_avx512() && kvb_x86_has_vbmi();
}

const kvb_backend kvb_backend_avx512vbmi = {.name = "avx512vbmi", .supported = has_vbmi, KVB_CPU_JOBS(avx512vbmi)};
const kvb_backend kvb_backend_avx512 = {.name = "avx512", .supported = kvb_x86_has_avx512, KVB_CPU_JOBS(avx512)};
#endif
