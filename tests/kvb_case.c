/* .kvb files for tests in other languages, and a process that saves until it is killed.
 *
 *     kvb_case list                    the names of the cases
 *     kvb_case write NAME SEED FILE    saves a case; "large" is one of 2 MB
 *     kvb_case rows FILE               loads a file and writes its rows, decoded: floats, as file_case_rows orders them
 *     kvb_case loop FILE               prints "ready" and saves large 2, large 1, large 2, ... to FILE, for ever
 *
 * Exit codes: 0, 2 for a wrong call, 3 when the library refuses (its sentence on standard error). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file_case.h"

static int complain(const kvb_error *error) {
    fprintf(stderr, "kvb_case: %s\n", error->text);
    return 3;
}

static kvb_cache *make_large(uint64_t seed, kvb_error *error) {
    kvb_layer_spec layer = kvb_layer_spec_default(8, 256, KVB_DENSE_BITS, KVB_DENSE_BITS);
    kvb_cache_spec spec = {
        .layers = &layer, .n_layers = 1, .max_sequences = 1, .max_tokens = 256, .budget = (size_t)1 << 22};
    kvb_cache *cache;
    int sequence;
    if (kvb_cache_create(&spec, NULL, NULL, &cache, error)) {
        return NULL;
    }
    if (kvb_cache_open_sequence(cache, &sequence, error) || file_case_grow(cache, sequence, 256, seed, error)) {
        kvb_cache_destroy(cache);
        return NULL;
    }
    return cache;
}

static kvb_cache *make(const char *name, uint64_t seed, kvb_error *error) {
    for (int i = 0; i < FILE_CASES; i++) {
        if (strcmp(name, file_case_names[i]) == 0) {
            return file_case_make(i, seed, NULL, error);
        }
    }
    if (strcmp(name, "large") == 0) {
        return make_large(seed, error);
    }
    (void)kvb_error_set(error, KVB_ERROR_ARGUMENT, "there is no case %s", name);
    return NULL;
}

static int write_case(const char *name, uint64_t seed, const char *path) {
    kvb_error error;
    kvb_cache *cache = make(name, seed, &error);
    kvb_status status = cache ? kvb_cache_save(cache, path, &error) : KVB_ERROR_ARGUMENT;
    kvb_cache_destroy(cache);
    return status ? complain(&error) : 0;
}

static void write_row(void *context, const float *values, int n) {
    (void)context;
    if (fwrite(values, sizeof *values, (size_t)n, stdout) != (size_t)n) {
        abort();
    }
}

static int write_rows(const char *path) {
    kvb_error error;
    kvb_cache *cache;
    kvb_status status = kvb_cache_load(path, NULL, NULL, NULL, &cache, &error);
    if (status) {
        return complain(&error);
    }
    for (int i = 0; i < kvb_cache_get_spec(cache)->max_sequences && status == KVB_OK; i++) {
        if (kvb_cache_n_tokens(cache, i) >= 0) {
            status = file_case_rows(cache, i, write_row, NULL, &error);
        }
    }
    kvb_cache_destroy(cache);
    return status ? complain(&error) : fflush(stdout) != 0;
}

static int save_for_ever(const char *path) {
    kvb_error error;
    kvb_cache *caches[2];
    for (int i = 0; i < 2; i++) {
        caches[i] = make("large", (uint64_t)i + 1, &error);
        if (!caches[i]) {
            return complain(&error);
        }
    }
    puts("ready");
    fflush(stdout);
    for (int i = 1;; i = !i) {
        if (kvb_cache_save(caches[i], path, &error)) {
            return complain(&error);
        }
    }
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        for (int i = 0; i < FILE_CASES; i++) {
            puts(file_case_names[i]);
        }
        return 0;
    }
    if (argc == 5 && strcmp(argv[1], "write") == 0) {
        return write_case(argv[2], strtoull(argv[3], NULL, 10), argv[4]);
    }
    if (argc == 3 && strcmp(argv[1], "rows") == 0) {
        return write_rows(argv[2]);
    }
    if (argc == 3 && strcmp(argv[1], "loop") == 0) {
        return save_for_ever(argv[2]);
    }
    fputs("kvb_case: see the head of tests/kvb_case.c\n", stderr);
    return 2;
}
