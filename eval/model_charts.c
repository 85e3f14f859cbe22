/* Charts of a model's evaluation (kvbits eval): divergence against bits, by position, by layer. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chart_cells.h"

enum { MAX_SCHEMES = 64, MAX_LINES = 6 };

static kvb_point point_of(double x, const json_t *estimate, const char *label) {
    return (kvb_point){x, kvb_view_real(estimate, "value"), kvb_view_real(estimate, "low"),
                       kvb_view_real(estimate, "high"), label};
}

static int is_engine(const json_t *scheme) {
    const char *kind = kvb_view_string(scheme, "kind");
    return kind != NULL && strcmp(kind, "engine") == 0;
}

/* ---- Divergence against bits ------------------------------------------------------------------------------------ */

typedef struct cloud {
    kvb_point points[2][MAX_SCHEMES]; /* kvbits', the engine's */
    int n[2];
} cloud;

/* A logarithmic axis has no place for a divergence of 0. */
static int collect(const json_t *document, const char *figure, cloud *c) {
    size_t i;
    json_t *scheme;
    json_array_foreach(json_object_get(document, "schemes"), i, scheme) {
        const int engine = is_engine(scheme);
        const kvb_point point =
            point_of(kvb_view_real(scheme, "bits_in_window"), kvb_view_object(kvb_view_object(scheme, "kl"), figure),
                     kvb_view_string(scheme, "name"));
        if (c->n[engine] < MAX_SCHEMES && isfinite(point.x) && point.x > 0 && point.x <= 64 && point.y > 0) {
            c->points[engine][c->n[engine]++] = point;
        }
    }
    return c->n[0] + c->n[1];
}

static void set_frame(kvb_frame *frame, const kvb_range *range) {
    frame->height = frame->narrow ? 360 : 420;
    frame->left = frame->narrow ? 46 : 58;
    frame->right = 38;
    frame->top = 28;
    frame->bottom = 44;
    frame->y_low = range->low;
    frame->y_high = range->high;
    frame->y_log = 1;
}

static void draw_cloud(kvb_frame *frame, const cloud *c, const char *y_title) {
    kvb_range range = {INFINITY, 0};
    kvb_point all[2 * MAX_SCHEMES];
    double low = 64, high = 0;
    int n = 0;
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < c->n[s]; i++) {
            kvb_range_add_point(&range, &c->points[s][i]);
            low = fmin(low, c->points[s][i].x);
            high = fmax(high, c->points[s][i].x);
            all[n++] = c->points[s][i];
        }
    }
    kvb_range_finish(&range);
    set_frame(frame, &range);
    frame->x_low = fmax(0, floor(low * 2 - 0.5) / 2);
    frame->x_high = ceil(high * 2 + 0.5) / 2;
    kvb_frame_begin(frame);
    kvb_frame_log_ticks(frame, 'y');
    kvb_frame_clear_ticks(frame, 'x');
    for (int bits = (int)ceil(frame->x_low); bits <= frame->x_high; bits++) {
        kvb_frame_tick(frame, 'x', bits, kvb_fixed(bits, 0).text);
    }
    kvb_frame_titles(frame, y_title, "stored bits per value, scales included");
    kvb_frame_point_labels(frame, all, n, NULL, 0, KVB_COLOR_TEXT);
    for (int s = 0; s < 2; s++) {
        kvb_frame_data(frame, s, c->points[s], c->n[s]);
    }
    for (int s = 0; s < 2; s++) {
        if (c->n[s] > 0) {
            kvb_frame_marks(frame, s, s ? KVB_COLOR_SERIES_3 : KVB_COLOR_SERIES_0, s ? 5 : 7, 0.6, 'y');
        }
    }
    kvb_frame_end(frame);
}

static int chart_cloud(const json_t *document, const char *figure, const char *y_title, kvb_frame *frame,
                       kvb_chart *chart) {
    cloud *c = calloc(1, sizeof *c);
    if (c == NULL) {
        frame->out->failed = 1;
        return 0;
    }
    const int n = collect(document, figure, c);
    if (n > 0) {
        draw_cloud(frame, c, y_title);
        if (c->n[0] > 0) {
            kvb_chart_add_legend(chart, KVB_SHAPE_DOT, KVB_COLOR_SERIES_0, "kvbits");
        }
        if (c->n[1] > 0) {
            kvb_chart_add_legend(chart, KVB_SHAPE_SQUARE, KVB_COLOR_SERIES_3, "the engine's own");
        }
    }
    free(c);
    return n > 0;
}

static int chart_mean(const json_t *document, kvb_frame *frame, kvb_chart *chart) {
    chart->id = "kl-mean";
    chart->title = "How far predictions move, against bits";
    chart->note =
        "Mean KL divergence of the next-token distribution from the unquantized cache's, in nats, with its 95 % "
        "interval. Further left and lower is better.";
    return chart_cloud(document, "mean", "mean KL divergence, log scale", frame, chart);
}

static int chart_tail(const json_t *document, kvb_frame *frame, kvb_chart *chart) {
    chart->id = "kl-tail";
    chart->title = "The worst tokens";
    chart->note = "The KL divergence that one token in a thousand exceeds, in nats, with its 95 % interval.";
    return chart_cloud(document, "p999", "KL divergence at 99.9 %, log scale", frame, chart);
}

/* ---- Lines, one for each scheme --------------------------------------------------------------------------------- */

typedef struct line_source {
    const char *array, *x, *estimate; /* of each scheme */
    int is_middle;                    /* x is the middle, on a logarithmic axis, of "from" and "to" */
} line_source;

static double x_of(const line_source *source, const json_t *entry) {
    if (!source->is_middle) {
        return kvb_view_real(entry, source->x);
    }
    return sqrt((kvb_view_real(entry, "from") + 1) * (kvb_view_real(entry, "to") + 1));
}

typedef struct line_chart {
    kvb_point *points[MAX_LINES];
    int n[MAX_LINES], n_lines;
    char names[MAX_LINES][96];
} line_chart;

static void collect_lines(const json_t *document, const line_source *source, kvb_frame *frame, line_chart *lines) {
    size_t i, j;
    json_t *scheme, *entry;
    json_array_foreach(json_object_get(document, "schemes"), i, scheme) {
        const json_t *entries = kvb_view_array(scheme, source->array);
        const char *name = kvb_view_string(scheme, "name");
        const int line = lines->n_lines;
        if (entries == NULL || line == MAX_LINES) {
            continue;
        }
        lines->points[line] = calloc(json_array_size(entries), sizeof *lines->points[line]);
        if (lines->points[line] == NULL) {
            frame->out->failed = 1;
            return;
        }
        json_array_foreach(entries, j, entry) {
            const kvb_point point = point_of(x_of(source, entry), kvb_view_object(entry, source->estimate), NULL);
            if (isfinite(point.x) && point.x >= 0 && point.y > 0) {
                lines->points[line][lines->n[line]++] = point;
            }
        }
        snprintf(lines->names[line], sizeof lines->names[line], "%.95s", name == NULL ? "?" : name);
        lines->n_lines++;
    }
}

/* The range of x as {low, high}; the number of points. */
static int find_ranges(const line_chart *lines, kvb_range *x, kvb_range *y) {
    int n = 0;
    for (int s = 0; s < lines->n_lines; s++) {
        for (int i = 0; i < lines->n[s]; i++, n++) {
            x->low = fmin(x->low, lines->points[s][i].x);
            x->high = fmax(x->high, lines->points[s][i].x);
            kvb_range_add_point(y, &lines->points[s][i]);
        }
    }
    kvb_range_finish(y);
    return n;
}

static void draw_lines(kvb_frame *frame, const line_chart *lines, kvb_chart *chart) {
    for (int s = 0; s < lines->n_lines; s++) {
        kvb_frame_data(frame, s, lines->points[s], lines->n[s]);
    }
    for (int s = 0; s < lines->n_lines; s++) {
        if (lines->n[s] > 0) {
            kvb_frame_line(frame, s, KVB_COLOR_SERIES_0 + s);
            kvb_chart_add_legend(chart, KVB_SHAPE_LINE, KVB_COLOR_SERIES_0 + s, lines->names[s]);
        }
    }
    kvb_frame_end(frame);
}

static void release_lines(line_chart *lines) {
    for (int s = 0; s < lines->n_lines; s++) {
        free(lines->points[s]);
    }
}

static int chart_positions(const json_t *document, kvb_frame *frame, kvb_chart *chart) {
    static const line_source source = {"positions", NULL, "kl_mean", 1};
    line_chart lines = {.n_lines = 0};
    kvb_range x = {INFINITY, 0}, y = {INFINITY, 0};
    collect_lines(document, &source, frame, &lines);
    const int applies = find_ranges(&lines, &x, &y) > 0 && x.low < x.high;
    if (applies) {
        chart->id = "positions";
        chart->title = "Along the context";
        chart->note = "Mean KL divergence, in nats, of tokens by their position in the window, with its 95 % interval; "
                      "the first six schemes.";
        set_frame(frame, &y);
        frame->x_log = 1;
        frame->x_low = x.low / 1.5;
        frame->x_high = x.high * 1.5;
        kvb_frame_begin(frame);
        kvb_frame_log_ticks(frame, 'y');
        kvb_frame_log_ticks(frame, 'x');
        kvb_frame_titles(frame, "mean KL divergence, log scale", "position, log scale");
        draw_lines(frame, &lines, chart);
    }
    release_lines(&lines);
    return applies;
}

static int chart_model_layers(const json_t *document, kvb_frame *frame, kvb_chart *chart) {
    static const line_source source = {"layers", "layer", "nrmse", 0};
    line_chart lines = {.n_lines = 0};
    kvb_range x = {INFINITY, 0}, y = {INFINITY, 0};
    collect_lines(document, &source, frame, &lines);
    const int applies = find_ranges(&lines, &x, &y) > 0 && x.high <= 4096;
    if (applies) {
        const int step = (int)(x.high - x.low) / (frame->narrow ? 8 : 16) + 1;
        chart->id = "model-layers";
        chart->title = "Each layer's own error";
        chart->note =
            "NRMSE of each layer's attention output, from the inputs that it got, with its 95 % interval; the "
            "first six kvbits schemes.";
        set_frame(frame, &y);
        frame->x_low = x.low - 0.5;
        frame->x_high = x.high + 0.5;
        kvb_frame_begin(frame);
        kvb_frame_log_ticks(frame, 'y');
        kvb_frame_clear_ticks(frame, 'x');
        for (int l = (int)x.low; l <= x.high; l += step) {
            kvb_frame_tick(frame, 'x', l, kvb_fixed(l, 0).text);
        }
        kvb_frame_titles(frame, "NRMSE, log scale", "layer");
        draw_lines(frame, &lines, chart);
    }
    release_lines(&lines);
    return applies;
}

/* ---- Layers x sides --------------------------------------------------------------------------------------------- */

enum { NAME = 16, MAX_LAYERS = 256 };

/* Layers run along x on a wide page and down a narrow one, as in the A/B's chart of layers. */
static void fill_cells(const json_t *layers, char (*names)[NAME], int n, int narrow, kvb_cells *cells) {
    static const char *const sides[] = {"values", "keys"}, *const keys[] = {"v", "k"};
    const int every = narrow ? 1 : n / 30 + 1;
    for (int i = 0; i < n; i++) {
        const json_t *layer = json_array_get(layers, (size_t)i);
        const int place = narrow ? n - 1 - i : i;
        snprintf(names[i], NAME, "%.15s", kvb_fixed(kvb_view_real(layer, "layer"), 0).text);
        (narrow ? cells->row_names : cells->column_names)[place] = i % every == 0 ? names[i] : NULL;
        for (int side = 0; side < 2; side++) {
            const double kl = kvb_view_real(kvb_view_object(layer, keys[side]), "value");
            cells->errors[narrow ? place * 2 + 1 - side : side * n + place] = kl >= 0 ? 1000 * kl : NAN;
        }
    }
    for (int side = 0; side < 2; side++) {
        (narrow ? cells->column_names : cells->row_names)[narrow ? 1 - side : side] = sides[side];
    }
}

static int chart_sensitivity(const json_t *document, kvb_frame *frame, kvb_chart *chart) {
    const json_t *layers = kvb_view_array(kvb_view_object(document, "sensitivity"), "layers");
    const int n = (int)(json_array_size(layers) > MAX_LAYERS ? MAX_LAYERS : json_array_size(layers));
    char names[MAX_LAYERS][NAME];
    double bounds[KVB_CELL_STEPS - 1], most = 0;
    kvb_cells cells;
    if (n == 0 || !kvb_cells_begin(&cells, frame->narrow ? 2 : n, frame->narrow ? n : 2)) {
        return 0;
    }
    fill_cells(layers, names, n, frame->narrow, &cells);
    for (int i = 0; i < 2 * n; i++) {
        most = isfinite(cells.errors[i]) && cells.errors[i] < 1e9 ? fmax(most, cells.errors[i]) : most;
    }
    for (int step = 0; step < KVB_CELL_STEPS - 1; step++) { /* halves, from the largest down */
        bounds[step] = (most > 0 ? most : 1) / (1 << (KVB_CELL_STEPS - 1 - step));
    }
    cells.bounds = bounds;
    cells.column_title = frame->narrow ? "side" : "layer";
    cells.row_title = frame->narrow ? "layer" : "side";
    cells.cell_width = frame->narrow ? 72 : 64;
    cells.cell_height = frame->narrow ? 20 : 32;
    chart->id = "sensitivity";
    chart->title = "Which layer's keys and values matter";
    chart->note =
        "Mean KL divergence, in thousandths of a nat, with that side of that layer alone stored and all else in "
        "halves.";
    kvb_cells_draw(&cells, document, frame, chart);
    kvb_cells_free(&cells);
    return 1;
}

kvb_chart_draw *const kvb_charts_of_model[] = {chart_mean,         chart_tail,        chart_positions,
                                               chart_model_layers, chart_sensitivity, NULL};
