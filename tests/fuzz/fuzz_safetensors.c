/* Any bytes as a trace: opened or refused, and read to the end when opened. */
#include "kvbits/eval.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static size_t values_of(const kvb_trace_layer *layer, kvb_side side) {
    const size_t heads = (size_t)(side == KVB_SIDE_Q ? layer->n_heads : layer->n_kv_heads);
    const size_t dim = (size_t)(side == KVB_SIDE_V ? layer->v_head_dim : layer->head_dim);
    return heads * (size_t)layer->tokens * dim;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    kvb_trace *trace = NULL;
    kvb_error error = {""};
    if (kvb_trace_from_memory(bytes, size, "fuzz", &trace, &error)) {
        if (trace || error.text[0] == '\0') {
            abort(); /* a refusal gives no trace and says why */
        }
        return 0;
    }
    for (int i = 0; i < kvb_trace_layers(trace); i++) {
        const kvb_trace_layer *layer = kvb_trace_get_layer(trace, i);
        for (int side = 0; side < 3; side++) {
            const size_t n = values_of(layer, (kvb_side)side);
            if (n > size) { /* a value takes two bytes: more of them than bytes means that a check is missing */
                abort();
            }
            float *values = malloc(n * sizeof *values);
            const kvb_status status = kvb_trace_read(trace, i, (kvb_side)side, values, &error);
            if (status && status != KVB_ERROR_NOT_FINITE) {
                abort();
            }
            free(values);
        }
    }
    kvb_trace_metadata(trace, "model");
    kvb_trace_close(trace);
    return 0;
}
