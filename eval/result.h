/* A result is its JSON document (docs/evaluation.md): the experiment fills it, the reports read it. */
#ifndef KVBITS_EVAL_RESULT_H
#define KVBITS_EVAL_RESULT_H

#include <jansson.h>

#include "kvbits/eval.h"

struct kvb_result {
    json_t *document;
};

/* Wraps a document. Takes the reference over, also on failure. */
KVB_CHECKED kvb_status kvb_result_create(json_t *document, kvb_result **out, kvb_error *error);

/* Numbers as result.json carries them: NRMSE values rounded to 8 decimals, other reals to 9 significant digits, so that
 * a report made from memory equals one made from the file. NULL when the value is not finite or memory is short, which
 * json_object_set_new and json_array_append_new turn into -1. */
json_t *kvb_json_nrmse(double value);
json_t *kvb_json_real(double value);

/* A file's name, which may be any bytes where a JSON string may not: then what is no ASCII becomes '?'. */
json_t *kvb_json_name(const char *name);

/* Checks the parts of the schema that the reports use: one sentence names the place and what belongs there. */
KVB_CHECKED kvb_status kvb_result_validate(const json_t *document, kvb_error *error);

#endif
