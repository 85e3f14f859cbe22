/* The reference backend: plain C that a compiler vectorizes for the baseline of its target. */
#include "cpu/ops.h"
#include "kernels.h"

static const kvb_cpu_ops ops = {
    .is_legal = kvb_scalar_is_legal,
    .load = kvb_scalar_load,
    .rotate = kvb_scalar_rotate,
    .unrotate = kvb_scalar_unrotate,
    .sum_squares = kvb_scalar_sum_squares,
    .project = kvb_scalar_project,
    .quantize = kvb_scalar_quantize,
    .pack = kvb_scalar_pack,
    .unpack = kvb_scalar_unpack,
    .expand = kvb_scalar_expand,
    .dot_rows = kvb_scalar_dot_rows,
    .soften = kvb_scalar_soften,
    .weigh = kvb_scalar_weigh,
    .add_values = kvb_scalar_add_values,
};

static size_t check(const kvb_check_job *job) {
    return kvb_cpu_check(job, &ops);
}

static void encode(const kvb_encode_job *job) {
    kvb_cpu_encode(job, &ops);
}

static void decode(const kvb_decode_job *job) {
    kvb_cpu_decode(job, &ops);
}

static void rotate(const kvb_rotate_job *job) {
    kvb_cpu_rotate(job, &ops);
}

static void unpack(const kvb_unpack_job *job) {
    kvb_cpu_unpack(job, &ops);
}

static void attend(const kvb_attend_job *job) {
    kvb_cpu_attend(job, &ops);
}

const kvb_backend kvb_backend_scalar = {
    .name = "scalar",
    .supported = NULL,
    .check = check,
    .encode = encode,
    .decode = decode,
    .rotate = rotate,
    .unpack = unpack,
    .attend_scratch = kvb_cpu_attend_scratch,
    .attend = attend,
};
