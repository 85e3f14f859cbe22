#include "baselines.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kvb_store {
    kvb_scheme_kind kind;
    int head_dim;
    kvb_codec *codec; /* CODEC: the format itself; baselines: their rotation; EXACT, BOUND: NULL */
    int bits;         /* BOUND */
    uint64_t seed;
};

double kvb_scheme_bits(const kvb_scheme *scheme) {
    const kvb_codec_spec *spec = &scheme->spec;
    if (scheme->kind == KVB_SCHEME_EXACT) {
        return 32;
    }
    if (scheme->kind == KVB_SCHEME_CODEC || scheme->kind == KVB_SCHEME_BOUND) {
        return spec->head_dim < 1 ? 0
                                  : spec->bits + 0.5 * spec->half_bit +
                                        8.0 * (double)kvb_dtype_bytes(spec->scale_dtype) / spec->head_dim;
    }
    return kvb_baseline_bits(scheme->kind, spec->head_dim);
}

void kvb_scheme_name(const kvb_scheme *scheme, char *out, size_t bytes) {
    const char *name = kvb_baseline_name(scheme->kind);
    if (scheme->kind == KVB_SCHEME_CODEC || scheme->kind == KVB_SCHEME_BOUND) {
        snprintf(out, bytes, "%d%s", scheme->spec.bits, scheme->spec.half_bit ? ".5" : "");
    } else if (name) {
        snprintf(out, bytes, "%s%s", name, scheme->spec.rotation == KVB_ROTATION_NONE ? "" : "+rot");
    } else {
        snprintf(out, bytes, "exact");
    }
}

/* The codec object that a scheme needs, if any. */
static kvb_status create_codec(const kvb_scheme *scheme, kvb_codec **out, kvb_error *error) {
    kvb_codec_spec spec = scheme->spec;
    *out = NULL;
    if (scheme->kind == KVB_SCHEME_EXACT || scheme->kind == KVB_SCHEME_BOUND) {
        return KVB_OK;
    }
    if (scheme->kind != KVB_SCHEME_CODEC) {
        if (!kvb_baseline_known(scheme->kind)) {
            return kvb_error_set(error, KVB_ERROR_ARGUMENT, "scheme kind %d is not 0 (exact) to %d (int4)",
                                 (int)scheme->kind, (int)KVB_SCHEME_INT4_G32);
        }
        /* Only head_dim and rotation matter; the rest has to be legal. */
        spec = kvb_codec_spec_default(scheme->spec.head_dim, 1);
        spec.rotation = scheme->spec.rotation;
        spec.sign_seed = scheme->spec.sign_seed;
    }
    return kvb_codec_create(&spec, NULL, NULL, out, error);
}

kvb_status kvb_store_create(const kvb_scheme *scheme, kvb_store **out, kvb_error *error) {
    kvb_codec *codec;
    *out = NULL;
    if (scheme->spec.head_dim < 1) {
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "head_dim %d is not positive", scheme->spec.head_dim);
    }
    const kvb_status status = create_codec(scheme, &codec, error);
    if (status) {
        return status;
    }
    kvb_store *store = malloc(sizeof *store);
    if (!store) {
        kvb_codec_destroy(codec);
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for a store");
    }
    *store = (kvb_store){.kind = scheme->kind,
                         .head_dim = scheme->spec.head_dim,
                         .codec = codec,
                         .bits = scheme->spec.bits,
                         .seed = scheme->spec.sign_seed};
    *out = store;
    return KVB_OK;
}

void kvb_store_destroy(kvb_store *store) {
    if (store) {
        kvb_codec_destroy(store->codec);
        free(store);
    }
}

static kvb_status round_trip_baseline(const kvb_store *store, float *rows, size_t n_rows, kvb_error *error) {
    const size_t d = (size_t)store->head_dim;
    kvb_rotate(store->codec, rows, d, n_rows);
    for (size_t r = 0; r < n_rows; r++) {
        kvb_baseline_round_trip(store->kind, rows + r * d, store->head_dim);
        for (size_t i = 0; i < d; i++) {
            if (!isfinite(rows[r * d + i])) {
                return kvb_error_set(error, KVB_ERROR_NOT_FINITE,
                                     "row %zu, coordinate %zu: %s reads back as %g, because its block's scale or zero "
                                     "point exceeds binary16's 65504",
                                     r, i, kvb_baseline_name(store->kind), (double)rows[r * d + i]);
            }
        }
    }
    kvb_unrotate(store->codec, rows, d, n_rows);
    return KVB_OK;
}

/* With D = 4^-bits of the row's mean square: (1 - D) x + sqrt(D (1 - D)) noise, which has error D and, of all that has,
 * tells least of x (Cover and Thomas, Elements of Information Theory, section 10.3). Noise follows from the seed and
 * the row, so that it does not matter which rows come together. */
static void round_trip_bound(const kvb_store *store, float *row) {
    const int d = store->head_dim;
    float noise[KVB_MAX_HEAD_DIM];
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ store->seed;
    double squares = 0.0;
    for (int i = 0; i < d; i++) {
        uint32_t bits;
        memcpy(&bits, &row[i], sizeof bits);
        hash = (hash ^ bits) * UINT64_C(0x100000001b3);
        squares += (double)row[i] * row[i];
    }
    kvb_rng rng = kvb_rng_seed(hash);
    kvb_rng_normals(&rng, noise, (size_t)d);
    const double distortion = ldexp(1.0, -2 * store->bits);
    const double factor = sqrt(distortion * (1.0 - distortion) * squares / d);
    for (int i = 0; i < d; i++) {
        row[i] = (float)((1.0 - distortion) * row[i] + factor * noise[i]);
    }
}

kvb_status kvb_store_round_trip(const kvb_store *store, const float *rows, size_t n_rows, float *out,
                                kvb_error *error) {
    if (store->kind == KVB_SCHEME_CODEC) {
        const size_t d = (size_t)store->head_dim;
        return kvb_round_trip(store->codec, rows, d, n_rows, out, d, error);
    }
    memmove(out, rows, n_rows * (size_t)store->head_dim * sizeof *rows);
    if (store->kind == KVB_SCHEME_BOUND) {
        for (size_t r = 0; r < n_rows; r++) {
            round_trip_bound(store, out + r * (size_t)store->head_dim);
        }
        return KVB_OK;
    }
    return store->kind == KVB_SCHEME_EXACT ? KVB_OK : round_trip_baseline(store, out, n_rows, error);
}
