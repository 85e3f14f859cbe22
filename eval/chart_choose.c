/* Which pairs get a line or a row of their own. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "charts.h"

int kvb_chart_is_cheapest(const json_t *document, const json_t *cell) {
    char name[KVB_VIEW_NAME], cheapest[KVB_VIEW_NAME];
    size_t i;
    json_t *needed;
    kvb_view_pair(cell, name);
    json_array_foreach(json_object_get(document, "needed"), i, needed) {
        kvb_view_pair(json_object_get(needed, "cheapest_pair"), cheapest);
        if (strcmp(name, cheapest) == 0) {
            return 1;
        }
    }
    return 0;
}

static int by_distance(const void *a, const void *b) {
    const kvb_chosen *p = a, *q = b;
    return p->distance != q->distance ? (p->distance > q->distance) - (p->distance < q->distance)
                                      : strcmp(p->name, q->name);
}

static int by_bits(const void *a, const void *b) {
    const kvb_chosen *p = a, *q = b;
    return p->bits != q->bits ? (p->bits > q->bits) - (p->bits < q->bits) : strcmp(p->name, q->name);
}

int kvb_chart_choose(const json_t *document, kvb_chosen *out, int limit, kvb_writer *problems) {
    const json_t *pairs = json_object_get(document, "worst_pairs");
    double thresholds[2] = {0.1, 0.1};
    kvb_view_thresholds(document, thresholds);
    size_t i, size = json_array_size(pairs);
    kvb_chosen *all = calloc(size + 1, sizeof *all);
    int n = 0;
    json_t *worst;
    if (all == NULL) {
        problems->failed = 1;
        return 0;
    }
    json_array_foreach(pairs, i, worst) {
        kvb_chosen *c = &all[n];
        int code = kvb_view_code_bits(kvb_view_string(worst, "k")) > 0;
        double error = kvb_view_real(worst, "nrmse_worst");
        kvb_view_pair(worst, c->name);
        c->worst = worst;
        c->bits = kvb_view_real(worst, "average_bits");
        /* Codes alike first, then other pairs, then baselines: the steps are larger than any distance. */
        c->distance = fmin(fabs(log(fmax(error, 1e-30) / thresholds[0])), 900);
        c->distance += kvb_chart_is_cheapest(document, worst) ? 0
                       : !code                                ? 3000
                       : kvb_view_symmetric(worst)            ? 1000
                                                              : 2000;
        n += isfinite(c->bits) && isfinite(error);
    }
    qsort(all, (size_t)n, sizeof *all, by_distance);
    n = n < limit ? n : limit;
    qsort(all, (size_t)n, sizeof *all, by_bits);
    memcpy(out, all, (size_t)n * sizeof *all);
    free(all);
    return n;
}

void kvb_chart_name_chosen(const kvb_chosen *c, char *text, size_t size) {
    double bits = kvb_view_code_bits(kvb_view_string(c->worst, "k"));
    if (bits > 0 && kvb_view_symmetric(c->worst)) {
        snprintf(text, size, "%g bit%s", bits, bits == 1 ? "" : "s");
    } else {
        snprintf(text, size, kvb_view_symmetric(c->worst) ? "%s" : "K/V %s", c->name);
    }
}
