/* What the Markdown of every evaluation on a model has, from its JSON. */
#ifndef KVBITS_ENGINE_SUBJECT_MARKDOWN_H
#define KVBITS_ENGINE_SUBJECT_MARKDOWN_H

#include <jansson.h>
#include <stdio.h>

#include "kvbits/kvbits.h"

/* " | VALUE (LOW..HIGH)": without the brackets where there is no interval. A share is shown in percent. */
void kvb_markdown_estimate(FILE *out, const json_t *estimate, int is_share);
const char *kvb_markdown_string(const json_t *object, const char *key); /* "?" when it is none */
double kvb_markdown_number(const json_t *object, const char *key);
/* "NAME (ARCHITECTURE, N layers, weights expanded to floats)" */
void kvb_markdown_model(FILE *out, const json_t *document);
void kvb_markdown_self_check(FILE *out, const json_t *document);

typedef void kvb_markdown_body(FILE *out, const json_t *document);
/* What `body` writes of a document; *markdown is released with free(). */
KVB_CHECKED kvb_status kvb_markdown_make(const char *json, size_t bytes, kvb_markdown_body *body, char **markdown,
                                         kvb_error *error);

#endif
