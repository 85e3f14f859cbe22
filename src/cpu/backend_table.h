/* The jobs of a CPU backend by its table of steps `ops`: included by the one file of each instruction set. */
#include "cpu/ops.h"
#include "kernels.h"

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

static void rows_dot(const kvb_dot_job *job) {
    ops.dot_each(job);
}

static void rows_add(const kvb_add_job *job) {
    ops.add_each(job);
}

#define KVB_CPU_JOBS_BUT_ATTEND                                                                                        \
    .check = check, .encode = encode, .decode = decode, .rotate = rotate, .unpack = unpack,                            \
    .attend_scratch = kvb_cpu_attend_scratch, .rows_dot = rows_dot, .rows_add = rows_add
#define KVB_CPU_JOBS KVB_CPU_JOBS_BUT_ATTEND, .attend = attend
