#include "chart_cells.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = KVB_CELL_STEPS };

int kvb_cells_begin(kvb_cells *cells, int columns, int rows) {
    *cells = (kvb_cells){.columns = columns, .rows = rows};
    if (columns < 1 || rows < 1) {
        return 0;
    }
    size_t n = (size_t)columns * (size_t)rows;
    cells->errors = malloc(n * sizeof *cells->errors);
    cells->column_names = calloc((size_t)columns, sizeof *cells->column_names);
    cells->row_names = calloc((size_t)rows, sizeof *cells->row_names);
    if (cells->errors == NULL || cells->column_names == NULL || cells->row_names == NULL) {
        kvb_cells_free(cells);
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        cells->errors[i] = NAN;
    }
    return 1;
}

void kvb_cells_free(kvb_cells *cells) {
    free(cells->errors);
    free(cells->column_names);
    free(cells->row_names);
    *cells = (kvb_cells){0};
}

/* Upper bounds of all steps but the last: the thresholds, and halves and doubles of them. */
static void find_steps(const json_t *document, double bounds[STEPS - 1]) {
    double t[2] = {0.1, 0.15};
    if (kvb_view_thresholds(document, t) == 1) {
        t[1] = t[0];
    }
    double low = fmin(t[0], t[1]), high = fmax(t[0], t[1]);
    const double all[STEPS - 1] = {low / 4, low / 2, low, high, high * 2, high * 4};
    memcpy(bounds, all, sizeof all);
}

static int step_of(double error, const double bounds[STEPS - 1]) {
    int step = 0;
    while (step < STEPS - 1 && error > bounds[step]) {
        step++;
    }
    return step;
}

static unsigned long color_value(int color) {
    return strtoul(kvb_colors_light[color] + 1, NULL, 16);
}

/* ".083" for short. */
static kvb_number without_zero(kvb_number number) {
    if (number.text[0] == '0' && number.text[1] == '.') {
        memmove(number.text, number.text + 1, strlen(number.text));
    }
    return number;
}

/* The error in a cell's text: as many figures as fit. */
static kvb_number short_error(double error, int cell_width) {
    int decimals = (cell_width >= 32 ? 3 : 2) - (error >= 0.9995);
    return cell_width >= 42 ? kvb_fixed(error, 3) : without_zero(kvb_fixed(error, decimals));
}

/* Figures with bounds of their own have any size: two digits. */
static kvb_number text_of(const kvb_cells *cells, double value, int cell_width) {
    if (cells->bounds == NULL) {
        return short_error(value, cell_width);
    }
    return cell_width >= 42 ? kvb_general(value, 2) : without_zero(kvb_general(value, 2));
}

static void write_data(const kvb_cells *cells, kvb_frame *frame, const double bounds[STEPS - 1], int cell_width) {
    kvb_writer_add(frame->out, "$cells << EOD\n");
    for (int i = 0; i < cells->rows * cells->columns; i++) {
        double error = cells->errors[i];
        if (isfinite(error)) {
            int step = step_of(error, bounds);
            kvb_writer_format(frame->out, "%d %d %s %lu %lu %d\n", i % cells->columns + 1, i / cells->columns + 1,
                              text_of(cells, error, cell_width).text, color_value(KVB_COLOR_HEAT_0 + step),
                              color_value(KVB_COLOR_INK_0 + step),
                              cells->bounds ? 0
                              : step <= 2   ? 1
                              : step == 3   ? 2
                                            : 0);
        }
    }
    kvb_writer_add(frame->out, "EOD\n");
}

static void write_legend(const json_t *document, const double bounds[STEPS - 1], int marks, kvb_chart *chart) {
    double t[2];
    int n = kvb_view_thresholds(document, t);
    char text[96];
    for (int step = 0; step < STEPS; step++) {
        kvb_number low = kvb_general(step > 0 ? bounds[step - 1] : 0, 3);
        kvb_number high = kvb_general(step < STEPS - 1 ? bounds[step] : 0, 3);
        if (step == 3 && bounds[2] == bounds[3]) {
            continue;
        }
        snprintf(text, sizeof text, "%.20s to %.20s", low.text, high.text);
        if (step == 0) {
            snprintf(text, sizeof text, "up to %.20s", high.text);
        } else if (step == STEPS - 1) {
            snprintf(text, sizeof text, "above %.20s", low.text);
        }
        kvb_chart_add_legend(chart, KVB_SHAPE_FILL, KVB_COLOR_HEAT_0 + step, text);
    }
    if (marks && n > 0) {
        double low = n == 2 ? fmin(t[0], t[1]) : t[0], high = n == 2 ? fmax(t[0], t[1]) : t[0];
        snprintf(text, sizeof text, "passes %.20s", kvb_general(low, 4).text);
        kvb_chart_add_legend(chart, KVB_SHAPE_DOT, KVB_COLOR_TEXT, text);
        if (n == 2 && low < high) {
            snprintf(text, sizeof text, "passes %.20s only", kvb_general(high, 4).text);
            kvb_chart_add_legend(chart, KVB_SHAPE_RING, KVB_COLOR_TEXT, text);
        }
    }
}

static void set_frame(const kvb_cells *cells, kvb_frame *frame, int *cell_width) {
    frame->left = frame->narrow ? 44 : 64;
    frame->right = 6;
    frame->top = 28;
    frame->bottom = 44;
    int room = (frame->width - frame->left - frame->right) / cells->columns;
    *cell_width = room < cells->cell_width ? room : cells->cell_width;
    if (*cell_width > 0) {
        frame->width = frame->left + frame->right + *cell_width * cells->columns;
    }
    frame->width = frame->width < 300 ? 300 : frame->width;
    frame->height = frame->top + frame->bottom + cells->cell_height * cells->rows;
    frame->x_low = 0.5;
    frame->x_high = cells->columns + 0.5;
    frame->y_low = 0.5;
    frame->y_high = cells->rows + 0.5;
}

static void write_ticks(kvb_frame *frame, char axis, const char **names, int n) {
    kvb_frame_clear_ticks(frame, axis);
    for (int i = 0; i < n; i++) {
        if (names[i] != NULL) {
            kvb_frame_tick(frame, axis, i + 1, names[i]);
        }
    }
}

void kvb_cells_draw(const kvb_cells *cells, const json_t *document, kvb_frame *frame, kvb_chart *chart) {
    double bounds[STEPS - 1];
    int cell_width = 0;
    set_frame(cells, frame, &cell_width);
    if (cells->bounds) {
        memcpy(bounds, cells->bounds, sizeof bounds);
    } else {
        find_steps(document, bounds);
    }
    kvb_frame_begin(frame);
    kvb_writer_add(frame->out, "unset border\nunset grid\n");
    write_ticks(frame, 'x', cells->column_names, cells->columns);
    write_ticks(frame, 'y', cells->row_names, cells->rows);
    kvb_frame_titles(frame, cells->row_title, cells->column_title);
    int texts = cell_width >= 24 && cells->cell_height >= 16,
        marks = texts && cells->cell_height >= 34 && !cells->bounds;
    write_data(cells, frame, bounds, cell_width);
    double gap_x = cell_width > 8 ? 1.0 / cell_width : 0, gap_y = 1.0 / cells->cell_height;
    char clause[160];
    snprintf(clause, sizeof clause, "$cells using 1:2:(%.12s):(%.12s):4 with boxxyerror lc rgb variable",
             kvb_general(0.5 - gap_x, 6).text, kvb_general(0.5 - gap_y, 6).text);
    kvb_frame_clause(frame, clause);
    if (texts) {
        snprintf(clause, sizeof clause, "$cells using 1:($6>0?$2+%s:$2):(strcol(3)):5 with labels tc rgb variable",
                 marks ? "0.14" : "0");
        kvb_frame_clause(frame, clause);
    }
    if (marks) {
        kvb_frame_clause(frame, "$cells using 1:($6==1?$2-0.22:NaN):5 with points pt 7 ps 0.6 lc rgb variable");
        kvb_frame_clause(frame, "$cells using 1:($6==2?$2-0.22:NaN):5 with points pt 6 ps 0.6 lw 1.4 lc rgb variable");
    }
    kvb_frame_end(frame);
    chart->cells = 1;
    write_legend(document, bounds, marks, chart);
}
