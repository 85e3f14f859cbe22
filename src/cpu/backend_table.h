/* The jobs of a CPU backend by a table of steps: included by the one file of each instruction set. */
#include "cpu/ops.h"
#include "kernels.h"

/* Defines the functions of one table, whose names end in `name`... */
#define KVB_CPU_JOBS_BY(ops, name)                                                                                     \
    static size_t check_##name(const kvb_check_job *job) {                                                             \
        return kvb_cpu_check(job, &(ops));                                                                             \
    }                                                                                                                  \
    static void encode_##name(const kvb_encode_job *job) {                                                             \
        kvb_cpu_encode(job, &(ops));                                                                                   \
    }                                                                                                                  \
    static void decode_##name(const kvb_decode_job *job) {                                                             \
        kvb_cpu_decode(job, &(ops));                                                                                   \
    }                                                                                                                  \
    static void round_trip_##name(const kvb_round_trip_job *job) {                                                     \
        kvb_cpu_round_trip(job, &(ops));                                                                               \
    }                                                                                                                  \
    static void rotate_##name(const kvb_rotate_job *job) {                                                             \
        kvb_cpu_rotate(job, &(ops));                                                                                   \
    }                                                                                                                  \
    static void unpack_##name(const kvb_unpack_job *job) {                                                             \
        kvb_cpu_unpack(job, &(ops));                                                                                   \
    }                                                                                                                  \
    static void attend_##name(const kvb_attend_job *job) {                                                             \
        kvb_cpu_attend(job, &(ops));                                                                                   \
    }                                                                                                                  \
    static void rows_dot_##name(const kvb_dot_job *job) {                                                              \
        (ops).dot_each(job);                                                                                           \
    }                                                                                                                  \
    static void rows_add_##name(const kvb_add_job *job) {                                                              \
        (ops).add_each(job);                                                                                           \
    }

/* ... and these are its entries. */
#define KVB_CPU_JOBS(name)                                                                                             \
    .check = check_##name, .encode = encode_##name, .decode = decode_##name, .round_trip = round_trip_##name,          \
    .rotate = rotate_##name, .unpack = unpack_##name, .attend_scratch = kvb_cpu_attend_scratch,                        \
    .attend = attend_##name, .rows_dot = rows_dot_##name, .rows_add = rows_add_##name
