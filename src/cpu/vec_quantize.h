/* code = number of midpoints below row[i] * factor, found by descending a balanced tree of midpoints: level l holds 2^l
 * of them, few enough for registers up to 6 bits. Wider codes take the buckets of quantize.c. An odd codebook
 * needs half of the tree, where an instruction set has the verbs. */
#include "cpu/each_width.h"
#include "cpu/ops.h"
#include "cpu/step.h"

static inline __attribute__((always_inline)) void descend(const kvb_codec_tables *tables, const float *row,
                                                          float factor, uint8_t *codes, int bits) {
    const float *tree = tables->tree;
    vf factors = vf_all(factor);
    for (int i = 0; i < tables->head_dim; i += VEC_FLOATS) {
        vf x = vf_mul(vf_load(row + i), factors);
        vi at = vi_descend(vi_zero(), x, vf_all(tree[1]));
        at = bits > 1 ? vi_descend(at, x, vf_pick8(tree + 2, at)) : at;
        at = bits > 2 ? vi_descend(at, x, vf_pick8(tree + 4, at)) : at;
        at = bits > 3 ? vi_descend(at, x, vf_pick8(tree + 8, at)) : at;
        at = bits > 4 ? vi_descend(at, x, vf_pick16(tree + 16, at)) : at;
        at = bits > 5 ? vi_descend(at, x, vf_pick32(tree + 32, at)) : at;
        vi_store_bytes(codes + i, at);
    }
}

#ifdef VEC_HALF_TREES
/* The upper half of level l of the tree begins at 2^l + 2^(l-1). */
static inline __attribute__((always_inline)) vi half_code(const float *tree, vf x, int bits) {
    vi lower, key = vf_fold_key(x, &lower), at = vi_zero();
    at = bits > 1 ? vi_descend_key(at, key, vf_all(tree[3])) : at;
    at = bits > 2 ? vi_descend_key(at, key, vf_pick8(tree + 6, at)) : at;
    at = bits > 3 ? vi_descend_key(at, key, vf_pick8(tree + 12, at)) : at;
    at = bits > 4 ? vi_descend_key(at, key, vf_pick8(tree + 24, at)) : at;
    at = bits > 5 ? vi_descend_key(at, key, vf_pick16(tree + 48, at)) : at;
    return vi_unfold(at, lower, 1 << (bits - 1));
}

static inline __attribute__((always_inline)) void descend_half(const kvb_codec_tables *tables, const float *row,
                                                               float factor, uint8_t *codes, int bits) {
    enum { four = 4 * VEC_FLOATS };
    vf factors = vf_all(factor);
    int i = 0, n = tables->head_dim;
    for (; i + four <= n; i += four) {
        vi found[4];
        for (int j = 0; j < 4; j++) {
            found[j] = half_code(tables->tree, vf_mul(vf_load(row + i + j * VEC_FLOATS), factors), bits);
        }
        vi_store_four(codes + i, found);
    }
    for (; i < n; i += VEC_FLOATS) {
        vi_store_bytes(codes + i, half_code(tables->tree, vf_mul(vf_load(row + i), factors), bits));
    }
}

static inline int quantize_half(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes) {
    if (!tables->is_odd || tables->bits > 6 || tables->trellis_states) { /* of those no midpoint need be 0 */
        return 0;
    }
#define DESCEND_HALF(bits) descend_half(tables, row, factor, codes, bits)
    LUT_EACH_WIDTH(DESCEND_HALF)
#undef DESCEND_HALF
    return 1;
}
#else
static inline int quantize_half(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes) {
    (void)tables, (void)row, (void)factor, (void)codes;
    return 0;
}
#endif

void KVB_STEP(quantize)(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes) {
    if (tables->head_dim % VEC_FLOATS != 0) {
        KVB_STEP(quantize_by_buckets)(tables, row, factor, codes);
        return;
    }
    if (quantize_half(tables, row, factor, codes)) {
        return;
    }
    switch (tables->bits) {
    case 1:
        descend(tables, row, factor, codes, 1);
        break;
    case 2:
        descend(tables, row, factor, codes, 2);
        break;
    case 3:
        descend(tables, row, factor, codes, 3);
        break;
    case 4:
        descend(tables, row, factor, codes, 4);
        break;
    case 5:
        descend(tables, row, factor, codes, 5);
        break;
    case 6:
        descend(tables, row, factor, codes, 6);
        break;
    default:
        KVB_STEP(quantize_by_buckets)(tables, row, factor, codes);
    }
}
