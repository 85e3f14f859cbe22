/* Charts of colored cells: an error per cell, thresholds at the steps of the color scale, passing cells marked; or any
 * figure, with bounds of its own. */
#ifndef KVBITS_EVAL_CHART_CELLS_H
#define KVBITS_EVAL_CHART_CELLS_H

#include "charts.h"

enum { KVB_CELL_STEPS = 7 };

typedef struct kvb_cells {
    int columns, rows;
    double *errors;            /* [row * columns + column], row 0 at the bottom; NaN: no cell */
    const char **column_names; /* ticks; NULL entries are left out */
    const char **row_names;
    const char *column_title, *row_title;
    int cell_width, cell_height; /* largest size of a cell in pixels */
    const double *bounds;        /* [KVB_CELL_STEPS - 1] between the steps of color; NULL: the document's thresholds */
} kvb_cells;

/* Allocates errors (NaN) and names (NULL); 0 when out of memory or empty. */
int kvb_cells_begin(kvb_cells *cells, int columns, int rows);
/* Writes the whole chart and its legend. */
void kvb_cells_draw(const kvb_cells *cells, const json_t *document, kvb_frame *frame, kvb_chart *chart);
void kvb_cells_free(kvb_cells *cells);

#endif
