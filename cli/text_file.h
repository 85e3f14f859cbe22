/* A text as a model's tokens. */
#ifndef KVBITS_CLI_TEXT_FILE_H
#define KVBITS_CLI_TEXT_FILE_H

#include "engine/engine.h"

/* The file's text, not longer than 2^28 bytes, tokenized; *tokens is released with free(). most: 0, or the number of
 * tokens to keep. */
KVB_CHECKED kvb_status kvb_text_tokens(const kvb_engine *engine, const char *path, int64_t most, int32_t **tokens,
                                       int *n, int32_t *first, kvb_error *error);

#endif
