/* The steps of encoding and decoding in AVX2: files of plain C compiled for it, and those that it does its own way. */
#if defined(__x86_64__)
#define KVB_ISA avx2
#include "cpu/avx2_attend.h"
#include "cpu/load.c"
#include "cpu/pack.c"
#include "cpu/quantize.c"
#include "cpu/scale.c"
#include "cpu/vec_avx2.h"
#include "cpu/vec_rotate.h"
#include "cpu/avx2_lookup.h"
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
    .unpack = kvb_avx2_unpack,
    .expand = kvb_avx2_expand,
    .dot_rows = kvb_avx2_dot_rows,
    .weigh = kvb_avx2_weigh,
    .add_rows = kvb_avx2_add_rows,
    .fix_queries = kvb_avx2_fix_queries,
    .dot_packed = kvb_avx2_dot_packed,
    .add_packed = kvb_avx2_add_packed,
};

#include "cpu/backend_table.h"

static int is_supported(void) {
    /* Asks the operating system too (XGETBV) whether it saves the registers. */
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

const kvb_backend kvb_backend_avx2 = {.name = "avx2", .supported = is_supported, KVB_CPU_JOBS};
#endif
