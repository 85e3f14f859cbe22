/* Packed rows to centroids, as 16-bit words: what keys and values have in common. Comes after the verbs of an
 * instruction set, fixed_avx2.h or its like.
 *
 * A block is LUT_CODES coordinates in a row. All rows of a run are read block by block, so that what says where a
 * block's bits lie, and the tables, stay in registers over the rows. Behind the last coordinate of a row lie words of
 * anything, which meet zeros of a query, or sums that nobody reads. */
#ifndef KVB_CPU_FIXED_CODES_H
#define KVB_CPU_FIXED_CODES_H

#include "cpu/ops.h"
#include "half.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* Compilers must not move loads to before this: as they interleave steps of a loop, sums would leave the registers. */
#define KEEP_ORDER __asm__ volatile("" : : : "memory")

enum { lanes = VEC_FLOATS, rows_at_once = 4, block_words = LUT_CODES / 2 /* a vector */, pieces = LUT_CODES / 8 };

/* Of integers times centroids; leaves room for the roundings of the integers. */
static const float largest_sum = 0x1p31f * 0.99f;

INLINE int n_blocks(int dim) {
    return (dim + LUT_CODES - 1) / LUT_CODES;
}

/* ---- Where the bits of a block lie ---- */

/* How: the bytes of a block are neighbors, or half as many that come twice, or pieces of eight here and there; or codes
 * were unpacked before, a byte each. */
typedef enum block_kind { WHOLE, TWICE, IN_PIECES, AS_BYTES } block_kind;

/* One plane of one block: bytes of the first row, those of the others lie `stride` further on, and where in each byte
 * the bits begin. */
typedef struct block_part {
    const uint8_t *at[pieces];
    size_t stride;
    block_kind kind;
    vcodes down;
} block_part;

/* Walks over the blocks of a plane: the piece of eight coordinates that comes next. */
typedef struct plane_walk {
    const uint8_t *plane;
    int width, bytes, at, shift;
} plane_walk;

static inline void next_block(plane_walk *walk, int is_last, int n_pieces, block_part *part) {
    uint8_t down[pieces];
    int first = walk->at;
    for (int i = 0; i < pieces; i++) {
        part->at[i] = walk->plane + (is_last && i >= n_pieces ? first : walk->at);
        down[i] = (uint8_t)walk->shift;
        walk->at += 8;
        if (walk->at >= walk->bytes) {
            walk->at = 0;
            walk->shift += walk->width;
        }
    }
    part->down = vcodes_shifts(down);
}

/* 1 when the run's planes can be read eight coordinates at a time. */
static inline int has_pieces(const kvb_codec_tables *tables) {
    return tables->head_dim * tables->plane_widths[tables->n_planes - 1] / 8 % 8 == 0;
}

static inline block_kind kind_of(int bytes) {
    return bytes % LUT_CODES == 0 ? WHOLE : bytes == LUT_CODES / 2 ? TWICE : IN_PIECES;
}

/* ---- Codes ---- */

INLINE vcodes read_part(const block_part *part, size_t row, block_kind kind) {
    size_t at = row * part->stride;
    if (kind == WHOLE || part->kind == WHOLE) {
        return vcodes_load(part->at[0] + at);
    }
    return part->kind == TWICE ? vcodes_load_twice(part->at[0] + at) : vcodes_load_pieces(part->at, at);
}

/* `kind` is a constant: WHOLE and AS_BYTES say so of all planes. */
INLINE vcodes read_codes(const block_part *parts, int bits, size_t row, block_kind kind) {
    if (kind == AS_BYTES) {
        return vcodes_load(parts->at[0] + row * parts->stride);
    }
    vcodes codes = vcodes_zero();
    int shift = 0, plane = 0;
    for (int width = 8; width > 0; width /= 2) {
        if (bits == 8 ? width != 8 : width == 8 || !(bits & width)) {
            continue;
        }
        vcodes part = read_part(&parts[plane], row, kind);
        part = width < 8 ? vcodes_shift(vcodes_down(part, parts[plane].down), 0, width, shift) : part;
        codes = plane ? vcodes_or(codes, part) : part;
        shift += width;
        plane++;
    }
    return codes;
}

/* Codes of the run's rows, a byte each, KVB_FIXED_DIM apart. */
static inline void unpack_rows(const kvb_packed_run *run, uint8_t *codes) {
    const kvb_codec_tables *tables = run->tables;
    for (int row = 0; row < run->n_rows; row++) {
        const uint8_t *planes[KVB_MAX_PLANES];
        for (int p = 0; p < tables->n_planes; p++) {
            size_t bytes = (size_t)kvb_layout_plane_bytes(tables->head_dim, tables->plane_widths[p]);
            planes[p] = run->packed.planes[p] + (run->first_row + (size_t)row) * bytes;
        }
        vcodes_unpack(tables, planes, codes + (size_t)row * KVB_FIXED_DIM(tables->head_dim));
    }
}

/* ---- Words ---- */

/* Where words go: rows of KVB_FIXED_DIM words, block by block; or for every block and pair of rows four vectors
 * (vwords_read_pair), vector 4b + k of pair p at (4b + k) * run_pairs + p. */
typedef enum word_order { IN_ROWS, IN_PAIRS } word_order;

enum { run_pairs = KVB_TILE_TOKENS / 2 };

INLINE void read_block(const kvb_packed_run *run, const lut *l, int bits, const block_part *parts, block_kind kind,
                       word_order order, int block, vwords *out) {
    size_t n = (size_t)run->n_rows, stride = KVB_FIXED_DIM(run->tables->head_dim) / block_words;
    if (order == IN_ROWS) {
        for (size_t row = 0; row < n; row++) {
            vwords *to = out + row * stride + 2 * block;
            lut_read(l, bits, read_codes(parts, bits, row, kind), to, to + 1);
        }
        return;
    }
    for (size_t row = 0; row < n; row += 2) { /* behind the last row its like, with weight 0 */
        vcodes even = read_codes(parts, bits, row, kind);
        vcodes odd = row + 1 < n ? read_codes(parts, bits, row + 1, kind) : even;
        vwords_read_pair(l, bits, even, odd, out + (size_t)block * 4 * run_pairs + row / 2, run_pairs);
    }
}

/* Of the first `dim` coordinates. `kind` is that of all planes, or IN_PIECES when they differ. */
INLINE void read_blocks(const kvb_packed_run *run, int dim, int bits, block_kind kind, word_order order,
                        const uint8_t *codes, vwords *out) {
    const kvb_codec_tables *tables = run->tables;
    lut l = lut_open(tables, bits);
    int head_dim = tables->head_dim, n_planes = kind == AS_BYTES ? 1 : tables->n_planes;
    plane_walk walks[KVB_MAX_PLANES] = {0};
    block_part parts[KVB_MAX_PLANES];
    for (int p = 0; p < n_planes; p++) {
        int width = kind == AS_BYTES ? 8 : tables->plane_widths[p], bytes = kvb_layout_plane_bytes(head_dim, width);
        parts[p].stride = kind == AS_BYTES ? KVB_FIXED_DIM(head_dim) : (size_t)bytes;
        parts[p].kind = kind_of(bytes);
        walks[p] = (plane_walk){kind == AS_BYTES ? codes : run->packed.planes[p] + run->first_row * (size_t)bytes,
                                width, bytes, 0, 0};
    }
    for (int block = 0; block < n_blocks(dim); block++) {
        for (int p = 0; p < n_planes; p++) {
            next_block(&walks[p], block == n_blocks(head_dim) - 1, (head_dim - block * LUT_CODES) / 8, &parts[p]);
        }
        read_block(run, &l, bits, parts, kind, order, block, out);
    }
}

static inline void read_words_slowly(const kvb_packed_run *run, int dim, word_order order, const uint8_t *codes,
                                     int16_t *out) {
    size_t stride = KVB_FIXED_DIM(run->tables->head_dim);
    for (int row = 0; row < run->n_rows + (order == IN_PAIRS ? run->n_rows % 2 : 0); row++) {
        const uint8_t *from = codes + (size_t)(row < run->n_rows ? row : row - 1) * stride;
        for (int i = 0; i < dim; i++) {
            int word = lut_word(i % LUT_CODES), vector = i / LUT_CODES * 4;
            size_t at = (size_t)row * stride + (size_t)(i / LUT_CODES * LUT_CODES + word);
            if (order == IN_PAIRS) {
                vector += lut_pair_word(i % LUT_CODES, row % 2, &word);
                at = (size_t)((vector * run_pairs + row / 2) * block_words + word);
            }
            out[at] = run->tables->fixed[from[i]];
        }
    }
}

INLINE void read_some(const kvb_packed_run *run, int dim, int bits, block_kind kind, word_order order,
                      const uint8_t *codes, vwords *out) {
    if (kind == WHOLE) {
        read_blocks(run, dim, bits, WHOLE, order, codes, out);
    } else if (kind == AS_BYTES) {
        read_blocks(run, dim, bits, AS_BYTES, order, codes, out);
    } else {
        read_blocks(run, dim, bits, IN_PIECES, order, codes, out);
    }
}

/* The first `dim` centroids of each row of a run; `scratch` is of KVB_FIXED_SCRATCH, where the words come first. */
INLINE const void *read_words(const kvb_packed_run *run, int dim, word_order order, void *scratch) {
    const kvb_codec_tables *tables = run->tables;
    uint8_t *codes = (uint8_t *)scratch + KVB_TILE_TOKENS * KVB_FIXED_DIM(tables->head_dim) * sizeof(int16_t);
    int is_slow = !lut_is_possible(tables);
    block_kind kind = is_slow || !has_pieces(tables) ? AS_BYTES : WHOLE;
    for (int p = 0; kind != AS_BYTES && p < tables->n_planes; p++) {
        kind = kind_of(kvb_layout_plane_bytes(tables->head_dim, tables->plane_widths[p])) == WHOLE ? kind : IN_PIECES;
    }
    if (kind == AS_BYTES) {
        unpack_rows(run, codes);
    }
    if (is_slow) {
        read_words_slowly(run, dim, order, codes, scratch);
        return scratch;
    }
#define READ(bits) read_some(run, dim, bits, kind, order, codes, scratch)
    LUT_EACH_WIDTH(READ)
#undef READ
    return scratch;
}

/* ---- Scales ---- */

/* The run's scales, 0 behind the last. */
static inline void read_scales(const kvb_packed_run *run, float scales[KVB_TILE_TOKENS]) {
    int n = run->n_rows, t = 0;
    if (run->tables->scale_dtype == KVB_F32) {
        memcpy(scales, (const float *)run->packed.scales + run->first_row, (size_t)n * sizeof *scales);
        t = n;
    } else {
        const uint16_t *halves = (const uint16_t *)run->packed.scales + run->first_row;
        for (; t + lanes <= n; t += lanes) {
            vf_store(scales + t, vf_load_halves(halves + t));
        }
        for (; t < n; t++) {
            scales[t] = kvb_half_to_float(halves[t]);
        }
    }
    for (; t < KVB_TILE_TOKENS; t++) {
        scales[t] = 0.0f;
    }
}

#endif
