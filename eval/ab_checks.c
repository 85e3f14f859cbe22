#include "ab_checks.h"

#include <math.h>
#include <string.h>

/* The 4-bit table that an engine shipped: gate 1 compares with it. */
static const float production[16] = {-2.7325896f, -2.0690172f, -1.6180464f, -1.2562312f, -0.9423405f, -0.6567591f,
                                     -0.3880483f, -0.128395f,  0.128395f,   0.3880483f,  0.6567591f,  0.9423405f,
                                     1.2562312f,  1.6180464f,  2.0690172f,  2.7325896f};

typedef struct band {
    int bits;
    double low, high;
} band;

/* docs/evaluation.md, "Checks": the ends of `worst_bands` are excluded, those of the others included. */
static const band round_bands[] = {{4, 200, 800}, {5, 1000, 2500}, {6, 3500, 7000}};
static const band worst_bands[] = {{4, 0.28, 0.50}, {5, 0.15, 0.28}, {6, 0.07, 0.14}};
static const band b_bands[] = {{5, 0.047, 0.056}, {6, 0.024, 0.032}};

static const char expected_verdict[] = "all_bit_widths_fail_pivot_to_mixed_precision";

static int same_ints(const int *a, int n_a, const int *b, int n_b) {
    return n_a == n_b && memcmp(a, b, (size_t)n_a * sizeof *a) == 0;
}

int kvb_ab_is_default(const kvb_ab_config *config) {
    kvb_ab_config d = kvb_ab_config_default();
    int source = config->codebook == KVB_CODEBOOK_DEFAULT || config->codebook == KVB_CODEBOOK_FILE;
    return source && config->seed == d.seed && config->generator == d.generator && config->n_heads == d.n_heads &&
           config->n_kv_heads == d.n_kv_heads && config->head_dim == d.head_dim &&
           same_ints(config->kv_lens, config->n_kv_lens, d.kv_lens, d.n_kv_lens) && config->trials == d.trials &&
           same_ints(config->round_trip_dims, config->n_round_trip_dims, d.round_trip_dims, d.n_round_trip_dims) &&
           config->vectors == d.vectors && config->scale == d.scale && config->softcap == d.softcap &&
           config->window == d.window && same_ints(config->bits, config->n_bits, d.bits, d.n_bits) && !config->pairs &&
           config->rotation == d.rotation && config->scale_kind == d.scale_kind && config->trellis_states == 0 &&
           !config->bound && config->scale_dtype == d.scale_dtype && config->cdf == d.cdf && !config->baselines &&
           config->thresholds[0] == d.thresholds[0] && config->thresholds[1] == d.thresholds[1];
}

double kvb_ab_production_difference(const kvb_tables *tables) {
    double most = -1.0;
    for (int i = 0; tables->width[4].levels && i < 16; i++)
        most = fmax(most, fabs((double)tables->width[4].centroids[i] - (double)production[i]));
    return most;
}

/* The pair of `bits` alike, -1 when it was not asked for. */
static int symmetric_pair(const kvb_comparison *c, int bits) {
    for (int i = 0; i < c->n_pairs; i++)
        if (c->k.at[c->pairs[i].k].bits == bits && c->v.at[c->pairs[i].v].bits == bits)
            return i;
    return -1;
}

double kvb_ab_gate_2(const kvb_ab_found *found) {
    int pair = symmetric_pair(found->comparison, 4);
    for (size_t i = 0; pair >= 0 && i < found->n_cells; i++)
        if (found->cells[i].id == 512)
            return kvb_measured_statistic(found->cells[i].measured, KVB_MEASURE_NRMSE,
                                          found->comparison->pair_combo[pair])
                .mean;
    return -1.0;
}

/* ---- Checks of any configuration ---- */

static int add_general_checks(json_t *checks, const kvb_ab_found *found) {
    int bad = kvb_document_add_table_checks(checks, found->comparison->k_tables);
    double c = 0.0;
    for (size_t i = 0; i < found->n_round_trip; i++)
        if (found->round_trip[i].kind == 'C')
            c = fmax(c, found->round_trip[i].nrmse.mean);
    bad |= kvb_document_add_check(checks, "transform alone (case C) is exact", c < 1e-5,
                                  "worst NRMSE %.3e (below 1e-5)", c);
    for (size_t i = 0; i < found->n_cells; i++)
        bad |= kvb_document_add_check(checks, "reference attention finite",
                                      kvb_measured_reference_finite(found->cells[i].measured), "kv_len %d",
                                      found->cells[i].id);
    return bad;
}

/* ---- The default experiment's bands ---- */

static int add_codebook_bands(json_t *checks, const kvb_tables *tables) {
    double difference = kvb_ab_production_difference(tables);
    int bad = kvb_document_add_check(checks, "gate 1: 4-bit codebook against production",
                                     difference >= 0.0 && difference < 1e-4, "largest difference %.3e (below 1e-4)",
                                     difference);
    for (size_t i = 0; i < 3; i++) {
        const kvb_table *table = &tables->width[round_bands[i].bits];
        if (table->iterated)
            bad |= kvb_document_add_check(checks, "codebook rounds in their band",
                                          table->lloyd.rounds >= round_bands[i].low &&
                                              table->lloyd.rounds <= round_bands[i].high,
                                          "%d bits: %d rounds (%g to %g)", round_bands[i].bits, table->lloyd.rounds,
                                          round_bands[i].low, round_bands[i].high);
    }
    return bad;
}

static int add_round_trip_bands(json_t *checks, const kvb_ab_found *found) {
    int bad = 0;
    for (size_t i = 0; i < found->n_round_trip; i++) {
        const kvb_round_trip_cell *cell = &found->round_trip[i];
        double mean = cell->nrmse.mean;
        if (cell->kind == 'B' && cell->bits == 4 && cell->head_dim == 256)
            bad |= kvb_document_add_check(checks, "round trip B in its band", fabs(mean - 0.0975) <= 0.005,
                                          "4 bits, head_dim 256: %.6f (.0975 +- .005)", mean);
        for (size_t b = 0; b < 2; b++)
            if (cell->kind == 'B' && cell->bits == b_bands[b].bits)
                bad |= kvb_document_add_check(checks, "round trip B in its band",
                                              mean >= b_bands[b].low && mean <= b_bands[b].high,
                                              "%d bits, head_dim %d: %.6f (%g to %g)", cell->bits, cell->head_dim, mean,
                                              b_bands[b].low, b_bands[b].high);
        /* width is the outermost index: the same head_dim and case one width further */
        size_t next = i + found->n_round_trip / (size_t)found->config->n_bits;
        if (cell->kind == 'B' && next < found->n_round_trip)
            bad |= kvb_document_add_check(checks, "round trip B falls with bits",
                                          found->round_trip[next].nrmse.mean < mean,
                                          "head_dim %d: %.6f at %d, %.6f at %d", cell->head_dim, mean, cell->bits,
                                          found->round_trip[next].nrmse.mean, found->round_trip[next].bits);
    }
    return bad;
}

static int add_attention_bands(json_t *checks, const kvb_ab_found *found) {
    const kvb_comparison *c = found->comparison;
    int bad = 0;
    for (size_t i = 0; i < 3; i++) {
        int pair = symmetric_pair(c, worst_bands[i].bits);
        double worst = kvb_worst_of(found->cells, found->n_cells, KVB_SLICE_PAIR, pair).nrmse.mean;
        bad |= kvb_document_add_check(
            checks, "worst attention error in its band", worst > worst_bands[i].low && worst < worst_bands[i].high,
            "%d bits: %.6f (%g to %g)", worst_bands[i].bits, worst, worst_bands[i].low, worst_bands[i].high);
    }
    double gate = kvb_ab_gate_2(found);
    bad |= kvb_document_add_check(checks, "gate 2: 4 bits at kv_len 512", gate >= 0.10 && gate <= 0.60,
                                  "%.6f (0.10 to 0.60)", gate);
    for (size_t i = 0; i < found->n_cells; i++)
        for (int pair = 1; pair < c->n_pairs; pair++) {
            double less =
                kvb_measured_statistic(found->cells[i].measured, KVB_MEASURE_NRMSE, c->pair_combo[pair - 1]).mean;
            double more = kvb_measured_statistic(found->cells[i].measured, KVB_MEASURE_NRMSE, c->pair_combo[pair]).mean;
            bad |= kvb_document_add_check(checks, "attention error falls with bits", more < less,
                                          "kv_len %d: %.6f at %d, %.6f at %d", found->cells[i].id, less,
                                          c->k.at[c->pairs[pair - 1].k].bits, more, c->k.at[c->pairs[pair].k].bits);
        }
    char verdict[64];
    kvb_verdict_name(found->cells, found->n_cells, found->config->thresholds[0], verdict, sizeof verdict);
    bad |= kvb_document_add_check(checks, "verdict is the reference run's", strcmp(verdict, expected_verdict) == 0,
                                  "%s", verdict);
    return bad;
}

int kvb_ab_add_checks(json_t *checks, const kvb_ab_found *found) {
    int bad = add_general_checks(checks, found);
    if (!kvb_ab_is_default(found->config))
        return bad;
    bad |= add_codebook_bands(checks, found->comparison->k_tables);
    bad |= add_round_trip_bands(checks, found);
    return bad | add_attention_bands(checks, found);
}
