/* Codebooks from JSON: {"codebooks": {"4_bit": [-2.7, ...], ...}}. Other keys of the file are nobody's business. */
#include "kvbits/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "display.h"
#include "json_file.h"

static const char what[] = "codebook file";

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

kvb_status kvb_codebook_file_parse(const char *text, size_t bytes, const char *name, kvb_codebook_file *out,
                                   kvb_error *error) {
    char shown[KVB_DISPLAY_BYTES];
    *out = (kvb_codebook_file){0};
    kvb_display(shown, name);
    json_t *root = kvb_json_file_parse(text, bytes, shown, what, error);
    if (!root)
        return KVB_ERROR_FORMAT;
    const kvb_status status = read_tables(root, shown, out, error);
    json_decref(root);
    if (status != KVB_OK)
        kvb_codebook_file_free(out);
    return status;
}

kvb_status kvb_codebook_file_read(const char *path, kvb_codebook_file *out, kvb_error *error) {
    char *text = NULL;
    size_t bytes = 0;
    *out = (kvb_codebook_file){0};
    kvb_status status = kvb_json_file_read(path, what, &text, &bytes, error);
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
