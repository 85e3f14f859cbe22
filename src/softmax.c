#include "softmax.h"

void kvb_softmax_begin(kvb_softmax_state *state, float *accumulator, int dim) {
    *state = (kvb_softmax_state){.max = -INFINITY, .sum = 0.0f, .accumulator = accumulator};
    for (int i = 0; i < dim; i++) {
        accumulator[i] = 0.0f;
    }
}

static void multiply(kvb_softmax_state *state, float factor, int dim) {
    if (factor != 1.0f) {
        state->sum *= factor;
        for (int i = 0; i < dim; i++) {
            state->accumulator[i] *= factor;
        }
    }
}

void kvb_softmax_update(kvb_softmax_state *state, const float *logits, const float *values, size_t stride, size_t n,
                        int dim) {
    float top = state->max;
    for (size_t t = 0; t < n; t++) {
        top = logits[t] > top ? logits[t] : top;
    }
    multiply(state, kvb_softmax_rescale(state->max, top), dim);
    state->max = top;
    for (size_t t = 0; t < n; t++) {
        if (logits[t] != -INFINITY) {
            float weight = expf(logits[t] - top);
            state->sum += weight;
            for (int i = 0; i < dim; i++) {
                state->accumulator[i] += weight * values[t * stride + (size_t)i];
            }
        }
    }
}

void kvb_softmax_merge(kvb_softmax_state *state, const kvb_softmax_state *other, int dim) {
    kvb_softmax_join(&state->max, &state->sum, state->accumulator, other->max, other->sum, other->accumulator, dim);
}

float kvb_softmax_lse(const kvb_softmax_state *state) {
    return state->max + logf(state->sum);
}

float kvb_softmax_finish(const kvb_softmax_state *state, float sink, float *out, int dim) {
    float lse;
    float factor = kvb_softmax_normalize(state->max, state->sum, sink, &lse);
    for (int i = 0; i < dim; i++) {
        out[i] = state->accumulator[i] * factor;
    }
    return lse;
}
