#include "logits.h"

#include <math.h>
#include <sleef.h>

enum { TOP = 5 };

/* The positions of the TOP largest scores, largest first, earlier ones first among equals. Returns how many. */
static size_t find_top(const float *scores, size_t n, size_t top[TOP]) {
    size_t found = 0;
    for (size_t j = 0; j < n; j++) {
        if (found == TOP && scores[j] <= scores[top[TOP - 1]])
            continue;
        size_t at = found < TOP ? found++ : TOP - 1;
        while (at > 0 && scores[j] > scores[top[at - 1]]) {
            top[at] = top[at - 1];
            at--;
        }
        top[at] = j;
    }
    return found;
}

static size_t lost(const size_t *exact, const size_t *other, size_t n) {
    size_t missing = n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            missing -= exact[i] == other[j];
    return missing;
}

void kvb_logits_compare(const kvb_attend_variants *attend, size_t exact, size_t row, kvb_logit_sums *sums) {
    const float *s = attend->scores + exact * attend->shape.max_len,
                *w = attend->weights + exact * attend->shape.max_len;
    const float *t = attend->scores + row * attend->shape.max_len;
    double squared = 0.0, expected = 0.0; /* expected difference s - t under the exact softmax */
    for (size_t j = 0; j < attend->len; j++) {
        double difference = (double)s[j] - (double)t[j];
        squared += difference * difference;
        expected += (double)w[j] * difference;
    }
    double log_s = attend->max[exact] + Sleef_cinz_logd1_u10purec(attend->sum[exact]);
    double log_t = attend->max[row] + Sleef_cinz_logd1_u10purec(attend->sum[row]);
    double kl = expected / attend->sum[exact] + log_t - log_s;
    size_t top_s[TOP], top_t[TOP], n = find_top(s, attend->len, top_s);
    find_top(t, attend->len, top_t);
    sums->squared += squared;
    sums->count += (double)attend->len;
    sums->kl += kl > 0.0 ? kl : 0.0; /* rounding may take a zero below zero */
    sums->top1 += n > 0 && top_s[0] != top_t[0];
    sums->top5 += n > 0 ? (double)lost(top_s, top_t, n) / (double)n : 0.0;
    sums->queries += 1.0;
}
