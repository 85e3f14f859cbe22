#include <math.h>
#include <stdio.h>
#include <string.h>

#include "html.h"

/* One sentence for both verdicts. */
static void write_headline(kvb_writer *out, const json_t *document, const double *thresholds, int n) {
    const char *first = kvb_view_verdict(document, 0), *second = kvb_view_verdict(document, 1);
    int a = first == NULL ? -1 : kvb_view_verdict_bits(first), b = second == NULL ? -1 : kvb_view_verdict_bits(second);
    kvb_number low = kvb_general(n > 0 ? thresholds[0] : NAN, 4), high = kvb_general(n > 1 ? thresholds[1] : NAN, 4);
    if (n == 2 && a > 0 && a == b) {
        kvb_writer_format(out, "%d bits keep the error within %s", a,
                          kvb_general(fmin(thresholds[0], thresholds[1]), 4).text);
    } else if (n == 2 && a > 0 && b > 0) {
        kvb_writer_format(out, "%d bits keep the error within %s, %d bits within %s", a, low.text, b, high.text);
    } else if (n == 2 && a == 0 && b > 0) {
        kvb_writer_format(out, "%d bits keep the error within %s; no tested width keeps it within %s", b, high.text,
                          low.text);
    } else if (n == 2 && a == 0 && b == 0) {
        kvb_writer_format(out, "No tested bit width keeps the error within %s or %s", low.text, high.text);
    } else if (first != NULL) {
        kvb_writer words = {0};
        kvb_view_verdict_words(&words, first);
        kvb_html_move(out, &words);
    } else {
        kvb_writer_add(out, "How few bits do K and V need?");
    }
}

static void write_width(kvb_writer *out, const char *name, double bits) {
    kvb_writer_format(out, "<dt>%s</dt><dd>", name);
    if (bits > 0) {
        kvb_writer_format(out, "%s bit%s</dd>\n", kvb_general(bits, 2).text, bits == 1 ? "" : "s");
    } else {
        kvb_writer_add(out, "no tested width</dd>\n");
    }
}

static void write_needed(kvb_writer *out, const json_t *needed) {
    const json_t *pair = json_object_get(needed, "cheapest_pair");
    kvb_writer_add(out, "<dl><dt>Cheapest pair</dt><dd>");
    if (json_is_object(pair)) {
        const char *k = kvb_view_string(pair, "k"), *v = kvb_view_string(pair, "v");
        kvb_writer_add(out, "<strong>K ");
        kvb_writer_html(out, k == NULL ? "?" : k);
        kvb_writer_add(out, ", V ");
        kvb_writer_html(out, v == NULL ? "?" : v);
        kvb_writer_format(out, "</strong><br><span>%s stored bits,</span> <span>error %s</span></dd>\n",
                          kvb_fixed(kvb_view_real(pair, "average_bits"), 3).text,
                          kvb_fixed(kvb_view_real(pair, "nrmse"), 4).text);
    } else {
        kvb_writer_add(out, "no tested pair passes</dd>\n");
    }
    write_width(out, "K alone", kvb_view_real(needed, "k_bits_alone"));
    write_width(out, "V alone", kvb_view_real(needed, "v_bits_alone"));
    kvb_writer_add(out, "</dl>\n");
}

static void write_verdict(kvb_writer *out, const json_t *document, int i, double threshold) {
    const char *verdict = kvb_view_verdict(document, i);
    const json_t *needed = kvb_view_needed(document, threshold);
    int bits = verdict == NULL ? -1 : kvb_view_verdict_bits(verdict);
    if (verdict == NULL && needed == NULL) {
        return;
    }
    kvb_writer_format(out, "<section class=\"card %s\"><h2>Error at most %s</h2>\n",
                      bits > 0    ? "good"
                      : bits == 0 ? "bad"
                                  : "open",
                      kvb_general(threshold, 4).text);
    if (bits > 0) {
        kvb_writer_format(out, "<p class=\"big\">%d bit%s</p><p>for K and V alike</p>\n", bits, bits == 1 ? "" : "s");
    } else if (bits == 0) {
        kvb_writer_add(out, "<p class=\"big\">None</p><p>of the tested widths is enough for K and V alike</p>\n");
    } else if (verdict != NULL) {
        kvb_writer words = {0};
        kvb_view_verdict_words(&words, verdict);
        kvb_writer_add(out, "<p>");
        kvb_html_move(out, &words);
        kvb_writer_add(out, "</p>\n");
    }
    if (needed != NULL) {
        write_needed(out, needed);
    }
    kvb_writer_add(out, "</section>\n");
}

static void write_check_state(kvb_writer *out, const json_t *document) {
    size_t i, n = json_array_size(json_object_get(document, "checks")), failed = 0;
    json_t *check;
    json_array_foreach(json_object_get(document, "checks"), i, check) {
        failed += !json_is_true(json_object_get(check, "passed"));
    }
    if (n > 0 && failed == 0) {
        kvb_writer_format(out, "<p><a class=\"chip good\" href=\"#checks\">\u2713 All %zu checks hold</a></p>\n", n);
    } else if (n > 0) {
        kvb_writer_format(out, "<p><a class=\"chip bad\" href=\"#checks\">\u2717 %zu of %zu checks failed</a></p>\n",
                          failed, n);
    }
}

void kvb_html_summary(kvb_writer *out, const json_t *document) {
    double thresholds[2];
    int n = kvb_view_thresholds(document, thresholds);
    const char *rationale = kvb_view_string(document, "verdict_rationale");
    kvb_writer subject = {0};
    kvb_writer_add(out, "<header><p class=\"kicker\">kvbits A/B: how few bits do K and V need?</p>\n<h1>");
    write_headline(out, document, thresholds, n);
    kvb_writer_add(out, "</h1>\n<p class=\"subject\">");
    kvb_view_subject(&subject, document);
    kvb_html_move(out, &subject);
    kvb_writer_add(out, ".</p></header>\n<div class=\"verdicts\">\n");
    for (int i = 0; i < n; i++) {
        write_verdict(out, document, i, thresholds[i]);
    }
    kvb_writer_add(out, "</div>\n");
    if (rationale != NULL) {
        kvb_writer_add(out, "<p class=\"rationale\">");
        kvb_writer_html(out, rationale);
        kvb_writer_add(out, "</p>\n");
    }
    write_check_state(out, document);
}
