/* The options of `kvbits info`: any lines as arguments either parse to legal values or give one sentence. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "info_options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All but a sum beyond size_t is decided by then. */
static int legal(const kvb_info_options *options) {
    kvb_layer_cost cost;
    const kvb_status status = kvb_layer_cost_of(&options->layer, options->page_tokens, options->n_tokens, &cost, NULL);
    return options->n_layers >= 1 && options->n_layers <= KVB_MAX_LAYERS && options->n_tokens >= 1 &&
           (status == KVB_OK || status == KVB_ERROR_MEMORY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { MOST = 32 };
    char *argv[MOST + 2] = {(char *)"kvbits info"}, *text = malloc(size + 1);
    int argc = 1;
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *line = strtok(text, "\n"); line && argc <= MOST; line = strtok(NULL, "\n"))
        argv[argc++] = line;
    kvb_info_options options;
    kvb_error error = {{0}};
    if (kvb_info_options_parse(argc, argv, &options, &error) == KVB_OK ? !legal(&options) : error.text[0] == '\0')
        abort();
    free(text);
    return 0;
}
