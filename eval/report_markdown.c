/* result.md: the result as a page that reads well as plain text too. */
#include <math.h>

#include "report_columns.h"
#include "report_table.h"

enum { DECIMALS = 7 };

static void write_headings(const json_t *document, const kvb_column *const *columns, int n, kvb_table *table) {
    kvb_writer headings = {0};
    for (int c = 0; c < n; c++) {
        int words = columns[c]->kind == KVB_COLUMN_TEXT || columns[c]->kind == KVB_COLUMN_PAIR ||
                    columns[c]->kind == KVB_COLUMN_CHEAPEST;
        kvb_writer_add(&headings, c > 0 ? "|" : "");
        kvb_writer_add(&headings, words ? "<" : "");
        kvb_column_heading(columns[c], document, &headings);
        kvb_writer_add(&headings, columns[c]->interval != NULL ? "|95 % interval" : "");
    }
    kvb_table_begin(table, headings.data == NULL ? "" : headings.data);
    kvb_writer_free(&headings);
}

static void write_cell(const json_t *document, const json_t *row, const kvb_column *column, kvb_table *table) {
    kvb_writer text = {0};
    kvb_column_cell(column, document, row, DECIMALS, &text);
    kvb_table_cell(table, text.data == NULL ? "" : text.data);
    kvb_writer_free(&text);
    if (column->interval != NULL) {
        double low = NAN, high = NAN;
        kvb_column_interval(column, row, &low, &high);
        kvb_table_interval(table, low, high, DECIMALS);
    }
}

static void write_section(kvb_writer *out, const json_t *document, const json_t *owner, const kvb_section *section,
                          const char *level) {
    const kvb_column *columns[12];
    int n = kvb_section_columns(section, owner, columns);
    if (n == 0) {
        return;
    }
    kvb_writer_format(out, "%s %s\n\n%s\n\n", level, section->title, section->note);
    kvb_table table;
    write_headings(document, columns, n, &table);
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(owner, section->array), i, row) {
        for (int c = 0; c < n; c++) {
            write_cell(document, row, columns[c], &table);
        }
    }
    kvb_table_end(&table, out);
}

static void write_verdict(kvb_writer *out, const json_t *document) {
    double thresholds[2];
    int n = kvb_view_thresholds(document, thresholds);
    const char *rationale = kvb_view_string(document, "verdict_rationale");
    if (n == 0 || kvb_view_verdict(document, 0) == NULL) {
        return;
    }
    kvb_writer_add(out, "## Verdict\n\n");
    kvb_table table;
    kvb_table_begin(&table, "error at most|<verdict|<in words");
    for (int i = 0; i < n; i++) {
        const char *verdict = kvb_view_verdict(document, i);
        kvb_writer words = {0};
        if (verdict != NULL) {
            kvb_view_verdict_words(&words, verdict);
            kvb_table_cell(&table, kvb_general(thresholds[i], 4).text);
            kvb_table_cell(&table, verdict);
            kvb_table_cell(&table, words.data == NULL ? "" : words.data);
        }
        kvb_writer_free(&words);
    }
    kvb_table_end(&table, out);
    if (rationale != NULL) {
        kvb_writer_markdown(out, rationale);
        kvb_writer_add(out, "\n\n");
    }
}

static void write_item(kvb_writer *out, const char *key, const json_t *value) {
    kvb_writer text = {0}, words = {0};
    kvb_view_words(&words, key);
    kvb_view_value(&text, value);
    kvb_writer_add(out, "- ");
    kvb_writer_markdown(out, words.data == NULL ? "" : words.data);
    kvb_writer_add(out, ": ");
    kvb_writer_markdown(out, text.data == NULL ? "" : text.data);
    kvb_writer_add(out, "\n");
    out->failed |= text.failed || words.failed;
    kvb_writer_free(&text);
    kvb_writer_free(&words);
}

static void write_items(kvb_writer *out, const json_t *object) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        write_item(out, key, value);
    }
}

static void write_configuration(kvb_writer *out, const json_t *document) {
    static const char *const keys[] = {"seed",
                                       "kv_seq_lens",
                                       "bit_widths",
                                       "n_trials_per_sdpa_cell",
                                       "decision_threshold_nrmse",
                                       "decision_threshold_alt_nrmse"};
    kvb_writer_add(out, "## Configuration\n\n");
    write_items(out, json_object_get(document, "shape"));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(document, keys[i]);
        if (value != NULL) {
            write_item(out, keys[i], value);
        }
    }
    write_items(out, json_object_get(document, "configuration"));
    write_items(out, json_object_get(json_object_get(document, "trace"), "metadata"));
    kvb_writer_add(out, "\n");
}

static void write_codebooks(kvb_writer *out, const json_t *document) {
    const json_t *sources = kvb_view_object(document, "codebook_sources");
    const json_t *convergence = kvb_view_object(document, "lloyd_max_convergence");
    const json_t *gate = kvb_view_object(document, "codebook_4bit_sanity_gate");
    const char *key;
    json_t *value;
    if (sources != NULL || convergence != NULL || gate != NULL) {
        kvb_writer_add(out, "## Codebooks (T1a)\n\n");
    }
    if (convergence != NULL) {
        kvb_writer_add(out, "Lloyd-Max iteration to a largest centroid change below its tolerance.\n\n");
        kvb_table table;
        kvb_table_begin(&table, "<width|rounds|last change");
        json_object_foreach((json_t *)convergence, key, value) {
            kvb_table_cell(&table, key);
            kvb_table_size(&table, kvb_view_size(value, "iteration_count"));
            kvb_table_cell(&table, kvb_general(kvb_view_real(value, "final_max_change"), 5).text);
        }
        kvb_table_end(&table, out);
    }
    if (sources != NULL) {
        write_items(out, sources);
        kvb_writer_add(out, "\n");
    }
    if (gate != NULL) {
        kvb_writer_format(out, "Sanity gate: the 4-bit table differs from the production table by at most %s: %s.\n\n",
                          kvb_general(kvb_view_real(gate, "max_diff_vs_production"), 4).text,
                          json_is_true(json_object_get(gate, "passed")) ? "passed" : "failed");
    }
}

static void write_attention_gate(kvb_writer *out, const json_t *document) {
    const json_t *gate = kvb_view_object(document, "sdpa_sanity_gate");
    if (gate != NULL) {
        kvb_writer_format(out, "Sanity gate: the mean at 4 bits and kv_len 512 is %s: %s.\n\n",
                          kvb_fixed(kvb_view_real(gate, "4bit_at_kvl_512"), DECIMALS).text,
                          json_is_true(json_object_get(gate, "passed")) ? "passed" : "failed");
    }
}

static void write_layer(kvb_writer *out, const json_t *document, const json_t *layer) {
    static const char *const facts[] = {"tokens",     "queries", "num_heads", "num_kv_heads", "head_dim",
                                        "v_head_dim", "scale",   "softcap",   "window",       "verdicts"};
    kvb_writer_format(out, "## Layer %ld\n\n", kvb_view_size(layer, "layer"));
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        const json_t *value = json_object_get(layer, facts[i]);
        if (value != NULL) {
            write_item(out, facts[i], value);
        }
    }
    kvb_writer_add(out, "\n");
    write_section(out, document, layer, &kvb_section_needed, "###");
    write_section(out, document, layer, &kvb_section_pairs, "###");
    write_section(out, document, layer, &kvb_section_attribution, "###");
    write_section(out, document, layer, &kvb_section_redraws, "###");
    write_section(out, document, layer, &kvb_section_logits, "###");
}

static void write_checks(kvb_writer *out, const json_t *document) {
    size_t i;
    json_t *check;
    if (kvb_view_array(document, "checks") == NULL) {
        return;
    }
    kvb_writer_add(out, "## Checks\n\n");
    json_array_foreach(json_object_get(document, "checks"), i, check) {
        const char *name = kvb_view_string(check, "name"), *detail = kvb_view_string(check, "detail");
        kvb_writer_add(out, json_is_true(json_object_get(check, "passed")) ? "- pass: " : "- **FAIL**: ");
        kvb_writer_markdown(out, name == NULL ? "(no name)" : name);
        if (detail != NULL && detail[0] != 0) {
            kvb_writer_add(out, " \u2013 ");
            kvb_writer_markdown(out, detail);
        }
        kvb_writer_add(out, "\n");
    }
    kvb_writer_add(out, "\n");
}

kvb_status kvb_result_markdown(const kvb_result *result, char **text, kvb_error *error) {
    const json_t *document = result->document;
    kvb_writer out = {0}, subject = {0};
    size_t i;
    json_t *layer;
    kvb_writer_add(&out, "# How few bits do K and V need?\n\n");
    kvb_view_subject(&subject, document);
    kvb_writer_markdown(&out, subject.data == NULL ? "" : subject.data);
    kvb_writer_free(&subject);
    kvb_writer_add(&out, ".\n\n");
    write_verdict(&out, document);
    write_section(&out, document, document, &kvb_section_needed, "##");
    write_section(&out, document, document, &kvb_section_worst, "##");
    write_configuration(&out, document);
    write_codebooks(&out, document);
    write_section(&out, document, document, &kvb_section_round_trip, "##");
    write_section(&out, document, document, &kvb_section_attention, "##");
    write_attention_gate(&out, document);
    write_section(&out, document, document, &kvb_section_pairs, "##");
    write_section(&out, document, document, &kvb_section_attribution, "##");
    write_section(&out, document, document, &kvb_section_redraws, "##");
    write_section(&out, document, document, &kvb_section_logits, "##");
    write_section(&out, document, document, &kvb_section_comparisons, "##");
    json_array_foreach(json_object_get(document, "layers"), i, layer) {
        write_layer(&out, document, layer);
    }
    write_checks(&out, document);
    return kvb_writer_take(&out, text, error);
}
