#include "plain.h"

#include <math.h>

float kvb_plain_dot(const float *a, const float *b, size_t d) {
    float sum = 0.0f;
    for (size_t c = 0; c < d; c++)
        sum += a[c] * b[c];
    return sum;
}

void kvb_plain_round_trip(const float *centroids, int levels, const float *row, size_t d, float *out) {
    float norm = sqrtf(kvb_plain_dot(row, row, d)), inverse = 1.0f / norm, root = sqrtf((float)d),
          inverse_root = 1.0f / root;
    for (size_t c = 0; c < d; c++) {
        if (norm < 1e-30f) {
            out[c] = 0.0f;
            continue;
        }
        float value = row[c] * inverse * root;
        int code = 0;
        for (int i = 0; i + 1 < levels; i++)
            code += value > (centroids[i] + centroids[i + 1]) / 2.0f;
        out[c] = centroids[code] * inverse_root * norm;
    }
}

void kvb_plain_hadamard(float *row, size_t d) {
    for (size_t h = 1; h < d; h *= 2)
        for (size_t i = 0; i < d; i += 2 * h)
            for (size_t j = i; j < i + h; j++) {
                float a = row[j], b = row[j + h];
                row[j] = a + b;
                row[j + h] = a - b;
            }
    float scale = 1.0f / sqrtf((float)d);
    for (size_t i = 0; i < d; i++)
        row[i] *= scale;
}
