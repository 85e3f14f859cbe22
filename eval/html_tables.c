#include <math.h>
#include <string.h>

#include "html.h"

enum { DECIMALS = 4, OPEN_ROWS = 14, STACK_WEIGHT = 14 };

void kvb_html_move(kvb_writer *out, kvb_writer *plain) {
    if (plain->data != NULL) {
        kvb_writer_html(out, plain->data);
    }
    out->failed |= plain->failed;
    kvb_writer_free(plain);
}

static int holds_words(const kvb_column *column) {
    return column->kind == KVB_COLUMN_TEXT || column->kind == KVB_COLUMN_PAIR || column->kind == KVB_COLUMN_CHEAPEST;
}

static int holds_pass(const kvb_column *column) {
    return column->kind == KVB_COLUMN_PASS_0 || column->kind == KVB_COLUMN_PASS_1;
}

static void write_heading(kvb_writer *out, const json_t *document, const kvb_column *column) {
    kvb_writer heading = {0};
    kvb_column_heading(column, document, &heading);
    kvb_html_move(out, &heading);
}

static void write_cell(kvb_writer *out, const json_t *document, const json_t *row, const kvb_column *column) {
    double low, high;
    kvb_writer text = {0};
    kvb_writer_format(out, "<td%s data-label=\"", holds_words(column) ? " class=\"words\"" : "");
    write_heading(out, document, column);
    kvb_writer_add(out, "\">");
    kvb_column_cell(column, document, row, DECIMALS, &text);
    if (holds_pass(column)) {
        int passed = text.data != NULL && strcmp(text.data, "pass") == 0;
        kvb_writer_format(out, "<span class=\"chip %s", passed ? "good\">\u2713 " : "bad\">\u2717 ");
        kvb_html_move(out, &text);
        kvb_writer_add(out, "</span>");
    } else {
        kvb_html_move(out, &text);
    }
    if (kvb_column_interval(column, row, &low, &high)) {
        kvb_writer_format(out, "<small>%s to %s</small>", kvb_figure(low, DECIMALS).text,
                          kvb_figure(high, DECIMALS).text);
    }
    kvb_writer_add(out, "</td>");
}

static void write_table(kvb_writer *out, const json_t *document, const json_t *rows, const kvb_column *const *columns,
                        int n) {
    size_t i;
    json_t *row;
    int weight = 2 * n; /* wide tables become one block a row on narrow pages */
    for (int c = 0; c < n; c++) {
        weight += columns[c]->interval != NULL              ? 2
                  : columns[c]->kind == KVB_COLUMN_CHEAPEST ? 4
                  : columns[c]->kind == KVB_COLUMN_GENERAL  ? 1
                                                            : 0;
    }
    kvb_writer_format(out, "<div class=\"scroll\"><table%s><thead><tr>",
                      weight >= STACK_WEIGHT ? " class=\"stack\"" : "");
    for (int c = 0; c < n; c++) {
        kvb_writer_format(out, "<th scope=\"col\"%s>", holds_words(columns[c]) ? " class=\"words\"" : "");
        write_heading(out, document, columns[c]);
        kvb_writer_add(out, "</th>");
    }
    kvb_writer_add(out, "</tr></thead><tbody>\n");
    json_array_foreach(rows, i, row) {
        kvb_writer_add(out, "<tr>");
        for (int c = 0; c < n; c++) {
            write_cell(out, document, row, columns[c]);
        }
        kvb_writer_add(out, "</tr>\n");
    }
    kvb_writer_add(out, "</tbody></table></div>\n");
}

void kvb_html_section(kvb_writer *out, const json_t *document, const json_t *owner, const kvb_section *section) {
    const kvb_column *columns[12];
    int n = kvb_section_columns(section, owner, columns), inside = owner != document;
    const json_t *rows = json_object_get(owner, section->array);
    size_t size = json_array_size(rows);
    if (n == 0) {
        return;
    }
    if (inside) {
        kvb_writer_format(out, "<h3>%s</h3>\n<p class=\"note\">%s</p>\n", section->title, section->note);
        write_table(out, document, rows, columns, n);
    } else if (size <= OPEN_ROWS) {
        kvb_writer_format(out, "<section class=\"card\"><h2>%s</h2>\n<p class=\"note\">%s</p>\n", section->title,
                          section->note);
        write_table(out, document, rows, columns, n);
        kvb_writer_add(out, "</section>\n");
    } else {
        kvb_writer_format(out,
                          "<section class=\"card fold\"><details><summary>%s <span class=\"count\">(%zu rows)</span>"
                          "</summary>\n<p class=\"note\">%s</p>\n",
                          section->title, size, section->note);
        write_table(out, document, rows, columns, n);
        kvb_writer_add(out, "</details></section>\n");
    }
}

/* ---- Layers ----------------------------------------------------------------------------------------------------- */

static void write_layer_row(kvb_writer *out, const json_t *document, const json_t *layer) {
    double thresholds[2];
    int n = kvb_view_thresholds(document, thresholds);
    kvb_writer_format(out, "<tr><td>%ld</td>", kvb_view_size(layer, "layer"));
    for (int i = 0; i < n; i++) {
        const json_t *needed = kvb_view_needed(layer, thresholds[i]);
        const json_t *pair = json_object_get(needed, "cheapest_pair");
        long bits = kvb_view_size(needed, "symmetric_bits");
        kvb_writer_format(out, "<td><span class=\"chip %s\">", bits > 0 ? "good" : "bad");
        if (bits > 0) {
            kvb_writer_format(out, "%ld bits</span></td><td class=\"words\">", bits);
        } else {
            kvb_writer_add(out, "none</span></td><td class=\"words\">");
        }
        if (json_is_object(pair)) {
            char name[KVB_VIEW_NAME];
            kvb_view_pair(pair, name);
            kvb_writer_html(out, name);
            kvb_writer_format(out, "<small>%s bits</small>", kvb_fixed(kvb_view_real(pair, "average_bits"), 3).text);
        } else {
            kvb_writer_add(out, "none");
        }
        kvb_writer_add(out, "</td>");
    }
    kvb_writer_add(out, "</tr>\n");
}

static void write_layer_details(kvb_writer *out, const json_t *document, const json_t *layer) {
    static const char *const facts[] = {"tokens",     "queries", "num_heads", "num_kv_heads", "head_dim",
                                        "v_head_dim", "scale",   "softcap",   "window"};
    kvb_writer_format(out, "<details><summary>Layer %ld</summary>\n<p class=\"note\">", kvb_view_size(layer, "layer"));
    const char *comma = "";
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        const json_t *value = json_object_get(layer, facts[i]);
        if (json_is_number(value)) {
            kvb_writer text = {0};
            kvb_writer_add(&text, comma);
            kvb_view_words(&text, facts[i]);
            kvb_writer_add(&text, " ");
            kvb_view_value(&text, value);
            kvb_html_move(out, &text);
            comma = ", ";
        }
    }
    kvb_writer_add(out, "</p>\n");
    kvb_html_section(out, document, layer, &kvb_section_needed);
    kvb_html_section(out, document, layer, &kvb_section_pairs);
    kvb_html_section(out, document, layer, &kvb_section_attribution);
    kvb_html_section(out, document, layer, &kvb_section_redraws);
    kvb_html_section(out, document, layer, &kvb_section_logits);
    kvb_writer_add(out, "</details>\n");
}

void kvb_html_layers(kvb_writer *out, const json_t *document) {
    const json_t *layers = kvb_view_array(document, "layers");
    double thresholds[2];
    int n = kvb_view_thresholds(document, thresholds);
    size_t i;
    json_t *layer;
    if (layers == NULL) {
        return;
    }
    kvb_writer_add(out,
                   "<section class=\"card\"><h2>Layer by layer</h2>\n<p class=\"note\">The smallest width for K and V "
                   "alike and the cheapest pair of each layer at each threshold.</p>\n<div class=\"scroll\"><table>"
                   "<thead><tr><th scope=\"col\">layer</th>");
    for (int t = 0; t < n; t++) {
        kvb_writer_format(out, "<th scope=\"col\">at most %s</th><th scope=\"col\" class=\"words\">cheapest K/V</th>",
                          kvb_general(thresholds[t], 4).text);
    }
    kvb_writer_add(out, "</tr></thead><tbody>\n");
    json_array_foreach(layers, i, layer) {
        write_layer_row(out, document, layer);
    }
    kvb_writer_add(out, "</tbody></table></div></section>\n<section class=\"card fold layers\">\n<h2>All figures of a "
                        "layer</h2>\n");
    json_array_foreach(layers, i, layer) {
        write_layer_details(out, document, layer);
    }
    kvb_writer_add(out, "</section>\n");
}
