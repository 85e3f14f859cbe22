#include "json_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "display.h"

static kvb_status too_large(const char *shown, const char *what, kvb_error *error) {
    return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: a %s has at most %d bytes, this one has more", shown, what,
                         KVB_JSON_FILE_BYTES);
}

/* Reads all of `stream` up to one byte past the limit. */
static kvb_status read_all(FILE *stream, const char *shown, const char *what, char **text, size_t *bytes,
                           kvb_error *error) {
    size_t room = 1 << 16;
    *bytes = 0;
    *text = malloc(room);
    while (*text) {
        errno = 0;
        *bytes += fread(*text + *bytes, 1, room - *bytes, stream);
        if (ferror(stream))
            return kvb_error_set(error, KVB_ERROR_IO, "%s: cannot be read: %s", shown, strerror(errno));
        if (*bytes > KVB_JSON_FILE_BYTES)
            return too_large(shown, what, error);
        if (*bytes < room)
            return KVB_OK;
        room *= 2;
        char *larger = realloc(*text, room);
        if (!larger)
            free(*text);
        *text = larger;
    }
    return kvb_error_set(error, KVB_ERROR_MEMORY, "%s: no memory for %zu bytes of it", shown, room);
}

kvb_status kvb_json_file_read(const char *path, const char *what, char **text, size_t *bytes, kvb_error *error) {
    char shown[KVB_DISPLAY_BYTES];
    *text = NULL;
    kvb_display(shown, path);
    FILE *stream = fopen(path, "rb");
    if (!stream)
        return kvb_error_set(error, KVB_ERROR_IO, "%s: cannot be opened: %s", shown, strerror(errno));
    kvb_status status = read_all(stream, shown, what, text, bytes, error);
    (void)fclose(stream);
    if (status != KVB_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}

json_t *kvb_json_file_parse(const char *text, size_t bytes, const char *shown, const char *what, kvb_error *error) {
    char reason[KVB_DISPLAY_BYTES];
    json_error_t where;
    if (bytes > KVB_JSON_FILE_BYTES) {
        (void)too_large(shown, what, error);
        return NULL;
    }
    json_t *root = json_loadb(bytes ? text : "", bytes, JSON_REJECT_DUPLICATES, &where);
    if (!root) {
        kvb_display(reason, where.text);
        (void)kvb_error_set(error, KVB_ERROR_FORMAT, "%s: not valid JSON at line %d, column %d: %s", shown, where.line,
                            where.column, reason);
    }
    return root;
}
