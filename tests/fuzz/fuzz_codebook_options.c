/* The options of `kvbits codebook`: any lines as arguments either parse to legal values or give one sentence. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codebook_options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int legal(const kvb_codebook_options *options) {
    int good = options->n_bits >= 0 && options->n_bits <= KVB_MAX_BITS && options->stop > 0.0 &&
               options->round_limit >= 0 && options->factor >= 0.0 && options->tolerance >= 0.0 &&
               options->origin <= KVB_ORIGIN_FILE && options->format <= KVB_FORMAT_C && options->cdf <= KVB_CDF_AS26217;
    for (int i = 0; i < options->n_bits; i++)
        good = good && options->bits[i] >= 1 && options->bits[i] <= KVB_MAX_BITS;
    return good && (options->origin != KVB_ORIGIN_BETA || options->check || options->help || options->dim >= 2) &&
           (options->origin != KVB_ORIGIN_FILE || options->path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { MOST = 32 };
    char *argv[MOST + 2] = {(char *)"kvbits codebook"}, *text = malloc(size + 1);
    int argc = 1;
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *line = strtok(text, "\n"); line && argc <= MOST; line = strtok(NULL, "\n"))
        argv[argc++] = line;
    kvb_codebook_options options;
    kvb_error error = {{0}};
    if (kvb_codebook_options_parse(argc, argv, &options, &error) == KVB_OK ? !legal(&options) : error.text[0] == '\0')
        abort();
    free(text);
    return 0;
}
