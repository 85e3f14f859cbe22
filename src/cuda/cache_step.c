/* Steps in the books: who gets how many tokens, the pages for them, and what the device is told. Plain C. */
#include "cache_device.h"

#include <limits.h>

/* ---- Beginning ---- */

static kvb_status check_place(const kvb_cuda_cache *cache, int sequence, int n_new, int n_steps, kvb_error *error) {
    const kvb_cache *books = cache->books;
    if (sequence == -1) {
        return n_new == 0 ? KVB_OK
                          : kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                          "n_new %d of an empty place (sequence -1); it gets none", n_new);
    }
    kvb_status status = kvb_cache_check(books, sequence, 0, error);
    if (status != KVB_OK) {
        return status;
    }
    if (cache->marks[sequence] & KVB_CUDA_IN_STEP) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "sequence %d is in the batch twice", sequence);
    }
    const int64_t left = books->spec.max_tokens - books->sequences[sequence].n_tokens;
    if (n_new < 0 || n_new > left / n_steps) {
        return kvb_error_set(
            error, KVB_ERROR_ARGUMENT,
            "n_new %d of sequence %d in %d steps is not from 0 to the %lld that are left of max_tokens %lld", n_new,
            sequence, n_steps, (long long)(left / n_steps), (long long)books->spec.max_tokens);
    }
    return KVB_OK;
}

static void leave_step(kvb_cuda_cache *cache) {
    for (int i = 0; i < cache->step.n_sequences; i++) {
        if (cache->step.sequences[i] >= 0) {
            cache->marks[cache->step.sequences[i]] &= (uint8_t)~KVB_CUDA_IN_STEP;
        }
    }
    cache->step.n_sequences = 0;
}

/* The batch into cache->step, marked; after a refusal nothing is. */
static kvb_status enter_step(kvb_cuda_cache *cache, const int *sequences, const int *n_new, int n_sequences,
                             int n_steps, kvb_error *error) {
    kvb_cuda_step *step = &cache->step;
    int64_t n_rows = 0;
    step->n_steps = n_steps;
    step->most_rows = 0;
    while (step->n_sequences < n_sequences) {
        const int i = step->n_sequences;
        kvb_status status = check_place(cache, sequences[i], n_new[i], n_steps, error);
        n_rows += status == KVB_OK ? n_new[i] : 0;
        if (n_rows > INT32_MAX) {
            status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "n_new are %lld in all; a step has up to %d",
                                   (long long)n_rows, INT32_MAX);
        }
        if (status != KVB_OK) {
            leave_step(cache);
            return status;
        }
        step->sequences[i] = sequences[i];
        step->n_new[i] = n_new[i];
        step->most_rows = n_new[i] > step->most_rows ? n_new[i] : step->most_rows;
        step->n_sequences++;
        if (sequences[i] >= 0) {
            cache->marks[sequences[i]] |= KVB_CUDA_IN_STEP;
        }
    }
    return KVB_OK;
}

/* Tokens of the i-th sequence of the step once n_steps of it are done. */
static int64_t tokens_after(const kvb_cuda_cache *cache, int i, int n_steps) {
    return cache->books->sequences[cache->step.sequences[i]].n_tokens + (int64_t)cache->step.n_new[i] * n_steps;
}

static kvb_status take_pages(kvb_cuda_cache *cache, kvb_error *error) {
    kvb_cache *books = cache->books;
    const kvb_cuda_step *step = &cache->step;
    kvb_pool_plan(&books->pool);
    for (int takes = 0; takes < 2; takes++) {
        for (int i = 0; i < step->n_sequences; i++) {
            for (int layer = 0; layer < books->spec.n_layers && step->sequences[i] >= 0; layer++) {
                kvb_cache_part *part = kvb_cache_part_of(books, step->sequences[i], layer);
                if (takes) {
                    kvb_part_take(books, &books->layers[layer], part, tokens_after(cache, i, step->n_steps));
                } else {
                    kvb_part_want(books, &books->layers[layer], part, tokens_after(cache, i, step->n_steps));
                }
            }
        }
        kvb_status status = takes ? KVB_OK : kvb_pool_check(&books->pool, error);
        if (status != KVB_OK) {
            return status;
        }
    }
    return KVB_OK;
}

/* Where its exact last tokens begin, which is not always exact_last before the end. */
static void tell_packed_ends(kvb_cuda_cache *cache, int sequence) {
    const kvb_cache *books = cache->books;
    for (int layer = 0; layer < books->spec.n_layers; layer++) {
        if (books->layer_specs[layer].exact_last > 0) {
            kvb_cuda_books_put(cache, kvb_cuda_packed_ends_at(cache, layer) + (size_t)sequence,
                               (int32_t)kvb_cache_part_of(books, sequence, layer)->packed_end);
        }
    }
    cache->marks[sequence] &= (uint8_t)~KVB_CUDA_IS_STALE;
}

static void tell_batch(kvb_cuda_cache *cache) {
    const kvb_cuda_step *step = &cache->step;
    int32_t row = 0;
    for (int i = 0; i < step->n_sequences; i++) {
        const int sequence = step->sequences[i];
        const int at = sequence >= 0 ? sequence : cache->books->spec.max_sequences;
        kvb_cuda_books_put(cache, cache->at.sequences + (size_t)i, at);
        row += step->n_new[i];
        kvb_cuda_books_put(cache, cache->at.row_begin + (size_t)i + 1, row);
        if (sequence >= 0) {
            kvb_cuda_books_put(cache, cache->at.before + (size_t)at, (int32_t)tokens_after(cache, i, 0));
            kvb_cuda_books_put(cache, cache->at.after + (size_t)at, (int32_t)tokens_after(cache, i, 1));
            if (cache->marks[sequence] & KVB_CUDA_IS_STALE) {
                tell_packed_ends(cache, sequence);
            }
        }
    }
}

kvb_status kvb_cuda_cache_begin(kvb_cuda_cache *cache, const int *sequences, const int *n_new, int n_sequences,
                                int n_steps, void *stream, kvb_error *error) {
    kvb_status status = kvb_cuda_books_between(cache, error);
    if (status != KVB_OK) {
        return status;
    }
    if (!sequences || !n_new) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is NULL; sequences and n_new are needed",
                             sequences ? "n_new" : "sequences");
    }
    if (n_sequences < 1 || n_sequences > cache->books->spec.max_sequences) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "n_sequences %d is not from 1 to max_sequences %d", n_sequences,
                             cache->books->spec.max_sequences);
    }
    if (n_steps < 1) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "n_steps %d is not 1 or more", n_steps);
    }
    if ((status = cache->queue.check(cache, "kvb_cuda_cache_begin", stream, error)) ||
        (status = enter_step(cache, sequences, n_new, n_sequences, n_steps, error))) {
        return status;
    }
    kvb_cuda_books_gather(cache, stream);
    if ((status = take_pages(cache, error))) {
        leave_step(cache);
        return status;
    }
    tell_batch(cache);
    cache->planned_sequences = 0;
    return kvb_cuda_books_settle(cache, error);
}

/* ---- Committing ---- */

kvb_status kvb_cuda_cache_commit(kvb_cuda_cache *cache, int n_done, kvb_error *error) {
    kvb_status status = kvb_cuda_books_in_step(cache, 0, error);
    if (status != KVB_OK) {
        return status;
    }
    const kvb_cuda_step *step = &cache->step;
    if (n_done < 0 || n_done > step->n_steps) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "n_done %d is not from 0 to the %d steps that have begun",
                             n_done, step->n_steps);
    }
    for (int i = 0; i < step->n_sequences && status == KVB_OK; i++) {
        const int sequence = step->sequences[i];
        const int64_t n_tokens = sequence >= 0 ? tokens_after(cache, i, n_done) : 0;
        for (int layer = 0; layer < cache->books->spec.n_layers && sequence >= 0; layer++) {
            kvb_part_grow(&cache->books->layers[layer], kvb_cache_part_of(cache->books, sequence, layer), n_tokens);
        }
        if (sequence >= 0) {
            status = kvb_cache_commit(cache->books, sequence, error);
        }
    }
    leave_step(cache);
    return status;
}
