/* Calls that write and read pages: what they are given is checked here, the kernels check nothing. */
#include "layer.h"

#include "fragments.h"
#include "page.h"

#include <cuda_runtime_api.h>
#include <limits.h>

kvb_status kvb_cuda_pages_check(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, kvb_error *error) {
    if (!layer || !pages) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda: %s is NULL", layer ? "pages" : "layer");
    }
    if (!pages->pool || !pages->table || !pages->lengths) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda pages: %s is NULL",
                             !pages->pool    ? "pool"
                             : !pages->table ? "table"
                                             : "lengths");
    }
    if ((uintptr_t)pages->pool % 128 != 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda pages: pool is %p, legal are multiples of 128",
                             pages->pool);
    }
    if (pages->n_sequences < 1 || pages->n_sequences > 32767) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda pages: n_sequences is %d, legal are 1 to 32767",
                             pages->n_sequences);
    }
    if (pages->table_stride < 1) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda pages: table_stride is 0, legal are 1 and more");
    }
    if (pages->page_stride % 32 != 0 || pages->page_stride > UINT32_MAX) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "cuda pages: page_stride is %zu, legal are multiples of 32 below 2^32, and 0",
                             pages->page_stride);
    }
    return KVB_OK;
}

kvb_status kvb_cuda_exact_check(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, int fills, kvb_error *error) {
    const int stored = kvb_cuda_stored_side(layer, KVB_CUDA_V);
    const struct {
        const char *name;
        int n;
        const void *k, *v; /* of a latent layer both the keys */
    } exact[] = {
        {"exact_first", pages->exact_first, pages->exact_first_k, stored ? pages->exact_first_v : pages->exact_first_k},
        {"exact_last", pages->exact_last, pages->exact_last_k, stored ? pages->exact_last_v : pages->exact_last_k}};
    for (int i = 0; i < 2; i++) {
        if (exact[i].n < 0 || exact[i].n > KVB_MAX_EXACT_TOKENS) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda pages: %s is %d, legal are 0 to %d", exact[i].name,
                                 exact[i].n, KVB_MAX_EXACT_TOKENS);
        }
        if (exact[i].n > 0 &&
            (!exact[i].k || !exact[i].v || ((uintptr_t)exact[i].k | (uintptr_t)exact[i].v) % sizeof(uint16_t) != 0)) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "cuda pages: %s is %d, but its keys%s are NULL or misaligned", exact[i].name,
                                 exact[i].n, stored ? " or values" : "");
        }
        if (exact[i].n > 0 && !layer->dense) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "cuda pages: %s is %d, but the layer's spec names no type for exact tokens (dense)",
                                 exact[i].name, exact[i].n);
        }
    }
    if (pages->exact_last_slots < 0 || pages->exact_last_slots > KVB_MAX_EXACT_TOKENS ||
        (pages->exact_last_slots < pages->exact_last && (fills || pages->exact_last_slots != 0))) {
        return kvb_error_set(
            error, KVB_ERROR_ARGUMENT, "cuda pages: exact_last_slots is %d, legal are exact_last (%d) to %d%s",
            pages->exact_last_slots, pages->exact_last, KVB_MAX_EXACT_TOKENS,
            fills ? " for an append, which fills a ring" : ", and 0: token length - exact_last lies first");
    }
    return KVB_OK;
}

kvb_status kvb_cuda_current_check(const kvb_cuda_layer *layer, kvb_error *error) {
    int current = -1;
    kvb_status status = kvb_cuda_status((int)cudaGetDevice(&current), "cuda", error);
    if (status == KVB_OK && current != layer->device) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda: the current device is cuda:%d, the layer is on cuda:%d",
                             current, layer->device);
    }
    return status;
}

kvb_cuda_place kvb_cuda_place_of(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, int side) {
    /* [page][KV head][K, V]: the attention kernels copy both sides of a head at once. */
    const int stored = kvb_cuda_stored_side(layer, side);
    return (kvb_cuda_place){.pool = (uint8_t *)pages->pool + (stored == KVB_CUDA_V ? layer->head_bytes[KVB_CUDA_K] : 0),
                            .page_stride = pages->page_stride ? pages->page_stride : kvb_cuda_layer_page_bytes(layer),
                            .head_bytes = layer->head_bytes[KVB_CUDA_K] + layer->head_bytes[KVB_CUDA_V],
                            .sequences = pages->sequences,
                            .table = pages->table,
                            .first_page = pages->first_page,
                            .table_stride = pages->table_stride};
}

/* `sides` that are there: 0 where only numbers count. */
static kvb_status rows_check(const kvb_cuda_rows *rows, int sides, kvb_error *error) {
    if (!rows || !rows->row_begin || (sides > 0 && !rows->k) || (sides > 1 && !rows->v)) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda rows: %s is NULL",
                             !rows              ? "the struct"
                             : !rows->row_begin ? "row_begin"
                             : rows->k          ? "v"
                                                : "k");
    }
    if (kvb_dtype_bytes(rows->dtype) == 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "cuda rows: dtype is %d, legal are KVB_F32, KVB_F16 and KVB_BF16", (int)rows->dtype);
    }
    if (rows->most_rows < 1 || rows->most_rows > INT_MAX - KVB_CUDA_PAGE_TOKENS) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda rows: most_rows is %d, legal are 1 to %d",
                             rows->most_rows, INT_MAX - KVB_CUDA_PAGE_TOKENS);
    }
    return KVB_OK;
}

/* Checks what one layer is given, and says it to the kernels; asks no device. */
static kvb_status append_job(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, const kvb_cuda_rows *rows,
                             kvb_cuda_append_job *job, kvb_error *error) {
    kvb_status status = kvb_cuda_pages_check(layer, pages, error);
    if (status == KVB_OK) {
        status = rows_check(rows, kvb_cuda_sides_of(layer), error);
    }
    if (status == KVB_OK) {
        status = kvb_cuda_exact_check(layer, pages, 1, error);
    }
    if (status != KVB_OK) {
        return status;
    }
    *job = (kvb_cuda_append_job){.rows = {rows->k, rows->v},
                                 .dtype = (int)rows->dtype,
                                 .n_sides = kvb_cuda_sides_of(layer),
                                 .n_sequences = pages->n_sequences,
                                 .n_kv_heads = layer->n_kv_heads,
                                 .most_rows = rows->most_rows,
                                 .row_begin = rows->row_begin,
                                 .lengths = pages->lengths,
                                 .packed_ends = pages->packed_ends,
                                 .k_mean = layer->k_mean,
                                 .exact_first = {pages->exact_first_k, pages->exact_first_v},
                                 .exact_last = {pages->exact_last_k, pages->exact_last_v},
                                 .n_exact_first = pages->exact_first,
                                 .n_exact_last = pages->exact_last,
                                 .exact_last_slots = pages->exact_last > 0 ? pages->exact_last_slots : 0,
                                 .dense = (int)layer->dense};
    for (int side = 0; side < 2; side++) {
        job->formats[side] = layer->formats[side];
        job->places[side] = kvb_cuda_place_of(layer, pages, side);
    }
    return KVB_OK;
}

kvb_status kvb_cuda_append_check(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, const kvb_cuda_rows *rows,
                                 kvb_error *error) {
    kvb_cuda_append_job job;
    return append_job(layer, pages, rows, &job, error);
}

kvb_status kvb_cuda_append(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, const kvb_cuda_rows *rows,
                           void *stream, kvb_error *error) {
    return kvb_cuda_append_layers(&layer, pages, rows, 1, stream, error);
}

kvb_status kvb_cuda_append_layers(const kvb_cuda_layer *const *layers, const kvb_cuda_pages *pages,
                                  const kvb_cuda_rows *rows, int n_layers, void *stream, kvb_error *error) {
    enum { at_once = 32 };
    kvb_cuda_append_job jobs[at_once];
    if (!layers) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "kvb_cuda_append_layers: layers is NULL");
    }
    if (n_layers < 1) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "kvb_cuda_append_layers: n_layers is %d, legal are 1 and more",
                             n_layers);
    }
    /* All are checked before the first is queued, what needs no GPU before what does. */
    for (int check = 0; check < 2 * n_layers; check++) {
        const int i = check % n_layers;
        kvb_error cause = {""};
        kvb_status status = check >= n_layers ? kvb_cuda_current_check(layers[i], &cause)
                                              : append_job(layers[i], pages ? pages + i : NULL, rows ? rows + i : NULL,
                                                           &jobs[0], &cause);
        if (status != KVB_OK) {
            return n_layers == 1 ? kvb_error_set(error, status, "%s", cause.text)
                                 : kvb_error_set(error, status, "layer %d of %d: %s", i, n_layers, cause.text);
        }
    }
    for (int first = 0; first < n_layers; first += at_once) {
        const int n = n_layers - first < at_once ? n_layers - first : at_once;
        for (int i = 0; i < n; i++) {
            kvb_status status = append_job(layers[first + i], &pages[first + i], &rows[first + i], &jobs[i], error);
            if (status != KVB_OK) {
                return status;
            }
        }
        kvb_status status = kvb_cuda_status(kvb_cuda_launch_append(jobs, n, stream), "kvb_cuda_append", error);
        if (status != KVB_OK) {
            return status;
        }
    }
    return KVB_OK;
}

kvb_status kvb_cuda_advance(const kvb_cuda_pages *pages, const kvb_cuda_rows *rows, void *stream, kvb_error *error) {
    kvb_status status = rows_check(rows, 0, error);
    if (status != KVB_OK) {
        return status;
    }
    if (!pages || !pages->lengths || pages->n_sequences < 1) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "kvb_cuda_advance: pages need lengths of one sequence or more");
    }
    return kvb_cuda_status(
        kvb_cuda_launch_advance(pages->lengths, pages->sequences, rows->row_begin, pages->n_sequences, stream),
        "kvb_cuda_advance", error);
}

kvb_status kvb_cuda_range_check(const kvb_cuda_pages *pages, kvb_cuda_side side, int sequence, int first, int n_tokens,
                                const char *what, kvb_error *error) {
    if (side != KVB_CUDA_K && side != KVB_CUDA_V) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s: side is %d, legal are KVB_CUDA_K and KVB_CUDA_V", what,
                             (int)side);
    }
    if (sequence < 0 || sequence >= pages->n_sequences) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s: sequence is %d, legal are 0 to %d", what, sequence,
                             pages->n_sequences - 1);
    }
    if (first < 0 || n_tokens < 1 || n_tokens > INT_MAX - KVB_CUDA_PAGE_TOKENS - first) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "%s: tokens %d and %d behind it: legal are 0 and more, 1 and more", what, first, n_tokens);
    }
    return KVB_OK;
}

int kvb_cuda_planes_of(const kvb_cuda_format *format, kvb_cuda_plane planes[KVB_MAX_PLANES]) {
    int n = 0;
    for (int i = 0; i < kvb_fragment_code_parts(format->code); i++) {
        const kvb_code_part part = kvb_fragment_code_part(format->head_dim, format->code, i);
        int widths[KVB_MAX_PLANES] = {KVB_DENSE_BITS}, low = 0;
        const int of_part = part.bits == KVB_DENSE_BITS ? 1
                            : format->trellis_states    ? kvb_trellis_plane_widths(part.bits, widths)
                                                        : kvb_plane_widths(part.bits, widths);
        for (int p = 0; p < of_part; low += widths[p++]) {
            planes[n++] = (kvb_cuda_plane){.first = part.first, .dim = part.dim, .low = low, .width = widths[p]};
        }
    }
    return n;
}

static kvb_status convert(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, kvb_cuda_side side, int sequence,
                          int kv_head, int first, int n_tokens, const kvb_packed *packed,
                          int (*launch)(const kvb_cuda_convert_job *, void *), void *stream, const char *what,
                          kvb_error *error) {
    kvb_status status = kvb_cuda_pages_check(layer, pages, error);
    if (status != KVB_OK) {
        return status;
    }
    if ((status = kvb_cuda_range_check(pages, side, sequence, first, n_tokens, what, error))) {
        return status;
    }
    if (kv_head < 0 || kv_head >= layer->n_kv_heads) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s: kv_head is %d, legal are 0 to %d", what, kv_head,
                             layer->n_kv_heads - 1);
    }
    kvb_cuda_convert_job job = {.format = layer->formats[side],
                                .place = kvb_cuda_place_of(layer, pages, side),
                                .is_value = kvb_cuda_stored_side(layer, side) == KVB_CUDA_V,
                                .sequence = sequence,
                                .kv_head = kv_head,
                                .first = first,
                                .n_tokens = n_tokens};
    const int is_dense = job.format.bits == KVB_DENSE_BITS;
    job.n_planes = kvb_cuda_planes_of(&job.format, job.shapes);
    for (int p = 0; p < job.n_planes; p++) {
        job.planes[p] = packed ? packed->planes[p] : NULL;
        if (!job.planes[p]) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s: plane %d of packed is NULL", what, p);
        }
    }
    if (is_dense && (uintptr_t)job.planes[0] % sizeof(uint16_t) != 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s: plane 0 of packed is at %p, legal are multiples of 2",
                             what, (void *)job.planes[0]);
    }
    job.scales = packed->scales;
    if (is_dense) {
        job.scales = NULL;
    } else if (!job.scales || (uintptr_t)job.scales % (size_t)job.format.scale_bytes != 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s: scales of packed are at %p, legal are multiples of %d",
                             what, job.scales, job.format.scale_bytes);
    }
    status = kvb_cuda_current_check(layer, error);
    return status != KVB_OK ? status : kvb_cuda_status(launch(&job, stream), what, error);
}

kvb_status kvb_cuda_export(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, kvb_cuda_side side, int sequence,
                           int kv_head, int first, int n_tokens, const kvb_packed *packed, void *stream,
                           kvb_error *error) {
    return convert(layer, pages, side, sequence, kv_head, first, n_tokens, packed, kvb_cuda_launch_export, stream,
                   "kvb_cuda_export", error);
}

kvb_status kvb_cuda_import(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, kvb_cuda_side side, int sequence,
                           int kv_head, int first, int n_tokens, const kvb_packed *packed, void *stream,
                           kvb_error *error) {
    return convert(layer, pages, side, sequence, kv_head, first, n_tokens, packed, kvb_cuda_launch_import, stream,
                   "kvb_cuda_import", error);
}
