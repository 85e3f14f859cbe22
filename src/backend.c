/* Names of backends, and opening one. */
#include "kernels.h"

#include <stdio.h>
#include <string.h>

/* Fastest first: kvb_backend_open(NULL) takes the first that the machine supports. */
static const kvb_backend *const backends[] = {
#if defined(__x86_64__)
    &kvb_backend_avx512vbmi, &kvb_backend_avx512, &kvb_backend_avx2,
#endif
#if defined(__aarch64__)
    &kvb_backend_neon,
#endif
    &kvb_backend_scalar,
};
enum { n_backends = sizeof backends / sizeof backends[0] };

static int is_supported(const kvb_backend *backend) {
    return !backend->supported || backend->supported();
}

static kvb_status refuse_name(const char *name, kvb_error *error) {
    char known[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < n_backends && used < sizeof known; i++) {
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", backends[i]->name);
    }
    return kvb_error_set(error, KVB_ERROR_ARGUMENT, "backend \"%.64s\" is unknown; this build has: %s", name, known);
}

kvb_status kvb_backend_open(const char *name, const kvb_backend **out, kvb_error *error) {
    if (!out) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "out is NULL; it must point at a backend pointer");
    }
    *out = NULL;
    for (size_t i = 0; i < n_backends; i++) {
        if (name && strcmp(name, backends[i]->name) != 0) {
            continue;
        }
        if (is_supported(backends[i])) {
            *out = backends[i];
            return KVB_OK;
        }
        if (name) {
            return kvb_error_set(error, KVB_ERROR_UNSUPPORTED,
                                 "backend \"%s\" needs instructions that this processor or its operating system lacks",
                                 name);
        }
    }
    if (name) {
        return refuse_name(name, error);
    }
    return kvb_error_set(error, KVB_ERROR_UNSUPPORTED, "no backend of this build runs on this processor");
}

const char *kvb_backend_name(const kvb_backend *backend) {
    return backend->name;
}

const char *kvb_backend_list(size_t i) {
    return i < n_backends ? backends[i]->name : NULL;
}
