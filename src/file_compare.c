/* Whether layers keep their tokens alike: then the bytes of one are those of the other. */
#include "cache.h"
#include "file_codec.h"

#include <string.h>

static kvb_status differs(int layer, const char *whose, const char *what, int theirs, int ours, kvb_error *error) {
    return kvb_error_set(error, KVB_ERROR_ARGUMENT,
                         "layer %d of %s has %s %d, and that of the cache %d; only equal layers can be loaded", layer,
                         whose, what, theirs, ours);
}

static int same_side(const kvb_codec_spec *a, const kvb_codec_spec *b) {
    if (kvb_layer_side_is_dense(a) || kvb_layer_side_is_dense(b)) {
        return a->bits == b->bits && a->head_dim == b->head_dim;
    }
    return kvb_file_same_codec(a, b);
}

static kvb_status compare_side(int layer, const char *whose, const char *side, const kvb_codec_spec *theirs,
                               const kvb_codec_spec *ours, kvb_error *error) {
    if (same_side(theirs, ours)) {
        return KVB_OK;
    }
    return kvb_error_set(
        error, KVB_ERROR_ARGUMENT,
        "layer %d of %s has other %s: head_dim %d, %g bits, rotation %d, scale %d of type %d, %d states, and "
        "that of the cache %d, %g, %d, %d, %d, %d; only equal layers, of equal signs and centroids, can be "
        "loaded",
        layer, whose, side, theirs->head_dim, theirs->bits + 0.5 * theirs->half_bit, (int)theirs->rotation,
        (int)theirs->scale, (int)theirs->scale_dtype, theirs->trellis_states, ours->head_dim,
        ours->bits + 0.5 * ours->half_bit, (int)ours->rotation, (int)ours->scale, (int)ours->scale_dtype,
        ours->trellis_states);
}

kvb_status kvb_layer_compare(int layer, const char *whose, const kvb_layer_spec *theirs, const kvb_layer_spec *ours,
                             kvb_error *error) {
    const struct {
        const char *what;
        int theirs, ours;
    } numbers[] = {
        {"n_kv_heads", theirs->n_kv_heads, ours->n_kv_heads},
        {"v_prefix_of_k", theirs->v_prefix_of_k != 0, ours->v_prefix_of_k != 0},
        {"head_dim of values", theirs->v.head_dim, ours->v.head_dim},
        {"dense", (int)theirs->dense, (int)ours->dense},
        {"window", theirs->window, ours->window},
        {"exact_first", theirs->exact_first, ours->exact_first},
        {"exact_last", theirs->exact_last, ours->exact_last},
        {"k_mean", theirs->k_mean != NULL, ours->k_mean != NULL},
    };
    for (size_t n = 0; n < sizeof numbers / sizeof numbers[0]; n++) {
        if (numbers[n].theirs != numbers[n].ours) {
            return differs(layer, whose, numbers[n].what, numbers[n].theirs, numbers[n].ours, error);
        }
    }
    if (theirs->k_mean && kvb_layer_mean_values(theirs) == kvb_layer_mean_values(ours) &&
        memcmp(theirs->k_mean, ours->k_mean, kvb_layer_mean_values(theirs) * sizeof *theirs->k_mean) != 0) {
        return kvb_error_set(
            error, KVB_ERROR_ARGUMENT,
            "layer %d of %s has another k_mean than that of the cache; only equal layers can be loaded", layer, whose);
    }
    kvb_status status = compare_side(layer, whose, "keys", &theirs->k, &ours->k, error);
    return status || theirs->v_prefix_of_k ? status : compare_side(layer, whose, "values", &theirs->v, &ours->v, error);
}
