#include "chart_frame.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define X(name, light, dark) light,
const char *const kvb_colors_light[KVB_COLOR_COUNT] = {KVB_COLORS(X)};
#undef X
#define X(name, light, dark) dark,
const char *const kvb_colors_dark[KVB_COLOR_COUNT] = {KVB_COLORS(X)};
#undef X

/* ---- Ranges ----------------------------------------------------------------------------------------------------- */

void kvb_range_add(kvb_range *range, double value) {
    if (isfinite(value) && value > 0) {
        range->low = value < range->low ? value : range->low;
        range->high = value > range->high ? value : range->high;
    }
}

void kvb_range_add_point(kvb_range *range, const kvb_point *point) {
    kvb_range_add(range, point->y);
    kvb_range_add(range, point->high);
    if (point->low > point->y / 4) { /* an interval that reaches almost to 0 may leave the chart */
        kvb_range_add(range, point->low);
    }
}

void kvb_range_finish(kvb_range *range) {
    if (range->high <= 0) {
        *range = (kvb_range){0.01, 1};
    }
    range->high = fmin(range->high, 1e100);
    range->low = fmax(fmin(range->low, range->high), range->high * 1e-6);
    range->low /= 1.25;
    range->high *= 1.25;
}

/* ---- Frame and axes --------------------------------------------------------------------------------------------- */

void kvb_frame_quote(kvb_writer *out, const char *name) {
    char safe[64];
    size_t n = 0;
    for (; *name != 0 && n + 1 < sizeof safe; name++) {
        int letter = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') || (*name >= '0' && *name <= '9');
        safe[n++] = letter || strchr("._+-/ (),", *name) != NULL ? *name : '?';
    }
    safe[n] = 0;
    kvb_writer_format(out, "'%s'", safe);
}

static void write_real(kvb_frame *frame, const char *before, double value) {
    kvb_writer_format(frame->out, "%s%s", before, isfinite(value) ? kvb_general(value, 9).text : "NaN");
}

static void write_range(kvb_frame *frame, char axis, double low, double high, int logarithmic) {
    kvb_writer_format(frame->out, "set %crange [%s:%s]\n", axis, kvb_general(low, 9).text, kvb_general(high, 9).text);
    if (logarithmic) {
        kvb_writer_format(frame->out, "set logscale %c\n", axis);
    }
}

void kvb_frame_begin(kvb_frame *frame) {
    kvb_writer *out = frame->out;
    frame->clauses = 0;
    frame->arrows = 0;
    kvb_writer_format(out, "reset\nset terminal svg noenhanced size %d,%d font 'sans-serif,%d' background '%s'\n",
                      frame->width, frame->height, frame->narrow ? 11 : 12, kvb_colors_light[KVB_COLOR_SURFACE]);
    double width = frame->width, height = frame->height;
    kvb_writer_format(out, "set lmargin at screen %s\n", kvb_general(frame->left / width, 9).text);
    kvb_writer_format(out, "set rmargin at screen %s\n", kvb_general(1 - frame->right / width, 9).text);
    kvb_writer_format(out, "set tmargin at screen %s\n", kvb_general(1 - frame->top / height, 9).text);
    kvb_writer_format(out, "set bmargin at screen %s\n", kvb_general(frame->bottom / height, 9).text);
    kvb_writer_format(out,
                      "unset key\nset border 1 lc rgb '%s'\nset tics nomirror scale 0 tc rgb '%s'\n"
                      "set grid lt 1 lw 1 lc rgb '%s'\nset style fill solid 1 noborder\n",
                      kvb_colors_light[KVB_COLOR_AXIS], kvb_colors_light[KVB_COLOR_MUTED],
                      kvb_colors_light[KVB_COLOR_GRID]);
    write_range(frame, 'x', frame->x_low, frame->x_high, frame->x_log);
    write_range(frame, 'y', frame->y_low, frame->y_high, frame->y_log);
}

void kvb_frame_clear_ticks(kvb_frame *frame, char axis) {
    kvb_writer_format(frame->out, "set %ctics ()\n", axis);
}

void kvb_frame_tick(kvb_frame *frame, char axis, double at, const char *label) {
    kvb_writer_format(frame->out, "set %ctics add (", axis);
    kvb_frame_quote(frame->out, label);
    write_real(frame, " ", at);
    kvb_writer_add(frame->out, ")\n");
}

void kvb_frame_log_ticks(kvb_frame *frame, char axis) {
    double low = axis == 'x' ? frame->x_low : frame->y_low, high = axis == 'x' ? frame->x_high : frame->y_high;
    static const double all[] = {1, 1.5, 2, 3, 5, 7}, some[] = {1, 2, 5}, few[] = {1};
    double ratio = high / low;
    const double *steps = ratio < 15 ? all : ratio < 2e3 ? some : few;
    int n = ratio < 15 ? 6 : ratio < 2e3 ? 3 : 1;
    kvb_frame_clear_ticks(frame, axis);
    for (double decade = pow(10, floor(log10(low))); decade <= high; decade *= 10) {
        for (int i = 0; i < n; i++) {
            double at = decade * steps[i];
            if (at >= low && at <= high) {
                kvb_frame_tick(frame, axis, at, kvb_general(at, 3).text);
            }
        }
    }
}

void kvb_frame_thresholds(kvb_frame *frame, const json_t *document, char axis) {
    double thresholds[2];
    int n = kvb_view_thresholds(document, thresholds);
    double low = axis == 'x' ? frame->x_low : frame->y_low, high = axis == 'x' ? frame->x_high : frame->y_high;
    for (int i = 0; i < n; i++) {
        double t = thresholds[i];
        if (t <= low || t >= high) {
            continue;
        }
        kvb_number at = kvb_general(t, 9);
        kvb_writer_format(frame->out, "set arrow %d ", ++frame->arrows);
        if (axis == 'y') {
            kvb_writer_format(frame->out, "from graph 0, first %s to graph 1, first %s", at.text, at.text);
        } else {
            kvb_writer_format(frame->out, "from first %s, graph 0 to first %s, graph 1", at.text, at.text);
        }
        kvb_writer_format(frame->out, " nohead lw 1.4 dt (5,3) lc rgb '%s' back\n", kvb_colors_light[KVB_COLOR_TEXT]);
        char text[48];
        snprintf(text, sizeof text, "%.16s", kvb_general(t, 4).text);
        if (axis == 'y') {
            kvb_frame_label(frame, text, frame->x_high, t, 5, 0, "left", KVB_COLOR_TEXT);
        } else {
            kvb_frame_label(frame, text, t, frame->y_high, 0, 9, n == 2 && t < thresholds[1 - i] ? "right" : "left",
                            KVB_COLOR_TEXT);
        }
    }
}

void kvb_frame_label(kvb_frame *frame, const char *text, double x, double y, double shift_x, double shift_y,
                     const char *align, int color) {
    double screen_x = (kvb_frame_pixel_x(frame, x) + shift_x) / frame->width;
    double screen_y = 1 - (kvb_frame_pixel_y(frame, y) - shift_y) / frame->height;
    kvb_writer_add(frame->out, "set label ");
    kvb_frame_quote(frame->out, text);
    write_real(frame, " at screen ", screen_x);
    write_real(frame, ", ", screen_y);
    kvb_writer_format(frame->out, " %s front tc rgb '%s'\n", align, kvb_colors_light[color]);
}

void kvb_frame_titles(kvb_frame *frame, const char *y_title, const char *x_title) {
    kvb_writer_add(frame->out, "set label ");
    kvb_frame_quote(frame->out, y_title);
    write_real(frame, " at screen ", 4.0 / frame->width);
    write_real(frame, ", ", 1 - 12.0 / frame->height);
    kvb_writer_format(frame->out, " left tc rgb '%s'\nset label ", kvb_colors_light[KVB_COLOR_MUTED]);
    kvb_frame_quote(frame->out, x_title);
    write_real(frame, " at screen ", (frame->left + (frame->width - frame->left - frame->right) / 2.0) / frame->width);
    write_real(frame, ", ", 10.0 / frame->height);
    kvb_writer_format(frame->out, " center tc rgb '%s'\n", kvb_colors_light[KVB_COLOR_MUTED]);
}

/* ---- Points and lines ------------------------------------------------------------------------------------------- */

void kvb_frame_data(kvb_frame *frame, int id, const kvb_point *points, int n) {
    kvb_writer_format(frame->out, "$d%d << EOD\n", id);
    for (int i = 0; i < n; i++) {
        const kvb_point *p = &points[i];
        int interval = isfinite(p->low) && isfinite(p->high);
        double floor_y = frame->y_log ? frame->y_low * 1e-3 : -1e300, y = fmax(p->y, floor_y);
        write_real(frame, "", p->x);
        write_real(frame, " ", y);
        write_real(frame, " ", interval ? fmax(p->low, floor_y) : y);
        write_real(frame, " ", interval ? fmax(p->high, floor_y) : y);
        kvb_writer_add(frame->out, "\n");
    }
    kvb_writer_add(frame->out, "EOD\n");
}

void kvb_frame_clause(kvb_frame *frame, const char *clause) {
    kvb_writer_format(frame->out, "%s%s notitle", frame->clauses++ == 0 ? "plot " : ", \\\n ", clause);
}

void kvb_frame_line(kvb_frame *frame, int id, int color) {
    char clause[128];
    snprintf(clause, sizeof clause, "$d%d using 1:2 with lines lw 2 lc rgb '%s'", id, kvb_colors_light[color]);
    kvb_frame_clause(frame, clause);
    kvb_frame_marks(frame, id, color, 7, 0.55, 'y');
}

void kvb_frame_marks(kvb_frame *frame, int id, int color, int point_type, double size, char interval_axis) {
    char clause[160];
    if (interval_axis != 0) { /* not gnuplot's error bars: these blank a disk around each mark, and with it the bar */
        snprintf(clause, sizeof clause, "$d%d using %s with vectors nohead lw 1.5 lc rgb '%s'", id,
                 interval_axis == 'x' ? "3:2:($4-$3):(0)" : "1:3:(0):($4-$3)", kvb_colors_light[color]);
        kvb_frame_clause(frame, clause);
    }
    snprintf(clause, sizeof clause, "$d%d using 1:2 with points pt %d ps %.8s lw 1.5 lc rgb '%s'", id, point_type,
             kvb_general(size, 3).text, kvb_colors_light[color]);
    kvb_frame_clause(frame, clause);
}

void kvb_frame_end(kvb_frame *frame) {
    kvb_writer_add(frame->out, frame->clauses == 0 ? "plot NaN notitle\n" : "\n");
}

static double share(double value, double low, double high, int logarithmic) {
    if (logarithmic) {
        return log(fmax(value, low * 1e-3) / low) / log(high / low);
    }
    return (value - low) / (high - low);
}

double kvb_frame_pixel_x(const kvb_frame *frame, double x) {
    return frame->left +
           share(x, frame->x_low, frame->x_high, frame->x_log) * (frame->width - frame->left - frame->right);
}

double kvb_frame_pixel_y(const kvb_frame *frame, double y) {
    return frame->height - frame->bottom -
           share(y, frame->y_low, frame->y_high, frame->y_log) * (frame->height - frame->top - frame->bottom);
}
