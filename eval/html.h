/* The parts of report.html. */
#ifndef KVBITS_EVAL_HTML_H
#define KVBITS_EVAL_HTML_H

#include "charts.h"
#include "report_columns.h"

/* The style sheet: layout, both color schemes, and the mapping of the charts' colors to them. */
void kvb_html_style(kvb_writer *out);
/* Headline, verdict and cheapest pair at each threshold, rationale, state of the checks. */
void kvb_html_summary(kvb_writer *out, const json_t *document);
/* A chart with its legend and note. */
void kvb_html_chart(kvb_writer *out, const kvb_chart *chart);
/* A table with heading and note; long ones fold. Nothing when it has no figures. */
void kvb_html_section(kvb_writer *out, const json_t *document, const json_t *owner, const kvb_section *section);
/* A trace's layers: one row each, and a folded part with all of a layer's tables. */
void kvb_html_layers(kvb_writer *out, const json_t *document);
void kvb_html_codebooks(kvb_writer *out, const json_t *document);
void kvb_html_reading(kvb_writer *out, const json_t *document);
void kvb_html_configuration(kvb_writer *out, const json_t *document);
void kvb_html_checks(kvb_writer *out, const json_t *document);

/* From the doctype to <main>, and from a footer on; what the page is about is escaped and emptied. */
void kvb_html_begin(kvb_writer *out, kvb_writer *title);
void kvb_html_end(kvb_writer *out, const char *version);
/* The page around charts that are already drawn. */
KVB_CHECKED kvb_status kvb_html_page(const json_t *document, const kvb_charts *charts, char **text, kvb_error *error);
/* Escapes what `plain` holds into `out`, and empties it. */
void kvb_html_move(kvb_writer *out, kvb_writer *plain);

#endif
