#include "report_columns.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const kvb_column round_trip_columns[] = {
    {"bits", "bit_width", KVB_COLUMN_SIZE, NULL},       {"case", "case", KVB_COLUMN_TEXT, NULL},
    {"head_dim", "head_dim", KVB_COLUMN_SIZE, NULL},    {"mean NRMSE", "nrmse_mean", KVB_COLUMN_ERROR, "nrmse"},
    {"deviation", "nrmse_std", KVB_COLUMN_ERROR, NULL}, {NULL, NULL, KVB_COLUMN_END, NULL}};
const kvb_section kvb_section_round_trip = {
    "Round trip of single vectors (T1b)",
    "What quantizing and reading back does to a vector, before any attention. A: rotated, quantized, rotated back; "
    "B: quantized as it is; C: rotated twice, no quantizer (rounding only).",
    "round_trip_cells", round_trip_columns};

static const kvb_column attention_columns[] = {
    {"bits", "bit_width", KVB_COLUMN_SIZE, NULL},       {"kv_len", "kv_seq_len", KVB_COLUMN_SIZE, NULL},
    {"trials", "n_trials", KVB_COLUMN_SIZE, NULL},      {"mean NRMSE", "nrmse_mean", KVB_COLUMN_ERROR, "nrmse"},
    {"deviation", "nrmse_std", KVB_COLUMN_ERROR, NULL}, {NULL, NULL, KVB_COLUMN_END, NULL}};
const kvb_section kvb_section_attention = {
    "Attention output, K and V at the same width (T1c)",
    "Error of the attention output against exact keys and values. The verdict takes the largest mean of each width.",
    "sdpa_cells", attention_columns};

static const kvb_column worst_columns[] = {{"K/V", "k", KVB_COLUMN_PAIR, NULL},
                                           {"average bits", "average_bits", KVB_COLUMN_BITS, NULL},
                                           {"at kv_len", "kv_seq_len", KVB_COLUMN_SIZE, NULL},
                                           {"in layer", "layer", KVB_COLUMN_SIZE, NULL},
                                           {"worst NRMSE", "nrmse_worst", KVB_COLUMN_ERROR, "nrmse"},
                                           {"average NRMSE", "nrmse_average", KVB_COLUMN_ERROR, NULL},
                                           {"at most", "nrmse_worst", KVB_COLUMN_PASS_0, NULL},
                                           {"at most", "nrmse_worst", KVB_COLUMN_PASS_1, NULL},
                                           {NULL, NULL, KVB_COLUMN_END, NULL}};
const kvb_section kvb_section_worst = {
    "Every pair at its worst",
    "Each K/V pair with its stored bits, scales included, and its largest mean error: the figure that decides.",
    "worst_pairs", worst_columns};

static const kvb_column pair_columns[] = {{"K/V", "k", KVB_COLUMN_PAIR, NULL},
                                          {"K stored", "k_stored_bits", KVB_COLUMN_BITS, NULL},
                                          {"V stored", "v_stored_bits", KVB_COLUMN_BITS, NULL},
                                          {"average bits", "average_bits", KVB_COLUMN_BITS, NULL},
                                          {"kv_len", "kv_seq_len", KVB_COLUMN_SIZE, NULL},
                                          {"mean NRMSE", "nrmse_mean", KVB_COLUMN_ERROR, "nrmse"},
                                          {"deviation", "nrmse_std", KVB_COLUMN_ERROR, NULL},
                                          {"p99.9", "nrmse_p999", KVB_COLUMN_ERROR, NULL},
                                          {"cosine", "cosine_mean", KVB_COLUMN_ERROR, NULL},
                                          {NULL, NULL, KVB_COLUMN_END, NULL}};
const kvb_section kvb_section_pairs = {"All pairs", "Stored bits count the scales.", "pair_cells", pair_columns};

static const kvb_column attribution_columns[] = {{"K/V", "k", KVB_COLUMN_PAIR, NULL},
                                                 {"kv_len", "kv_seq_len", KVB_COLUMN_SIZE, NULL},
                                                 {"K and V", "nrmse_mean", KVB_COLUMN_ERROR, NULL},
                                                 {"K only", "k_only_mean", KVB_COLUMN_ERROR, "k_only"},
                                                 {"V only", "v_only_mean", KVB_COLUMN_ERROR, "v_only"},
                                                 {NULL, NULL, KVB_COLUMN_END, NULL}};
const kvb_section kvb_section_attribution = {
    "Which side does the damage",
    "Mean NRMSE with both sides quantized, with only K quantized (V exact), and with only V quantized (K exact).",
    "pair_cells", attribution_columns};

static const kvb_column redraw_columns[] = {{"K/V", "k", KVB_COLUMN_PAIR, NULL},
                                            {"kv_len", "kv_seq_len", KVB_COLUMN_SIZE, NULL},
                                            {"this draw", "nrmse_mean", KVB_COLUMN_ERROR, NULL},
                                            {"redraws", "redraw_mean", KVB_COLUMN_ERROR, "redraw"},
                                            {"deviation", "redraw_std", KVB_COLUMN_ERROR, NULL},
                                            {NULL, NULL, KVB_COLUMN_END, NULL}};
const kvb_section kvb_section_redraws = {
    "Redrawn quantization noise",
    "The same data under random rotations: how much of a figure is a lucky or unlucky draw of the quantization noise.",
    "pair_cells", redraw_columns};

static const kvb_column logit_columns[] = {{"K", "k", KVB_COLUMN_TEXT, NULL},
                                           {"kv_len", "kv_seq_len", KVB_COLUMN_SIZE, NULL},
                                           {"logit RMSE", "logit_rmse", KVB_COLUMN_GENERAL, NULL},
                                           {"softmax KL", "softmax_kl", KVB_COLUMN_GENERAL, NULL},
                                           {"KL p99.9", "softmax_kl_p999", KVB_COLUMN_GENERAL, NULL},
                                           {"top-1 flips", "top1_flips", KVB_COLUMN_GENERAL, NULL},
                                           {"top-5 flips", "top5_flips", KVB_COLUMN_GENERAL, NULL},
                                           {NULL, NULL, KVB_COLUMN_END, NULL}};
const kvb_section kvb_section_logits = {"Logits and softmax weights",
                                        "What a quantized K does before V comes in: error of the logits, KL divergence "
                                        "of the softmax weights (nats), share of queries whose heaviest key changes, "
                                        "and share of the five heaviest keys that others replace.",
                                        "logit_cells", logit_columns};

static const kvb_column needed_columns[] = {{"error at most", "threshold", KVB_COLUMN_GENERAL, NULL},
                                            {"K and V alike", "symmetric_bits", KVB_COLUMN_WIDTH, NULL},
                                            {"K alone", "k_bits_alone", KVB_COLUMN_WIDTH, NULL},
                                            {"V alone", "v_bits_alone", KVB_COLUMN_WIDTH, NULL},
                                            {"cheapest pair", "cheapest_pair", KVB_COLUMN_CHEAPEST, NULL},
                                            {NULL, NULL, KVB_COLUMN_END, NULL}};
const kvb_section kvb_section_needed = {
    "Bits needed",
    "The smallest tested widths that keep the worst error within each threshold: both sides alike, each side with the "
    "other kept exact, and the pair with the fewest stored bits on average.",
    "needed", needed_columns};

static const kvb_column comparison_columns[] = {{"a", "a", KVB_COLUMN_TEXT, NULL},
                                                {"b", "b", KVB_COLUMN_TEXT, NULL},
                                                {"kv_len", "kv_seq_len", KVB_COLUMN_SIZE, NULL},
                                                {"layer", "layer", KVB_COLUMN_SIZE, NULL},
                                                {"a minus b", "difference_mean", KVB_COLUMN_ERROR, "difference"},
                                                {NULL, NULL, KVB_COLUMN_END, NULL}};
const kvb_section kvb_section_comparisons = {"Paired comparisons",
                                             "Difference of the errors on the same data, trial by trial. An interval "
                                             "without 0 means that the difference is real.",
                                             "paired_comparisons", comparison_columns};

/* Is there something to show for this column in this row? */
static int fills(const kvb_column *column, const json_t *row) {
    const json_t *value = json_object_get(row, column->key);
    if (column->kind == KVB_COLUMN_WIDTH || column->kind == KVB_COLUMN_CHEAPEST) {
        return value != NULL;
    }
    return value != NULL && !json_is_null(value);
}

static int any_fills(const kvb_column *column, const json_t *rows) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        if (fills(column, row)) {
            return 1;
        }
    }
    return 0;
}

int kvb_section_columns(const kvb_section *section, const json_t *owner, const kvb_column *out[12]) {
    const json_t *rows = json_object_get(owner, section->array);
    const json_t *document_thresholds = json_object_get(owner, "decision_threshold_alt_nrmse");
    int n = 0, figures = 0;
    for (const kvb_column *column = section->columns; column->kind != KVB_COLUMN_END && n < 12; column++) {
        if (column->kind == KVB_COLUMN_PASS_0 && json_object_get(owner, "decision_threshold_nrmse") == NULL) {
            continue;
        }
        if (column->kind == KVB_COLUMN_PASS_1 && document_thresholds == NULL) {
            continue;
        }
        if (any_fills(column, rows)) {
            out[n++] = column;
            figures += column->interval != NULL || section->columns == logit_columns || section == &kvb_section_needed;
        }
    }
    return figures > 0 ? n : 0;
}

void kvb_column_heading(const kvb_column *column, const json_t *document, kvb_writer *out) {
    kvb_writer_add(out, column->heading);
    if (column->kind == KVB_COLUMN_PASS_0 || column->kind == KVB_COLUMN_PASS_1) {
        const char *key =
            column->kind == KVB_COLUMN_PASS_0 ? "decision_threshold_nrmse" : "decision_threshold_alt_nrmse";
        kvb_writer_format(out, " %s", kvb_general(kvb_view_real(document, key), 4).text);
    }
}

static void write_cheapest(const json_t *pair, int decimals, kvb_writer *out) {
    char name[KVB_VIEW_NAME];
    if (!json_is_object(pair)) {
        kvb_writer_add(out, "none");
        return;
    }
    kvb_view_pair(pair, name);
    kvb_writer_format(out, "%s: %s bits, error %s", name, kvb_fixed(kvb_view_real(pair, "average_bits"), 3).text,
                      kvb_fixed(kvb_view_real(pair, "nrmse"), decimals).text);
}

static void write_size(long size, const char *absent, kvb_writer *out) {
    if (size < 0) {
        kvb_writer_add(out, absent);
    } else {
        kvb_writer_format(out, "%ld", size);
    }
}

void kvb_column_cell(const kvb_column *column, const json_t *document, const json_t *row, int decimals,
                     kvb_writer *out) {
    double real = kvb_view_real(row, column->key);
    const char *text = kvb_view_string(row, column->key);
    char name[KVB_VIEW_NAME];
    switch (column->kind) {
    case KVB_COLUMN_TEXT:
        kvb_writer_add(out, text == NULL ? "\u2013" : text);
        break;
    case KVB_COLUMN_SIZE:
        write_size(kvb_view_size(row, column->key), "\u2013", out);
        break;
    case KVB_COLUMN_WIDTH:
        kvb_writer_add(out, real > 0 ? kvb_general(real, 2).text : "none");
        break;
    case KVB_COLUMN_ERROR:
        kvb_writer_add(out, decimals < 7 ? kvb_figure(real, decimals).text : kvb_fixed(real, decimals).text);
        break;
    case KVB_COLUMN_BITS:
        kvb_writer_add(out, kvb_fixed(real, 3).text);
        break;
    case KVB_COLUMN_GENERAL:
        kvb_writer_add(out, kvb_general(real, 4).text);
        break;
    case KVB_COLUMN_PAIR:
        kvb_view_pair(row, name);
        kvb_writer_add(out, name);
        break;
    case KVB_COLUMN_CHEAPEST:
        write_cheapest(json_object_get(row, column->key), decimals, out);
        break;
    case KVB_COLUMN_PASS_0:
    case KVB_COLUMN_PASS_1:
        kvb_writer_add(out, kvb_view_passes(document, row, column->kind == KVB_COLUMN_PASS_1) ? "pass" : "fail");
        break;
    case KVB_COLUMN_END:
        break;
    }
}

int kvb_column_interval(const kvb_column *column, const json_t *row, double *low, double *high) {
    char key[40];
    if (column->interval == NULL) {
        return 0;
    }
    snprintf(key, sizeof key, "%s_low", column->interval);
    *low = kvb_view_real(row, key);
    snprintf(key, sizeof key, "%s_high", column->interval);
    *high = kvb_view_real(row, key);
    return isfinite(*low) && isfinite(*high);
}
