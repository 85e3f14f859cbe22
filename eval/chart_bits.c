/* Error against stored bits: K and V alike, each side alone, other pairs and baselines. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "charts.h"

enum { MAX_POINTS = 64, SERIES = 5 };
enum { ALIKE, K_ALONE, V_ALONE, MIXED, BASELINE };

typedef struct series {
    kvb_point points[MAX_POINTS];
    char names[MAX_POINTS][KVB_VIEW_NAME];
    int n;
} series;

static int by_x(const void *a, const void *b) {
    const kvb_point *p = a, *q = b;
    return (p->x > q->x) - (p->x < q->x);
}

/* A narrow chart has no room for every mixed pair: it shows those that are the cheapest at a threshold. */
static void add_pairs(const json_t *document, int narrow, series *all) {
    size_t i;
    json_t *worst;
    json_array_foreach(json_object_get(document, "worst_pairs"), i, worst) {
        const char *k = kvb_view_string(worst, "k"), *v = kvb_view_string(worst, "v");
        int codes = kvb_view_code_bits(k) > 0 && kvb_view_code_bits(v) > 0;
        series *s = &all[codes ? kvb_view_symmetric(worst) ? ALIKE : MIXED : BASELINE];
        kvb_point point = {kvb_view_real(worst, "average_bits"), kvb_view_real(worst, "nrmse_worst"),
                           kvb_view_real(worst, "nrmse_low"), kvb_view_real(worst, "nrmse_high"), NULL};
        if (s->n == MAX_POINTS || !isfinite(point.x) || !isfinite(point.y)) {
            continue;
        }
        int cheapest = s == &all[MIXED] && kvb_chart_is_cheapest(document, worst);
        if (s == &all[MIXED] && narrow && !cheapest) {
            continue;
        }
        if (s == &all[BASELINE] || cheapest) {
            kvb_view_pair(worst, s->names[s->n]);
            point.label = s->names[s->n];
        }
        s->points[s->n++] = point;
    }
    qsort(all[ALIKE].points, (size_t)all[ALIKE].n, sizeof(kvb_point), by_x);
}

static void add_sides(const json_t *document, char side, series *s) {
    kvb_view_side sides[MAX_POINTS];
    int n = kvb_view_sides(document, side, sides, MAX_POINTS);
    for (int i = 0; i < n; i++) {
        if (kvb_view_code_bits(sides[i].name) > 0) {
            s->points[s->n++] = (kvb_point){sides[i].bits, sides[i].mean, sides[i].low, sides[i].high, NULL};
        }
    }
}

/* Labels keep clear of every mark and, where they can, of K and V alike: the other lines run beside it or below. */
static void write_labels(kvb_frame *frame, const series *all) {
    kvb_point points[SERIES * MAX_POINTS];
    int n = 0;
    for (int s = SERIES - 1; s >= 0; s--) { /* those with labels first */
        memcpy(points + n, all[s].points, (size_t)all[s].n * sizeof *points);
        n += all[s].n;
    }
    kvb_frame_point_labels(frame, points, n, all[ALIKE].points, all[ALIKE].n, KVB_COLOR_TEXT);
}

static void set_frame(const json_t *document, kvb_frame *frame, const series *all) {
    double thresholds[2], low = 16, high = 1;
    int n = kvb_view_thresholds(document, thresholds);
    kvb_range errors = {INFINITY, 0};
    for (int s = 0; s < SERIES; s++) {
        for (int i = 0; i < all[s].n; i++) {
            kvb_range_add_point(&errors, &all[s].points[i]);
            low = fmin(low, all[s].points[i].x);
            high = fmax(high, all[s].points[i].x);
        }
    }
    for (int i = 0; i < n; i++) {
        kvb_range_add(&errors, thresholds[i]);
    }
    kvb_range_finish(&errors);
    frame->height = frame->narrow ? 360 : 420;
    frame->left = frame->narrow ? 40 : 52;
    frame->right = 38;
    frame->top = 28;
    frame->bottom = 44;
    frame->x_low = fmax(0, floor(low * 2 - 0.5) / 2);
    frame->x_high = fmin(64, ceil(high * 2 + 0.5) / 2);
    frame->y_low = errors.low;
    frame->y_high = errors.high;
    frame->y_log = 1;
}

static void write_frame(const json_t *document, kvb_frame *frame) {
    kvb_frame_begin(frame);
    kvb_frame_log_ticks(frame, 'y');
    kvb_frame_clear_ticks(frame, 'x');
    for (int bits = (int)ceil(frame->x_low); bits <= frame->x_high; bits++) {
        char text[16];
        snprintf(text, sizeof text, "%d", bits);
        kvb_frame_tick(frame, 'x', bits, text);
    }
    kvb_frame_titles(frame, "worst mean NRMSE, log scale", "stored bits per value, scales included");
    kvb_frame_thresholds(frame, document, 'y');
}

static void write_legend(const json_t *document, const series *all, kvb_chart *chart) {
    static const struct {
        const char *text;
        kvb_shape shape;
        int color;
    } entries[SERIES] = {{"K and V alike", KVB_SHAPE_LINE, KVB_COLOR_SERIES_0},
                         {"only K quantized", KVB_SHAPE_LINE, KVB_COLOR_SERIES_1},
                         {"only V quantized", KVB_SHAPE_LINE, KVB_COLOR_SERIES_2},
                         {"K and V at different widths", KVB_SHAPE_DOT, KVB_COLOR_MUTED},
                         {"baselines", KVB_SHAPE_SQUARE, KVB_COLOR_SERIES_3}};
    for (int s = 0; s < SERIES; s++) {
        if (all[s].n > 0) {
            kvb_chart_add_legend(chart, entries[s].shape, entries[s].color, entries[s].text);
        }
    }
    kvb_chart_add_threshold_legend(chart, document);
}

int kvb_chart_bits(const json_t *document, kvb_frame *frame, kvb_chart *chart) {
    series *all = calloc(SERIES, sizeof *all);
    if (all == NULL) {
        frame->out->failed = 1;
        return 0;
    }
    add_pairs(document, frame->narrow, all);
    add_sides(document, 'k', &all[K_ALONE]);
    add_sides(document, 'v', &all[V_ALONE]);
    int n = 0;
    for (int s = 0; s < SERIES; s++) {
        n += all[s].n;
    }
    if (n > 0) {
        chart->id = "bits";
        chart->title = "Error against stored bits";
        chart->note = "The worst mean error of the attention output over all cells, with its 95 % interval. Lower is "
                      "better; what lies below a threshold passes it.";
        set_frame(document, frame, all);
        write_frame(document, frame);
        write_labels(frame, all);
        for (int s = 0; s < SERIES; s++) {
            kvb_frame_data(frame, s, all[s].points, all[s].n);
        }
        if (all[MIXED].n > 0) {
            int few = all[MIXED].n <= 12;
            kvb_frame_marks(frame, MIXED, KVB_COLOR_MUTED, 7, few ? 0.55 : 0.4, few ? 'y' : 0);
        }
        for (int s = V_ALONE; s >= ALIKE; s--) {
            if (all[s].n > 0) {
                kvb_frame_line(frame, s, KVB_COLOR_SERIES_0 + s);
            }
        }
        if (all[BASELINE].n > 0) {
            kvb_frame_marks(frame, BASELINE, KVB_COLOR_SERIES_3, 5, 0.55, 'y');
        }
        kvb_frame_end(frame);
        write_legend(document, all, chart);
    }
    free(all);
    return n > 0;
}
