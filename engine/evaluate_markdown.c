/* The JSON of an evaluation as Markdown tables. */
#define _POSIX_C_SOURCE 200809L
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "evaluate.h"

static void put(FILE *out, const json_t *estimate, int decimals_of_share) {
    const json_t *value = json_object_get(estimate, "value"), *low = json_object_get(estimate, "low"),
                 *high = json_object_get(estimate, "high");
    const double unit = decimals_of_share ? 100 : 1;
    const char *const format = decimals_of_share ? "%.2f" : "%.3g";
    fprintf(out, " | ");
    if (json_is_number(value))
        fprintf(out, format, unit * json_number_value(value));
    if (!json_is_number(low) || !json_is_number(high))
        return;
    fprintf(out, " (");
    fprintf(out, format, unit * json_number_value(low));
    fprintf(out, "..");
    fprintf(out, format, unit * json_number_value(high));
    fprintf(out, ")");
}

static const char *string_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "?";
}

static double number_of(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static void head(FILE *out, const json_t *d) {
    const json_t *model = json_object_get(d, "model"), *check = json_object_get(d, "self_check");
    fprintf(out, "# What the cache does to %s\n\n", string_of(model, "file"));
    fprintf(out, "%s (%s, %.0f layers%s) on %.0f tokens of %s in windows of %.0f, by %s; kvbits %s.\n\n",
            string_of(model, "name"), string_of(model, "architecture"), number_of(model, "layers"),
            json_is_true(json_object_get(model, "weights_expanded")) ? ", weights expanded to floats" : "",
            number_of(d, "tokens"), string_of(d, "text"), number_of(d, "window"), string_of(d, "engine"),
            string_of(d, "kvbits"));
    fprintf(
        out,
        "Self-check: attention recomputed in double precision differs from the engine's by an NRMSE of at most %.2g "
        "(limit %.0e); a kvbits cache of halves in its place by %.2g (limit %.0e), which makes a mean KL divergence "
        "of %.2g. Two runs of the reference differ by %.0f.\n\n",
        number_of(check, "recomputed_nrmse"), number_of(check, "recomputed_limit"), number_of(check, "halves_nrmse"),
        number_of(check, "halves_limit"), number_of(check, "halves_kl_mean"),
        number_of(check, "largest_repetition_difference"));
}

static void table(FILE *out, const json_t *d) {
    const json_t *schemes = json_object_get(d, "schemes");
    fprintf(out,
            "KL divergence from the unquantized cache, in nats; in brackets 95 %% intervals.\n\n"
            "| scheme | cache | bits per value | in the window | KL mean | median | 99 %% | 99.9 %% | top-1 agreement, "
            "%% | perplexity, ratio |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (size_t i = 0; i < json_array_size(schemes); i++) {
        const json_t *s = json_array_get(schemes, i), *kl = json_object_get(s, "kl");
        fprintf(out, "| %s | %s | %.4g | %.4g", string_of(s, "name"), string_of(s, "kind"),
                number_of(s, "bits_per_value"), number_of(s, "bits_in_window"));
        put(out, json_object_get(kl, "mean"), 0);
        put(out, json_object_get(kl, "median"), 0);
        put(out, json_object_get(kl, "p99"), 0);
        put(out, json_object_get(kl, "p999"), 0);
        put(out, json_object_get(s, "top1_agreement"), 1);
        const json_t *ratio = json_object_get(s, "perplexity_ratio");
        fprintf(out, " | %.5f |\n", number_of(ratio, "value"));
    }
    for (size_t i = 0; i < json_array_size(schemes); i++) {
        const json_t *s = json_array_get(schemes, i), *predicted = json_object_get(s, "predicted_kl");
        if (json_is_number(predicted))
            fprintf(out, "\n%s: a mean KL divergence of %.3g was predicted, %.3g is measured.\n", string_of(s, "name"),
                    json_number_value(predicted),
                    number_of(json_object_get(json_object_get(s, "kl"), "mean"), "value"));
    }
    fputs("\n", out);
}

static void position_table(FILE *out, const json_t *d) {
    const json_t *schemes = json_object_get(d, "schemes");
    const json_t *first = json_object_get(json_array_get(schemes, 0), "positions");
    fprintf(out, "Mean KL divergence by position in the window.\n\n| scheme |");
    for (size_t i = 0; i < json_array_size(first); i++)
        fprintf(out, " %.0f-%.0f |", number_of(json_array_get(first, i), "from"),
                number_of(json_array_get(first, i), "to"));
    fprintf(out, "\n| --- |");
    for (size_t i = 0; i < json_array_size(first); i++)
        fputs(" ---: |", out);
    fputs("\n", out);
    for (size_t i = 0; i < json_array_size(schemes); i++) {
        const json_t *s = json_array_get(schemes, i), *positions = json_object_get(s, "positions");
        fprintf(out, "| %s", string_of(s, "name"));
        for (size_t j = 0; j < json_array_size(positions); j++)
            put(out, json_object_get(json_array_get(positions, j), "kl_mean"), 0);
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
        fprintf(out, "| %s |", string_of(s, "name"));
        for (size_t j = 0; j < json_array_size(layers); j++)
            fprintf(out, " %.3f", number_of(json_object_get(json_array_get(layers, j), "nrmse"), "value"));
        fputs(" |\n", out);
    }
}

kvb_status kvb_eval_markdown(const char *json, size_t bytes, char **markdown, kvb_error *error) {
    size_t size;
    *markdown = NULL;
    if (!kvb_is_model_result(json, bytes))
        return kvb_error_set(error, KVB_ERROR_FORMAT, "not a result of kvbits eval: \"kvbits_eval\" must be 1");
    json_t *document = json_loadb(json, bytes, 0, NULL);
    FILE *out = document ? open_memstream(markdown, &size) : NULL;
    int failed = !out;
    if (out) {
        head(out, document);
        table(out, document);
        position_table(out, document);
        layer_table(out, document);
        failed = ferror(out) != 0;
        failed |= fclose(out) != 0;
    }
    json_decref(document);
    if (failed) {
        free(*markdown);
        *markdown = NULL;
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the tables of an evaluation");
    }
    return KVB_OK;
}
