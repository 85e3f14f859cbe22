/* Caches: creating them from a spec, and counting their bytes. */
#include "cache.h"
#include "memory.h"

#include <string.h>

kvb_layer_spec kvb_layer_spec_default(int n_kv_heads, int head_dim, int k_bits, int v_bits) {
    return (kvb_layer_spec){.n_kv_heads = n_kv_heads,
                            .k = kvb_codec_spec_default(head_dim, k_bits),
                            .v = kvb_codec_spec_default(head_dim, v_bits),
                            .dense = KVB_F16};
}

/* ---- Checks ---- */

static kvb_status check_counts(const kvb_cache_spec *spec, kvb_error *error) {
    if (!spec->layers) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "layers is NULL");
    }
    if (spec->n_layers < 1 || spec->n_layers > KVB_MAX_LAYERS) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "n_layers %d is not from 1 to %d", spec->n_layers,
                             KVB_MAX_LAYERS);
    }
    if (spec->max_sequences < 1 || spec->max_sequences > KVB_MAX_SEQUENCES) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "max_sequences %d is not from 1 to %d", spec->max_sequences,
                             KVB_MAX_SEQUENCES);
    }
    if (spec->max_tokens < 1 || spec->max_tokens > KVB_MAX_TOKENS) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "max_tokens %lld is not from 1 to 2^40",
                             (long long)spec->max_tokens);
    }
    if (spec->budget < KVB_BLOCK_ALIGNMENT) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "budget %zu is less than %d bytes", spec->budget,
                             KVB_BLOCK_ALIGNMENT);
    }
    return KVB_OK;
}

/* All layers, and the bytes of the smallest page or exact block. */
static kvb_status check_layers(const kvb_cache_spec *spec, const kvb_cache_home *home, size_t *smallest,
                               kvb_error *error) {
    *smallest = SIZE_MAX;
    for (int i = 0; i < spec->n_layers; i++) {
        kvb_error reason;
        size_t page;
        kvb_exact_layout exact;
        kvb_status status;
        if ((status = kvb_layer_spec_check(&spec->layers[i], spec->page_tokens, &reason)) ||
            (status = home->sizes(&spec->layers[i], spec->page_tokens, &page, &exact, &reason))) {
            return kvb_error_set(error, status, "layer %d: %s", i, reason.text);
        }
        *smallest = page < *smallest ? page : *smallest;
        *smallest = exact.bytes > 0 && exact.bytes < *smallest ? exact.bytes : *smallest;
    }
    return KVB_OK;
}

/* ---- Bookkeeping: one block ---- */

/* Offsets of its arrays. */
typedef struct book {
    size_t bytes;
    int is_too_large;
    size_t layer_specs, means, layers, codecs, classes, sequences, parts, tables, entries;
    size_t table_entries; /* of one part */
} book;

static size_t place(book *b, size_t n, size_t element) {
    size_t start = b->bytes, bytes;
    if (!kvb_size_multiply(n, element, &bytes) || !kvb_size_add(bytes, KVB_BLOCK_ALIGNMENT - 1, &bytes) ||
        !kvb_size_add(start, bytes / KVB_BLOCK_ALIGNMENT * KVB_BLOCK_ALIGNMENT, &b->bytes)) {
        b->is_too_large = 1;
    }
    return start;
}

size_t kvb_cache_mean_values(const kvb_cache_spec *spec) {
    size_t n = 0;
    for (int i = 0; i < spec->n_layers; i++) {
        n += kvb_layer_mean_values(&spec->layers[i]);
    }
    return n;
}

static book plan_book(const kvb_cache_spec *spec, size_t smallest) {
    book b = {.bytes = 0};
    size_t n_layers = (size_t)spec->n_layers, n_parts = n_layers * (size_t)spec->max_sequences;
    uint64_t entries = (uint64_t)(spec->max_tokens + spec->page_tokens - 1) / (uint64_t)spec->page_tokens;
    size_t n_entries = 0;
    b.table_entries = (size_t)entries;
    b.is_too_large = entries > SIZE_MAX || !kvb_size_multiply((size_t)entries, n_parts, &n_entries);
    (void)place(&b, 1, sizeof(kvb_cache));
    b.layer_specs = place(&b, n_layers, sizeof(kvb_layer_spec));
    b.means = place(&b, kvb_cache_mean_values(spec), sizeof(float));
    b.layers = place(&b, n_layers, sizeof(kvb_cache_layer));
    b.codecs = place(&b, 2 * n_layers, sizeof(kvb_codec *));
    b.classes = place(&b, 2 * n_layers, sizeof(kvb_pool_class));
    b.sequences = place(&b, (size_t)spec->max_sequences, sizeof(kvb_cache_sequence));
    b.parts = place(&b, n_parts, sizeof(kvb_cache_part));
    b.tables = place(&b, n_entries, sizeof(void *));
    b.entries = place(&b, spec->budget / smallest + 1, sizeof(size_t));
    return b;
}

static kvb_cache *lay_out(void *block, const book *b, const kvb_cache_spec *spec) {
    uint8_t *at = block;
    memset(block, 0, b->bytes);
    kvb_cache *cache = block;
    cache->spec = *spec;
    cache->bookkeeping = b->bytes;
    cache->layer_specs = (kvb_layer_spec *)(void *)(at + b->layer_specs);
    cache->spec.layers = cache->layer_specs;
    float *means = (float *)(void *)(at + b->means);
    for (int i = 0; i < spec->n_layers; i++) {
        size_t n = kvb_layer_mean_values(&spec->layers[i]);
        cache->layer_specs[i] = spec->layers[i];
        if (n > 0) {
            cache->layer_specs[i].k_mean = memcpy(means, spec->layers[i].k_mean, n * sizeof *means);
            means += n;
        }
    }
    cache->layers = (kvb_cache_layer *)(void *)(at + b->layers);
    cache->codecs = (kvb_codec **)(void *)(at + b->codecs);
    cache->sequences = (kvb_cache_sequence *)(void *)(at + b->sequences);
    cache->parts = (kvb_cache_part *)(void *)(at + b->parts);
    cache->pool.classes = (kvb_pool_class *)(void *)(at + b->classes);
    cache->pool.entries = (size_t *)(void *)(at + b->entries);
    size_t n_parts = (size_t)spec->n_layers * (size_t)spec->max_sequences;
    for (size_t i = 0; i < n_parts; i++) {
        cache->parts[i].pages = (void **)(void *)(at + b->tables) + i * b->table_entries;
    }
    return cache;
}

/* ---- Layers ---- */

static int same_centroids(const kvb_codec_spec *a, const kvb_codec_spec *b) {
    for (int part = 0; part <= a->half_bit; part++) { /* the library's lie apart */
        kvb_codec_spec ours = kvb_codec_spec_part(a, part), theirs = kvb_codec_spec_part(b, part);
        const float *mine = kvb_codec_spec_centroids(&ours), *other = kvb_codec_spec_centroids(&theirs);
        if (!mine || !other || memcmp(mine, other, sizeof *mine * (size_t)kvb_codec_spec_levels(&ours)) != 0) {
            return 0;
        }
    }
    return 1;
}

static int same_codec(const kvb_codec_spec *a, const kvb_codec_spec *b) {
    return a->head_dim == b->head_dim && a->bits == b->bits && a->rotation == b->rotation &&
           (a->rotation != KVB_ROTATION_SIGNED || a->sign_seed == b->sign_seed) && a->scale == b->scale &&
           a->scale_dtype == b->scale_dtype && a->trellis_states == b->trellis_states && a->half_bit == b->half_bit &&
           same_centroids(a, b);
}

/* The cache's codec for `spec`, whose centroids then point into it; NULL for dense rows. */
static kvb_status find_codec(kvb_cache *cache, kvb_codec_spec *spec, const kvb_codec **out, kvb_error *error) {
    *out = NULL;
    if (kvb_layer_side_is_dense(spec)) {
        spec->centroids = NULL;
        return KVB_OK;
    }
    int i = 0;
    while (i < cache->n_codecs && !same_codec(spec, &cache->codecs[i]->spec)) {
        i++;
    }
    if (i == cache->n_codecs) {
        kvb_status status = kvb_codec_create(spec, cache->backend, &cache->allocator, &cache->codecs[i], error);
        if (status) {
            return status;
        }
        cache->n_codecs++;
    }
    *out = cache->codecs[i];
    spec->centroids = cache->codecs[i]->spec.centroids;
    return KVB_OK;
}

static int find_class(kvb_pool *pool, size_t bytes) {
    int i = kvb_pool_class_of(pool, bytes);
    if (i < 0) {
        i = pool->n_classes++;
        pool->classes[i].bytes = bytes;
    }
    return i;
}

static kvb_status make_layer(kvb_cache *cache, int index, kvb_error *error) {
    kvb_cache_layer *layer = &cache->layers[index];
    kvb_layer_spec *spec = &cache->layer_specs[index];
    int page_tokens = cache->spec.page_tokens;
    layer->format = kvb_layer_format_of(spec, page_tokens);
    kvb_status status;
    if ((status = cache->home.sizes(spec, page_tokens, &layer->page_bytes, &layer->exact, error)) ||
        (status = find_codec(cache, &spec->k, &layer->format.k_codec, error))) {
        return status;
    }
    if (spec->v_prefix_of_k) {
        spec->v.centroids = NULL;
    } else if ((status = find_codec(cache, &spec->v, &layer->format.v_codec, error))) {
        return status;
    }
    layer->spec = *spec;
    layer->page_class = find_class(&cache->pool, layer->page_bytes);
    layer->exact_class = layer->exact.bytes > 0 ? find_class(&cache->pool, layer->exact.bytes) : -1;
    return KVB_OK;
}

/* ---- The host's memory ---- */

static void *allocate_arena(void *context, size_t bytes) {
    const kvb_allocator *allocator = context;
    return allocator->allocate(allocator->context, bytes, KVB_BLOCK_ALIGNMENT);
}

static void release_arena(void *context, void *arena, size_t bytes) {
    const kvb_allocator *allocator = context;
    allocator->release(allocator->context, arena, bytes);
}

static void copy_bytes(void *context, void *to, const void *from, size_t bytes) {
    (void)context;
    memcpy(to, from, bytes);
}

static const kvb_cache_home host = {
    .sizes = kvb_layer_sizes_of, .allocate = allocate_arena, .release = release_arena, .copy = copy_bytes};

/* ---- The calls ---- */

static kvb_status fill(kvb_cache *cache, const kvb_cache_spec *spec, kvb_error *error) {
    for (int i = 0; i < spec->n_layers; i++) {
        kvb_status status = make_layer(cache, i, error);
        if (status) {
            return status;
        }
    }
    kvb_pool *pool = &cache->pool;
    pool->arena = cache->home.allocate(cache->home.context, spec->budget);
    if (!pool->arena) {
        return kvb_error_set(error, KVB_ERROR_MEMORY, "no memory for the budget of %zu bytes", spec->budget);
    }
    pool->budget = spec->budget;
    return KVB_OK;
}

static kvb_status create(const kvb_cache_spec *spec, const kvb_cache_home *home, const kvb_backend *backend,
                         kvb_allocator allocator, kvb_cache **out, kvb_error *error) {
    size_t smallest;
    kvb_status status = check_layers(spec, home ? home : &host, &smallest, error);
    if (status) {
        return status;
    }
    book b = plan_book(spec, smallest);
    void *block = b.is_too_large ? NULL : allocator.allocate(allocator.context, b.bytes, KVB_BLOCK_ALIGNMENT);
    if (!block) {
        return kvb_error_set(error, KVB_ERROR_MEMORY,
                             "no memory for the tables of %d layers, %d sequences and %lld tokens in pages of %d: %s",
                             spec->n_layers, spec->max_sequences, (long long)spec->max_tokens, spec->page_tokens,
                             b.is_too_large ? "more than the address space" : "the allocator returned NULL");
    }
    kvb_cache *cache = lay_out(block, &b, spec);
    cache->backend = backend;
    cache->allocator = allocator;
    cache->home = home ? *home : host;
    cache->home.context = home ? home->context : &cache->allocator;
    cache->pool.smallest = smallest;
    if ((status = fill(cache, spec, error))) {
        kvb_cache_destroy(cache);
        return status;
    }
    *out = cache;
    return KVB_OK;
}

kvb_status kvb_cache_create_in(const kvb_cache_spec *spec, const kvb_cache_home *home, const kvb_backend *backend,
                               const kvb_allocator *allocator, kvb_cache **out, kvb_error *error) {
    if (!spec || !out) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is NULL; spec and out are needed", spec ? "out" : "spec");
    }
    *out = NULL;
    kvb_cache_spec filled = *spec;
    filled.page_tokens = spec->page_tokens == 0 ? KVB_DEFAULT_PAGE_TOKENS : spec->page_tokens;
    kvb_status status;
    if ((status = check_counts(&filled, error)) || (status = kvb_allocator_check(allocator, error)) ||
        (!backend && (status = kvb_backend_open(NULL, &backend, error)))) {
        return status;
    }
    return create(&filled, home, backend, kvb_allocator_resolve(allocator), out, error);
}

kvb_status kvb_cache_create(const kvb_cache_spec *spec, const kvb_backend *backend, const kvb_allocator *allocator,
                            kvb_cache **out, kvb_error *error) {
    return kvb_cache_create_in(spec, NULL, backend, allocator, out, error);
}

void kvb_cache_destroy(kvb_cache *cache) {
    if (!cache) {
        return;
    }
    kvb_allocator allocator = cache->allocator;
    if (cache->pool.arena) {
        cache->home.release(cache->home.context, cache->pool.arena, cache->pool.budget);
    }
    for (int i = 0; i < cache->n_codecs; i++) {
        kvb_codec_destroy(cache->codecs[i]);
    }
    allocator.release(allocator.context, cache, cache->bookkeeping);
}

const kvb_cache_spec *kvb_cache_get_spec(const kvb_cache *cache) {
    return &cache->spec;
}

kvb_cache_usage kvb_cache_bytes(const kvb_cache *cache) {
    size_t codec_bytes = 0;
    for (int i = 0; i < cache->n_codecs; i++) {
        codec_bytes += kvb_codec_object_bytes(&cache->codecs[i]->spec);
    }
    return (kvb_cache_usage){.budget = cache->pool.budget,
                             .pages = cache->page_bytes,
                             .exact = cache->exact_bytes,
                             .free = cache->pool.budget - cache->page_bytes - cache->exact_bytes,
                             .bookkeeping = cache->bookkeeping + codec_bytes,
                             .encode = cache->stats};
}
