/* The rotation in vectors: the same sums as rotate.c, in another order of memory. Butterflies within a vector and two
 * or fewer stages across come first, the other stages three at a time; signs and the last factor ride along. */
#include "cpu/mix.h"
#include "cpu/ops.h"
#include "cpu/step.h"

#include <stddef.h>

/* Stages over 2^stages vectors. */
static inline void cross(vf *x, int stages) {
    int n = 1 << stages;
    for (int h = 1; h < n; h *= 2) {
        for (int i = 0; i < n; i++) {
            if (!(i & h)) {
                vf sum = vf_add(x[i], x[i + h]);
                x[i + h] = vf_sub(x[i], x[i + h]);
                x[i] = sum;
            }
        }
    }
}

typedef struct ends {
    const uint32_t *signs_before, *signs_after; /* NULL: none */
    float factor;
} ends;

/* Distances h, 2h, ... ; h = 1 stands for those within a vector, `run` of them at most. `last`: factor and signs. */
static inline __attribute__((always_inline)) void pass(float *row, int n, int run, int h, int stages, const ends *e,
                                                       int last) {
    int count = 1 << stages, step = h == 1 ? VEC_FLOATS : h;
    vf factor = vf_all(e->factor), x[8];
    for (int start = 0; start < n; start += step * count) {
        for (int at = start; at < start + step; at += VEC_FLOATS) {
            for (int i = 0; i < count; i++) {
                x[i] = vf_load(row + at + i * step);
                if (h == 1 && e->signs_before) {
                    x[i] = vf_flip(x[i], e->signs_before + at + i * step);
                }
                x[i] = h == 1 ? vf_butterflies(x[i], run) : x[i];
            }
            cross(x, stages);
            for (int i = 0; i < count; i++) {
                x[i] = last ? vf_mul(x[i], factor) : x[i];
                if (last && e->signs_after) {
                    x[i] = vf_flip(x[i], e->signs_after + at + i * step);
                }
                vf_store(row + at + i * step, x[i]);
            }
        }
    }
}

static inline void pass_of(float *row, int n, int run, int h, int stages, const ends *e, int last) {
    switch (stages * 2 + last) {
    case 0:
        pass(row, n, run, h, 0, e, 0);
        break;
    case 1:
        pass(row, n, run, h, 0, e, 1);
        break;
    case 2:
        pass(row, n, run, h, 1, e, 0);
        break;
    case 3:
        pass(row, n, run, h, 1, e, 1);
        break;
    case 4:
        pass(row, n, run, h, 2, e, 0);
        break;
    case 5:
        pass(row, n, run, h, 2, e, 1);
        break;
    case 6:
        pass(row, n, run, h, 3, e, 0);
        break;
    default:
        pass(row, n, run, h, 3, e, 1);
    }
}

/* Walsh-Hadamard of length `run` over each run of the row. */
static void walsh_hadamard(float *row, int n, int run, const ends *e, int finish) {
    int stages = 0; /* across vectors */
    while (VEC_FLOATS << stages < run) {
        stages++;
    }
    int first = stages < 2 ? stages : 2, h = VEC_FLOATS << first;
    stages -= first;
    pass_of(row, n, run, 1, first, e, finish && stages == 0);
    while (stages > 0) {
        int some = stages < 4 ? stages < 3 ? stages : 3 : 2;
        stages -= some;
        pass_of(row, n, run, h, some, e, finish && stages == 0);
        h <<= some;
    }
}

static void transform(const kvb_codec_tables *tables, const uint8_t *mix, float *row, const ends *e) {
    int n = tables->head_dim, m = tables->hadamard_order;
    walsh_hadamard(row, n, tables->run, e, m == 1);
    if (m > 1) {
        mix_in_place(mix, m, tables->run, row);
        for (int i = 0; i < n; i += VEC_FLOATS) {
            vf x = vf_mul(vf_load(row + i), vf_all(e->factor));
            vf_store(row + i, e->signs_after ? vf_flip(x, e->signs_after + i) : x);
        }
    }
}

void KVB_STEP(rotate)(const kvb_codec_tables *tables, float *row) {
    if (tables->head_dim % VEC_FLOATS != 0) {
        kvb_scalar_rotate(tables, row);
        return;
    }
    const uint32_t *signs = tables->rotation == KVB_ROTATION_SIGNED ? tables->sign_masks : NULL;
    if (tables->rotation != KVB_ROTATION_NONE) {
        transform(tables, tables->mix[0], row, &(ends){signs, NULL, tables->inverse_sqrt_dim});
    }
}

void KVB_STEP(unrotate)(const kvb_codec_tables *tables, float *row) {
    if (tables->head_dim % VEC_FLOATS != 0) {
        kvb_scalar_unrotate(tables, row);
        return;
    }
    const uint32_t *signs = tables->rotation == KVB_ROTATION_SIGNED ? tables->sign_masks : NULL;
    if (tables->rotation != KVB_ROTATION_NONE) {
        transform(tables, tables->mix[1], row, &(ends){NULL, signs, tables->inverse_sqrt_dim});
    }
}
