/* Any bytes as a result.json: refused with a sentence, or made into every document that needs no plotter. */
#include <stdlib.h>
#include <string.h>

#include "html.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    kvb_result *result = NULL;
    kvb_error error = {""};
    if (kvb_result_parse((const char *)bytes, size, &result, &error)) {
        if (result != NULL || error.text[0] == '\0') {
            abort(); /* a refusal gives no result and says why */
        }
        return 0;
    }
    char *texts[4] = {NULL, NULL, NULL, NULL};
    kvb_charts charts = {.n = 0};
    if (kvb_result_json(result, &texts[0], &error) || kvb_result_markdown(result, &texts[1], &error) ||
        kvb_charts_script(result->document, kvb_charts_of_ab, &charts, &texts[2], &error) ||
        kvb_html_page(result->document, &charts, &texts[3], &error)) {
        abort(); /* what was parsed can be reported */
    }
    if (strstr(texts[3], "<script") != NULL || strpbrk(texts[2], "`\"!@|;") != NULL) {
        abort();
    }
    kvb_result *again = NULL;
    if (kvb_result_parse(texts[0], strlen(texts[0]), &again, &error)) {
        abort(); /* what was written can be read */
    }
    const char *picture = texts[3];
    char *svg = NULL;
    if (kvb_svg_next(&picture, "p-", "plot", "label", &svg, &error) == KVB_OK) {
        kvb_text_free(svg);
    }
    for (int i = 0; i < 4; i++) {
        kvb_text_free(texts[i]);
    }
    kvb_charts_free(&charts);
    kvb_result_free(again);
    kvb_result_free(result);
    return 0;
}
