/* Every backend that opens, for tests that hold on each of them: a test that includes this file gets ctest's label
 * "parity". The environment variable KVB_REQUIRE names backends, separated by commas, whose absence is a failure; but
 * one of another architecture, which an entry of ctest runs under emulation, is that entry's matter, "cuda" (a GPU) is
 * that of the tests of libkvbits-cuda (cuda/gpu.h), and "nvcc" (its compiler) that of CMake. */
#ifndef KVB_TESTS_BACKENDS_H
#define KVB_TESTS_BACKENDS_H

#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct test_backends {
    size_t n;
    const kvb_backend *list[16];
} test_backends;

#ifndef KVB_TESTED_UNDER_EMULATION
#define KVB_TESTED_UNDER_EMULATION "" /* CMake says which, where it adds the entry */
#endif

static inline void require_backend(const char *name) {
    const kvb_backend *backend;
    kvb_error error;
    if (strcmp(name, "cuda") == 0 || strcmp(name, "nvcc") == 0) {
        return;
    }
    if (strcmp(name, KVB_TESTED_UNDER_EMULATION) == 0) {
        print_message("not tested here: %s (ctest -R parity_%s does)\n", name, name);
        return;
    }
    if (kvb_backend_open(name, &backend, &error)) {
        fail_msg("KVB_REQUIRE: %s", error.text);
    }
}

static inline void require_backends(const char *names) {
    while (*names) {
        char name[32];
        size_t length = strcspn(names, ",");
        assert_true(length < sizeof name);
        memcpy(name, names, length);
        name[length] = '\0';
        if (length > 0) {
            require_backend(name);
        }
        names += length + (names[length] == ',');
    }
}

/* Reports what is not tested. */
static inline test_backends open_backends(void) {
    test_backends all = {0};
    for (size_t i = 0; kvb_backend_list(i); i++) {
        kvb_error error;
        assert_true(all.n < sizeof all.list / sizeof all.list[0]);
        if (kvb_backend_open(kvb_backend_list(i), &all.list[all.n], &error) == KVB_OK) {
            all.n++;
        } else {
            print_message("not tested: %s (%s)\n", kvb_backend_list(i), error.text);
        }
    }
    const char *required = getenv("KVB_REQUIRE");
    require_backends(required ? required : "");
    assert_true(all.n > 0);
    return all;
}

#endif
