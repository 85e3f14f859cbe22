#include "result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "writer.h"

kvb_status kvb_result_create(json_t *document, kvb_result **out, kvb_error *error) {
    kvb_result *result = NULL;
    if (json_is_object(document)) {
        result = malloc(sizeof *result);
    }
    if (result == NULL) {
        json_decref(document);
        return kvb_error_set(error, KVB_ERROR_MEMORY, "no memory for the result document");
    }
    result->document = document;
    *out = result;
    return KVB_OK;
}

void kvb_result_free(kvb_result *result) {
    if (result != NULL) {
        json_decref(result->document);
        free(result);
    }
}

int kvb_result_failed_checks(const kvb_result *result) {
    int failed = 0;
    size_t i;
    json_t *check;
    json_array_foreach(json_object_get(result->document, "checks"), i, check) {
        failed += !json_is_true(json_object_get(check, "passed"));
    }
    return failed;
}

json_t *kvb_json_nrmse(double value) {
    if (!isfinite(value)) {
        return NULL;
    }
    /* Beyond 2^53 / 10^8 a double has no eighth decimal to round away. */
    return json_real(fabs(value) < 9e7 ? round(value * 1e8) / 1e8 : value);
}

json_t *kvb_json_real(double value) {
    if (!isfinite(value)) {
        return NULL;
    }
    /* Through text, by the same code that writes and reads the file: no arithmetic rounds to 9 digits exactly. */
    json_t *exact = json_real(value);
    char *text = exact == NULL ? NULL : json_dumps(exact, JSON_REAL_PRECISION(9) | JSON_ENCODE_ANY);
    json_t *rounded = text == NULL ? NULL : json_loads(text, JSON_DECODE_ANY, NULL);
    free(text);
    json_decref(exact);
    return rounded;
}

json_t *kvb_json_name(const char *name) {
    char shown[256];
    json_t *string = json_string(name);
    if (string)
        return string;
    snprintf(shown, sizeof shown, "%s", name);
    for (char *p = shown; *p; p++)
        *p = (unsigned char)*p < 0x80 ? *p : '?';
    return json_string(shown);
}

kvb_status kvb_result_json(const kvb_result *result, char **text, kvb_error *error) {
    char *dump = json_dumps(result->document, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    if (dump == NULL) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "the result document could not be written as JSON: no memory");
    }
    kvb_writer out = {0};
    kvb_writer_add(&out, dump);
    kvb_writer_add(&out, "\n");
    free(dump);
    return kvb_writer_take(&out, text, error);
}

kvb_status kvb_result_parse(const char *json, size_t bytes, kvb_result **out, kvb_error *error) {
    json_error_t fault;
    json_t *document = json_loadb(json, bytes, JSON_REJECT_DUPLICATES, &fault);
    if (document == NULL) {
        kvb_writer reason = {0};
        kvb_writer_plain(&reason, fault.text);
        kvb_status status = kvb_error_set(error, KVB_ERROR_FORMAT, "not a result.json: line %d, column %d: %s",
                                          fault.line, fault.column, reason.data == NULL ? "unreadable" : reason.data);
        kvb_writer_free(&reason);
        return status;
    }
    kvb_status status = kvb_result_validate(document, error);
    if (status != KVB_OK) {
        json_decref(document);
        return status;
    }
    return kvb_result_create(document, out, error);
}

void kvb_text_free(char *text) {
    free(text);
}
