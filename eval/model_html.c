/* The page of a model's evaluation: what kvbits eval says, from its result.json. */
#include <math.h>

#include "html.h"
#include "json_file.h"

/* ---- The head --------------------------------------------------------------------------------------------------- */

static const char *string_of(const json_t *object, const char *key) {
    const char *text = kvb_view_string(object, key);
    return text == NULL ? "?" : text;
}

static void write_string(kvb_writer *out, const json_t *object, const char *key) {
    kvb_writer_html(out, string_of(object, key));
}

static void write_head(kvb_writer *out, const json_t *document) {
    const json_t *model = kvb_view_object(document, "model"), *check = kvb_view_object(document, "self_check");
    kvb_writer_add(out, "<p class=\"kicker\">kvbits eval</p>\n<h1>What the cache does to ");
    write_string(out, model, "file");
    kvb_writer_add(out, "</h1>\n<p class=\"subject\">");
    write_string(out, model, "name");
    kvb_writer_add(out, " (");
    write_string(out, model, "architecture");
    kvb_writer_format(out, ", %s layers), %s tokens of ", kvb_fixed(kvb_view_real(model, "layers"), 0).text,
                      kvb_fixed(kvb_view_real(document, "tokens"), 0).text);
    write_string(out, document, "text");
    kvb_writer_format(out, " in windows of %s, by ", kvb_fixed(kvb_view_real(document, "window"), 0).text);
    write_string(out, document, "engine");
    kvb_writer_format(out,
                      ".</p>\n<p class=\"note\">Self-check: attention recomputed in double precision differs from the "
                      "engine's by an NRMSE of at most %s (limit %s); ",
                      kvb_general(kvb_view_real(check, "recomputed_nrmse"), 2).text,
                      kvb_general(kvb_view_real(check, "recomputed_limit"), 2).text);
    kvb_writer_format(
        out, "a kvbits cache of halves in its place by %s (limit %s), which makes a mean KL divergence of %s.</p>\n",
        kvb_general(kvb_view_real(check, "halves_nrmse"), 2).text,
        kvb_general(kvb_view_real(check, "halves_limit"), 2).text,
        kvb_general(kvb_view_real(check, "halves_kl_mean"), 2).text);
}

/* ---- Tables ----------------------------------------------------------------------------------------------------- */

typedef struct column {
    const char *heading, *owner, *key; /* owner NULL: the row itself */
    double unit;
    int decimals; /* of fixed figures; 0: three digits */
} column;

static void write_figure(kvb_writer *out, double value, const column *c) {
    const double scaled = c->unit * value;
    kvb_writer_add(out, !isfinite(scaled) ? "-"
                        : c->decimals     ? kvb_fixed(scaled, c->decimals).text
                                          : kvb_general(scaled, 3).text);
}

/* A number, or a figure with its interval. */
static void write_cell(kvb_writer *out, const json_t *row, const column *c) {
    const json_t *entry = json_object_get(c->owner ? kvb_view_object(row, c->owner) : row, c->key);
    const double low = kvb_view_real(entry, "low"), high = kvb_view_real(entry, "high");
    kvb_writer_format(out, "<td data-label=\"%s\">", c->heading);
    write_figure(out, json_is_number(entry) ? json_number_value(entry) : kvb_view_real(entry, "value"), c);
    if (isfinite(low) && isfinite(high)) {
        kvb_writer_add(out, "<small>");
        write_figure(out, low, c);
        kvb_writer_add(out, " to ");
        write_figure(out, high, c);
        kvb_writer_add(out, "</small>");
    }
    kvb_writer_add(out, "</td>");
}

static void begin_table(kvb_writer *out, const char *first, const char *second, const column *columns, int n) {
    kvb_writer_format(out, "<div class=\"scroll\"><table%s><thead><tr><th scope=\"col\" class=\"words\">%s</th>",
                      n > 4 ? " class=\"stack\"" : "", first);
    if (second != NULL) {
        kvb_writer_format(out, "<th scope=\"col\" class=\"words\">%s</th>", second);
    }
    for (int c = 0; c < n; c++) {
        kvb_writer_format(out, "<th scope=\"col\">%s</th>", columns[c].heading);
    }
    kvb_writer_add(out, "</tr></thead><tbody>\n");
}

static void write_rows(kvb_writer *out, const json_t *rows, const char *first, const char *second,
                       const char *second_heading, const column *columns, int n) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        kvb_writer_add(out, "<tr><td class=\"words\">");
        write_string(out, row, first);
        kvb_writer_add(out, "</td>");
        if (second != NULL) {
            kvb_writer_format(out, "<td class=\"words\" data-label=\"%s\">", second_heading);
            write_string(out, row, second);
            kvb_writer_add(out, "</td>");
        }
        for (int c = 0; c < n; c++) {
            write_cell(out, row, &columns[c]);
        }
        kvb_writer_add(out, "</tr>\n");
    }
    kvb_writer_add(out, "</tbody></table></div>\n");
}

static void write_schemes(kvb_writer *out, const json_t *document) {
    static const column columns[] = {{"bits per value", NULL, "bits_per_value", 1, 3},
                                     {"in the window", NULL, "bits_in_window", 1, 3},
                                     {"KL, mean", "kl", "mean", 1, 0},
                                     {"median", "kl", "median", 1, 0},
                                     {"99 %", "kl", "p99", 1, 0},
                                     {"99.9 %", "kl", "p999", 1, 0},
                                     {"same top token, %", NULL, "top1_agreement", 100, 2},
                                     {"perplexity, ratio", NULL, "perplexity_ratio", 1, 5}};
    enum { N = sizeof columns / sizeof *columns };
    kvb_writer_add(out, "<section class=\"card\"><h2>Every scheme</h2>\n<p class=\"note\">KL divergence of the "
                        "next-token distribution from the unquantized cache's, in nats, with 95 % intervals.</p>\n");
    begin_table(out, "scheme", "cache", columns, N);
    write_rows(out, json_object_get(document, "schemes"), "name", "kind", "cache", columns, N);
    kvb_writer_add(out, "</section>\n");
}

static void write_comparisons(kvb_writer *out, const json_t *document) {
    static const column columns[] = {{"KL, mean", NULL, "kl_mean_ratio", 1, 3},
                                     {"99.9 %", NULL, "kl_p999_ratio", 1, 3}};
    const json_t *rows = kvb_view_array(document, "comparisons");
    if (rows == NULL) {
        return;
    }
    kvb_writer_format(
        out,
        "<section class=\"card fold\"><details><summary>One scheme against another <span class=\"count\">(%zu "
        "rows)</span></summary>\n<p class=\"note\">Ratios of KL divergences, paired by window, with 95 %% "
        "intervals: below 1 the first is better.</p>\n",
        json_array_size(rows));
    begin_table(out, "scheme", "against", columns, 2);
    write_rows(out, rows, "scheme", "against", "against", columns, 2);
    kvb_writer_add(out, "</details></section>\n");
}

static void write_sensitivity(kvb_writer *out, const json_t *document) {
    static const column columns[] = {{"keys", NULL, "k", 1000, 3}, {"values", NULL, "v", 1000, 3}};
    const json_t *sensitivity = kvb_view_object(document, "sensitivity");
    size_t i;
    json_t *row;
    if (kvb_view_array(sensitivity, "layers") == NULL) {
        return;
    }
    kvb_writer_format(
        out,
        "<section class=\"card fold\"><details><summary>Each side of each layer alone</summary>\n<p "
        "class=\"note\">Mean KL divergence in thousandths of a nat: keys at %s bits, values at %s, all else "
        "in halves; %s tokens.</p>\n",
        kvb_fixed(kvb_view_real(sensitivity, "k_bits"), 0).text,
        kvb_fixed(kvb_view_real(sensitivity, "v_bits"), 0).text,
        kvb_fixed(kvb_view_real(sensitivity, "tokens"), 0).text);
    begin_table(out, "layer", NULL, columns, 2);
    json_array_foreach(json_object_get(sensitivity, "layers"), i, row) {
        kvb_writer_format(out, "<tr><td class=\"words\">%s</td>", kvb_fixed(kvb_view_real(row, "layer"), 0).text);
        write_cell(out, row, &columns[0]);
        write_cell(out, row, &columns[1]);
        kvb_writer_add(out, "</tr>\n");
    }
    kvb_writer_add(out, "</tbody></table></div>\n</details></section>\n");
}

/* ---- The page --------------------------------------------------------------------------------------------------- */

static kvb_status write_page(const json_t *document, char **html, kvb_error *error) {
    kvb_charts charts;
    kvb_writer out = {0}, title = {0};
    kvb_status status = kvb_charts_draw(document, kvb_charts_of_model, &charts, error);
    if (status == KVB_OK) {
        kvb_writer_format(&title, "kvbits eval: %s", string_of(kvb_view_object(document, "model"), "file"));
        kvb_html_begin(&out, &title);
        write_head(&out, document);
        for (int i = 0; i < charts.n; i++) {
            kvb_html_chart(&out, &charts.charts[i]);
        }
        write_schemes(&out, document);
        write_comparisons(&out, document);
        write_sensitivity(&out, document);
        kvb_html_end(&out, kvb_view_string(document, "kvbits"));
        status = kvb_writer_take(&out, html, error);
    }
    kvb_charts_free(&charts);
    return status;
}

int kvb_is_model_result(const char *json, size_t bytes) {
    json_t *document = json_loadb(json, bytes, 0, NULL);
    const json_t *version = json_object_get(document, "kvbits_eval");
    const int is = json_is_integer(version) && json_integer_value(version) == 1;
    json_decref(document);
    return is;
}

kvb_status kvb_model_html(const char *json, size_t bytes, char **html, kvb_error *error) {
    *html = NULL;
    json_t *document = kvb_json_file_parse(json, bytes, "result of kvbits eval", "result", error);
    if (document == NULL) {
        return KVB_ERROR_FORMAT;
    }
    const json_t *version = json_object_get(document, "kvbits_eval");
    kvb_status status =
        json_is_integer(version) && json_integer_value(version) == 1
            ? write_page(document, html, error)
            : kvb_error_set(error, KVB_ERROR_FORMAT, "not a result of kvbits eval: \"kvbits_eval\" must be 1");
    json_decref(document);
    return status;
}
