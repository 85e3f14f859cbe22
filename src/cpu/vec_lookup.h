/* Centroids of codes as floats by an instruction set's lut_*.h, where the codebook is exact in fixed point: the same
 * bits as looking them up one by one. Codes lie in buffers of KVB_MAX_HEAD_DIM, so that whole look-ups may read past a
 * row. */
#include "cpu/ops.h"
#include "cpu/step.h"

_Static_assert(KVB_MAX_HEAD_DIM % LUT_CODES == 0, "the widest row is whole look-ups");
_Static_assert(LUT_CODES == 4 * VEC_FLOATS, "a look-up gives four vectors of floats");

enum { lane_vectors = KVB_SUM_LANES / VEC_FLOATS };

/* The centroids of LUT_CODES codes, in units. */
static inline __attribute__((always_inline)) void look_up(const lut *l, int bits, const uint8_t *codes, vf c[4]) {
    vwords first, second;
    lut_read(l, bits, vcodes_load(codes), &first, &second);
    lut_floats(first, second, c);
}

static inline __attribute__((always_inline)) void expand(const kvb_codec_tables *tables, const uint8_t *codes,
                                                         float scale, float *out, int bits) {
    lut l = lut_open(tables, bits);
    vf unit = vf_all(tables->fixed_unit), factor = vf_all(scale);
    int n = tables->head_dim;
    for (int i = 0; i < n; i += LUT_CODES) {
        vf c[4];
        look_up(&l, bits, codes + i, c);
        for (int j = 0; j < 4 && i + VEC_FLOATS * j < n; j++) {
            vf_store(out + i + VEC_FLOATS * j, vf_mul(vf_mul(c[j], unit), factor));
        }
    }
}

static inline __attribute__((always_inline)) void project(const kvb_codec_tables *tables, const float *row,
                                                          const uint8_t *codes, float *row_c, float *c_c, int bits) {
    lut l = lut_open(tables, bits);
    vf unit = vf_all(tables->fixed_unit), rows[lane_vectors], squares[lane_vectors];
    for (int j = 0; j < lane_vectors; j++) {
        rows[j] = squares[j] = vf_all(0.0f);
    }
    int n = tables->head_dim;
    for (int i = 0; i < n; i += LUT_CODES) {
        vf c[4];
        look_up(&l, bits, codes + i, c);
        for (int j = 0; j < 4 && i + VEC_FLOATS * j < n; j++) {
            vf centroid = vf_mul(c[j], unit), *of_row = &rows[j % lane_vectors], *of_c = &squares[j % lane_vectors];
            *of_row = vf_add(*of_row, vf_mul(vf_load(row + i + VEC_FLOATS * j), centroid));
            *of_c = vf_add(*of_c, vf_mul(centroid, centroid));
        }
    }
    *row_c = vf_fold(rows);
    *c_c = vf_fold(squares);
}

static int is_served(const kvb_codec_tables *tables) {
    return tables->fixed_is_exact && lut_is_possible(tables);
}

#ifdef VEC_HALF_TREES
static inline __attribute__((always_inline)) void expand_half(const kvb_codec_tables *tables, const uint8_t *codes,
                                                              float scale, float *out, int bits) {
    int half = 1 << (bits - 1);
    const float *upper = tables->centroids + half;
    vf factor = vf_all(scale);
    for (int i = 0; i < tables->head_dim; i += VEC_FLOATS) {
        vf sign;
        vi at = vi_fold(vi_load_bytes(codes + i), half, &sign);
        vf magnitude = half <= 8 ? vf_pick8(upper, at) : half <= 16 ? vf_pick16(upper, at) : vf_pick32(upper, at);
        vf_store(out + i, vf_mul(vf_xor(magnitude, sign), factor));
    }
}

/* Odd codebooks of up to 6 bits whose centroids are any floats. */
static inline int expand_by_half(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out) {
    if (!tables->is_odd || tables->bits > 6 || tables->head_dim % VEC_FLOATS != 0) {
        return 0;
    }
#define EXPAND_HALF(bits) expand_half(tables, codes, scale, out, bits)
    LUT_EACH_WIDTH(EXPAND_HALF)
#undef EXPAND_HALF
    return 1;
}
#else
static inline int expand_by_half(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out) {
    (void)tables, (void)codes, (void)scale, (void)out;
    return 0;
}
#endif

static void KVB_STEP(expand)(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out) {
    if (!is_served(tables)) {
        if (!expand_by_half(tables, codes, scale, out)) {
            KVB_STEP(expand_by_lookup)(tables, codes, scale, out);
        }
        return;
    }
#define EXPAND(bits) expand(tables, codes, scale, out, bits)
    LUT_EACH_WIDTH(EXPAND)
#undef EXPAND
}

static void KVB_STEP(project)(const kvb_codec_tables *tables, const float *row, const uint8_t *codes, float *row_c,
                              float *c_c) {
    if (!is_served(tables)) {
        KVB_STEP(project_by_lookup)(tables, row, codes, row_c, c_c);
        return;
    }
#define PROJECT(bits) project(tables, row, codes, row_c, c_c, bits)
    LUT_EACH_WIDTH(PROJECT)
#undef PROJECT
}
