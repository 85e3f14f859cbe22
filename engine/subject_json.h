/* What the JSON of every evaluation on a model has. All references are the caller's. */
#ifndef KVBITS_ENGINE_SUBJECT_JSON_H
#define KVBITS_ENGINE_SUBJECT_JSON_H

#include <jansson.h>

#include "estimate.h"
#include "subject.h"

json_t *kvb_json_number(double value); /* null where it is not finite */
json_t *kvb_json_estimate(kvb_estimate e);
kvb_estimate kvb_estimate_exp(kvb_estimate e);
/* {schema: 1, kvbits, engine, model, text}; model, text: names of the files. */
json_t *kvb_json_about(const kvb_subject *subject, const char *schema, const char *model, const char *text);
json_t *kvb_json_self_check(const kvb_self_check *check);

#endif
