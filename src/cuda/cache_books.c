/* The books of a kvb_cuda_cache: its memory, its sequences, its steps. Plain C; the device hears of it by cache->queue.
 */
#include "cache_device.h"

#include "fragments.h"
#include "memory.h"

#include <limits.h>
#include <string.h>

/* ---- Gathering ---- */

static void note(kvb_cuda_cache *cache, kvb_status status, const kvb_error *error) {
    if (status != KVB_OK && cache->status == KVB_OK) {
        cache->status = status;
        cache->failure = *error;
    }
}

static void flush(kvb_cuda_cache *cache) {
    kvb_error error = {""};
    if (cache->update.n > 0) {
        note(cache, cache->queue.update(cache->numbers, &cache->update, cache->stream, &error), &error);
        cache->update.n = 0;
    }
}

void kvb_cuda_books_put(kvb_cuda_cache *cache, size_t at, int32_t value) {
    kvb_cuda_update *update = &cache->update;
    if (update->n == KVB_CUDA_UPDATES) {
        flush(cache);
    }
    update->at[update->n] = (int64_t)at;
    update->values[update->n++] = value;
}

void kvb_cuda_books_gather(kvb_cuda_cache *cache, void *stream) {
    cache->stream = stream;
    cache->status = KVB_OK;
    cache->update.n = 0;
}

kvb_status kvb_cuda_books_settle(kvb_cuda_cache *cache, kvb_error *error) {
    flush(cache);
    return cache->status == KVB_OK ? KVB_OK : kvb_error_set(error, cache->status, "%s", cache->failure.text);
}

static void copy(void *context, void *to, const void *from, size_t bytes) {
    kvb_cuda_cache *cache = context;
    kvb_error error = {""};
    note(cache, cache->queue.copy(to, from, bytes, cache->stream, &error), &error);
}

/* A page of a part, for the device's table. */
static void place(void *context, const kvb_cache_part *part, int64_t page) {
    kvb_cuda_cache *cache = context;
    const kvb_cache *books = cache->books;
    const size_t index = (size_t)(part - books->parts), n_layers = (size_t)books->spec.n_layers;
    const size_t offset = (size_t)((const uint8_t *)part->pages[page] - books->pool.arena);
    kvb_cuda_books_put(cache, kvb_cuda_table_at(cache, (int)(index / n_layers), (int)(index % n_layers)) + (size_t)page,
                       (int32_t)(offset / KVB_CUDA_POOL_UNIT));
}

/* ---- Creation ---- */

static size_t side_bytes(const kvb_codec_spec *spec) {
    const int is_dense = kvb_layer_side_is_dense(spec);
    const int code = is_dense ? spec->bits : kvb_fragment_code(spec->bits, spec->trellis_states > 0, spec->half_bit);
    const int scale = is_dense ? 0 : (int)kvb_dtype_bytes(spec->scale_dtype);
    return (size_t)kvb_fragment_block_bytes(spec->head_dim, code, scale) * (KVB_CUDA_PAGE_TOKENS / KVB_BLOCK_TOKENS);
}

/* As kvb_layer_sizes_of: pages as the GPU lays them out, from whole units. */
static kvb_status sizes(const kvb_layer_spec *spec, int page_tokens, size_t *page, kvb_exact_layout *exact,
                        kvb_error *error) {
    (void)page_tokens, (void)error; /* nothing is refused */
    size_t head = 0;
    for (int side = 0; side < kvb_layer_sides(spec); side++) {
        head += side_bytes(side ? &spec->v : &spec->k);
    }
    const size_t bytes = head * (size_t)spec->n_kv_heads;
    *page = (bytes + KVB_CUDA_POOL_UNIT - 1) / KVB_CUDA_POOL_UNIT * KVB_CUDA_POOL_UNIT;
    *exact = (kvb_exact_layout){.bytes = 0};
    return KVB_OK;
}

static kvb_status check_limit(const char *name, uint64_t value, uint64_t most, kvb_error *error) {
    return value <= most
               ? KVB_OK
               : kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s %llu is more than the %llu that the GPU's tables reach",
                               name, (unsigned long long)value, (unsigned long long)most);
}

static kvb_status check_spec(const kvb_cuda_cache_spec *spec, kvb_error *error) {
    const kvb_cache_spec *cache = spec->cache;
    kvb_status status;
    if (cache->page_tokens != 0 && cache->page_tokens != KVB_CUDA_PAGE_TOKENS) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "page_tokens %d is not %d, those of the GPU's pages, or 0",
                             cache->page_tokens, KVB_CUDA_PAGE_TOKENS);
    }
    if ((status = check_limit("max_sequences", cache->max_sequences > 0 ? (uint64_t)cache->max_sequences : 0,
                              KVB_CUDA_MAX_SEQUENCES, error)) ||
        (status = check_limit("max_tokens", cache->max_tokens > 0 ? (uint64_t)cache->max_tokens : 0,
                              KVB_CUDA_MAX_CACHE_TOKENS, error)) ||
        (status = check_limit("budget", cache->budget, KVB_CUDA_MAX_BUDGET, error))) {
        return status;
    }
    for (int i = 0; cache->layers && i < cache->n_layers && cache->n_layers <= KVB_MAX_LAYERS; i++) {
        const int n = spec->n_q_heads[i], heads = cache->layers[i].n_kv_heads;
        if (n < 1 || (heads > 0 && n % heads != 0)) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                 "layer %d: n_q_heads is %d, legal are multiples of n_kv_heads (%d)", i, n, heads);
        }
    }
    return KVB_OK;
}

static int same_kind(const kvb_cuda_cache *cache, int a, int b) {
    const kvb_layer_spec *x = &cache->books->layer_specs[a], *y = &cache->books->layer_specs[b];
    return x->n_kv_heads == y->n_kv_heads && cache->layers[a].n_q_heads == cache->layers[b].n_q_heads &&
           x->window == y->window && x->exact_first == y->exact_first && x->exact_last == y->exact_last;
}

static void lay_out_layer(kvb_cuda_cache *cache, int index, int n_q_heads) {
    kvb_cuda_cache_layer *layer = &cache->layers[index];
    const kvb_layer_spec *spec = &cache->books->layer_specs[index];
    layer->n_q_heads = n_q_heads;
    layer->kind = cache->n_kinds;
    for (int i = 0; i < index && layer->kind == cache->n_kinds; i++) {
        layer->kind = same_kind(cache, i, index) ? cache->layers[i].kind : layer->kind;
    }
    cache->n_kinds += layer->kind == cache->n_kinds;
    for (int i = 0; i < KVB_CUDA_EXACT; i++) {
        const int kept = i < KVB_CUDA_LAST ? spec->exact_first : spec->exact_last;
        const int n = i % 2 < kvb_layer_sides(spec) ? kept : 0;
        const int dim = i % 2 ? spec->v.head_dim : spec->k.head_dim;
        layer->exact_bytes[i] = (size_t)n * (size_t)spec->n_kv_heads * (size_t)dim * sizeof(uint16_t);
        layer->exact_at[i] = cache->exact_bytes;
        /* Below 2^38 bytes: 65536 tokens of 1024 heads of 576 values; of 2^15 sequences and 1024 layers below 2^64. */
        cache->exact_bytes += (layer->exact_bytes[i] * (size_t)cache->books->spec.max_sequences + 255) / 256 * 256;
    }
}

static void lay_out_numbers(kvb_cuda_cache *cache) {
    const kvb_cache_spec *spec = &cache->books->spec;
    const size_t sequences = (size_t)spec->max_sequences, layers = (size_t)spec->n_layers;
    kvb_cuda_numbers *at = &cache->at;
    cache->table_stride = (size_t)(spec->max_tokens + KVB_CUDA_PAGE_TOKENS - 1) / KVB_CUDA_PAGE_TOKENS;
    at->row_begin = sequences;
    at->before = at->row_begin + sequences + 1;
    at->after = at->before + sequences + 1;
    at->packed_ends = at->after + sequences + 1;
    at->tables = at->packed_ends + layers * (sequences + 1);
    at->n = at->tables + layers * sequences * cache->table_stride;
}

/* The struct and its arrays, one block; of numbers that kvb_cache_create will refuse, any. */
static kvb_cuda_cache *allocate(const kvb_cache_spec *spec, kvb_allocator allocator) {
    const size_t n = spec->max_sequences > 0 ? (size_t)spec->max_sequences : 0;
    const size_t n_layers = spec->n_layers > 0 && spec->n_layers <= KVB_MAX_LAYERS ? (size_t)spec->n_layers : 0;
    const size_t bytes =
        sizeof(kvb_cuda_cache) + n_layers * sizeof(kvb_cuda_cache_layer) + n * (2 * sizeof(int) + sizeof(uint8_t));
    kvb_cuda_cache *cache = allocator.allocate(allocator.context, bytes, KVB_BLOCK_ALIGNMENT);
    if (cache) {
        memset(cache, 0, bytes);
        cache->bytes = bytes;
        cache->allocator = allocator;
        cache->layers = (kvb_cuda_cache_layer *)(void *)(cache + 1);
        cache->step.sequences = (int *)(void *)(cache->layers + n_layers);
        cache->step.n_new = cache->step.sequences + n;
        cache->marks = (uint8_t *)(cache->step.n_new + n);
    }
    return cache;
}

static kvb_status create_books(kvb_cuda_cache *cache, const kvb_cuda_cache_spec *spec, const kvb_cache_home *memory,
                               const kvb_allocator *allocator, kvb_error *error) {
    const kvb_cache_home home = {.sizes = sizes,
                                 .allocate = memory->allocate,
                                 .release = memory->release,
                                 .copy = copy,
                                 .place = place,
                                 .context = cache};
    kvb_cache_spec filled = *spec->cache;
    filled.page_tokens = KVB_CUDA_PAGE_TOKENS;
    kvb_status status = kvb_cache_create_in(&filled, &home, NULL, allocator, &cache->books, error);
    if (cache->status != KVB_OK) { /* what `memory` noted */
        return kvb_error_set(error, cache->status, "%s", cache->failure.text);
    }
    return status;
}

kvb_status kvb_cuda_books_create(const kvb_cuda_cache_spec *spec, const kvb_cuda_queue *queue,
                                 const kvb_cache_home *memory, const kvb_allocator *allocator, kvb_cuda_cache **out,
                                 kvb_error *error) {
    kvb_status status;
    if ((status = check_spec(spec, error)) || (status = kvb_allocator_check(allocator, error))) {
        return status;
    }
    kvb_cuda_cache *cache = allocate(spec->cache, kvb_allocator_resolve(allocator));
    if (!cache) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "no memory for the books of %d sequences",
                             spec->cache->max_sequences);
    }
    cache->queue = *queue;
    cache->device = spec->device;
    if ((status = create_books(cache, spec, memory, allocator, error))) {
        kvb_cuda_books_destroy(cache);
        return status;
    }
    for (int i = 0; i < spec->cache->n_layers; i++) {
        lay_out_layer(cache, i, spec->n_q_heads[i]);
    }
    lay_out_numbers(cache);
    *out = cache;
    return KVB_OK;
}

void kvb_cuda_books_destroy(kvb_cuda_cache *cache) {
    kvb_allocator allocator = cache->allocator;
    kvb_cache_destroy(cache->books);
    allocator.release(allocator.context, cache, cache->bytes);
}

const kvb_cache_spec *kvb_cuda_cache_get_spec(const kvb_cuda_cache *cache) {
    return kvb_cache_get_spec(cache->books);
}

const kvb_cuda_layer *kvb_cuda_cache_layer_at(const kvb_cuda_cache *cache, int layer) {
    return layer >= 0 && layer < cache->books->spec.n_layers ? cache->layers[layer].layer : NULL;
}

kvb_cuda_cache_usage kvb_cuda_cache_bytes(const kvb_cuda_cache *cache) {
    const kvb_cache_usage books = kvb_cache_bytes(cache->books);
    return (kvb_cuda_cache_usage){.budget = books.budget,
                                  .pages = books.pages,
                                  .free = books.free,
                                  .exact = cache->exact_bytes,
                                  .tables = cache->at.n * sizeof *cache->numbers,
                                  .bookkeeping = books.bookkeeping + cache->bytes};
}

/* ---- Checks ---- */

kvb_status kvb_cuda_books_between(const kvb_cuda_cache *cache, kvb_error *error) {
    if (!cache) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cache is NULL");
    }
    if (cache->step.n_sequences > 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "a step of %d sequences has begun; commit it first",
                             cache->step.n_sequences);
    }
    return KVB_OK;
}

kvb_status kvb_cuda_books_in_step(const kvb_cuda_cache *cache, int layer, kvb_error *error) {
    if (!cache) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "cache is NULL");
    }
    if (cache->step.n_sequences == 0) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "no step has begun; kvb_cuda_cache_begin comes first");
    }
    if (layer < 0 || layer >= cache->books->spec.n_layers) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "layer %d is not from 0 to %d", layer,
                             cache->books->spec.n_layers - 1);
    }
    return KVB_OK;
}

/* ---- Sequences ---- */

kvb_status kvb_cuda_cache_open_sequence(kvb_cuda_cache *cache, int *sequence, kvb_error *error) {
    kvb_status status = kvb_cuda_books_between(cache, error);
    if (status == KVB_OK && !(status = kvb_cache_open_sequence(cache->books, sequence, error))) {
        cache->marks[*sequence] = KVB_CUDA_IS_STALE;
    }
    return status;
}

kvb_status kvb_cuda_cache_free_sequence(kvb_cuda_cache *cache, int sequence, kvb_error *error) {
    kvb_status status;
    if ((status = kvb_cuda_books_between(cache, error)) ||
        (status = kvb_cache_check(cache->books, sequence, 0, error))) {
        return status;
    }
    kvb_cache_free_sequence(cache->books, sequence);
    return KVB_OK;
}

int64_t kvb_cuda_cache_n_tokens(const kvb_cuda_cache *cache, int sequence) {
    return kvb_cache_n_tokens(cache->books, sequence);
}

kvb_status kvb_cuda_cache_reserve(kvb_cuda_cache *cache, int sequence, int64_t n_tokens, void *stream,
                                  kvb_error *error) {
    kvb_status status;
    if ((status = kvb_cuda_books_between(cache, error)) ||
        (status = cache->queue.check(cache, "kvb_cuda_cache_reserve", stream, error))) {
        return status;
    }
    kvb_cuda_books_gather(cache, stream);
    status = kvb_cache_reserve(cache->books, sequence, n_tokens, error);
    return status != KVB_OK ? status : kvb_cuda_books_settle(cache, error);
}

kvb_status kvb_cuda_cache_truncate(kvb_cuda_cache *cache, int sequence, int64_t n_tokens, kvb_error *error) {
    kvb_status status = kvb_cuda_books_between(cache, error);
    if (status == KVB_OK && !(status = kvb_cache_truncate(cache->books, sequence, n_tokens, error))) {
        cache->marks[sequence] |= KVB_CUDA_IS_STALE;
    }
    return status;
}

static void copy_exact(kvb_cuda_cache *cache, const kvb_cuda_cache_layer *layer, int from, int to) {
    for (int i = 0; i < KVB_CUDA_EXACT; i++) {
        uint8_t *array = cache->exact + layer->exact_at[i];
        if (layer->exact_bytes[i] > 0) {
            copy(cache, array + (size_t)to * layer->exact_bytes[i], array + (size_t)from * layer->exact_bytes[i],
                 layer->exact_bytes[i]);
        }
    }
}

kvb_status kvb_cuda_cache_fork(kvb_cuda_cache *cache, int sequence, int *made, void *stream, kvb_error *error) {
    kvb_status status;
    if ((status = kvb_cuda_books_between(cache, error)) ||
        (status = cache->queue.check(cache, "kvb_cuda_cache_fork", stream, error))) {
        return status;
    }
    kvb_cuda_books_gather(cache, stream);
    if ((status = kvb_cache_fork(cache->books, sequence, made, error))) {
        return status;
    }
    for (int i = 0; i < cache->books->spec.n_layers && kvb_cuda_cache_n_tokens(cache, sequence) > 0; i++) {
        copy_exact(cache, &cache->layers[i], sequence, *made);
    }
    cache->marks[*made] = KVB_CUDA_IS_STALE;
    return kvb_cuda_books_settle(cache, error);
}
