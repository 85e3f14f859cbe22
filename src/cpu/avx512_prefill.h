/* Attention of many query rows in fixed point, AVX-512: packed rows become a tile of 16-bit centroids once, and that
 * tile is multiplied with blocks of query rows. Keys and values share the way from planes to centroids. */
#ifndef KVB_CPU_AVX512_PREFILL_H
#define KVB_CPU_AVX512_PREFILL_H

#include "cpu/avx512_attend.h"
#include "cpu/avx512_lanes.h"
#include "cpu/each_width.h"
#include "half.h"

#include <string.h>

enum {
    row_block = 8,    /* query rows that share the centroids in registers */
    weight_rows = 16, /* rows of weights that are fixed side by side */
    chunk = 16,       /* bytes of a packed row that are read at a time */
    most_chunks = 7,  /* 4 + 2 + 1 chunks of three planes hold whole codes of 7 bits */
    words = 32
};

/* Of integers times centroids; leaves room for the roundings of the integers. */
static const float largest_sum = 0x1p31f * 0.99f;

/* ---- Centroids of codes ---- */

typedef struct word_table {
    __m512i words[KVB_MAX_LEVELS / words];
} word_table;

INLINE word_table open_table(const kvb_codec_tables *tables, int bits) {
    word_table table;
    int n = bits > 5 ? 1 << (bits - 5) : 1;
    for (int i = 0; i < n; i++) {
        table.words[i] = _mm512_loadu_si512(tables->fixed + (size_t)i * words);
    }
    return table;
}

/* Words whose low `bits` bits are codes (5 where they have fewer); what stands above does not count. */
INLINE __m512i look_up(const word_table *table, int bits, __m512i codes) {
    const __m512i *t = table->words;
    if (bits <= 5) {
        return _mm512_permutexvar_epi16(codes, t[0]);
    }
    __m512i found = _mm512_permutex2var_epi16(t[0], codes, t[1]);
    if (bits >= 7) {
        __mmask32 is_upper = _mm512_test_epi16_mask(codes, _mm512_set1_epi16(1 << 6));
        found = _mm512_mask_mov_epi16(found, is_upper, _mm512_permutex2var_epi16(t[2], codes, t[3]));
        if (bits == 8) {
            __m512i low = _mm512_permutex2var_epi16(t[4], codes, t[5]);
            __m512i high = _mm512_permutex2var_epi16(t[6], codes, t[7]);
            __mmask32 is_highest = _mm512_test_epi16_mask(codes, _mm512_set1_epi16(1 << 7));
            found = _mm512_mask_mov_epi16(found, is_highest, _mm512_mask_mov_epi16(low, is_upper, high));
        }
    }
    return found;
}

/* ---- Codes of packed rows ---- */

/* Where a run's rows lie, by plane. */
typedef struct code_source {
    const uint8_t *rows[KVB_MAX_PLANES][KVB_TILE_TOKENS]; /* behind the last row, the last again */
    int stride;                                           /* bytes of a row of the narrowest plane */
} code_source;

INLINE int narrowest_plane(int bits) {
    return bits & 1 ? 1 : bits & 2 ? 2 : bits & 4 ? 4 : 8;
}

INLINE int has_plane(int bits, int width) {
    return bits == 8 ? width == 8 : width < 8 && (bits & width);
}

/* 1 when chunks of all planes hold the same coordinates. If not, rows are unpacked to bytes first, and read as if they
 * had 8 bits. */
static inline int is_direct(const kvb_codec_tables *tables) {
    return tables->head_dim * narrowest_plane(tables->bits) / 8 % chunk == 0;
}

static inline int source_bits(const kvb_codec_tables *tables) {
    return is_direct(tables) ? tables->bits : 8;
}

static inline void open_source(code_source *source, const kvb_packed_run *run, uint8_t *codes) {
    const kvb_codec_tables *tables = run->tables;
    int dim = tables->head_dim, direct = is_direct(tables), last = run->n_rows - 1;
    source->stride = direct ? dim * narrowest_plane(tables->bits) / 8 : dim;
    for (int row = 0; row < KVB_TILE_TOKENS; row++) {
        size_t at = (size_t)(row < last ? row : last);
        const uint8_t *planes[KVB_MAX_PLANES];
        for (int p = 0; p < tables->n_planes; p++) {
            size_t bytes = (size_t)kvb_layout_plane_bytes(dim, tables->plane_widths[p]);
            planes[p] = run->packed.planes[p] + (run->first_row + at) * bytes;
            source->rows[p][row] = planes[p];
        }
        if (!direct) {
            uint8_t *out = codes + at * KVB_FIXED_DIM(dim);
            source->rows[0][row] = out;
            if (row <= last) {
                kvb_avx512_unpack(tables, planes, out);
            }
        }
    }
}

/* Bytes [at, at + chunk) of four rows, `step` apart. */
INLINE __m512i read_rows(const uint8_t *const *rows, int step, int at) {
    __m512i x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(rows[0] + at)));
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(rows[step] + at)), 1);
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(rows[2 * step] + at)), 2);
    return _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(rows[3 * step] + at)), 3);
}

/* Codes from bytes: chunks[k], k counting the chunks of plane after plane, each `step` vectors of which this is one.
 * Coordinates of a field lie `stride` apart from those of the field before. */
INLINE __m512i combine(const __m512i *chunks, int step, int bits, int field) {
    int narrowest = narrowest_plane(bits), shift = 0, first = 0;
    __m512i codes = _mm512_setzero_si512();
    for (int width = 8; width > 0; width /= 2) {
        if (!has_plane(bits, width)) {
            continue;
        }
        int times = width / narrowest, down = field / times * width;
        __m512i bytes = chunks[(first + field % times) * step];
        bytes = down ? _mm512_srli_epi16(bytes, (unsigned)down) : bytes;
        bytes = width < 8 ? _mm512_and_si512(bytes, _mm512_set1_epi8((char)((1 << width) - 1))) : bytes;
        bytes = shift ? _mm512_slli_epi16(bytes, (unsigned)shift) : bytes;
        codes = shift ? _mm512_or_si512(codes, bytes) : bytes;
        shift += width;
        first += times;
    }
    return codes;
}

/* ---- Scales ---- */

/* The run's scales, 0 behind the last. */
static inline void read_tile_scales(const kvb_packed_run *run, __m512 scales[2]) {
    uint32_t all = run->n_rows == KVB_TILE_TOKENS ? UINT32_MAX : ((uint32_t)1 << run->n_rows) - 1;
    for (int i = 0; i < 2; i++) {
        __mmask16 mask = (__mmask16)(all >> (i * lanes));
        if (run->tables->scale_dtype == KVB_F32) {
            const float *from = (const float *)run->packed.scales + run->first_row;
            scales[i] = _mm512_maskz_loadu_ps(mask, from + i * lanes);
        } else {
            const uint16_t *from = (const uint16_t *)run->packed.scales + run->first_row;
            scales[i] = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from + i * lanes));
        }
    }
}

#endif
