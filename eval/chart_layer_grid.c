/* Layers x pairs, as colored cells: which layer needs how many bits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "chart_cells.h"

enum { MAX_ROWS = 8, NAME = 24 };

typedef struct layer_grid {
    kvb_chosen pairs[MAX_ROWS];
    char (*layer_names)[NAME];
    int n_pairs, n_layers;
} layer_grid;

/* Layers run along x on a wide page; on a narrow one they run down, so that a cell keeps room for its figure. */
static void fill(const json_t *layers, const layer_grid *g, int narrow, kvb_cells *cells) {
    int every = narrow ? 1 : g->n_layers / 40 + 1;
    for (int i = 0; i < g->n_layers; i++) {
        int place = narrow ? g->n_layers - 1 - i : i;
        const char **names = narrow ? cells->row_names : cells->column_names;
        names[place] = i % every == 0 ? g->layer_names[i] : NULL;
        for (int p = 0; p < g->n_pairs; p++) {
            const json_t *cell =
                kvb_view_find_pair(json_array_get(layers, (size_t)i), kvb_view_string(g->pairs[p].worst, "k"),
                                   kvb_view_string(g->pairs[p].worst, "v"));
            int at = narrow ? place * cells->columns + p : p * cells->columns + place;
            cells->errors[at] = kvb_view_real(cell, "nrmse_mean");
        }
    }
    for (int p = 0; p < g->n_pairs; p++) {
        (narrow ? cells->column_names : cells->row_names)[p] = g->pairs[p].name;
    }
}

static void draw(const json_t *document, const layer_grid *g, kvb_frame *frame, kvb_chart *chart) {
    kvb_cells cells;
    int columns = frame->narrow ? g->n_pairs : g->n_layers, rows = frame->narrow ? g->n_layers : g->n_pairs;
    if (!kvb_cells_begin(&cells, columns, rows)) {
        frame->out->failed = 1;
        return;
    }
    fill(json_object_get(document, "layers"), g, frame->narrow, &cells);
    cells.column_title = frame->narrow ? "K/V" : "layer";
    cells.row_title = frame->narrow ? "layer" : "K/V";
    cells.cell_width = frame->narrow ? 56 : 64;
    cells.cell_height = frame->narrow ? 20 : 32;
    chart->id = "layer-grid";
    chart->title = "Which layer needs how many bits";
    chart->note =
        "Mean NRMSE of each layer and pair. The color steps at the thresholds: blue-green cells pass the stricter one.";
    kvb_cells_draw(&cells, document, frame, chart);
    kvb_cells_free(&cells);
}

int kvb_chart_layer_grid(const json_t *document, kvb_frame *frame, kvb_chart *chart) {
    const json_t *layers = json_object_get(document, "layers");
    layer_grid g = {.n_layers = (int)json_array_size(layers)};
    if (g.n_layers == 0) {
        return 0;
    }
    g.n_pairs = kvb_chart_choose(document, g.pairs, MAX_ROWS, frame->out);
    g.layer_names = calloc((size_t)g.n_layers, sizeof *g.layer_names);
    if (g.layer_names == NULL || g.n_pairs == 0) {
        frame->out->failed |= g.layer_names == NULL;
        free(g.layer_names);
        return 0;
    }
    for (int i = 0; i < g.n_layers; i++) {
        snprintf(g.layer_names[i], NAME, "%ld", kvb_view_size(json_array_get(layers, (size_t)i), "layer"));
    }
    draw(document, &g, frame, chart);
    free(g.layer_names);
    return 1;
}
