/* The constants of a codec, computed once at creation from a validated spec. */
#ifndef KVB_CODEC_TABLES_H
#define KVB_CODEC_TABLES_H

#include "jobs.h"

#define KVB_MIN_STRAIGHT_DIM 64 /* a row of bits is eight bytes and more */

/* Order m of the Hadamard matrix whose Kronecker product with a power of two gives head_dim, 0 when there is none. */
int kvb_hadamard_order(int head_dim);

/* Bits of the state of a trellis of so many states; 0 when there is none. */
int kvb_trellis_memory(int states);

/* `spec` has been checked. */
void kvb_codec_tables_fill(kvb_codec_tables *tables, const kvb_codec_spec *spec);

/* The same of half a bit, from its two parts, which are kept. */
void kvb_codec_tables_join(kvb_codec_tables *tables, const kvb_codec_spec *spec, const kvb_codec_tables *parts);

/* Centroids in fixed point, in units of 2^-12, as the library's codebooks are, or else of a part of the largest. */
void kvb_codec_tables_fix(kvb_codec_tables *tables);

/* codec_straight.c: `straight` becomes what the tables' own members `straight` and `bytes` then point to, where rows
 * are long enough for it. */
enum { KVB_STRAIGHT_TABLES = 2 };
void kvb_codec_tables_straighten(kvb_codec_tables *tables, kvb_codec_tables straight[KVB_STRAIGHT_TABLES]);

/* The codes that a row is made of: one, or with half a bit two, one after the other from coordinate 0 on. */
static inline int kvb_codec_parts(const kvb_codec_tables *tables, const kvb_codec_tables **parts) {
    *parts = tables->parts ? tables->parts : tables;
    return tables->parts ? 2 : 1;
}

/* The bucket of a scaled value: rises with the value, so that a lower bucket means a lower value. Every operation
 * rounds monotonically, and the clamps keep +-Inf inside. */
static inline int32_t kvb_bucket_of(const kvb_codec_tables *tables, float value) {
    float position = (value - tables->bucket_origin) * tables->buckets_per_unit;
    position = position > 0.0f ? position : 0.0f;
    position = position < tables->last_bucket ? position : tables->last_bucket;
    return (int32_t)position;
}

#endif
