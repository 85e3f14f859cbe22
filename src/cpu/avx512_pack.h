/* The loops of pack.c in AVX-512, 64 bytes at a time. Shifts are of words: the bits that cross a byte are masked. */
#include "cpu/avx512_expand.h"

/* Shifts left, or right where `by` is negative. */
INLINE vi shift_by(vi x, int by) {
    return by > 0 ? _mm512_slli_epi16(x, (unsigned)by) : by < 0 ? _mm512_srli_epi16(x, (unsigned)-by) : x;
}

INLINE __mmask64 bytes_at(int n, int at) {
    return n - at >= n_bytes ? ~(__mmask64)0 : ((__mmask64)1 << (n - at)) - 1;
}

INLINE void pack_bytes(const uint8_t *codes, int stride, int shift, int width, __mmask64 some, uint8_t *plane) {
    vi bytes = vi_zero();
    for (int field = 0; field < 8 / width; field++) {
        const vi mask = _mm512_set1_epi8((char)(((1 << width) - 1) << (field * width)));
        vi code = _mm512_maskz_loadu_epi8(some, codes + field * stride);
        bytes = _mm512_or_si512(bytes, _mm512_and_si512(shift_by(code, field * width - shift), mask));
    }
    _mm512_mask_storeu_epi8(plane, some, bytes);
}

INLINE void pack_plane(const uint8_t *codes, int n, int shift, int width, uint8_t *plane) {
    int stride = kvb_layout_plane_bytes(n, width), at = 0;
    for (; at + n_bytes <= stride; at += n_bytes) {
        pack_bytes(codes + at, stride, shift, width, ~(__mmask64)0, plane + at);
    }
    if (at < stride) {
        pack_bytes(codes + at, stride, shift, width, bytes_at(stride, at), plane + at);
    }
}

/* `shift` 0 is the first plane: it sets the codes, the others add their bits. */
INLINE void unpack_bytes(const uint8_t *plane, int stride, int shift, int width, __mmask64 some, uint8_t *codes) {
    vi bytes = _mm512_maskz_loadu_epi8(some, plane);
    const vi mask = _mm512_set1_epi8((char)(((1 << width) - 1) << shift));
    for (int field = 0; field < 8 / width; field++) {
        uint8_t *to = codes + field * stride;
        vi code = _mm512_and_si512(shift_by(bytes, shift - field * width), mask);
        if (shift) {
            code = _mm512_or_si512(code, _mm512_maskz_loadu_epi8(some, to));
        }
        _mm512_mask_storeu_epi8(to, some, code);
    }
}

INLINE void unpack_plane(const uint8_t *plane, int n, int shift, int width, uint8_t *codes) {
    int stride = kvb_layout_plane_bytes(n, width), at = 0;
    for (; at + n_bytes <= stride; at += n_bytes) {
        unpack_bytes(plane + at, stride, shift, width, ~(__mmask64)0, codes + at);
    }
    if (at < stride) {
        unpack_bytes(plane + at, stride, shift, width, bytes_at(stride, at), codes + at);
    }
}

#define KVB_OWN_PLANES
#include "cpu/pack.c"
