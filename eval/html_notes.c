/* The parts of the page that explain: how to read it, configuration, codebooks, checks. */
#include <string.h>

#include "html.h"

static void write_item(kvb_writer *out, const char *key, const json_t *value) {
    kvb_writer words = {0}, text = {0};
    kvb_view_words(&words, key);
    kvb_view_value(&text, value);
    kvb_writer_add(out, "<dt>");
    kvb_html_move(out, &words);
    kvb_writer_add(out, "</dt><dd>");
    kvb_html_move(out, &text);
    kvb_writer_add(out, "</dd>\n");
}

static void write_items(kvb_writer *out, const json_t *object) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        write_item(out, key, value);
    }
}

void kvb_html_configuration(kvb_writer *out, const json_t *document) {
    static const char *const keys[] = {"seed",
                                       "kv_seq_lens",
                                       "bit_widths",
                                       "n_trials_per_sdpa_cell",
                                       "decision_threshold_nrmse",
                                       "decision_threshold_alt_nrmse"};
    kvb_writer_add(out, "<section class=\"card\"><h2>Configuration</h2>\n<dl class=\"config\">\n");
    write_items(out, json_object_get(document, "shape"));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(document, keys[i]);
        if (value != NULL) {
            write_item(out, keys[i], value);
        }
    }
    write_items(out, json_object_get(document, "configuration"));
    const json_t *trace = json_object_get(document, "trace");
    if (kvb_view_string(trace, "file") != NULL) {
        write_item(out, "file", json_object_get(trace, "file"));
    }
    write_items(out, json_object_get(trace, "metadata"));
    kvb_writer_add(out, "</dl></section>\n");
}

static void write_gate(kvb_writer *out, const char *text, kvb_number figure, int passed) {
    kvb_writer_format(out, "<p class=\"note\">%s %s. <span class=\"chip %s</span></p>\n", text, figure.text,
                      passed ? "good\">\u2713 passed" : "bad\">\u2717 failed");
}

void kvb_html_codebooks(kvb_writer *out, const json_t *document) {
    const json_t *sources = kvb_view_object(document, "codebook_sources");
    const json_t *convergence = kvb_view_object(document, "lloyd_max_convergence");
    const json_t *gate = kvb_view_object(document, "codebook_4bit_sanity_gate");
    const json_t *attention_gate = kvb_view_object(document, "sdpa_sanity_gate");
    const char *key;
    json_t *value;
    if (sources == NULL && convergence == NULL && gate == NULL && attention_gate == NULL) {
        return;
    }
    kvb_writer_add(out, "<section class=\"card\"><h2>Codebooks and sanity gates</h2>\n");
    if (convergence != NULL) {
        kvb_writer_add(out,
                       "<p class=\"note\">The Lloyd-Max iteration (T1a) and its last change.</p><div class=\"scroll\">"
                       "<table><thead><tr><th scope=\"col\" class=\"words\">width</th><th scope=\"col\">rounds</th><th "
                       "scope=\"col\">last change</th></tr></thead><tbody>\n");
        json_object_foreach((json_t *)convergence, key, value) {
            kvb_writer_add(out, "<tr><td class=\"words\">");
            kvb_writer_html(out, key);
            kvb_writer_format(out, "</td><td>%s</td><td>%s</td></tr>\n",
                              kvb_fixed(kvb_view_real(value, "iteration_count"), 0).text,
                              kvb_general(kvb_view_real(value, "final_max_change"), 4).text);
        }
        kvb_writer_add(out, "</tbody></table></div>\n");
    }
    if (sources != NULL) {
        kvb_writer_add(out, "<h3>Where the tables come from</h3><dl class=\"config\">\n");
        write_items(out, sources);
        kvb_writer_add(out, "</dl>\n");
    }
    if (gate != NULL) {
        kvb_writer_add(out, "<h3>Sanity gates</h3>\n");
        write_gate(out, "Largest difference between the 4-bit table and the production table:",
                   kvb_general(kvb_view_real(gate, "max_diff_vs_production"), 4),
                   json_is_true(json_object_get(gate, "passed")));
    }
    if (attention_gate != NULL) {
        write_gate(out, "Mean attention error at 4 bits and kv_len 512:",
                   kvb_fixed(kvb_view_real(attention_gate, "4bit_at_kvl_512"), 4),
                   json_is_true(json_object_get(attention_gate, "passed")));
    }
    kvb_writer_add(out, "</section>\n");
}

static const char reading[] =
    "<section class=\"card\"><h2>How to read this</h2>\n<ul class=\"reading\">\n"
    "<li><strong>NRMSE</strong> is the size of the error relative to the size of the exact attention output: 0.1 means "
    "that "
    "the root-mean-square error is a tenth of the root-mean-square output. Zero is exact.</li>\n"
    "<li><strong>The verdict</strong> takes the worst cell, not the average: the smallest width whose largest mean "
    "error "
    "stays within the threshold.</li>\n"
    "<li><strong>Stored bits</strong> count everything that a value costs in the cache, its share of the row's or "
    "block's "
    "scale included, so that baselines and kvbits codes compare at what they really take.</li>\n"
    "<li><strong>K/V pairs</strong> such as 7/5 store K at 7 bits and V at 5. K only and V only quantize one side and "
    "keep "
    "the other exact: they show which side needs the bits.</li>\n"
    "<li><strong>95 % intervals</strong> say how well the mean is known from this many trials. Where one crosses a "
    "threshold, "
    "more trials may turn the verdict.</li>\n";

void kvb_html_reading(kvb_writer *out, const json_t *document) {
    kvb_writer_add(out, reading);
    kvb_writer_add(out,
                   kvb_view_is_trace(document)
                       ? "<li><strong>What this cannot show:</strong> attention error is not model quality. These are "
                         "the recorded tokens of one text, layer by layer, without the error that one layer hands to "
                         "the next.</li>\n"
                       : "<li><strong>What this cannot show:</strong> synthetic data have no outlier channels or heavy "
                         "tails unless the generator adds them, and a nearly one-hot softmax hides small errors. "
                         "Check the widths on a trace of your model before you rely on them.</li>\n");
    kvb_writer_add(out, "</ul></section>\n");
}

void kvb_html_checks(kvb_writer *out, const json_t *document) {
    size_t i;
    json_t *check;
    if (kvb_view_array(document, "checks") == NULL) {
        return;
    }
    kvb_writer_add(out, "<section class=\"card\" id=\"checks\"><h2>Checks</h2>\n<ul class=\"plain checks\">\n");
    json_array_foreach(json_object_get(document, "checks"), i, check) {
        const char *name = kvb_view_string(check, "name"), *detail = kvb_view_string(check, "detail");
        kvb_writer_format(out, "<li><span class=\"chip %s</span><span>",
                          json_is_true(json_object_get(check, "passed")) ? "good\">\u2713 pass" : "bad\">\u2717 fail");
        kvb_writer_html(out, name == NULL ? "(no name)" : name);
        if (detail != NULL && detail[0] != 0) {
            kvb_writer_add(out, "<small>");
            kvb_writer_html(out, detail);
            kvb_writer_add(out, "</small>");
        }
        kvb_writer_add(out, "</span></li>\n");
    }
    kvb_writer_add(out, "</ul></section>\n");
}
