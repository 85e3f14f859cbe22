/* What `kvbits inspect` prints. */
#ifndef KVBITS_CLI_INSPECT_PRINT_H
#define KVBITS_CLI_INSPECT_PRINT_H

#include <stdio.h>

#include "kvbits/kvbits.h"

typedef struct kvb_inspected_layer {
    kvb_layer_spec spec; /* centroids and k_mean NULL */
    kvb_layer_cost cost;
    int has_own_centroids[2]; /* keys, values: not the library's */
    int is_centered;          /* keys are stored less a mean */
} kvb_inspected_layer;

/* What was found in a file, up to the damage if there is any. */
typedef struct kvb_inspection {
    int has_header;
    kvb_file_header header;
    kvb_cache_spec spec; /* n_layers 0 when they were not reached; its own `layers` are gone */
    kvb_inspected_layer *layers;
    kvb_file_sequence *sequences;
    size_t n_sequences;
    kvb_file_section *sections;
    size_t n_sections;
    const char *damage; /* NULL: none */
    int out_of_memory;
} kvb_inspection;

void kvb_inspect_print(FILE *stream, const kvb_inspection *all);
void kvb_inspect_print_json(FILE *stream, const kvb_inspection *all);

#endif
