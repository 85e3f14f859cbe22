/* The JSON of needles as Markdown tables. */
#include <string.h>

#include "needle.h"
#include "subject_markdown.h"

static void row(FILE *out, const json_t *of, const char *name, const char *kind) {
    fprintf(out, "| %s | %s | ", name, kind);
    if (json_is_number(json_object_get(of, "bits_per_value")))
        fprintf(out, "%.4g", kvb_markdown_number(of, "bits_per_value"));
    kvb_markdown_estimate(out, json_object_get(of, "kl_mean"), 0);
    kvb_markdown_estimate(out, json_object_get(of, "log_probability"), 0);
    kvb_markdown_estimate(out, json_object_get(of, "probability"), 1);
    kvb_markdown_estimate(out, json_object_get(of, "right"), 1);
    fputs(" |\n", out);
}

static void table(FILE *out, const json_t *d) {
    const json_t *schemes = json_object_get(d, "schemes");
    fprintf(out,
            "Over all needles, the answer's tokens alone; in brackets 95 %% intervals.\n\n"
            "| scheme | cache | bits per value | KL mean | log-probability of the answer | its geometric mean, %% | "
            "right, %% of needles |\n| --- | --- | ---: | ---: | ---: | ---: | ---: |\n");
    row(out, json_object_get(d, "reference"), "unquantized", "reference");
    for (size_t i = 0; i < json_array_size(schemes); i++) {
        const json_t *s = json_array_get(schemes, i);
        row(out, s, kvb_markdown_string(s, "name"), kvb_markdown_string(s, "kind"));
    }
    fputs("\n", out);
}

static void depth_row(FILE *out, const json_t *of, const char *name, const char *figure, int is_share) {
    const json_t *depths = json_object_get(of, "depths");
    fprintf(out, "| %s", name);
    for (size_t i = 0; i < json_array_size(depths); i++)
        kvb_markdown_estimate(out, json_object_get(json_array_get(depths, i), figure), is_share);
    fputs(" |\n", out);
}

static void depth_table(FILE *out, const json_t *d, const char *title, const char *figure, int is_share) {
    const json_t *reference = json_object_get(d, "reference"), *schemes = json_object_get(d, "schemes");
    const json_t *depths = json_object_get(reference, "depths");
    fprintf(out, "%s\n\n| scheme |", title);
    for (size_t i = 0; i < json_array_size(depths); i++)
        fprintf(out, " %.0f %% |", kvb_markdown_number(json_array_get(depths, i), "depth"));
    fprintf(out, "\n| --- |");
    for (size_t i = 0; i < json_array_size(depths); i++)
        fputs(" ---: |", out);
    fputs("\n", out);
    if (json_object_get(reference, figure))
        depth_row(out, reference, "unquantized", figure, is_share);
    for (size_t i = 0; i < json_array_size(schemes); i++) {
        const json_t *s = json_array_get(schemes, i);
        depth_row(out, s, kvb_markdown_string(s, "name"), figure, is_share);
    }
    fputs("\n", out);
}

static void body(FILE *out, const json_t *d) {
    const json_t *needles = json_object_get(d, "needles");
    fprintf(out, "# What the cache leaves of a needle to %s\n\n",
            kvb_markdown_string(json_object_get(d, "model"), "file"));
    kvb_markdown_model(out, d);
    fprintf(out, " on %.0f tokens of %s with a needle, %zu needles, by %s; kvbits %s.\n\n",
            kvb_markdown_number(d, "tokens"), kvb_markdown_string(d, "text"), json_array_size(needles),
            kvb_markdown_string(d, "engine"), kvb_markdown_string(d, "kvbits"));
    kvb_markdown_self_check(out, d);
    table(out, d);
    depth_table(out, d, "Mean KL divergence by the needle's depth.", "kl_mean", 0);
    depth_table(out, d, "Geometric mean of the answer's probability by depth, %.", "probability", 1);
    depth_table(out, d, "Needles whose every token of the answer is the most probable one, %.", "right", 1);
    fputs(
        "Needles, and the log-probability of the answer on the unquantized cache:\n\n"
        "| depth, % | first token at | answer | its tokens | log-probability |\n| ---: | ---: | --- | ---: | ---: |\n",
        out);
    for (size_t i = 0; i < json_array_size(needles); i++) {
        const json_t *n = json_array_get(needles, i);
        fprintf(out, "| %.0f | %.0f | %s | %.0f | %.3g |\n", kvb_markdown_number(n, "depth"),
                kvb_markdown_number(n, "position"), kvb_markdown_string(n, "answer"),
                kvb_markdown_number(n, "answer_tokens"),
                json_number_value(json_array_get(json_object_get(n, "log_probability"), 0)));
    }
}

kvb_status kvb_needles_markdown(const char *json, char **markdown, kvb_error *error) {
    return kvb_markdown_make(json, strlen(json), body, markdown, error);
}
