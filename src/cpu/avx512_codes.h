/* Packed rows as vectors of codes, AVX-512: what keys and values in fixed point have in common.
 *
 * A vector is 64 bytes of a row's widest plane (`stride` bytes a row), read as 32 words. The narrower planes of a code
 * are spread beside it, one field of the same coordinate over each of its fields (a narrow row repeats, with its bits
 * further and further down), and merged in: then every shift by a fixed number of bits brings the next code of each
 * word to the low end, where a permutation of a table of centroids looks it up. Bits above a code are no concern, as
 * tables repeat. Rows of 8, 16 or 32 bytes are read 8, 4 or 2 at a time.
 *
 * The order of a query in fixed point, and of the integers that meet it: vector by vector; in a vector, part by part
 * (n_parts); in a part, output by output (n_outputs); in an output, 32 words. Word x of an output is the coordinate
 * byte_of(...) + field_of(...) * stride of the row. Words of no coordinate are 0. Where a vector holds several rows,
 * each has its own copy of the query. Used for up to KVB_FEW_ROWS rows only; more rows have another order. */
#ifndef KVB_CPU_AVX512_CODES_H
#define KVB_CPU_AVX512_CODES_H

#include "cpu/avx512_attend.h"
#include "cpu/step.h"
#include "half.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
/* Loops of constant counts over arrays that must stay in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

enum {
    vector_bytes = 64,
    vector_words = 32,
    max_vectors = KVB_MAX_HEAD_DIM / vector_bytes, /* of a row of bytes */
    max_narrow = 2,
    rows_at_once = 4
};

/* Codes as bytes, of up to 5 bits or as many as it says: rows whose planes do not fit vectors are unpacked first. */
enum { BYTES_OF_5 = 15, BYTES_OF_6 = 16, BYTES_OF_7 = 17 };

/* Widths, as constants: those of the codes and of the planes in memory. */
INLINE int code_bits(int kind) {
    return kind > 8 ? kind - 10 : kind;
}

INLINE int widest_plane(int kind) {
    return kind >= 8 ? 8 : kind >= 4 ? 4 : kind >= 2 ? 2 : 1;
}

INLINE int n_narrow(int kind) {
    return kind == 7 ? 2 : kind == 3 || kind == 5 || kind == 6;
}

INLINE int narrow_width(int kind, int n) {
    return kind == 6 || (kind == 7 && n == 0) ? 2 : 1;
}

/* Vectors of merged codes that one vector of the widest plane becomes. */
INLINE int n_parts(int kind) {
    return n_narrow(kind) > 0 ? 2 : 1;
}

/* Codes of 7 and 8 bits are looked up as bytes where the instruction set can; its files serve no other kinds. */
#ifdef KVB_VBMI
#define IS_VBMI 1
#define EACH_KIND(DO) DO(7) DO(8) DO(17)
#define OTHERWISE(call) call
#else
#define IS_VBMI 0
#define OTHERWISE(call) break
#define EACH_KIND(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(15) DO(16) DO(17)
#endif
INLINE int is_by_bytes(int kind) {
    return IS_VBMI && code_bits(kind) >= 7;
}

/* From one code of a part to the next in a word. */
INLINE int code_step(int kind) {
    return kind == 1 ? 1 : kind == 2 ? 2 : kind <= 4 ? 4 : 8;
}

INLINE int n_outputs(int kind) {
    return 16 / code_step(kind);
}

/* Integers that a vector becomes. */
INLINE int words_per_vector(int kind) {
    return n_parts(kind) * n_outputs(kind) * vector_words;
}

/* ---- Where rows lie ---- */

enum { near_rows = 8 };

typedef struct code_rows {
    const uint8_t *planes[KVB_MAX_PLANES]; /* the run's first row */
    const uint8_t *next[KVB_MAX_PLANES];   /* as in kvb_packed_run; never NULL */
    int n_rows;
    int stride;    /* bytes of a row of the widest plane */
    int joined;    /* rows in a vector */
    int n_vectors; /* of a row, or of joined rows */
    size_t share;  /* bytes of a row over n_vectors */
    size_t near;   /* bytes of near_rows */
    uint64_t tail; /* the bytes of the last vector */
    int is_whole;  /* every vector is full */
    int narrow_bytes[max_narrow];
    uint64_t narrow_mask[max_narrow];
    __m512i index[max_narrow][max_vectors];
    __m512i left[max_narrow][max_vectors], right[max_narrow][max_vectors];
} code_rows;

INLINE uint64_t byte_mask(int n) {
    return n >= vector_bytes ? UINT64_MAX : ((uint64_t)1 << n) - 1;
}

INLINE int joined_rows(int stride) {
    return stride == 8 || stride == 16 || stride == 32 ? vector_bytes / stride : 1;
}

/* 1 when the planes can be read as they lie. */
static inline int is_direct(int dim, int bits) {
    return n_narrow(bits) == 0 || bits == 6 || dim % 16 == 0;
}

static inline int row_kind(const kvb_codec_tables *tables) {
    int bits = tables->bits;
    return is_direct(tables->head_dim, bits) ? bits : bits < 6 ? BYTES_OF_5 : 10 + bits;
}

/* The constants of a vector's narrow plane: `row` and `word` say which row and which word of it each word is in. */
INLINE void open_narrow(code_rows *rows, int kind, int n, int vector, __m512i row, __m512i word) {
    int width = narrow_width(kind, n), words = rows->narrow_bytes[n] / 2;
    __m512i all = _mm512_set1_epi16((short)words), at = word, down = _mm512_setzero_si512();
    for (int i = 1; i < widest_plane(kind) / width; i++) {
        __mmask32 beyond = _mm512_cmpge_epi16_mask(at, all);
        at = _mm512_mask_sub_epi16(at, beyond, at, all);
        down = _mm512_mask_add_epi16(down, beyond, down, _mm512_set1_epi16((short)width));
    }
    rows->index[n][vector] = _mm512_add_epi16(at, _mm512_mullo_epi16(row, all));
    int up = kind == 3 ? 2 : n == 0 ? 4 : 6;
    rows->left[n][vector] = _mm512_sub_epi16(_mm512_set1_epi16((short)up), down);
    rows->right[n][vector] = n == 0 ? down : _mm512_sub_epi16(_mm512_set1_epi16(3), down);
}

INLINE __m512i iota_words(void) {
    return _mm512_set_epi16(31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9,
                            8, 7, 6, 5, 4, 3, 2, 1, 0);
}

/* `codes`: scratch of KVB_TILE_TOKENS * dim bytes, for rows that are not direct. */
INLINE void open_rows(code_rows *rows, int kind, const kvb_packed_run *run, uint8_t *codes) {
    int dim = run->tables->head_dim, width = widest_plane(kind);
    rows->n_rows = run->n_rows;
    rows->stride = dim * width / 8;
    rows->joined = is_by_bytes(kind) && rows->stride < 32 ? 1 : joined_rows(rows->stride);
    rows->n_vectors = (rows->stride + vector_bytes - 1) / vector_bytes;
    rows->share = (size_t)((run->next_width ? dim * run->next_width / 8 : rows->stride) / rows->n_vectors);
    rows->near = (size_t)(near_rows * rows->joined * rows->stride);
    rows->tail = byte_mask(rows->stride * rows->joined - (rows->n_vectors - 1) * vector_bytes);
    rows->is_whole = rows->tail == UINT64_MAX && rows->n_rows % rows->joined == 0;
    for (int p = 0; p < run->tables->n_planes; p++) {
        rows->next[p] = run->next[p] ? run->next[p] : run->packed.planes[p];
    }
    if (kind > 8) {
        rows->planes[0] = codes;
        return;
    }
    rows->planes[0] = run->packed.planes[0] + run->first_row * (size_t)rows->stride;
    __m512i word = iota_words(), row = _mm512_setzero_si512(), all = _mm512_set1_epi16((short)(rows->stride / 2));
    for (int i = 1; i < rows->joined && n_narrow(kind) > 0; i++) {
        __mmask32 beyond = _mm512_cmpge_epi16_mask(word, all);
        word = _mm512_mask_sub_epi16(word, beyond, word, all);
        row = _mm512_mask_add_epi16(row, beyond, row, _mm512_set1_epi16(1));
    }
    for (int n = 0; n < n_narrow(kind); n++) {
        rows->narrow_bytes[n] = dim * narrow_width(kind, n) / 8;
        rows->narrow_mask[n] = byte_mask(rows->narrow_bytes[n] * rows->joined);
        rows->planes[n + 1] = run->packed.planes[n + 1] + run->first_row * (size_t)rows->narrow_bytes[n];
        for (int v = 0; v < rows->n_vectors; v++) {
            __m512i at = _mm512_add_epi16(word, _mm512_set1_epi16((short)(v * vector_words)));
            open_narrow(rows, kind, n, v, row, at);
        }
    }
}

/* Codes of rows that cannot be read as they lie, a byte each. */
INLINE void unpack_rows(const kvb_packed_run *run, int kind, uint8_t *codes) {
    const kvb_codec_tables *tables = run->tables;
    size_t dim = (size_t)tables->head_dim;
    for (int row = 0; kind > 8 && row < run->n_rows; row++) {
        const uint8_t *planes[KVB_MAX_PLANES];
        for (int p = 0; p < tables->n_planes; p++) {
            size_t bytes = (size_t)kvb_layout_plane_bytes(tables->head_dim, tables->plane_widths[p]);
            planes[p] = run->packed.planes[p] + (run->first_row + (size_t)row) * bytes;
        }
        kvb_avx512_unpack(tables, planes, codes + (size_t)row * dim);
    }
}

/* ---- Reading codes ---- */

/* Bytes of the widest plane; `row` is the first of those joined. */
INLINE __m512i read_wide(const code_rows *rows, int row, int vector) {
    const uint8_t *from = rows->planes[0] + (size_t)row * (size_t)rows->stride + (size_t)vector * vector_bytes;
    if (__builtin_expect(rows->is_whole, 1)) {
        return _mm512_loadu_si512(from);
    }
    uint64_t mask = vector == rows->n_vectors - 1 ? rows->tail : UINT64_MAX;
    if (row + rows->joined > rows->n_rows) {
        mask = byte_mask((rows->n_rows - row) * rows->stride);
    }
    return _mm512_maskz_loadu_epi8(mask, from);
}

/* The part of a long row that lies beside a vector; it may begin anew within. */
static inline __m512i read_long(const code_rows *rows, const uint8_t *from, int bytes, int vector) {
    int at = vector * vector_bytes, start = at % bytes;
    uint64_t here = byte_mask(bytes - start), wanted = byte_mask(rows->stride - at);
    __m512i first = _mm512_maskz_loadu_epi8(here & wanted, from + start);
    return wanted & ~here ? _mm512_mask_loadu_epi8(first, wanted & ~here, from + start - bytes) : first;
}

INLINE __m512i read_narrow(const code_rows *rows, int n, int row, int vector) {
    int bytes = rows->narrow_bytes[n];
    const uint8_t *from = rows->planes[n + 1] + (size_t)row * (size_t)bytes;
    if (__builtin_expect(bytes > vector_bytes, 0)) {
        return read_long(rows, from, bytes, vector);
    }
    uint64_t mask = rows->narrow_mask[n];
    if (__builtin_expect(row + rows->joined > rows->n_rows, 0)) {
        mask = byte_mask(bytes * (rows->n_rows - row));
    }
    return _mm512_permutexvar_epi16(rows->index[n][vector], _mm512_maskz_loadu_epi8(mask, from));
}

/* Asks for bytes that are read later. Each reader of vector `vector` of row `row` is one of n_rows * n_vectors, and
 * says the how manieth, so that the widest plane of the next run is asked for in rising order, which memory serves
 * best, in whatever order this one is read. What lies near_rows on comes closer. */
INLINE void fetch_next(const code_rows *rows, int kind, int row, int vector, int reader) {
    _mm_prefetch((const char *)rows->next[0] + (size_t)reader * rows->share, _MM_HINT_T1);
    if (kind <= 8) {
        const uint8_t *from = rows->planes[0] + (size_t)row * (size_t)rows->stride + (size_t)vector * vector_bytes;
        _mm_prefetch((const char *)from + rows->near, _MM_HINT_T0);
    }
    for (int n = 0; n < n_narrow(kind); n++) {
        size_t at =
            (size_t)row * (size_t)rows->narrow_bytes[n] + (size_t)(vector * vector_bytes % rows->narrow_bytes[n]);
        _mm_prefetch((const char *)rows->next[n + 1] + at, _MM_HINT_T1);
    }
}

/* Bits of `yes` where the word's bits of `mask` are set, else those of `no`. */
INLINE __m512i merge_bits(int mask, __m512i yes, __m512i no) {
    return _mm512_ternarylogic_epi32(_mm512_set1_epi16((short)mask), yes, no, 0xca);
}

/* One part of the codes of a vector. */
INLINE __m512i read_part(const code_rows *rows, int kind, int row, int vector, int part) {
    __m512i wide = read_wide(rows, row, vector);
    if (n_narrow(kind) == 0) {
        return wide;
    }
    __m512i narrow = read_narrow(rows, 0, row, vector);
    int mask = kind == 3 ? 0x4444 : kind == 5 ? 0x1010 : 0x3030;
    __m512i codes = part == 0 ? merge_bits(mask, _mm512_sllv_epi16(narrow, rows->left[0][vector]), wide)
                              : merge_bits(mask, _mm512_srlv_epi16(narrow, rows->right[0][vector]),
                                           _mm512_srli_epi16(wide, kind == 3 ? 2 : 4));
    if (kind == 7) {
        narrow = read_narrow(rows, 1, row, vector);
        narrow = part == 0 ? _mm512_sllv_epi16(narrow, rows->left[1][vector])
                           : _mm512_sllv_epi16(_mm512_srli_epi16(narrow, 1), rows->right[1][vector]);
        codes = merge_bits(0x4040, narrow, codes);
    }
    return codes;
}

/* The byte of the row, and the field in it, that word `word` of an output is. */
INLINE int byte_of(int kind, int joined, int vector, int output, int word) {
    if (is_by_bytes(kind)) {
        int byte = word / 8 * 16 + output * 8 + word % 8;
        return joined > 1 ? byte % (vector_bytes / joined) : vector * vector_bytes + byte;
    }
    int high = output / (n_outputs(kind) / 2);
    return joined > 1 ? word % (vector_words / joined) * 2 + high : vector * vector_bytes + word * 2 + high;
}

INLINE int field_of(int kind, int part, int output) {
    if (is_by_bytes(kind)) {
        return part;
    }
    return n_parts(kind) * (output % (n_outputs(kind) / 2)) + part;
}

/* ---- Looking codes up ---- */

typedef struct lut {
    __m512i t[8];
} lut;

INLINE lut lut_open(const kvb_codec_tables *tables, int kind) {
    lut l;
    int bits = code_bits(kind);
    if (bits <= 5) {
        __m512i index = _mm512_and_si512(iota_words(), _mm512_set1_epi16((short)(tables->levels - 1)));
        l.t[0] = _mm512_permutexvar_epi16(index, _mm512_loadu_si512(tables->fixed));
    } else if (is_by_bytes(kind)) {
        for (int i = 0; i < 1 << (bits - 6); i++) {
            l.t[i] = _mm512_loadu_si512(tables->fixed_bytes[0] + i * vector_bytes);
            l.t[(1 << (bits - 6)) + i] = _mm512_loadu_si512(tables->fixed_bytes[1] + i * vector_bytes);
        }
    } else {
        for (int i = 0; i < 1 << (bits - 5); i++) {
            l.t[i] = _mm512_loadu_si512(tables->fixed + i * vector_words);
        }
    }
    return l;
}

/* Of words whose low bits are a code. */
INLINE __m512i lut_words(const lut *l, int kind, __m512i codes) {
    int bits = code_bits(kind);
    if (bits <= 5) {
        return _mm512_permutexvar_epi16(codes, l->t[0]);
    }
    __m512i low = _mm512_permutex2var_epi16(l->t[0], codes, l->t[1]);
    if (bits == 6) {
        return low;
    }
    __mmask32 bit6 = _mm512_test_epi16_mask(codes, _mm512_set1_epi16(0x40));
    low = _mm512_mask_blend_epi16(bit6, low, _mm512_permutex2var_epi16(l->t[2], codes, l->t[3]));
    if (bits == 7) {
        return low;
    }
    __m512i high = _mm512_mask_blend_epi16(bit6, _mm512_permutex2var_epi16(l->t[4], codes, l->t[5]),
                                           _mm512_permutex2var_epi16(l->t[6], codes, l->t[7]));
    return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(codes, _mm512_set1_epi16(0x80)), low, high);
}

#ifdef KVB_VBMI
/* Low or high bytes of 64 codes: of tables from `first` on. */
INLINE __m512i lut_bytes(const lut *l, int bits, __m512i codes, int first) {
    __m512i low = _mm512_permutex2var_epi8(l->t[first], codes, l->t[first + 1]);
    if (bits == 7) {
        return low;
    }
    __m512i high = _mm512_permutex2var_epi8(l->t[first + 2], codes, l->t[first + 3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), low, high);
}
#endif

/* Centroids of a part: n outputs from `first` on, which are constants. */
INLINE void lut_read(const lut *l, int kind, __m512i part, int first, int n, __m512i *out) {
#ifdef KVB_VBMI
    if (is_by_bytes(kind)) {
        int bits = code_bits(kind);
        __m512i low = lut_bytes(l, bits, part, 0), high = lut_bytes(l, bits, part, bits == 7 ? 2 : 4);
        out[0] = _mm512_unpacklo_epi8(low, high);
        out[1] = _mm512_unpackhi_epi8(low, high);
        return;
    }
#endif
    UNROLL
    for (int k = 0; k < n; k++) {
        int down = (first + k) * code_step(kind);
        out[k] = lut_words(l, kind, down ? _mm512_srli_epi16(part, (unsigned)down) : part);
    }
}

/* ---- Scales ---- */

/* The run's scales, 0 behind the last. */
INLINE void read_scales(const kvb_packed_run *run, __m512 scales[2]) {
    uint32_t mask = run->n_rows >= KVB_TILE_TOKENS ? UINT32_MAX : ((uint32_t)1 << run->n_rows) - 1;
    if (run->tables->scale_dtype == KVB_F32) {
        const float *from = (const float *)run->packed.scales + run->first_row;
        scales[0] = _mm512_maskz_loadu_ps((__mmask16)mask, from);
        scales[1] = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), from + 16);
    } else {
        __m512i halves = _mm512_maskz_loadu_epi16(mask, (const uint16_t *)run->packed.scales + run->first_row);
        scales[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
        scales[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
    }
}

#endif
