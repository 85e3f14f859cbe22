/* Codebook files: any bytes either give tables that rise strictly as floats, or one sentence. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kvbits/eval.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kvb_codebook_file file;
    kvb_error error = {{0}};
    const kvb_status status = kvb_codebook_file_parse((const char *)data, size, "fuzz", &file, &error);
    if (status != KVB_OK) {
        if (error.text[0] == '\0' || strchr(error.text, '\n'))
            abort();
        return 0;
    }
    for (int bits = 1; bits <= KVB_MAX_BITS; bits++) {
        const double *c = file.centroids[bits];
        for (int i = 0; c && i < 1 << bits; i++)
            if (!isfinite((float)c[i]) || (i > 0 && !((float)c[i] > (float)c[i - 1])))
                abort();
        kvb_codebook_check check;
        /* All zero cannot rise, so that whatever was read can be checked. */
        if (c && bits <= 4 &&
            (kvb_codebook_check_table(c, 1 << bits, 0.0, &check, &error) != KVB_OK || !(check.mse > 0.0)))
            abort();
    }
    kvb_codebook_file_free(&file);
    return 0;
}
