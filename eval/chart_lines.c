/* Charts of several lines: error over cache lengths (synthetic data) and over layers (traces). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "charts.h"

enum { MAX_LINES = 6 };

static kvb_point point_of(const json_t *cell, double x) {
    return (kvb_point){x, kvb_view_real(cell, "nrmse_mean"), kvb_view_real(cell, "nrmse_low"),
                       kvb_view_real(cell, "nrmse_high"), NULL};
}

/* ---- Lines ------------------------------------------------------------------------------------------------------ */

typedef struct lines {
    kvb_point *points; /* [line * stride + i] */
    int stride, n[MAX_LINES], n_lines;
    kvb_chosen pairs[MAX_LINES];
} lines;

/* Chooses the pairs and makes room for `stride` points of each; 0 when memory is short. */
static int lines_begin(const json_t *document, kvb_frame *frame, lines *l) {
    l->points = calloc((size_t)MAX_LINES * (size_t)l->stride, sizeof *l->points);
    if (l->points == NULL) {
        frame->out->failed = 1;
        return 0;
    }
    l->n_lines = kvb_chart_choose(document, l->pairs, MAX_LINES, frame->out);
    return 1;
}

static void set_lines_frame(const json_t *document, kvb_frame *frame, const lines *l) {
    double thresholds[2];
    int n = kvb_view_thresholds(document, thresholds);
    kvb_range errors = {INFINITY, 0};
    for (int s = 0; s < l->n_lines; s++) {
        for (int i = 0; i < l->n[s]; i++) {
            kvb_range_add_point(&errors, &l->points[s * l->stride + i]);
        }
    }
    for (int i = 0; i < n; i++) {
        kvb_range_add(&errors, thresholds[i]);
    }
    kvb_range_finish(&errors);
    frame->height = frame->narrow ? 340 : 380;
    frame->left = frame->narrow ? 40 : 52;
    frame->right = 38;
    frame->top = 28;
    frame->bottom = 44;
    frame->y_low = errors.low;
    frame->y_high = errors.high;
    frame->y_log = 1;
}

static void draw_lines(const json_t *document, kvb_frame *frame, const lines *l, kvb_chart *chart) {
    for (int s = 0; s < l->n_lines; s++) {
        kvb_frame_data(frame, s, l->points + s * l->stride, l->n[s]);
    }
    for (int s = 0; s < l->n_lines; s++) {
        if (l->n[s] > 0) {
            char text[96];
            kvb_chart_name_chosen(&l->pairs[s], text, sizeof text);
            kvb_frame_line(frame, s, KVB_COLOR_SERIES_0 + s);
            kvb_chart_add_legend(chart, KVB_SHAPE_LINE, KVB_COLOR_SERIES_0 + s, text);
        }
    }
    kvb_frame_end(frame);
    kvb_chart_add_threshold_legend(chart, document);
}

static int by_x(const void *a, const void *b) {
    const kvb_point *p = a, *q = b;
    return (p->x > q->x) - (p->x < q->x);
}

/* Points of each chosen pair over kv_len; returns the number of different lengths. */
static int collect_lengths(const json_t *document, lines *l) {
    size_t i;
    json_t *cell;
    int most = 0;
    for (int s = 0; s < l->n_lines; s++) {
        kvb_point *points = l->points + s * l->stride;
        json_array_foreach(json_object_get(document, "pair_cells"), i, cell) {
            char name[KVB_VIEW_NAME];
            kvb_view_pair(cell, name);
            double length = kvb_view_real(cell, "kv_seq_len");
            if (strcmp(name, l->pairs[s].name) == 0 && length >= 1 && l->n[s] < l->stride) {
                points[l->n[s]++] = point_of(cell, length);
            }
        }
        qsort(points, (size_t)l->n[s], sizeof *points, by_x);
        most = l->n[s] > most ? l->n[s] : most;
    }
    return most;
}

static void write_length_ticks(kvb_frame *frame, const lines *l) {
    const kvb_point *longest = l->points;
    int n = l->n[0];
    double last = -INFINITY;
    kvb_frame_clear_ticks(frame, 'x');
    for (int i = 0; i < n; i++) {
        double at = kvb_frame_pixel_x(frame, longest[i].x);
        if (at - last >= 34) { /* room for the digits */
            kvb_frame_tick(frame, 'x', longest[i].x, kvb_fixed(longest[i].x, 0).text);
            last = at;
        }
    }
}

int kvb_chart_lengths(const json_t *document, kvb_frame *frame, kvb_chart *chart) {
    lines l = {.stride = 64};
    if (!lines_begin(document, frame, &l)) {
        return 0;
    }
    int applies = collect_lengths(document, &l) >= 2 && l.n[0] >= 2;
    if (applies) {
        chart->id = "lengths";
        chart->title = "Error against cache length";
        chart->note = "The mean error at each kv_len, with its 95 % interval. The verdict takes the largest.";
        set_lines_frame(document, frame, &l);
        frame->x_log = 1;
        frame->x_low = l.points[0].x / 1.15;
        frame->x_high = fmax(l.points[l.n[0] - 1].x, l.points[0].x * 1.5) * 1.15;
        kvb_frame_begin(frame);
        kvb_frame_log_ticks(frame, 'y');
        write_length_ticks(frame, &l);
        kvb_frame_titles(frame, "mean NRMSE, log scale", "kv_len, log scale");
        kvb_frame_thresholds(frame, document, 'y');
        draw_lines(document, frame, &l, chart);
    }
    free(l.points);
    return applies;
}

/* Points of each chosen pair over the layers, by their place in the document; returns how many there are. */
static int collect_layers(const json_t *layers, lines *l) {
    int total = 0;
    for (int s = 0; s < l->n_lines; s++) {
        const char *k = kvb_view_string(l->pairs[s].worst, "k"), *v = kvb_view_string(l->pairs[s].worst, "v");
        for (int i = 0; i < l->stride; i++) {
            const json_t *cell = kvb_view_find_pair(json_array_get(layers, (size_t)i), k, v);
            if (cell != NULL) {
                l->points[s * l->stride + l->n[s]++] = point_of(cell, i);
            }
        }
        total += l->n[s];
    }
    return total;
}

static void write_layer_ticks(kvb_frame *frame, const json_t *layers, int n) {
    int step = n / (frame->narrow ? 8 : 16) + 1;
    kvb_frame_clear_ticks(frame, 'x');
    for (int i = 0; i < n; i += step) {
        char text[24];
        snprintf(text, sizeof text, "%ld", kvb_view_size(json_array_get(layers, (size_t)i), "layer"));
        kvb_frame_tick(frame, 'x', i, text);
    }
}

int kvb_chart_layers(const json_t *document, kvb_frame *frame, kvb_chart *chart) {
    const json_t *layers = json_object_get(document, "layers");
    lines l = {.stride = (int)json_array_size(layers)};
    if (l.stride == 0 || !lines_begin(document, frame, &l)) {
        return 0;
    }
    int applies = collect_layers(layers, &l) > 0;
    if (applies) {
        chart->id = "layers";
        chart->title = "Error layer by layer";
        chart->note = "The mean error of each recorded layer over its queries, with its 95 % interval. The worst layer "
                      "decides for the model.";
        set_lines_frame(document, frame, &l);
        frame->x_low = -0.5;
        frame->x_high = l.stride - 0.5;
        kvb_frame_begin(frame);
        kvb_frame_log_ticks(frame, 'y');
        write_layer_ticks(frame, layers, l.stride);
        kvb_frame_titles(frame, "mean NRMSE, log scale", "layer");
        kvb_frame_thresholds(frame, document, 'y');
        draw_lines(document, frame, &l, chart);
    }
    free(l.points);
    return applies;
}
