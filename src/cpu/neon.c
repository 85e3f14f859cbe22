/* The steps of encoding and decoding in Advanced SIMD, which every AArch64 processor has. Files of plain C would come
 * out as the scalar steps do, which are compiled for it already. */
#if defined(__aarch64__)
#define KVB_ISA neon
#include "cpu/neon_attend.h"
#include "cpu/quantize.c"
#include "cpu/scale.c"
#include "cpu/vec_neon.h"
#include "cpu/vec_rotate.h"
#include "cpu/lut_neon.h"
#include "cpu/vec_lookup.h"
#include "cpu/vec_quantize.h"

static const kvb_cpu_ops ops = {
    .is_legal = kvb_scalar_is_legal,
    .load = kvb_scalar_load,
    .rotate = kvb_neon_rotate,
    .unrotate = kvb_neon_unrotate,
    .sum_squares = kvb_neon_sum_squares,
    .project = kvb_neon_project,
    .quantize = kvb_neon_quantize,
    .pack = kvb_scalar_pack,
    .find_path = kvb_scalar_find_path_by_states,
    .pack_path = kvb_scalar_pack_path,
    .unpack = kvb_scalar_unpack,
    .expand = kvb_neon_expand,
    .dot_rows = kvb_neon_dot_rows,
    .weigh = kvb_neon_weigh,
    .add_rows = kvb_neon_add_rows,
    .packed_floats_bits = 8,
    .dot_packed_floats = kvb_neon_dot_packed_floats,
    .add_packed_floats = kvb_neon_add_packed_floats,
    .fix_queries = kvb_neon_fix_queries,
    .dot_packed = kvb_neon_dot_packed,
    .add_packed = kvb_neon_add_packed,
    .dot_each = kvb_scalar_dot_each,
    .add_each = kvb_scalar_add_each,
};

#include "cpu/backend_table.h"
KVB_CPU_JOBS_BY(ops, neon)

const kvb_backend kvb_backend_neon = {.name = "neon", .supported = NULL, KVB_CPU_JOBS(neon)};
#endif
