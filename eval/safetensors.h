/* A strict reader of the safetensors container: 8 bytes of header length (little-endian), a JSON header, then the
 * tensors' bytes without holes. It checks everything that the header claims before anyone follows a pointer; what the
 * tensors mean is the caller's affair. */
#ifndef KVBITS_EVAL_SAFETENSORS_H
#define KVBITS_EVAL_SAFETENSORS_H

#include "display.h"
#include "kvbits/kvbits.h"

#include <jansson.h>

/* The format's own limit: no honest header comes near it. */
#define KVB_SAFETENSORS_MAX_HEADER 100000000u
#define KVB_SAFETENSORS_SHAPE 4 /* dimensions kept; a tensor may have more */

typedef struct kvb_safetensors_tensor {
    const char *name;  /* owned by the header */
    const char *dtype; /* as the file spells it: "F16" */
    size_t rank;
    size_t shape[KVB_SAFETENSORS_SHAPE]; /* the first dimensions; the rest of the array is 0 */
    const uint8_t *data;
    size_t bytes;
} kvb_safetensors_tensor;

typedef struct kvb_safetensors {
    char file[KVB_DISPLAY_BYTES]; /* the name for errors */
    json_t *header;
    kvb_safetensors_tensor *tensors; /* in the order of their bytes */
    size_t n_tensors;
} kvb_safetensors;

/* Reads the header of `size` bytes at `bytes`, which must outlive the result; `name` stands for the file in errors. */
KVB_CHECKED kvb_status kvb_safetensors_parse(const void *bytes, size_t size, const char *name, kvb_safetensors *out,
                                             kvb_error *error);
void kvb_safetensors_free(kvb_safetensors *file);
/* A string of the header's "__metadata__", NULL when absent. */
const char *kvb_safetensors_metadata(const kvb_safetensors *file, const char *key);

#endif
