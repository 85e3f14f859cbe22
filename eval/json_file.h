/* Small JSON files that a user may have written: read whole, up to a limit, and parsed. */
#ifndef KVBITS_EVAL_JSON_FILE_H
#define KVBITS_EVAL_JSON_FILE_H

#include <jansson.h>

#include "kvbits/eval.h"

enum { KVB_JSON_FILE_BYTES = 16 << 20 };

/* The file's bytes, released with free(). `what` names the kind of file, such as "codebook file", in errors.
 * KVB_ERROR_IO, KVB_ERROR_FORMAT when it is longer than KVB_JSON_FILE_BYTES, KVB_ERROR_MEMORY. */
KVB_CHECKED kvb_status kvb_json_file_read(const char *path, const char *what, char **text, size_t *bytes,
                                          kvb_error *error);
/* `shown` is the file's name as kvb_display gives it. NULL, and the error's sentence, where it is no JSON or names a
 * key twice. */
json_t *kvb_json_file_parse(const char *text, size_t bytes, const char *shown, const char *what, kvb_error *error);

#endif
