/* The parts of result.json that the synthetic A/B and the A/B on a trace share (docs/evaluation.md).
 *
 * Every function returns a new value, or NULL when memory is short or a figure is not finite; jansson's *_new setters
 * take NULL for failure, so that one check at the end finds either. */
#ifndef KVB_EVAL_DOCUMENT_H
#define KVB_EVAL_DOCUMENT_H

#include <jansson.h>

#include "ab_round_trip.h"
#include "verdict.h"

const char *kvb_generator_name(kvb_generator generator);
const char *kvb_rotation_name(kvb_rotation rotation);
const char *kvb_scale_kind_name(kvb_scale_kind kind);
const char *kvb_codebook_source_name(kvb_codebook_source source);
const char *kvb_dtype_name(kvb_dtype dtype);

json_t *kvb_document_configuration(const kvb_ab_config *config, int trace);
/* "lloyd_max_convergence", "codebook_sources", "codebooks" set in the object. 0, or -1 on failure. */
int kvb_document_set_tables(json_t *object, const kvb_tables *tables);
/* "<prefix>_low" and "<prefix>_high", the interval of the mean; null for a single value, which has none. 0 or -1. */
int kvb_document_set_interval(json_t *object, const char *prefix, const kvb_statistic *s);
/* "<prefix>_mean", "_std", "_low" and "_high" of a statistic set in the object. 0 or -1. */
int kvb_document_set_statistic(json_t *object, const char *prefix, const kvb_statistic *s);
/* One cell's pairs and logit measures; id_key ("kv_seq_len") is left out when NULL. Appends; 0 or -1. */
int kvb_document_add_pairs(json_t *array, const kvb_cell *cell, const char *id_key);
int kvb_document_add_logits(json_t *array, const kvb_cell *cell, const char *id_key);
/* Consecutive pairs of the list, trial by trial. */
int kvb_document_add_differences(json_t *array, const kvb_cell *cell, const char *id_key);
json_t *kvb_document_worst_pairs(const kvb_cell *cells, size_t n, const char *id_key, const double thresholds[2]);
json_t *kvb_document_needed(const kvb_cell *cells, size_t n, const double thresholds[2]);
/* "verdict", "verdict_at_threshold_015" and "verdict_rationale" set in the object. 0 or -1. */
int kvb_document_set_verdict(json_t *object, const kvb_cell *cells, size_t n, const char *what,
                             const double thresholds[2]);
/* Appends {"name", "passed", "detail"}; detail is printf-style. 0 or -1. */
int kvb_document_add_check(json_t *checks, const char *name, int passed, const char *detail, ...)
    __attribute__((format(printf, 4, 5)));
/* Every table symmetric to 1e-6 and strictly increasing, every iteration converged. 0 or -1. */
int kvb_document_add_table_checks(json_t *checks, const kvb_tables *tables);

#endif
