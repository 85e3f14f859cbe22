/* Packed rows to centroids, as 16-bit words: what keys and values have in common. Comes after the verbs of an
 * instruction set, fixed_avx2.h or its like.
 *
 * A block is LUT_CODES coordinates in a row. All rows of a run are read block by block, so that what says where a
 * block's bits lie, and the tables, stay in registers over the rows. Behind the last coordinate of a row lie words of
 * anything, which meet zeros of a query, or sums that nobody reads. */
#ifndef KVB_CPU_FIXED_CODES_H
#define KVB_CPU_FIXED_CODES_H

#include "cpu/keep.h"
#include "cpu/ops.h"
#include "half.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    lanes = VEC_FLOATS,
    rows_at_once = 4,
    block_words = LUT_CODES / 2 /* a vector */,
    pieces = LUT_CODES / 8,
    most_blocks = KVB_MAX_HEAD_DIM / LUT_CODES
};

/* Of integers times centroids; leaves room for the roundings of the integers. */
static const float largest_sum = 0x1p31f * 0.99f;

INLINE int n_blocks(int dim) {
    return (dim + LUT_CODES - 1) / LUT_CODES;
}

/* ---- Where the bits of a block lie ---- */

/* How: the bytes of a block are neighbors, or half as many that come twice, or pieces of eight here and there; or codes
 * were unpacked before, a byte each. */
typedef enum block_kind { WHOLE, IN_PIECES, AS_BYTES, TWICE } block_kind;

/* One plane of one block: bytes of the first row, those of the others lie `stride` further on, and where in each byte
 * the bits begin. */
typedef struct block_part {
    const uint8_t *at[pieces];
    size_t stride;
    block_kind kind;
    vcodes down;
} block_part;

typedef block_part block_parts[KVB_MAX_PLANES];

static inline block_kind kind_of(int bytes) {
    return bytes % LUT_CODES == 0 ? WHOLE : bytes == LUT_CODES / 2 ? TWICE : IN_PIECES;
}

/* Planes that are read. */
INLINE int n_parts(int bits, block_kind kind) {
    return kind == AS_BYTES || bits >= 8 ? 1 : (bits & 1) + (bits >> 1 & 1) + (bits >> 2 & 1);
}

/* Walks over the blocks of a plane: the piece of eight coordinates that comes next. */
typedef struct plane_walk {
    const uint8_t *plane;
    int width, bytes, at, shift;
} plane_walk;

INLINE void step_walk(plane_walk *walk, int bytes) {
    walk->at += bytes;
    if (walk->at >= walk->bytes) {
        walk->at = 0;
        walk->shift += walk->width;
    }
}

/* Block number `block` of rows of `dim` coordinates, after those before it; `kind`, a constant, says of all planes
 * that they are WHOLE, or AS_BYTES. */
INLINE void next_block(plane_walk *walk, int dim, int block, block_kind kind, block_part *part) {
    uint8_t down[pieces];
    part->stride = kind == AS_BYTES ? KVB_FIXED_DIM(dim) : (size_t)walk->bytes;
    part->kind = kind == WHOLE || kind == AS_BYTES ? WHOLE : kind_of(walk->bytes);
    const uint8_t *first = part->at[0] = walk->plane + walk->at;
    memset(down, walk->shift, sizeof down);
    if (part->kind == WHOLE) {
        step_walk(walk, LUT_CODES);
    }
    for (int i = 0; part->kind != WHOLE && i < pieces; i++) { /* behind the last, the first again */
        part->at[i] = block * LUT_CODES + i * 8 < dim ? walk->plane + walk->at : first;
        down[i] = (uint8_t)walk->shift;
        step_walk(walk, 8);
    }
    part->down = vcodes_shifts(down);
}

/* 1 when the run's planes can be read eight coordinates at a time. */
static inline int has_pieces(const kvb_codec_tables *tables) {
    return tables->head_dim * tables->plane_widths[tables->n_planes - 1] / 8 % 8 == 0;
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
    if (kind == AS_BYTES || (kind == WHOLE && bits > 8)) {
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

/* Where words go: rows of KVB_FIXED_DIM words, block by block; or, for whoever includes this with WORDS_IN_PAIRS, for
 * every block and pair of rows four vectors (vwords_read_pair), vector 4b + k of pair p at (4b + k) * run_pairs + p. */
enum { run_pairs = KVB_TILE_TOKENS / 2 };

#ifdef WORDS_IN_PAIRS
INLINE void read_block(const kvb_packed_run *run, const lut *l, int bits, const block_part *parts, block_kind kind,
                       int block, vwords *out) {
    size_t n = (size_t)run->n_rows;
    out += (size_t)block * 4 * run_pairs;
    for (size_t row = 0; row < n; row += 2, out++) { /* behind the last row its like, with weight 0 */
        vcodes even = read_codes(parts, bits, row, kind);
        vcodes odd = row + 1 < n ? read_codes(parts, bits, row + 1, kind) : even;
        vwords_read_pair(l, bits, even, odd, out, run_pairs);
    }
}

static inline size_t word_at(int row, int i, size_t stride) {
    int word, vector = i / LUT_CODES * 4 + lut_pair_word(i % LUT_CODES, row % 2, &word);
    (void)stride;
    return (size_t)((vector * run_pairs + row / 2) * block_words + word);
}

static inline int rows_of_words(int n_rows) {
    return n_rows + n_rows % 2;
}
#else
INLINE void read_block(const kvb_packed_run *run, const lut *l, int bits, const block_part *parts, block_kind kind,
                       int block, vwords *out) {
    size_t n = (size_t)run->n_rows, stride = KVB_FIXED_DIM(run->tables->head_dim) / block_words;
    out += 2 * block;
    for (size_t row = 0; row < n; row++, out += stride) {
        lut_read(l, bits, read_codes(parts, bits, row, kind), out, out + 1);
    }
}

static inline size_t word_at(int row, int i, size_t stride) {
    return (size_t)row * stride + (size_t)(i / LUT_CODES * LUT_CODES + lut_word(i % LUT_CODES));
}

static inline int rows_of_words(int n_rows) {
    return n_rows;
}
#endif

INLINE void open_walks(const kvb_packed_run *run, int bits, block_kind kind, const uint8_t *codes, plane_walk *walks) {
    for (int p = 0; p < n_parts(bits, kind); p++) {
        int width = kind == AS_BYTES ? 8 : run->tables->plane_widths[p];
        int bytes = kvb_layout_plane_bytes(run->tables->head_dim, width);
        walks[p] = (plane_walk){.plane = codes, .width = width, .bytes = bytes};
        if (kind != AS_BYTES) {
            walks[p].plane = run->packed.planes[p] + run->first_row * (size_t)bytes;
        }
    }
}

/* How all of the run's rows are read: WHOLE, IN_PIECES or AS_BYTES; unpacks them into `codes` where there is no other
 * way. */
static inline block_kind prepare_rows(const kvb_packed_run *run, uint8_t *codes) {
    const kvb_codec_tables *tables = run->tables;
    block_kind kind = lut_is_possible(tables) && has_pieces(tables) ? WHOLE : AS_BYTES;
    for (int p = 0; kind != AS_BYTES && p < tables->n_planes; p++) {
        kind = kind_of(kvb_layout_plane_bytes(tables->head_dim, tables->plane_widths[p])) == WHOLE ? kind : IN_PIECES;
    }
    if (kind == AS_BYTES) {
        unpack_rows(run, codes);
    }
    return kind;
}

INLINE uint8_t *codes_of(const kvb_packed_run *run, void *scratch) {
    return (uint8_t *)scratch + KVB_TILE_TOKENS * KVB_FIXED_DIM(run->tables->head_dim) * sizeof(int16_t);
}

static inline void read_words_slowly(const kvb_packed_run *run, int dim, const uint8_t *codes, int16_t *out) {
    size_t stride = KVB_FIXED_DIM(run->tables->head_dim);
    for (int row = 0; row < rows_of_words(run->n_rows); row++) {
        const uint8_t *from = codes + (size_t)(row < run->n_rows ? row : row - 1) * stride;
        for (int i = 0; i < dim; i++) {
            out[word_at(row, i, stride)] = run->tables->fixed[from[i]];
        }
    }
}

/* Asks for a share of the rows that come next, beside work that waits for no memory: share i of n; none of NULL. */
INLINE void fetch_share(const kvb_packed_run *run, int i, int n) {
    for (int p = 0; run && p < run->tables->n_planes; p++) {
        int width = p == 0 && run->next_width ? run->next_width : run->tables->plane_widths[p];
        size_t all = (size_t)run->n_rows * (size_t)kvb_layout_plane_bytes(run->tables->head_dim, width);
        const uint8_t *end = run->next[p] + all * (size_t)(i + 1) / (size_t)n;
        for (const uint8_t *at = run->next[p] + all * (size_t)i / (size_t)n; run->next[p] && at < end; at += 64) {
            __builtin_prefetch(at, 0, 2);
        }
    }
}

INLINE void read_blocks(const kvb_packed_run *run, int dim, int bits, block_kind kind, const uint8_t *codes,
                        vwords *out) {
    lut l = lut_open(run->tables, bits);
    plane_walk walks[KVB_MAX_PLANES];
    open_walks(run, bits, kind, codes, walks);
    for (int block = 0; block < n_blocks(dim); block++) {
        block_part parts[KVB_MAX_PLANES];
        for (int p = 0; p < n_parts(bits, kind); p++) {
            next_block(&walks[p], run->tables->head_dim, block, kind, &parts[p]);
        }
        read_block(run, &l, bits, parts, kind, block, out);
    }
}

/* A function of its own for each width and kind, because compilers run out of registers in large ones. */
#define READER(bits, kind)                                                                                             \
    static void read_##bits##_##kind(const kvb_packed_run *run, int dim, const uint8_t *codes, vwords *out) {          \
        read_blocks(run, dim, bits, kind, codes, out);                                                                 \
    }
#define READERS(bits) READER(bits, WHOLE) READER(bits, IN_PIECES) READER(bits, AS_BYTES)
#define READERS_OF(bits)                                                                                               \
    { read_##bits##_WHOLE, read_##bits##_IN_PIECES, read_##bits##_AS_BYTES }
READERS(1)
READERS(2)
READERS(3)
READERS(4)
READERS(5)
READERS(6)
READERS(7)
READERS(8)

typedef void reader(const kvb_packed_run *run, int dim, const uint8_t *codes, vwords *out);
static reader *const readers[][3] = {READERS_OF(1), READERS_OF(2), READERS_OF(3), READERS_OF(4),
                                     READERS_OF(5), READERS_OF(6), READERS_OF(7), READERS_OF(8)};

#ifdef LUT_BYTE_CODES
READER(12, WHOLE)
READER(13, WHOLE)
READER(14, WHOLE)
static reader *const byte_readers[] = {read_12_WHOLE, read_13_WHOLE, read_14_WHOLE};

static inline reader *find_reader(const kvb_codec_tables *tables, block_kind kind) {
    return tables->byte_bits ? byte_readers[tables->byte_bits - 4] : readers[tables->bits - 1][kind];
}
#else
static inline reader *find_reader(const kvb_codec_tables *tables, block_kind kind) {
    return readers[tables->bits - 1][kind];
}
#endif

/* The first `dim` centroids of each row of a run; `scratch` is of KVB_FIXED_SCRATCH, where the words come first. */
static const void *read_words(const kvb_packed_run *run, int dim, void *scratch) {
    const kvb_codec_tables *tables = run->tables;
    uint8_t *codes = codes_of(run, scratch);
    block_kind kind = prepare_rows(run, codes);
    if (!lut_is_possible(tables)) {
        read_words_slowly(run, dim, codes, scratch);
        return scratch;
    }
    find_reader(tables, kind)(run, dim, codes, scratch);
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
