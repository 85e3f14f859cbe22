#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peers/peers.h"

static const kvb_bench_shape shapes[] = {{'A', 16, 8, 256}, {'B', 32, 8, 128}, {'C', 9, 3, 64}, {'D', 64, 8, 128}};

const kvb_bench_shape *kvb_bench_shape_at(int i) {
    return i < 0 || i >= (int)(sizeof shapes / sizeof shapes[0]) ? NULL : &shapes[i];
}

kvb_bench_config kvb_bench_config_default(void) {
    kvb_bench_config config = {.gpu = -1,
                               .work = KVB_BENCH_ALL,
                               .n_shapes = 3,
                               .kv_lens = {1024, 8192, 32768, 131072},
                               .n_kv_lens = 4,
                               .precisions = {KVB_PRECISION_FAST},
                               .n_precisions = 1,
                               .cold = 1,
                               .memory = (size_t)1 << 30,
                               .seconds = 0.2,
                               .rounds = 15,
                               .prefill_queries = 512,
                               .prefill_tokens = 4096,
                               .peers = 1};
    memcpy(config.shapes, shapes, (size_t)config.n_shapes * sizeof *shapes);
    for (int bits = 1; bits <= KVB_MAX_BITS; bits++)
        config.pairs[config.n_pairs++] = (kvb_bench_pair){bits, bits};
    config.pairs[config.n_pairs++] = (kvb_bench_pair){KVB_BENCH_DENSE, KVB_BENCH_DENSE};
    config.pairs[config.n_pairs++] = (kvb_bench_pair){6, 4};
    config.pairs[config.n_pairs++] = (kvb_bench_pair){8, 4};
    return config;
}

/* The rows outlive the suite: every text in them is a constant. */
static kvb_status take_rows(const kvb_bench_suite *suite, kvb_bench_result *result, kvb_error *error) {
    result->rows = malloc((suite->n + 1) * sizeof *result->rows);
    if (!result->rows)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for %zu rows", suite->n);
    for (size_t i = 0; i < suite->n; i++) {
        const kvb_bench_row *row = &suite->kernels[i].row;
        result->rows[result->n_rows++] = *row;
        if (strcmp(row->work, "prefill") == 0)
            result->prefill_queries = suite->config->prefill_queries;
        if (strcmp(row->work, "fma") == 0 && 1.0 - row->cpu_share > result->others)
            result->others = 1.0 - row->cpu_share;
    }
    return KVB_OK;
}

static kvb_status add_peers(kvb_bench_suite *suite, kvb_bench_result *result, kvb_error *error) {
    kvb_status status = KVB_OK;
    if (!(suite->config->work & (KVB_BENCH_ENCODE | KVB_BENCH_DECODE | KVB_BENCH_ATTEND | KVB_BENCH_PREFILL)))
        return KVB_OK; /* nothing that a peer does */
    if (!suite->config->peers) {
        result->peers_missing = "left out by --no-peers";
        return KVB_OK;
    }
    if (!kvb_bench_peer_at(0))
        result->peers_missing = "this build has no ggml: it was not found when cmake ran";
    for (int i = 0; kvb_bench_peer_at(i) && status == KVB_OK; i++) {
        const kvb_bench_peer *peer = kvb_bench_peer_at(i);
        const size_t length = strlen(result->peers);
        char name[64];
        peer->describe(name, sizeof name);
        snprintf(result->peers + length, sizeof result->peers - length, "%s%s", length ? ", " : "", name);
        status = peer->add(suite, error);
    }
    return status;
}

static kvb_status run(kvb_bench_suite *suite, const kvb_progress *progress, kvb_bench_result *result,
                      kvb_error *error) {
    if (progress && progress->report)
        progress->report(progress->context, "filling caches", 0.0);
    if (suite->config->gpu >= 0) {
        const kvb_status measured = kvb_bench_add_gpu(suite, error);
        return measured == KVB_OK ? kvb_bench_measure(suite, progress, error) : measured;
    }
    kvb_status status = kvb_bench_add_ceilings(suite, error);
    if (status == KVB_OK)
        status = kvb_bench_add_rows(suite, error);
    if (status == KVB_OK)
        status = kvb_bench_add_appends(suite, error);
    if (status == KVB_OK)
        status = kvb_bench_add_attention(suite, error);
    if (status == KVB_OK)
        status = add_peers(suite, result, error);
    return status == KVB_OK ? kvb_bench_measure(suite, progress, error) : status;
}

kvb_status kvb_bench_run(const kvb_bench_config *config, const kvb_progress *progress, kvb_bench_result **out,
                         kvb_error *error) {
    *out = NULL;
    kvb_bench_result *result = calloc(1, sizeof *result);
    if (!result)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for the result");
    const double start = kvb_bench_now();
    kvb_bench_machine_read(&result->machine);
    result->memory = (double)config->memory;
    result->backend = kvb_backend_name(config->backends[0]);
    kvb_bench_suite suite = {
        .config = config, .machine = &result->machine, .gpu = &result->gpu, .left = result->machine.available};
    kvb_status status = config->gpu >= 0 ? kvb_bench_gpu_read(config->gpu, &result->gpu, error) : KVB_OK;
    if (status == KVB_OK)
        status = run(&suite, progress, result, error);
    if (status == KVB_OK)
        status = take_rows(&suite, result, error);
    kvb_bench_suite_free(&suite);
    result->seconds = (kvb_bench_now() - start) * 1e-9;
    if (status != KVB_OK) {
        kvb_bench_result_free(result);
        return status;
    }
    *out = result;
    return KVB_OK;
}

void kvb_bench_result_free(kvb_bench_result *result) {
    if (!result)
        return;
    free(result->machine.flags);
    free(result->rows);
    free(result);
}
