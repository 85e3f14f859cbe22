/* Attention on pages: the checks, the scratch, the job. */
#include "layer.h"

#include "memory.h"

#include <cuda_runtime_api.h>
#include <math.h>

/* Where the parts of scratch lie, in bytes from its begin. */
typedef struct scratch {
    struct {
        size_t segments, shares, unit_begin;
    } plans[KVB_CUDA_PLANS];
    size_t counters, partials, bytes;
} scratch;

static int take(size_t *at, size_t n, size_t size, size_t *out) {
    size_t bytes = 0;
    *out = *at;
    return kvb_size_multiply(n, size, &bytes) && kvb_size_add(bytes, 255, &bytes) &&
           kvb_size_add(*at, bytes / 256 * 256, at);
}

/* 0 when the sizes are illegal or overflow. */
static int lay_out(const kvb_cuda_layer *layer, int n_sequences, int most_queries, scratch *s) {
    size_t columns = 0, items = 0, heads = (size_t)layer->n_kv_heads, blocks = (size_t)layer->n_blocks, at = 0;
    if (n_sequences < 1 || most_queries < 1 ||
        !kvb_size_multiply((size_t)(layer->n_q_heads / layer->n_kv_heads), (size_t)most_queries, &columns) ||
        !kvb_size_multiply((size_t)n_sequences * heads, (columns + 7) / 8, &items) || items > INT32_MAX / 2) {
        return 0;
    }
    items = kvb_cuda_attend_items(n_sequences, layer->n_kv_heads, layer->n_q_heads / layer->n_kv_heads, most_queries);
    int fits = 1;
    for (size_t i = 0; i < KVB_CUDA_PLANS; i++) {
        const size_t n = 2 * blocks * (i + 1);
        fits = fits && take(&at, items + n, sizeof(kvb_cuda_segment), &s->plans[i].segments) &&
               take(&at, n, sizeof(int32_t), &s->plans[i].shares) &&
               take(&at, (size_t)n_sequences + 1, sizeof(int32_t), &s->plans[i].unit_begin);
    }
    fits = fits && take(&at, items, sizeof(uint32_t), &s->counters) &&
           take(&at, kvb_cuda_attend_partials(layer->n_blocks * KVB_CUDA_PLANS, kvb_cuda_dim_of(layer, KVB_CUDA_V)),
                sizeof(float), &s->partials);
    s->bytes = at;
    return fits;
}

size_t kvb_cuda_scratch_bytes(const kvb_cuda_layer *layer, int n_sequences, int most_queries) {
    scratch s;
    return layer && lay_out(layer, n_sequences, most_queries, &s) ? s.bytes : 0;
}

kvb_status kvb_cuda_scratch_clear(const kvb_cuda_layer *layer, void *memory, size_t bytes, void *stream,
                                  kvb_error *error) {
    if (!layer || !memory) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "kvb_cuda_scratch_clear: %s is NULL",
                             layer ? "scratch" : "layer");
    }
    return kvb_cuda_status((int)cudaMemsetAsync(memory, 0, bytes, (cudaStream_t)stream), "kvb_cuda_scratch_clear",
                           error);
}

static kvb_status queries_check(const kvb_cuda_queries *q, int runs, kvb_error *error) {
    if (!q || (runs && (!q->q || !q->out))) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda queries: %s is NULL",
                             !q     ? "the struct"
                             : q->q ? "out"
                                    : "q");
    }
    if (kvb_dtype_bytes(q->q_dtype) == 0 || kvb_dtype_bytes(q->out_dtype) == 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "cuda queries: q_dtype is %d and out_dtype %d, legal are KVB_F32, KVB_F16 and KVB_BF16",
                             (int)q->q_dtype, (int)q->out_dtype);
    }
    if (q->most_queries < 1) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda queries: most_queries is %d, legal are 1 and more",
                             q->most_queries);
    }
    if (!isfinite(q->scale)) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda queries: scale is %g, legal are finite numbers",
                             (double)q->scale);
    }
    if (!(q->softcap >= 0.0f) || !isfinite(q->softcap)) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda queries: softcap is %g, legal are 0 (none) and more",
                             (double)q->softcap);
    }
    if (q->starts_early < 0 || q->starts_early > KVB_CUDA_MOST_EARLY) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                             "cuda queries: starts_early is %d, legal are 0 (no) and 1 to %d newest tokens",
                             q->starts_early, KVB_CUDA_MOST_EARLY);
    }
    if (q->window < 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cuda queries: window is %d, legal are 0 (none) and more",
                             q->window);
    }
    return KVB_OK;
}

static kvb_cuda_attend_side side_of(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, int side) {
    const kvb_cuda_format *f = &layer->formats[side];
    const int is_value = kvb_cuda_stored_side(layer, side) == KVB_CUDA_V;
    kvb_cuda_place place = kvb_cuda_place_of(layer, pages, side);
    const size_t token = (size_t)layer->n_kv_heads * (size_t)f->head_dim;
    const int slots = pages->exact_last_slots > 0 ? pages->exact_last_slots : pages->exact_last;
    return (kvb_cuda_attend_side){.pages = place.pool,
                                  .page_stride = place.page_stride,
                                  .head_stride = place.head_bytes,
                                  .code = f->code,
                                  .head_dim = kvb_cuda_dim_of(layer, side),
                                  .scale_bytes = f->scale_bytes,
                                  .dense = f->dense,
                                  .trellis_memory = f->trellis_memory,
                                  .taps = {f->taps[0], f->taps[1]},
                                  .mean = side == KVB_CUDA_K ? layer->k_mean : NULL,
                                  .centroids = f->half_centroids,
                                  .signs = f->rotates ? f->signs : NULL,
                                  .hadamard_order = f->hadamard_order,
                                  .hadamard = f->hadamard_order > 1 ? f->hadamard : NULL,
                                  .exact_first = is_value ? pages->exact_first_v : pages->exact_first_k,
                                  .exact_last = is_value ? pages->exact_last_v : pages->exact_last_k,
                                  .exact_first_sequence_stride = (size_t)pages->exact_first * token,
                                  .exact_last_sequence_stride = (size_t)slots * token,
                                  .exact_token_stride = token,
                                  .exact_head_stride = (size_t)f->head_dim};
}

/* `runs`: of the kernel that attends, and else of the planner. */
static kvb_status job_of(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, const kvb_cuda_queries *q, int runs,
                         void *memory, size_t bytes, kvb_cuda_attend_job *job, kvb_error *error) {
    scratch s;
    kvb_status status = kvb_cuda_pages_check(layer, pages, error);
    if (status == KVB_OK) {
        status = kvb_cuda_exact_check(layer, pages, 0, error);
    }
    if (status == KVB_OK) {
        status = queries_check(q, runs, error);
    }
    if (status != KVB_OK) {
        return status;
    }
    if (!lay_out(layer, pages->n_sequences, q->most_queries, &s)) {
        return kvb_error_set(error, KVB_ERROR_MEMORY,
                             "cuda queries: scratch for %d sequences of %d queries does not fit", pages->n_sequences,
                             q->most_queries);
    }
    if (!memory || (uintptr_t)memory % 256 != 0 || bytes < s.bytes) {
        return kvb_error_set(
            error, KVB_ERROR_ARGUMENT,
            "cuda scratch: %zu bytes at %p, this batch needs %zu (kvb_cuda_scratch_bytes), aligned to 256", bytes,
            memory, s.bytes);
    }
    status = kvb_cuda_current_check(layer, error);
    if (status != KVB_OK) {
        return status;
    }
    const size_t v_dim = (size_t)kvb_cuda_dim_of(layer, KVB_CUDA_V);
    uint8_t *base = memory;
    *job = (kvb_cuda_attend_job){.k = side_of(layer, pages, KVB_CUDA_K),
                                 .v = side_of(layer, pages, KVB_CUDA_V),
                                 .v_prefix_of_k = layer->v_prefix > 0,
                                 .n_sequences = pages->n_sequences,
                                 .n_kv_heads = layer->n_kv_heads,
                                 .group = layer->n_q_heads / layer->n_kv_heads,
                                 .sequences = pages->sequences,
                                 .table = pages->table,
                                 .table_stride = pages->table_stride,
                                 .first_page = pages->first_page,
                                 .lengths = pages->lengths,
                                 .packed_ends = pages->packed_ends,
                                 .q_begin = q->q_begin,
                                 .max_n_q = q->most_queries,
                                 .positions = q->positions,
                                 .tree_mask = q->tree_mask,
                                 .q = q->q,
                                 .q_row_stride = (size_t)layer->n_q_heads * (size_t)layer->formats[0].head_dim,
                                 .q_head_stride = (size_t)layer->formats[0].head_dim,
                                 .out = q->out,
                                 .out_row_stride = (size_t)layer->n_q_heads * v_dim,
                                 .out_head_stride = v_dim,
                                 .lse = q->lse,
                                 .q_type = (int)q->q_dtype,
                                 .out_type = (int)q->out_dtype,
                                 .scale = q->scale,
                                 .softcap = q->softcap,
                                 .sinks = q->sinks,
                                 .window = q->window,
                                 .n_exact_first = pages->exact_first,
                                 .n_exact_last = pages->exact_last,
                                 .exact_last_slots = pages->exact_last_slots,
                                 .exact_type = (int)layer->dense,
                                 .partials = (float *)(base + s.partials),
                                 .counters = (uint32_t *)(base + s.counters)};
    if (runs) {
        const kvb_cuda_attend_kernel *kernel = layer->kernels[q->split_queries != 0];
        job->n_blocks = kvb_cuda_attend_blocks(kernel, layer->n_blocks);
        job->starts_early = q->starts_early > 0 ? q->starts_early + pages->exact_last : 0;
    } else {
        job->n_blocks = layer->n_blocks;
        job->second.n_blocks = layer->n_blocks * 2;
    }
    const int plan = job->n_blocks > layer->n_blocks;
    job->segments = (kvb_cuda_segment *)(base + s.plans[plan].segments);
    job->shares = (int32_t *)(base + s.plans[plan].shares);
    job->unit_begin = (int32_t *)(base + s.plans[plan].unit_begin);
    job->second.segments = (kvb_cuda_segment *)(base + s.plans[1].segments);
    job->second.shares = (int32_t *)(base + s.plans[1].shares);
    job->second.unit_begin = (int32_t *)(base + s.plans[1].unit_begin);
    return KVB_OK;
}

kvb_status kvb_cuda_attend_plan(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages,
                                const kvb_cuda_queries *queries, void *memory, size_t bytes, void *stream,
                                kvb_error *error) {
    kvb_cuda_attend_job job;
    kvb_status status = job_of(layer, pages, queries, 0, memory, bytes, &job, error);
    return status != KVB_OK ? status
                            : kvb_cuda_status(kvb_cuda_launch_plan(&job, stream), "kvb_cuda_attend_plan", error);
}

kvb_status kvb_cuda_plan_check(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages,
                               const kvb_cuda_queries *queries, void *memory, size_t bytes, kvb_error *error) {
    kvb_cuda_attend_job job;
    return job_of(layer, pages, queries, 0, memory, bytes, &job, error);
}

int kvb_cuda_many_parts(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, const kvb_cuda_queries *q) {
    const kvb_cuda_attend_kernel *kernel = layer->kernels[q->split_queries != 0];
    if (!kernel->launch_many || !layer->has_warpgroups || q->tree_mask ||
        (!kernel->many_takes_exact && (pages->exact_first > 0 || pages->exact_last > 0))) {
        return 0;
    }
    const int group = layer->n_q_heads / layer->n_kv_heads;
    const size_t tiles = kvb_cuda_tiles(pages->n_sequences, layer->n_kv_heads, group, q->most_queries,
                                        kernel->many_columns),
                 rounds = (tiles + (size_t)layer->n_blocks - 1) / (size_t)layer->n_blocks;
    const int n_parts = kvb_cuda_parts(tiles, layer->most_clusters[q->split_queries != 0]);
    const double dims = layer->formats[0].head_dim + layer->formats[1].head_dim,
                 many = 1.3e-6 * dims / 256 * (double)rounds / n_parts,
                 few = (double)kvb_cuda_attend_items(pages->n_sequences, layer->n_kv_heads, group, q->most_queries) *
                       (double)(layer->head_bytes[0] + layer->head_bytes[1]) / 3e12;
    return many <= few ? n_parts : 0;
}

int kvb_cuda_attend_needs_plan(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages,
                               const kvb_cuda_queries *queries) {
    return kvb_cuda_many_parts(layer, pages, queries) == 0;
}

kvb_status kvb_cuda_attend(const kvb_cuda_layer *layer, const kvb_cuda_pages *pages, const kvb_cuda_queries *queries,
                           void *memory, size_t bytes, void *stream, kvb_error *error) {
    kvb_cuda_attend_job job;
    kvb_status status = job_of(layer, pages, queries, 1, memory, bytes, &job, error);
    if (status != KVB_OK) {
        return status;
    }
    const kvb_cuda_attend_kernel *kernel = layer->kernels[queries->split_queries != 0];
    const int n_parts = kvb_cuda_many_parts(layer, pages, queries);
    const int code = n_parts ? kernel->launch_many(&job, n_parts, stream) : kernel->launch(&job, stream);
    return kvb_cuda_status(code, "kvb_cuda_attend", error);
}
