/* Any bytes as a saved cache, with CRCs that always fit: refused with one sentence, or loaded as a cache that can be
 * read, written, forked and cut. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "file_load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int good) {
    if (!good) {
        abort();
    }
}

static kvb_file_reader *open_reader(const uint8_t *bytes, size_t size) {
    static kvb_file_reader reader;
    kvb_file_read_memory(&reader, bytes, size);
    reader.trusts_crc = 1;
    return &reader;
}

/* Every byte that attention would read of a sequence's pages. */
static unsigned read_all(const kvb_kv_view *view) {
    unsigned sum = 0;
    int64_t n_pages = (view->n_tokens + view->format->page_tokens - 1) / view->format->page_tokens;
    for (int64_t i = 0; i < n_pages; i++) {
        const uint8_t *page = view->pages[i];
        for (size_t j = 0; page && j < kvb_page_bytes(view->format); j++) {
            sum += page[j];
        }
    }
    return sum;
}

static void use_sequence(kvb_cache *cache, int sequence) {
    static float values[1 << 16];
    const kvb_cache_spec *spec = kvb_cache_get_spec(cache);
    int64_t n_tokens = kvb_cache_n_tokens(cache, sequence);
    unsigned sum = 0;
    int copy;
    for (int i = 0; i < spec->n_layers; i++) {
        const kvb_layer_spec *layer = &spec->layers[i];
        kvb_kv_view view;
        check(kvb_cache_view(cache, sequence, i, &view, NULL) == KVB_OK && view.n_tokens == n_tokens);
        sum += read_all(&view);
        int dims = layer->k.head_dim > layer->v.head_dim ? layer->k.head_dim : layer->v.head_dim;
        if ((size_t)(layer->n_kv_heads * dims) <= sizeof values / sizeof *values) {
            kvb_kv_rows rows = {.k = values, .v = values, .dtype = KVB_F32, .n_tokens = 1};
            sum += kvb_cache_append(cache, sequence, i, &rows, NULL) == KVB_OK;
        }
    }
    values[0] = (float)(sum % 2); /* so that it was needed */
    if (kvb_cache_commit(cache, sequence, NULL)) {
        check(kvb_cache_truncate(cache, sequence, n_tokens, NULL) == KVB_OK);
    }
    if (kvb_cache_fork(cache, sequence, &copy, NULL) == KVB_OK) {
        check(kvb_cache_n_tokens(cache, copy) == kvb_cache_n_tokens(cache, sequence));
        kvb_cache_free_sequence(cache, copy);
    }
    check(kvb_cache_truncate(cache, sequence, 0, NULL) == KVB_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    /* Without these bytes of the header hardly any input would get past it. */
    uint8_t *bytes = malloc(size ? size : 1);
    check(bytes != NULL);
    if (size > 0) {
        memcpy(bytes, data, size);
    }
    if (size >= KVB_FILE_HEADER_BYTES) {
        uint8_t *at = bytes + 16;
        kvb_file_put(&at, size, 8);
    }
    const kvb_load_limits limits = {.budget = 1 << 20, .tables = 1 << 20};
    kvb_cache *cache = NULL;
    kvb_error error = {""}, also = {""};
    kvb_status status = kvb_cache_load_from(open_reader(bytes, size), &limits, NULL, NULL, &cache, &error);
    kvb_status seen = kvb_file_inspect_from(open_reader(bytes, size), &limits, NULL, NULL, &also);
    check(status == seen && strcmp(error.text, also.text) == 0);
    check(status == KVB_OK ? cache != NULL : !cache && error.text[0] != '\0' && !strchr(error.text, '\n'));
    for (int i = 0; cache && i < kvb_cache_get_spec(cache)->max_sequences; i++) {
        if (kvb_cache_n_tokens(cache, i) >= 0) {
            use_sequence(cache, i);
        }
    }
    check(!cache || (kvb_cache_bytes(cache).pages == 0 && kvb_cache_bytes(cache).exact == 0));
    kvb_cache_destroy(cache);
    free(bytes);
    return 0;
}
