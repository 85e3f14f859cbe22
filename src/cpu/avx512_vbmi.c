/* Steps of encoding and decoding by look-ups of 64 bytes at a time. */
#if defined(__x86_64__)
#include "codec_tables.h"
#include "cpu/avx512_encode.h"
#include "cpu/avx512_expand.h"

/* ---- Values to codes ---- */

/* 256 bytes by their number: bit 7 of the index chooses the half. */
typedef struct table {
    vi low[2], high[2];
} table;

INLINE table open_table(const uint8_t *bytes) {
    table t;
    for (int i = 0; i < 2; i++) {
        t.low[i] = _mm512_loadu_si512(bytes + i * n_bytes);
        t.high[i] = _mm512_loadu_si512(bytes + 128 + i * n_bytes);
    }
    return t;
}

INLINE vi look_up(const table *t, vi index, __mmask64 is_high) {
    vi low = _mm512_permutex2var_epi8(t->low[0], index, t->low[1]);
    return _mm512_mask_blend_epi8(is_high, low, _mm512_permutex2var_epi8(t->high[0], index, t->high[1]));
}

/* Where byte `byte` of the word of value i lies, of 64 values packed by packs_epi32 two vectors at a time. */
#define WORD(i, byte) ((i) / 32 * 64 + (((i) % 16 / 4) * 8 + ((i) / 16 % 2) * 4 + (i) % 4) * 2 + (byte))
#define WORDS_4(i, byte) WORD(i, byte), WORD((i) + 1, byte), WORD((i) + 2, byte), WORD((i) + 3, byte)
#define WORDS_16(i, byte) WORDS_4(i, byte), WORDS_4((i) + 4, byte), WORDS_4((i) + 8, byte), WORDS_4((i) + 12, byte)
#define WORDS_64(byte) WORDS_16(0, byte), WORDS_16(16, byte), WORDS_16(32, byte), WORDS_16(48, byte)
static const uint8_t low_bytes[n_bytes] = {WORDS_64(0)}, high_bytes[n_bytes] = {WORDS_64(1)};

/* The words of 32 values (codec_tables.h). What is too large for an integer becomes the most negative one. */
INLINE vi words(vf a, vf b, vf factor) {
    const vf most = vf_all(32767.0f);
    vi first =
        _mm512_cvt_roundps_epi32(_mm512_min_ps(vf_mul(a, factor), most), _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    vi second =
        _mm512_cvt_roundps_epi32(_mm512_min_ps(vf_mul(b, factor), most), _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    return _mm512_packs_epi32(first, second);
}

/* The codes of the values in `which`, one by one. */
static void quantize_singly(const kvb_codec_tables *tables, const float *row, int n, float factor, __mmask64 which,
                            uint8_t *codes) {
    for (int i = 0; i < n && i < n_bytes; i++) {
        if (which >> i & 1) {
            float value = row[i] * factor;
            int code = tables->buckets[kvb_bucket_of(tables, value)].code;
            while (value > tables->midpoints[code]) { /* the last is Inf */
                code++;
            }
            codes[i] = (uint8_t)code;
        }
    }
}

INLINE void quantize(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes, int parts,
                     int has_tails) {
    int n = tables->head_dim;
    vf word_factor = vf_all(factor * tables->word_factor);
    const vi lows = _mm512_loadu_si512(low_bytes), highs = _mm512_loadu_si512(high_bytes);
    table starts[2], ends[2];
    for (int p = 0; p < parts; p++) {
        starts[p] = open_table(tables->word_codes + 256 * p);
        ends[p] = open_table(tables->word_ends + 256 * p);
    }
    for (int i = 0; i < n; i += n_bytes) {
        vi ab = words(load_at(row, n, i), load_at(row, n, i + 16), word_factor);
        vi cd = words(load_at(row, n, i + 32), load_at(row, n, i + 48), word_factor);
        vi low = _mm512_permutex2var_epi8(ab, lows, cd), high = _mm512_permutex2var_epi8(ab, highs, cd);
        __mmask64 is_negative = _mm512_movepi8_mask(high);
        vi code = look_up(&starts[0], high, is_negative), end = look_up(&ends[0], high, is_negative);
        if (parts == 2) {
            __mmask64 bit7 = _mm512_movepi8_mask(low);
            code = _mm512_mask_blend_epi8(bit7, code, look_up(&starts[1], high, is_negative));
            end = _mm512_mask_blend_epi8(bit7, end, look_up(&ends[1], high, is_negative));
        }
        code = _mm512_mask_sub_epi8(code, _mm512_cmpgt_epu8_mask(low, end), code, _mm512_set1_epi8(-1));
        _mm512_storeu_si512(codes + i, code);
        if (has_tails) {
            vi from_end = _mm512_add_epi8(high, _mm512_set1_epi8(-0x7f)); /* 0x7f and 0x80 become 0 and 1 */
            __mmask64 tails = _mm512_cmple_epu8_mask(from_end, _mm512_set1_epi8(1));
            if (tails) {
                quantize_singly(tables, row + i, n - i, factor, tails, codes + i);
            }
        }
    }
}

void kvb_avx512_vbmi_quantize(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes) {
    if (tables->word_parts == 1) {
        quantize(tables, row, factor, codes, 1, 0);
    } else if (!tables->word_has_tails) {
        quantize(tables, row, factor, codes, 2, 0);
    } else {
        quantize(tables, row, factor, codes, 2, 1);
    }
}

/* ---- Codes to centroids ---- */

void kvb_avx512_vbmi_project(const kvb_codec_tables *tables, const float *row, const uint8_t *codes, float *row_c,
                             float *c_c) {
    if (tables->bits == 8) {
        project_codes(tables, row, codes, row_c, c_c, 8);
    } else {
        project_codes(tables, row, codes, row_c, c_c, 7);
    }
}

void kvb_avx512_vbmi_expand(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out) {
    if (tables->bits == 8) {
        expand_codes(tables, codes, scale, out, 8);
    } else {
        expand_codes(tables, codes, scale, out, 7);
    }
}
#endif
