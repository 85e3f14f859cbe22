/* Dots of sixteen rows to weights, AVX-512: lanes are tokens, and rows where a row has one number. */
#include "cpu/avx512_lanes.h"

/* A row's maximum rises only when a logit exceeds it by this, so that sums are hardly ever rescaled. Until then weights
 * are up to e^8, and `max` is what they are relative to. */
static const float headroom = 8.0f;

/* e^x; 0 below -87. Cephes' exp2f, to 2 units in the last place. */
INLINE __m512 exp_lanes(__m512 x) {
    __m512 t = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f));
    __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 f = _mm512_sub_ps(t, n), p = _mm512_set1_ps(1.535336188319500e-4f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.339887440266574e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.618437357674640e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.550332471162809e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.402264791363012e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.931472028550421e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.0f), _CMP_NLT_UQ), p, n);
}

/* What the rows' maxima become, in `max` and, for rows that see nothing yet 0, in `references`; returns what multiplies
 * what was summed before. From the empty state that is 1: there is nothing but zeros. */
INLINE __m512 raise_maxima(__m512 tops, float *max, float *references) {
    __m512 old = _mm512_loadu_ps(max), none = _mm512_set1_ps(-INFINITY);
    __mmask16 is_raised = _mm512_cmp_ps_mask(tops, _mm512_add_ps(old, _mm512_set1_ps(headroom)), _CMP_GT_OQ);
    __m512 new = _mm512_mask_mov_ps(old, is_raised, tops);
    _mm512_storeu_ps(max, new);
    _mm512_storeu_ps(references, _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(new, none, _CMP_NEQ_OQ), new));
    __mmask16 had_some = _mm512_cmp_ps_mask(old, none, _CMP_NEQ_OQ);
    return _mm512_mask_mov_ps(_mm512_set1_ps(1.0f), is_raised & had_some, exp_lanes(_mm512_sub_ps(old, new)));
}

void KVB_STEP(weigh_many)(float *dots, const uint32_t visible[KVB_WEIGH_ROWS], float scale, float softcap, float *max,
                          float *sum, float factors[KVB_WEIGH_ROWS]) {
    float references[KVB_WEIGH_ROWS];
    __m512 each[KVB_WEIGH_ROWS];
    for (int r = 0; r < KVB_WEIGH_ROWS; r++) {
        each[r] = _mm512_set1_ps(-INFINITY);
        for (int i = 0; i < KVB_TILE_TOKENS; i += lanes) {
            float *at = dots + r * KVB_TILE_TOKENS + i;
            __m512 logits = soften(_mm512_loadu_ps(at), scale, softcap);
            logits = _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), (__mmask16)(visible[r] >> i), logits);
            _mm512_storeu_ps(at, logits);
            each[r] = _mm512_max_ps(logits, each[r]); /* not a NaN */
        }
    }
    __m512 factor = raise_maxima(lane_maxima(each), max, references);
    for (int r = 0; r < KVB_WEIGH_ROWS; r++) {
        __m512 reference = _mm512_set1_ps(references[r]);
        each[r] = _mm512_setzero_ps();
        for (int i = 0; i < KVB_TILE_TOKENS; i += lanes) {
            float *at = dots + r * KVB_TILE_TOKENS + i;
            __m512 weights = exp_lanes(_mm512_sub_ps(_mm512_loadu_ps(at), reference));
            _mm512_storeu_ps(at, weights);
            each[r] = _mm512_add_ps(each[r], weights);
        }
    }
    _mm512_storeu_ps(factors, factor);
    _mm512_storeu_ps(sum, _mm512_fmadd_ps(_mm512_loadu_ps(sum), factor, lane_sums(each)));
}
