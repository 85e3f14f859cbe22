/* load.c in AVX-512. Whole vectors are stored, as the rotation loads them again before narrower ones would have left
 * the store buffer. */
#include "cpu/avx512_expand.h"
#include "half.h"

INLINE vf widen_bfloat(__m256i bfloats) {
    vi bits = _mm512_slli_epi32(_mm512_cvtepu16_epi32(bfloats), 16);
    vf x = _mm512_castsi512_ps(bits);
    __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_castsi512_ps(_mm512_mask_or_epi32(bits, is_nan, bits, _mm512_set1_epi32(0x00400000)));
}

/* n is a multiple of 8: of the last vector there may be half. */
static void load(const void *values, kvb_dtype dtype, int n, float *out) {
    const uint16_t *halves = values;
    for (int i = 0; i < n; i += VEC_FLOATS) {
        if (dtype == KVB_F32) {
            store_at(out, n, i, load_at(values, n, i));
            continue;
        }
        __m256i narrow = i + VEC_FLOATS <= n ? _mm256_loadu_si256((const __m256i *)(halves + i))
                                             : _mm256_maskz_loadu_epi16(lanes_at(n, i), halves + i);
        store_at(out, n, i, dtype == KVB_F16 ? _mm512_cvtph_ps(narrow) : widen_bfloat(narrow));
    }
}
