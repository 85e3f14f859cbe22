/* Centroids of codes as floats by lut_neon.h, where the codebook is exact in fixed point: the same bits as looking them
 * up one by one. Codes lie in buffers of KVB_MAX_HEAD_DIM, so that whole look-ups may read past a row. */
#include "cpu/lut_neon.h"
#include "cpu/ops.h"
#include "cpu/step.h"

_Static_assert(KVB_MAX_HEAD_DIM % LUT_CODES == 0, "the widest row is whole look-ups");

/* The centroids of 16 codes, over unit. */
static inline __attribute__((always_inline)) void look_up(const lut *l, int bits, const uint8_t *codes, vf c[4]) {
    int16x8_t first, second;
    lut_read(l, bits, vld1q_u8(codes), &first, &second);
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
        for (int j = 0; j < 4 && i + 4 * j < n; j++) {
            vf_store(out + i + 4 * j, vf_mul(vf_mul(c[j], unit), factor));
        }
    }
}

/* Folds the 16 lanes by halves. */
static inline float fold_lanes(const vf lanes[4]) {
    vf four = vf_add(vf_add(lanes[0], lanes[2]), vf_add(lanes[1], lanes[3]));
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

static inline __attribute__((always_inline)) void project(const kvb_codec_tables *tables, const float *row,
                                                          const uint8_t *codes, float *row_c, float *c_c, int bits) {
    lut l = lut_open(tables, bits);
    vf unit = vf_all(tables->fixed_unit), rows[4], squares[4];
    for (int j = 0; j < 4; j++) {
        rows[j] = squares[j] = vf_all(0.0f);
    }
    int n = tables->head_dim;
    for (int i = 0; i < n; i += LUT_CODES) {
        vf c[4];
        look_up(&l, bits, codes + i, c);
        for (int j = 0; j < 4 && i + 4 * j < n; j++) {
            vf centroid = vf_mul(c[j], unit);
            rows[j] = vf_add(rows[j], vf_mul(vf_load(row + i + 4 * j), centroid));
            squares[j] = vf_add(squares[j], vf_mul(centroid, centroid));
        }
    }
    *row_c = fold_lanes(rows);
    *c_c = fold_lanes(squares);
}

static void KVB_STEP(expand)(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out) {
    if (!tables->fixed_is_exact) {
        KVB_STEP(expand_by_lookup)(tables, codes, scale, out);
        return;
    }
#define EXPAND(bits) expand(tables, codes, scale, out, bits)
    LUT_EACH_WIDTH(EXPAND)
#undef EXPAND
}

static void KVB_STEP(project)(const kvb_codec_tables *tables, const float *row, const uint8_t *codes, float *row_c,
                              float *c_c) {
    if (!tables->fixed_is_exact) {
        KVB_STEP(project_by_lookup)(tables, row, codes, row_c, c_c);
        return;
    }
#define PROJECT(bits) project(tables, row, codes, row_c, c_c, bits)
    LUT_EACH_WIDTH(PROJECT)
#undef PROJECT
}
