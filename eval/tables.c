#include "tables.h"

#define LLOYD_TOLERANCE 1e-8

typedef struct making {
    const kvb_ab_config *config;
    int head_dim, bits[KVB_MAX_BITS];
    kvb_tables *tables;
    kvb_status status[KVB_MAX_BITS];
    kvb_error errors[KVB_MAX_BITS];
} making;

static kvb_status copy_from_file(const kvb_ab_config *config, int bits, kvb_table *table, kvb_error *error) {
    const double *found = config->codebook_file->centroids[bits];
    if (!found)
        return kvb_error_set(error, KVB_ERROR_ARGUMENT, "%s has no \"%d_bit\" table, which this run needs",
                             config->codebook_file_name, bits);
    table->source = "file";
    for (int i = 0; i < table->levels; i++)
        table->exact[i] = found[i];
    return KVB_OK;
}

static kvb_status fill(const kvb_ab_config *config, int bits, int head_dim, kvb_table *table, kvb_error *error) {
    kvb_codebook_source source = config->codebook;
    if (source == KVB_CODEBOOK_FILE)
        return copy_from_file(config, bits, table, error);
    if (source == KVB_CODEBOOK_BETA) {
        table->source = "optimum for the coordinate of a unit vector";
        return kvb_codebook_optimum((kvb_law){head_dim}, table->levels, table->exact, NULL, error);
    }
    if (source == KVB_CODEBOOK_LLOYD || (source == KVB_CODEBOOK_DEFAULT && bits <= 6)) {
        table->source = "fixed-point Lloyd-Max iteration";
        table->iterated = 1;
        return kvb_lloyd_max(table->levels, config->cdf, LLOYD_TOLERANCE, kvb_lloyd_round_limit(table->levels),
                             table->exact, &table->lloyd, error);
    }
    table->source = "library table";
    for (int i = 0; i < table->levels; i++)
        table->exact[i] = kvb_codebook(bits)[i];
    return KVB_OK;
}

static void make_one(void *argument, size_t index, int worker) {
    making *m = argument;
    (void)worker;
    kvb_table *table = &m->tables->width[m->bits[index]];
    table->levels = 1 << m->bits[index];
    m->status[index] = fill(m->config, m->bits[index], m->head_dim, table, &m->errors[index]);
    for (int i = 0; m->status[index] == KVB_OK && i < table->levels; i++)
        table->centroids[i] = (float)table->exact[i];
}

kvb_status kvb_tables_make(const kvb_ab_config *config, unsigned wanted, int head_dim, const kvb_parallel *parallel,
                           kvb_tables *tables, kvb_error *error) {
    making m = {.config = config, .head_dim = head_dim, .tables = tables};
    size_t n = 0;
    *tables = (kvb_tables){0};
    for (int bits = KVB_MAX_BITS; bits >= 1; bits--) /* the longest iteration first */
        if (wanted >> bits & 1)
            m.bits[n++] = bits;
    kvb_parallel_for(parallel, n, make_one, &m);
    for (size_t i = 0; i < n; i++)
        if (m.status[i] != KVB_OK)
            return kvb_error_set(error, m.status[i], "%s", m.errors[i].text);
    return KVB_OK;
}
