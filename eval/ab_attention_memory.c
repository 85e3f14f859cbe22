#include "ab_attention_run.h"

#include <stdlib.h>

/* At a multiple of 64 bytes, so that no vector of a row lies in two cache lines. */
static void *reserve(size_t count, size_t bytes, int *short_of_memory) {
    enum { line = 64 };
    void *p = count < (SIZE_MAX - line) / bytes ? aligned_alloc(line, (count * bytes / line + 1) * line) : NULL;
    *short_of_memory |= p == NULL;
    return p;
}

static int make_bench(kvb_attention_run *r, kvb_attention_bench *b) {
    size_t block = KVB_ATTENTION_BLOCK_ROWS,
           raw = r->k_source.raw > r->v_source.raw ? r->k_source.raw : r->v_source.raw;
    kvb_attend_shape shape = {.arithmetic = r->arithmetic,
                              .n_q = (int)r->group,
                              .n_k = (int)r->n_k,
                              .n_combos = r->comparison->n_combos,
                              .combos = r->comparison->combos,
                              .max_len = r->max_len,
                              .v_dim = r->d,
                              .scale = (float)r->config->scale,
                              .softcap = (float)r->config->softcap,
                              .skip = r->config->skip && r->config->sums != KVB_SUMS_INDEX_ORDER,
                              .online = r->config->sums == KVB_SUMS_INDEX_ORDER};
    int lacking = 0;
    raw = raw > r->q_source.raw ? raw : r->q_source.raw;
    b->raw = reserve(KVB_STREAM_ITEM_ROWS * raw, sizeof(float), &lacking);
    b->rows = reserve(block * r->d, sizeof(float), &lacking);
    b->stored = reserve(block * r->d, sizeof(float), &lacking);
    b->values = reserve((size_t)r->comparison->v.n * KVB_STREAM_LANES * r->d, sizeof(float), &lacking);
    b->memory = reserve(kvb_attend_bytes(&shape), 1, &lacking);
    if (!lacking)
        kvb_attend_init(&b->attend, &shape, b->memory);
    return lacking;
}

kvb_status kvb_attention_allocate(kvb_attention_run *r, kvb_measured *measured, kvb_error *error) {
    int lacking = 0;
    r->kept_rows = KVB_ATTENTION_BATCH_ROWS + r->max_len;
    r->queries = reserve(r->trials * r->heads * r->d, sizeof(float), &lacking);
    r->k_stream = reserve(1, sizeof *r->k_stream, &lacking);
    r->v_stream = reserve(1, sizeof *r->v_stream, &lacking);
    r->starts = reserve(KVB_ATTENTION_BATCH_ROWS / KVB_STREAM_ITEM_ROWS + 2, sizeof *r->starts, &lacking);
    r->states = reserve(r->kept_rows, sizeof *r->states, &lacking);
    r->lengths = calloc((size_t)r->n_lengths, sizeof *r->lengths);
    r->benches = calloc((size_t)r->workers, sizeof *r->benches);
    r->raws = calloc((size_t)r->workers, sizeof *r->raws);
    if (lacking || !r->lengths || !r->benches || !r->raws)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %zu trials", r->trials);
    for (int i = 0; i < r->n_lengths; i++) {
        kvb_attention_length *l = &r->lengths[i];
        l->len = (size_t)r->config->kv_lens[i];
        l->rows = l->len * r->kv_heads * r->trials;
        l->measured = &measured[i];
        l->scores =
            reserve((KVB_ATTENTION_BATCH_ROWS / l->len + 2) * l->len * r->group * r->n_k, sizeof(float), &lacking);
        kvb_status status = kvb_measured_make(l->measured, r->trials, r->kv_heads, r->comparison, error);
        if (status != KVB_OK)
            return status;
    }
    for (int i = 0; i < r->workers; i++) {
        lacking |= make_bench(r, &r->benches[i]);
        r->raws[i] = r->benches[i].raw;
    }
    return lacking ? kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for kv_len %zu", r->max_len) : KVB_OK;
}

void kvb_attention_release(kvb_attention_run *r) {
    for (int i = 0; r->benches && i < r->workers; i++) {
        kvb_attention_bench *b = &r->benches[i];
        free(b->raw);
        free(b->rows);
        free(b->stored);
        free(b->values);
        free(b->memory);
    }
    for (int i = 0; r->lengths && i < r->n_lengths; i++)
        free(r->lengths[i].scores);
    free(r->queries);
    free(r->k_stream);
    free(r->v_stream);
    free(r->starts);
    free(r->states);
    free(r->lengths);
    free(r->benches);
    free(r->raws);
    kvb_row_source_close(&r->q_source);
    kvb_row_source_close(&r->k_source);
    kvb_row_source_close(&r->v_source);
}
