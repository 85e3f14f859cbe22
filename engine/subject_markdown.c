#define _POSIX_C_SOURCE 200809L
#include "subject_markdown.h"

#include <stdlib.h>

void kvb_markdown_estimate(FILE *out, const json_t *estimate, int is_share) {
    const json_t *value = json_object_get(estimate, "value"), *low = json_object_get(estimate, "low"),
                 *high = json_object_get(estimate, "high");
    const double unit = is_share ? 100 : 1;
    const char *const format = is_share ? "%.2f" : "%.3g";
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

const char *kvb_markdown_string(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "?";
}

double kvb_markdown_number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

void kvb_markdown_model(FILE *out, const json_t *document) {
    const json_t *model = json_object_get(document, "model");
    fprintf(out, "%s (%s, %.0f layers%s)", kvb_markdown_string(model, "name"),
            kvb_markdown_string(model, "architecture"), kvb_markdown_number(model, "layers"),
            json_is_true(json_object_get(model, "weights_expanded")) ? ", weights expanded to floats" : "");
}

void kvb_markdown_self_check(FILE *out, const json_t *document) {
    const json_t *check = json_object_get(document, "self_check");
    fprintf(
        out,
        "Self-check: attention recomputed in double precision differs from the engine's by an NRMSE of at most %.2g "
        "(limit %.0e); a kvbits cache of halves in its place by %.2g (limit %.0e), which makes a mean KL divergence "
        "of %.2g. Two runs of the reference differ by %.0f.\n\n",
        kvb_markdown_number(check, "recomputed_nrmse"), kvb_markdown_number(check, "recomputed_limit"),
        kvb_markdown_number(check, "halves_nrmse"), kvb_markdown_number(check, "halves_limit"),
        kvb_markdown_number(check, "halves_kl_mean"), kvb_markdown_number(check, "largest_repetition_difference"));
}

kvb_status kvb_markdown_make(const char *json, size_t bytes, kvb_markdown_body *body, char **markdown,
                             kvb_error *error) {
    size_t size;
    *markdown = NULL;
    json_t *document = json_loadb(json, bytes, 0, NULL);
    FILE *out = document ? open_memstream(markdown, &size) : NULL;
    int failed = !out;
    if (out) {
        body(out, document);
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
