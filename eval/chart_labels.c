/* Labels beside points, clear of each other and of the marks. */
#include <math.h>
#include <string.h>

#include "chart_frame.h"

enum { MAX_BOXES = 192, MAX_LINES = 512 };

typedef struct box {
    double left, top, right, bottom;
} box;

static int overlap(const box *a, const box *b) {
    return a->left < b->right && b->left < a->right && a->top < b->bottom && b->top < a->bottom;
}

static int is_free(const kvb_frame *frame, const box *place, const box *taken, int n, const box *own) {
    if (place->left < 2 || place->right > frame->width - frame->right || place->top < 2 ||
        place->bottom > frame->height - frame->bottom) {
        return 0;
    }
    for (int i = 0; i < n; i++) {
        if (&taken[i] != own && overlap(place, &taken[i])) {
            return 0;
        }
    }
    return 1;
}

/* Boxes along the lines: 24 for each stretch. */
static int cover_lines(const kvb_frame *frame, const kvb_point *lines, int n, box *boxes) {
    int size = 0;
    for (int i = 0; i + 1 < n; i++) {
        double x = kvb_frame_pixel_x(frame, lines[i].x), to_x = kvb_frame_pixel_x(frame, lines[i + 1].x);
        double y = kvb_frame_pixel_y(frame, lines[i].y), to_y = kvb_frame_pixel_y(frame, lines[i + 1].y);
        for (int step = 0; step < 24 && size < MAX_LINES; step++) {
            double at_x = x + (to_x - x) * step / 24, at_y = y + (to_y - y) * step / 24;
            boxes[size++] = (box){at_x - 2, at_y - 2, at_x + 2, at_y + 2};
        }
    }
    return size;
}

void kvb_frame_point_labels(kvb_frame *frame, const kvb_point *points, int n, const kvb_point *lines, int n_lines,
                            int color) {
    /* Right or left of the mark and near its height; only then farther up or down, where a label may seem to belong to
     * a neighbor. The first place that is free. */
    static const struct {
        int side, rise;
    } places[] = {{1, 0},   {-1, 0},   {1, 6},   {1, -6}, {-1, 6},   {-1, -6}, {1, 13},  {1, -13},
                  {-1, 13}, {-1, -13}, {1, -20}, {1, 20}, {-1, -20}, {-1, 20}, {1, -28}, {-1, -28}};
    enum { NEAR = 10, PLACES = sizeof places / sizeof *places };
    box taken[MAX_BOXES], line_boxes[MAX_LINES];
    int n_taken = 0, n_boxes = cover_lines(frame, lines, n_lines, line_boxes);
    for (int i = 0; i < n && n_taken < MAX_BOXES / 2; i++) {
        double x = kvb_frame_pixel_x(frame, points[i].x), y = kvb_frame_pixel_y(frame, points[i].y);
        taken[n_taken++] = (box){x - 4, y - 4, x + 4, y + 4};
    }
    int n_points = n_taken;
    double letter = frame->narrow ? 6.2 : 6.8, half_height = frame->narrow ? 6 : 7;
    for (int i = 0; i < n_points && n_taken < MAX_BOXES; i++) {
        if (points[i].label == NULL) {
            continue;
        }
        double x = kvb_frame_pixel_x(frame, points[i].x), y = kvb_frame_pixel_y(frame, points[i].y);
        double length = letter * (double)strlen(points[i].label);
        for (int t = 0; t < NEAR + PLACES; t++) { /* near and clear of lines, near and across them, then anywhere */
            int p = t < NEAR ? t : t - NEAR, side = places[p].side, rise = places[p].rise;
            double from = x + 8 * side, middle = y - rise;
            box place = {side > 0 ? from : from - length, middle - half_height, side > 0 ? from + length : from,
                         middle + half_height};
            if (is_free(frame, &place, taken, n_taken, &taken[i]) &&
                (t >= NEAR || is_free(frame, &place, line_boxes, n_boxes, NULL))) {
                taken[n_taken++] = place;
                kvb_frame_label(frame, points[i].label, points[i].x, points[i].y, 8 * side, rise,
                                side > 0 ? "left" : "right", color);
                break;
            }
        }
    }
}
