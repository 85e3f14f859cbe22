/* trellis.c for eight states at a time: those of the lower half with those of the upper one that lead to the same
 * states. Of 16 states all costs stay in registers. */
#ifndef KVB_CPU_TRELLIS_AVX2_H
#define KVB_CPU_TRELLIS_AVX2_H

#include "cpu/ops.h"
#include "cpu/step.h"

#include <immintrin.h>
#include <math.h>

enum { most_groups = KVB_MAX_TRELLIS_STATES / 16 };

/* States 2 p and 2 p + 1 from p and p + half, for eight p; bit 0 to 7 of `from` are those of states 2 p, the next eight
 * those of 2 p + 1. A minimum takes its second operand unless the first is less. */
static inline __attribute__((always_inline)) uint16_t take_step(__m256 low, __m256 high, __m256 straight,
                                                                __m256 crossed, __m256 after[2]) {
    __m256 even_low = _mm256_add_ps(low, straight), even_high = _mm256_add_ps(high, crossed);
    __m256 odd_low = _mm256_add_ps(low, crossed), odd_high = _mm256_add_ps(high, straight);
    __m256 even = _mm256_min_ps(even_high, even_low), odd = _mm256_min_ps(odd_high, odd_low);
    __m256 first = _mm256_unpacklo_ps(even, odd), second = _mm256_unpackhi_ps(even, odd);
    after[0] = _mm256_permute2f128_ps(first, second, 0x20);
    after[1] = _mm256_permute2f128_ps(first, second, 0x31);
    int even_from = _mm256_movemask_ps(_mm256_cmp_ps(even_high, even_low, _CMP_LT_OQ));
    int odd_from = _mm256_movemask_ps(_mm256_cmp_ps(odd_high, odd_low, _CMP_LT_OQ));
    return (uint16_t)(even_from | odd_from << 8);
}

/* Costs of all states behind the row; `groups` is a constant, states / 16. */
static inline __attribute__((always_inline)) void go_forward(const kvb_codec_tables *tables, const float *row,
                                                             float factor, const uint8_t *codes, int groups,
                                                             uint16_t (*from)[most_groups], float *costs) {
    __m256 before[2 * most_groups], after[2 * most_groups];
    __m256i subsets[most_groups];
    for (int g = 0; g < groups; g++) {
        subsets[g] = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(tables->trellis_subsets + 8 * g)));
    }
    for (int g = 0; g < 2 * groups; g++) {
        before[g] = _mm256_set1_ps(INFINITY);
    }
    before[0] = _mm256_blend_ps(before[0], _mm256_setzero_ps(), 1);
    for (int i = 0; i < tables->head_dim; i++) {
        __m256 levels = _mm256_broadcast_ps((const __m128 *)(const void *)(tables->centroids + codes[i]));
        __m256 errors = _mm256_sub_ps(_mm256_set1_ps(row[i] * factor), levels);
        errors = _mm256_mul_ps(errors, errors);
        __m256i first = _mm256_set1_epi32(codes[i]), two = _mm256_set1_epi32(2);
        for (int g = 0; g < groups; g++) {
            __m256i place = _mm256_sub_epi32(subsets[g], first); /* its two low bits count */
            __m256 straight = _mm256_permutevar_ps(errors, place);
            __m256 crossed = _mm256_permutevar_ps(errors, _mm256_xor_si256(place, two));
            from[i][g] = take_step(before[g], before[groups + g], straight, crossed, after + 2 * g);
        }
        for (int g = 0; g < 2 * groups; g++) {
            before[g] = after[g];
        }
    }
    for (int g = 0; g < 2 * groups; g++) {
        _mm256_storeu_ps(costs + 8 * g, before[g]);
    }
}

static void go_back(const kvb_codec_tables *tables, uint16_t (*from)[most_groups], int state, uint8_t *codes,
                    uint8_t *path) {
    int high = tables->trellis_memory - 1;
    for (int i = tables->head_dim - 1; i >= 0; i--) {
        int input = state & 1, p = state >> 1, is_high = from[i][p / 8] >> (p % 8 + 8 * input) & 1;
        int subset = tables->trellis_subsets[p] ^ 2 * (input ^ is_high);
        codes[i] = (uint8_t)(codes[i] + ((subset - codes[i]) & 3));
        path[i] = (uint8_t)input;
        state = p | is_high << high;
    }
}

static void KVB_STEP(find_path)(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes,
                                uint8_t *path) {
    uint16_t from[KVB_MAX_HEAD_DIM][most_groups];
    float costs[KVB_MAX_TRELLIS_STATES];
    switch (tables->trellis_states) {
    case 16:
        go_forward(tables, row, factor, codes, 1, from, costs);
        break;
    case 64:
        go_forward(tables, row, factor, codes, 4, from, costs);
        break;
    case 256:
        go_forward(tables, row, factor, codes, 16, from, costs);
        break;
    default:
        KVB_STEP(find_path_by_states)(tables, row, factor, codes, path);
        return;
    }
    int best = 0;
    for (int state = 1; state < tables->trellis_states; state++) {
        best = costs[state] < costs[best] ? state : best;
    }
    go_back(tables, from, best, codes, path);
}

#endif
