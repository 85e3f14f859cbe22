/* The JSON of an evaluation as Markdown tables. */
#include "evaluate.h"
#include "subject_markdown.h"

static void head(FILE *out, const json_t *d) {
    fprintf(out, "# What the cache does to %s\n\n", kvb_markdown_string(json_object_get(d, "model"), "file"));
    kvb_markdown_model(out, d);
    fprintf(out, " on %.0f tokens of %s in windows of %.0f, by %s; kvbits %s.\n\n", kvb_markdown_number(d, "tokens"),
            kvb_markdown_string(d, "text"), kvb_markdown_number(d, "window"), kvb_markdown_string(d, "engine"),
            kvb_markdown_string(d, "kvbits"));
    kvb_markdown_self_check(out, d);
}

static void table(FILE *out, const json_t *d) {
    const json_t *schemes = json_object_get(d, "schemes");
    fprintf(out,
            "KL divergence from the unquantized cache, in nats; in brackets 95 %% intervals.\n\n"
            "| scheme | cache | bits per value | in the window | KL mean | median | 99 %% | 99.9 %% | top-1 agreement, "
            "%% | perplexity, ratio |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (size_t i = 0; i < json_array_size(schemes); i++) {
        const json_t *s = json_array_get(schemes, i), *kl = json_object_get(s, "kl");
        fprintf(out, "| %s | %s | %.4g | %.4g", kvb_markdown_string(s, "name"), kvb_markdown_string(s, "kind"),
                kvb_markdown_number(s, "bits_per_value"), kvb_markdown_number(s, "bits_in_window"));
        kvb_markdown_estimate(out, json_object_get(kl, "mean"), 0);
        kvb_markdown_estimate(out, json_object_get(kl, "median"), 0);
        kvb_markdown_estimate(out, json_object_get(kl, "p99"), 0);
        kvb_markdown_estimate(out, json_object_get(kl, "p999"), 0);
        kvb_markdown_estimate(out, json_object_get(s, "top1_agreement"), 1);
        const json_t *ratio = json_object_get(s, "perplexity_ratio");
        fprintf(out, " | %.5f |\n", kvb_markdown_number(ratio, "value"));
    }
    for (size_t i = 0; i < json_array_size(schemes); i++) {
        const json_t *s = json_array_get(schemes, i), *predicted = json_object_get(s, "predicted_kl");
        if (json_is_number(predicted))
            fprintf(out, "\n%s: a mean KL divergence of %.3g was predicted, %.3g is measured.\n",
                    kvb_markdown_string(s, "name"), json_number_value(predicted),
                    kvb_markdown_number(json_object_get(json_object_get(s, "kl"), "mean"), "value"));
    }
    fputs("\n", out);
}

static void position_table(FILE *out, const json_t *d) {
    const json_t *schemes = json_object_get(d, "schemes");
    const json_t *first = json_object_get(json_array_get(schemes, 0), "positions");
    fprintf(out, "Mean KL divergence by position in the window.\n\n| scheme |");
    for (size_t i = 0; i < json_array_size(first); i++)
        fprintf(out, " %.0f-%.0f |", kvb_markdown_number(json_array_get(first, i), "from"),
                kvb_markdown_number(json_array_get(first, i), "to"));
    fprintf(out, "\n| --- |");
    for (size_t i = 0; i < json_array_size(first); i++)
        fputs(" ---: |", out);
    fputs("\n", out);
    for (size_t i = 0; i < json_array_size(schemes); i++) {
        const json_t *s = json_array_get(schemes, i), *positions = json_object_get(s, "positions");
        fprintf(out, "| %s", kvb_markdown_string(s, "name"));
        for (size_t j = 0; j < json_array_size(positions); j++)
            kvb_markdown_estimate(out, json_object_get(json_array_get(positions, j), "kl_mean"), 0);
        fputs(" |\n", out);
    }
    fputs("\n", out);
}

static void layer_table(FILE *out, const json_t *d) {
    const json_t *schemes = json_object_get(d, "schemes");
    fprintf(out,
            "Error of each layer's own attention output (NRMSE) from the inputs it got.\n\n| scheme | layers from 0 "
            "on |\n| --- | --- |\n");
    for (size_t i = 0; i < json_array_size(schemes); i++) {
        const json_t *s = json_array_get(schemes, i), *layers = json_object_get(s, "layers");
        if (json_array_size(layers) == 0)
            continue;
        fprintf(out, "| %s |", kvb_markdown_string(s, "name"));
        for (size_t j = 0; j < json_array_size(layers); j++)
            fprintf(out, " %.3f", kvb_markdown_number(json_object_get(json_array_get(layers, j), "nrmse"), "value"));
        fputs(" |\n", out);
    }
}

static void sensitivity_table(FILE *out, const json_t *d) {
    const json_t *sensitivity = json_object_get(d, "sensitivity"), *layers = json_object_get(sensitivity, "layers");
    if (json_array_size(layers) == 0)
        return;
    fprintf(
        out,
        "\nMean KL divergence with one side of one layer alone stored, keys at %.0f bits and values at %.0f, all else "
        "in halves; %.0f tokens.\n\n| layer | keys | values |\n| ---: | ---: | ---: |\n",
        kvb_markdown_number(sensitivity, "k_bits"), kvb_markdown_number(sensitivity, "v_bits"),
        kvb_markdown_number(sensitivity, "tokens"));
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *layer = json_array_get(layers, i);
        fprintf(out, "| %.0f", kvb_markdown_number(layer, "layer"));
        kvb_markdown_estimate(out, json_object_get(layer, "k"), 0);
        kvb_markdown_estimate(out, json_object_get(layer, "v"), 0);
        fputs(" |\n", out);
    }
}

static void body(FILE *out, const json_t *document) {
    head(out, document);
    table(out, document);
    position_table(out, document);
    layer_table(out, document);
    sensitivity_table(out, document);
}

kvb_status kvb_eval_markdown(const char *json, size_t bytes, char **markdown, kvb_error *error) {
    *markdown = NULL;
    if (!kvb_is_model_result(json, bytes))
        return kvb_error_set(error, KVB_ERROR_FORMAT, "not a result of kvbits eval: \"kvbits_eval\" must be 1");
    return kvb_markdown_make(json, bytes, body, markdown, error);
}
