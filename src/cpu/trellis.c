/* The path of least error through a trellis, by Viterbi's algorithm in the arithmetic of docs/format.md, section 3. A
 * state is the inputs so far, the last one in its lowest bit: state p with input u leads to (2 p + u) modulo the
 * states, so that states 2 p and 2 p + 1 both come from p and from p + states / 2. */
#include "cpu/ops.h"
#include "cpu/step.h"

#include <math.h>

enum { most_states = KVB_MAX_TRELLIS_STATES, state_words = most_states / 32 };

/* One coordinate: costs of all states before and after, `errors` by subset. Bit i of `from` is set where the better way
 * to state i is from the upper half. A way that is not better by comparison, NaN included, is not taken. */
static inline void step(const kvb_codec_tables *tables, const float *before, const float errors[4], float *after,
                        uint32_t from[state_words]) {
    int half = tables->trellis_states / 2;
    for (int word = 0; word < state_words; word++) {
        from[word] = 0;
    }
    for (int p = 0; p < half; p++) {
        float straight = errors[tables->trellis_subsets[p]], crossed = errors[tables->trellis_subsets[p] ^ 2];
        float even_low = before[p] + straight, even_high = before[p + half] + crossed;
        float odd_low = before[p] + crossed, odd_high = before[p + half] + straight;
        int even = even_high < even_low, odd = odd_high < odd_low;
        after[2 * p] = even ? even_high : even_low;
        after[2 * p + 1] = odd ? odd_high : odd_low;
        from[p / 16] |= (uint32_t)(even | odd << 1) << (2 * p % 32);
    }
}

void KVB_STEP(find_path_by_states)(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes,
                                   uint8_t *path) {
    int n = tables->head_dim, states = tables->trellis_states, high = tables->trellis_memory - 1;
    uint32_t from[KVB_MAX_HEAD_DIM][state_words];
    float costs[2][most_states];
    for (int state = 0; state < states; state++) {
        costs[0][state] = state == 0 ? 0.0f : INFINITY;
    }
    for (int i = 0; i < n; i++) {
        float value = row[i] * factor, errors[4];
        for (int level = codes[i]; level < codes[i] + 4; level++) {
            float error = value - tables->centroids[level];
            errors[level & 3] = error * error;
        }
        step(tables, costs[i & 1], errors, costs[(i + 1) & 1], from[i]);
    }
    int state = 0;
    for (int s = 1; s < states; s++) {
        state = costs[n & 1][s] < costs[n & 1][state] ? s : state;
    }
    for (int i = n - 1; i >= 0; i--) {
        int input = state & 1, is_high = (int)(from[i][state / 32] >> (state % 32) & 1), p = state >> 1;
        int subset = tables->trellis_subsets[p] ^ 2 * (input ^ is_high);
        codes[i] = (uint8_t)(codes[i] + ((subset - codes[i]) & 3));
        path[i] = (uint8_t)input;
        state = p | is_high << high;
    }
}
