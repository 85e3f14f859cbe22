#include <math.h>
#include <stddef.h>

#include "kvbits/eval.h"
#include "variants.h"

static const int default_bits[] = {4, 5, 6}, default_kv_lens[] = {64, 512, 1024}, default_dims[] = {128, 256, 512};
static const int trace_bits[] = {2, 3, 4, 5, 6, 7, 8};

#define WITH_K(k)                                                                                                      \
    {k, 2}, {k, 3}, {k, 4}, {k, 5}, {k, 6}, {k, 7}, {                                                                  \
        k, 8                                                                                                           \
    }
static const kvb_pair trace_pairs[] = {WITH_K(2), WITH_K(3), WITH_K(4), WITH_K(5), WITH_K(6), WITH_K(7), WITH_K(8)};

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

kvb_ab_config kvb_ab_config_default(void) {
    return (kvb_ab_config){.seed = 0xC25EED,
                           .generator = KVB_GENERATOR_GAUSSIAN,
                           .student_dof = 4,
                           .outlier_channels = 4,
                           .outlier_factor = 20.0,
                           .low_rank_noise = 0.25,
                           .sink_strength = 4.0,
                           .n_heads = 16,
                           .n_kv_heads = 8,
                           .head_dim = 256,
                           .kv_lens = default_kv_lens,
                           .n_kv_lens = COUNT(default_kv_lens),
                           .trials = 100,
                           .round_trip_dims = default_dims,
                           .n_round_trip_dims = COUNT(default_dims),
                           .vectors = 1000,
                           .scale = 1.0,
                           .bits = default_bits,
                           .n_bits = COUNT(default_bits),
                           .rotation = KVB_ROTATION_NONE,
                           .sign_seed = 0x6b766269,
                           .scale_kind = KVB_SCALE_NORM,
                           .scale_dtype = KVB_F32,
                           .codebook = KVB_CODEBOOK_DEFAULT,
                           .thresholds = {0.10, 0.15},
                           .skip = 1};
}

kvb_ab_config kvb_ab_config_trace(void) {
    kvb_ab_config config = kvb_ab_config_default();
    config.scale = 0.0;
    config.softcap = -1.0;
    config.window = -1;
    config.bits = trace_bits;
    config.n_bits = COUNT(trace_bits);
    config.pairs = trace_pairs;
    config.n_pairs = COUNT(trace_pairs);
    config.rotation = KVB_ROTATION_SIGNED;
    config.scale_kind = KVB_SCALE_LSQ;
    config.scale_dtype = KVB_F16;
    config.codebook = KVB_CODEBOOK_LIBRARY;
    return config;
}

static kvb_status check_int(const char *what, int value, int low, int high, kvb_error *error) {
    if (value >= low && value <= high)
        return KVB_OK;
    return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is %d; legal: %d to %d", what, value, low, high);
}

static kvb_status check_real(const char *what, double value, double low, double high, kvb_error *error) {
    if (value >= low && value <= high)
        return KVB_OK;
    return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is %g; legal: %g to %g", what, value, low, high);
}

static kvb_status check_list(const char *what, const int *values, int n, int low, int high, int most,
                             kvb_error *error) {
    if (n < 1 || n > most)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%d values of %s; legal: 1 to %d", n, what, most);
    for (int i = 0; i < n; i++) {
        kvb_status status = check_int(what, values[i], low, high, error);
        if (status != KVB_OK)
            return status;
        for (int j = 0; j < i; j++)
            if (values[j] == values[i])
                return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s %d is listed twice", what, values[i]);
    }
    return KVB_OK;
}

/* One side of a pair. */
static kvb_status check_width(const char *what, int bits, int half, kvb_error *error) {
    if (half && bits == KVB_MAX_BITS)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s is %d.5; legal: 1 to %d in steps of 0.5", what, bits,
                             KVB_MAX_BITS);
    return check_int(what, bits, 1, KVB_MAX_BITS, error);
}

static int same_pair(const kvb_pair *a, const kvb_pair *b) {
    return a->k_bits == b->k_bits && a->v_bits == b->v_bits;
}

static kvb_status check_pairs(const kvb_ab_config *config, kvb_error *error) {
    if (config->halves && (!config->pairs || config->bound || config->sums == KVB_SUMS_INDEX_ORDER))
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "half bits are given; legal with pairs and sums of lanes only");
    if (config->halves && config->head_dim % 16 != 0)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "head-dim is %d; legal with half bits: multiples of 16",
                             config->head_dim);
    if (!config->pairs)
        return KVB_OK;
    kvb_status status = check_int("number of pairs", config->n_pairs, 1, KVB_MAX_BITS * KVB_MAX_BITS, error);
    for (int i = 0; i < config->n_pairs && status == KVB_OK; i++) {
        const kvb_pair pair = config->pairs[i], half = config->halves ? config->halves[i] : (kvb_pair){0, 0};
        status = check_width("K bits", pair.k_bits, half.k_bits, error);
        if (status == KVB_OK)
            status = check_width("V bits", pair.v_bits, half.v_bits, error);
        for (int j = 0; j < i && status == KVB_OK; j++)
            if (same_pair(&config->pairs[j], &pair) &&
                (!config->halves || same_pair(&config->halves[i], &config->halves[j])))
                status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "pair %g/%g is listed twice",
                                       pair.k_bits + 0.5 * half.k_bits, pair.v_bits + 0.5 * half.v_bits);
    }
    return status;
}

static kvb_status check_dim(const char *what, int head_dim, kvb_rotation rotation, kvb_error *error) {
    if (kvb_head_dim_supported(head_dim, rotation))
        return KVB_OK;
    return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s %d; legal: %s", what, head_dim,
                         rotation == KVB_ROTATION_NONE
                             ? "multiples of 8 from 8 to 576"
                             : "32, 40, 48, 56, 64, 72, 80, 96, 112, 128, 144, 160, 192, 224, 256, 288, 320, 384, 448, "
                               "512, 576 (m * 2^k with m in 1, 12, 20, 28, 36, a multiple of 8)");
}

static kvb_status check_shape(const kvb_ab_config *config, kvb_error *error) {
    kvb_status status = check_int("heads", config->n_heads, 1, 1024, error);
    if (status == KVB_OK)
        status = check_int("kv-heads", config->n_kv_heads, 1, config->n_heads, error);
    if (status == KVB_OK && config->n_heads % config->n_kv_heads != 0)
        status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "heads %d is no multiple of kv-heads %d", config->n_heads,
                               config->n_kv_heads);
    if (status == KVB_OK)
        status = check_dim("head-dim", config->head_dim, config->rotation, error);
    if (status == KVB_OK && config->baselines)
        status = check_dim("head-dim (baselines are rotated too)", config->head_dim, KVB_ROTATION_SIGNED, error);
    if (status == KVB_OK)
        status = check_list("kv-len", config->kv_lens, config->n_kv_lens, 1, 1 << 20, 64, error);
    if (status == KVB_OK)
        status = check_int("trials", config->trials, 1, 1000000, error);
    if (status == KVB_OK)
        status = check_int("vectors", config->vectors, 1, 1000000, error);
    if (status == KVB_OK)
        status =
            check_list("round-trip head-dim", config->round_trip_dims, config->n_round_trip_dims, 1, 576, 64, error);
    for (int i = 0; i < config->n_round_trip_dims && status == KVB_OK; i++)
        status = check_dim("round-trip head-dim", config->round_trip_dims[i], KVB_ROTATION_HADAMARD, error);
    return status;
}

static kvb_status check_generator(const kvb_ab_config *config, kvb_error *error) {
    kvb_status status = check_int("Student t degrees", config->student_dof, 1, 32, error);
    if (status == KVB_OK)
        status = check_int("outlier channels", config->outlier_channels, 1, config->head_dim, error);
    if (status == KVB_OK)
        status = check_real("outlier factor", config->outlier_factor, 0.0, 1e6, error);
    if (status == KVB_OK)
        status = check_int("rank", config->low_rank, 0, config->head_dim, error);
    if (status == KVB_OK)
        status = check_real("low-rank noise", config->low_rank_noise, 0.0, 1e6, error);
    if (status == KVB_OK)
        status = check_real("sink strength", config->sink_strength, 0.0, 1e6, error);
    return status;
}

static kvb_status check_storage(const kvb_ab_config *config, kvb_error *error) {
    kvb_status status = check_list("bits", config->bits, config->n_bits, 1, KVB_MAX_BITS, KVB_MAX_BITS, error);
    if (status == KVB_OK)
        status = check_pairs(config, error);
    if (status == KVB_OK && config->trellis_states != 0 && !kvb_trellis_codebook(config->trellis_states, 2))
        status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "trellis is %d; legal: 0 (scalar codes), 8, 16, 64 or 256",
                               config->trellis_states);
    if (status == KVB_OK)
        status = check_int("redraws", config->redraws, 0, 1000, error);
    if (status == KVB_OK)
        status = check_int("queries", config->queries, 0, 1 << 20, error);
    if (status == KVB_OK)
        status = check_int("queries-from", config->queries_from, 0, 1 << 20, error);
    if (status == KVB_OK)
        status = check_int("k-mean", config->k_mean, 0, 1 << 20, error);
    if (status == KVB_OK)
        status = check_int("exact-first", config->exact_first, 0, 65536, error);
    if (status == KVB_OK)
        status = check_int("exact-last", config->exact_last, 0, 65536, error);
    for (int i = 0; i < 2 && status == KVB_OK; i++)
        status = check_real("threshold", config->thresholds[i], 1e-6, 10.0, error);
    if (status == KVB_OK && config->codebook == KVB_CODEBOOK_FILE && !config->codebook_file)
        status = kvb_error_set(error, KVB_ERROR_ARGUMENT, "codebook source is a file, but none is given");
    if (status == KVB_OK && config->sums == KVB_SUMS_INDEX_ORDER &&
        (config->rotation != KVB_ROTATION_NONE || config->scale_kind != KVB_SCALE_NORM ||
         config->scale_dtype != KVB_F32 || config->baselines || config->redraws || config->trellis_states))
        status =
            kvb_error_set(error, KVB_ERROR_ARGUMENT,
                          "sums in index order restate the reference run only: rotation none, scale norm in f32, no "
                          "baselines, no redraws");
    for (int i = 0; i < config->n_round_trip_dims && status == KVB_OK && config->sums == KVB_SUMS_INDEX_ORDER; i++)
        if (config->round_trip_dims[i] & (config->round_trip_dims[i] - 1))
            status = kvb_error_set(error, KVB_ERROR_ARGUMENT,
                                   "round-trip head-dim %d; legal with sums in index order: powers of two",
                                   config->round_trip_dims[i]);
    return status;
}

kvb_status kvb_ab_config_check(const kvb_ab_config *config, kvb_error *error) {
    kvb_status status = check_shape(config, error);
    if (status == KVB_OK)
        status = check_generator(config, error);
    if (status == KVB_OK)
        status = check_storage(config, error);
    if (status == KVB_OK)
        status = check_real("scale", config->scale, 0.0, 1e6, error);
    if (status == KVB_OK)
        status = check_real("softcap", config->softcap, -1.0, 1e6, error);
    if (status == KVB_OK)
        status = check_int("window", config->window, -1, 1 << 20, error);
    return status;
}
