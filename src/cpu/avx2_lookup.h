/* Centroids of codes as floats by lut_avx2.h, where the codebook is exact in fixed point: the same bits as looking them
 * up one by one. Codes lie in buffers of KVB_MAX_HEAD_DIM, so that whole look-ups may read past a row. */
#include "cpu/lut_avx2.h"
#include "cpu/ops.h"
#include "cpu/step.h"

_Static_assert(KVB_MAX_HEAD_DIM % LUT_CODES == 0, "the widest row is whole look-ups");

static inline __attribute__((always_inline)) void expand(const kvb_codec_tables *tables, const uint8_t *codes,
                                                         float scale, float *out, int bits) {
    lut l = lut_open(tables, bits);
    vf unit = vf_all(tables->fixed_unit), factor = vf_all(scale);
    int n = tables->head_dim;
    for (int i = 0; i < n; i += LUT_CODES) {
        __m256i first, second;
        vf c[4];
        lut_read(&l, bits, _mm256_loadu_si256((const __m256i *)(codes + i)), &first, &second);
        lut_floats(first, second, c);
        for (int j = 0; j < 4 && i + 8 * j < n; j++) {
            vf_store(out + i + 8 * j, vf_mul(vf_mul(c[j], unit), factor));
        }
    }
}

/* Folds the 16 lanes by halves. */
static inline float fold_lanes(vf low, vf high) {
    vf eight = vf_add(low, high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static inline __attribute__((always_inline)) void project(const kvb_codec_tables *tables, const float *row,
                                                          const uint8_t *codes, float *row_c, float *c_c, int bits) {
    lut l = lut_open(tables, bits);
    vf unit = vf_all(tables->fixed_unit);
    vf rows[2] = {vf_all(0.0f), vf_all(0.0f)}, squares[2] = {vf_all(0.0f), vf_all(0.0f)};
    int n = tables->head_dim;
    for (int i = 0; i < n; i += LUT_CODES) {
        __m256i first, second;
        vf c[4];
        lut_read(&l, bits, _mm256_loadu_si256((const __m256i *)(codes + i)), &first, &second);
        lut_floats(first, second, c);
        for (int j = 0; j < 4 && i + 8 * j < n; j++) {
            vf centroid = vf_mul(c[j], unit);
            rows[j % 2] = vf_add(rows[j % 2], vf_mul(vf_load(row + i + 8 * j), centroid));
            squares[j % 2] = vf_add(squares[j % 2], vf_mul(centroid, centroid));
        }
    }
    *row_c = fold_lanes(rows[0], rows[1]);
    *c_c = fold_lanes(squares[0], squares[1]);
}

static int is_served(const kvb_codec_tables *tables) {
    return tables->fixed_is_exact && lut_is_possible(tables);
}

static void KVB_STEP(expand)(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out) {
    if (!is_served(tables)) {
        KVB_STEP(expand_by_lookup)(tables, codes, scale, out);
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
