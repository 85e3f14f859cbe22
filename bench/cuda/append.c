/* New tokens of one layer on their way into pages. */
#include "gpu.h"

#include <stdlib.h>

typedef struct appending {
    const kvb_cuda_layer *layer;
    kvb_cuda_pages pages;
    kvb_cuda_rows rows;
} appending;

static kvb_status launch_append(void *context, kvb_error *error) {
    const appending *a = context;
    return kvb_cuda_append(a->layer, &a->pages, &a->rows, NULL, error);
}

/* Behind no tokens, each time anew. */
static kvb_status place(kvb_bench_device *device, int n_tokens, appending *a, kvb_error *error) {
    const int n_pages = (n_tokens + KVB_CUDA_PAGE_TOKENS - 1) / KVB_CUDA_PAGE_TOKENS;
    const int32_t begin[2] = {0, n_tokens}, zero = 0;
    void *row_begin = NULL;
    int32_t *numbers = malloc((size_t)n_pages * sizeof *numbers);
    if (!numbers)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a table of %d pages", n_pages);
    for (int i = 0; i < n_pages; i++)
        numbers[i] = i;
    kvb_status status =
        kvb_bench_gpu_upload(device, numbers, (size_t)n_pages * sizeof *numbers, (void **)&a->pages.table, error);
    free(numbers);
    if (status == KVB_OK)
        status = kvb_bench_gpu_upload(device, &zero, sizeof zero, (void **)&a->pages.lengths, error);
    if (status == KVB_OK)
        status = kvb_bench_gpu_upload(device, begin, sizeof begin, &row_begin, error);
    if (status == KVB_OK)
        status = kvb_bench_gpu_allocate(device, (size_t)n_pages * kvb_cuda_layer_page_bytes(a->layer), &a->pages.pool,
                                        error);
    a->pages.table_stride = (size_t)n_pages;
    a->pages.n_sequences = 1;
    a->rows = (kvb_cuda_rows){
        .k = device->rows[0], .v = device->rows[1], .dtype = KVB_BF16, .row_begin = row_begin, .most_rows = n_tokens};
    return status;
}

kvb_status kvb_bench_gpu_add_append(kvb_bench_device *device, const kvb_bench_shape *shape, kvb_bench_pair bits,
                                    int states, int n_tokens, kvb_error *error) {
    appending *a = NULL;
    kvb_cuda_layer *layer = NULL;
    kvb_status status = kvb_bench_allocate(device->suite, sizeof *a, (void **)&a, error);
    if (status == KVB_OK)
        status = kvb_bench_gpu_layer(device, shape, bits, states, &layer, error);
    if (status != KVB_OK)
        return status;
    a->layer = layer;
    status = place(device, n_tokens, a, error);
    kvb_bench_row row = kvb_bench_gpu_row(device, "append", shape, bits, states, layer);
    const double values = (double)n_tokens * shape->n_kv_heads * shape->head_dim;
    row.kernel = NULL; /* that is said of attention */
    row.batch = 1;
    row.kv_len = n_tokens;
    row.bytes = 2.0 * 2.0 * values + /* read, then written */
                (double)n_tokens * (double)kvb_cuda_layer_page_bytes(layer) / KVB_CUDA_PAGE_TOKENS;
    row.copies = 1;
    return status == KVB_OK ? kvb_bench_gpu_add(device, &row, 1.0, launch_append, a, error) : status;
}
