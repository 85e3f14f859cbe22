/* code = number of midpoints below row[i] * factor, found by descending a balanced tree of midpoints: level l holds 2^l
 * of them, few enough for registers up to 6 bits. Wider codes take the buckets of quantize.c. */
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

void KVB_STEP(quantize)(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes) {
    if (tables->head_dim % VEC_FLOATS != 0) {
        KVB_STEP(quantize_by_buckets)(tables, row, factor, codes);
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
