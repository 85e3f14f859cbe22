/* Plain descriptions of work, handed to kernels by pointer. Whoever fills one has validated it: kernels do not. */
#ifndef KVB_JOBS_H
#define KVB_JOBS_H

#include "layout.h"

#define KVB_MAX_BUCKETS 4096
#define KVB_MAX_ALL_LEVELS (3 * KVB_MAX_LEVELS / 2) /* of both parts of a code of half a bit */

/* One of the equal intervals that guess a code. All values of a bucket have at least `code`, and one more when they are
 * above `midpoint`, the first at or above the bucket's lower end. */
typedef struct kvb_bucket {
    float midpoint;
    int32_t code;
} kvb_bucket;

/* Norms that KVB_SCALE_SEARCH tries: factors of 1 / norm (docs/format.md, section 2). */
#define KVB_SEARCH_FACTORS 9
#define KVB_EACH_SEARCH_FACTOR 1.0f, 0.96875f, 1.03125f, 0.9375f, 1.0625f, 0.90625f, 1.09375f, 0.875f, 1.125f
static const float kvb_search_factors[KVB_SEARCH_FACTORS] = {KVB_EACH_SEARCH_FACTOR};

/* Everything that kernels read of a codec: constants computed once at creation (codec_tables.c). */
typedef struct kvb_codec_tables {
    int head_dim;
    int bits; /* of a level's number: one more than the stored bits of a trellis code */
    int levels;
    int n_planes;
    int plane_widths[KVB_MAX_PLANES];
    int plane_bytes[KVB_MAX_PLANES]; /* of a row as it is stored */
    kvb_rotation rotation;
    kvb_scale_kind scale;
    kvb_dtype scale_dtype;

    /* Rotation: head_dim = hadamard_order * run. mix[0] is the order-m matrix, mix[1] its transpose: the entry of row
     * a, column j at a*m + j is j where the matrix holds +1 and m + j where it holds -1: an index into m rows followed
     * by their negations. The same for sixteen lanes at a time: bit l at v*m + j is set where row (16v + l) / run has
     * -1 in column j. */
    int hadamard_order;
    int run;
    float inverse_sqrt_dim;
    uint32_t sign_masks[KVB_MAX_HEAD_DIM]; /* 0x80000000 where the coordinate is negated */
    uint8_t mix[2][KVB_MAX_HADAMARD_ORDER * KVB_MAX_HADAMARD_ORDER];
    uint16_t mix_negative[2][KVB_MAX_HEAD_DIM / 16 * KVB_MAX_HADAMARD_ORDER];

    /* Scale. */
    float sqrt_dim;

    /* Of half a bit: the codes of the two halves of the coordinates; everything below is theirs, but the centroids of
     * both, one after the other. NULL of all other codes. */
    const struct kvb_codec_tables *parts;

    /* Trellis codes (docs/format.md, section 3); trellis_states 0: none. */
    int trellis_states;
    int trellis_memory; /* bits of the state */
    /* The scalar code of one bit more that attend_trellis.c makes of packed rows; NULL where it does not. */
    const struct kvb_codec_tables *straight;
    /* The same as a byte for each coordinate, of 4 stored bits and more; NULL where rows are not whole vectors. And of
     * such a code the stored bits, else 0. The byte has in bits 0 to 3, 7 and 6 the number of a level (4 bits: of any;
     * 5 and 6: of one of the lower half, which bit 5 negates), as codec_straight.c fills its centroids. */
    const struct kvb_codec_tables *bytes;
    int byte_bits;
    /* Of the branch out of a state with input 0; the input, and the state's highest bit, change it by 2. */
    uint8_t trellis_subsets[KVB_MAX_TRELLIS_STATES / 2];

    /* Quantization: midpoints[i] separates codes i and i+1; midpoints[levels-1] is +Inf, a sentinel. In a trellis code
     * midpoints[i] separates i as the first of four candidates from i+1; the last four are +Inf. A value falls into the
     * bucket of kvb_bucket_of (codec_tables.h); most_in_bucket midpoints lie in the fullest. */
    float centroids[KVB_MAX_ALL_LEVELS];
    int is_odd; /* centroids[levels-1-i] == -centroids[i]; the midpoint in the middle is then 0 */
    float midpoints[KVB_MAX_LEVELS];
    float bucket_origin;
    float buckets_per_unit;
    float last_bucket;
    int most_in_bucket;
    kvb_bucket buckets[KVB_MAX_BUCKETS];

    /* The same by look-ups of bytes, where every midpoint is a multiple of 1 / word_factor, a power of two; else
     * word_factor is 0. A value becomes the word ceil(value * word_factor), and is above a midpoint when its word is
     * above the midpoint's. A bucket holds the words with one high byte, or with one and the same bit 7 when word_parts
     * is 2, and one midpoint at most: word_codes is the code of its lower end, word_ends the low byte of its midpoint,
     * at bit7 * 256 + high byte. word_has_tails: not so for high bytes 0x7f and 0x80, where words saturate. */
    float word_factor;
    int word_parts;
    int word_has_tails;
    uint8_t word_codes[512];
    uint8_t word_ends[512];

    /* The midpoints as a balanced tree: node i has children 2i and 2i+1, the root is 1. */
    float tree[KVB_MAX_LEVELS];

    /* Centroids in fixed point: centroid = fixed * fixed_unit, exactly when fixed_is_exact, else to 2^-16 of the
     * largest. The same as low and high bytes, for look-ups of bytes; 0 behind the last level. */
    int16_t fixed[KVB_MAX_LEVELS];
    uint8_t fixed_bytes[2][KVB_MAX_LEVELS];
    float fixed_unit;
    float fixed_most; /* the largest magnitude */
    int fixed_is_exact;
    int fixed_is_odd; /* fixed[levels-1-i] == -fixed[i] */
} kvb_codec_tables;

/* Looks for the first row that holds NaN, Inf or a magnitude above KVB_MAX_ABS. */
typedef struct kvb_check_job {
    const void *rows;
    kvb_dtype dtype;
    int head_dim;
    size_t row_stride;
    size_t n_rows;
} kvb_check_job;

typedef struct kvb_encode_job {
    const kvb_codec_tables *tables;
    const void *rows;
    kvb_dtype dtype;
    size_t row_stride;
    size_t n_rows;
    kvb_packed packed;
    size_t first_row;
    kvb_encode_stats *stats; /* never NULL */
} kvb_encode_job;

/* Rows to what decoding gives of them, without packing: of `encode`, `packed` and `first_row` are not used. */
typedef struct kvb_round_trip_job {
    kvb_encode_job encode;
    float *out; /* row by row the input's own place, or apart from it */
    size_t out_stride;
} kvb_round_trip_job;

typedef struct kvb_decode_job {
    const kvb_codec_tables *tables;
    kvb_packed packed;
    size_t first_row;
    size_t n_rows;
    kvb_domain domain;
    float *out;
    size_t row_stride;
} kvb_decode_job;

typedef struct kvb_rotate_job {
    const kvb_codec_tables *tables;
    float *rows;
    size_t row_stride;
    size_t n_rows;
    int inverse;
} kvb_rotate_job;

/* The number of each coordinate's level in one packed row, a byte each, and its scale. */
typedef struct kvb_unpack_job {
    const kvb_codec_tables *tables;
    kvb_packed packed;
    size_t row;
    uint8_t *codes;
    float *scale;
} kvb_unpack_job;

/* dots[r] = <row r, query> */
typedef struct kvb_dot_job {
    const float *rows;
    size_t row_stride;
    size_t n_rows;
    int dim;
    const float *query;
    float *dots;
} kvb_dot_job;

/* sum += weights[r] * row r, for r in rising order; rows of weight 0 are not read. */
typedef struct kvb_add_job {
    const float *rows;
    size_t row_stride;
    size_t n_rows;
    int dim;
    const float *weights;
    float *sum;
} kvb_add_job;

#endif
