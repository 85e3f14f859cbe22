#include "subject_json.h"

#include <math.h>
#include <string.h>

json_t *kvb_json_number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *kvb_json_estimate(kvb_estimate e) {
    return json_pack("{s:o, s:o, s:o}", "value", kvb_json_number(e.value), "low", kvb_json_number(e.low), "high",
                     kvb_json_number(e.high));
}

kvb_estimate kvb_estimate_exp(kvb_estimate e) {
    return (kvb_estimate){exp(e.value), exp(e.low), exp(e.high)};
}

json_t *kvb_json_self_check(const kvb_self_check *check) {
    return json_pack("{s:f, s:i, s:f, s:f, s:i, s:f, s:f, s:f}", "recomputed_nrmse", check->exact, "recomputed_layer",
                     check->exact_layer, "recomputed_limit", KVB_SELF_CHECK_EXACT, "halves_nrmse", check->halves,
                     "halves_layer", check->halves_layer, "halves_limit", KVB_SELF_CHECK_HALVES, "halves_kl_mean",
                     check->halves_kl, "largest_repetition_difference", check->repetition);
}

json_t *kvb_json_about(const kvb_subject *subject, const char *schema, const char *model, const char *text) {
    const kvb_engine_info *info = kvb_engine_get_info(subject->engine);
    const char *name = strrchr(model, '/'), *text_name = strrchr(text, '/');
    json_t *of_model =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:b}", "file", name ? name + 1 : model, "name", info->name, "license",
                  info->license, "architecture", info->architecture, "layers", info->n_layers, "vocabulary",
                  info->n_vocab, "weights_expanded", info->weights_expanded);
    return json_pack("{s:i, s:s, s:s, s:o, s:s}", schema, 1, "kvbits", kvb_version(), "engine", info->software, "model",
                     of_model, "text", text_name ? text_name + 1 : text);
}
