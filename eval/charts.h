/* The charts of a report, drawn by one gnuplot process. */
#ifndef KVBITS_EVAL_CHARTS_H
#define KVBITS_EVAL_CHARTS_H

#include "chart_frame.h"

enum { KVB_CHARTS_MAX = 6, KVB_LEGEND_MAX = 12 };

typedef enum kvb_shape {
    KVB_SHAPE_LINE,
    KVB_SHAPE_DOT,
    KVB_SHAPE_RING,
    KVB_SHAPE_SQUARE,
    KVB_SHAPE_FILL,
    KVB_SHAPE_DASH
} kvb_shape;

typedef struct kvb_legend {
    char text[96];
    kvb_shape shape;
    int color;
} kvb_legend;

typedef struct kvb_chart {
    const char *id, *title, *note;
    kvb_legend legend[KVB_LEGEND_MAX];
    int n_legend;
    int cells;           /* 1: colored cells with text inside, 0: lines and points */
    char *wide, *narrow; /* SVG elements for wide and narrow pages */
} kvb_chart;

typedef struct kvb_charts {
    kvb_chart charts[KVB_CHARTS_MAX];
    int n;
} kvb_charts;

/* One kind of chart: writes its script into the frame and its texts into the chart; 0 when there is nothing to draw. */
typedef int kvb_chart_draw(const json_t *document, kvb_frame *frame, kvb_chart *chart);

/* The kinds of charts of a report, at most KVB_CHARTS_MAX, NULL behind the last: of the A/B and of a model's
 * evaluation. */
extern kvb_chart_draw *const kvb_charts_of_ab[], *const kvb_charts_of_model[];

/* Draws every chart that the document has figures for; none is legal. Release with kvb_charts_free, also on failure. */
KVB_CHECKED kvb_status kvb_charts_draw(const json_t *document, kvb_chart_draw *const *kinds, kvb_charts *out,
                                       kvb_error *error);
void kvb_charts_free(kvb_charts *charts);
/* The gnuplot script alone (released with kvb_text_free): for tests. */
KVB_CHECKED kvb_status kvb_charts_script(const json_t *document, kvb_chart_draw *const *kinds, kvb_charts *out,
                                         char **script, kvb_error *error);

kvb_chart_draw kvb_chart_bits, kvb_chart_grid, kvb_chart_pairs, kvb_chart_lengths, kvb_chart_layers,
    kvb_chart_layer_grid;

/* A pair worth a line or a row of its own. */
typedef struct kvb_chosen {
    const json_t *worst; /* its entry of worst_pairs */
    double bits, distance;
    char name[KVB_VIEW_NAME];
} kvb_chosen;

/* At most `limit` of the document's pairs: the cheapest ones, then K and V alike, those nearest the first threshold
 * first; in rising order of stored bits. Returns their number; lack of memory marks `problems`. */
int kvb_chart_choose(const json_t *document, kvb_chosen *out, int limit, kvb_writer *problems);
/* "4 bits" for codes alike, else the pair's name. */
void kvb_chart_name_chosen(const kvb_chosen *chosen, char *text, size_t size);
/* Is this the cheapest pair at one of the thresholds? */
int kvb_chart_is_cheapest(const json_t *document, const json_t *cell);

void kvb_chart_add_legend(kvb_chart *chart, kvb_shape shape, int color, const char *text);
/* The legend entry of the dashed threshold lines. */
void kvb_chart_add_threshold_legend(kvb_chart *chart, const json_t *document);

/* Takes the next <svg> element from *text, which moves behind it, and makes it fit for a page: size from the viewBox,
 * ids and links prefixed, colors as #rrggbb, no titles, no descriptions. KVB_ERROR_FORMAT when there is none. */
KVB_CHECKED kvb_status kvb_svg_next(const char **text, const char *prefix, const char *css_class, const char *label,
                                    char **out, kvb_error *error);

#endif
