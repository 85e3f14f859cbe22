/* report.html: one file, no script, nothing fetched. */
#include "html.h"

void kvb_html_chart(kvb_writer *out, const kvb_chart *chart) {
    static const char *const shapes[] = {"line", "dot", "ring", "square", "fill", "dash"};
    kvb_writer_format(out,
                      "<section class=\"card\"><figure><h2>%s</h2>\n<p class=\"note\">%s</p>\n<ul class=\"legend\">\n",
                      chart->title, chart->note);
    for (int i = 0; i < chart->n_legend; i++) {
        const kvb_legend *entry = &chart->legend[i];
        kvb_writer_format(out, "<li><i class=\"%s\" style=\"--k:var(--c%d)\"></i>", shapes[entry->shape], entry->color);
        kvb_writer_html(out, entry->text);
        kvb_writer_add(out, "</li>\n");
    }
    kvb_writer_add(out, "</ul>\n");
    kvb_writer_add(out, chart->wide == NULL ? "" : chart->wide);
    kvb_writer_add(out, chart->narrow == NULL ? "" : chart->narrow);
    kvb_writer_add(out, "</figure></section>\n");
}

void kvb_html_begin(kvb_writer *out, kvb_writer *title) {
    kvb_writer_add(out,
                   "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
                   "content=\"width=device-width, initial-scale=1\">\n<title>");
    kvb_html_move(out, title);
    kvb_writer_add(out, "</title>\n<style>\n");
    kvb_html_style(out);
    kvb_writer_add(out, "</style>\n</head>\n<body>\n<main>\n");
}

void kvb_html_end(kvb_writer *out, const char *version) {
    kvb_writer_add(out, "<footer>Made by kvbits ");
    kvb_writer_html(out, version == NULL ? "" : version);
    kvb_writer_add(
        out, " from result.json, which holds all figures with more decimals.</footer>\n</main>\n</body>\n</html>\n");
}

kvb_status kvb_html_page(const json_t *document, const kvb_charts *charts, char **text, kvb_error *error) {
    kvb_writer out = {0}, title = {0};
    kvb_writer_add(&title, "kvbits A/B: ");
    kvb_view_subject(&title, document);
    kvb_html_begin(&out, &title);
    kvb_html_summary(&out, document);
    for (int i = 0; i < charts->n; i++) {
        kvb_html_chart(&out, &charts->charts[i]);
    }
    kvb_html_layers(&out, document);
    kvb_html_section(&out, document, document, &kvb_section_attention);
    kvb_html_section(&out, document, document, &kvb_section_worst);
    kvb_html_section(&out, document, document, &kvb_section_attribution);
    kvb_html_section(&out, document, document, &kvb_section_pairs);
    kvb_html_section(&out, document, document, &kvb_section_redraws);
    kvb_html_section(&out, document, document, &kvb_section_logits);
    kvb_html_section(&out, document, document, &kvb_section_comparisons);
    kvb_html_section(&out, document, document, &kvb_section_round_trip);
    kvb_html_reading(&out, document);
    kvb_html_codebooks(&out, document);
    kvb_html_configuration(&out, document);
    kvb_html_checks(&out, document);
    kvb_html_end(&out, kvb_view_string(json_object_get(document, "kvbits"), "version"));
    return kvb_writer_take(&out, text, error);
}

kvb_status kvb_result_html(const kvb_result *result, char **text, kvb_error *error) {
    kvb_charts charts;
    kvb_status status = kvb_charts_draw(result->document, kvb_charts_of_ab, &charts, error);
    if (status == KVB_OK) {
        status = kvb_html_page(result->document, &charts, text, error);
    }
    kvb_charts_free(&charts);
    return status;
}
