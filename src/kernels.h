/* The table that a backend fills: one function per kind of job, each over a whole batch, so that an entry is one tiled
 * loop on a CPU and one launch on a GPU. A new backend is one more table, and one more row in backend.c. */
#ifndef KVB_KERNELS_H
#define KVB_KERNELS_H

#include "attend_jobs.h"
#include "jobs.h"

struct kvb_backend {
    const char *name;
    /* 1 when this processor and its operating system can run the table; NULL: always. x86 tables ask CPUID for the
     * instructions and XGETBV for the register state that the system saves. */
    int (*supported)(void);
    size_t (*check)(const kvb_check_job *job); /* index of the first illegal row, n_rows when there is none */
    void (*encode)(const kvb_encode_job *job);
    void (*decode)(const kvb_decode_job *job);
    void (*round_trip)(const kvb_round_trip_job *job);
    void (*rotate)(const kvb_rotate_job *job);
    void (*unpack)(const kvb_unpack_job *job);
    size_t (*attend_scratch)(const kvb_attend_job *job); /* bytes, 0 when they overflow size_t; job->scratch is NULL */
    void (*attend)(const kvb_attend_job *job);
    void (*rows_dot)(const kvb_dot_job *job);
    void (*rows_add)(const kvb_add_job *job);
};

extern const kvb_backend kvb_backend_scalar;
#if defined(__x86_64__)
extern const kvb_backend kvb_backend_avx512vbmi;
extern const kvb_backend kvb_backend_avx512;
extern const kvb_backend kvb_backend_avx2;
#endif
#if defined(__aarch64__)
extern const kvb_backend kvb_backend_neon;
#endif

#endif
