/* The steps of encoding and decoding in AVX-512: files of plain C compiled for it, and those that it does its own way.
 */
#if defined(__x86_64__)
#define KVB_ISA avx512
#include "cpu/avx2_attend.h"
#include "cpu/avx512_attend.h"
#include "cpu/cpu_x86.h"
#include "cpu/load.c"
#include "cpu/pack.c"
#include "cpu/quantize.c"
#include "cpu/scale.c"
#include "cpu/vec_avx512.h"
#include "cpu/avx512_rotate.h"
#include "cpu/vec_quantize.h"

static const kvb_cpu_ops ops = {
    .is_legal = kvb_avx512_is_legal,
    .load = kvb_avx512_load,
    .rotate = kvb_avx512_rotate,
    .unrotate = kvb_avx512_unrotate,
    .sum_squares = kvb_avx512_sum_squares,
    .project = kvb_avx512_project_by_lookup,
    .quantize = kvb_avx512_quantize,
    .pack = kvb_avx512_pack,
    .unpack = kvb_avx512_unpack,
    .expand = kvb_avx512_expand_by_lookup,
    .dot_rows = kvb_avx512_dot_rows,
    .weigh = kvb_avx512_weigh,
    .add_rows = kvb_avx512_add_rows,
    .fix_queries = kvb_avx2_fix_queries,
    .dot_packed = kvb_avx2_dot_packed,
    .add_packed = kvb_avx2_add_packed,
};

#include "cpu/backend_table.h"

const kvb_backend kvb_backend_avx512 = {.name = "avx512", .supported = kvb_x86_has_avx512, KVB_CPU_JOBS};
#endif
