/* Codebooks from JSON: {"codebooks": {"4_bit": [-2.7, ...], ...}}. Other keys of the file are nobody's business. */
#include "kvbits/eval.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "display.h"

enum { MAX_BYTES = 16 << 20 }; /* eight tables in generous JSON take 30 kB */

/* 1-8 for "1_bit".."8_bit", else 0. */
static int bits_of_key(const char *key) {
    return strlen(key) == 5 && strcmp(key + 1, "_bit") == 0 && key[0] >= '1' && key[0] <= '0' + KVB_MAX_BITS
               ? key[0] - '0'
               : 0;
}

static kvb_status read_table(const json_t *array, int bits, const char *name, double **out, kvb_error *error) {
    const size_t levels = (size_t)1 << bits;
    if (!json_is_array(array))
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: codebooks.%d_bit is not an array of %zu numbers", name, bits,
                             levels);
    if (json_array_size(array) != levels)
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: codebooks.%d_bit has %zu values, but %d bits need %zu", name,
                             bits, json_array_size(array), bits, levels);
    double *values = malloc(levels * sizeof *values);
    if (!values)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "%s: no memory for %zu centroids", name, levels);
    *out = values;
    for (size_t i = 0; i < levels; i++) {
        const json_t *item = json_array_get(array, i);
        values[i] = json_number_value(item);
        if (!json_is_number(item) || !isfinite((float)values[i]))
            return kvb_error_set(error, KVB_ERROR_FORMAT,
                                 "%s: codebooks.%d_bit[%zu] is not a number that a float can hold", name, bits, i);
        /* As floats, because that is how a codec compares them. */
        if (i > 0 && !((float)values[i] > (float)values[i - 1]))
            return kvb_error_set(
                error, KVB_ERROR_FORMAT,
                "%s: codebooks.%d_bit must rise strictly (as floats), but value %zu is %.9g after %.9g", name, bits, i,
                values[i], values[i - 1]);
    }
    return KVB_OK;
}

static kvb_status read_tables(json_t *root, const char *name, kvb_codebook_file *out, kvb_error *error) {
    json_t *tables = json_object_get(root, "codebooks"), *array;
    const char *key;
    if (!json_is_object(tables) || json_object_size(tables) == 0)
        return kvb_error_set(error, KVB_ERROR_FORMAT,
                             "%s: there is no \"codebooks\" object with keys among \"1_bit\" to \"8_bit\"", name);
    json_object_foreach(tables, key, array) {
        const int bits = bits_of_key(key);
        if (bits == 0) {
            char shown[KVB_DISPLAY_BYTES];
            kvb_display(shown, key);
            return kvb_error_set(error, KVB_ERROR_FORMAT,
                                 "%s: \"%s\" under \"codebooks\" is none of \"1_bit\" to \"8_bit\"", name, shown);
        }
        const kvb_status status = read_table(array, bits, name, &out->centroids[bits], error);
        if (status != KVB_OK)
            return status;
    }
    return KVB_OK;
}

static kvb_status too_large(const char *shown, kvb_error *error) {
    return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: a codebook file has at most %d bytes, this one has more", shown,
                         MAX_BYTES);
}

kvb_status kvb_codebook_file_parse(const char *text, size_t bytes, const char *name, kvb_codebook_file *out,
                                   kvb_error *error) {
    char shown[KVB_DISPLAY_BYTES], reason[KVB_DISPLAY_BYTES];
    json_error_t where;
    *out = (kvb_codebook_file){0};
    kvb_display(shown, name);
    if (bytes > MAX_BYTES)
        return too_large(shown, error);
    json_t *root = json_loadb(bytes ? text : "", bytes, JSON_REJECT_DUPLICATES, &where);
    if (!root) {
        kvb_display(reason, where.text);
        return kvb_error_set(error, KVB_ERROR_FORMAT, "%s: not valid JSON at line %d, column %d: %s", shown, where.line,
                             where.column, reason);
    }
    const kvb_status status = read_tables(root, shown, out, error);
    json_decref(root);
    if (status != KVB_OK)
        kvb_codebook_file_free(out);
    return status;
}

/* Reads all of `stream` up to one byte past the limit. */
static kvb_status read_all(FILE *stream, const char *shown, char **text, size_t *bytes, kvb_error *error) {
    size_t room = 1 << 16;
    *bytes = 0;
    *text = malloc(room);
    while (*text) {
        errno = 0;
        *bytes += fread(*text + *bytes, 1, room - *bytes, stream);
        if (ferror(stream))
            return kvb_error_set(error, KVB_ERROR_IO, "%s: cannot be read: %s", shown, strerror(errno));
        if (*bytes > MAX_BYTES)
            return too_large(shown, error);
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

kvb_status kvb_codebook_file_read(const char *path, kvb_codebook_file *out, kvb_error *error) {
    char shown[KVB_DISPLAY_BYTES], *text = NULL;
    size_t bytes = 0;
    *out = (kvb_codebook_file){0};
    kvb_display(shown, path);
    FILE *stream = fopen(path, "rb");
    if (!stream)
        return kvb_error_set(error, KVB_ERROR_IO, "%s: cannot be opened: %s", shown, strerror(errno));
    kvb_status status = read_all(stream, shown, &text, &bytes, error);
    (void)fclose(stream);
    if (status == KVB_OK)
        status = kvb_codebook_file_parse(text, bytes, path, out, error);
    free(text);
    return status;
}

void kvb_codebook_file_free(kvb_codebook_file *file) {
    if (!file)
        return;
    for (int bits = 0; bits <= KVB_MAX_BITS; bits++)
        free(file->centroids[bits]);
    *file = (kvb_codebook_file){0};
}
