/* K bits x V bits, when the pairs form a grid; else every pair by its stored bits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chart_cells.h"

enum { MAX_PAIRS = 40 };

typedef struct grid {
    double errors[KVB_MAX_BITS + 1][KVB_MAX_BITS + 1]; /* [k bits][v bits], NaN where there is no pair */
    int k[KVB_MAX_BITS], v[KVB_MAX_BITS];
    int n_k, n_v;
} grid;

/* Fills the grid; 1 when every K width meets every V width and there are at least two of each. */
static int find_grid(const json_t *document, grid *g) {
    *g = (grid){.n_k = 0};
    int full = 1;
    size_t i;
    json_t *worst;
    for (int k = 0; k <= KVB_MAX_BITS; k++) {
        for (int v = 0; v <= KVB_MAX_BITS; v++) {
            g->errors[k][v] = NAN;
        }
    }
    json_array_foreach(json_object_get(document, "worst_pairs"), i, worst) {
        double k_bits = kvb_view_code_bits(kvb_view_string(worst, "k")),
               v_bits = kvb_view_code_bits(kvb_view_string(worst, "v"));
        int k = (int)k_bits, v = (int)v_bits;
        if (k < k_bits || v < v_bits) {
            full = 0; /* half bits have no place in it */
        } else if (k > 0 && v > 0) {
            g->errors[k][v] = kvb_view_real(worst, "nrmse_worst");
        }
    }
    for (int b = 1; b <= KVB_MAX_BITS; b++) {
        int in_k = 0, in_v = 0;
        for (int other = 1; other <= KVB_MAX_BITS; other++) {
            in_k |= isfinite(g->errors[b][other]);
            in_v |= isfinite(g->errors[other][b]);
        }
        if (in_k) {
            g->k[g->n_k++] = b;
        }
        if (in_v) {
            g->v[g->n_v++] = b;
        }
    }
    for (int k = 0; k < g->n_k; k++) {
        for (int v = 0; v < g->n_v; v++) {
            full &= isfinite(g->errors[g->k[k]][g->v[v]]);
        }
    }
    return full && g->n_k >= 2 && g->n_v >= 2;
}

int kvb_chart_grid(const json_t *document, kvb_frame *frame, kvb_chart *chart) {
    static const char *const digits[KVB_MAX_BITS + 1] = {"0", "1", "2", "3", "4", "5", "6", "7", "8"};
    grid g;
    kvb_cells cells;
    if (!find_grid(document, &g) || !kvb_cells_begin(&cells, g.n_v, g.n_k)) {
        return 0;
    }
    for (int k = 0; k < g.n_k; k++) {
        cells.row_names[k] = digits[g.k[k]];
        for (int v = 0; v < g.n_v; v++) {
            cells.column_names[v] = digits[g.v[v]];
            cells.errors[k * g.n_v + v] = g.errors[g.k[k]][g.v[v]];
        }
    }
    cells.column_title = "V bits";
    cells.row_title = "K bits";
    cells.cell_width = 86;
    cells.cell_height = frame->narrow ? 42 : 46;
    chart->id = "grid";
    chart->title = "Every K width with every V width";
    chart->note =
        "The worst mean NRMSE of each pair. The color steps at the thresholds; a mark shows that the pair passes.";
    kvb_cells_draw(&cells, document, frame, chart);
    kvb_cells_free(&cells);
    return 1;
}

/* ---- Pairs by stored bits --------------------------------------------------------------------------------------- */

typedef struct ranked {
    double bits, error, low, high;
    char name[KVB_VIEW_NAME];
    int level; /* 0 passes all thresholds, 1 some, 2 none */
} ranked;

static int by_bits(const void *a, const void *b) {
    const ranked *p = a, *q = b;
    if (p->bits != q->bits) {
        return p->bits > q->bits ? 1 : -1;
    }
    return (p->error < q->error) - (p->error > q->error);
}

/* At most MAX_PAIRS of them, the cheapest first; returns 0 when all are kvbits codes used alike for K and V, which the
 * chart of error against bits shows better. */
static int rank_pairs(const json_t *document, ranked *pairs) {
    double thresholds[2];
    int n_thresholds = kvb_view_thresholds(document, thresholds), n = 0, others = 0;
    size_t i;
    json_t *worst;
    json_array_foreach(json_object_get(document, "worst_pairs"), i, worst) {
        ranked pair = {kvb_view_real(worst, "average_bits"),
                       kvb_view_real(worst, "nrmse_worst"),
                       kvb_view_real(worst, "nrmse_low"),
                       kvb_view_real(worst, "nrmse_high"),
                       {0},
                       0};
        if (n == MAX_PAIRS || !isfinite(pair.bits) || !isfinite(pair.error)) {
            continue;
        }
        int passed = 0;
        for (int t = 0; t < n_thresholds; t++) {
            passed += kvb_view_passes(document, worst, t);
        }
        pair.level = n_thresholds == 0 ? 1 : passed == n_thresholds ? 0 : passed > 0 ? 1 : 2;
        kvb_view_pair(worst, pair.name);
        others += !kvb_view_symmetric(worst) || kvb_view_code_bits(kvb_view_string(worst, "k")) == 0;
        pairs[n++] = pair;
    }
    qsort(pairs, (size_t)n, sizeof *pairs, by_bits);
    return others > 0 ? n : 0;
}

static void set_pairs_frame(const json_t *document, kvb_frame *frame, const ranked *pairs, int n) {
    double thresholds[2];
    int n_thresholds = kvb_view_thresholds(document, thresholds);
    kvb_range errors = {INFINITY, 0};
    size_t longest = 0;
    for (int i = 0; i < n; i++) {
        kvb_range_add_point(&errors, &(kvb_point){0, pairs[i].error, pairs[i].low, pairs[i].high, NULL});
        longest = strlen(pairs[i].name) > longest ? strlen(pairs[i].name) : longest;
    }
    for (int i = 0; i < n_thresholds; i++) {
        kvb_range_add(&errors, thresholds[i]);
    }
    kvb_range_finish(&errors);
    int room = 14 + 7 * (int)longest;
    frame->left = room < (frame->narrow ? 48 : 64) ? (frame->narrow ? 48 : 64) : room > 150 ? 150 : room;
    frame->right = frame->narrow ? 50 : 90;
    frame->top = 44;
    frame->bottom = 44;
    frame->height = frame->top + frame->bottom + 24 * n;
    frame->x_low = errors.low;
    frame->x_high = errors.high;
    frame->x_log = 1;
    frame->y_low = 0.5;
    frame->y_high = n + 0.5;
}

static void draw_pairs(const json_t *document, kvb_frame *frame, const ranked *pairs, int n) {
    kvb_frame_begin(frame);
    kvb_frame_log_ticks(frame, 'x');
    kvb_frame_clear_ticks(frame, 'y');
    kvb_frame_titles(frame, "K/V", "worst mean NRMSE, log scale");
    kvb_frame_thresholds(frame, document, 'x');
    for (int i = 0; i < n; i++) {
        char bits[64];
        snprintf(bits, sizeof bits, frame->narrow ? "%.40s" : "%.40s bits", kvb_general(pairs[i].bits, 4).text);
        kvb_frame_tick(frame, 'y', n - i, pairs[i].name);
        kvb_frame_label(frame, bits, frame->x_high, n - i, frame->right - 4, 0, "right", KVB_COLOR_MUTED);
    }
    for (int level = 0; level < 3; level++) {
        kvb_writer_format(frame->out, "$d%d << EOD\n", level);
        for (int i = 0; i < n; i++) {
            if (pairs[i].level == level) {
                const ranked *p = &pairs[i];
                int interval = isfinite(p->low) && isfinite(p->high);
                kvb_writer_format(frame->out, "%s %d %s %s\n", kvb_general(fmax(p->error, frame->x_low), 9).text, n - i,
                                  kvb_general(fmax(interval ? p->low : p->error, frame->x_low), 9).text,
                                  kvb_general(fmax(interval ? p->high : p->error, frame->x_low), 9).text);
            }
        }
        kvb_writer_add(frame->out, "EOD\n");
    }
    for (int level = 0; level < 3; level++) {
        for (int i = 0; i < n; i++) {
            if (pairs[i].level == level) {
                kvb_frame_marks(frame, level, KVB_COLOR_PASS + level, 7, 0.8, 'x');
                break;
            }
        }
    }
    kvb_frame_end(frame);
}

int kvb_chart_pairs(const json_t *document, kvb_frame *frame, kvb_chart *chart) {
    static const char *const words[2][3] = {{"passes both", "passes one", "fails both"}, {"passes", "", "fails"}};
    ranked pairs[MAX_PAIRS];
    grid g;
    double thresholds[2];
    int n = find_grid(document, &g) ? 0 : rank_pairs(document, pairs);
    if (n == 0) {
        return 0;
    }
    chart->id = "pairs";
    chart->title = "Every pair by its stored bits";
    chart->note = "Cheapest pairs on top; the figure on the right is the average of K's and V's stored bits.";
    set_pairs_frame(document, frame, pairs, n);
    draw_pairs(document, frame, pairs, n);
    int n_thresholds = kvb_view_thresholds(document, thresholds);
    for (int level = 0; level < 3 && n_thresholds > 0; level++) {
        if (n_thresholds == 2 || level != 1) {
            kvb_chart_add_legend(chart, KVB_SHAPE_DOT, KVB_COLOR_PASS + level, words[n_thresholds == 1][level]);
        }
    }
    kvb_chart_add_threshold_legend(chart, document);
    return 1;
}
