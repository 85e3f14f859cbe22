/* The options of `kvbits ab`: any lines as arguments either give a configuration that the check takes or refuses, or
 * one sentence. What it takes must lie within the limits that the experiment counts on. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ab_options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int within(int value, int low, int high) {
    return value >= low && value <= high;
}

static int legal(const kvb_ab_options *options) {
    const kvb_ab_config *c = &options->config;
    int good = within(options->threads, 0, 1024) && within(c->n_bits, 1, KVB_MAX_BITS) && within(c->n_kv_lens, 1, 64) &&
               within(c->n_round_trip_dims, 1, 64) && within(c->n_pairs, c->pairs != NULL, 64) &&
               within(c->n_heads, 1, 1024) && within(c->n_kv_heads, 1, c->n_heads) && c->n_heads % c->n_kv_heads == 0 &&
               within(c->generator, 0, KVB_GENERATOR_LOW_RANK) && within(c->rotation, 0, KVB_ROTATION_SIGNED) &&
               within(c->codebook, 0, KVB_CODEBOOK_BETA) && within(c->trials, 1, 1000000) &&
               within(c->redraws, 0, 1000);
    for (int i = 0; good && i < c->n_bits; i++)
        good = within(c->bits[i], 1, KVB_MAX_BITS);
    for (int i = 0; good && c->pairs && i < c->n_pairs; i++)
        good = within(c->pairs[i].k_bits, 1, KVB_MAX_BITS - (c->halves && c->halves[i].k_bits)) &&
               within(c->pairs[i].v_bits, 1, KVB_MAX_BITS - (c->halves && c->halves[i].v_bits));
    for (int i = 0; good && i < c->n_kv_lens; i++)
        good = within(c->kv_lens[i], 1, 1 << 20);
    good = good && isfinite(c->scale) && isfinite(c->softcap) && c->thresholds[0] > 0.0 && c->thresholds[1] > 0.0;
    /* "as the trace says" is for traces, and no value to be given */
    return good && (options->trace || (c->scale > 0.0 && c->softcap >= 0.0 && c->window >= 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { MOST = 48 };
    char *argv[MOST + 2] = {(char *)"kvbits ab"}, *text = malloc(size + 1);
    int argc = 1;
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    for (size_t at = 0; at < size && argc <= MOST; at += strlen(text + at) + 1) { /* empty arguments count too */
        char *end = strchr(text + at, '\n');
        if (end)
            *end = '\0';
        argv[argc++] = text + at;
    }
    kvb_ab_options options;
    kvb_error error = {""};
    kvb_status status = kvb_ab_options_parse(argc, argv, &options, &error);
    /* A codebook file is read by the command; without it the check has its sentence. */
    if (status == KVB_OK && !options.help)
        status = kvb_ab_config_check(&options.config, &error);
    if (status == KVB_OK ? !options.help && !legal(&options) : error.text[0] == '\0')
        abort();
    free(text);
    return 0;
}
