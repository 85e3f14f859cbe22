#include "text_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t max_bytes = (size_t)1 << 28;

static kvb_status read_all(FILE *file, const char *path, char **text, size_t *bytes, kvb_error *error) {
    size_t capacity = 0;
    *text = NULL;
    *bytes = 0;
    do {
        if (*bytes == capacity) {
            capacity = capacity ? 2 * capacity : (size_t)1 << 16;
            char *grown = realloc(*text, capacity);
            if (!grown)
                return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %.200s", path);
            *text = grown;
        }
        *bytes += fread(*text + *bytes, 1, capacity - *bytes, file);
        if (*bytes > max_bytes)
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%.200s holds more than %zu bytes", path, max_bytes);
    } while (*bytes == capacity);
    return ferror(file) ? kvb_error_set(error, KVB_ERROR_IO, "%.200s: %s", path, strerror(errno)) : KVB_OK;
}

kvb_status kvb_text_tokens(const kvb_engine *engine, const char *path, int64_t most, int32_t **tokens, int *n,
                           int32_t *first, kvb_error *error) {
    char *text = NULL;
    size_t bytes;
    *tokens = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return kvb_error_set(error, KVB_ERROR_IO, "%.200s: %s", path, strerror(errno));
    kvb_status status = read_all(file, path, &text, &bytes, error);
    fclose(file);
    if (status == KVB_OK && bytes == 0)
        status = kvb_error_set(error, KVB_ERROR_FORMAT, "%.200s is empty", path);
    if (status == KVB_OK)
        status = kvb_engine_tokenize(engine, text, bytes, tokens, n, first, error);
    if (status == KVB_OK && most > 0 && *n > most)
        *n = (int)most;
    free(text);
    return status;
}
