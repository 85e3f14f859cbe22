/* The steps of encoding and decoding in AVX2: files of plain C compiled for it, and those that it does its own way. */
#if defined(__x86_64__)
#define KVB_ISA avx2
#include "cpu/avx2_attend.h"
#include "cpu/cpu_x86.h"
#include "cpu/load.c"
#include "cpu/pack.c"
#include "cpu/quantize.c"
#include "cpu/scale.c"
#include "cpu/trellis.c"
#include "cpu/trellis_avx2.h"
#include "cpu/vec_avx2.h"
#include "cpu/vec_rotate.h"
#include "cpu/vec_row_sums.h"
#include "cpu/lut_avx2.h"
#include "cpu/vec_lookup.h"
#include "cpu/vec_quantize.h"

static const kvb_cpu_ops ops = {
    .is_legal = kvb_avx2_is_legal,
    .load = kvb_avx2_load,
    .rotate = kvb_avx2_rotate,
    .unrotate = kvb_avx2_unrotate,
    .sum_squares = kvb_avx2_sum_squares,
    .project = kvb_avx2_project,
    .quantize = kvb_avx2_quantize,
    .pack = kvb_avx2_pack,
    .find_path = kvb_avx2_find_path,
    .pack_path = kvb_avx2_pack_path,
    .unpack = kvb_avx2_unpack,
    .expand = kvb_avx2_expand,
    .dot_rows = kvb_avx2_dot_rows,
    .weigh = kvb_avx2_weigh,
    .add_rows = kvb_avx2_add_rows,
    .dot_halves = kvb_avx2_dot_halves,
    .add_halves = kvb_avx2_add_halves,
    .packed_floats_bits = 8,
    .dot_packed_floats = kvb_avx2_dot_packed_floats,
    .add_packed_floats = kvb_avx2_add_packed_floats,
    .fix_queries = kvb_avx2_fix_queries,
    .dot_packed = kvb_avx2_dot_packed,
    .add_packed = kvb_avx2_add_packed,
    .weave = kvb_avx2_weave,
    .weaves_bytes = 1,
    .dot_each = kvb_avx2_dot_each,
    .add_each = kvb_avx2_add_each,
};

#include "cpu/backend_table.h"
KVB_CPU_JOBS_BY(ops, avx2)

const kvb_backend kvb_backend_avx2 = {.name = "avx2", .supported = kvb_x86_has_avx2, KVB_CPU_JOBS(avx2)};
#endif
