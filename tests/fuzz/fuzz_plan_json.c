/* Plans from anywhere: what parses must be written and parsed again as it was. */
#include "kvbits/eval.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kvb_plan *plan = NULL, *again = NULL;
    char *text = NULL, *text_again = NULL;
    kvb_error error;
    if (kvb_plan_parse((const char *)data, size, "input", &plan, &error) == KVB_OK) {
        if (kvb_plan_json(plan, &text, &error) != KVB_OK ||
            kvb_plan_parse(text, strlen(text), "again", &again, &error) != KVB_OK ||
            kvb_plan_json(again, &text_again, &error) != KVB_OK || strcmp(text, text_again) != 0) {
            abort();
        }
    }
    kvb_text_free(text);
    kvb_text_free(text_again);
    kvb_plan_free(plan);
    kvb_plan_free(again);
    return 0;
}
