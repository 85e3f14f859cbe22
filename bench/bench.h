/* The measuring behind `kvbits bench`: what is measured, how the figures come back, and what becomes of them.
 * docs/benchmarking.md says how floors are computed and what makes a comparison fair. */
#ifndef KVBITS_BENCH_BENCH_H
#define KVBITS_BENCH_BENCH_H

#include "kvbits/eval.h"

enum { KVB_BENCH_LIST = 32, KVB_BENCH_DENSE = KVB_DENSE_BITS };

/* What can be measured; a set of these bits. */
typedef enum kvb_bench_work {
    KVB_BENCH_CEILINGS = 1, /* always measured: every floor needs them; alone when nothing else is asked for */
    KVB_BENCH_FWHT = 2,
    KVB_BENCH_ENCODE = 4,
    KVB_BENCH_DECODE = 8,
    KVB_BENCH_ATTEND = 16,
    KVB_BENCH_PREFILL = 32,
    KVB_BENCH_APPEND = 64,
    KVB_BENCH_ALL = 127
} kvb_bench_work;

/* A model's attention layer: query heads on KV heads of head_dim values. */
typedef struct kvb_bench_shape {
    char name;
    int n_heads, n_kv_heads, head_dim;
} kvb_bench_shape;

/* The i-th shape by name (A, B, C, D), NULL past the last. */
const kvb_bench_shape *kvb_bench_shape_at(int i);

/* Widths of keys and values: 1-8, or half a bit more up to 7.5; or KVB_BENCH_DENSE, half precision. */
typedef struct kvb_bench_pair {
    double k_bits, v_bits;
} kvb_bench_pair;

typedef struct kvb_bench_goals kvb_bench_goals;

typedef struct kvb_bench_gpu {
    char backend[16]; /* "cuda:0" */
    char name[128], driver[64], runtime[16];
    int major, minor, multiprocessors;  /* compute capability */
    double memory;                      /* bytes */
    const char *compiler, *build_flags; /* of its code */
} kvb_bench_gpu;

/* 1 where kvbits was built with CUDA. */
int kvb_bench_has_cuda(void);
/* cuda:`index`. KVB_ERROR_UNSUPPORTED: this build has no CUDA, or the machine no GPU; KVB_ERROR_ARGUMENT past the last
 * one. */
KVB_CHECKED kvb_status kvb_bench_gpu_read(int index, kvb_bench_gpu *out, kvb_error *error);

typedef struct kvb_bench_config {
    int gpu; /* -1: processors are measured; N: cuda:N, and what is said of backends, threads, caches, peers and goals
              * does not count */
    int batches[KVB_BENCH_LIST], n_batches;      /* sequences at once, with each of kv_lens; of GPUs. n_batches 0: 16 of
                                                  * 32768, and one of 131072 and 32768 of shape B */
    unsigned work;                               /* of kvb_bench_work */
    const kvb_backend *backends[KVB_BENCH_LIST]; /* the first one is the default of goals */
    int n_backends;
    kvb_bench_shape shapes[KVB_BENCH_LIST];
    int n_shapes;
    int kv_lens[KVB_BENCH_LIST], n_kv_lens;
    kvb_bench_pair pairs[KVB_BENCH_LIST];
    int n_pairs;        /* of GPUs, 0: every pair that has a tuned kernel */
    int trellis_states; /* 0: scalar codes; else trellis codes where the bits are 2-6, named "4t16" */
    kvb_precision precisions[2];
    int n_precisions;
    kvb_parallel parallels[KVB_BENCH_LIST]; /* one for each number of threads */
    int n_parallels;
    int cold, warm;
    size_t memory;  /* bytes read between two uses of the same page, at least, in cold rows */
    double seconds; /* of measuring, per row */
    int rounds;
    int prefill_queries, prefill_tokens;
    int peers;                         /* 0: leave them out */
    const kvb_bench_goals *only_goals; /* measure what these need and no more; NULL: everything */
} kvb_bench_config;

kvb_bench_config kvb_bench_config_default(void);

/* A row's figures. Times are ns per unit of work; where `rate` is set people read 1/time: GB/s or GFLOP/s. */
typedef struct kvb_bench_row {
    const char *work;        /* read copy fma rotate encode encode-unchecked decode decode-rotated append attend
                              * prefill; of GPUs mma and plan too */
    const char *by;          /* "kvbits" or the peer's name */
    char shape;              /* 0: none */
    int head_dim, kv_len;    /* 0: none; kv_len of append: tokens of a call */
    char k[8], v[8];         /* "4", "16", "q8_0"; "" where there is none */
    const char *layout;      /* of the cache: "pages", "head-major", "token-major" */
    const char *mask;        /* of prefill: "causal", "all" */
    const char *backend;     /* of kvbits' rows */
    const char *precision;   /* "fast", "precise" */
    const char *temperature; /* "cold", "warm"; of read and copy "L1", "L2", "L3", "DRAM" */
    int threads;             /* 0 on a GPU */
    int batch;               /* sequences at once; 0: of no GPU */
    const char *kernel;      /* on a GPU: "tuned" or "general" */
    const char *variant;     /* "scattered", "tail", "window", "mixed"; NULL: pages in order, lengths alike */
    const char *unit;        /* what ns counts, or GB/s, GFLOP/s */
    int rate;

    double median, low_quartile, high_quartile, least, most; /* of ns per unit */
    int samples;
    double cpu_share;    /* of the time that its threads could have had: below 1 where they slept or others ran */
    size_t calls;        /* per sample */
    double reuse;        /* bytes read between two uses of the same page, at least; 0 where nothing is cold */
    double bytes, slots; /* per unit: bytes moved, and f32 operations, a multiply-add being one */
    int level, copies;   /* where the bytes come from, and whether they are written back */
    double floor;        /* ns per unit: the larger of the two below; 0 for ceilings */
    double floor_bytes, floor_slots;
} kvb_bench_row;

typedef struct kvb_bench_machine {
    char processor[128], compiler[64], system[128];
    const char *build_flags, *commit; /* what the compiler was given; "unknown" where there was no checkout */
    char *flags;                      /* instruction sets, NULL when unknown */
    int family, model, stepping;
    int processors; /* that this process may use */
    size_t caches[3];
    double memory, available; /* bytes in all, and without swapping others out */
    double load;              /* before the run */
    const char *loops;        /* instruction set of the ceilings' loops */
} kvb_bench_machine;

typedef struct kvb_bench_result {
    kvb_bench_machine machine;
    kvb_bench_gpu gpu; /* backend "": processors were measured */
    kvb_bench_row *rows;
    size_t n_rows;
    double memory;             /* of the config */
    int prefill_queries;       /* the same; 0 where no prefill was measured */
    const char *backend;       /* the default one of goals */
    double others;             /* share of the processors that other processes took, as the multiply-adds felt it */
    const char *peers_missing; /* why the table lacks the peers, NULL when it has them */
    char peers[128];
    double seconds;
} kvb_bench_result;

/* Measures everything in one run, each sample of a row between those of all others. */
KVB_CHECKED kvb_status kvb_bench_run(const kvb_bench_config *config, const kvb_progress *progress,
                                     kvb_bench_result **out, kvb_error *error);
void kvb_bench_result_free(kvb_bench_result *result); /* NULL is legal */

/* The table for people, JSON lines (the machine first, then a line per row), and a chart (SVG, by gnuplot). Texts are
 * released with free. */
KVB_CHECKED kvb_status kvb_bench_table(const kvb_bench_result *result, char **text, kvb_error *error);
KVB_CHECKED kvb_status kvb_bench_json(const kvb_bench_result *result, char **text, kvb_error *error);
/* Cold decode attention on one thread: time against stored bits, a panel for each shape. KVB_ERROR_ARGUMENT when no
 * such row was measured. */
KVB_CHECKED kvb_status kvb_bench_chart(const kvb_bench_result *result, char **svg, kvb_error *error);

/* Goals from a JSON file: docs/benchmarking.md. */
KVB_CHECKED kvb_status kvb_bench_goals_read(const char *path, kvb_bench_goals **out, kvb_error *error);
void kvb_bench_goals_free(kvb_bench_goals *goals); /* NULL is legal */
/* Adds to what is measured the backends that goals name and this processor has, and the precisions that they name. */
void kvb_bench_goals_add_backends(const kvb_bench_goals *goals, kvb_bench_config *config);
void kvb_bench_goals_add_precisions(const kvb_bench_goals *goals, kvb_bench_config *config);
/* Does any goal need this row? */
int kvb_bench_goals_want(const kvb_bench_goals *goals, const kvb_bench_row *row, const char *backend);

typedef struct kvb_bench_verdict {
    int met, missed, not_measured;
} kvb_bench_verdict;

/* A line for each goal; KVB_ERROR_FORMAT for one that means several rows, or another unit. */
KVB_CHECKED kvb_status kvb_bench_goals_check(const kvb_bench_goals *goals, const kvb_bench_result *result, char **text,
                                             kvb_bench_verdict *verdict, kvb_error *error);

#endif
