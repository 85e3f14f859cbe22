/* The reference backend: plain C that a compiler vectorizes for the baseline of its target. */
#include "cpu/ops.h"
#include "kernels.h"

static const kvb_cpu_ops ops = {
    .is_legal = kvb_scalar_is_legal,
    .load = kvb_scalar_load,
    .rotate = kvb_scalar_rotate,
    .unrotate = kvb_scalar_unrotate,
    .sum_squares = kvb_scalar_sum_squares,
    .project = kvb_scalar_project_by_lookup,
    .quantize = kvb_scalar_quantize_by_buckets,
    .pack = kvb_scalar_pack,
    .find_path = kvb_scalar_find_path_by_states,
    .pack_path = kvb_scalar_pack_path,
    .unpack = kvb_scalar_unpack,
    .expand = kvb_scalar_expand_by_lookup,
    .dot_rows = kvb_scalar_dot_rows,
    .weigh = kvb_scalar_weigh,
    .add_rows = kvb_scalar_add_rows,
    .dot_each = kvb_scalar_dot_each,
    .add_each = kvb_scalar_add_each,
};

#include "cpu/backend_table.h"
KVB_CPU_JOBS_BY(ops, scalar)

const kvb_backend kvb_backend_scalar = {.name = "scalar", .supported = NULL, KVB_CPU_JOBS(scalar)};
