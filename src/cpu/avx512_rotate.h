/* The rotation in AVX-512: the same sums as rotate.c. Up to 256 values lie in registers from the first load to the last
 * store; their names are spelled out, as compilers would keep an array of them in memory. */
#include "cpu/avx512_expand.h"
#include "cpu/ops.h"
#include "cpu/step.h"

#include <stddef.h>
#include <string.h>

/* Signs before the forward transform, after the inverse one: all 0 where the rotation has none. */
typedef struct ends {
    vf factor;
    const float *from; /* where the row comes from; may be where it goes */
    const uint32_t *signs;
    int inverse;
} ends;

INLINE vf begin(ends e, int at) {
    vf x = vf_load(e.from + at);
    return e.inverse ? x : vf_flip(x, e.signs + at);
}

INLINE void finish(float *row, ends e, int at, vf x) {
    x = vf_mul(x, e.factor);
    vf_store(row + at, e.inverse ? vf_flip(x, e.signs + at) : x);
}

INLINE void butterfly(vf *a, vf *b) {
    vf sum = vf_add(*a, *b);
    *b = vf_sub(*a, *b);
    *a = sum;
}

/* The next four vectors side by side, so that none waits for another: butterflies inside each, then between them. */
INLINE void four(ends e, int at, vf *a, vf *b, vf *c, vf *d) {
    *a = begin(e, at);
    *b = begin(e, at + VEC_FLOATS);
    *c = begin(e, at + 2 * VEC_FLOATS);
    *d = begin(e, at + 3 * VEC_FLOATS);
    for (int h = 1; h < VEC_FLOATS; h *= 2) {
        *a = vf_butterfly(*a, h);
        *b = vf_butterfly(*b, h);
        *c = vf_butterfly(*c, h);
        *d = vf_butterfly(*d, h);
    }
    butterfly(a, b);
    butterfly(c, d);
    butterfly(a, c);
    butterfly(b, d);
}

/* With `half` values before `at` already there, the last stage joins both. */
INLINE void write(float *row, ends e, int at, vf x, int half, int is_last) {
    if (half) {
        vf before = vf_load(row + at - half);
        finish(row, e, at - half, vf_add(before, x));
        finish(row, e, at, vf_sub(before, x));
    } else if (is_last) {
        finish(row, e, at, x);
    } else {
        vf_store(row + at, x);
    }
}

INLINE void write_four(float *row, ends e, int at, const vf x[4], int half, int is_last) {
    for (int i = 0; i < 4; i++) {
        write(row, e, at + i * VEC_FLOATS, x[i], half, is_last);
    }
}

/* Walsh-Hadamard of n vectors, n = 4, 8, 16. All but row and what `e` points at are constants. */
INLINE void walsh(float *row, int first, int n, ends e, int half, int is_last) {
    vf x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15;
    four(e, first, &x0, &x1, &x2, &x3);
    if (n > 4) {
        four(e, first + 4 * VEC_FLOATS, &x4, &x5, &x6, &x7);
        butterfly(&x0, &x4);
        butterfly(&x1, &x5);
        butterfly(&x2, &x6);
        butterfly(&x3, &x7);
    }
    if (n > 8) {
        four(e, first + 8 * VEC_FLOATS, &x8, &x9, &x10, &x11);
        four(e, first + 12 * VEC_FLOATS, &x12, &x13, &x14, &x15);
        butterfly(&x8, &x12);
        butterfly(&x9, &x13);
        butterfly(&x10, &x14);
        butterfly(&x11, &x15);
        butterfly(&x0, &x8);
        butterfly(&x1, &x9);
        butterfly(&x2, &x10);
        butterfly(&x3, &x11);
        butterfly(&x4, &x12);
        butterfly(&x5, &x13);
        butterfly(&x6, &x14);
        butterfly(&x7, &x15);
    }
    write_four(row, e, first, (vf[4]){x0, x1, x2, x3}, half, is_last);
    if (n > 4) {
        write_four(row, e, first + 4 * VEC_FLOATS, (vf[4]){x4, x5, x6, x7}, half, is_last);
    }
    if (n > 8) {
        write_four(row, e, first + 8 * VEC_FLOATS, (vf[4]){x8, x9, x10, x11}, half, is_last);
        write_four(row, e, first + 12 * VEC_FLOATS, (vf[4]){x12, x13, x14, x15}, half, is_last);
    }
}

INLINE void walsh_of(float *row, int n, ends e) {
    switch (n) {
    case 32: {
        vf x0 = vf_butterflies(begin(e, 0), VEC_FLOATS), x1 = vf_butterflies(begin(e, VEC_FLOATS), VEC_FLOATS);
        butterfly(&x0, &x1);
        finish(row, e, 0, x0);
        finish(row, e, VEC_FLOATS, x1);
        break;
    }
    case 64:
        walsh(row, 0, 4, e, 0, 1);
        break;
    case 128:
        walsh(row, 0, 8, e, 0, 1);
        break;
    case 256:
        walsh(row, 0, 16, e, 0, 1);
        break;
    default:
        walsh(row, 0, 16, e, 0, 0);
        walsh(row, 256, 16, e, 256, 1);
    }
}

/* ---- Head dims that are no power of two ---- */

/* Transforms of length `run` over the row, into `out`. */
INLINE void short_walsh(int n, int run, ends e, float *out) {
    for (int i = 0; i < n; i += VEC_FLOATS) {
        vf x = load_at(e.from, n, i);
        x = e.inverse ? x : vf_flip(x, e.signs + i); /* masks go on behind the row */
        vf_store(out + i, vf_butterflies(x, run));
    }
    for (int i = 0; run == 2 * VEC_FLOATS && i < n; i += run) {
        vf a = vf_load(out + i), b = vf_load(out + i + VEC_FLOATS);
        vf_store(out + i, vf_add(a, b));
        vf_store(out + i + VEC_FLOATS, vf_sub(a, b));
    }
}

/* `run` values again and again. */
INLINE vf repeat(const float *from, int run) {
    long long two;
    switch (run) {
    case 2:
        memcpy(&two, from, sizeof two);
        return _mm512_castsi512_ps(_mm512_set1_epi64(two));
    case 4:
        return _mm512_broadcast_f32x4(_mm_loadu_ps(from));
    case 8:
        return _mm512_broadcast_f32x8(_mm256_loadu_ps(from));
    default:
        return vf_load(from);
    }
}

typedef struct mixing {
    const uint16_t *negative; /* of vector v, column j: at v * m + j */
    int n, m, run;
} mixing;

/* `count` vectors of the output from `first` on, `step` apart: the sums of rotate.c, column after column, each with the
 * signs that it has in these rows. The counts are constants. */
INLINE void mix_some(const mixing *of, const float *x, int first, int step, int count, ends e, float *row) {
    const vf sign = vf_all(-0.0f);
    const uint16_t *negative = of->negative + first * of->m;
    vf sums[4];
    for (int i = 0; i < count; i++) {
        sums[i] = repeat(x, of->run); /* the first column is +1 */
    }
    for (int j = 1; j < of->m; j++) {
        vf column = repeat(x + j * of->run, of->run);
        for (int i = 0; i < count; i++) {
            __mmask16 k = negative[i * step * of->m + j];
            sums[i] = vf_add(sums[i], _mm512_mask_xor_ps(column, k, column, sign));
        }
    }
    for (int i = 0; i < count; i++) {
        int at = (first + i * step) * VEC_FLOATS;
        vf y = vf_mul(sums[i], e.factor);
        y = e.inverse ? vf_flip(y, e.signs + at) : y;
        store_at(row, of->n, at, y);
    }
}

/* `run` a constant. Runs of two vectors are two independent transforms side by side. */
INLINE void mix(const mixing *of, int run, ends e, float *row) {
    float x[KVB_MAX_HEAD_DIM + VEC_FLOATS];
    int step = run > VEC_FLOATS ? 2 : 1, n_vectors = (of->n + VEC_FLOATS - 1) / VEC_FLOATS;
    mixing o = {of->negative, of->n, of->m, run};
    short_walsh(of->n, run, e, x);
    for (int part = 0; part < step; part++) {
        const float *columns = x + part * VEC_FLOATS;
        int i = part;
        for (; i + 3 * step < n_vectors; i += 4 * step) {
            mix_some(&o, columns, i, step, 4, e, row);
        }
        switch ((n_vectors - i + step - 1) / step) {
        case 1:
            mix_some(&o, columns, i, step, 1, e, row);
            break;
        case 2:
            mix_some(&o, columns, i, step, 2, e, row);
            break;
        case 3:
            mix_some(&o, columns, i, step, 3, e, row);
            break;
        default:
            break;
        }
    }
}

INLINE void mix_of(const mixing *of, ends e, float *row) {
    switch (of->run) {
    case 2:
        mix(of, 2, e, row);
        break;
    case 4:
        mix(of, 4, e, row);
        break;
    case 8:
        mix(of, 8, e, row);
        break;
    case 16:
        mix(of, 16, e, row);
        break;
    default:
        mix(of, 32, e, row);
    }
}

/* `inverse` a constant */
INLINE void transform(const kvb_codec_tables *tables, int inverse, const float *from, float *row) {
    ends e = {vf_all(tables->inverse_sqrt_dim), from, tables->sign_masks, inverse};
    if (tables->rotation == KVB_ROTATION_NONE) {
        return;
    }
    if (tables->hadamard_order == 1) {
        walsh_of(row, tables->head_dim, e);
    } else {
        mix_of(&(mixing){tables->mix_negative[inverse], tables->head_dim, tables->hadamard_order, tables->run}, e, row);
    }
}

static void KVB_STEP(rotate)(const kvb_codec_tables *tables, float *row) {
    transform(tables, 0, row, row);
}

static void KVB_STEP(unrotate)(const kvb_codec_tables *tables, float *row) {
    transform(tables, 1, row, row);
}

/* Not for a codec without rotation. */
static void KVB_STEP(rotate_from)(const kvb_codec_tables *tables, const float *from, float *row) {
    transform(tables, 0, from, row);
}
