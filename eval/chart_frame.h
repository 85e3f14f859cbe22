/* What the charts share: colors, the frame (size, margins, axes) and the gnuplot commands for points and lines.
 *
 * gnuplot only ever sees numbers and names made of safe characters: nothing from a document is read as a command. */
#ifndef KVBITS_EVAL_CHART_FRAME_H
#define KVBITS_EVAL_CHART_FRAME_H

#include "view.h"

/* Colors by role, in the light scheme, in which gnuplot draws, and the dark one, to which the page's style maps them.
 * The light ones must differ from each other: they are the key of that mapping. */
#define KVB_COLORS(X)                                                                                                  \
    X(TEXT, "#2b3138", "#e1e5ea")                                                                                      \
    X(MUTED, "#616a75", "#98a2ae")                                                                                     \
    X(GRID, "#e4e7eb", "#2d333b")                                                                                      \
    X(AXIS, "#aab2bc", "#525b66")                                                                                      \
    X(SURFACE, "#ffffff", "#171b20")                                                                                   \
    X(SERIES_0, "#2563c9", "#6ba3f5")                                                                                  \
    X(SERIES_1, "#c4561a", "#f0975c")                                                                                  \
    X(SERIES_2, "#0f8577", "#43c2b0")                                                                                  \
    X(SERIES_3, "#8548b5", "#bd8ee8")                                                                                  \
    X(SERIES_4, "#a1790c", "#d9b143")                                                                                  \
    X(SERIES_5, "#b83270", "#ee7fb2")                                                                                  \
    X(PASS, "#13795b", "#3fc394")                                                                                      \
    X(NEAR, "#9a6a06", "#dcae45")                                                                                      \
    X(FAIL, "#b93a26", "#f2836f")                                                                                      \
    X(HEAT_0, "#1f8a92", "#47b5bb")                                                                                    \
    X(HEAT_1, "#6bb9bd", "#2c8289")                                                                                    \
    X(HEAT_2, "#c3e3e2", "#1f5459")                                                                                    \
    X(HEAT_3, "#f8ebb9", "#5b5127")                                                                                    \
    X(HEAT_4, "#f7cfa4", "#714623")                                                                                    \
    X(HEAT_5, "#ec9a66", "#a35a2b")                                                                                    \
    X(HEAT_6, "#c9552b", "#e07d4b")                                                                                    \
    X(INK_0, "#fffffe", "#0b1114")                                                                                     \
    X(INK_1, "#0c2c2e", "#f2fafa")                                                                                     \
    X(INK_2, "#0c2c2f", "#e3f2f2")                                                                                     \
    X(INK_3, "#33290a", "#f6ecc8")                                                                                     \
    X(INK_4, "#3a230c", "#f9e4cf")                                                                                     \
    X(INK_5, "#371a08", "#fff3e8")                                                                                     \
    X(INK_6, "#fffffd", "#170a03")

enum {
#define X(name, light, dark) KVB_COLOR_##name,
    KVB_COLORS(X)
#undef X
        KVB_COLOR_COUNT
};

extern const char *const kvb_colors_light[KVB_COLOR_COUNT];
extern const char *const kvb_colors_dark[KVB_COLOR_COUNT];

typedef struct kvb_point {
    double x, y, low, high; /* low and high: the interval of y, or NaN */
    const char *label;      /* NULL: none; points into the document or a literal */
} kvb_point;

typedef struct kvb_frame {
    kvb_writer *out;
    int narrow;
    int width, height;            /* pixels */
    int left, right, top, bottom; /* margins */
    double x_low, x_high, y_low, y_high;
    int x_log, y_log;
    int clauses, arrows;
} kvb_frame;

/* Grows a range over positive finite values; start from {INFINITY, 0}. */
typedef struct kvb_range {
    double low, high;
} kvb_range;
void kvb_range_add(kvb_range *range, double value);
void kvb_range_add_point(kvb_range *range, const kvb_point *point);
/* Room around it for a logarithmic axis; a sensible range when nothing was added. */
void kvb_range_finish(kvb_range *range);

/* Starts a chart: terminal, margins, axes as the frame says. */
void kvb_frame_begin(kvb_frame *frame);
/* Ticks of a logarithmic axis 'x' or 'y' at 1, 2 and 5 times powers of ten, with grid lines. */
void kvb_frame_log_ticks(kvb_frame *frame, char axis);
/* One tick of axis 'x' or 'y'; call with the axis cleared by kvb_frame_clear_ticks. */
void kvb_frame_clear_ticks(kvb_frame *frame, char axis);
void kvb_frame_tick(kvb_frame *frame, char axis, double at, const char *label);
/* The document's thresholds as dashed lines across axis 'x' or 'y'. */
void kvb_frame_thresholds(kvb_frame *frame, const json_t *document, char axis);
/* Text at a place in data units, shifted by pixels; align is "left", "center" or "right". */
void kvb_frame_label(kvb_frame *frame, const char *text, double x, double y, double shift_x, double shift_y,
                     const char *align, int color);
/* Text above the plot's left edge, and below the middle of the x axis. */
void kvb_frame_titles(kvb_frame *frame, const char *y_title, const char *x_title);
/* Points of the plot as data block $d<id>, to be written before the first clause. */
void kvb_frame_data(kvb_frame *frame, int id, const kvb_point *points, int n);
/* Clauses of the plot command. */
void kvb_frame_line(kvb_frame *frame, int id, int color); /* line, marks, intervals */
void kvb_frame_marks(kvb_frame *frame, int id, int color, int point_type, double size, char interval_axis);
void kvb_frame_clause(kvb_frame *frame, const char *clause);
void kvb_frame_end(kvb_frame *frame);
/* Where a point lies, in pixels from the top left corner. */
double kvb_frame_pixel_x(const kvb_frame *frame, double x);
double kvb_frame_pixel_y(const kvb_frame *frame, double y);
/* Labels the points that have one, beside their marks, clear of each other and, where there is room, of the line
 * through `lines`. */
void kvb_frame_point_labels(kvb_frame *frame, const kvb_point *points, int n, const kvb_point *lines, int n_lines,
                            int color);
/* `name` in gnuplot's quotes: characters other than letters, digits and "._+-/ ()," become "?". */
void kvb_frame_quote(kvb_writer *out, const char *name);

#endif
