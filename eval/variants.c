#include "variants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plain.h"

static kvb_status add_variant(kvb_variants *variants, const kvb_scheme *scheme, const kvb_table *plain,
                              kvb_error *error) {
    if (variants->n == KVB_MAX_VARIANTS)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "more than %d ways to store a row", KVB_MAX_VARIANTS - 1);
    kvb_variant *variant = &variants->at[variants->n];
    int is_code = scheme->kind == KVB_SCHEME_CODEC || scheme->kind == KVB_SCHEME_BOUND;
    variant->bits = is_code && !scheme->spec.half_bit ? scheme->spec.bits : 0;
    variant->half_above = is_code && scheme->spec.half_bit ? scheme->spec.bits : 0;
    variant->stored_bits = kvb_scheme_bits(scheme);
    variant->redrawn = is_code || scheme->spec.rotation != KVB_ROTATION_NONE;
    kvb_scheme_name(scheme, variant->name, sizeof variant->name);
    variant->plain = plain;
    if (!plain) {
        kvb_status status = kvb_store_create(scheme, &variant->store, error);
        if (status != KVB_OK)
            return status;
    }
    variants->n++;
    return KVB_OK;
}

/* The variant of `bits` bits, or half a bit more, made when it is not there yet. */
static kvb_status find_width(const kvb_ab_config *config, kvb_variants *variants, const kvb_tables *tables, int bits,
                             int half, kvb_rotation rotation, uint64_t sign_seed, int *index, kvb_error *error) {
    for (*index = 1; *index < variants->n; ++*index)
        if ((half ? variants->at[*index].half_above : variants->at[*index].bits) == bits)
            return KVB_OK;
    const float *centroids = config->trellis_states ? NULL : tables->width[bits].centroids;
    float both[3 << (KVB_MAX_BITS - 1)]; /* of the wider half first */
    if (half && centroids) {
        memcpy(both, tables->width[bits + 1].centroids, sizeof *both << (bits + 1));
        memcpy(both + (2 << bits), centroids, sizeof *both << bits);
        centroids = both;
    }
    kvb_scheme scheme = {.kind = config->bound ? KVB_SCHEME_BOUND : KVB_SCHEME_CODEC,
                         .spec = {.head_dim = variants->head_dim,
                                  .bits = bits,
                                  .half_bit = half,
                                  .rotation = rotation,
                                  .sign_seed = sign_seed,
                                  .scale = config->scale_kind,
                                  .scale_dtype = config->scale_dtype,
                                  .trellis_states = config->trellis_states,
                                  .centroids = centroids}};
    return add_variant(variants, &scheme, config->sums == KVB_SUMS_INDEX_ORDER ? &tables->width[bits] : NULL, error);
}

static kvb_status add_pairs(const kvb_ab_config *config, kvb_rotation rotation, uint64_t sign_seed, kvb_comparison *c,
                            kvb_error *error) {
    int n = config->pairs ? config->n_pairs : config->n_bits;
    for (int i = 0; i < n; i++) {
        int k_bits = config->pairs ? config->pairs[i].k_bits : config->bits[i];
        int v_bits = config->pairs ? config->pairs[i].v_bits : config->bits[i];
        int k_half = config->halves && config->halves[i].k_bits, v_half = config->halves && config->halves[i].v_bits;
        kvb_combo *pair = &c->pairs[c->n_pairs++];
        kvb_status status =
            find_width(config, &c->k, c->k_tables, k_bits, k_half, rotation, sign_seed, &pair->k, error);
        if (status == KVB_OK)
            status = find_width(config, &c->v, c->v_tables, v_bits, v_half, rotation, sign_seed, &pair->v, error);
        if (status != KVB_OK)
            return status;
    }
    return KVB_OK;
}

static kvb_status add_baselines(uint64_t sign_seed, kvb_comparison *c, kvb_error *error) {
    static const kvb_scheme_kind kinds[] = {KVB_SCHEME_Q4_0, KVB_SCHEME_Q8_0, KVB_SCHEME_FP8_E4M3, KVB_SCHEME_INT4_G32};
    for (int i = 0; i < 8; i++) {
        kvb_scheme scheme = {
            .kind = kinds[i / 2],
            .spec = {.rotation = i % 2 ? KVB_ROTATION_SIGNED : KVB_ROTATION_NONE, .sign_seed = sign_seed}};
        scheme.spec.head_dim = c->k.head_dim;
        kvb_status status = add_variant(&c->k, &scheme, NULL, error);
        scheme.spec.head_dim = c->v.head_dim;
        if (status == KVB_OK)
            status = add_variant(&c->v, &scheme, NULL, error);
        if (status != KVB_OK)
            return status;
        c->pairs[c->n_pairs++] = (kvb_combo){c->k.n - 1, c->v.n - 1};
    }
    return KVB_OK;
}

static void list_combos(kvb_comparison *c) {
    c->combos[c->n_combos++] = (kvb_combo){0, 0};
    for (int i = 0; i < c->n_pairs; i++) {
        c->pair_combo[i] = c->n_combos;
        c->combos[c->n_combos++] = c->pairs[i];
    }
    for (int k = 1; k < c->k.n; k++) {
        c->k_only[k] = c->n_combos;
        c->combos[c->n_combos++] = (kvb_combo){k, 0};
    }
    for (int v = 1; v < c->v.n; v++) {
        c->v_only[v] = c->n_combos;
        c->combos[c->n_combos++] = (kvb_combo){0, v};
    }
}

static kvb_status fill(const kvb_ab_config *config, kvb_rotation rotation, uint64_t sign_seed,
                       const kvb_parallel *parallel, kvb_comparison *c, kvb_error *error) {
    unsigned wanted = 0;
    for (int i = 0; i < config->n_bits; i++)
        wanted |= 1u << config->bits[i];
    for (int i = 0; config->pairs && i < config->n_pairs; i++) {
        const kvb_pair pair = config->pairs[i], half = config->halves ? config->halves[i] : (kvb_pair){0, 0};
        wanted |= 1u << pair.k_bits | 1u << pair.v_bits;
        wanted |= 1u << (pair.k_bits + half.k_bits) | 1u << (pair.v_bits + half.v_bits);
    }
    kvb_status status = kvb_tables_make(config, wanted, c->k.head_dim, parallel, c->k_tables, error);
    if (status == KVB_OK && c->v.head_dim == c->k.head_dim)
        *c->v_tables = *c->k_tables;
    else if (status == KVB_OK)
        status = kvb_tables_make(config, wanted, c->v.head_dim, parallel, c->v_tables, error);
    if (status == KVB_OK)
        status = add_pairs(config, rotation, sign_seed, c, error);
    if (status == KVB_OK && config->baselines)
        status = add_baselines(sign_seed, c, error);
    if (status == KVB_OK)
        list_combos(c);
    return status;
}

kvb_status kvb_comparison_make(const kvb_ab_config *config, int k_dim, int v_dim, kvb_rotation rotation,
                               uint64_t sign_seed, const kvb_parallel *parallel, kvb_comparison **out,
                               kvb_error *error) {
    kvb_comparison *c = calloc(1, sizeof *c);
    if (!c)
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory");
    c->k_tables = calloc(2, sizeof *c->k_tables);
    if (!c->k_tables) {
        free(c);
        return kvb_error_set(error, KVB_ERROR_MEMORY, "out of memory for codebooks");
    }
    c->v_tables = c->k_tables + 1;
    c->k.n = c->v.n = 1;
    c->k.head_dim = k_dim;
    c->v.head_dim = v_dim;
    snprintf(c->k.at[0].name, sizeof c->k.at[0].name, "exact");
    c->v.at[0] = c->k.at[0];
    kvb_status status = fill(config, rotation, sign_seed, parallel, c, error);
    if (status == KVB_OK)
        *out = c;
    else
        kvb_comparison_free(c);
    return status;
}

void kvb_comparison_free(kvb_comparison *comparison) {
    if (!comparison)
        return;
    for (int i = 0; i < KVB_MAX_VARIANTS; i++) {
        kvb_store_destroy(comparison->k.at[i].store);
        kvb_store_destroy(comparison->v.at[i].store);
    }
    free(comparison->k_tables);
    free(comparison);
}

kvb_status kvb_variant_round_trip(const kvb_variants *variants, int index, const float *rows, size_t n_rows, float *out,
                                  kvb_error *error) {
    const kvb_variant *variant = &variants->at[index];
    size_t d = (size_t)variants->head_dim;
    if (variant->store)
        return kvb_store_round_trip(variant->store, rows, n_rows, out, error);
    for (size_t r = 0; r < n_rows; r++) {
        if (variant->plain)
            kvb_plain_round_trip(variant->plain->centroids, variant->plain->levels, rows + r * d, d, out + r * d);
        else
            memcpy(out + r * d, rows + r * d, d * sizeof *out);
    }
    return KVB_OK;
}
