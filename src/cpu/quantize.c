/* code = number of midpoints strictly below row[i] * factor. A uniform table of buckets gives the code of the bucket's
 * lower end; comparing with the midpoints inside the bucket makes it exact, because the bucket rises with the value. */
#include "codec_tables.h"
#include "cpu/lookup.h"
#include "cpu/ops.h"
#include "cpu/step.h"

#include <string.h>

void KVB_STEP(quantize_by_buckets)(const kvb_codec_tables *tables, const float *row, float factor, uint8_t *codes) {
    int n = tables->head_dim;
    float values[KVB_MAX_HEAD_DIM];
    int32_t indices[KVB_MAX_HEAD_DIM];
    kvb_bucket buckets[KVB_MAX_HEAD_DIM];
    for (int i = 0; i < n; i++) {
        values[i] = row[i] * factor;
        indices[i] = kvb_bucket_of(tables, values[i]);
    }
    /* Only the look-up is one by one; the loops around it become vectors. */
    for (int i = 0; i < n; i++) {
        memcpy(&buckets[i], &tables->buckets[indices[i]], sizeof buckets[i]);
    }
    if (tables->most_in_bucket <= 1) {
        for (int i = 0; i < n; i++) {
            codes[i] = (uint8_t)(buckets[i].code + (values[i] > buckets[i].midpoint));
        }
        return;
    }
    for (int i = 0; i < n; i++) {
        int code = buckets[i].code;
        while (values[i] > tables->midpoints[code]) { /* the last is Inf */
            code++;
        }
        codes[i] = (uint8_t)code;
    }
}

void KVB_STEP(expand_by_lookup)(const kvb_codec_tables *tables, const uint8_t *codes, float scale, float *out) {
    float scaled[KVB_MAX_LEVELS];
    for (int i = 0; i < tables->levels; i++) {
        scaled[i] = tables->centroids[i] * scale;
    }
    kvb_look_up(scaled, codes, tables->head_dim, out);
}
