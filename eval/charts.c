#include "charts.h"

#include <stdio.h>
#include <string.h>

enum { WIDE = 860, NARROW = 340 };

void kvb_chart_add_legend(kvb_chart *chart, kvb_shape shape, int color, const char *text) {
    if (chart->n_legend < KVB_LEGEND_MAX) {
        kvb_legend *entry = &chart->legend[chart->n_legend++];
        snprintf(entry->text, sizeof entry->text, "%.95s", text);
        entry->shape = shape;
        entry->color = color;
    }
}

void kvb_chart_add_threshold_legend(kvb_chart *chart, const json_t *document) {
    double thresholds[2];
    if (kvb_view_thresholds(document, thresholds) > 0) {
        kvb_chart_add_legend(chart, KVB_SHAPE_DASH, KVB_COLOR_TEXT, "thresholds");
    }
}

kvb_chart_draw *const kvb_charts_of_ab[] = {
    kvb_chart_bits, kvb_chart_grid, kvb_chart_pairs, kvb_chart_lengths, kvb_chart_layers, kvb_chart_layer_grid, NULL};

kvb_status kvb_charts_script(const json_t *document, kvb_chart_draw *const *kinds, kvb_charts *out, char **script,
                             kvb_error *error) {
    kvb_writer text = {0};
    *out = (kvb_charts){0};
    for (int i = 0; kinds[i] != NULL && i < KVB_CHARTS_MAX; i++) {
        kvb_chart *chart = &out->charts[out->n];
        kvb_frame wide = {.out = &text, .width = WIDE}, narrow = {.out = &text, .width = NARROW, .narrow = 1};
        if (kinds[i](document, &wide, chart)) {
            kvb_chart discarded = *chart; /* one legend serves both */
            kinds[i](document, &narrow, &discarded);
            out->n++;
        }
    }
    return kvb_writer_take(&text, script, error);
}

static kvb_status take_pictures(kvb_charts *charts, const char *pictures, kvb_error *error) {
    for (int i = 0; i < charts->n; i++) {
        kvb_chart *chart = &charts->charts[i];
        for (int narrow = 0; narrow < 2; narrow++) {
            char prefix[32], css_class[64];
            snprintf(prefix, sizeof prefix, "%.20s-%c-", chart->id, narrow ? 'n' : 'w');
            snprintf(css_class, sizeof css_class, "plot %s%s", chart->cells ? "cells " : "",
                     narrow ? "narrow" : "wide");
            kvb_status status =
                kvb_svg_next(&pictures, prefix, css_class, chart->title, narrow ? &chart->narrow : &chart->wide, error);
            if (status != KVB_OK) {
                return status;
            }
        }
    }
    return KVB_OK;
}

kvb_status kvb_charts_draw(const json_t *document, kvb_chart_draw *const *kinds, kvb_charts *out, kvb_error *error) {
    char *script = NULL, *pictures = NULL;
    size_t bytes = 0;
    kvb_status status = kvb_charts_script(document, kinds, out, &script, error);
    if (status == KVB_OK && out->n > 0) {
        status = kvb_plotter_run(script, strlen(script), &pictures, &bytes, error);
        if (status == KVB_OK) {
            status = take_pictures(out, pictures, error);
        }
    }
    kvb_text_free(script);
    kvb_text_free(pictures);
    return status;
}

void kvb_charts_free(kvb_charts *charts) {
    for (int i = 0; i < charts->n; i++) {
        kvb_text_free(charts->charts[i].wide);
        kvb_text_free(charts->charts[i].narrow);
    }
    *charts = (kvb_charts){0};
}
